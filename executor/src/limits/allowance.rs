//! What a run may use, in each tier, and how often the meter looks at the clock meanwhile.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Operations that the inline tier gives a run before it moves to a worker: some 300 us of plain script.
pub const INLINE_OPERATIONS: u64 = 5_000;
/// The wall clock that the inline tier gives a run. A longer one would be felt by the other connections of the I/O
/// thread, while a move to a worker costs some 10 us.
pub const INLINE_TIME: Duration = Duration::from_micros(200);
/// Memory that a run may take in the inline tier before it moves to a worker.
pub const INLINE_MEMORY: usize = 4 * 1024 * 1024;

/// When the meter looks at the clock of its own accord, which takes some 25 ns, as much as an operation.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Operations between two looks. They double from the least to the most as long as the looks come in time.
    pub stride: RangeInclusive<u64>,
    /// A look that comes later after the one before says that operations are dear, and the stride is the least again.
    pub slow: Duration,
}

impl Pace {
    /// On a worker an epoch of a millisecond has the meter look, whatever operations take; this is for the case that the epoch
    /// itself does not advance in time. At every 256th operation alone a limit of one second was overshot by another.
    const WORKER: Self = Self { stride: 1..=512, slow: Duration::from_millis(2) };
    /// On an I/O thread others wait for what the epoch is too coarse to see.
    const INLINE: Self = Self { stride: 8..=32, slow: Duration::from_micros(20) };
    /// Where a single operation can wait 50 ms for a lock, not two may.
    const INLINE_WITH_LOCKS: Self = Self { stride: 1..=1, slow: Duration::MAX };

    /// The stride after one that took `elapsed`.
    pub fn next(&self, stride: u64, elapsed: Duration) -> u64 {
        if elapsed > self.slow { *self.stride.start() } else { (stride * 2).min(*self.stride.end()) }
    }
}

/// What a run may use.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Operations at which it stops.
    pub operations: u64,
    /// The moment at which it stops.
    pub deadline: Instant,
    /// Bytes that it may take at once; it may hold half of them, since any operation can copy all that is held.
    pub memory: usize,
    /// Whether reaching any of these only means that it is too long for the inline tier.
    pub inline: bool,
    /// Whether its operations may wait for locks.
    pub locks: bool,
    /// How long it may go on, once, from when it is first seen to be late.
    pub grace: Duration,
}

impl Allowance {
    /// What a run gets on a worker.
    pub fn worker(operations: u64, deadline: Instant, memory: usize) -> Self {
        Self { operations, deadline, memory, inline: false, locks: false, grace: Duration::ZERO }
    }

    /// What a run gets on an I/O thread; `locks` says whether its operations may wait for some.
    pub fn inline(max_operations: u64, now: Instant, locks: bool) -> Self {
        // A script whose own limit is smaller is stopped by the worker, which tells it by its name.
        let operations = max_operations.min(INLINE_OPERATIONS);
        // Most that are late were preempted, and did not have their time; where it can be a lock, the next may be one as well.
        let grace = if locks { Duration::ZERO } else { INLINE_TIME };
        Self { operations, deadline: now + INLINE_TIME, memory: INLINE_MEMORY, inline: true, locks, grace }
    }

    /// When the meter looks at the clock.
    pub fn pace(&self) -> &'static Pace {
        match (self.inline, self.locks) {
            (false, _) => &Pace::WORKER,
            (true, false) => &Pace::INLINE,
            (true, true) => &Pace::INLINE_WITH_LOCKS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rare_while_they_come_in_time_and_frequent_once_one_is_late() {
        let mut strides = vec![*Pace::INLINE.stride.start()];
        for micros in [1, 1, 1, 1, 21, 1] {
            strides.push(Pace::INLINE.next(*strides.last().unwrap(), Duration::from_micros(micros)));
        }
        assert_eq!(strides, [8, 16, 32, 32, 32, 8, 16]);
        assert_eq!(Pace::WORKER.next(512, Duration::from_millis(3)), 1);
    }
}
