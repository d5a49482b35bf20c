//! Memory that runs no longer need goes back to the system: the pages of a thread's stack below what it uses, and what the
//! allocator keeps of freed blocks. Neither happens by itself.
//!
//! It knows threads and pages and nothing of scripts.
#![allow(unsafe_code)] // The system is asked to forget pages; each block below says why nothing is in them.

use std::cell::Cell;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{hint, io, thread};

use rustix::mm::{Advice, madvise};

/// Whose job held as much may have used as much stack again several times, and the rest is less than a thread takes anyway.
const DEEP: usize = 256 * 1024;
/// What jobs must have held, together, for the allocator to be gone through when a thread has nothing to do.
const WORTH_WHILE: usize = 8 * 1024 * 1024;
/// The same when there is always something to do.
const OVERDUE: usize = 256 * 1024 * 1024;
/// How often at most.
const PAUSE: Duration = Duration::from_secs(10);

/// What jobs held at once, added up, since the allocator last gave back.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Has the allocator map each block of a MiB and more by itself, which goes back as it is freed. Left alone, it takes the first
/// that is freed for a sign to keep the like in each thread's arena for good: the 19 MiB of a password, once for each thread.
pub fn configure_allocator() {
    #[cfg(target_env = "gnu")]
    {
        // The end of the main arena is cut only when it is worth it: the first setting would make it 128 KiB, for each free.
        let settings = [(libc::M_MMAP_THRESHOLD, 1024 * 1024), (libc::M_TRIM_THRESHOLD, 4 * 1024 * 1024)];
        for (setting, bytes) in settings {
            // SAFETY: it takes any two numbers, locks the allocator itself, and says 0 to what it does not know.
            if unsafe { libc::mallopt(setting, bytes) } == 0 {
                tracing::warn!(setting, "the allocator does not take a setting");
            }
        }
    }
}

/// Gives back what the allocator keeps of freed blocks. It takes some milliseconds for each 100 MiB, in which threads that
/// allocate may wait.
pub fn give_memory_back() {
    HELD.store(0, Ordering::Relaxed);
    #[cfg(target_env = "gnu")]
    // SAFETY: it locks the allocator itself, and touches only blocks that were freed.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Says that a job held as much at once and is done.
fn held(bytes: usize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
    if held >= OVERDUE {
        give_memory_back_at_times();
    }
}

/// Gives back unless that was done lately; whether it was given back.
fn give_memory_back_at_times() -> bool {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_some_and(|last| last.elapsed() < PAUSE) {
        return false;
    }
    *last = Some(Instant::now());
    drop(last);
    give_memory_back();
    true
}

/// The stack of the thread that it was made on.
pub struct ThreadStack {
    /// The address of something at its beginning; it grows down.
    top: usize,
    bytes: usize,
    /// It stays on its thread.
    _here: PhantomData<*const ()>,
}

thread_local! {
    /// The beginning of this thread's stack and its bytes.
    static STACK: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// How many bytes of this thread's stack are not in use, and how many there are; nothing on a thread that was not spawned here.
#[inline(never)]
pub fn stack_left() -> Option<(usize, usize)> {
    let here = 0_u8;
    let here = hint::black_box(&raw const here).addr();
    STACK.get().map(|(top, bytes)| (bytes.saturating_sub(top.saturating_sub(here)), bytes))
}

/// Starts a thread with a stack of so many bytes, of which only what is touched becomes real, and which is nicer than its starter by
/// so much.
///
/// # Errors
/// The system has no thread left.
pub fn spawn(
    name: String,
    stack_bytes: usize,
    nice: u8,
    work: impl FnOnce(&ThreadStack) + Send + 'static,
) -> io::Result<()> {
    let run = move || {
        give_way(nice);
        let first = 0_u8;
        let top = (&raw const first).addr();
        STACK.set(Some((top, stack_bytes)));
        work(&ThreadStack { top, bytes: stack_bytes, _here: PhantomData });
        hint::black_box(first);
    };
    thread::Builder::new().name(name).stack_size(stack_bytes).spawn(run).map(|_| ())
}

fn give_way(nice: u8) {
    // Linux has one for each thread; elsewhere it would be the whole process's.
    #[cfg(target_os = "linux")]
    if nice > 0 {
        use rustix::process::{getpriority_process, setpriority_process};
        let nicer = getpriority_process(None).and_then(|now| setpriority_process(None, now + i32::from(nice)));
        if let Err(error) = nicer {
            tracing::debug!(%error, "a thread gives way to none");
        }
    }
}

impl ThreadStack {
    /// After a job that held as much at once.
    pub fn after(&self, bytes: usize) {
        if bytes >= DEEP {
            self.give_back();
        }
        held(bytes);
    }

    /// When there was nothing to do for a while; whether nothing is left to give back.
    pub fn when_quiet(&self) -> bool {
        self.give_back();
        HELD.load(Ordering::Relaxed) < WORTH_WHILE || give_memory_back_at_times()
    }

    /// Gives back the pages below what is in use.
    #[inline(never)]
    fn give_back(&self) {
        /// Above the first thing on a stack are the thread's own variables, below its last page is the one that guards it; neither is near.
        const FAR: usize = 1024 * 1024;
        /// More than what is called from here takes.
        const NEAR: usize = 64 * 1024;
        const PAGE: usize = 64 * 1024;
        let here = 0_u8;
        let end = ((&raw const here).addr() - NEAR) / PAGE * PAGE;
        let begin = (self.top + FAR).saturating_sub(self.bytes).next_multiple_of(PAGE);
        if begin >= end {
            return;
        }
        let pages = std::ptr::without_provenance_mut::<c_void>(begin);
        // SAFETY: from `begin` to `end` is nothing but stack of this thread, since `spawn` made it with `bytes`, less than `FAR` of them
        // above `top`; and nothing is in it, since all that is in use lies above `here`. The pages stay mapped and read as zero.
        if let Err(error) = unsafe { madvise(pages, end - begin, Advice::LinuxDontNeed) } {
            tracing::debug!(%error, "a stack is not given back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Touches as much of the stack, and tells that what it wrote is still there on the way back.
    fn dig(bytes: usize) -> u64 {
        let block = hint::black_box([7_u8; 4 * 1024]);
        let below = if bytes > block.len() { dig(bytes - block.len()) } else { 0 };
        below + u64::from(block[0]) + u64::from(block[block.len() - 1])
    }

    #[test]
    fn what_is_left_of_a_stack_is_known_on_threads_that_were_spawned_here() {
        #[inline(never)]
        fn below(depth: usize) -> Option<(usize, usize)> {
            let block = hint::black_box([7_u8; 64 * 1024]);
            let left = if depth > 1 { below(depth - 1) } else { stack_left() };
            hint::black_box(block);
            left
        }
        assert_eq!(stack_left(), None);
        let (done, result) = mpsc::channel();
        let work = move |_: &ThreadStack| done.send((stack_left(), below(64))).unwrap();
        let mib = 1024 * 1024;
        spawn("test".to_owned(), 64 * mib, 0, work).unwrap();
        let (first, deep) = result.recv().unwrap();
        let ((first, all), (deep, _)) = (first.unwrap(), deep.unwrap());
        assert_eq!(all, 64 * mib);
        assert!(first > 63 * mib && first < all, "{first}");
        assert!(first - deep >= 4 * mib && deep > 32 * mib, "{deep}");
    }

    #[test]
    fn a_stack_is_whole_however_often_it_is_given_back() {
        let (done, result) = mpsc::channel();
        let threads = 4;
        for number in 0..threads {
            let done = done.clone();
            let work = move |stack: &ThreadStack| {
                let deep = 8 * 1024 * 1024;
                for round in 0..50 {
                    let kept = hint::black_box([number; 4096]);
                    let sum = dig(deep - round * 1000);
                    stack.give_back();
                    assert_eq!(kept, [number; 4096]);
                    assert_eq!(sum, dig(deep - round * 1000));
                    // From within, with all of that in use.
                    fn within(stack: &ThreadStack, depth: u64) -> u64 {
                        let kept = hint::black_box([depth; 512]);
                        if depth == 0 {
                            stack.give_back();
                            return 0;
                        }
                        within(stack, depth - 1) + kept.iter().sum::<u64>() / 512
                    }
                    assert_eq!(within(stack, 1000), 500_500);
                }
                done.send(()).unwrap();
            };
            spawn("test".to_owned(), 64 * 1024 * 1024, 0, work).unwrap();
        }
        drop(done);
        assert_eq!(result.into_iter().count(), threads as usize);
    }
}
