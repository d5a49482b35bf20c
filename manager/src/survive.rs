//! Panics of work in the background: told as the defects that they are, and survived by what goes on for ever.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;

/// Runs work of a task; nothing where it panicked, which is logged.
pub(crate) async fn survive<T>(what: &str, work: impl Future<Output = T>) -> Option<T> {
    told(what, AssertUnwindSafe(work).catch_unwind().await)
}

/// The same for work that never waits.
pub(crate) fn survive_now<T>(what: &str, work: impl FnOnce() -> T) -> Option<T> {
    told(what, catch_unwind(AssertUnwindSafe(work)))
}

fn told<T>(what: &str, done: Result<T, Box<dyn Any + Send>>) -> Option<T> {
    done.inspect_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
        tracing::error!("{what} panicked, which is a defect of PiCloud: {text}");
    })
    .ok()
}
