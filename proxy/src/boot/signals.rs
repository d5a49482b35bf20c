//! What the operating system asks for.

use anyhow::Context;
use picloud_proxy::tls::Certificates;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that mean something, from now on kept until somebody waits for them.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
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
        })
    }

    /// Waits for the signal to stop.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the signal to stop; until then reads certificates again when asked to.
    pub async fn until_stop(&mut self, certificates: &Certificates) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => reload(certificates),
            }
        }
    }
}

fn reload(certificates: &Certificates) {
    match certificates.reload() {
        Ok(()) => tracing::info!("certificates were read again"),
        Err(error) => tracing::error!(%error, "certificates stay as they were"),
    }
}
