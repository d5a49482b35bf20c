//! Handing over to the binary that stands in this one's place: it is started beside this process, is given its sockets, and serves
//! before this one stops. Whatever goes wrong until then, this process goes on.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use picloud_manager::store::serve_lock::ServeLock;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::inheritance;
use super::predecessor::{AGREED, FAILED, PARTED, SERVING, YOURS};
use super::sockets::Label;
use crate::config::environment::{GO_BETWEEN, OF_SYSTEMD_FOR_ONE_PROCESS, PREDECESSOR};

/// Bytes of the longest line that the new process says.
const LINE_BYTES: u64 = 4096;

/// How long a process that serves may take for a word.
const PARTS_WITHIN: Duration = Duration::from_secs(10);

/// How this process was started, and so how another one is.
#[derive(Debug)]
pub struct Program {
    /// The binary's path.
    pub binary: PathBuf,
    arguments: Vec<OsString>,
}

/// A process that serves beside this one, and is told when it does so alone.
#[derive(Debug)]
pub struct Successor {
    /// Its number.
    pub pid: u32,
    line: BufReader<UnixStream>,
}

impl Program {
    /// That of this process. It must be asked before anything is put in the place of its binary: of one that was deleted the
    /// system tells no path that is of use.
    ///
    /// # Errors
    /// The system does not tell where the binary is.
    pub fn current() -> anyhow::Result<Self> {
        let mut arguments = std::env::args_os();
        // By the path that it was started by, which may be a link that leads elsewhere by then.
        let named = arguments.next().map(PathBuf::from).filter(|name| name.components().count() > 1 && name.is_file());
        let binary = match named {
            Some(name) => std::path::absolute(name),
            None => std::env::current_exe(),
        };
        Ok(Self { binary: binary.context("where this program is cannot be told")?, arguments: arguments.collect() })
    }

    /// Starts the binary that is there now, hands over to it, and returns once it serves.
    ///
    /// # Errors
    /// Why it does not serve by then; it has ended. Nothing outlives the first process of a container.
    pub async fn hand_over(
        &self,
        sockets: &[(Label, &TcpListener)],
        lock: Option<&ServeLock>,
        within: Duration,
    ) -> anyhow::Result<Successor> {
        refuse_where_nothing_outlives(std::process::id())?;
        let (here, there) = StdUnixStream::pair()?;
        // It waits there, so that a process that ends at once is not written to.
        inheritance::send(&here, sockets, lock).context("its sockets cannot be handed over")?;
        let mut unready = Unready { child: Some(self.start(there)?), new: None };
        here.set_nonblocking(true)?;
        let mut line = BufReader::new(UnixStream::from_std(here)?);
        match timeout(within, until_it_serves(&mut line)).await {
            Ok(Ok(pid)) => {
                unready.new = process(pid);
                let parted = timeout(PARTS_WITHIN, agree(&mut line)).await.is_ok_and(|parted| parted);
                ensure!(parted, "{} ended as it began to serve", self.binary.display());
                unready.end_at_once().await;
                unready.new = None;
                Ok(Successor { pid, line })
            }
            Ok(Err(Some(reason))) => bail!("{reason}"),
            Ok(Err(None)) => match unready.end().await {
                Some(status) => bail!("{} ended before it served: {status}", self.binary.display()),
                None => bail!("{} ended before it served", self.binary.display()),
            },
            Err(_) => bail!("{} does not serve after {} ms", self.binary.display(), within.as_millis()),
        }
    }

    /// What starts another one as this one was started.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments);
        command
    }

    fn start(&self, line: StdUnixStream) -> anyhow::Result<Child> {
        let mut command = self.command();
        command.env(PREDECESSOR, std::process::id().to_string()).env_remove(GO_BETWEEN);
        for name in OF_SYSTEMD_FOR_ONE_PROCESS {
            command.env_remove(name);
        }
        command.stdin(Stdio::from(OwnedFd::from(line)));
        command.spawn().with_context(|| format!("{} cannot be started", self.binary.display()))
    }
}

/// A container ends with its first process, and with it whatever that one handed over to.
fn refuse_where_nothing_outlives(pid: u32) -> anyhow::Result<()> {
    ensure!(
        pid != 1,
        "this is the first process of a container, which would end with it: make the container anew, of the other image"
    );
    Ok(())
}

/// Waits for the word of the new process, which gives its number; why it does not serve, if it says so, or nothing where it ended.
async fn until_it_serves(line: &mut BufReader<UnixStream>) -> Result<u32, Option<String>> {
    let mut said = String::new();
    if line.take(LINE_BYTES).read_line(&mut said).await.is_err() {
        return Err(None);
    }
    match said.strip_prefix(SERVING).and_then(|pid| pid.trim_end().parse().ok()) {
        Some(pid) => Ok(pid),
        None => Err(said.strip_prefix(FAILED).map(|reason| reason.trim_end().to_owned())),
    }
}

/// Says that this process has heard that the new one serves, and waits until that one outlives the go-between: if this one gives up
/// before, both end. Whether it does.
async fn agree(line: &mut BufReader<UnixStream>) -> bool {
    let mut said = String::new();
    line.get_mut().write_all(&[AGREED]).await.is_ok()
        && line.take(LINE_BYTES).read_line(&mut said).await.is_ok()
        && said.trim_end() == PARTED
}

impl Successor {
    /// A way to have it read again what can be read again: as long as this process is there, somebody may ask this one.
    pub fn reload(&self) -> impl Fn() + use<> {
        let process = process(self.pid);
        move || {
            let told = process.as_ref().ok_or(Errno::SRCH).and_then(|process| pidfd_send_signal(process, Signal::HUP));
            if let Err(error) = told {
                tracing::warn!(%error, "the new process cannot be told to read certificates again");
            }
        }
    }

    /// Says that this process accepts nobody any more.
    pub async fn tell_yours(&mut self) {
        // One that has ended is not helped by it.
        let _ = self.line.get_mut().write_all(&[YOURS]).await;
    }
}

/// A process, which is told of not by its number: that another one may have by then.
fn process(pid: u32) -> Option<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// What stands between this process and the new one, which does not serve yet: dropped, both are ended.
struct Unready {
    child: Option<Child>,
    /// The new one, once it has parted from what stands between.
    new: Option<OwnedFd>,
}

impl Unready {
    /// Ends it, which the new one outlives that serves.
    async fn end_at_once(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        // Until it is reaped, the new one may still be its child.
        let _ = tokio::task::spawn_blocking(move || child.wait()).await;
    }

    /// Ends it; how it ended.
    async fn end(&mut self) -> Option<std::process::ExitStatus> {
        let mut child = self.child.take()?;
        let waiting = tokio::task::spawn_blocking(move || {
            // One that closed its end of the line is as good as ended, and has a moment to be so by itself.
            for _ in 0..50 {
                if let Ok(Some(status)) = child.try_wait() {
                    return Some(status);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            child.wait().ok()
        });
        waiting.await.ok().flatten()
    }
}

impl Drop for Unready {
    fn drop(&mut self) {
        if let Some(new) = &self.new {
            // It may have ended by itself.
            let _ = pidfd_send_signal(new, Signal::KILL);
        }
        if let Some(mut child) = self.child.take() {
            // One that has ended already cannot be killed. It is reaped beside all else.
            let _ = child.kill();
            std::thread::spawn(move || child.wait());
        }
    }
}

/// Whether a path is of a binary that says which version it is.
///
/// # Errors
/// It cannot be run, or says nothing.
pub async fn version_of(binary: &Path) -> anyhow::Result<String> {
    let told = tokio::process::Command::new(binary).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let told = timeout(Duration::from_secs(10), told).await;
    let told = told.with_context(|| format!("{} does not say its version", binary.display()))?;
    let told = told.with_context(|| format!("{} cannot be run", binary.display()))?;
    let version = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    if !told.status.success() || version.is_empty() {
        bail!("{} does not say its version: {}", binary.display(), told.status);
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_of_a_container_hands_over_to_nobody() {
        refuse_where_nothing_outlives(2).unwrap();
        assert!(refuse_where_nothing_outlives(1).unwrap_err().to_string().contains("container"));
    }
}
