//! What this node does and takes, looked at each minute and kept for charts as long as the process lives; and a word in the log when its
//! disk is nearly full. It knows no file of the system: who can tell is handed in.

mod history;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use picloud_shared::clock::Clock;
use picloud_shared::gauges::{DiskSpace, NodeGauges};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::execution_writer::ExecutionWriter;
use crate::survive::survive_now;
pub(crate) use history::{History, Kept, Point, Span, Written};

/// How often is looked: as often as the shortest point of a chart is long.
const INTERVAL: Duration = Duration::from_secs(60);

/// Looks after it. Clones look after the same.
#[derive(Clone)]
pub(crate) struct GaugeWatch {
    gauges: Arc<dyn NodeGauges>,
    execution_log: ExecutionWriter,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

struct State {
    history: History,
    /// Whether it was told that the disk is nearly full, and not yet that it no longer is.
    told_of_disk: bool,
}

impl GaugeWatch {
    pub(crate) fn new(gauges: Arc<dyn NodeGauges>, execution_log: ExecutionWriter, clock: Arc<dyn Clock>) -> Self {
        let history = History::new(clock.now());
        Self { gauges, execution_log, clock, state: Arc::new(Mutex::new(State { history, told_of_disk: false })) }
    }

    /// Watches, for ever.
    pub(crate) async fn keep_watching(self) {
        let mut turns = interval(INTERVAL);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            // What is missed once is a point without a look.
            let _ = survive_now("looking at what this node takes", || self.look(|_| ()));
        }
    }

    /// Looks at it now, and tells of all that was seen.
    pub(crate) fn look<T>(&self, tell: impl FnOnce(&History) -> T) -> T {
        let kept =
            Kept { at: self.clock.now(), records_dropped: self.execution_log.dropped(), sample: self.gauges.sample() };
        // Each step leaves it whole.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(disk) = kept.sample.disk {
            state.tell_of(disk);
        }
        state.history.note(kept);
        tell(&state.history)
    }
}

impl State {
    /// Says once that the disk is nearly full, and once that it no longer is.
    fn tell_of(&mut self, disk: DiskSpace) {
        let DiskSpace { free, size } = disk;
        if !self.told_of_disk && disk.is_low() {
            self.told_of_disk = true;
            warn!(
                free,
                size,
                low_below = disk.low_below(),
                "the disk of the data folder is nearly full: when it is, nothing can be changed or recorded"
            );
        } else if self.told_of_disk && disk.is_ample() {
            self.told_of_disk = false;
            info!(free, size, "the disk of the data folder has room again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_nearly_full_is_told_of_once_until_it_has_ample_room() {
        let mut state =
            State { history: History::new(picloud_shared::clock::Timestamp::from_millis(0)), told_of_disk: false };
        let told = |state: &mut State, free| {
            let before = state.told_of_disk;
            state.tell_of(DiskSpace { free, size: 1000 });
            (before, state.told_of_disk)
        };
        assert_eq!(told(&mut state, 100), (false, false));
        assert_eq!(told(&mut state, 99), (false, true));
        assert_eq!(told(&mut state, 120), (true, true), "around the bound nothing more is said");
        assert_eq!(told(&mut state, 125), (true, false));
    }
}
