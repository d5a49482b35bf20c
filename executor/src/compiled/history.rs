//! Which tier a program's next run starts in, by what its runs were like.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::limits::{INLINE_OPERATIONS, INLINE_TIME};

/// What it adds to the level that a run was too long for a tier; that one was short takes 1 away. One thread in some
/// hundreds is preempted amid a short run and looks long by the clock, which must not send a busy script to the workers.
const LONG_RUN: u8 = 32;
/// The level from which runs start on a worker: twice in a row too long. One run can be that, first inline and then on the
/// worker it moved to; one that was only preempted proves short there.
const LONG: u8 = 2 * LONG_RUN;
/// The level from which there is no doubt.
const SURELY_LONG: u8 = 6 * LONG_RUN;

/// How long a program's runs were lately, as a level. Starts with the benefit of the doubt; two runs that end at once may
/// count as one.
#[derive(Debug, Default)]
pub struct History {
    level: AtomicU8,
}

impl History {
    /// Whether the next run starts in the inline tier.
    pub fn is_short(&self) -> bool {
        self.level() < LONG
    }

    /// Whether a run may be tried in the inline tier when no worker is to be had.
    pub fn may_be_short(&self) -> bool {
        self.level() < SURELY_LONG
    }

    /// Notes a run that came to its end, in either tier.
    pub fn ended(&self, operations: u64, elapsed: Duration) {
        if operations > INLINE_OPERATIONS || elapsed > INLINE_TIME {
            self.raise(LONG_RUN);
        } else {
            let level = self.level();
            if level > 0 {
                self.level.store(level - 1, Ordering::Relaxed);
            }
        }
    }

    /// Notes a run that was stopped in the inline tier.
    pub fn moved(&self) {
        self.raise(LONG_RUN);
    }

    fn level(&self) -> u8 {
        self.level.load(Ordering::Relaxed)
    }

    fn raise(&self, by: u8) {
        self.level.store(self.level().saturating_add(by), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIEF: Duration = Duration::from_micros(10);

    fn shorts_until(history: &History, done: impl Fn(&History) -> bool) -> usize {
        (0..1_000).take_while(|_| !done(history)).inspect(|_| history.ended(10, BRIEF)).count()
    }

    #[test]
    fn one_long_run_among_short_ones_changes_nothing() {
        let history = History::default();
        for _ in 0..100 {
            history.ended(10, INLINE_TIME * 100);
            assert!(history.is_short());
            (0..LONG_RUN).for_each(|_| history.ended(10, BRIEF));
        }
    }

    #[test]
    fn a_run_that_was_only_preempted_proves_short_on_the_worker_and_changes_nothing() {
        let history = History::default();
        history.moved();
        history.ended(10, BRIEF);
        assert!(history.is_short());
    }

    #[test]
    fn a_run_that_is_long_in_both_tiers_moves_its_program_which_comes_back_after_short_runs() {
        let history = History::default();
        history.moved();
        history.ended(INLINE_OPERATIONS + 1, BRIEF);
        assert!(!history.is_short() && history.may_be_short());
        assert_eq!(shorts_until(&history, History::is_short), 1);
    }

    #[test]
    fn a_program_that_is_long_every_other_time_stays_with_the_workers() {
        let history = History::default();
        for _ in 0..20 {
            history.ended(INLINE_OPERATIONS + 1, BRIEF);
            history.ended(10, BRIEF);
        }
        assert!(!history.may_be_short());
        assert!(shorts_until(&history, History::is_short) > 100);
    }
}
