//! A run within the run of this thread, on the same meter: what it uses is its caller's use as well, and where its own limits are
//! narrower, it stops at them alone.

use std::time::{Duration, Instant};

use rhai::EvalAltResult;

use super::{Allowance, METER, Meter, Stop, fuel, terminated};

/// Keeps the thread's meter at the limits of the nested run; dropped, they are its caller's again.
pub struct Nested {
    outer: Allowance,
    own: Allowance,
}

impl Nested {
    /// Narrows what the run on this thread may use to what a run within it may.
    ///
    /// # Errors
    /// The run must stop, or there is none.
    pub fn begin(max_operations: u64, timeout: Duration) -> Result<Self, Box<EvalAltResult>> {
        METER.with(|meter| {
            // Filling up puts off what the meter sees between two looks, so none may be left out.
            if meter.look() {
                return Err(terminated());
            }
            let outer = meter.allowance.get().ok_or_else(terminated)?;
            let used = meter.used();
            let own = Allowance {
                operations: outer.operations.min(used.saturating_add(max_operations)),
                deadline: outer.deadline.min(Instant::now() + timeout),
                ..outer
            };
            meter.allowance.set(Some(own));
            meter.fill(&own, used);
            Ok(Self { outer, own })
        })
    }

    /// When the nested run must have ended.
    pub fn deadline(&self) -> Instant {
        self.own.deadline
    }

    /// What of a stop is its caller's as well, which used so much.
    fn outlasts(&self, stop: Option<Stop>, used: u64) -> (Option<Stop>, u64) {
        let Self { outer, own } = self;
        match stop {
            // What it asked for beyond that was not done.
            Some(Stop::Operations) if own.operations < outer.operations => (None, used.min(own.operations)),
            Some(Stop::Timeout | Stop::Unsettled)
                if own.deadline < outer.deadline && Instant::now() < outer.deadline =>
            {
                (None, used)
            }
            Some(Stop::Data(_)) => (None, used),
            other => (other, used),
        }
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        METER.with(|meter| {
            let (stop, used) = self.outlasts(meter.stop.get(), meter.used());
            meter.allowance.set(Some(self.outer));
            meter.stop.set(stop);
            if stop.is_some() {
                meter.filled.set(used);
                fuel::fill(0);
            } else {
                meter.fill(&self.outer, used);
            }
        });
    }
}

/// Why the run on this thread must end, if it must.
pub fn stopped() -> Option<Stop> {
    METER.with(|meter| meter.stop.get())
}

/// Whether the run on this thread may go on, after something that can have told it to stop or taken its time.
///
/// # Errors
/// It must stop.
pub fn go_on() -> Result<(), Box<EvalAltResult>> {
    METER.with(|meter| {
        if meter.stop.get().is_some() {
            return Err(terminated());
        }
        let late = meter.allowance.get().is_some_and(|allowance| Instant::now() >= allowance.deadline);
        if late { Err(meter.end(Stop::Timeout)) } else { Ok(()) }
    })
}

/// Notes that a program ran within the run on this thread whose values can hold themselves.
pub fn note_sharing() {
    METER.with(|meter: &Meter| meter.shares.set(true));
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::super::{Metered, charge, charge_bytes, deadline, on_operation, over_limit, time_out};
    use super::*;

    const MEMORY: usize = 16 * 1024 * 1024;
    const HOUR: Duration = Duration::from_secs(3600);

    fn far() -> Instant {
        Instant::now() + 2 * HOUR
    }

    fn worker(operations: u64) -> Metered {
        Metered::start(Allowance::worker(operations, far(), MEMORY), None)
    }

    /// Uses operations until it is stopped; how many there were.
    fn spin() -> usize {
        let ran = (0..1_000_000).take_while(|_| on_operation(0).is_none()).count();
        assert!(catch_unwind(|| on_operation(0)).is_err());
        ran
    }

    #[test]
    fn a_nested_run_that_used_up_its_own_operations_leaves_its_caller_the_rest() {
        let meter = worker(1_000);
        charge(100).unwrap();
        let nested = Nested::begin(50, HOUR).unwrap();
        assert_eq!(spin(), 50);
        assert_eq!(stopped(), Some(Stop::Operations));
        drop(nested);
        assert_eq!((stopped(), meter.used()), (None, 150));
        assert_eq!(spin(), 850);
    }

    #[test]
    fn work_that_a_nested_run_was_refused_costs_its_caller_no_more_than_the_limit() {
        let meter = worker(1_000);
        let nested = Nested::begin(50, HOUR).unwrap();
        assert!(charge_bytes(usize::MAX).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| charge(u64::MAX))).is_err());
        drop(nested);
        assert_eq!((stopped(), meter.used()), (None, 50));
    }

    #[test]
    fn a_nested_run_that_used_up_its_callers_operations_ends_both() {
        let meter = worker(1_000);
        charge(900).unwrap();
        let nested = Nested::begin(1_000_000, HOUR).unwrap();
        let within = Nested::begin(1_000_000, HOUR).unwrap();
        assert_eq!(spin(), 100);
        drop(within);
        drop(nested);
        assert_eq!(meter.stop(), Some(Stop::Operations));
        assert!(go_on().is_err());
    }

    #[test]
    fn a_nested_run_has_its_own_time_and_never_more_than_its_callers() {
        let meter = worker(u64::MAX);
        let outer = deadline().unwrap();
        let nested = Nested::begin(10, 100 * HOUR).unwrap();
        assert_eq!(nested.deadline(), outer);
        let within = Nested::begin(10, Duration::ZERO).unwrap();
        assert_eq!(deadline(), Some(within.deadline()));
        let _told = time_out();
        drop(within);
        assert_eq!((stopped(), deadline()), (None, Some(outer)));
        let _told = time_out();
        drop(nested);
        assert_eq!(meter.stop(), Some(Stop::Timeout));
    }

    #[test]
    fn a_value_too_large_in_a_nested_run_is_not_its_callers() {
        let _meter = worker(1_000);
        let nested = Nested::begin(10, HOUR).unwrap();
        let _told = over_limit("max_array_size");
        assert!(go_on().is_err());
        drop(nested);
        assert!(go_on().is_ok());
    }

    #[test]
    fn memory_is_one_for_all_of_them() {
        let meter = worker(u64::MAX);
        let nested = Nested::begin(u64::MAX, HOUR).unwrap();
        let held = vec![0_u8; MEMORY];
        assert_eq!(spin(), 0);
        drop(held);
        drop(nested);
        assert_eq!(meter.stop(), Some(Stop::Memory));
    }

    #[test]
    fn nested_runs_of_few_operations_never_hide_the_deadline() {
        crate::epoch::start().unwrap();
        let soon = Instant::now() + Duration::from_millis(20);
        let meter = Metered::start(Allowance::worker(u64::MAX, soon, MEMORY), None);
        while let Ok(nested) = Nested::begin(u64::MAX, HOUR) {
            on_operation(0);
            drop(nested);
            assert!(soon.elapsed() < Duration::from_secs(10));
        }
        assert_eq!(meter.stop(), Some(Stop::Timeout));
    }
}
