//! Between the two processes of a hand-over while the new one is not ready. It has the new one for its child, ends as that one
//! does, and is ended once that one serves: then whoever looks after orphans, such as systemd, is the new one's parent. A process
//! that is a child of another one's than its own, systemd would neither see end nor give time to end.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

use anyhow::{Context, ensure};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::hand_over::Program;
use crate::config::environment::{self, Beginner, GO_BETWEEN};

/// Starts this program once more, which takes over what waits on standard input; how that process ended, as a code for this one.
///
/// # Errors
/// It cannot be started.
pub fn go_between(program: &Program) -> anyhow::Result<i32> {
    let mut command = program.command();
    command.env(GO_BETWEEN, std::process::id().to_string()).stdin(Stdio::inherit());
    let ended = command.status().with_context(|| format!("{} cannot be started", program.binary.display()))?;
    Ok(ended.code().or_else(|| ended.signal().map(|signal| 128 + signal)).unwrap_or(1))
}

/// What has this process end with the go-between, until it is dropped.
#[derive(Debug)]
pub struct Tie {
    /// The thread that the system has it by, and what that waits for the end of.
    thread: Option<(JoinHandle<()>, mpsc::Sender<()>)>,
}

impl Tie {
    /// Ties this process.
    ///
    /// # Errors
    /// The system does not do it, or the go-between has ended.
    pub fn new() -> anyhow::Result<Self> {
        let (held, holds) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let tied = move || {
            let _ = tell.send(set_parent_process_death_signal(Some(Signal::KILL)));
            // What the system is asked for by a thread ends with that, some time after it was waited for: so it is taken back first.
            let _ = holds.recv();
            let _ = set_parent_process_death_signal(None);
        };
        let thread = Builder::new().name("picloud-tied".to_owned()).spawn(tied)?;
        told.recv()??;
        ensure!(environment::begun_by() == Some(Beginner::GoBetween), "who started this process has ended");
        Ok(Self { thread: Some((thread, held)) })
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        if let Some((thread, held)) = self.thread.take() {
            drop(held);
            // It has nothing to break down of.
            let _ = thread.join();
        }
    }
}
