//! Executions by app: counted by the app's id, told by its slug, and forgotten with the app.

use std::sync::{Arc, PoisonError, RwLock};

use picloud_shared::execution::{ExecutionRecord, ExecutionSink, Outcome};
use picloud_shared::hashing::FastMap;
use picloud_shared::id::AppId;
use picloud_shared::snapshot::Snapshot;

use super::tally::{Tally, Told};

const OUTCOMES: [Outcome; 5] =
    [Outcome::Success, Outcome::Error, Outcome::Timeout, Outcome::BudgetExceeded, Outcome::Rejected];

type OfApp = Tally<{ OUTCOMES.len() }>;

/// The executions of all apps that had some.
#[derive(Debug, Default)]
pub(super) struct Executions(RwLock<FastMap<AppId, Arc<OfApp>>>);

impl Executions {
    fn count(&self, record: &ExecutionRecord) {
        let Some(place) = OUTCOMES.iter().position(|outcome| *outcome == record.outcome) else { return };
        // The map is whole after every step.
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&record.app_id) {
            return known.count(place, record.duration);
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(record.app_id).or_default().count(place, record.duration);
    }

    /// What there is to tell of the apps that there are. What others had is forgotten.
    pub(super) fn told(&self, snapshot: &Snapshot) -> Told<{ OUTCOMES.len() }> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|app, _| snapshot.app(*app).is_some());
        let named = |(app, of_app): (&AppId, &Arc<OfApp>)| {
            Some((snapshot.app(*app)?.app().slug.to_string(), Arc::clone(of_app)))
        };
        let mut tallies: Vec<_> = known.iter().filter_map(named).collect();
        tallies.sort_by(|(one, _), (other, _)| one.cmp(other));
        Told {
            counted: ("executions", "Executions of scripts by app and outcome."),
            measured: ("execution_duration", "From an execution's admission to its end, waiting included."),
            named_by: "app",
            counted_by: "outcome",
            words: OUTCOMES.map(Outcome::as_str),
            tallies,
        }
    }
}

/// Counts what it passes on.
pub(super) struct Counting {
    pub(super) executions: Arc<Executions>,
    pub(super) sink: Arc<dyn ExecutionSink>,
}

impl ExecutionSink for Counting {
    fn record(&self, record: ExecutionRecord) {
        self.executions.count(&record);
        self.sink.record(record);
    }
}
