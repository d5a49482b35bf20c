//! What the environment says beside the settings: who started this process, and what came with it.

use std::time::Duration;

/// The number of the process that hands over to the one that it has started.
pub const PREDECESSOR: &str = "PICLOUD_PREDECESSOR";

/// The number of the process that stands between that one and this one.
pub const GO_BETWEEN: &str = "PICLOUD_GO_BETWEEN";

/// What systemd says to one process alone, and not to those that it starts.
pub const OF_SYSTEMD_FOR_ONE_PROCESS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// Sockets that systemd has opened for this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemdSockets {
    /// Their names, in their order; one that has none is called `unknown`.
    pub names: Vec<String>,
}

/// How systemd wants to hear of this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Where: a path, or `@` and a name.
    pub notify_socket: Option<String>,
    /// How often at least, if it is to end a process that it does not hear of.
    pub watchdog: Option<Duration>,
}

/// Who started this process, where that belongs to a hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginner {
    /// The process that hands over.
    Predecessor,
    /// The one that stands between that one and this one.
    GoBetween,
}

/// Who of a hand-over started this process, if somebody did. A process that nobody did, but that has the environment of one that
/// was, has another parent.
pub fn begun_by() -> Option<Beginner> {
    let parent = rustix::process::getppid()?.as_raw_nonzero().to_string();
    let is = |name| read(name).is_some_and(|pid| pid == parent);
    if is(GO_BETWEEN) { Some(Beginner::GoBetween) } else { is(PREDECESSOR).then_some(Beginner::Predecessor) }
}

/// The sockets that came with this process, if any did.
pub fn systemd_sockets() -> Option<SystemdSockets> {
    let _ = read("LISTEN_FDS")?;
    is_this_process(&read("LISTEN_PID")?).then(|| SystemdSockets {
        names: read("LISTEN_FDNAMES").map_or_else(Vec::new, |names| names.split(':').map(str::to_owned).collect()),
    })
}

/// What systemd wants to hear.
pub fn service() -> ServiceSettings {
    let of_this_process = read("WATCHDOG_PID").is_none_or(|pid| is_this_process(&pid));
    let micros = read("WATCHDOG_USEC").and_then(|micros| micros.parse().ok());
    ServiceSettings {
        notify_socket: read("NOTIFY_SOCKET"),
        watchdog: micros.filter(|micros| of_this_process && *micros > 0).map(Duration::from_micros),
    }
}

fn is_this_process(pid: &str) -> bool {
    pid.parse() == Ok(std::process::id())
}

#[expect(clippy::disallowed_methods, reason = "it is a part of the one module that reads the environment")]
fn read(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
