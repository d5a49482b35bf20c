//! Floods of HTTP/2 frames that ask for work and for no answer. `h2` takes each of them at once, whether or not anything
//! ever comes of the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::http::FrameScanner;

/// Frames that a connection may send at once. The start of a browser's takes about ten.
const BURST: u32 = 1_000;
/// And for ever, one in each of these: whoever looks ten times a second whether we are there has plenty.
const EACH: Duration = Duration::from_millis(10);
/// Frames that a request is worth: a client gives room, states its priority and changes its mind.
const PER_REQUEST: u32 = 10;
/// Bytes of answers that are worth a frame. Clients give room anew for each 16 KiB or more, and some measure the network
/// meanwhile; answers to floods are far smaller than this.
const BYTES_PER_FRAME: u64 = 256;

/// What a connection may still send.
#[derive(Debug)]
pub(super) struct Allowance {
    scanner: FrameScanner,
    frames: u32,
    /// Bytes that were sent and are not yet counted.
    sent: u64,
    /// Until when time was counted.
    counted: Instant,
    /// Heads of requests so far.
    heads: u32,
    watch: FrameWatch,
}

/// What the frames of a connection show.
#[derive(Debug, Clone, Default)]
pub(super) struct FrameWatch(Arc<Shown>);

#[derive(Debug, Default)]
struct Shown {
    flooded: AtomicBool,
    open_head: AtomicU32,
}

impl FrameWatch {
    /// Whether the connection has sent more than it may.
    pub(super) fn is_flooded(&self) -> bool {
        self.0.flooded.load(Ordering::Relaxed)
    }

    /// Ends once it is so; found out by whoever reads from the connection, in the same task.
    pub(super) async fn becomes_flooded(&self) {
        std::future::poll_fn(|_| if self.is_flooded() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Which head has begun to arrive and not ended, if any: they are counted.
    pub(super) fn open_head(&self) -> Option<u32> {
        Some(self.0.open_head.load(Ordering::Relaxed)).filter(|number| *number > 0)
    }
}

impl Allowance {
    pub(super) fn new(watch: FrameWatch) -> Self {
        Self { scanner: FrameScanner::default(), frames: BURST, sent: 0, counted: Instant::now(), heads: 0, watch }
    }

    /// Whether nothing more is to be read.
    pub(super) fn is_used_up(&self) -> bool {
        self.watch.is_flooded()
    }

    /// Counts what was read.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let found = self.scanner.scan(bytes);
        self.heads = self.heads.wrapping_add(found.heads);
        let open_head = if self.scanner.is_in_request_head() { self.heads } else { 0 };
        self.watch.0.open_head.store(open_head, Ordering::Relaxed);
        self.frames = (self.frames + found.heads * PER_REQUEST).min(BURST);
        if self.frames < found.others {
            self.earn();
        }
        match self.frames.checked_sub(found.others) {
            Some(left) => self.frames = left,
            None => self.watch.0.flooded.store(true, Ordering::Relaxed),
        }
    }

    /// Counts what was sent.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Counts what has come together since it was last needed: looking at the clock for each frame would cost more than all
    /// else here.
    fn earn(&mut self) {
        let by_time = self.counted.elapsed().as_nanos() / EACH.as_nanos();
        let by_time = u32::try_from(by_time).unwrap_or(u32::MAX);
        let by_bytes = u32::try_from(self.sent / BYTES_PER_FRAME).unwrap_or(u32::MAX);
        self.frames = self.frames.saturating_add(by_time).saturating_add(by_bytes).min(BURST);
        self.counted += EACH * by_time;
        self.sent %= BYTES_PER_FRAME;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const HEADERS: &[u8] = &[0, 0, 0, 1, 5, 0, 0, 0, 1];

    fn allowance() -> Allowance {
        let mut allowance = Allowance::new(FrameWatch::default());
        allowance.read(PREFACE);
        allowance
    }

    /// Pings that it takes until it is used up.
    fn pings(allowance: &mut Allowance) -> usize {
        (0..)
            .take_while(|_| {
                allowance.read(PING);
                !allowance.is_used_up()
            })
            .count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_send_a_burst_and_then_as_time_goes_by() {
        assert_eq!(pings(&mut allowance()), 1_000);
        for (wait, more) in [(EACH / 2, 0), (EACH, 1), (EACH * 100, 100), (EACH * 1_000_000, 1_000)] {
            let mut allowance = allowance();
            allowance.read(&PING.repeat(1_000));
            tokio::time::advance(wait).await;
            assert_eq!(pings(&mut allowance), more, "{wait:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_time_is_lost_between_two_looks() {
        let mut allowance = allowance();
        allowance.read(&PING.repeat(1_000));
        for n in 0..100 {
            tokio::time::advance(EACH * 3 / 2).await;
            allowance.read(&PING.repeat(1 + n % 2));
            assert!(!allowance.is_used_up(), "{n}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_and_what_is_sent_are_worth_frames_and_answers_to_a_flood_are_not() {
        let mut asking = allowance();
        asking.read(&PING.repeat(1_000));
        asking.read(HEADERS);
        assert_eq!(pings(&mut asking), 10);
        let mut taking = allowance();
        taking.read(&PING.repeat(1_000));
        taking.wrote(16 * 1024);
        assert_eq!(pings(&mut taking), 64);
        let mut answered = allowance();
        let taken = (0..).take_while(|_| {
            answered.read(PING);
            answered.wrote(PING.len());
            !answered.is_used_up()
        });
        assert!(taken.count() < 1_100);
        let mut rich = allowance();
        rich.wrote(usize::MAX);
        rich.read(&HEADERS.repeat(1_000_000));
        assert_eq!(pings(&mut rich), 1_000 + 1_000, "of what was earned no more than a burst is kept");
    }
}
