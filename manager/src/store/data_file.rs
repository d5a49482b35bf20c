//! The SQLite file of the apps' data, which scripts wait for: connections of SQLite's own, without the hand-over to another
//! thread that sqlx makes of each statement. Reads run on the thread that asks; writes on the one of the writer.

#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use rusqlite::Connection as DataConnection;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::repo::RepoError;
use crate::store::conn::FUNCTION_TIMEOUT;
use crate::store::write_health::WriteHealth;
pub(crate) use writer::WriteFailed;
use writer::{Job, Ticket, Writer};

/// Connections for reading that are kept open. There are as many as threads read at once, which are the workers of scripts.
const KEPT_READERS: usize = 32;

/// Statements that a connection keeps prepared: all that there are.
const KEPT_STATEMENTS: usize = 128;

/// Instructions of SQLite's between two looks at the clock: some 100 us.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// How long SQLite waits for another process that writes the same file, such as a command beside a server.
const BUSY: Duration = Duration::from_secs(5);

/// The file. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Option<Writer>>,
    health: WriteHealth,
}

impl DataFile {
    /// Opens the file, which has its schema, at its first use.
    pub(super) fn new(path: &Path, health: WriteHealth) -> Self {
        let inner = Inner { path: path.to_owned(), readers: Mutex::default(), writer: Mutex::default(), health };
        Self { inner: Arc::new(inner) }
    }

    /// Reads on this thread, for some microseconds.
    ///
    /// # Errors
    /// Those of `read`, and [`RepoError::Unavailable`] for a file that cannot be opened.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, RepoError>) -> Result<T, RepoError> {
        let kept = lock(&self.inner.readers).pop();
        let conn = kept.map_or_else(|| self.open(Role::Reader), Ok)?;
        let result = read(&conn);
        let mut readers = lock(&self.inner.readers);
        if !matches!(result, Err(RepoError::Unavailable(_))) && readers.len() < KEPT_READERS {
            readers.push(conn);
        }
        result
    }

    /// The same on a thread that must not wait; nothing where it might have to: for a connection to be opened, or for another process.
    pub(crate) fn read_at_once<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, RepoError>,
    ) -> Option<Result<T, RepoError>> {
        let conn = lock(&self.inner.readers).pop()?;
        let result = conn.busy_timeout(Duration::ZERO).map_err(RepoError::from).and_then(|()| read(&conn));
        // What is wrong with it is told by a read that may wait.
        let result = result.ok()?;
        if conn.busy_timeout(BUSY).is_ok() {
            lock(&self.inner.readers).push(conn);
        }
        Some(Ok(result))
    }

    /// The same where there may be more to go through: what is not done by the deadline is given up.
    ///
    /// # Errors
    /// As [`DataFile::read`], and [`RepoError::Unavailable`] after the deadline.
    pub(crate) fn read_until<T>(
        &self,
        deadline: Instant,
        read: impl FnOnce(&Connection) -> Result<T, RepoError>,
    ) -> Result<T, RepoError> {
        self.read(|conn| {
            conn.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || Instant::now() >= deadline))?;
            let result = read(conn);
            conn.progress_handler(0, None::<fn() -> bool>)?;
            result
        })
    }

    /// Reads on a thread that may wait for the disk.
    ///
    /// # Errors
    /// As [`DataFile::read`].
    pub(crate) async fn read_aside<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, RepoError> + Send + 'static,
    ) -> Result<T, RepoError> {
        let file = self.clone();
        let reading = tokio::task::spawn_blocking(move || file.read(read));
        reading.await.unwrap_or_else(|error| Err(RepoError::Failed(error.into())))
    }

    /// As [`DataFile::read_aside`], given up at the deadline as by [`DataFile::read_until`].
    ///
    /// # Errors
    /// As [`DataFile::read_until`].
    pub(crate) async fn read_aside_until<T: Send + 'static>(
        &self,
        deadline: Instant,
        read: impl FnOnce(&Connection) -> Result<T, RepoError> + Send + 'static,
    ) -> Result<T, RepoError> {
        let file = self.clone();
        let reading = tokio::task::spawn_blocking(move || file.read_until(deadline, read));
        reading.await.unwrap_or_else(|error| Err(RepoError::Failed(error.into())))
    }

    /// Has the writer do this, and returns once it is kept; this thread waits until the deadline at most. What `write` does
    /// commits as a whole, together with what others do at the time. It may be called again, after nothing of it was kept.
    ///
    /// # Errors
    /// See [`WriteFailed`].
    pub(crate) fn write_until<T: Send + 'static>(
        &self,
        deadline: Instant,
        write: impl FnMut(&Connection) -> Result<T, RepoError> + Send + 'static,
    ) -> Result<T, WriteFailed> {
        let (told, answer) = sync_channel(1);
        let (job, ticket) = writer::job(write, move |end| {
            // Nobody waiting any more means that the deadline came.
            let _ = told.send(end);
        });
        self.submit(job)?;
        await_until(deadline, &answer, &ticket)
    }

    /// The same for a caller that must not hold its thread, and has 10 s.
    ///
    /// # Errors
    /// See [`WriteFailed`].
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        write: impl FnMut(&Connection) -> Result<T, RepoError> + Send + 'static,
    ) -> Result<T, WriteFailed> {
        self.write_by(tokio::time::Instant::now() + FUNCTION_TIMEOUT, write).await
    }

    /// The same until a deadline of the caller's.
    ///
    /// # Errors
    /// See [`WriteFailed`].
    pub(crate) async fn write_by<T: Send + 'static>(
        &self,
        deadline: tokio::time::Instant,
        write: impl FnMut(&Connection) -> Result<T, RepoError> + Send + 'static,
    ) -> Result<T, WriteFailed> {
        let (told, mut answer) = oneshot::channel();
        let (job, ticket) = writer::job(write, move |end| {
            let _ = told.send(end);
        });
        self.submit(job)?;
        match timeout_at(deadline, &mut answer).await {
            Ok(Ok(end)) => end,
            Ok(Err(_)) => Err(WriteFailed::broken()),
            Err(_) if ticket.withdraw() => Err(WriteFailed::TooLate),
            Err(_) => answer.try_recv().unwrap_or(Err(WriteFailed::Unsettled)),
        }
    }

    /// Ends the writer, once what waits for it is done, and closes all connections.
    pub(super) async fn close(&self) {
        let writer = lock(&self.inner.writer).take();
        if let Some(writer) = writer {
            // A writer that panicked is as good as closed.
            let _ = tokio::task::spawn_blocking(|| writer.end()).await;
        }
        lock(&self.inner.readers).clear();
    }

    fn submit(&self, job: Box<dyn Job>) -> Result<(), WriteFailed> {
        let mut place = lock(&self.inner.writer);
        let writer = match place.take() {
            Some(writer) => writer,
            None => self.start_writer().map_err(WriteFailed::NotMade)?,
        };
        if !writer.submit(job) {
            // The next one starts another.
            return Err(WriteFailed::NotMade(RepoError::Failed("the writer of the data file ended".into())));
        }
        *place = Some(writer);
        Ok(())
    }

    fn start_writer(&self) -> Result<Writer, RepoError> {
        let health = &self.inner.health;
        let conn = self.open(Role::Writer).inspect_err(|error| health.note_failure(error))?;
        Writer::start(conn, health.clone()).map_err(|error| RepoError::Unavailable(error.into()))
    }

    fn open(&self, role: Role) -> Result<Connection, RepoError> {
        // Readers, too, write to the file beside it that readers and writer share.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.inner.path, flags)?;
        conn.busy_timeout(BUSY)?;
        conn.set_prepared_statement_cache_capacity(KEPT_STATEMENTS);
        conn.execute_batch(match role {
            // A read error of an SD card under mmap would be a SIGBUS. There may be many readers: each keeps little.
            Role::Reader => "PRAGMA query_only = on; PRAGMA mmap_size = 0; PRAGMA cache_size = -512",
            Role::Writer => {
                "PRAGMA synchronous = full; PRAGMA foreign_keys = on; PRAGMA mmap_size = 0; \
                 PRAGMA journal_size_limit = 16777216"
            }
        })?;
        Ok(conn)
    }
}

/// What becomes of a job that was submitted, for who waits until the deadline.
fn await_until<T>(
    deadline: Instant,
    answer: &Receiver<Result<T, WriteFailed>>,
    ticket: &Ticket,
) -> Result<T, WriteFailed> {
    match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(end) => end,
        Err(RecvTimeoutError::Timeout) if ticket.withdraw() => Err(WriteFailed::TooLate),
        // Its end may have come with the deadline.
        Err(RecvTimeoutError::Timeout) => answer.try_recv().unwrap_or(Err(WriteFailed::Unsettled)),
        Err(RecvTimeoutError::Disconnected) => Err(WriteFailed::broken()),
    }
}

#[derive(Debug, Clone, Copy)]
enum Role {
    Reader,
    Writer,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is done under either lock leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
