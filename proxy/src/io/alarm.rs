//! One timer for all that a connection waits for between requests. Putting it off, as each request does, costs a look at
//! the clock: the timer is moved only when it goes off too early.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is put off again and again.
pub(super) struct Alarm {
    timer: Pin<Box<Sleep>>,
    due: Instant,
}

impl Alarm {
    pub(super) fn new(after: Duration) -> Self {
        let due = Instant::now() + after;
        Self { timer: Box::pin(sleep_until(due)), due }
    }

    pub(super) fn set(&mut self, after: Duration) {
        self.due = Instant::now() + after;
        if self.due < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(self.due);
        }
    }

    pub(super) async fn due(&mut self) {
        std::future::poll_fn(|cx| self.poll_due(cx)).await;
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.timer.deadline() >= self.due {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_off_when_it_was_last_set_to() {
        let second = Duration::from_secs(1);
        let begin = Instant::now();
        let mut alarm = Alarm::new(10 * second);
        alarm.set(20 * second);
        alarm.due().await;
        assert_eq!(begin.elapsed().as_secs(), 20);
        alarm.set(3 * second);
        alarm.due().await;
        assert_eq!(begin.elapsed().as_secs(), 23);
        alarm.set(10 * second);
        alarm.set(2 * second);
        alarm.due().await;
        assert_eq!(begin.elapsed().as_secs(), 25);
    }
}
