//! What of a watched app ended lately, as far as the store was asked: which rows are new is told by their ids, as many of them as
//! are held, and how many are new by counting, so that each row is shown once at most, and each that is not is counted.

use std::collections::HashSet;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::ExecutionId;

use crate::execution_writer::tail::WAITING;
use crate::repo::executions::Ended;

/// What was found the last time.
#[derive(Debug)]
pub(super) struct Lately {
    /// What ended then or later was looked for.
    pub since: Timestamp,
    /// How many did.
    count: u64,
    /// Those of them that began after `floor`.
    known: HashSet<ExecutionId>,
    /// There were more once than are held: which of those that began before this one are new cannot be told any more.
    floor: Option<ExecutionId>,
}

/// What is new.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct New {
    /// The rows to be shown, the one that began last first.
    pub ids: Vec<ExecutionId>,
    /// How many rows are new, these among them.
    pub count: u64,
}

impl Default for Lately {
    fn default() -> Self {
        Self::begin(Ended::default(), Timestamp::from_millis(0))
    }
}

impl Lately {
    /// All that was found is known.
    pub fn begin(found: Ended, since: Timestamp) -> Self {
        let mut lately = Self { since, count: 0, known: HashSet::new(), floor: None };
        lately.learn(found, since);
        lately
    }

    /// Takes in what has ended since [`Lately::since`], with the count of what has ended since `later`.
    pub fn learn(&mut self, found: Ended, later: Timestamp) -> New {
        let is_new = |id: &ExecutionId| self.floor.is_none_or(|floor| *id > floor) && !self.known.contains(id);
        let ids: Vec<_> = found.ids.iter().copied().filter(is_new).take(WAITING).collect();
        // Rows that are pruned meanwhile lower the count.
        let count = found.count.saturating_sub(self.count).max(ids.len() as u64);
        if found.count > found.ids.len() as u64 {
            self.floor = self.floor.max(found.ids.last().copied());
        }
        self.known = found.ids.into_iter().collect();
        (self.since, self.count) = (later, found.later_count);
        New { ids, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn rows(numbers: impl IntoIterator<Item = u64>) -> Vec<ExecutionId> {
        let id = |n: u64| ExecutionId::from_uuid(uuid::Uuid::from_u128(u128::from(n)));
        numbers.into_iter().map(id).collect()
    }

    /// What a store answers that has these rows, all of which ended lately, to who takes at most four.
    fn found(numbers: impl DoubleEndedIterator<Item = u64>) -> Ended {
        let mut ids = rows(numbers.rev());
        let count = ids.len() as u64;
        ids.truncate(4);
        Ended { ids, count, later_count: count }
    }

    #[test]
    fn each_row_is_told_once_and_what_is_not_told_is_counted() {
        let mut lately = Lately::begin(found([1, 2].into_iter()), NOW);
        let mut learn = |ended| lately.learn(ended, NOW);
        assert_eq!(learn(found(1..=2)), New::default());
        assert_eq!(learn(found(1..=4)), New { ids: rows([4, 3]), count: 2 });
        // Six more than are held: 5 and 6 are only counted, now and for ever.
        assert_eq!(learn(found(1..=10)), New { ids: rows([10, 9, 8, 7]), count: 6 });
        assert_eq!(learn(found(1..=10)), New::default());
        // The newest are pruned, and older ones stand among the first again.
        assert_eq!(learn(found(1..=8)), New::default());
        assert_eq!(learn(found((1..=8).chain([11]))), New { ids: rows([11]), count: 1 });
    }

    #[test]
    fn one_that_began_long_ago_is_shown_where_all_are_held_and_counted_where_they_are_not() {
        let mut lately = Lately::begin(found([5, 6].into_iter()), NOW);
        assert_eq!(lately.learn(found([1, 5, 6].into_iter()), NOW), New { ids: rows([1]), count: 1 });
        assert_eq!(lately.learn(found([1, 5, 6, 7, 8, 9].into_iter()), NOW).count, 3);
        let late = Ended { ids: rows([9]), count: 7, later_count: 2 };
        assert_eq!(lately.learn(late, NOW), New { ids: Vec::new(), count: 1 });
        let late = Ended { ids: rows([9, 3]), count: 3, later_count: 3 };
        assert_eq!(lately.learn(late, NOW), New { ids: Vec::new(), count: 1 }, "it began before one that was cut off");
    }
}
