//! What becomes of an entry, and what is refused: the rules, without a database.

use picloud_shared::clock::Timestamp;
use picloud_shared::kv::{KvEntry, KvKey, KvUsage, KvValue, KvWrite, KvWritten};

use crate::events::EventRefusal;
use crate::repo::kv::{KvDelta, KvEffect, size};

/// How much one app may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvQuota {
    /// Entries.
    pub keys: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

impl Default for KvQuota {
    fn default() -> Self {
        Self { keys: 100_000, bytes: 64 * 1024 * 1024 }
    }
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KvRefusal {
    /// It would be one entry too many.
    #[error("the app holds as many keys as it may: {most}")]
    TooManyKeys {
        /// As many as there may be.
        most: u64,
    },
    /// It would be too many bytes.
    #[error("the app holds as many bytes as it may: {most}")]
    TooManyBytes {
        /// As many as there may be.
        most: u64,
    },
    /// What is to grow is no integer.
    #[error("the value is not an integer")]
    NotAnInteger,
    /// It would be more than 64 bits.
    #[error("the sum is beyond 64 bits")]
    Overflow,
    /// It is not as who changes it saw it.
    #[error("the entry is not what it was")]
    PreconditionFailed,
    /// There is nothing to remove, which who asks wants to know.
    #[error("there is no such entry")]
    NotFound,
    /// There is no room for the events that it makes.
    #[error(transparent)]
    Events(#[from] EventRefusal),
}

impl KvRefusal {
    /// The code that scripts see.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::TooManyKeys { .. } | Self::TooManyBytes { .. } => "quota_exceeded",
            Self::NotAnInteger => "not_an_integer",
            Self::Overflow => "overflow",
            Self::PreconditionFailed => "precondition_failed",
            Self::NotFound => "not_found",
            Self::Events(_) => EventRefusal::CODE,
        }
    }

    /// Whether it may be done once expired entries of the app are gone.
    pub(crate) fn wants_room(&self) -> bool {
        matches!(self, Self::TooManyKeys { .. } | Self::TooManyBytes { .. })
    }
}

/// What is to be done, and what it comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub effect: KvEffect,
    pub delta: KvDelta,
    pub written: KvWritten,
}

/// Whether an entry is there for whoever looks at that time.
pub(crate) fn is_live(entry: &KvEntry, now: Timestamp) -> bool {
    entry.expires_at.is_none_or(|at| at > now)
}

/// Decides on a write of the entry of that key. `stored` is what the database has, expired or not.
pub(crate) fn decide(
    key: &KvKey,
    write: &KvWrite,
    stored: Option<&KvEntry>,
    usage: KvUsage,
    quota: KvQuota,
    now: Timestamp,
) -> Result<Decision, KvRefusal> {
    let live = stored.filter(|entry| is_live(entry, now));
    let remaining = live.and_then(|entry| entry.expires_at);
    let put = |value: &KvValue, expires_at, written| {
        let entry = KvEntry { key: key.clone(), value: value.clone(), expires_at, updated_at: now };
        let old = stored.map_or(0, size);
        let delta = KvDelta { keys: i64::from(stored.is_none()), bytes: size(&entry) - old };
        admit(usage, delta, quota)?;
        Ok(Decision { effect: KvEffect::Put(entry), delta, written })
    };
    match write {
        KvWrite::Set { value, ttl } => put(value, ttl.map(|ttl| now.plus(ttl)), KvWritten::Set),
        KvWrite::Delete => {
            let delta = stored.map_or(KvDelta::default(), |entry| KvDelta { keys: -1, bytes: -size(entry) });
            let effect = if stored.is_some() { KvEffect::Remove } else { KvEffect::Nothing };
            Ok(Decision { effect, delta, written: KvWritten::Deleted(live.is_some()) })
        }
        KvWrite::Increment(by) => {
            let held = live.map_or(Some(0), |entry| entry.value.as_integer()).ok_or(KvRefusal::NotAnInteger)?;
            let sum = held.checked_add(*by).ok_or(KvRefusal::Overflow)?;
            put(&sum.into(), remaining, KvWritten::Sum(sum))
        }
        KvWrite::Swap { expected, value } => {
            let held = live.map(|entry| &entry.value).filter(|value| !value.is_null());
            if held == expected.as_ref() {
                return put(value, remaining, KvWritten::Swapped(true));
            }
            let (effect, delta) = (KvEffect::Nothing, KvDelta::default());
            Ok(Decision { effect, delta, written: KvWritten::Swapped(false) })
        }
    }
}

/// What grows must fit; what shrinks may, however much there is.
fn admit(usage: KvUsage, delta: KvDelta, quota: KvQuota) -> Result<(), KvRefusal> {
    let over = |held: u64, more: i64, most: u64| more > 0 && held.saturating_add_signed(more) > most;
    if over(usage.keys, delta.keys, quota.keys) {
        return Err(KvRefusal::TooManyKeys { most: quota.keys });
    }
    if over(usage.bytes, delta.bytes, quota.bytes) {
        return Err(KvRefusal::TooManyBytes { most: quota.bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn value(text: &str) -> KvValue {
        KvValue::of_json(serde_json::from_str(text).unwrap()).unwrap()
    }

    fn stored(text: &str, expires_at: Option<i64>) -> KvEntry {
        let expires_at = expires_at.map(Timestamp::from_millis);
        KvEntry { key: "k".parse().unwrap(), value: value(text), expires_at, updated_at: Timestamp::from_millis(0) }
    }

    fn decided(write: &KvWrite, stored: Option<&KvEntry>) -> Result<Decision, KvRefusal> {
        let usage = KvUsage { keys: u64::from(stored.is_some()), bytes: stored.map_or(0, |entry| size(entry) as u64) };
        decide(&"k".parse().unwrap(), write, stored, usage, KvQuota { keys: 1, bytes: 10 }, NOW)
    }

    fn set(text: &str) -> KvWrite {
        KvWrite::Set { value: value(text), ttl: None }
    }

    #[test]
    fn what_grows_must_fit_and_what_shrinks_may_always() {
        let big = stored("\"0123456789012\"", None);
        assert_eq!(decided(&set("123456789"), None).unwrap().delta, KvDelta { keys: 1, bytes: 10 });
        assert_eq!(decided(&set("1234567890"), None), Err(KvRefusal::TooManyBytes { most: 10 }));
        assert_eq!(decided(&set("\"012345678901\""), Some(&big)).unwrap().delta, KvDelta { keys: 0, bytes: -1 });
        assert_eq!(decided(&set("\"01234567890123\""), Some(&big)), Err(KvRefusal::TooManyBytes { most: 10 }));
        let usage = KvUsage { keys: 1, bytes: 2 };
        let other = decide(&"l".parse().unwrap(), &set("1"), None, usage, KvQuota { keys: 1, bytes: 10 }, NOW);
        assert_eq!(other, Err(KvRefusal::TooManyKeys { most: 1 }));
    }

    #[test]
    fn what_has_expired_is_not_there_but_counts_until_it_is_removed() {
        let (gone, live) = (stored("7", Some(1_000)), stored("7", Some(1_001)));
        let written = |write: &KvWrite, entry| decided(write, Some(entry)).unwrap();
        assert_eq!(written(&KvWrite::Increment(1), &gone).written, KvWritten::Sum(1));
        assert_eq!(written(&KvWrite::Increment(1), &live).written, KvWritten::Sum(8));
        let deleted = written(&KvWrite::Delete, &gone);
        assert_eq!((deleted.written, deleted.delta), (KvWritten::Deleted(false), KvDelta { keys: -1, bytes: -2 }));
        assert_eq!(deleted.effect, KvEffect::Remove);
    }

    #[test]
    fn sums_and_swaps_keep_how_long_an_entry_lives_and_set_does_not() {
        let entry = stored("7", Some(2_000));
        let lives = |write: &KvWrite| match decided(write, Some(&entry)).unwrap().effect {
            KvEffect::Put(entry) => entry.expires_at.map(Timestamp::as_millis),
            other => panic!("{other:?}"),
        };
        assert_eq!(lives(&KvWrite::Increment(1)), Some(2_000));
        assert_eq!(lives(&KvWrite::Swap { expected: Some(value("7")), value: value("8") }), Some(2_000));
        assert_eq!(lives(&set("8")), None);
        assert_eq!(lives(&KvWrite::Set { value: value("8"), ttl: Some(Duration::from_secs(1)) }), Some(2_000));
    }

    #[test]
    fn a_swap_takes_the_very_value_and_nothing_for_null() {
        let swap = |expected: Option<&str>| KvWrite::Swap { expected: expected.map(value), value: value("1") };
        let swapped = |expected, held: Option<&KvEntry>| decided(&swap(expected), held).unwrap().written;
        let (seven, null) = (stored("7", None), stored("null", None));
        assert_eq!(swapped(Some("7"), Some(&seven)), KvWritten::Swapped(true));
        assert_eq!(swapped(Some("7.0"), Some(&seven)), KvWritten::Swapped(false));
        assert_eq!(swapped(None, Some(&seven)), KvWritten::Swapped(false));
        assert_eq!(swapped(None, Some(&null)), KvWritten::Swapped(true));
        assert_eq!(swapped(None, None), KvWritten::Swapped(true));
        assert_eq!(swapped(Some("7"), None), KvWritten::Swapped(false));
    }

    #[test]
    fn only_an_integer_grows_and_only_within_64_bits() {
        let by = KvWrite::Increment;
        for text in ["1.0", "\"1\"", "null", "[]"] {
            assert_eq!(decided(&by(1), Some(&stored(text, None))), Err(KvRefusal::NotAnInteger), "{text}");
        }
        let most = stored("7", None);
        assert_eq!(decided(&by(i64::MAX), Some(&most)), Err(KvRefusal::Overflow));
        assert_eq!(decided(&by(-7), Some(&most)).unwrap().written, KvWritten::Sum(0));
    }
}
