//! Whether this program is about to end, as each connection asks with every request: without a lock.

use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// The end of accepting, and of idle connections.
#[derive(Debug, Default)]
pub(super) struct Draining {
    begun: AtomicBool,
    /// How long connections may still ask that are kept, where another process has the same sockets.
    last_chance: OnceLock<Duration>,
    announcement: CancellationToken,
}

/// One task's look at it, kept over many waits: only the first one queues up for the announcement.
pub(super) struct Watch<'d> {
    draining: &'d Draining,
    announced: Pin<Box<WaitForCancellationFuture<'d>>>,
    queued: Option<Waker>,
}

impl Draining {
    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
        self.announcement.cancel();
    }

    /// Leaves those who wait in the kernel to another process, which has the same sockets, and after so long those who are kept.
    pub(super) fn leave_queue(&self, last_chance: Duration) {
        // Once is enough.
        let _ = self.last_chance.set(last_chance);
    }

    pub(super) fn leaves_queue(&self) -> bool {
        self.last_chance.get().is_some()
    }

    pub(super) fn last_chance(&self) -> Option<Duration> {
        self.last_chance.get().copied()
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    pub(super) async fn begins(&self) {
        self.announcement.cancelled().await;
    }

    pub(super) fn watch(&self) -> Watch<'_> {
        Watch { draining: self, announced: Box::pin(self.announcement.cancelled()), queued: None }
    }
}

impl Watch<'_> {
    pub(super) async fn begins(&mut self) {
        std::future::poll_fn(|cx| self.poll_begins(cx)).await;
    }

    fn poll_begins(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.draining.has_begun() {
            return Poll::Ready(());
        }
        // Whoever is queued is woken by the announcement, which comes after the flag that was just read.
        if self.queued.as_ref().is_some_and(|queued| queued.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.queued = Some(cx.waker().clone());
        ready!(self.announced.as_mut().poll(cx));
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn every_watch_hears_of_it_even_one_that_waited_before() {
        let draining = Arc::new(Draining::default());
        let watchers: Vec<_> = (0..3)
            .map(|_| {
                let draining = Arc::clone(&draining);
                tokio::spawn(async move {
                    let mut watch = draining.watch();
                    // The first wait is given up, as by a request that arrives.
                    tokio::select! {
                        biased;
                        () = watch.begins() => {}
                        () = tokio::task::yield_now() => {}
                    }
                    watch.begins().await;
                })
            })
            .collect();
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert!(!draining.has_begun());
        draining.begin();
        for watcher in watchers {
            watcher.await.unwrap();
        }
        draining.watch().begins().await;
    }
}
