//! Plain threads with large stacks, and the queue before them: apps take turns, of one app's jobs short ones come first, and
//! what does not fit is refused at once. No app takes all threads, nor do a few together: each leaves idle more than it has, and who
//! finds none for too long has a spare one.
//!
//! It knows nothing of scripts: it is handed closures, each with the app that it is for.

mod queue;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use picloud_shared::id::AppId;

use crate::memory::Account;
use crate::memory::reclaim::{self, ThreadStack};
use queue::{Job, Lane, Queue, Watched};
pub use queue::{Length, Refused, Ticket};

/// What a thread's stack has at least. It is virtual: parsing counts its levels, calls theirs, and both need far less.
pub const LEAST_STACK_BYTES: usize = 256 * 1024 * 1024;

/// How long a thread has nothing to do before it is worth seeing what it can give back.
const QUIET: Duration = Duration::from_secs(1);

/// How long lanes wait for a spare thread that could not be started.
const NO_THREAD: Duration = Duration::from_secs(1);

/// Sizes of a pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolSize {
    /// Threads.
    pub threads: usize,
    /// Threads beyond them that may be started for lanes that have had none for too long.
    pub spares: usize,
    /// Jobs that one lane may have waiting and running.
    pub lane: usize,
    /// Jobs of all lanes that may wait.
    pub waiting: usize,
    /// Virtual memory of each thread's stack; only what a job touches becomes real, and goes back after it.
    pub stack_bytes: usize,
    /// By how much each is nicer than the threads that serve connections.
    pub nice: u8,
}

/// What a pool has at hand.
#[derive(Debug, Clone, Copy)]
pub struct PoolLoad {
    /// Jobs that wait.
    pub waiting: usize,
    /// Threads that are at a job, without the spare ones.
    pub busy: usize,
    /// Threads, without the spare ones.
    pub threads: usize,
    /// Spare threads that there are.
    pub spares: usize,
}

/// The threads and their queue. Dropped, the threads end after their current job and waiting jobs are dropped.
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    size: PoolSize,
    queue: Mutex<Queue>,
    /// Told when there is a job to take.
    work: Condvar,
    /// Told when a lane finds all threads taken, and when a spare one ends.
    starving: Condvar,
}

impl Pool {
    /// Starts the threads.
    pub fn start(name: &str, size: PoolSize) -> std::io::Result<Self> {
        let size = PoolSize { threads: size.threads.max(1), ..size };
        let shared = Arc::new(Shared { size, queue: Mutex::default(), work: Condvar::new(), starving: Condvar::new() });
        let pool = Self { shared };
        for number in 0..size.threads {
            let shared = Arc::clone(&pool.shared);
            reclaim::spawn(format!("{name}-{number}"), size.stack_bytes, size.nice, move |stack| shared.work(stack))?;
        }
        if size.spares > 0 {
            let (shared, name) = (Arc::clone(&pool.shared), format!("{name}-spare"));
            std::thread::Builder::new().name(name.clone()).spawn(move || shared.start_spares(&name))?;
        }
        Ok(pool)
    }

    /// Has a job done as soon as its lane's turn comes. It is of no use unless it has begun within `timeout`: a lane that finds all
    /// threads taken may have a spare one after half of that, from 50 to 500 ms.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn submit(
        &self,
        lane: AppId,
        length: Length,
        timeout: Duration,
        job: impl FnOnce() + Send + 'static,
    ) -> Result<Ticket, Refused> {
        let mut queue = self.shared.lock();
        let ticket = queue.push(lane, length, timeout, self.shared.size, Box::new(job))?;
        self.shared.watch_over(&mut queue, lane);
        drop(queue);
        self.shared.work.notify_one();
        Ok(ticket)
    }

    /// What it has at hand now.
    pub fn load(&self) -> PoolLoad {
        let queue = self.shared.lock();
        PoolLoad { waiting: queue.waiting, busy: queue.busy, threads: self.shared.size.threads, spares: queue.spares }
    }

    /// Takes a waiting job back; false when it has begun.
    pub fn withdraw(&self, ticket: Ticket) -> bool {
        let job = self.shared.lock().withdraw(ticket);
        job.is_some()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let waiting = {
            let mut queue = self.shared.lock();
            queue.closed = true;
            queue.take_all()
        };
        self.shared.work.notify_all();
        self.shared.starving.notify_all();
        drop(waiting);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Jobs run outside the lock, so nothing can have been left half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, stack: &ThreadStack) {
        let mut tidy = true;
        let mut queue = self.lock();
        while !queue.closed {
            let Some((lane, job)) = queue.take(self.size.threads) else {
                if tidy {
                    queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                let waited = self.work.wait_timeout(queue, QUIET).unwrap_or_else(PoisonError::into_inner);
                queue = waited.0;
                if waited.1.timed_out() {
                    drop(queue);
                    tidy = stack.when_quiet();
                    queue = self.lock();
                }
                continue;
            };
            // A job that ends can let two lanes go on, and wakes only its own thread.
            self.wake_idle(&queue);
            drop(queue);
            do_it(stack, job);
            tidy = false;
            queue = self.lock();
            queue.done(lane);
            self.watch_over(&mut queue, lane);
        }
    }

    /// Wakes an idle thread, if there is one, for what waits.
    fn wake_idle(&self, queue: &Queue) {
        if queue.waiting > 0 && queue.busy < self.size.threads {
            self.work.notify_one();
        }
    }

    /// Wakes the thread that starts spare ones, where it does not know yet that there may be a need for one.
    fn watch_over(&self, queue: &mut Queue, lane: Lane) {
        if queue.is_news(lane) {
            self.starving.notify_one();
        }
    }

    /// Starts a thread for each lane that has none and has waited for long enough, as long as there are spare ones.
    fn start_spares(self: &Arc<Self>, name: &str) {
        let mut queue = self.lock();
        while !queue.closed {
            // The one before has not taken its job yet, or there can be no more.
            let may = !queue.starting && queue.spares < self.size.spares;
            let until = queue.starving_until().filter(|_| may);
            queue.watched = match until {
                Some(until) => Watched::Until(until),
                None if may => Watched::Told,
                None => Watched::Full,
            };
            let Some(until) = until else {
                queue = self.starving.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let mut wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                (queue.starting, queue.spares) = (true, queue.spares + 1);
                // Nobody waits for the lock while the system makes a thread.
                drop(queue);
                let (shared, PoolSize { stack_bytes, nice, .. }) = (Arc::clone(self), self.size);
                let started = reclaim::spawn(name.to_owned(), stack_bytes, nice, move |stack| shared.spare(stack));
                if let Err(error) = &started {
                    tracing::warn!(%error, "no thread for an app that waits for one");
                }
                queue = self.lock();
                if started.is_ok() {
                    continue;
                }
                (queue.starting, queue.spares) = (false, queue.spares - 1);
                wait = NO_THREAD;
            }
            queue = self.starving.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Does jobs of lanes that starve until there is none.
    fn spare(&self, stack: &ThreadStack) {
        let mut queue = self.lock();
        loop {
            let next = queue.take_starving(Instant::now());
            queue.starting = false;
            self.starving.notify_one();
            let Some((lane, job)) = next else { break };
            drop(queue);
            do_it(stack, job);
            queue = self.lock();
            queue.done_by_spare(lane);
            self.watch_over(&mut queue, lane);
            // A worker may have been idle and the lane not allowed it, as it had this one.
            self.wake_idle(&queue);
        }
        queue.spares -= 1;
    }
}

fn do_it(stack: &ThreadStack, job: Job) {
    let account = Account::open();
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        tracing::error!("a job of a worker thread panicked");
    }
    stack.after(account.peak());
}
