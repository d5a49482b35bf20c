//! The meter of a run: operations, the clock, memory, and the sticky reason for which a run must stop.
//!
//! It knows nothing of programs, requests or responses. There is one meter a thread, because Rhai's progress callback has no
//! argument that could carry one, and a thread runs one script at a time, with those that it invokes within it.

mod allowance;
mod nested;

pub use allowance::{Allowance, INLINE_MEMORY, INLINE_OPERATIONS, INLINE_TIME};
pub use nested::{Nested, go_on, note_sharing, stopped};

use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use picloud_shared::id::AppId;
use rhai::{Dynamic, EvalAltResult};

use crate::epoch::Advancing;
use crate::fuel;
use crate::memory::{self, Account};
use crate::room::{Full, Share};

/// Bytes that a run may ask the allocator for between two looks, whatever the operations: copying them takes some 100 us, and
/// by as much can it outgrow its memory unseen.
const ASKED_STRIDE: usize = 512 * 1024;

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
    /// It would take more than is left of the memory that all runs share.
    Full(Full),
    /// A value was over the limit of that name where an error would have been swallowed.
    Data(&'static str),
    /// It ran past its timeout while a call of a port was changing something, which may be done or not.
    Unsettled,
    /// It is too long for the inline tier; it starts again on a worker.
    Inline,
    /// It is about to call a port, which only runs on workers do; it starts again there.
    CallsPort,
}

impl Stop {
    /// Whether it only says that the run starts again on a worker.
    pub fn is_move(self) -> bool {
        matches!(self, Self::Inline | Self::CallsPort)
    }
}

struct Meter {
    /// Operations that the run was let run for up to now: all that it used, and the fuel that is left.
    filled: Cell<u64>,
    stride: Cell<u64>,
    last_look: Cell<Option<Instant>>,
    stop: Cell<Option<Stop>>,
    allowance: Cell<Option<Allowance>>,
    account: Cell<Option<Account>>,
    /// What the run has of the memory that all share; the inline tier has its own.
    share: RefCell<Option<Share>>,
    /// Whether the run called a port.
    called_port: Cell<bool>,
    /// Whether a program ran within the run whose values can hold themselves.
    shares: Cell<bool>,
}

thread_local! {
    static METER: Meter = const {
        Meter {
            filled: Cell::new(0),
            stride: Cell::new(1),
            last_look: Cell::new(None),
            stop: Cell::new(None),
            allowance: Cell::new(None),
            account: Cell::new(None),
            share: RefCell::new(None),
            called_port: Cell::new(false),
            shares: Cell::new(false),
        }
    };
}

/// Keeps the thread's meter running; dropped, the meter stands still again.
pub struct Metered {
    account: Account,
    /// An inline run is shorter than an epoch.
    _epoch: Option<Advancing>,
}

/// What a stopped run unwinds with when it goes on all the same.
struct Stopped;

impl Metered {
    /// Starts the thread's meter at zero.
    pub fn start(allowance: Allowance, share: Option<Share>) -> Self {
        let epoch = (!allowance.inline).then(Advancing::begin);
        let account = Account::open();
        METER.with(|meter| {
            meter.stop.set(None);
            meter.last_look.set(None);
            meter.stride.set(*allowance.pace().stride.start());
            meter.filled.set(0);
            meter.fill(&allowance, 0);
            meter.allowance.set(Some(allowance));
            meter.account.set(Some(account));
            meter.share.replace(share);
            meter.called_port.set(false);
            meter.shares.set(false);
        });
        Self { account, _epoch: epoch }
    }

    /// Why the run must end, if it must.
    pub fn stop(&self) -> Option<Stop> {
        METER.with(|meter| meter.stop.get())
    }

    /// The operations used so far.
    pub fn used(&self) -> u64 {
        METER.with(Meter::used)
    }

    /// Whether it called a port, or was about to.
    pub fn called_port(&self) -> bool {
        METER.with(|meter| meter.called_port.get())
    }

    /// Whether a program ran within the run whose values can hold themselves.
    pub fn shares(&self) -> bool {
        METER.with(|meter| meter.shares.get())
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
            meter.share.take();
            meter.stop.set(None);
        });
        fuel::fill(u64::MAX);
        memory::call_after(None);
    }
}

/// Whether a script runs on this thread.
pub fn is_running() -> bool {
    METER.with(|meter| meter.allowance.get().is_some())
}

/// Rhai's progress callback: counts one operation. Rhai's own count begins anew in the callbacks of its functions.
pub fn on_operation(_count_of_rhai: u64) -> Option<Dynamic> {
    // Not `then_some`, which makes and drops its value even when there is none to give: a tenth of what a loop takes.
    if fuel::burn_one() && METER.with(Meter::look) { Some(Dynamic::UNIT) } else { None }
}

/// Counts so many operations of a native function, before it does what they stand for.
///
/// # Errors
/// The run must stop.
pub fn charge(operations: u64) -> Result<(), Box<EvalAltResult>> {
    if fuel::burn(operations) && METER.with(Meter::look) { Err(terminated()) } else { Ok(()) }
}

/// Counts the work of a native function that goes through `bytes` bytes, before it does so.
///
/// # Errors
/// The run must stop.
pub fn charge_bytes(bytes: usize) -> Result<(), Box<EvalAltResult>> {
    charge(u64::try_from(bytes / BYTES_AN_OPERATION).unwrap_or(u64::MAX))
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
    METER.with(|meter| {
        let (Some(allowance), Some(account)) = (meter.allowance.get(), meter.account.get()) else {
            return Ok(());
        };
        let bytes = account.held().saturating_add(bytes);
        if bytes > allowance.memory {
            return Err(meter.end(Stop::Memory));
        }
        meter.grow_to(bytes).map_err(|full| meter.end(Stop::Full(full)))
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

/// Moves a run out of the inline tier before it calls a port: what a port does cannot be done again. On a worker it does nothing.
///
/// # Errors
/// The run is inline: it ends here and starts again on a worker.
pub fn before_port() -> Result<(), Box<EvalAltResult>> {
    METER.with(|meter| {
        meter.called_port.set(true);
        match meter.allowance.get() {
            Some(allowance) if allowance.inline => Err(meter.end(Stop::CallsPort)),
            _ => Ok(()),
        }
    })
}

/// Whether the run on this thread is in the inline tier.
pub fn is_inline() -> bool {
    METER.with(|meter| meter.allowance.get().is_some_and(|allowance| allowance.inline))
}

/// When the run on this thread must have ended; nothing where none runs.
pub fn deadline() -> Option<Instant> {
    METER.with(|meter| meter.allowance.get().map(|allowance| allowance.deadline))
}

/// Whose run it is that is on this worker; nothing on an I/O thread, or where none runs.
pub fn app() -> Option<AppId> {
    METER.with(|meter| meter.share.borrow().as_ref().map(Share::app))
}

/// Ends the run as one that ran past its timeout: for a native function that waited until the deadline.
pub fn time_out() -> Box<EvalAltResult> {
    METER.with(|meter| meter.end(Stop::Timeout))
}

/// The same where what it waited for may be done or not.
pub fn time_out_unsettled() -> Box<EvalAltResult> {
    METER.with(|meter| meter.end(Stop::Unsettled))
}

impl Meter {
    fn used(&self) -> u64 {
        self.filled.get().saturating_sub_signed(fuel::left())
    }

    /// Lets a run that used `used` operations run on until the next look.
    fn fill(&self, allowance: &Allowance, used: u64) {
        let operations = self.stride.get().min(allowance.operations.saturating_sub(used));
        self.filled.set(used.saturating_add(operations));
        fuel::fill(operations);
        memory::call_after(Some(ASKED_STRIDE));
    }

    /// Looks at everything; gives whether the run must end.
    #[cold]
    #[inline(never)]
    fn look(&self) -> bool {
        if self.stop.get().is_some() {
            // It was told, and went on. A panic without the hook: nothing is wrong, and nothing shall be logged.
            resume_unwind(Box::new(Stopped));
        }
        let (Some(mut allowance), Some(account)) = (self.allowance.get(), self.account.get()) else {
            fuel::fill(u64::MAX);
            return false;
        };
        // An inline run that is preempted over an epoch is as short as any: not worth a look, and not a move.
        if allowance.inline && fuel::go_on() {
            return false;
        }
        let (used, now) = (self.used(), Instant::now());
        if now >= allowance.deadline {
            allowance.deadline = now + std::mem::take(&mut allowance.grace);
            self.allowance.set(Some(allowance));
        }
        let stop = if used > allowance.operations {
            Stop::Operations
        } else if now >= allowance.deadline {
            Stop::Timeout
        } else if account.held() > allowance.memory / 2 {
            Stop::Memory
        } else if let Err(full) = self.grow_to(account.held() * 2) {
            Stop::Full(full)
        } else {
            let elapsed = self.last_look.replace(Some(now)).map_or(Duration::ZERO, |last| now - last);
            self.stride.set(allowance.pace().next(self.stride.get(), elapsed));
            self.fill(&allowance, used);
            return false;
        };
        let _told = self.end(stop);
        true
    }

    /// Asks for what the run may take until the next look: twice what it holds, since one operation can copy all of it.
    fn grow_to(&self, bytes: usize) -> Result<(), Full> {
        self.share.borrow_mut().as_mut().map_or(Ok(()), |share| share.grow_to(bytes))
    }

    /// Sets the reason to stop, unless there is one, and gives what Rhai is to be told.
    fn end(&self, stop: Stop) -> Box<EvalAltResult> {
        let Some(allowance) = self.allowance.get() else {
            return terminated();
        };
        let stop = if allowance.inline && !stop.is_move() { Stop::Inline } else { stop };
        self.stop.set(self.stop.get().or(Some(stop)));
        // Whatever goes on looks at once.
        self.filled.set(self.used());
        fuel::fill(0);
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
        let meter = Metered::start(Allowance::worker(100, far(), MEMORY), None);
        assert!((0..100).all(|_| on_operation(0).is_none()));
        assert!(on_operation(0).is_some());
        assert!(catch_unwind(|| on_operation(0)).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| charge_bytes(8))).is_err());
        assert_eq!(meter.stop(), Some(Stop::Operations));
    }

    #[test]
    fn a_deadline_that_has_passed_is_seen_at_once() {
        let meter = Metered::start(Allowance::worker(u64::MAX, Instant::now(), MEMORY), None);
        let ran = (0..1_000).take_while(|_| on_operation(0).is_none()).count();
        assert_eq!(ran, 1);
        assert_eq!(meter.stop(), Some(Stop::Timeout));
    }

    #[test]
    fn a_deadline_is_seen_once_the_epoch_advances_however_few_operations_there_were() {
        crate::epoch::start().unwrap();
        let meter = Metered::start(Allowance::worker(u64::MAX, Instant::now(), MEMORY), None);
        fuel::fill(1 << 40);
        let begun = Instant::now();
        while on_operation(0).is_none() {
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
        assert_eq!(meter.stop(), Some(Stop::Timeout));
    }

    #[test]
    fn the_inline_allowance_ends_as_a_move_whatever_ran_out() {
        let meter = Metered::start(Allowance::inline(u64::MAX, far(), false), None);
        assert!(charge_bytes(usize::MAX).is_err());
        assert_eq!(meter.stop(), Some(Stop::Inline));
    }

    #[test]
    fn the_epoch_alone_moves_no_inline_run() {
        crate::epoch::start().unwrap();
        let meter =
            Metered::start(Allowance { deadline: Instant::now(), ..Allowance::inline(u64::MAX, far(), false) }, None);
        let _advancing = Advancing::begin();
        let epoch = crate::epoch::now();
        while crate::epoch::now() == epoch {
            std::thread::yield_now();
        }
        assert!(on_operation(0).is_none());
        assert_eq!((meter.stop(), meter.used()), (None, 1));
    }

    #[test]
    fn a_native_that_takes_long_leaves_the_inline_tier_and_goes_on_elsewhere() {
        let meter = Metered::start(Allowance::inline(u64::MAX, far(), false), None);
        assert!(leave_inline().is_err());
        assert!(catch_unwind(|| on_operation(0)).is_err());
        assert_eq!(meter.stop(), Some(Stop::Inline));
        drop(meter);
        let meter = Metered::start(Allowance::worker(100, far(), MEMORY), None);
        assert!(leave_inline().is_ok());
        assert_eq!(meter.stop(), None);
    }

    #[test]
    fn a_call_of_a_port_leaves_the_inline_tier_and_is_noted_in_both() {
        let meter = Metered::start(Allowance::inline(u64::MAX, far(), false), None);
        assert!(!meter.called_port());
        assert!(before_port().is_err());
        assert!(catch_unwind(|| on_operation(0)).is_err());
        assert_eq!((meter.stop(), meter.called_port()), (Some(Stop::CallsPort), true));
        drop(meter);
        let meter = Metered::start(Allowance::worker(100, far(), MEMORY), None);
        assert!(!meter.called_port());
        assert!(before_port().is_ok());
        assert_eq!((meter.stop(), meter.called_port()), (None, true));
    }

    #[test]
    fn a_native_that_waited_until_the_deadline_ends_its_run_for_good() {
        let at = far();
        let meter = Metered::start(Allowance::worker(100, at, MEMORY), None);
        assert_eq!(deadline(), Some(at));
        let _told = time_out();
        assert!(catch_unwind(|| on_operation(0)).is_err());
        assert_eq!(meter.stop(), Some(Stop::Timeout));
        drop(meter);
        assert_eq!(deadline(), None);
    }

    #[test]
    fn a_new_run_starts_at_zero_after_a_stopped_one() {
        let meter = Metered::start(Allowance::worker(1, far(), MEMORY), None);
        assert!(charge_bytes(1_000).is_err());
        drop(meter);
        let meter = Metered::start(Allowance::worker(1_000, far(), MEMORY), None);
        assert!(on_operation(0).is_none());
        assert_eq!((meter.stop(), meter.used()), (None, 1));
    }

    #[test]
    fn half_of_the_memory_may_be_held_and_all_of_it_asked_for() {
        let meter = Metered::start(Allowance::worker(u64::MAX, far(), MEMORY), None);
        let held = vec![0_u8; MEMORY / 2 - 100_000];
        assert!(on_operation(0).is_none());
        assert!(reserve_bytes(MEMORY / 2).is_ok());
        assert!(reserve_bytes(MEMORY / 2 + 200_000).is_err());
        assert_eq!(meter.stop(), Some(Stop::Memory));
        drop((meter, held));

        let meter = Metered::start(Allowance::worker(u64::MAX, far(), MEMORY), None);
        let held = vec![0_u8; MEMORY / 2 + 100_000];
        assert!(on_operation(0).is_some());
        assert_eq!(meter.stop(), Some(Stop::Memory));
        drop(held);
        assert!(meter.account().peak() > MEMORY / 2);
    }

    #[test]
    fn memory_that_was_given_back_is_not_held_against_a_run() {
        let meter = Metered::start(Allowance::worker(u64::MAX, far(), MEMORY), None);
        for _ in 0..100 {
            drop(vec![0_u8; MEMORY]);
            assert!(on_operation(0).is_none());
        }
        assert_eq!(meter.stop(), None);
    }
}
