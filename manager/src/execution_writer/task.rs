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

/// Between these, a tick bounds how much a crash can lose and how often an SD card is written.
const SHORTEST_TICK: Duration = Duration::from_millis(100);
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// Bytes of records in one transaction: an SD card that writes 5 MiB a second takes two seconds for them.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

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
}

impl Writer {
    pub fn new(
        store: Store,
        buffer: Arc<Buffer>,
        records: mpsc::Receiver<Waiting>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self { store, buffer, records, commands, store_is_down: false }
    }

    pub async fn run(mut self) {
        loop {
            match self.next_turn().await {
                Turn::Tick => self.write_what_waits().await,
                Turn::Command(Some(Command::Flush(done))) => {
                    self.write_what_waits().await;
                    done.send(()).ok();
                }
                Turn::Command(Some(Command::Stop(done))) => {
                    self.records.close();
                    self.write_what_waits().await;
                    done.send(()).ok();
                    return;
                }
                Turn::Command(None) => return self.write_what_waits().await,
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

    /// Writes what waits at this moment; what comes meanwhile rings the bell again.
    async fn write_what_waits(&mut self) {
        self.buffer.bell.reset();
        let mut waiting = self.records.len();
        let mut counters = self.buffer.ledger.take_counters();
        while waiting > 0 || !counters.is_empty() {
            let rows = self.take_rows(waiting.min(BATCH)).await;
            // Nobody else takes from the channel, so only a closed one can have fewer.
            waiting = if rows.is_empty() { 0 } else { waiting - rows.len() };
            if let Err(error) = self.write(rows, &counters).await {
                // The rest would fail likewise, each after the time that it takes to find out.
                self.drop_records(waiting);
                self.buffer.ledger.put_back(counters);
                self.note_store_down(&error);
                return;
            }
            counters.clear();
        }
        self.store_is_down = false;
        self.buffer.ledger.forget_idle(&self.buffer.policy, self.buffer.clock.now());
    }

    /// Up to `count` rows, at least one where one waits, fewer when they are large.
    async fn take_rows(&mut self, count: usize) -> Vec<NewExecution> {
        let (mut rows, mut bytes) = (Vec::with_capacity(count), 0);
        while rows.len() < count
            && bytes < BATCH_BYTES
            && let Ok(waiting) = self.records.try_recv()
        {
            self.buffer.release(&waiting);
            bytes += waiting.bytes;
            rows.push(render::row(&waiting.record, waiting.weight));
            if rows.len() % ROWS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        rows
    }

    /// Writes rows and counters in one transaction. Should a row be one that the database refuses, the others are
    /// written without it.
    ///
    /// # Errors
    /// The store is down; the rows are counted as dropped.
    async fn write(&self, rows: Vec<NewExecution>, counters: &[Counter]) -> Result<(), RepoError> {
        let mut parts = vec![(&rows[..], counters)];
        while let Some((rows, counters)) = parts.pop() {
            match self.write_transaction(rows, counters).await {
                Ok(()) => {}
                Err(error @ RepoError::Unavailable(_)) => {
                    let lost = parts.iter().flat_map(|(rows, _)| *rows).chain(rows);
                    self.buffer.count_dropped(lost.map(|row| row.sample_weight).sum());
                    return Err(error);
                }
                Err(error) if rows.len() <= 1 => {
                    tracing::error!(error = &error as &dyn std::error::Error, "an execution record was refused");
                    self.buffer.count_dropped(rows.iter().map(|row| row.sample_weight).sum());
                    if !counters.is_empty() && !rows.is_empty() {
                        parts.push((&[], counters));
                    }
                }
                Err(_) => {
                    let (left, right) = rows.split_at(rows.len() / 2);
                    parts.push((right, &[]));
                    parts.push((left, counters));
                }
            }
        }
        Ok(())
    }

    async fn write_transaction(&self, rows: &[NewExecution], counters: &[Counter]) -> Result<(), RepoError> {
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

/// What ended the wait.
enum Turn {
    Tick,
    /// `None`: nobody is left who could command.
    Command(Option<Command>),
}
