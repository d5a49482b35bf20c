//! Triggers: what runs a script without a request, and how often it tries.

use std::time::Duration;

use crate::cron::{CronSchedule, Misfire};
use crate::event::{EventOp, EventSource};
use crate::id::{ScriptId, TriggerId};
use crate::kv::KvPrefix;
use crate::name::{CollectionName, QueueName};

macro_rules! count {
    ($(#[$doc:meta])* $Name:ident, $Invalid:ident, $range:expr, $default:literal, $message:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $Name(u32);

        #[doc = concat!("A number that is no [`", stringify!($Name), "`].")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        #[error($message)]
        pub struct $Invalid;

        impl $Name {
            /// The number.
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl Default for $Name {
            fn default() -> Self {
                Self($default)
            }
        }

        impl TryFrom<i64> for $Name {
            type Error = $Invalid;

            fn try_from(number: i64) -> Result<Self, $Invalid> {
                let number = u32::try_from(number).ok().filter(|number| ($range).contains(number));
                number.map(Self).ok_or($Invalid)
            }
        }

        impl From<$Name> for i64 {
            fn from(number: $Name) -> Self {
                number.0.into()
            }
        }
    };
}

count! {
    /// How often an event is tried before it becomes a dead letter.
    MaxAttempts, InvalidMaxAttempts, 1..=100, 5, "max_attempts is from 1 to 100"
}
count! {
    /// How many messages of a queue one run is given at most.
    BatchSize, InvalidBatchSize, 1..=100, 1, "batch_size is from 1 to 100"
}
count! {
    /// How many runs of a trigger there are at once at most, over all nodes.
    Concurrency, InvalidConcurrency, 1..=64, 1, "concurrency is from 1 to 64"
}

/// How long an event waits for its next attempt: at random up to `base` after the first, up to twice as much after each further
/// one, up to `cap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

/// Spans that are no backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackoff {
    /// The base is out of bounds.
    #[error("base_ms is from 1 to 86400000")]
    Base,
    /// The cap is out of bounds.
    #[error("cap_ms is from base_ms to 86400000")]
    Cap,
}

impl Backoff {
    /// The longest that either may be: a day.
    pub const MOST: Duration = Duration::from_secs(24 * 60 * 60);

    /// Spans of whole milliseconds.
    ///
    /// # Errors
    /// A base of less than a millisecond, a cap below the base, or either over [`Backoff::MOST`].
    pub fn new(base_ms: i64, cap_ms: i64) -> Result<Self, InvalidBackoff> {
        let span = |ms: i64| u64::try_from(ms).ok().map(Duration::from_millis).filter(|span| *span <= Self::MOST);
        let base = span(base_ms).filter(|base| !base.is_zero()).ok_or(InvalidBackoff::Base)?;
        let cap = span(cap_ms).filter(|cap| *cap >= base).ok_or(InvalidBackoff::Cap)?;
        Ok(Self { base, cap })
    }

    /// The most that the first retry waits.
    pub const fn base(self) -> Duration {
        self.base
    }

    /// The most that any retry waits.
    pub const fn cap(self) -> Duration {
        self.cap
    }

    /// The most that the retry after so many attempts waits.
    pub fn most_after(self, attempts: u32) -> Duration {
        let doubled = 2_u32.checked_pow(attempts.saturating_sub(1)).and_then(|factor| self.base.checked_mul(factor));
        doubled.map_or(self.cap, |span| span.min(self.cap))
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: Duration::from_secs(60 * 60) }
    }
}

/// What must happen at a source for a trigger to be for it: one or more of the ops that the source has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventOps(Box<[EventOp]>);

/// Words that are no [`EventOps`] of a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ops are one or more of {}", .of.iter().map(|op| op.as_str()).collect::<Vec<_>>().join(", "))]
pub struct InvalidEventOps {
    /// What the source has.
    pub of: &'static [EventOp],
}

impl EventOps {
    /// What happens to entries that scripts keep by key.
    pub const OF_KV: &'static [EventOp] = &[EventOp::Set, EventOp::Delete, EventOp::Expire];

    /// What happens to documents.
    pub const OF_DOCS: &'static [EventOp] = &[EventOp::Insert, EventOp::Update, EventOp::Delete];

    /// All that a source has.
    pub fn all(of: &'static [EventOp]) -> Self {
        Self(of.into())
    }

    /// Those that are named, whatever their order and however often, of those that a source has.
    ///
    /// # Errors
    /// None at all, and a word that is not among those of the source.
    pub fn of_words<W: AsRef<str>>(words: &[W], of: &'static [EventOp]) -> Result<Self, InvalidEventOps> {
        let is_named = |op: &&EventOp| words.iter().any(|word| word.as_ref() == op.as_str());
        let known = |word: &W| of.iter().any(|op| word.as_ref() == op.as_str());
        let named: Box<[EventOp]> = of.iter().filter(is_named).copied().collect();
        if named.is_empty() || !words.iter().all(known) { Err(InvalidEventOps { of }) } else { Ok(Self(named)) }
    }

    /// Whether it is among them.
    pub fn contains(&self, op: EventOp) -> bool {
        self.0.contains(&op)
    }

    /// Each of them once, in the order in which the source has them.
    pub fn as_slice(&self) -> &[EventOp] {
        &self.0
    }
}

/// What runs a script for events of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Its id.
    pub id: TriggerId,
    /// The endpoint that it runs.
    pub script_id: ScriptId,
    /// Which events.
    pub source: TriggerSource,
    /// Whether it runs anything. Events of its queue wait while it does not.
    pub enabled: bool,
    /// How often an event is tried.
    pub max_attempts: MaxAttempts,
    /// How long it waits in between.
    pub backoff: Backoff,
    /// How long a run may take, where it is less than the script's own timeout.
    pub timeout: Option<Duration>,
}

/// Which events a trigger is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerSource {
    /// Messages of a queue.
    Queue {
        /// The queue.
        queue: QueueName,
        /// How many messages a run is given at most.
        batch_size: BatchSize,
        /// How many runs there are at once at most.
        concurrency: Concurrency,
    },
    /// Changes of entries that the app's scripts keep by key.
    Kv {
        /// The collection that they are in.
        collection: CollectionName,
        /// What their keys begin with.
        prefix: KvPrefix,
        /// What must happen to them.
        ops: EventOps,
    },
    /// Changes of documents.
    Docs {
        /// The collection that they are in.
        collection: CollectionName,
        /// What must happen to them.
        ops: EventOps,
    },
    /// Times.
    Cron {
        /// Which.
        schedule: CronSchedule,
        /// What is made of those that are past before they could be told.
        misfire: Misfire,
    },
    /// Dead letters of the app that did not come from a trigger of this kind.
    DeadLetter,
}

impl TriggerSource {
    /// The source's word.
    pub const fn source(&self) -> EventSource {
        match self {
            Self::Queue { .. } => EventSource::Queue,
            Self::Kv { .. } => EventSource::Kv,
            Self::Docs { .. } => EventSource::Docs,
            Self::Cron { .. } => EventSource::Cron,
            Self::DeadLetter => EventSource::DeadLetter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_bounds_and_defaults() {
        for (number, good) in [(0, false), (1, true), (100, true), (101, false), (-1, false), (i64::MAX, false)] {
            assert_eq!(MaxAttempts::try_from(number).is_ok(), good);
            assert_eq!(BatchSize::try_from(number).is_ok(), good);
        }
        assert!(Concurrency::try_from(64).is_ok() && Concurrency::try_from(65).is_err());
        assert_eq!((MaxAttempts::default().get(), BatchSize::default().get(), Concurrency::default().get()), (5, 1, 1));
    }

    #[test]
    fn ops_are_some_of_those_that_the_source_has_each_once_and_in_order() {
        let of = |words: &[&str]| EventOps::of_words(words, EventOps::OF_KV);
        let ops = of(&["expire", "set", "expire"]).unwrap();
        assert_eq!(ops.as_slice(), [EventOp::Set, EventOp::Expire]);
        assert!(ops.contains(EventOp::Set) && !ops.contains(EventOp::Delete));
        assert_eq!(of(&["delete", "set", "expire"]), Ok(EventOps::all(EventOps::OF_KV)));
        for bad in [&[] as &[&str], &["insert"], &["set", "insert"], &["SET"], &[""]] {
            let refused = of(bad).unwrap_err();
            assert_eq!(refused.to_string(), "ops are one or more of set, delete, expire", "{bad:?}");
        }
    }

    #[test]
    fn a_backoff_doubles_up_to_its_cap() {
        let backoff = Backoff::new(100, 1_000).unwrap();
        let most = [0, 1, 2, 3, 4, 5, 100].map(|attempts| backoff.most_after(attempts).as_millis());
        assert_eq!(most, [100, 100, 200, 400, 800, 1_000, 1_000]);
        for (base, cap) in [(0, 1), (-1, 1), (2, 1), (1, 86_400_001), (86_400_001, 86_400_001)] {
            assert!(Backoff::new(base, cap).is_err());
        }
        assert!(Backoff::new(86_400_000, 86_400_000).is_ok());
    }
}
