//! The one task that writes: it sleeps while nothing happens, then gathers for a tick and writes batches.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::execution_writer::buffer::{BATCH, Buffer, Waiting};
use crate::execution_writer::render;
use crate::repo::RepoError;
use crate::repo::executions::counters::{self, Counter};
use crate::repo::executions::insert::{self, NewExecution};
use crate::store::Store;
use crate::survive::{survive, survive_now};

/// Between these, a tick bounds how much a crash can lose and how often an SD card is written.
const SHORTEST_TICK: Duration = Duration::from_millis(100);
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// Bytes of records in one transaction: an SD card that writes 5 MiB a second takes two seconds for them.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// How often a transaction is tried that others are in the way of. Each time one of those has gone on.
const ATTEMPTS: u32 = 5;

/// Rows rendered before other tasks get a turn: about a tenth of a millisecond.
const ROWS_PER_TURN: usize = 64;

/// What the writer is told; it answers when it is done.
pub(super) enum Command {
    /// Write everything that waits now.
    Flush(oneshot::Sender<()>),
    /// Write everything and end.
    Stop(oneshot::Sender<()>),
}

pub(super) struct Writer {
    store: Store,
    buffer: Arc<Buffer>,
    records: mpsc::Receiver<Waiting>,
    commands: mpsc::UnboundedReceiver<Command>,
    store_is_down: bool,
    /// Bytes of records since a prune was last asked for.
    unpruned: u64,
}

impl Writer {
    pub fn new(
        store: Store,
        buffer: Arc<Buffer>,
        records: mpsc::Receiver<Waiting>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self { store, buffer, records, commands, store_is_down: false, unpruned: 0 }
    }

    pub async fn run(mut self) {
        loop {
            match self.next_turn().await {
                Turn::Tick => self.write().await,
                Turn::Command(Some(Command::Flush(done))) => {
                    self.write().await;
                    done.send(()).ok();
                }
                Turn::Command(Some(Command::Stop(done))) => {
                    self.records.close();
                    self.write().await;
                    done.send(()).ok();
                    return;
                }
                Turn::Command(None) => return self.write().await,
            }
        }
    }

    async fn next_turn(&mut self) -> Turn {
        tokio::select! {
            command = self.commands.recv() => return Turn::Command(command),
            () = self.buffer.bell.rung() => {}
        }
        let tick = self.buffer.policy.tick.clamp(SHORTEST_TICK, LONGEST_TICK);
        tokio::select! {
            command = self.commands.recv() => Turn::Command(command),
            () = self.buffer.crowded.notified() => Turn::Tick,
            () = tokio::time::sleep(tick) => Turn::Tick,
        }
    }

    async fn write(&mut self) {
        survive("writing execution records", self.write_what_waits()).await;
    }

    /// Writes what waits at this moment; what comes meanwhile rings the bell again.
    async fn write_what_waits(&mut self) {
        self.buffer.bell.reset();
        let waiting = self.records.len();
        match self.try_write(waiting).await {
            Ok(()) => self.store_is_down = false,
            Err(error) => self.note_store_down(&error),
        }
        self.buffer.ledger.forget_idle(&self.buffer.policy, self.buffer.clock.now());
    }

    /// Writes the counters and then that many records.
    ///
    /// # Errors
    /// The store cannot be reached: the counters wait, the records are dropped and counted.
    async fn try_write(&mut self, mut waiting: usize) -> Result<(), RepoError> {
        let mut result = self.write_counters().await;
        while waiting > 0 && result.is_ok() {
            let (rows, taken) = self.take_rows(waiting.min(BATCH)).await;
            // Nobody else takes from the channel, so that what waited is there.
            waiting = if taken == 0 { 0 } else { waiting - taken };
            result = self.write_rows(&rows).await;
        }
        if result.is_err() {
            // The rest would fail likewise, each after the time that it takes to find out.
            self.drop_records(waiting);
        }
        result
    }

    /// Rows of up to `count` records, fewer when they are large, and how many records were taken for them: at least one where
    /// one waits.
    async fn take_rows(&mut self, count: usize) -> (Vec<NewExecution>, usize) {
        let (mut rows, mut taken, mut bytes) = (Vec::with_capacity(count), 0, 0);
        while taken < count
            && bytes < BATCH_BYTES
            && let Ok(waiting) = self.records.try_recv()
        {
            self.buffer.release(&waiting);
            bytes += waiting.bytes;
            taken += 1;
            let weight = waiting.weight;
            match render(waiting).await {
                Some(row) => rows.push(row),
                None => self.buffer.count_dropped(weight),
            }
            if taken % ROWS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        (rows, taken)
    }

    /// Writes the counts in a transaction of their own: rows may be written in parts, but counts must be added once.
    ///
    /// # Errors
    /// The store cannot be reached.
    async fn write_counters(&self) -> Result<(), RepoError> {
        let counters = self.buffer.ledger.take_counters();
        if counters.is_empty() {
            return Ok(());
        }
        let Err(error) = self.transaction(&[], &counters).await else {
            return Ok(());
        };
        if let RepoError::Unavailable(_) | RepoError::Contended(_) = error {
            self.buffer.ledger.put_back(counters);
        }
        unless_refused(error, "counts of executions were refused")
    }

    /// Writes rows in one transaction. Should a row be one that the database refuses, the others are written without it.
    ///
    /// # Errors
    /// The store cannot be reached; the rows are counted as dropped.
    async fn write_rows(&mut self, rows: &[NewExecution]) -> Result<(), RepoError> {
        let mut parts = vec![rows];
        while let Some(rows) = parts.pop() {
            let (error, lost) = match self.transaction(rows, &[]).await {
                Ok(()) => {
                    self.note_written(rows);
                    continue;
                }
                Err(RepoError::Failed(_) | RepoError::Unstorable(_)) if rows.len() > 1 => {
                    let (left, right) = rows.split_at(rows.len() / 2);
                    parts.extend([right, left]);
                    continue;
                }
                Err(error @ RepoError::Unavailable(_)) => (error, [&std::mem::take(&mut parts)[..], &[rows]].concat()),
                Err(error) => (error, vec![rows]),
            };
            self.buffer.count_dropped(lost.into_iter().flatten().map(|row| row.sample_weight).sum());
            unless_refused(error, "execution records were refused")?;
        }
        Ok(())
    }

    /// Shows what was written to those who watch, unless that is done for all nodes, and asks for a prune after so many bytes.
    fn note_written(&mut self, rows: &[NewExecution]) {
        if self.store.is_sqlite() {
            self.buffer.tails.show(rows);
        }
        self.unpruned += rows.iter().map(NewExecution::bytes).sum::<u64>();
        if self.unpruned >= self.buffer.policy.prune_step() {
            self.unpruned = 0;
            self.buffer.prune_due.notify_one();
        }
    }

    /// Writes in one transaction, again where another one was in the way.
    async fn transaction(&self, rows: &[NewExecution], counters: &[Counter]) -> Result<(), RepoError> {
        let mut attempts = 1;
        loop {
            match self.attempt(rows, counters).await {
                Err(RepoError::Contended(_)) if attempts < ATTEMPTS => attempts += 1,
                result => return result,
            }
        }
    }

    async fn attempt(&self, rows: &[NewExecution], counters: &[Counter]) -> Result<(), RepoError> {
        let mut tx = self.store.begin_logs().await?;
        insert::commit_later(&mut tx).await?;
        insert::insert_batch(&mut tx, rows).await?;
        counters::add_counters(&mut tx, counters).await?;
        tx.commit().await
    }

    fn drop_records(&mut self, count: usize) {
        for _ in 0..count {
            let Ok(waiting) = self.records.try_recv() else {
                return;
            };
            self.buffer.release(&waiting);
            self.buffer.count_dropped(waiting.weight);
        }
    }

    fn note_store_down(&mut self, error: &RepoError) {
        if !std::mem::replace(&mut self.store_is_down, true) {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "execution records are dropped until the store is back"
            );
        }
    }
}

/// The row for a record; nothing where rendering it panicked. Taking secrets out of one is no work for a thread that serves.
async fn render(Waiting { record, weight, bytes }: Waiting) -> Option<NewExecution> {
    let is_quick = record.secrets.is_empty();
    let render = move || survive_now("rendering an execution record", || render::row(&record, weight, bytes));
    if is_quick { render() } else { tokio::task::spawn_blocking(render).await.ok().flatten() }
}

/// What ended the wait.
enum Turn {
    Tick,
    /// `None`: nobody is left who could command.
    Command(Option<Command>),
}

/// Passes on that the store cannot be reached; what it refused is said once here, and the rest goes on.
fn unless_refused(error: RepoError, message: &'static str) -> Result<(), RepoError> {
    if let RepoError::Unavailable(_) = error {
        return Err(error);
    }
    tracing::error!(error = &error as &dyn std::error::Error, "{message}");
    Ok(())
}
