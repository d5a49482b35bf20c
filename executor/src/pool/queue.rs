//! The queue before a pool's threads: whose turn it is, and who has waited for too long.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use picloud_shared::id::AppId;

use super::PoolSize;

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Who a job is for.
pub(super) type Lane = AppId;

/// How long a job is believed to take. Of one lane's jobs short ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// As long as a move to another thread.
    Short,
    /// Perhaps until its deadline.
    Long,
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

/// How long a lane waits at most with no thread at all before it may have a spare one.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long it waits at least, however soon its jobs are of no use.
const LEAST_PATIENCE: Duration = Duration::from_millis(50);

/// When whoever starts spare threads looks for lanes that starve.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// Once it is told.
    #[default]
    Told,
    /// At that moment at the latest.
    Until(Instant),
    /// Once a spare thread takes a job or ends: there can be no more before.
    Full,
}

#[derive(Default)]
pub(super) struct Queue {
    lanes: HashMap<Lane, LaneState>,
    /// The lanes that have jobs waiting, each once; the front one is next.
    turns: VecDeque<Lane>,
    pub(super) waiting: usize,
    /// Threads that have a job, without the spare ones.
    pub(super) busy: usize,
    /// Spare threads that there are.
    pub(super) spares: usize,
    /// Whether the last of them has not looked for a job yet.
    pub(super) starting: bool,
    /// When whoever starts them will look for lanes that starve without being told.
    pub(super) watched: Watched,
    tickets: u64,
    pub(super) closed: bool,
}

#[derive(Default)]
struct LaneState {
    short: VecDeque<(u64, Job)>,
    long: VecDeque<(u64, Job)>,
    /// On spare threads as well.
    running: usize,
    /// When it may have a spare thread: it has jobs waiting and none running.
    starving: Option<Instant>,
}

impl LaneState {
    fn waiting(&self) -> usize {
        self.short.len() + self.long.len()
    }

    /// Lets it wait for no longer than `patience` with no thread at all.
    fn wait_at_most(&mut self, patience: Duration) {
        if self.running == 0 {
            let until = Instant::now() + patience;
            self.starving = Some(self.starving.map_or(until, |starving| starving.min(until)));
        }
    }

    /// Its next job, which runs from now on.
    fn begin(&mut self) -> Option<Job> {
        let (_, job) = self.short.pop_front().or_else(|| self.long.pop_front())?;
        self.running += 1;
        self.note_hunger();
        Some(job)
    }

    fn end(&mut self) {
        self.running -= 1;
        self.note_hunger();
    }

    fn remove(&mut self, number: u64) -> Option<Job> {
        [&mut self.short, &mut self.long].into_iter().find_map(|jobs| {
            let place = jobs.iter().position(|(of_job, _)| *of_job == number)?;
            jobs.remove(place).map(|(_, job)| job)
        })
    }

    fn note_hunger(&mut self) {
        self.starving = match self.running == 0 && self.waiting() > 0 {
            true => self.starving.or_else(|| Some(Instant::now() + PATIENCE)),
            false => None,
        };
    }
}

impl Queue {
    /// Lets a job wait that is of no use unless it has begun within `timeout`.
    pub(super) fn push(
        &mut self,
        lane: Lane,
        length: Length,
        timeout: Duration,
        size: PoolSize,
        job: Job,
    ) -> Result<Ticket, Refused> {
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
        state.wait_at_most((timeout / 2).clamp(LEAST_PATIENCE, PATIENCE));
        self.waiting += 1;
        Ok(Ticket { lane, number: self.tickets })
    }

    /// The next job, lanes taking turns. A lane takes a thread only where more are idle than it has running: one app comes to half
    /// of all threads, the next one to half of the rest, so that of 16 threads five apps at least must have some before there are none.
    pub(super) fn take(&mut self, threads: usize) -> Option<(Lane, Job)> {
        let idle = threads - self.busy;
        for _ in 0..self.turns.len() {
            let lane = self.turns.pop_front()?;
            let state = self.lanes.get_mut(&lane)?;
            if state.running >= idle {
                self.turns.push_back(lane);
                continue;
            }
            let job = state.begin()?;
            if state.waiting() > 0 {
                self.turns.push_back(lane);
            }
            self.waiting -= 1;
            self.busy += 1;
            return Some((lane, job));
        }
        None
    }

    /// Whether it has to be told that the lane has jobs waiting and no thread; it counts as told then.
    pub(super) fn is_news(&mut self, lane: Lane) -> bool {
        let Some(until) = self.lanes.get(&lane).and_then(|state| state.starving) else {
            return false;
        };
        let news = match self.watched {
            Watched::Told => true,
            Watched::Until(watched) => until < watched,
            Watched::Full => false,
        };
        if news {
            self.watched = Watched::Until(until);
        }
        news
    }

    /// When the first of the lanes that starve may have a spare thread.
    pub(super) fn starving_until(&self) -> Option<Instant> {
        self.turns.iter().filter_map(|lane| self.lanes.get(lane)?.starving).min()
    }

    /// A job for a spare thread.
    pub(super) fn take_starving(&mut self, now: Instant) -> Option<(Lane, Job)> {
        let starved =
            |lane: &Lane| self.lanes.get(lane).and_then(|state| state.starving).is_some_and(|until| until <= now);
        let place = self.turns.iter().position(starved)?;
        let lane = self.turns[place];
        let state = self.lanes.get_mut(&lane)?;
        let job = state.begin()?;
        if state.waiting() == 0 {
            self.turns.remove(place);
        }
        self.waiting -= 1;
        Some((lane, job))
    }

    /// All jobs that wait; none is left.
    pub(super) fn take_all(&mut self) -> Vec<Job> {
        self.turns.clear();
        self.waiting = 0;
        let all = std::mem::take(&mut self.lanes).into_values();
        all.flat_map(|state| state.short.into_iter().chain(state.long)).map(|(_, job)| job).collect()
    }

    pub(super) fn done(&mut self, lane: Lane) {
        self.busy -= 1;
        self.done_by_spare(lane);
    }

    /// As [`Queue::done`], of a job that a spare thread took.
    pub(super) fn done_by_spare(&mut self, lane: Lane) {
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.end();
        }
        self.forget_idle(lane);
    }

    pub(super) fn withdraw(&mut self, ticket: Ticket) -> Option<Job> {
        let state = self.lanes.get_mut(&ticket.lane)?;
        let job = state.remove(ticket.number)?;
        state.note_hunger();
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
    use std::sync::{Arc, Mutex};

    use picloud_shared::clock::Timestamp;

    use super::*;

    const SIZE: PoolSize = PoolSize { threads: 2, spares: 1, lane: 3, waiting: 4, stack_bytes: 1024 * 1024, nice: 0 };
    const MINUTE: Duration = Duration::from_secs(60);

    fn lane(millis: i64) -> Lane {
        AppId::generate(Timestamp::from_millis(millis))
    }

    fn push(queue: &mut Queue, lane: Lane) -> Result<Ticket, Refused> {
        queue.push(lane, Length::Long, MINUTE, SIZE, Box::new(|| ()))
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
            queue.push(lane, length, MINUTE, SIZE, Box::new(move || done.lock().unwrap().push(name))).unwrap();
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
                queue.push(app, Length::Long, MINUTE, size, Box::new(|| ())).unwrap();
            }
            took.push(std::iter::from_fn(|| queue.take(size.threads)).count());
        }
        assert_eq!(took, [8, 4, 2, 1, 1, 0]);
        // Whoever comes last is the next to be served, though the others wait for longer.
        queue.done(apps[0]);
        assert_eq!(queue.take(size.threads).map(|(lane, _)| lane), Some(apps[5]));
    }

    #[test]
    fn a_lane_that_has_had_no_thread_for_half_a_second_has_a_spare_one() {
        let (a, b, c) = (lane(1), lane(2), lane(3));
        let mut queue = Queue::default();
        for lane in [a, b, c, c, a] {
            push(&mut queue, lane).unwrap();
        }
        assert_eq!((take(&mut queue), take(&mut queue), take(&mut queue)), (Some(a), Some(b), None));
        assert!(queue.is_news(c) && !queue.is_news(c) && !queue.is_news(a), "a waits and has a thread");
        let until = queue.starving_until().unwrap();
        assert!(queue.take_starving(until - Duration::from_millis(1)).is_none());
        assert_eq!(queue.take_starving(until).map(|(lane, _)| lane), Some(c));
        // One is enough, though another of its jobs waits.
        assert!(queue.starving_until().is_none());
        assert!(queue.take_starving(until + MINUTE).is_none());
        queue.done_by_spare(c);
        // It starves anew only from then on.
        assert!(queue.starving_until().unwrap() > until);
        queue.done(b);
        assert_eq!(take(&mut queue), Some(c));
        queue.done(c);
        queue.done(a);
        assert_eq!(take(&mut queue), Some(a));
        queue.done(a);
        assert!(queue.lanes.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn a_lane_whose_jobs_cannot_wait_for_half_a_second_has_a_spare_thread_in_half_of_what_they_can() {
        let (a, patient, hasty) = (lane(1), lane(2), lane(3));
        let (mut queue, timeout) = (Queue::default(), Duration::from_millis(200));
        let size = PoolSize { threads: 1, waiting: 10, ..SIZE };
        let push = |queue: &mut Queue, lane, timeout| {
            let before = Instant::now();
            queue.push(lane, Length::Short, timeout, size, Box::new(|| ())).unwrap();
            before
        };
        push(&mut queue, a, MINUTE);
        assert_eq!(queue.take(1).map(|(lane, _)| lane), Some(a));
        push(&mut queue, patient, MINUTE);
        assert!(queue.is_news(patient));
        // Whoever looks once the first may have one is told of one that may have one before.
        push(&mut queue, hasty, MINUTE);
        assert!(!queue.is_news(hasty));
        let before = push(&mut queue, hasty, timeout);
        assert!(queue.is_news(hasty) && !queue.is_news(hasty));
        let until = queue.starving_until().unwrap();
        assert!(before + timeout / 2 <= until && until <= Instant::now() + timeout / 2);
        assert_eq!(queue.take_starving(until).map(|(lane, _)| lane), Some(hasty));
        // Whatever the timeout, a spare thread is for those who waited.
        let at_once = lane(4);
        let before = push(&mut queue, at_once, Duration::ZERO);
        assert!(queue.starving_until().unwrap() >= before + LEAST_PATIENCE);
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
