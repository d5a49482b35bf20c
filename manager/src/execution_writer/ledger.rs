//! Counts every execution, and decides which of them get a row and for how many each row stands.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::execution::{ExecutionRecord, Origin, Outcome};
use picloud_shared::hashing::FastMap;
use picloud_shared::id::{AppId, ScriptId};

use crate::execution_writer::policy::{LogPolicy, TokenBucket};
use crate::repo::executions::counters::Counter;

/// Over its rate, a script still gets a row this often for each outcome, so that a busy neighbour hides none.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// After this time without an execution, a script of which every execution has its row is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// Counters that wait for a store that is down: a day of 40 scripts. More are given up.
const MAX_WAITING_COUNTERS: usize = 65_536;

/// Locks for different scripts, so that workers seldom meet.
const SHARDS: usize = 16;

const MINUTE_MS: i64 = 60_000;

pub(super) struct Ledger {
    shards: [Mutex<Shard>; SHARDS],
    successes: Mutex<TokenBucket>,
    failures: Mutex<FastMap<AppId, TokenBucket>>,
}

#[derive(Default)]
struct Shard {
    samples: FastMap<SampleKey, Sample>,
    counters: FastMap<CounterKey, Sum>,
}

/// What rows stand for each other: tests are not mixed with traffic.
type SampleKey = (ScriptId, Outcome, bool);
type CounterKey = (AppId, ScriptId, Timestamp, Outcome);

#[derive(Clone, Copy)]
struct Sample {
    skipped: u64,
    kept_at: Option<Timestamp>,
    seen_at: Timestamp,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    count: u64,
    duration_us: u64,
}

impl Ledger {
    pub fn new(policy: &LogPolicy, now: Timestamp) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            successes: Mutex::new(TokenBucket::full(policy.successes, now)),
            failures: Mutex::default(),
        }
    }

    /// Counts the execution. The weight of its row, or `None` when it gets none.
    pub fn enter(&self, record: &ExecutionRecord, policy: &LogPolicy, now: Timestamp) -> Option<u64> {
        let minute = record.started_at.as_millis().div_euclid(MINUTE_MS) * MINUTE_MS;
        let mut shard = lock(&self.shards[shard_of(record.script_id)]);
        let counter = (record.app_id, record.script_id, Timestamp::from_millis(minute), record.outcome);
        shard
            .counters
            .entry(counter)
            .or_default()
            .add(1, u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX));

        // Few, and of each somebody wants to know. (How many requests come by async routes is anybody's choice.)
        let is_test = matches!(record.origin, Origin::Test | Origin::Trigger(_));
        let key = (record.script_id, record.outcome, is_test);
        let sample = shard.samples.entry(key).or_insert(Sample { skipped: 0, kept_at: None, seen_at: now });
        sample.seen_at = now;
        let within_rate = if record.outcome == Outcome::Success && !is_test {
            lock(&self.successes).take(policy.successes, now)
        } else {
            let rate = policy.failures_per_app;
            let mut failures = lock(&self.failures);
            failures.entry(record.app_id).or_insert_with(|| TokenBucket::full(rate, now)).take(rate, now)
        };
        if within_rate || sample.kept_at.is_none_or(|kept_at| is_due(kept_at, now)) {
            sample.kept_at = Some(now);
            Some(1 + std::mem::take(&mut sample.skipped))
        } else {
            sample.skipped += 1;
            None
        }
    }

    /// All counts since the last time.
    pub fn take_counters(&self) -> Vec<Counter> {
        let mut taken = Vec::new();
        for shard in &self.shards {
            let counters = std::mem::take(&mut lock(shard).counters);
            taken.extend(counters.into_iter().map(|((app_id, script_id, minute, outcome), sum)| Counter {
                app_id,
                script_id,
                minute,
                outcome,
                count: sum.count,
                duration_us_sum: sum.duration_us,
            }));
        }
        taken
    }

    /// Takes back counts that could not be written.
    pub fn put_back(&self, counters: Vec<Counter>) {
        for counter in counters {
            let key = (counter.app_id, counter.script_id, counter.minute, counter.outcome);
            let mut shard = lock(&self.shards[shard_of(counter.script_id)]);
            if shard.counters.len() < MAX_WAITING_COUNTERS / SHARDS || shard.counters.contains_key(&key) {
                shard.counters.entry(key).or_default().add(counter.count, counter.duration_us_sum);
            }
        }
    }

    /// Forgets what a later row would have told of scripts that are gone.
    pub fn retain_scripts(&self, exists: impl Fn(ScriptId) -> bool) {
        for shard in &self.shards {
            lock(shard).samples.retain(|(script, ..), _| exists(*script));
        }
    }

    /// Frees what idle scripts and apps took, but for what the weight of a later row must tell.
    pub fn forget_idle(&self, policy: &LogPolicy, now: Timestamp) {
        for shard in &self.shards {
            lock(shard).samples.retain(|_, sample| sample.skipped > 0 || now.since(sample.seen_at) < FORGET_AFTER);
        }
        lock(&self.failures).retain(|_, bucket| !bucket.is_full(policy.failures_per_app, now));
    }
}

impl Sum {
    fn add(&mut self, count: u64, duration_us: u64) {
        self.count = self.count.saturating_add(count);
        self.duration_us = self.duration_us.saturating_add(duration_us);
    }
}

/// A clock that went back must not silence a script until it catches up.
fn is_due(kept_at: Timestamp, now: Timestamp) -> bool {
    now < kept_at || now.since(kept_at) >= SAMPLE_INTERVAL
}

fn shard_of(id: ScriptId) -> usize {
    usize::from(id.as_uuid().as_bytes()[15]) % SHARDS
}

/// Nothing here can be left half done by a panic, so a poisoned lock is as good as another.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
