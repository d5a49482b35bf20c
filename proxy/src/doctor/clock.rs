//! The clock: whether it is kept by the network, and what a certificate authority's shows. The database's is the manager's to compare.

use std::path::Path;
use std::time::Duration;

use picloud_shared::clock::{Clock, SystemClock};
use picloud_shared::doctor::Check;
use tokio::process::Command;
use tokio::time::timeout;

use crate::config::Config;

const ABOUT: &str = "clock";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a clock may be off by before certificates, sign-ins and cron go wrong.
const OFF_MS: u64 = 30_000;
/// What systemd's own time service makes once the time is right.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
const FIX: &str = "have the network set it: sudo timedatectl set-ntp true";

pub async fn look(config: &Config) -> Vec<Check> {
    let directory = config.acme.as_ref().and_then(|acme| acme.authorities.first()).map(|one| one.directory.as_str());
    let (kept, compared) = tokio::join!(kept(), async {
        match directory {
            Some(directory) => Some(compared(directory).await),
            None => None,
        }
    });
    [Some(kept), compared].into_iter().flatten().collect()
}

/// Whether the clock is kept by the network.
async fn kept() -> Check {
    let mut command = Command::new("timedatectl");
    command.args(["show", "--property=NTPSynchronized", "--value"]).kill_on_drop(true);
    let told = timeout(PATIENCE, command.output()).await.ok().and_then(Result::ok);
    match told.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned()).as_deref() {
        Some("yes") => Check::ok(ABOUT, "it is set by the network"),
        _ if Path::new(SYNCHRONISED).exists() => Check::ok(ABOUT, "it is set by the network"),
        Some("no") => {
            Check::warning(ABOUT, "it is not set by the network: a Pi without a battery begins at a wrong time", FIX)
        }
        _ => Check::ok(ABOUT, "whether it is set by the network cannot be told here"),
    }
}

/// What the authority's clock shows.
async fn compared(directory: &str) -> Check {
    let untold = |why: &dyn std::fmt::Display| {
        Check::ok(ABOUT, format!("it was compared with nobody's, since {directory} did not answer: {why}"))
    };
    // An Err says that the provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Nothing but a date is asked for, and by a clock that is off every certificate would be refused.
    let client = reqwest::Client::builder().timeout(PATIENCE).tls_danger_accept_invalid_certs(true).build();
    let answer = match client {
        Ok(client) => client.head(directory).send().await,
        Err(error) => return untold(&error),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return untold(&error.without_url()),
    };
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return untold(&"it tells no date");
    };
    let theirs = theirs.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
    let ours = u128::try_from(SystemClock.now().as_millis()).unwrap_or(0);
    judged(u64::try_from(theirs.abs_diff(ours)).unwrap_or(u64::MAX), directory)
}

fn judged(off_ms: u64, directory: &str) -> Check {
    let found = format!("it differs by {} s from that of {directory}", off_ms / 1000);
    match off_ms > OFF_MS {
        true => Check::wrong(ABOUT, found, FIX),
        false => Check::ok(ABOUT, found),
    }
}

#[cfg(test)]
mod tests {
    use picloud_shared::doctor::CheckState;

    use super::*;

    #[test]
    fn a_clock_that_is_off_is_wrong_and_the_seconds_of_an_answer_are_not() {
        assert_eq!(judged(2_000, "https://ca.test").state, CheckState::Ok);
        let off = judged(3_600_000, "https://ca.test");
        assert!(off.state == CheckState::Wrong && off.found.contains("3600 s") && off.fix.unwrap().contains("set-ntp"));
    }
}
