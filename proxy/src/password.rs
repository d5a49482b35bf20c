//! Passwords that commands are given on standard input: only where `--password-stdin` says that there is one, so that none
//! needs to wait for the end of an input that somebody merely left open.

use std::io::{self, IsTerminal as _, Read as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

/// Longer than any password; whatever is piped in beyond it is no password.
const MAX_INPUT_BYTES: u64 = 4096;
/// For how long a command that was told of no password looks whether one comes all the same: whoever writes one does so at
/// once, and whoever only left the input open is not waited for.
const LOOK: Duration = Duration::from_secs(2);

/// The password on standard input, without the end of its line.
///
/// # Errors
/// It cannot be read, or is no text.
pub fn read() -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin().lock().take(MAX_INPUT_BYTES).read_to_string(&mut text).context("cannot read the password")?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    Ok(password.strip_suffix('\r').unwrap_or(password).to_owned())
}

/// Refuses what is piped in where nobody reads it: it is a password whose owner would think that it is set.
///
/// # Errors
/// Something is there.
pub fn refuse_unread() -> anyhow::Result<()> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    let (sender, something) = mpsc::channel();
    // The thread may wait for ever, and ends with the process.
    thread::spawn(move || sender.send(io::stdin().lock().read(&mut [0]).is_ok_and(|bytes| bytes > 0)));
    if something.recv_timeout(LOOK) == Ok(true) {
        bail!("what is piped in is not read: say --password-stdin if it is the password");
    }
    Ok(())
}
