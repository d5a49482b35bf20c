//! What is kept, how much of it and for how long; and the bucket by which a rate is held.

use std::time::Duration;

use picloud_shared::clock::Timestamp;

use crate::store::Store;

/// What is kept of the executions, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct LogPolicy {
    /// Successes kept at a time over all apps; beyond it, one each second of every script.
    pub successes: Rate,
    /// Failures and tests kept of each app; beyond it, one each second of every script and outcome.
    pub failures_per_app: Rate,
    /// The longest time that a record waits before it is written, from 100 ms to 1 s.
    pub tick: Duration,
    /// The age at which a record is deleted.
    pub max_age: Duration,
    /// Records of one app that are kept.
    pub max_records_per_app: u64,
    /// Bytes that all records may take.
    pub max_bytes: u64,
}

/// So many a second in the long run, and so many at once after a quiet time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Sustained, for each second.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// Bytes of new records after which old ones are looked at again: at a full log's rate more often than the clock does it.
const PRUNE_STEP: u64 = 32 * 1024 * 1024;

impl LogPolicy {
    /// How much is written between two prunes, at most an eighth of what may be kept. A prune leaves as much room, so that
    /// the log stays below its limit.
    pub(super) fn prune_step(&self) -> u64 {
        PRUNE_STEP.min(self.max_bytes / 8)
    }

    /// The defaults for a store: a row takes about 170 bytes with its index, and SQLite's disk is often an SD card.
    pub fn for_store(store: &Store) -> Self {
        let sqlite = Self {
            successes: Rate { per_second: 50, burst: 5_000 },
            failures_per_app: Rate { per_second: 50, burst: 5_000 },
            tick: Duration::from_millis(250),
            max_age: Duration::from_secs(14 * 24 * 60 * 60),
            max_records_per_app: 1_000_000,
            max_bytes: 512 * 1024 * 1024,
        };
        if store.is_sqlite() {
            return sqlite;
        }
        let tenfold = |rate: Rate| Rate { per_second: rate.per_second * 10, burst: rate.burst * 10 };
        Self {
            successes: tenfold(sqlite.successes),
            failures_per_app: tenfold(sqlite.failures_per_app),
            max_records_per_app: sqlite.max_records_per_app * 10,
            max_bytes: sqlite.max_bytes * 10,
            ..sqlite
        }
    }
}

/// A token bucket. Counts in thousandths, so that a millisecond at one a second is not lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenBucket {
    thousandths: u64,
    filled_at: Timestamp,
}

impl TokenBucket {
    pub fn full(rate: Rate, now: Timestamp) -> Self {
        Self { thousandths: u64::from(rate.burst) * 1_000, filled_at: now }
    }

    /// Takes a token, if there is one. A clock that went back adds none.
    pub fn take(&mut self, rate: Rate, now: Timestamp) -> bool {
        self.fill(rate, now);
        let taken = self.thousandths >= 1_000;
        if taken {
            self.thousandths -= 1_000;
        }
        taken
    }

    pub fn is_full(&mut self, rate: Rate, now: Timestamp) -> bool {
        self.fill(rate, now);
        self.thousandths == u64::from(rate.burst) * 1_000
    }

    fn fill(&mut self, rate: Rate, now: Timestamp) {
        let elapsed_ms = u64::try_from(now.since(self.filled_at).as_millis()).unwrap_or(u64::MAX);
        let gained = elapsed_ms.saturating_mul(u64::from(rate.per_second));
        self.thousandths = self.thousandths.saturating_add(gained).min(u64::from(rate.burst) * 1_000);
        self.filled_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 2, burst: 3 };

    fn taken(bucket: &mut TokenBucket, at_ms: i64) -> usize {
        (0..10).filter(|_| bucket.take(RATE, Timestamp::from_millis(at_ms))).count()
    }

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let mut bucket = TokenBucket::full(RATE, Timestamp::from_millis(0));
        assert_eq!([0, 499, 500, 1_000, 60_000].map(|at| taken(&mut bucket, at)), [3, 0, 1, 1, 3]);
    }

    #[test]
    fn a_clock_that_goes_back_stops_no_bucket_and_fills_none() {
        let mut bucket = TokenBucket::full(RATE, Timestamp::from_millis(3_600_000));
        assert_eq!([3_600_000, 0, 500].map(|at| taken(&mut bucket, at)), [3, 0, 1]);
    }
}
