//! What systemd is told: that this program serves, ends, or hands over, and that its threads turn.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::RuntimeMetrics;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::environment::ServiceSettings;

/// Whoever started this program as a service, if somebody did.
#[derive(Debug)]
pub struct ServiceManager(ServiceSettings);

impl ServiceManager {
    /// The one that the environment tells of.
    pub fn new(settings: ServiceSettings) -> Self {
        Self(settings)
    }

    /// Says that this program serves.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// Says that it ends.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// Says that it reads its certificates again, which [`ServiceManager::ready`] ends.
    pub fn reloading(&self) {
        let time = clock_gettime(ClockId::Monotonic);
        let micros = time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000);
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// Says which process is the service from now on.
    pub fn hand_over_to(&self, pid: u32) {
        self.say(&format!("MAINPID={pid}"));
    }

    /// Says again and again that the threads turn, as long as they do, where somebody wants to hear that; for ever.
    pub async fn keep_watched(&self) {
        let Some(most) = self.0.watchdog else { return };
        let metrics = tokio::runtime::Handle::current().metrics();
        let mut looks = interval((most / 2).max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pulse = Pulse::default();
        loop {
            looks.tick().await;
            match pulse.look(turns(&metrics)) {
                None => self.say("WATCHDOG=1"),
                Some(worker) => tracing::error!(worker, "a thread does not turn: systemd is not told that all is well"),
            }
        }
    }

    fn say(&self, what: &str) {
        let Some(name) = &self.0.notify_socket else { return };
        if let Err(error) = send(name, what) {
            tracing::warn!(%error, what, "systemd cannot be told");
        }
    }
}

/// Sends a message to a socket by its path, or by `@` and its name.
fn send(name: &str, what: &str) -> std::io::Result<()> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let line = UnixDatagram::unbound()?;
    // It reads at once; if it does not, this program goes on.
    line.set_write_timeout(Some(Duration::from_secs(1)))?;
    line.send_to_addr(what.as_bytes(), &address).map(drop)
}

/// What a worker of the runtime has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    /// How often it began and ended to wait for work: odd while it waits.
    waits: u64,
    /// How long it has worked, counted each time that it has done some 60 pieces of work, or waits.
    busy: Duration,
}

impl Turn {
    fn is_waiting(self) -> bool {
        self.waits % 2 == 1
    }
}

fn turns(metrics: &RuntimeMetrics) -> Vec<Turn> {
    let of = |worker| Turn {
        waits: metrics.worker_park_unpark_count(worker),
        busy: metrics.worker_total_busy_duration(worker),
    };
    (0..metrics.num_workers()).map(of).collect()
}

/// Whether the workers turn. Looked at by one of them, which tells of the others: work that does not give way holds a thread, with
/// every connection that is served there.
#[derive(Debug, Default)]
struct Pulse {
    last: Vec<Turn>,
}

impl Pulse {
    /// A worker that has been at one piece of work since the last look.
    fn look(&mut self, now: Vec<Turn>) -> Option<usize> {
        let held = now.iter().zip(&self.last).position(|(now, last)| !now.is_waiting() && now == last);
        self.last = now;
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(waits: u64, busy_ms: u64) -> Turn {
        Turn { waits, busy: Duration::from_millis(busy_ms) }
    }

    #[test]
    fn a_worker_that_waits_or_works_turns_and_one_that_is_held_does_not() {
        for (last, now, held) in [
            ([turn(1, 5), turn(3, 5)], [turn(1, 5), turn(3, 5)], None),
            ([turn(2, 5), turn(3, 5)], [turn(2, 9), turn(3, 5)], None),
            ([turn(2, 5), turn(3, 5)], [turn(4, 5), turn(3, 5)], None),
            ([turn(2, 5), turn(3, 5)], [turn(2, 5), turn(3, 5)], Some(0)),
            ([turn(1, 5), turn(6, 5)], [turn(3, 5), turn(6, 5)], Some(1)),
        ] {
            let mut pulse = Pulse::default();
            assert_eq!(pulse.look(last.to_vec()), None, "nothing is known at first");
            assert_eq!(pulse.look(now.to_vec()), held, "{last:?} {now:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thread_that_is_held_is_noticed_until_it_is_let_go() {
        let metrics = tokio::runtime::Handle::current().metrics();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let holding = tokio::spawn(async move {
            begun.send(()).unwrap();
            let _ = held.recv();
        });
        has_begun.await.unwrap();
        let mut pulse = Pulse::default();
        pulse.look(turns(&metrics));
        assert!(pulse.look(turns(&metrics)).is_some());
        drop(let_go);
        holding.await.unwrap();
        while pulse.look(turns(&metrics)).is_some() {
            tokio::task::yield_now().await;
        }
    }
}
