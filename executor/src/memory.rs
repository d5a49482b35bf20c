//! The bytes that each thread holds, counted by the process's allocator, and what one run added to them.
//!
//! It knows threads and bytes and nothing of scripts; it has the meter look when many were asked for. It is the allocator of
//! whatever links this crate, so that no binary can forget it: without it scripts would run without a limit of memory.
#![allow(unsafe_code)] // An allocator is an unsafe trait; each block below says why it is sound.

pub mod reclaim;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crate::fuel;

/// The system's allocator with a count.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What one thread holds. A value that is freed on another thread than made it shifts both counts for good, which is why only
/// differences within one run mean anything.
struct Counts {
    live: Cell<i64>,
    peak: Cell<i64>,
    /// What may yet be asked for, freed or not, before the meter is to look: a measure of the work that copies are.
    unseen: Cell<i64>,
}

thread_local! {
    // Constant and without a destructor: reading it neither allocates nor registers anything, so the allocator may do it
    // at any time of a thread's life.
    static COUNTS: Counts = const {
        Counts { live: Cell::new(0), peak: Cell::new(0), unseen: Cell::new(i64::MAX) }
    };
}

impl Counts {
    #[inline]
    fn add(&self, bytes: usize) {
        // No layout is larger than isize::MAX.
        let live = self.live.get().wrapping_add(bytes as i64);
        self.live.set(live);
        if live > self.peak.get() {
            self.peak.set(live);
        }
        let unseen = self.unseen.get().wrapping_sub(bytes as i64);
        self.unseen.set(unseen);
        if unseen < 0 {
            self.interrupt();
        }
    }

    #[cold]
    #[inline(never)]
    fn interrupt(&self) {
        self.unseen.set(i64::MAX);
        fuel::interrupt();
    }

    #[inline]
    fn take(&self, bytes: usize) {
        self.live.set(self.live.get().wrapping_sub(bytes as i64));
    }
}

// SAFETY: every call is handed to `System` as it came, and what comes back is given back as it is. The counting touches only
// constant thread-locals without destructors (`fuel` has another): it neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNTS.with(|counts| counts.add(layout.size()));
        // SAFETY: the caller's promise about `layout` is ours.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNTS.with(|counts| counts.add(layout.size()));
        // SAFETY: the caller's promise about `layout` is ours.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        COUNTS.with(|counts| counts.take(layout.size()));
        // SAFETY: the caller got `pointer` from us with this layout, and we got it from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        COUNTS.with(|counts| {
            // The old and the new block may stand side by side while it is copied.
            counts.add(new_size);
            counts.take(layout.size());
        });
        // SAFETY: the caller got `pointer` from us with this layout, and we got it from `System`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// Has this thread's meter look once so many bytes were asked for, or never.
pub fn call_after(bytes: Option<usize>) {
    let bytes = bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(i64::MAX);
    COUNTS.with(|counts| counts.unseen.set(bytes));
}

/// What this thread holds, relative to no particular moment.
#[inline]
fn live() -> i64 {
    COUNTS.with(|counts| counts.live.get())
}

/// What was allocated on this thread since a moment, less what was freed.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    base: i64,
}

impl Account {
    /// Counts from now on. One at a time: the peak begins anew.
    pub fn open() -> Self {
        let base = live();
        COUNTS.with(|counts| counts.peak.set(base));
        Self { base }
    }

    /// Counts from now on within another account, whose peak stays.
    pub fn within() -> Self {
        Self { base: live() }
    }

    /// The bytes held now.
    #[inline]
    pub fn held(self) -> usize {
        usize::try_from(live().wrapping_sub(self.base)).unwrap_or(0)
    }

    /// The most that was held at once.
    pub fn peak(self) -> usize {
        usize::try_from(COUNTS.with(|counts| counts.peak.get()).wrapping_sub(self.base)).unwrap_or(0)
    }
}

/// What `make` leaves allocated.
pub fn measured<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let account = Account::within();
    let made = make();
    (made, account.held())
}

/// Does something whose memory is not the run's: what it leaves is kept for all runs, and is bounded by whoever keeps it.
pub fn beside<T>(make: impl FnOnce() -> T) -> T {
    struct Restore(i64);
    impl Drop for Restore {
        fn drop(&mut self) {
            COUNTS.with(|counts| counts.live.set(self.0));
        }
    }
    let _restore = Restore(live());
    make()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Some numbers that look random: a linear congruential generator.
    fn numbers(seed: u64) -> impl Iterator<Item = usize> {
        let mut state = seed;
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as usize
        })
    }

    #[test]
    fn what_is_held_is_counted_to_the_byte() {
        let account = Account::open();
        let kept = vec![0_u8; 1_000];
        let mut grown: Vec<u64> = Vec::with_capacity(10);
        assert_eq!(account.held(), 1_080);
        grown.reserve_exact(100);
        assert_eq!(account.held(), 1_800);
        drop((kept, grown));
        assert_eq!(account.held(), 0);
        assert!(account.peak() >= 1_880, "{}", account.peak());
    }

    #[test]
    fn what_is_asked_for_counts_though_it_was_freed_and_has_the_meter_look_once() {
        fuel::fill(1_000_000);
        call_after(Some(10_000));
        drop(vec![0_u8; 9_000]);
        assert!(!fuel::burn(0));
        drop(vec![0_u8; 2_000]);
        fuel::burn(1);
        assert_eq!((fuel::burn(0), fuel::left()), (true, 999_999));
        fuel::fill(1_000_000);
        drop(vec![0_u8; 1_000_000]);
        assert!(!fuel::burn(0));
    }

    #[test]
    fn a_measure_is_what_was_left_allocated() {
        let (text, bytes) = measured(|| {
            drop(vec![0_u8; 5_000]);
            "a".repeat(300)
        });
        assert_eq!((text.len(), bytes), (300, 300));
    }

    #[test]
    fn what_is_made_beside_a_run_is_not_held_by_it() {
        let account = Account::open();
        let kept = beside(|| vec![0_u8; 5_000]);
        assert_eq!(account.held(), 0);
        beside(|| drop(kept));
        let _ = std::panic::catch_unwind(|| beside(|| std::panic::resume_unwind(Box::new(vec![0_u8; 9]))));
        assert!(account.held() < 100, "{}", account.held());
    }

    #[test]
    fn many_threads_that_allocate_and_free_come_out_even() {
        let threads: Vec<_> = (0..8)
            .map(|seed| {
                thread::spawn(move || {
                    let account = Account::open();
                    let mut held: Vec<Vec<u8>> = Vec::new();
                    for number in numbers(seed).take(200_000) {
                        match number % 4 {
                            0 => held.push(vec![1; number % 3_000]),
                            1 if !held.is_empty() => drop(held.swap_remove(number % held.len())),
                            2 => {
                                if let Some(last) = held.last_mut() {
                                    last.resize(number % 5_000, 7);
                                }
                            }
                            _ => held.truncate(200),
                        }
                    }
                    assert!(held.iter().flatten().all(|byte| matches!(byte, 1 | 7)));
                    drop(held);
                    account.held()
                })
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 0);
        }
    }

    #[test]
    fn blocks_may_be_freed_on_another_thread_than_made_them() {
        let (send, receive) = std::sync::mpsc::sync_channel::<Vec<u8>>(64);
        let freeing = thread::spawn(move || receive.into_iter().map(|block| block.len()).sum::<usize>());
        let sent: usize = numbers(1)
            .take(50_000)
            .map(|number| {
                let block = vec![3; number % 2_000];
                let len = block.len();
                send.send(block).unwrap();
                len
            })
            .sum();
        drop(send);
        assert_eq!(freeing.join().unwrap(), sent);
    }
}
