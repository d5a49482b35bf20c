//! Where records wait for the writer: bounded in number and bytes, and never made to wait themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use picloud_shared::clock::Clock;
use picloud_shared::execution::{ExecutionRecord, ExecutionSink, RecordedEvent, RecordedInput, RecordedResponse};
use picloud_shared::name::SettingName;
use picloud_shared::secret::SecretValue;
use tokio::sync::{Notify, mpsc};

use crate::execution_writer::ledger::Ledger;
use crate::execution_writer::policy::LogPolicy;
use crate::execution_writer::tail::Tails;

/// Records that may wait.
const CAPACITY: usize = 32_768;

/// Bytes that waiting records may take: with the largest bodies and logs, 32,768 records would be 2 GiB.
const BYTE_BUDGET: usize = 64 * 1024 * 1024;

/// Records of one transaction.
pub(super) const BATCH: usize = 4_096;

pub(super) struct Buffer {
    pub policy: LogPolicy,
    pub clock: Arc<dyn Clock>,
    pub ledger: Ledger,
    pub tails: Tails,
    /// Executions whose row was wanted and lost.
    pub dropped: AtomicU64,
    /// Rung when there is something to write.
    pub bell: Bell,
    /// Rung when it should be written soon, not at the next tick.
    pub crowded: Notify,
    /// Rung when so much was written that old records may have to go.
    pub prune_due: Notify,
    bytes: AtomicUsize,
    sender: mpsc::Sender<Waiting>,
}

/// A record that waits.
pub(super) struct Waiting {
    pub record: ExecutionRecord,
    pub weight: u64,
    pub bytes: usize,
}

impl Buffer {
    pub fn new(policy: LogPolicy, clock: Arc<dyn Clock>) -> (Self, mpsc::Receiver<Waiting>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let buffer = Self {
            ledger: Ledger::new(&policy, clock.now()),
            tails: Tails::default(),
            policy,
            clock,
            dropped: AtomicU64::new(0),
            bell: Bell::default(),
            crowded: Notify::new(),
            prune_due: Notify::new(),
            bytes: AtomicUsize::new(0),
            sender,
        };
        (buffer, receiver)
    }

    /// Notes that a record waits no longer.
    pub fn release(&self, waiting: &Waiting) {
        self.bytes.fetch_sub(waiting.bytes, Ordering::Relaxed);
    }

    /// Counts executions whose rows are lost.
    pub fn count_dropped(&self, executions: u64) {
        self.dropped.fetch_add(executions, Ordering::Relaxed);
    }

    fn enqueue(&self, record: ExecutionRecord, weight: u64) {
        let bytes = bytes_of(&record);
        let waiting_bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if waiting_bytes > BYTE_BUDGET || self.sender.try_send(Waiting { record, weight, bytes }).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.count_dropped(weight);
        }
        if waiting_bytes > BYTE_BUDGET / 2 || CAPACITY - self.sender.capacity() >= BATCH {
            self.crowded.notify_one();
        }
    }
}

impl ExecutionSink for Buffer {
    fn record(&self, record: ExecutionRecord) {
        if let Some(weight) = self.ledger.enter(&record, &self.policy, self.clock.now()) {
            self.enqueue(record, weight);
        }
        self.bell.ring();
    }
}

/// Wakes the writer once for however many records.
#[derive(Default)]
pub(super) struct Bell {
    rung: AtomicBool,
    notify: Notify,
}

impl Bell {
    fn ring(&self) {
        // Both sides swap, so that either this wakes the writer or the writer sees what was done before.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    pub async fn rung(&self) {
        self.notify.notified().await;
    }

    /// Call this before looking at what there is to write.
    pub fn reset(&self) {
        self.rung.swap(false, Ordering::AcqRel);
    }
}

/// About what a record takes in memory.
fn bytes_of(record: &ExecutionRecord) -> usize {
    let headers = |headers: &http::HeaderMap| -> usize {
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum()
    };
    let input = match &record.input {
        RecordedInput::Request { head, body, .. } => {
            let text = head.host.len() + head.path.len() + head.query.as_deref().map_or(0, str::len);
            text + headers(&head.headers) + body.len()
        }
        RecordedInput::Events(events) => {
            events.iter().map(|event| size_of::<RecordedEvent>() + event.payload.len()).sum()
        }
    };
    let response = |response: &RecordedResponse| headers(&response.headers) + response.body.len();
    let logs: usize = record
        .logs
        .iter()
        .map(|line| size_of_val(line) + line.message.len() + line.data.as_ref().map_or(0, bytes_of_json))
        .sum();
    size_of::<Waiting>()
        + input
        + record.response.as_ref().map_or(0, response)
        + record.failure.as_ref().map_or(0, |failure| failure.message.len())
        + logs
        + record.secrets.iter().len() * size_of::<(SettingName, Arc<SecretValue>)>()
}

fn bytes_of_json(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(bytes_of_json).sum(),
            Value::Object(entries) => entries.iter().map(|(key, value)| key.len() + 64 + bytes_of_json(value)).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}
