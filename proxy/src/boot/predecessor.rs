//! The process before this one, which hands over to it: it serves until this one does, and is told of that, or of why it cannot be.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use picloud_manager::store::Store;
use tokio::sync::watch;

use super::go_between::Tie;
use super::inheritance::{self, Inheritance};

/// How long what is handed over may take to arrive. It was sent when this process was started.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of a failure that are told.
const FAILURE_BYTES: usize = 2000;

/// What this process says, with its number, when it serves.
pub const SERVING: &str = "serving ";
/// What it says, with the reason, when it cannot.
pub const FAILED: &str = "failed ";
/// What the one before it says when it has heard that.
pub const AGREED: u8 = b'a';
/// What this process says then, once it outlives the go-between.
pub const PARTED: &str = "parted";
/// What the one before it says once it accepts nobody any more.
pub const YOURS: u8 = b'y';

/// The process before this one.
#[derive(Debug, Clone)]
pub struct Predecessor {
    line: Arc<UnixStream>,
    stage: watch::Sender<Stage>,
    /// Until this process serves, and the one before it has heard so: one that gives it up before ends it with the go-between.
    tie: Arc<Mutex<Option<Tie>>>,
}

/// How far a hand-over has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The process before this one serves.
    Theirs,
    /// It accepts nobody any more, and finishes what it began.
    Ours,
    /// It has ended.
    Alone,
}

impl Predecessor {
    /// Takes over what comes on standard input, where the process that started this one is said to be there.
    ///
    /// # Errors
    /// Something else comes.
    pub fn take() -> anyhow::Result<(Self, Inheritance)> {
        let arrival = || {
            let tie = Tie::new()?;
            let line = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
            line.set_read_timeout(Some(ARRIVES_WITHIN))?;
            let inheritance = inheritance::receive(&line)?;
            line.set_read_timeout(None)?;
            anyhow::Ok((tie, line, inheritance))
        };
        let (tie, line, inheritance) = arrival().context("the process before this one handed over nothing")?;
        // What this process starts must not hold the line, whose end is the end of this process.
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        let (line, tie) = (Arc::new(line), Arc::new(Mutex::new(Some(tie))));
        Ok((Self { line, stage: watch::Sender::new(Stage::Theirs), tie }, inheritance))
    }

    /// Says that this process serves, and from then on hears what becomes of the other one. Where that one ended before, this
    /// one serves all the same: it has the sockets.
    ///
    /// # Errors
    /// There is no thread to listen on.
    pub fn tell_serving(&self, store: &Store) -> anyhow::Result<()> {
        // One that has ended reads nothing, which its end says.
        let _ = writeln!(&*self.line, "{SERVING}{}", std::process::id());
        let (this, store) = (self.clone(), store.clone());
        let listen = move || {
            let mut said = [0];
            while let Ok(1) = (&*this.line).read(&mut said) {
                match said[0] {
                    AGREED => this.part(),
                    YOURS => drop(this.stage.send_replace(Stage::Ours)),
                    _ => {}
                }
            }
            // Before anybody hears of it: whoever waits for that may hand over at once, and be in company again.
            store.set_in_company(false);
            this.stage.send_replace(Stage::Alone);
            tracing::info!("the process before this one has ended");
        };
        std::thread::Builder::new().name("picloud-before".to_owned()).spawn(listen)?;
        Ok(())
    }

    /// Outlives the go-between from now on, and says so.
    fn part(&self) {
        drop(self.tie.lock().unwrap_or_else(PoisonError::into_inner).take());
        let _ = writeln!(&*self.line, "{PARTED}");
    }

    /// Says why this process cannot serve.
    pub fn tell_failure(&self, failure: &str) {
        let mut line: String = failure.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
        while line.len() > FAILURE_BYTES {
            line.pop();
        }
        // One that has ended has nobody to tell.
        let _ = writeln!(&*self.line, "{FAILED}{line}");
    }

    /// Returns once the hand-over has come so far.
    pub async fn reaches(&self, stage: Stage) {
        // The sender is here.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await;
    }
}
