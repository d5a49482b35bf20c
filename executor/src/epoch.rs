//! A count that advances each millisecond while a worker runs a script, so that a run sees time pass without reading the
//! clock: comparing a number costs nothing beside an operation, and reading the clock as much as one.
//!
//! It tells no time. Whoever sees it advance reads the clock, and must do so now and then if it does not: a busy machine may
//! let the thread behind it wait.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

/// By this much can a run outlast its deadline unseen.
const PERIOD: Duration = Duration::from_millis(1);
/// How long it goes on when nothing runs any more. Waking its thread takes longer than a short run.
const LINGER: Duration = Duration::from_millis(100);

static EPOCH: AtomicU64 = AtomicU64::new(0);
/// Runs that want it to advance.
static RUNS: AtomicUsize = AtomicUsize::new(0);
static TICKER: OnceLock<Thread> = OnceLock::new();

/// The count.
#[inline]
pub fn now() -> u64 {
    EPOCH.load(Ordering::Relaxed)
}

/// Starts the thread behind it, one for the process.
///
/// # Errors
/// It cannot be started.
pub fn start() -> std::io::Result<()> {
    static STARTING: Mutex<()> = Mutex::new(());
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if TICKER.get().is_none() {
        let ticker = thread::Builder::new().name("picloud-epoch".to_owned()).spawn(tick)?;
        TICKER.get_or_init(|| ticker.thread().clone());
    }
    Ok(())
}

fn tick() {
    let mut idle = Duration::ZERO;
    loop {
        if RUNS.load(Ordering::SeqCst) > 0 {
            idle = Duration::ZERO;
        } else if idle > LINGER {
            // One who came in the meantime has left a token, and this returns at once.
            thread::park();
            idle = Duration::ZERO;
        }
        thread::sleep(PERIOD);
        idle += PERIOD;
        EPOCH.fetch_add(1, Ordering::Relaxed);
    }
}

/// Keeps the count advancing.
pub struct Advancing(());

impl Advancing {
    /// From now on.
    pub fn begin() -> Self {
        if RUNS.fetch_add(1, Ordering::SeqCst) == 0
            && let Some(ticker) = TICKER.get()
        {
            ticker.unpark();
        }
        Self(())
    }
}

impl Drop for Advancing {
    fn drop(&mut self) {
        RUNS.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_advances_while_something_runs_however_long_nothing_did() {
        start().unwrap();
        start().unwrap();
        for _ in 0..3 {
            let _advancing = Advancing::begin();
            let begun = now();
            while now() < begun + 3 {
                thread::yield_now();
            }
        }
    }
}
