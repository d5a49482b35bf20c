//! The meter of a run: operations, the clock, and the sticky reason for which a run must stop.
//!
//! It knows nothing of programs, requests or responses. There is one meter a thread, because Rhai's progress callback has no
//! argument that could carry one, and a thread runs one script at a time.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rhai::{Dynamic, EvalAltResult};

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

/// Operations of a run whose program has closures that capture variables, whatever its limit. Such closures can be chained,
/// and dropping the chain recurses once a link: on a worker's stack of 256 MiB 800,000 links were dropped and 1,600,000
/// were not, and a link takes at least 6 operations.
const CAPTURING_OPERATIONS: u64 = 4_000_000;

/// Bytes that a native function may parse or write for the price of one operation; both run at some 10 ns a byte.
const BYTES_AN_OPERATION: usize = 8;

/// Why a run must end. Once set it stays: neither a script's `catch` nor a native function that swallows errors clears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It used up `max_operations`.
    Operations,
    /// It ran past its timeout.
    Timeout,
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
    /// Whether reaching either only means that it is too long for the inline tier.
    pub inline: bool,
}

impl Allowance {
    /// What a run gets on a worker.
    pub fn worker(max_operations: u64, deadline: Instant, captures: bool) -> Self {
        let operations = if captures { max_operations.min(CAPTURING_OPERATIONS) } else { max_operations };
        Self { operations, deadline, clock_stride: WORKER_CLOCK_STRIDE, inline: false }
    }

    /// What a run gets on an I/O thread.
    pub fn inline(max_operations: u64, now: Instant) -> Self {
        // A script whose own limit is smaller is stopped by the worker, which tells it by its name.
        let operations = max_operations.min(INLINE_OPERATIONS);
        Self { operations, deadline: now + INLINE_TIME, clock_stride: INLINE_CLOCK_STRIDE, inline: true }
    }
}

struct Meter {
    used: Cell<u64>,
    /// The count at which the slow path is taken; 0 once the run must stop.
    next_look: Cell<u64>,
    stop: Cell<Option<Stop>>,
    allowance: Cell<Option<Allowance>>,
}

thread_local! {
    static METER: Meter = const {
        Meter { used: Cell::new(0), next_look: Cell::new(u64::MAX), stop: Cell::new(None), allowance: Cell::new(None) }
    };
}

/// Keeps the thread's meter running; dropped, the meter stands still again.
pub struct Metered(());

impl Metered {
    /// Starts the thread's meter at zero.
    pub fn start(allowance: Allowance) -> Self {
        METER.with(|meter| {
            meter.used.set(0);
            meter.stop.set(None);
            meter.next_look.set(allowance.clock_stride.min(allowance.operations.saturating_add(1)));
            meter.allowance.set(Some(allowance));
        });
        Self(())
    }

    /// Why the run must end, if it must.
    pub fn stop(&self) -> Option<Stop> {
        METER.with(|meter| meter.stop.get())
    }

    /// The operations used so far.
    pub fn used(&self) -> u64 {
        METER.with(|meter| meter.used.get())
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        METER.with(|meter| {
            meter.allowance.set(None);
            meter.stop.set(None);
            meter.next_look.set(u64::MAX);
        });
    }
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
    if METER.with(|meter| meter.add(operations)) {
        return Err(EvalAltResult::ErrorTerminated(Dynamic::UNIT, rhai::Position::NONE).into());
    }
    Ok(())
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
    /// Sets the reason to stop, unless there is one, and gives what Rhai is to be told.
    fn end(&self, stop: Stop) -> Box<EvalAltResult> {
        self.stop.set(self.stop.get().or(Some(stop)));
        self.next_look.set(0);
        EvalAltResult::ErrorTerminated(Dynamic::UNIT, rhai::Position::NONE).into()
    }

    fn add(&self, operations: u64) -> bool {
        let used = self.used.get().saturating_add(operations);
        self.used.set(used);
        used >= self.next_look.get() && self.look(used)
    }

    #[cold]
    fn look(&self, used: u64) -> bool {
        if self.stop.get().is_some() {
            return true;
        }
        let Some(allowance) = self.allowance.get() else {
            return false;
        };
        let stop = if used > allowance.operations {
            Stop::Operations
        } else if Instant::now() >= allowance.deadline {
            Stop::Timeout
        } else {
            self.next_look.set((used + allowance.clock_stride).min(allowance.operations.saturating_add(1)));
            return false;
        };
        self.stop.set(Some(if allowance.inline { Stop::Inline } else { stop }));
        self.next_look.set(0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn the_operation_after_the_last_stops_and_stays_stopped() {
        let meter = Metered::start(Allowance::worker(100, far(), false));
        assert!((0..100).all(|_| on_operation(0).is_none()));
        assert!(on_operation(0).is_some());
        assert!(on_operation(0).is_some());
        assert_eq!(meter.stop(), Some(Stop::Operations));
    }

    #[test]
    fn a_deadline_that_has_passed_is_seen_within_the_stride() {
        let meter = Metered::start(Allowance::worker(u64::MAX, Instant::now(), false));
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
        assert!(on_operation(0).is_some());
        assert_eq!(meter.stop(), Some(Stop::Inline));
        drop(meter);
        let meter = Metered::start(Allowance::worker(100, far(), false));
        assert!(leave_inline().is_ok());
        assert_eq!(meter.stop(), None);
    }

    #[test]
    fn a_native_that_waited_until_the_deadline_ends_its_run_for_good() {
        let at = far();
        let meter = Metered::start(Allowance::worker(100, at, false));
        assert_eq!(deadline(), Some(at));
        let _ = time_out();
        assert!(on_operation(0).is_some());
        assert_eq!(meter.stop(), Some(Stop::Timeout));
        drop(meter);
        assert_eq!(deadline(), None);
    }

    #[test]
    fn a_new_run_starts_at_zero_after_a_stopped_one() {
        let meter = Metered::start(Allowance::worker(1, far(), false));
        assert!(charge_bytes(1_000).is_err());
        drop(meter);
        let meter = Metered::start(Allowance::worker(1_000, far(), false));
        assert!(on_operation(0).is_none());
        assert_eq!((meter.stop(), meter.used()), (None, 1));
    }
}
