//! Writes execution records behind: a bounded buffer, a policy of what is kept, and one task that writes batches. It
//! must never make a request wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use picloud_shared::clock::Clock;
use picloud_shared::execution::ExecutionSink;
use picloud_shared::id::ScriptId;
use tokio::sync::{mpsc, oneshot};

use crate::repo::RepoError;
use crate::store::Store;

mod buffer;
mod follow;
mod lately;
mod ledger;
mod policy;
mod render;
mod retention;
mod tail;
mod task;

use buffer::Buffer;
pub(crate) use follow::Follower;
use follow::LONGEST;
pub use policy::{LogPolicy, Rate};
pub(crate) use tail::Shown;
use task::{Command, Writer};

/// The writer of execution records. Clones are the same writer.
#[derive(Clone)]
pub struct ExecutionWriter {
    store: Store,
    clock: Arc<dyn Clock>,
    buffer: Arc<Buffer>,
    commands: mpsc::UnboundedSender<Command>,
}

impl ExecutionWriter {
    /// Starts the task that writes. Must be called within a tokio runtime.
    pub fn start(store: Store, clock: Arc<dyn Clock>, policy: LogPolicy) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        let (buffer, records) = Buffer::new(policy, Arc::clone(&clock));
        let buffer = Arc::new(buffer);
        tokio::spawn(Writer::new(store.clone(), Arc::clone(&buffer), records, received).run());
        Self { store, clock, buffer, commands }
    }

    /// Where executors hand their records to.
    pub fn sink(&self) -> Arc<dyn ExecutionSink> {
        Arc::<Buffer>::clone(&self.buffer)
    }

    /// Waits until everything that was handed over before is in the store, or dropped because the store is down.
    pub async fn flush(&self) {
        self.command(Command::Flush).await;
    }

    /// Flushes and ends the task; later records are dropped and counted.
    pub async fn shutdown(&self) {
        self.command(Command::Stop).await;
    }

    async fn command(&self, command: fn(oneshot::Sender<()>) -> Command) {
        let (done, written) = oneshot::channel();
        // A task that has ended has written everything, and drops `done`.
        self.commands.send(command(done)).ok();
        written.await.ok();
    }

    /// Executions without a record since the start because the buffer was full or the store down.
    pub fn dropped(&self) -> u64 {
        self.buffer.dropped.load(Ordering::Relaxed)
    }

    /// Forgets, of scripts that are gone, for how many executions a later row would have stood. To be called now and then.
    pub fn retain_scripts(&self, exists: impl Fn(ScriptId) -> bool) {
        self.buffer.ledger.retain_scripts(exists);
    }

    /// Whoever shows what is kept to those who watch. No run lasts longer than `longest_run`; of very long ones not all is shown.
    pub(crate) fn follower(&self, longest_run: Duration) -> Follower {
        Follower { store: self.store.clone(), buffer: Arc::clone(&self.buffer), longest_run: longest_run.min(LONGEST) }
    }

    /// Waits until so much was written that [`ExecutionWriter::prune`] is wanted before its time.
    pub async fn prune_due(&self) {
        self.buffer.prune_due.notified().await;
    }

    /// Deletes what is too old or too much; how many records. To be called now and then in the background.
    ///
    /// # Errors
    /// [`RepoError::Unavailable`] when the store is down.
    pub async fn prune(&self) -> Result<u64, RepoError> {
        retention::prune(&self.store, &self.buffer.policy, self.clock.now()).await
    }
}
