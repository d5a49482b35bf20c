//! The meter of a run: operations, the clock, memory, and the sticky reason for which a run must stop.
//!
//! It knows nothing of programs, requests or responses. There is one meter a thread, because Rhai's progress callback has no
//! argument that could carry one, and a thread runs one script at a time.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use rhai::{Dynamic, EvalAltResult};

use crate::memory::{self, Account};

/// Operations that the inline tier gives a run before it moves to a worker: some 300 us of plain script.
pub const INLINE_OPERATIONS: u64 = 5_000;
/// The wall clock that the inline tier gives a run. A longer one would be felt by the other connections of the I/O
/// thread, while a move to a worker costs some 10 us.
pub const INLINE_TIME: Duration = Duration::from_micros(200);

/// Operations between two looks at the clock on a worker. A look costs some 25 ns; at every 256th operation a limit of
/// one second was overshot by another when operations are dear.
const WORKER_CLOCK_STRIDE: u64 = 32;
/// Operations between two looks at the clock on an I/O thread, where an overshoot stalls others.
const INLINE_CLOCK_STRIDE: u64 = 8;

/// Between two looks that far apart each operation is dear, so the clock is looked at after every one.
const SLOW_STRIDE: Duration = Duration::from_millis(2);
/// Bytes that a run may ask the allocator for between two looks, whatever the operations: copying them takes some 100 us, and
/// by as much can it outgrow its memory unseen.
const ASKED_STRIDE: u64 = 512 * 1024;

/// Memory that a run may take in the inline tier before it moves to a worker.
const INLINE_MEMORY: usize = 4 * 1024 * 1024;

/// Bytes that a native function may parse or write for the price of one operation; both run at some 10 ns a byte.
const BYTES_AN_OPERATION: usize = 8;

/// Why a run must end. Once set it stays: the next operation is told so, and any after that unwinds, so that neither a
/// script's `catch` nor a native function that swallows errors goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It used up `max_operations`.
    Operations,
    /// It ran past its timeout.
    Timeout,
    /// It held too much memory, or asked for more than it may have at once.
    Memory,
    /// A value was over the limit of that name where an error would have been swallowed.
    Data(&'static str),
    /// It is too long for the inline tier; it starts again on a worker.
    Inline,
}

/// What a run may use.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Operations at which it stops.
    pub operations: u64,
    /// The moment at which it stops.
    pub deadline: Instant,
    /// Operations between two looks at the clock.
    pub clock_stride: u64,
    /// Bytes that it may take at once; it may hold half of them, since any operation can copy all that is held.
    pub memory: usize,
    /// Whether reaching any of these only means that it is too long for the inline tier.
    pub inline: bool,
}

impl Allowance {
    /// What a run gets on a worker.
    pub fn worker(operations: u64, deadline: Instant, memory: usize) -> Self {
        Self { operations, deadline, clock_stride: WORKER_CLOCK_STRIDE, memory, inline: false }
    }

    /// What a run gets on an I/O thread.
    pub fn inline(max_operations: u64, now: Instant) -> Self {
        // A script whose own limit is smaller is stopped by the worker, which tells it by its name.
        let operations = max_operations.min(INLINE_OPERATIONS);
        Self {
            operations,
            deadline: now + INLINE_TIME,
            clock_stride: INLINE_CLOCK_STRIDE,
            memory: INLINE_MEMORY,
            inline: true,
        }
    }
}

struct Meter {
    used: Cell<u64>,
    /// The count at which the slow path is taken; 0 once the run must stop.
    next_look: Cell<u64>,
    /// What the thread has asked for when the slow path is taken.
    next_asked: Cell<u64>,
    last_look: Cell<Option<Instant>>,
    stop: Cell<Option<Stop>>,
    allowance: Cell<Option<Allowance>>,
    account: Cell<Option<Account>>,
}

thread_local! {
    static METER: Meter = const {
        Meter {
            used: Cell::new(0),
            next_look: Cell::new(u64::MAX),
            next_asked: Cell::new(u64::MAX),
            last_look: Cell::new(None),
            stop: Cell::new(None),
            allowance: Cell::new(None),
            account: Cell::new(None),
        }
    };
}

/// Keeps the thread's meter running; dropped, the meter stands still again.
pub struct Metered {
    account: Account,
}

/// What a stopped run unwinds with when it goes on all the same.
struct Stopped;

impl Metered {
    /// Starts the thread's meter at zero.
    pub fn start(allowance: Allowance) -> Self {
        let account = Account::open();
        METER.with(|meter| {
            meter.used.set(0);
            meter.stop.set(None);
            meter.last_look.set(None);
            meter.next_look.set(allowance.clock_stride.min(allowance.operations.saturating_add(1)));
            meter.next_asked.set(memory::asked() + ASKED_STRIDE);
            meter.allowance.set(Some(allowance));
            meter.account.set(Some(account));
        });
        Self { account }
    }

    /// Why the run must end, if it must.
    pub fn stop(&self) -> Option<Stop> {
        METER.with(|meter| meter.stop.get())
    }

    /// The operations used so far.
    pub fn used(&self) -> u64 {
        METER.with(|meter| meter.used.get())
    }

    /// The memory of the run.
    pub fn account(&self) -> Account {
        self.account
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        METER.with(|meter| {
            meter.allowance.set(None);
            meter.account.set(None);
            meter.stop.set(None);
            meter.next_look.set(u64::MAX);
            meter.next_asked.set(u64::MAX);
        });
    }
}

/// Whether a script runs on this thread.
pub fn is_running() -> bool {
    METER.with(|meter| meter.allowance.get().is_some())
}

/// Rhai's progress callback: counts one operation.
pub fn on_operation(_count_of_rhai: u64) -> Option<Dynamic> {
    METER.with(|meter| meter.add(1)).then_some(Dynamic::UNIT)
}

/// Counts the work of a native function that goes through `bytes` bytes, before it does so.
///
/// # Errors
/// The run must stop.
pub fn charge_bytes(bytes: usize) -> Result<(), Box<EvalAltResult>> {
    let operations = u64::try_from(bytes / BYTES_AN_OPERATION).unwrap_or(u64::MAX);
    if METER.with(|meter| meter.add(operations)) { Err(terminated()) } else { Ok(()) }
}

/// The same for work that is only copying and searching, at well below a nanosecond a byte.
///
/// # Errors
/// The run must stop.
pub fn charge_copied(bytes: usize) -> Result<(), Box<EvalAltResult>> {
    charge_bytes(bytes / 8)
}

/// Asks for the memory that a native function is about to take in one go, which must be small or pass here.
///
/// # Errors
/// The run must stop: it may not have that much.
pub fn reserve_bytes(bytes: usize) -> Result<(), Box<EvalAltResult>> {
    METER.with(|meter| match (meter.allowance.get(), meter.account.get()) {
        (Some(allowance), Some(account)) if account.held().saturating_add(bytes) > allowance.memory => {
            Err(meter.end(Stop::Memory))
        }
        _ => Ok(()),
    })
}

/// Ends the run for a value that is over a limit, where an error would be swallowed.
pub fn over_limit(limit: &'static str) -> Box<EvalAltResult> {
    METER.with(|meter| meter.end(Stop::Data(limit)))
}

fn terminated() -> Box<EvalAltResult> {
    EvalAltResult::ErrorTerminated(Dynamic::UNIT, rhai::Position::NONE).into()
}

/// Moves a run out of the inline tier before a native function does what may hold an I/O thread for longer than that tier's
/// time; on a worker it does nothing.
///
/// # Errors
/// The run is inline: it ends here and starts again on a worker.
pub fn leave_inline() -> Result<(), Box<EvalAltResult>> {
    METER.with(|meter| match meter.allowance.get() {
        Some(allowance) if allowance.inline => Err(meter.end(Stop::Inline)),
        _ => Ok(()),
    })
}

/// When the run on this thread must have ended; nothing where none runs.
pub fn deadline() -> Option<Instant> {
    METER.with(|meter| meter.allowance.get().map(|allowance| allowance.deadline))
}

/// Ends the run as one that ran past its timeout: for a native function that waited until the deadline.
pub fn time_out() -> Box<EvalAltResult> {
    METER.with(|meter| meter.end(Stop::Timeout))
}

impl Meter {
    #[inline]
    fn add(&self, operations: u64) -> bool {
        let used = self.used.get().saturating_add(operations);
        self.used.set(used);
        (used >= self.next_look.get() || memory::asked() >= self.next_asked.get()) && self.look(used)
    }

    #[cold]
    fn look(&self, used: u64) -> bool {
        if self.stop.get().is_some() {
            // It was told, and went on. A panic without the hook: nothing is wrong, and nothing shall be logged.
            resume_unwind(Box::new(Stopped));
        }
        let (Some(allowance), Some(account)) = (self.allowance.get(), self.account.get()) else {
            return false;
        };
        let now = Instant::now();
        let stop = if used > allowance.operations {
            Stop::Operations
        } else if now >= allowance.deadline {
            Stop::Timeout
        } else if account.held() > allowance.memory / 2 {
            Stop::Memory
        } else {
            let slow = self.last_look.replace(Some(now)).is_some_and(|last| now - last > SLOW_STRIDE);
            let stride = if slow { 1 } else { allowance.clock_stride };
            self.next_look.set(used.saturating_add(stride).min(allowance.operations.saturating_add(1)));
            self.next_asked.set(memory::asked() + ASKED_STRIDE);
            return false;
        };
        let _told = self.end(stop);
        true
    }

    /// Sets the reason to stop, unless there is one, and gives what Rhai is to be told.
    fn end(&self, stop: Stop) -> Box<EvalAltResult> {
        let Some(allowance) = self.allowance.get() else {
            return terminated();
        };
        let stop = if allowance.inline { Stop::Inline } else { stop };
        self.stop.set(self.stop.get().or(Some(stop)));
        self.next_look.set(0);
        terminated()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const MEMORY: usize = 16 * 1024 * 1024;

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn the_operation_after_the_last_stops_and_what_goes_on_is_unwound() {
        let meter = Metered::start(Allowance::worker(100, far(), MEMORY));
        assert!((0..100).all(|_| on_operation(0).is_none()));
        assert!(on_operation(0).is_some());
        assert!(catch_unwind(|| on_operation(0)).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| charge_bytes(8))).is_err());
        assert_eq!(meter.stop(), Some(Stop::Operations));
    }

    #[test]
    fn a_deadline_that_has_passed_is_seen_within_the_stride() {
        let meter = Metered::start(Allowance::worker(u64::MAX, Instant::now(), MEMORY));
        let ran = (0..1_000).take_while(|_| on_operation(0).is_none()).count();
        assert_eq!(ran as u64, WORKER_CLOCK_STRIDE - 1);
        assert_eq!(meter.stop(), Some(Stop::Timeout));
    }

    #[test]
    fn the_inline_allowance_ends_as_a_move_whatever_ran_out() {
        let meter = Metered::start(Allowance::inline(u64::MAX, far()));
        assert!(charge_bytes(usize::MAX).is_err());
        assert_eq!(meter.stop(), Some(Stop::Inline));
    }

    #[test]
    fn a_native_that_takes_long_leaves_the_inline_tier_and_goes_on_elsewhere() {
        let meter = Metered::start(Allowance::inline(u64::MAX, far()));
        assert!(leave_inline().is_err());
        assert!(catch_unwind(|| on_operation(0)).is_err());
        assert_eq!(meter.stop(), Some(Stop::Inline));
        drop(meter);
        let meter = Metered::start(Allowance::worker(100, far(), MEMORY));
        assert!(leave_inline().is_ok());
        assert_eq!(meter.stop(), None);
    }

    #[test]
    fn a_native_that_waited_until_the_deadline_ends_its_run_for_good() {
        let at = far();
        let meter = Metered::start(Allowance::worker(100, at, MEMORY));
        assert_eq!(deadline(), Some(at));
        let _told = time_out();
        assert!(catch_unwind(|| on_operation(0)).is_err());
        assert_eq!(meter.stop(), Some(Stop::Timeout));
        drop(meter);
        assert_eq!(deadline(), None);
    }

    #[test]
    fn a_new_run_starts_at_zero_after_a_stopped_one() {
        let meter = Metered::start(Allowance::worker(1, far(), MEMORY));
        assert!(charge_bytes(1_000).is_err());
        drop(meter);
        let meter = Metered::start(Allowance::worker(1_000, far(), MEMORY));
        assert!(on_operation(0).is_none());
        assert_eq!((meter.stop(), meter.used()), (None, 1));
    }

    #[test]
    fn half_of_the_memory_may_be_held_and_all_of_it_asked_for() {
        let meter = Metered::start(Allowance::worker(u64::MAX, far(), MEMORY));
        let held = vec![0_u8; MEMORY / 2 - 100_000];
        assert!(on_operation(0).is_none());
        assert!(reserve_bytes(MEMORY / 2).is_ok());
        assert!(reserve_bytes(MEMORY / 2 + 200_000).is_err());
        assert_eq!(meter.stop(), Some(Stop::Memory));
        drop((meter, held));

        let meter = Metered::start(Allowance::worker(u64::MAX, far(), MEMORY));
        let held = vec![0_u8; MEMORY / 2 + 100_000];
        assert!(on_operation(0).is_some());
        assert_eq!(meter.stop(), Some(Stop::Memory));
        drop(held);
        assert!(meter.account().peak() > MEMORY / 2);
    }

    #[test]
    fn memory_that_was_given_back_is_not_held_against_a_run() {
        let meter = Metered::start(Allowance::worker(u64::MAX, far(), MEMORY));
        for _ in 0..100 {
            drop(vec![0_u8; MEMORY]);
            assert!(on_operation(0).is_none());
        }
        assert_eq!(meter.stop(), None);
    }
}
