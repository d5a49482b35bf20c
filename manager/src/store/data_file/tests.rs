//! What becomes of writes that wait together, as those who wait are told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use super::*;
use crate::store::write_health::Verdict;

type Answer = Receiver<Result<(), WriteFailed>>;

struct Scratch {
    file: DataFile,
    health: WriteHealth,
    _dir: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE kept (n INTEGER PRIMARY KEY)").unwrap();
        let health = WriteHealth::default();
        Self { file: DataFile::new(&path, health.clone()), health, _dir: dir }
    }

    fn submit(&self, write: impl FnMut(&Connection) -> Result<(), RepoError> + Send + 'static) -> Answer {
        let (told, answer) = channel();
        let (job, _ticket) = writer::job(write, move |end| drop(told.send(end)));
        self.file.submit(job).unwrap();
        answer
    }

    /// Keeps the writer busy until what is given is dropped, so that what is submitted meanwhile waits together. Counts the
    /// transactions, of which this is one.
    fn hold(&self) -> (Sender<()>, Arc<AtomicUsize>) {
        let (begin, begun) = channel();
        let (release, released) = channel();
        let commits = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&commits);
        drop(self.submit(move |conn| {
            let counter = Arc::clone(&counter);
            let count = move || {
                counter.fetch_add(1, Ordering::Relaxed);
                false
            };
            conn.commit_hook(Some(count))?;
            begin.send(()).unwrap();
            // Nothing is ever sent.
            assert!(released.recv().is_err());
            keep(conn, -1)
        }));
        begun.recv().unwrap();
        (release, commits)
    }

    /// What was kept, but for what held the writer.
    fn kept(&self) -> Vec<i64> {
        let read = |conn: &Connection| {
            let mut statement = conn.prepare("SELECT n FROM kept WHERE n >= 0 ORDER BY n")?;
            Ok(statement.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
        };
        self.file.read(read).unwrap()
    }
}

fn keep(conn: &Connection, n: i64) -> Result<(), RepoError> {
    conn.execute("INSERT INTO kept VALUES (?)", [n])?;
    Ok(())
}

fn ends(answers: Vec<Answer>) -> Vec<Result<(), WriteFailed>> {
    answers.into_iter().map(|answer| answer.recv().unwrap()).collect()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[test]
fn what_waits_together_is_one_transaction() {
    let scratch = Scratch::new();
    let (release, commits) = scratch.hold();
    let answers = (0..100).map(|n| scratch.submit(move |conn| keep(conn, n))).collect();
    drop(release);
    assert!(ends(answers).iter().all(Result::is_ok));
    assert_eq!(scratch.kept(), (0..100).collect::<Vec<_>>());
    assert_eq!(commits.load(Ordering::Relaxed), 2);
}

#[test]
fn a_write_that_fails_or_panics_does_so_alone() {
    let scratch = Scratch::new();
    let (release, _) = scratch.hold();
    let write = |n: i64| {
        scratch.submit(move |conn| match n {
            3 => Ok(conn.execute_batch("INSERT INTO nowhere VALUES (1)")?),
            5 => panic!("on purpose"),
            _ => keep(conn, n),
        })
    };
    let answers = (0..8).map(write).collect();
    drop(release);
    for (n, end) in ends(answers).into_iter().enumerate() {
        let failed = matches!(end, Err(WriteFailed::NotMade(RepoError::Failed(_))));
        assert!(failed == [3, 5].contains(&n) && failed == end.is_err(), "{n}: {end:?}");
    }
    assert_eq!(scratch.kept(), [0, 1, 2, 4, 6, 7]);
    assert_eq!(scratch.health.verdict(), Verdict::Writable);
    scratch.file.write_until(soon(), |conn| keep(conn, 8)).unwrap();
}

#[test]
fn where_the_store_goes_away_amid_them_those_before_are_kept_and_the_rest_hears_why() {
    let scratch = Scratch::new();
    let (release, _) = scratch.hold();
    let write = |n: i64| {
        scratch.submit(move |conn| match n {
            1 => Ok(conn.execute_batch("INSERT INTO nowhere VALUES (1)")?),
            2 => Err(RepoError::Unavailable("the disk is gone".into())),
            _ => keep(conn, n),
        })
    };
    let answers = (0..5).map(write).collect();
    drop(release);
    let mut ends = ends(answers);
    for end in ends.drain(2..) {
        let Err(WriteFailed::NotMade(RepoError::Unavailable(cause))) = end else { panic!("{end:?}") };
        assert_eq!(cause.to_string(), "the disk is gone");
    }
    assert!(ends[0].is_ok() && matches!(ends[1], Err(WriteFailed::NotMade(RepoError::Failed(_)))), "{ends:?}");
    assert_eq!(scratch.kept(), [0]);
    assert_eq!(scratch.health.verdict(), Verdict::Failing);
}

#[test]
fn what_has_not_begun_at_the_deadline_is_withdrawn() {
    let scratch = Scratch::new();
    let (release, _) = scratch.hold();
    let late = scratch.file.write_until(Instant::now(), |conn| keep(conn, 1));
    assert!(matches!(late, Err(WriteFailed::TooLate)), "{late:?}");
    drop(release);
    scratch.file.write_until(soon(), |conn| keep(conn, 2)).unwrap();
    assert_eq!(scratch.kept(), [2]);
}

#[test]
fn what_has_begun_at_the_deadline_is_unsettled_and_goes_on() {
    let scratch = Scratch::new();
    let (begin, begun) = channel();
    let (release, released) = channel::<()>();
    let (told, answer) = channel();
    let write = move |conn: &Connection| {
        begin.send(()).unwrap();
        assert!(released.recv().is_err());
        keep(conn, 1)
    };
    let (job, ticket) = writer::job(write, move |end| drop(told.send(end)));
    scratch.file.submit(job).unwrap();
    begun.recv().unwrap();
    let end = await_until(Instant::now(), &answer, &ticket);
    assert!(matches!(end, Err(WriteFailed::Unsettled)), "{end:?}");
    drop(release);
    scratch.file.write_until(soon(), |conn| keep(conn, 2)).unwrap();
    assert_eq!(scratch.kept(), [1, 2]);
    assert!(answer.recv().unwrap().is_ok());
}

#[test]
fn where_the_writer_has_ended_the_next_write_starts_another() {
    let scratch = Scratch::new();
    let (job, _ticket) = writer::job(|_| Ok(()), |_: Result<(), _>| panic!("on purpose"));
    scratch.file.submit(job).unwrap();
    // One that was taken together with it is kept, though nobody is told so.
    let keep = |conn: &Connection| Ok(conn.execute_batch("INSERT OR IGNORE INTO kept VALUES (1)")?);
    let deadline = soon();
    while scratch.file.write_until(soon(), keep).is_err() {
        assert!(Instant::now() < deadline, "no other writer is started");
    }
    assert_eq!(scratch.kept(), [1]);
}
