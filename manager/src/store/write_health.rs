//! Whether writes fail while reads do not: a disk that is full or read-only. Told by the writes that there are; only after one
//! failed is there one more to find out when they succeed again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::repo::RepoError;

/// For so long a failure counts whatever came after it. Where the disk is nearly full small writes succeed between failures
/// of larger ones, and the execution log tries about once a second.
const FRESH: Duration = Duration::from_secs(5);

/// What came of the last writes. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct WriteHealth {
    /// The last failure, until a later write proved that it has passed.
    failed: Arc<Mutex<Option<Instant>>>,
}

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Writable,
    Failing,
    /// The last failure is some time ago: a write would tell.
    Uncertain,
}

impl WriteHealth {
    /// Notes what became of a write.
    pub fn note<T>(&self, result: &Result<T, RepoError>) {
        if let Err(error) = result {
            self.note_failure(error);
        }
    }

    /// Notes why a write failed.
    pub fn note_failure(&self, error: &RepoError) {
        if matches!(error, RepoError::Unavailable(_)) {
            self.set(Some(Instant::now()));
        }
    }

    /// Notes that a write succeeded which could not but reach the disk.
    pub fn recovered(&self) {
        self.set(None);
    }

    pub fn verdict(&self) -> Verdict {
        match *self.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Verdict::Writable,
            Some(at) if at.elapsed() < FRESH => Verdict::Failing,
            Some(_) => Verdict::Uncertain,
        }
    }

    fn set(&self, failed: Option<Instant>) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }
}
