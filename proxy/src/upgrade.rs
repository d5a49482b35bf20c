//! `picloud upgrade`: has the process that serves hand over to the binary that stands in its place now, and tells what came of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use picloud_manager::store::serve_lock::{ServeLock, Serving};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::time::{Instant, sleep};

use crate::boot::version_of;
use crate::config::Config;
use crate::remote::output::say;

/// How often it is looked what came of it.
const LOOK: Duration = Duration::from_millis(50);

/// What is waited for beyond what the new binary may take: the one before, which may still drain, ten seconds each for parting and for
/// leaving certificates to it, and the word of it.
const BEYOND: Duration = Duration::from_secs(25);

/// Upgrades.
///
/// # Errors
/// Nobody serves from that directory, or why the process that does goes on.
pub async fn run(config: &Config) -> anyhow::Result<()> {
    let dir = &config.data_dir;
    let find = || ServeLock::find(dir).with_context(|| format!("who serves from {} cannot be told", dir.display()));
    let Some(before) = find()? else { bail!("no picloud serves from {}", dir.display()) };
    let owner = fs::metadata(dir).with_context(|| format!("whose {} is cannot be told", dir.display()))?.uid();
    refuse_for_others(owner, geteuid().as_raw())?;
    if before.binary.as_os_str().is_empty() {
        bail!("process {} does not serve yet", before.pid);
    }
    // What cannot be run at all need not be tried; whether its settings can be used, it finds out itself.
    let version = version_of(&before.binary).await?;
    say(&format!("process {} hands over to {} ({version})", before.pid, before.binary.display()))?;
    let pid = i32::try_from(before.pid).ok().and_then(Pid::from_raw).context("the number of the process")?;
    kill_process(pid, Signal::QUIT).with_context(|| format!("process {} cannot be sent a signal", before.pid))?;
    let end = Instant::now() + config.upgrade_timeout + BEYOND;
    while Instant::now() < end {
        sleep(LOOK).await;
        match find()? {
            Some(Serving { pid, .. }) if pid != before.pid => {
                return Ok(say(&format!("process {pid} serves"))?);
            }
            Some(now) if now.failures != before.failures => {
                bail!("process {} goes on serving: {}", before.pid, now.failure);
            }
            Some(_) => {}
            None => bail!("process {} ended, and none serves in its place", before.pid),
        }
    }
    bail!("process {} has said nothing of it: look at its log", before.pid)
}

/// Lets only the user act whose the directory is: what stands in it says which process is sent a signal and which binary is run,
/// and whoever took over the service could have root do either.
fn refuse_for_others(owner: u32, me: u32) -> anyhow::Result<()> {
    ensure!(
        owner == me,
        "this is for the user that PiCloud runs as, number {owner}: sudo -u '#{owner}' picloud upgrade"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_even_root_does_what_a_directory_of_another_user_says() {
        refuse_for_others(998, 998).unwrap();
        for me in [0, 1000] {
            assert!(refuse_for_others(998, me).unwrap_err().to_string().contains("sudo -u '#998' picloud upgrade"));
        }
    }
}
