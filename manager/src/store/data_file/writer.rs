//! Group commit: one thread writes, and all writes that wait when it comes to them are one transaction. While it waits for the
//! disk the next ones gather, so that the more there are, the fewer waits each costs; one alone waits for nobody.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use rusqlite::ffi::ErrorCode;

use super::WriteHealth;
use crate::repo::RepoError;

/// Writes of one transaction. Waiting for the disk is well spread over so many, and the last of them waits for all.
const MOST_TOGETHER: usize = 256;

/// Why a write was not done, or is not known to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteFailed {
    /// Nothing of it was kept, nor will be.
    #[error("nothing was written")]
    NotMade(#[source] RepoError),
    /// The disk failed amid the commit.
    #[error("whether it was written is not known")]
    Unknown(#[source] RepoError),
    /// The caller's deadline came first. It will not be done.
    #[error("there was no time to write")]
    TooLate,
    /// The caller's deadline came amid the commit, which goes on.
    #[error("the time was up while it was being written")]
    Unsettled,
}

impl WriteFailed {
    /// The writer ended without a word.
    pub(super) fn broken() -> Self {
        Self::Unknown(RepoError::Failed("the writer of the data file ended".into()))
    }

    /// The same for each write of a transaction that failed.
    fn shared(self) -> Box<dyn Fn() -> Self> {
        match self {
            Self::NotMade(error) => {
                let error = error.shared();
                Box::new(move || Self::NotMade(error()))
            }
            Self::Unknown(error) => {
                let error = error.shared();
                Box::new(move || Self::Unknown(error()))
            }
            Self::TooLate => Box::new(|| Self::TooLate),
            Self::Unsettled => Box::new(|| Self::Unsettled),
        }
    }

    /// As a caller without a deadline of its own tells it.
    pub(crate) fn into_repo_error(self) -> RepoError {
        match self {
            Self::NotMade(error) => error,
            other => RepoError::Unavailable(other.into()),
        }
    }
}

/// A write that waits for its turn.
pub(super) trait Job: Send {
    /// Begins it, unless it was withdrawn.
    fn begin(&self) -> bool;
    /// Does it within the transaction that is open; maybe again in another one.
    fn apply(&mut self, conn: &Connection) -> Result<(), RepoError>;
    /// Tells its caller what came of it.
    fn settle(self: Box<Self>, end: Result<(), WriteFailed>);
}

/// A job, and what withdraws it.
pub(super) fn job<T: Send + 'static>(
    write: impl FnMut(&Connection) -> Result<T, RepoError> + Send + 'static,
    tell: impl FnOnce(Result<T, WriteFailed>) + Send + 'static,
) -> (Box<dyn Job>, Ticket) {
    let ticket = Ticket::default();
    (Box::new(Asked { write, tell, made: None, ticket: ticket.clone() }), ticket)
}

struct Asked<T, W, R> {
    write: W,
    tell: R,
    made: Option<T>,
    ticket: Ticket,
}

impl<T: Send, W, R> Job for Asked<T, W, R>
where
    W: FnMut(&Connection) -> Result<T, RepoError> + Send,
    R: FnOnce(Result<T, WriteFailed>) + Send,
{
    fn begin(&self) -> bool {
        self.ticket.leave_waiting(BEGUN)
    }

    fn apply(&mut self, conn: &Connection) -> Result<(), RepoError> {
        self.made = Some((self.write)(conn)?);
        Ok(())
    }

    fn settle(self: Box<Self>, end: Result<(), WriteFailed>) {
        let Self { tell, made, .. } = *self;
        tell(end.and_then(|()| made.ok_or_else(WriteFailed::broken)));
    }
}

/// Whether a job has begun or was withdrawn: the first of the two holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Ticket(Arc<AtomicU8>);

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Ticket {
    /// Takes the job back; false when it has begun.
    pub(super) fn withdraw(&self) -> bool {
        self.leave_waiting(WITHDRAWN)
    }

    fn leave_waiting(&self, to: u8) -> bool {
        self.0.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The thread that writes.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Sender<Box<dyn Job>>,
    thread: JoinHandle<()>,
}

impl Writer {
    pub(super) fn start(conn: Connection, health: WriteHealth) -> std::io::Result<Self> {
        let (jobs, waiting) = channel();
        let work = move || write_all(&conn, &waiting, &health);
        let thread = std::thread::Builder::new().name("picloud-data".to_owned()).spawn(work)?;
        Ok(Self { jobs, thread })
    }

    /// Hands a job over; false where the thread has ended.
    pub(super) fn submit(&self, job: Box<dyn Job>) -> bool {
        self.jobs.send(job).is_ok()
    }

    /// Waits for what was submitted, and ends the thread.
    pub(super) fn end(self) {
        drop(self.jobs);
        // What it panicked with stands in the log.
        let _ = self.thread.join();
    }
}

fn write_all(conn: &Connection, waiting: &Receiver<Box<dyn Job>>, health: &WriteHealth) {
    while let Ok(first) = waiting.recv() {
        let jobs = std::iter::once(first).chain(waiting.try_iter().take(MOST_TOGETHER - 1));
        write_together(conn, jobs.filter(|job| job.begin()).collect(), health);
    }
}

fn write_together(conn: &Connection, mut jobs: Vec<Box<dyn Job>>, health: &WriteHealth) {
    if jobs.is_empty() {
        return;
    }
    let end = transact(conn, health, || jobs.iter_mut().try_for_each(|job| apply(&mut **job, conn)));
    match end {
        Ok(()) => jobs.into_iter().for_each(|job| job.settle(Ok(()))),
        // Nothing is kept, and it may have been for one of them.
        Err(failed) if jobs.len() > 1 && !is_of_all(&failed) => write_each(conn, jobs, health),
        Err(failed) => fail(jobs, failed),
    }
}

/// Writes each in a transaction of its own.
fn write_each(conn: &Connection, jobs: Vec<Box<dyn Job>>, health: &WriteHealth) {
    let mut jobs = jobs.into_iter();
    while let Some(mut job) = jobs.next() {
        match transact(conn, health, || apply(&mut *job, conn)) {
            // It would be the same with the others, who would wait for that one after the other.
            Err(failed @ WriteFailed::NotMade(_)) if is_of_all(&failed) => {
                return fail(std::iter::once(job).chain(jobs).collect(), failed);
            }
            end => job.settle(end),
        }
    }
}

/// Whether a transaction failed for what would fail any.
fn is_of_all(failed: &WriteFailed) -> bool {
    match failed {
        WriteFailed::NotMade(error) => matches!(error, RepoError::Unavailable(_)),
        _ => true,
    }
}

fn fail(jobs: Vec<Box<dyn Job>>, failed: WriteFailed) {
    let failed = failed.shared();
    jobs.into_iter().for_each(|job| job.settle(Err(failed())));
}

/// Does a job. One that panics fails alone.
fn apply(job: &mut dyn Job, conn: &Connection) -> Result<(), RepoError> {
    let applied = catch_unwind(AssertUnwindSafe(|| job.apply(conn)));
    applied.unwrap_or_else(|_| Err(RepoError::Failed("a write of the data file panicked".into())))
}

/// Does it in a transaction, which it commits.
fn transact(
    conn: &Connection,
    health: &WriteHealth,
    work: impl FnOnce() -> Result<(), RepoError>,
) -> Result<(), WriteFailed> {
    let run = |sql| conn.prepare_cached(sql).and_then(|mut statement| statement.execute(()));
    let failed = |tell: fn(RepoError) -> WriteFailed, error: RepoError| {
        roll_back(conn);
        health.note_failure(&error);
        Err(tell(error))
    };
    if let Err(error) = run("BEGIN IMMEDIATE").map_err(RepoError::from).and_then(|_| work()) {
        return failed(WriteFailed::NotMade, error);
    }
    match run("COMMIT") {
        Ok(_) => Ok(()),
        // Any other is found before the last page is written, which makes it a commit.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => {
            failed(WriteFailed::Unknown, error.into())
        }
        Err(error) => failed(WriteFailed::NotMade, error.into()),
    }
}

/// Ends the transaction if one is open still: some failures end it themselves.
fn roll_back(conn: &Connection) {
    if !conn.is_autocommit()
        && let Err(error) = conn.execute_batch("ROLLBACK")
    {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a transaction of the data file cannot be rolled back"
        );
    }
}
