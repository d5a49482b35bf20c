//! The clock of cron triggers: it makes an event of each tick that is due. What is due is `picloud_shared::cron`'s to say, and
//! that each tick is made once over all nodes is the store's doing.
//!
//! Nothing ticks while the clock is earlier than a time that was seen before: many machines have no clock that goes on while
//! they are off, and begin somewhere in the past.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use picloud_shared::clock::{Clock, Timestamp};
use picloud_shared::cron::{CronSchedule, Misfire};
use picloud_shared::id::{AppId, TriggerId};
use picloud_shared::snapshot::{Snapshot, SnapshotCell};
use picloud_shared::trigger::TriggerSource;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::events::{CronState, Events, Ticked, Ticking};
use crate::repo::RepoError;
use crate::repo::events::cron::schedule_text;
use crate::survive::survive;

/// How often the snapshot and the clock are looked at, which somebody may set.
const LOOK: Duration = Duration::from_millis(200);

/// How often what the clock shows is noted, and what is kept is compared with what there is.
const NOTE: Duration = Duration::from_secs(60);

/// How long ticks wait for which there is no room.
const AFTER_REFUSAL: Duration = Duration::from_secs(10);

/// How long is waited after the store failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How much earlier than another node's a clock may be and nobody is told.
const SKEW: Duration = Duration::from_secs(5);

/// A trigger that ticks.
#[derive(Debug, Clone)]
struct Ticker {
    app: AppId,
    schedule: CronSchedule,
    misfire: Misfire,
}

/// Makes ticks of the enabled cron triggers of the snapshot.
pub struct CronTicks {
    events: Events,
    snapshot: Arc<SnapshotCell>,
    clock: Arc<dyn Clock>,
    /// The snapshot that `tickers` are of.
    seen: Option<u64>,
    tickers: HashMap<TriggerId, Ticker>,
    /// The first tick that is not made, as far as is known.
    next_at: Option<Timestamp>,
    /// When to look into the store in any case, by the clock that measures spans.
    look_at: Duration,
    /// When to note what the clock shows, by the same.
    note_at: Duration,
    /// The time that the clock is to come to before anything ticks, and whether that was told.
    behind: Option<Timestamp>,
    is_told: bool,
    /// Triggers without room for their ticks, of which that was told.
    refused: Vec<TriggerId>,
}

impl CronTicks {
    /// Ticks for the triggers of that snapshot, by that clock.
    pub fn new(events: Events, snapshot: Arc<SnapshotCell>, clock: Arc<dyn Clock>) -> Self {
        Self {
            events,
            snapshot,
            clock,
            seen: None,
            tickers: HashMap::new(),
            next_at: None,
            look_at: Duration::ZERO,
            note_at: Duration::ZERO,
            behind: None,
            is_told: false,
            refused: Vec::new(),
        }
    }

    /// Makes ticks, for ever.
    pub(crate) async fn keep_ticking(mut self) {
        loop {
            let pause = match survive("making ticks", self.look()).await {
                Some(Ok(())) => self.next_at.map_or(LOOK, |next_at| next_at.since(self.clock.now()).min(LOOK)),
                Some(Err(error)) => {
                    debug!(error = &error as &dyn std::error::Error, "ticks cannot be made now");
                    AFTER_FAILURE
                }
                None => AFTER_FAILURE,
            };
            sleep(pause.max(Duration::from_millis(1))).await;
        }
    }

    /// Makes the ticks that are due now. The store is asked only where something may be.
    ///
    /// # Errors
    /// Where the store fails; what was not made is due as before.
    pub async fn look(&mut self) -> Result<(), RepoError> {
        let (now, passed) = (self.clock.now(), self.clock.monotonic());
        if self.behind.is_some_and(|newest| newest > now) && passed < self.look_at {
            return Ok(());
        }
        let snapshot = self.snapshot.load_full();
        let is_new = self.seen != Some(snapshot.version());
        if is_new {
            self.tickers = tickers(&snapshot);
        }
        let is_due = self.next_at.is_some_and(|next_at| next_at <= now);
        let is_time = !self.tickers.is_empty() && (passed >= self.look_at || passed >= self.note_at);
        if !(is_new || is_due || is_time) {
            return Ok(());
        }
        let (states, seen_at) = self.events.cron_states().await?;
        self.next_at = None;
        self.look_at = passed + NOTE;
        // Whatever fails below is done again by the next look.
        self.seen = None;
        let newest = states.iter().map(|state| state.ticked_at).chain(seen_at).max();
        self.behind = newest.filter(|newest| *newest > now);
        if let Some(newest) = self.behind {
            // What is new is looked at once time has come.
            self.tell_behind(newest, now);
            return Ok(());
        }
        if std::mem::take(&mut self.is_told) {
            info!("the clock has come to where it was: cron triggers tick again");
        }
        for gone in states.iter().filter(|state| !self.tickers.contains_key(&state.trigger)) {
            // A node may be behind, or have left out what it cannot read: the store knows.
            if self.events.stored_schedule(gone.app, gone.trigger).await == Some(None) {
                self.events.forget_cron(gone.trigger).await?;
            }
        }
        if !self.tickers.is_empty() && passed >= self.note_at {
            self.events.see_clock(now).await?;
            self.note_at = passed + NOTE;
        }
        let states: HashMap<TriggerId, CronState> = states.into_iter().map(|state| (state.trigger, state)).collect();
        let mut failure = None;
        for (id, ticker) in self.tickers.clone() {
            match self.attend(id, ticker, states.get(&id), now, passed).await {
                Ok(next_at) => self.next_at = self.next_at.into_iter().chain(next_at).min(),
                // It keeps no other from its time.
                Err(error) => failure = Some(error),
            }
        }
        self.refused.retain(|id| self.tickers.contains_key(id));
        if let Some(error) = failure {
            return Err(error);
        }
        self.seen = Some(snapshot.version());
        Ok(())
    }

    /// Makes what is due of one trigger; when its next tick is.
    async fn attend(
        &mut self,
        id: TriggerId,
        Ticker { app, schedule, misfire }: Ticker,
        state: Option<&CronState>,
        now: Timestamp,
        passed: Duration,
    ) -> Result<Option<Timestamp>, RepoError> {
        let is_mine = |state: &&CronState| state.schedule == schedule_text(&schedule);
        if state.is_some_and(|state| !is_mine(&state))
            && self.events.stored_schedule(app, id).await.flatten().is_some_and(|stored| stored != schedule)
        {
            // Another node knows of a change already.
            self.look_at = self.look_at.min(passed + LOOK);
            return Ok(schedule.next_after(now));
        }
        let Some(state) = state.filter(is_mine) else {
            self.events.begin_cron(app, id, schedule.clone(), now).await?;
            return Ok(schedule.next_after(now));
        };
        let ticked_at = state.ticked_at;
        let Some(due) = schedule.due(ticked_at, now, misfire) else { return Ok(schedule.next_after(ticked_at)) };
        let until = due.until;
        let ticking = Ticking { app, trigger: id, schedule: schedule.clone(), ticked_at, due };
        match self.events.tick(ticking, now).await? {
            Ticked::Made => {
                self.refused.retain(|refused| *refused != id);
                Ok(schedule.next_after(until))
            }
            Ticked::Elsewhere => {
                self.look_at = self.look_at.min(passed + LOOK);
                Ok(schedule.next_after(until))
            }
            Ticked::Refused(refusal) => {
                if !self.refused.contains(&id) {
                    warn!(trigger_id = %id, app_id = %app, "a trigger does not tick for now: {refusal}");
                    self.refused.push(id);
                }
                self.look_at = self.look_at.min(passed + AFTER_REFUSAL);
                Ok(schedule.next_after(until))
            }
        }
    }

    fn tell_behind(&mut self, newest: Timestamp, now: Timestamp) {
        if newest.since(now) > SKEW && !std::mem::replace(&mut self.is_told, true) {
            warn!(%now, %newest, "the clock is behind a time that was seen before: cron triggers wait until it is not");
        }
    }
}

fn tickers(snapshot: &Snapshot) -> HashMap<TriggerId, Ticker> {
    let of_app = |app: &Arc<picloud_shared::snapshot::PublishedApp>| {
        let id = app.app().id;
        let enabled = app.triggers().iter().filter(|trigger| trigger.enabled);
        let ticker = |trigger: &Arc<picloud_shared::trigger::Trigger>| match &trigger.source {
            TriggerSource::Cron { schedule, misfire } => {
                Some((trigger.id, Ticker { app: id, schedule: schedule.clone(), misfire: *misfire }))
            }
            _ => None,
        };
        enabled.filter_map(ticker).collect::<Vec<_>>()
    };
    snapshot.apps().flat_map(of_app).collect()
}
