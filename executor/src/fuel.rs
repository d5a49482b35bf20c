//! How far this thread may run until its meter looks up: so many operations, until the epoch advances, or until the allocator
//! says that much was asked of it.
//!
//! It is the part of the meter that each operation pays for, so it knows neither limits nor time: one subtraction and two
//! comparisons, since a script's operation takes some 20 ns and Rhai's call of the meter alone one of them.

use std::cell::Cell;

use crate::epoch;

struct Fuel {
    /// Operations until the meter looks.
    left: Cell<i64>,
    /// What was taken out of `left` so that the meter looks at once.
    aside: Cell<i64>,
    /// The epoch in which the meter looked last.
    epoch: Cell<u64>,
}

thread_local! {
    // Constant and without a destructor, since the allocator comes here.
    static FUEL: Fuel = const { Fuel { left: Cell::new(i64::MAX), aside: Cell::new(0), epoch: Cell::new(0) } };
}

/// Burns one operation. Gives whether the meter must look.
#[inline]
pub fn burn_one() -> bool {
    FUEL.with(|fuel| {
        // It cannot wrap: below zero the meter looks, and fills up or ends the run.
        let left = fuel.left.get().wrapping_sub(1);
        fuel.left.set(left);
        left < 0 || fuel.epoch.get() != epoch::now()
    })
}

/// Burns many at once.
pub fn burn(operations: u64) -> bool {
    FUEL.with(|fuel| {
        let left = fuel.left.get().saturating_sub(i64::try_from(operations).unwrap_or(i64::MAX));
        fuel.left.set(left);
        left < 0 || fuel.epoch.get() != epoch::now()
    })
}

/// Operations until the meter looks; negative by those that it had not.
pub fn left() -> i64 {
    FUEL.with(|fuel| fuel.left.get().saturating_add(fuel.aside.get()))
}

/// Goes on with the fuel that is left, in this epoch; gives whether there is any, which says that only the epoch had the meter
/// look.
pub fn go_on() -> bool {
    FUEL.with(|fuel| {
        fuel.epoch.set(epoch::now());
        fuel.left.get() >= 0
    })
}

/// Lets the thread run for so many operations, in this epoch.
pub fn fill(operations: u64) {
    FUEL.with(|fuel| {
        fuel.left.set(i64::try_from(operations).unwrap_or(i64::MAX));
        fuel.aside.set(0);
        fuel.epoch.set(epoch::now());
    });
}

/// Has the meter look at the next operation.
pub fn interrupt() {
    FUEL.with(|fuel| {
        fuel.aside.set(left());
        fuel.left.set(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_takes_no_fuel() {
        fill(100);
        burn(40);
        interrupt();
        interrupt();
        assert_eq!(left(), 60);
        assert!(burn_one());
        assert_eq!(left(), 59);
    }

    #[test]
    fn the_operation_after_the_last_is_the_one_that_looks() {
        fill(3);
        assert_eq!([burn(2), burn_one(), burn_one()], [false, false, true]);
        assert_eq!(left(), -1);
        assert!(burn(u64::MAX) && burn(u64::MAX));
        assert_eq!(left(), i64::MIN);
    }
}
