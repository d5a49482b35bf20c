//! Plain threads with large stacks, and the queue before them: apps take turns, of one app's jobs short ones come first, and
//! what does not fit is refused at once. No app takes all threads, nor do a few together: each leaves idle more than it has.
//!
//! It knows nothing of scripts: it is handed closures, each with the app that it is for.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use picloud_shared::id::AppId;

use crate::memory::Account;
use crate::memory::reclaim::{self, ThreadStack};

/// What a thread's stack has at least. It is virtual: parsing counts its levels, calls theirs, and both need far less.
pub const LEAST_STACK_BYTES: usize = 256 * 1024 * 1024;

/// How long a thread has nothing to do before it is worth seeing what it can give back.
const QUIET: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// Who a job is for.
type Lane = AppId;

/// How long a job is believed to take. Of one lane's jobs short ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// As long as a move to another thread.
    Short,
    /// Perhaps until its deadline.
    Long,
}

/// Sizes of a pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolSize {
    /// Threads.
    pub threads: usize,
    /// Jobs that one lane may have waiting and running.
    pub lane: usize,
    /// Jobs of all lanes that may wait.
    pub waiting: usize,
    /// Virtual memory of each thread's stack; only what a job touches becomes real, and goes back after it.
    pub stack_bytes: usize,
}

/// Why a job is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The lane has its share.
    Lane,
    /// Nobody can wait any more.
    Queue,
}

/// Names a job that may still be waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    lane: Lane,
    number: u64,
}

/// The threads and their queue. Dropped, the threads end after their current job and waiting jobs are dropped.
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    size: PoolSize,
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    lanes: HashMap<Lane, LaneState>,
    /// The lanes that have jobs waiting, each once; the front one is next.
    turns: VecDeque<Lane>,
    waiting: usize,
    busy: usize,
    tickets: u64,
    closed: bool,
}

#[derive(Default)]
struct LaneState {
    short: VecDeque<(u64, Job)>,
    long: VecDeque<(u64, Job)>,
    running: usize,
}

impl LaneState {
    fn waiting(&self) -> usize {
        self.short.len() + self.long.len()
    }

    fn pop(&mut self) -> Option<Job> {
        self.short.pop_front().or_else(|| self.long.pop_front()).map(|(_, job)| job)
    }

    fn remove(&mut self, number: u64) -> Option<Job> {
        [&mut self.short, &mut self.long].into_iter().find_map(|jobs| {
            let place = jobs.iter().position(|(of_job, _)| *of_job == number)?;
            jobs.remove(place).map(|(_, job)| job)
        })
    }
}

impl Pool {
    /// Starts the threads.
    pub fn start(name: &str, size: PoolSize) -> std::io::Result<Self> {
        let size = PoolSize { threads: size.threads.max(1), ..size };
        let shared = Arc::new(Shared { size, queue: Mutex::default(), work: Condvar::new() });
        let pool = Self { shared };
        for number in 0..size.threads {
            let shared = Arc::clone(&pool.shared);
            reclaim::spawn(format!("{name}-{number}"), size.stack_bytes, move |stack| shared.work(stack))?;
        }
        Ok(pool)
    }

    /// Has a job done as soon as its lane's turn comes.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn submit(&self, lane: AppId, length: Length, job: impl FnOnce() + Send + 'static) -> Result<Ticket, Refused> {
        let mut queue = self.shared.lock();
        let ticket = queue.push(lane, length, self.shared.size, Box::new(job))?;
        drop(queue);
        self.shared.work.notify_one();
        Ok(ticket)
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
            queue.turns.clear();
            std::mem::take(&mut queue.lanes)
        };
        self.shared.work.notify_all();
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
                    stack.when_quiet();
                    tidy = true;
                    queue = self.lock();
                }
                continue;
            };
            if queue.waiting > 0 && queue.busy < self.size.threads {
                // A job that ends can let two lanes go on, and wakes only its own thread.
                self.work.notify_one();
            }
            drop(queue);
            let account = Account::open();
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job of a worker thread panicked");
            }
            stack.after(account.peak());
            tidy = false;
            queue = self.lock();
            queue.done(lane);
        }
    }
}

impl Queue {
    fn push(&mut self, lane: Lane, length: Length, size: PoolSize, job: Job) -> Result<Ticket, Refused> {
        let state = self.lanes.entry(lane).or_default();
        if state.running + state.waiting() >= size.lane {
            self.forget_idle(lane);
            return Err(Refused::Lane);
        }
        // What an idle thread is about to take does not wait.
        let idle = size.threads.saturating_sub(self.busy);
        if self.waiting >= size.waiting.saturating_add(idle) {
            self.forget_idle(lane);
            return Err(Refused::Queue);
        }
        if state.waiting() == 0 {
            self.turns.push_back(lane);
        }
        self.tickets += 1;
        let jobs = match length {
            Length::Short => &mut state.short,
            Length::Long => &mut state.long,
        };
        jobs.push_back((self.tickets, job));
        self.waiting += 1;
        Ok(Ticket { lane, number: self.tickets })
    }

    /// The next job, lanes taking turns. A lane takes a thread only where more are idle than it has running: one app comes to half
    /// of all threads, the next one to half of the rest, so that of 16 threads five apps at least must have some before there are none.
    fn take(&mut self, threads: usize) -> Option<(Lane, Job)> {
        let idle = threads - self.busy;
        for _ in 0..self.turns.len() {
            let lane = self.turns.pop_front()?;
            let state = self.lanes.get_mut(&lane)?;
            if state.running >= idle {
                self.turns.push_back(lane);
                continue;
            }
            let job = state.pop()?;
            state.running += 1;
            if state.waiting() > 0 {
                self.turns.push_back(lane);
            }
            self.waiting -= 1;
            self.busy += 1;
            return Some((lane, job));
        }
        None
    }

    fn done(&mut self, lane: Lane) {
        self.busy -= 1;
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.running -= 1;
        }
        self.forget_idle(lane);
    }

    fn withdraw(&mut self, ticket: Ticket) -> Option<Job> {
        let state = self.lanes.get_mut(&ticket.lane)?;
        let job = state.remove(ticket.number)?;
        if state.waiting() == 0 {
            self.turns.retain(|lane| *lane != ticket.lane);
        }
        self.waiting -= 1;
        self.forget_idle(ticket.lane);
        Some(job)
    }

    /// Lanes come and go with apps; none is kept that has nothing to do.
    fn forget_idle(&mut self, lane: Lane) {
        if self.lanes.get(&lane).is_some_and(|state| state.running == 0 && state.waiting() == 0) {
            self.lanes.remove(&lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picloud_shared::clock::Timestamp;

    const SIZE: PoolSize = PoolSize { threads: 2, lane: 3, waiting: 4, stack_bytes: 1024 * 1024 };

    fn lane(millis: i64) -> Lane {
        AppId::generate(Timestamp::from_millis(millis))
    }

    fn push(queue: &mut Queue, lane: Lane) -> Result<Ticket, Refused> {
        queue.push(lane, Length::Long, SIZE, Box::new(|| ()))
    }

    fn take(queue: &mut Queue) -> Option<Lane> {
        queue.take(SIZE.threads).map(|(lane, _)| lane)
    }

    #[test]
    fn lanes_take_turns_whoever_came_first() {
        let (a, b) = (lane(1), lane(2));
        let mut queue = Queue::default();
        for lane in [a, a, a, b] {
            push(&mut queue, lane).unwrap();
        }
        let order: Vec<_> = std::iter::from_fn(|| {
            let lane = take(&mut queue)?;
            queue.done(lane);
            Some(lane)
        })
        .collect();
        assert_eq!(order, [a, b, a, a]);
        assert!(queue.lanes.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn short_jobs_of_a_lane_come_before_its_long_ones_and_take_no_turn_of_others() {
        let (a, b) = (lane(1), lane(2));
        let (mut queue, done) = (Queue::default(), Arc::new(Mutex::new(Vec::new())));
        for (lane, length, name) in [
            (a, Length::Long, "a long"),
            (b, Length::Long, "b"),
            (a, Length::Short, "a short"),
            (a, Length::Short, "a short 2"),
        ] {
            let done = Arc::clone(&done);
            queue.push(lane, length, SIZE, Box::new(move || done.lock().unwrap().push(name))).unwrap();
        }
        while let Some((lane, job)) = queue.take(SIZE.threads) {
            job();
            queue.done(lane);
        }
        assert_eq!(*done.lock().unwrap(), ["a short", "b", "a short 2", "a long"]);
    }

    #[test]
    fn the_last_idle_thread_is_kept_for_a_lane_that_has_none() {
        let (a, b) = (lane(1), lane(2));
        let mut queue = Queue::default();
        push(&mut queue, a).unwrap();
        push(&mut queue, a).unwrap();
        assert_eq!(take(&mut queue), Some(a));
        assert_eq!(take(&mut queue), None);
        push(&mut queue, b).unwrap();
        assert_eq!(take(&mut queue), Some(b));
        queue.done(b);
        assert_eq!(take(&mut queue), None);
        queue.done(a);
        assert_eq!(take(&mut queue), Some(a));
    }

    #[test]
    fn apps_that_want_all_threads_leave_some_to_the_next() {
        let size = PoolSize { threads: 16, lane: 100, waiting: 1_000, ..SIZE };
        let mut queue = Queue::default();
        let (apps, mut took) = ([1, 2, 3, 4, 5, 6].map(lane), Vec::new());
        for app in apps {
            for _ in 0..20 {
                queue.push(app, Length::Long, size, Box::new(|| ())).unwrap();
            }
            took.push(std::iter::from_fn(|| queue.take(size.threads)).count());
        }
        assert_eq!(took, [8, 4, 2, 1, 1, 0]);
        // Whoever comes last is the next to be served, though the others wait for longer.
        queue.done(apps[0]);
        assert_eq!(queue.take(size.threads).map(|(lane, _)| lane), Some(apps[5]));
    }

    #[test]
    fn a_lone_thread_serves_everybody() {
        let a = lane(1);
        let mut queue = Queue::default();
        push(&mut queue, a).unwrap();
        assert!(queue.take(1).is_some());
    }

    #[test]
    fn a_lane_has_its_share_and_the_queue_its_end() {
        let (a, b) = (lane(1), lane(2));
        let mut queue = Queue::default();
        for _ in 0..SIZE.lane {
            push(&mut queue, a).unwrap();
        }
        assert_eq!(push(&mut queue, a), Err(Refused::Lane));
        for _ in 0..SIZE.lane {
            push(&mut queue, b).unwrap();
        }
        // Two idle threads and four that may wait.
        assert_eq!(push(&mut queue, lane(3)), Err(Refused::Queue));
        assert_eq!(queue.lanes.len(), 2);
        take(&mut queue).unwrap();
        assert_eq!(push(&mut queue, lane(3)), Err(Refused::Queue));
    }

    #[test]
    fn a_withdrawn_job_leaves_nothing_behind() {
        let a = lane(1);
        let mut queue = Queue::default();
        let ticket = push(&mut queue, a).unwrap();
        assert!(queue.withdraw(ticket).is_some());
        assert!(queue.withdraw(ticket).is_none());
        assert!(queue.lanes.is_empty() && queue.turns.is_empty());
        assert_eq!((queue.waiting, take(&mut queue)), (0, None));
    }
}
