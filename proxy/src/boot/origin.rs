//! What a process that serves finds at its start: who started it, and what that one gave it.

use anyhow::ensure;
use picloud_manager::store::serve_lock::ServeLock;
use picloud_shared::clock::SystemClock;

use super::go_between::go_between;
use super::hand_over::Program;
use super::inheritance::Inheritance;
use super::predecessor::Predecessor;
use super::service_manager::ServiceManager;
use super::sockets::Sockets;
use crate::config::environment::{self, Beginner};

/// What a process that serves finds at its start.
pub struct Origin {
    /// How it was started.
    pub program: Program,
    /// Sockets that listen already.
    pub sockets: Sockets,
    /// The process before it, where that one hands over to it.
    pub predecessor: Option<Predecessor>,
    /// Whoever watches over it.
    pub service: ServiceManager,
    /// The right to serve the store, where that was handed over.
    pub lock: Option<ServeLock>,
}

impl Origin {
    /// That of this process. Must be asked before anything else is started, which would inherit what is taken here. A process
    /// that only stands between two others ends here.
    ///
    /// # Errors
    /// What was given is not what it should be.
    pub fn of_this_process() -> anyhow::Result<Self> {
        let program = Program::current()?;
        let service = ServiceManager::new(environment::service());
        let begun_by = environment::begun_by();
        if begun_by == Some(Beginner::Predecessor) {
            std::process::exit(go_between(&program)?);
        }
        if begun_by == Some(Beginner::GoBetween) {
            let (predecessor, Inheritance { sockets, lock, clock }) = Predecessor::take()?;
            ensure!(SystemClock::go_on_from(clock), "the clock was read before it was set");
            return Ok(Self { program, sockets, predecessor: Some(predecessor), service, lock });
        }
        let sockets = environment::systemd_sockets().map_or_else(|| Ok(Sockets::default()), Sockets::of_systemd)?;
        Ok(Self { program, sockets, predecessor: None, service, lock: None })
    }
}
