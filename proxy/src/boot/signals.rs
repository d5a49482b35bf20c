//! What the operating system asks for.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that mean something, from now on kept until somebody waits for them.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    quit: Signal,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To stop.
    Stop,
    /// To read again what can be read again.
    Reload,
    /// To hand over to the binary that stands in this one's place.
    HandOver,
}

impl Signals {
    pub fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        // Nobody waits for this one: a file that may not grow is a store that is full, not the end of the process.
        let _ = listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
            quit: listen(SignalKind::quit())?,
        })
    }

    /// Waits for the signal to stop.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the signal to stop, and does this at each one to reload.
    pub async fn stop_or_reload(&mut self, reload: impl Fn()) {
        loop {
            match self.next().await {
                Wish::Stop => return,
                Wish::Reload => reload(),
                Wish::HandOver => {}
            }
        }
    }

    /// Waits for a signal. Of those that came together, the one to stop counts.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.hang_up.recv() => Wish::Reload,
            _ = self.quit.recv() => Wish::HandOver,
        }
    }
}
