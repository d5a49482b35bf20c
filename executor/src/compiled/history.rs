//! Which tier a program's next run starts in, by what its runs were like.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::limits::{INLINE_OPERATIONS, INLINE_TIME};

/// What it adds to the level that a run was too long for a tier; that one was short takes 1 away. One thread in some
/// hundreds is preempted amid a short run and looks long by the clock, which must not send a busy script to the workers.
const LONG_RUN: u32 = 32;
/// What a run that held an I/O thread adds for each so much of that time, which is what any inline run may take. So whatever one
/// run takes at once, on average none takes longer than that; 13 ms count as a long run does, since so long are threads preempted.
const HELD: Duration = Duration::from_micros(2 * INLINE_TIME.as_micros() as u64);
/// The highest level: two seconds held. A machine that stood still looks the same.
const HIGHEST: u32 = 5_000;
/// The level from which runs start on a worker: twice in a row too long. One run can be that, first inline and then on the
/// worker it moved to; one that was only preempted proves short there.
const LONG: u32 = 2 * LONG_RUN;
/// The level from which there is no doubt.
const SURELY_LONG: u32 = 6 * LONG_RUN;

/// Runs in a row without a call of a port after which one starts in the inline tier again: to begin there in vain costs some
/// ten microseconds, and to be on a worker in vain as much.
const CALLS_PORTS: u32 = 16;

/// What a program's runs were like lately. Starts with the benefit of the doubt; two runs that end at once may count as one.
#[derive(Debug, Default)]
pub struct History {
    /// How long they were.
    level: AtomicU32,
    /// How many must yet be without a call of a port.
    calls_ports: AtomicU32,
}

/// What a run that came to its end took.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    /// Operations.
    pub operations: u64,
    /// From its beginning to its end.
    pub elapsed: Duration,
    /// Whether it called a port, for which it waited a part of that time.
    pub called_port: bool,
}

impl History {
    /// Whether the next run is likely to be short.
    pub fn is_short(&self) -> bool {
        self.level() < LONG
    }

    /// Whether the next run is likely to call a port, which only runs on workers do.
    pub fn calls_ports(&self) -> bool {
        self.calls_ports.load(Ordering::Relaxed) > 0
    }

    /// Whether a run may be tried in the inline tier when no worker is to be had.
    pub fn may_be_short(&self) -> bool {
        self.level() < SURELY_LONG
    }

    /// Notes a run that was stopped in the inline tier when it was about to call a port.
    pub fn moved_to_port(&self) {
        self.calls_ports.store(CALLS_PORTS, Ordering::Relaxed);
    }

    /// Notes a run that came to its end, on an I/O thread or on a worker.
    pub fn ended(&self, inline: bool, Spent { operations, elapsed, called_port }: Spent) {
        if called_port {
            self.calls_ports.store(CALLS_PORTS, Ordering::Relaxed);
        } else if self.calls_ports() {
            self.calls_ports.store(self.calls_ports.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
        }
        // What it waited for is no work of its own, and holds no I/O thread.
        if operations > INLINE_OPERATIONS || (elapsed > INLINE_TIME && !called_port) {
            self.raise(if inline { held(elapsed) } else { LONG_RUN });
        } else {
            let level = self.level();
            if level > 0 {
                self.level.store(level - 1, Ordering::Relaxed);
            }
        }
    }

    /// Notes a run that was stopped in the inline tier after that time.
    pub fn moved(&self, elapsed: Duration) {
        self.raise(held(elapsed));
    }

    fn level(&self) -> u32 {
        self.level.load(Ordering::Relaxed)
    }

    fn raise(&self, by: u32) {
        self.level.store((self.level() + by).min(HIGHEST), Ordering::Relaxed);
    }
}

/// What a run that was too long adds, having held an I/O thread for that time.
fn held(elapsed: Duration) -> u32 {
    let times = u32::try_from(elapsed.as_micros() / HELD.as_micros()).unwrap_or(HIGHEST);
    times.clamp(LONG_RUN, HIGHEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIEF: Duration = Duration::from_micros(10);

    fn ended(history: &History, inline: bool, operations: u64, elapsed: Duration) {
        history.ended(inline, Spent { operations, elapsed, called_port: false });
    }

    fn shorts_until(history: &History, done: impl Fn(&History) -> bool) -> usize {
        (0..10_000).take_while(|_| !done(history)).inspect(|_| ended(history, true, 10, BRIEF)).count()
    }

    #[test]
    fn one_long_run_among_short_ones_changes_nothing() {
        let history = History::default();
        for _ in 0..100 {
            ended(&history, true, 10, INLINE_TIME * 64);
            assert!(history.is_short());
            (0..LONG_RUN).for_each(|_| ended(&history, true, 10, BRIEF));
        }
    }

    #[test]
    fn a_run_that_was_only_preempted_proves_short_on_the_worker_and_changes_nothing() {
        let history = History::default();
        history.moved(INLINE_TIME);
        ended(&history, true, 10, BRIEF);
        assert!(history.is_short());
    }

    #[test]
    fn a_run_that_is_long_in_both_tiers_moves_its_program_which_comes_back_after_short_runs() {
        let history = History::default();
        history.moved(INLINE_TIME);
        ended(&history, false, INLINE_OPERATIONS + 1, BRIEF);
        assert!(!history.is_short() && history.may_be_short());
        assert_eq!(shorts_until(&history, History::is_short), 1);
    }

    #[test]
    fn a_program_that_is_long_every_other_time_stays_with_the_workers() {
        let history = History::default();
        for _ in 0..20 {
            ended(&history, false, INLINE_OPERATIONS + 1, BRIEF);
            ended(&history, true, 10, BRIEF);
        }
        assert!(!history.may_be_short());
        assert!(shorts_until(&history, History::is_short) > 100);
    }

    #[test]
    fn an_io_thread_that_was_held_is_paid_for_by_as_many_short_runs_as_would_have_taken_that_time() {
        let history = History::default();
        ended(&history, true, 10, Duration::from_secs(1));
        assert!(!history.may_be_short());
        assert_eq!(shorts_until(&history, History::is_short), 2_500 - 64 + 1);
        history.moved(Duration::from_secs(3600));
        history.moved(Duration::from_secs(3600));
        assert_eq!(shorts_until(&history, History::is_short), 5_000 - 64 + 1);
    }

    #[test]
    fn a_worker_may_be_held_as_long_as_its_limits_let() {
        let history = History::default();
        ended(&history, false, 10, Duration::from_secs(60));
        assert!(history.is_short());
    }

    #[test]
    fn a_program_that_calls_a_port_starts_on_a_worker_at_once_and_is_no_longer_for_what_it_waits() {
        let history = History::default();
        history.moved_to_port();
        assert!(history.calls_ports() && history.is_short());
        for _ in 0..100 {
            history.ended(false, Spent { operations: 10, elapsed: Duration::from_secs(1), called_port: true });
        }
        assert!(history.calls_ports() && history.is_short());
        assert_eq!(shorts_until(&history, |history| !history.calls_ports()), 16);
        history.ended(false, Spent { operations: INLINE_OPERATIONS + 1, elapsed: BRIEF, called_port: true });
        history.ended(false, Spent { operations: INLINE_OPERATIONS + 1, elapsed: BRIEF, called_port: true });
        assert!(!history.is_short());
    }
}
