//! Making the events of ticks, each once over all nodes: by the transaction that says up to when all is made.

use picloud_shared::cron::{CronSchedule, Due};
use picloud_shared::id::TriggerId;
use picloud_shared::trigger::TriggerSource;
use serde_json::json;

use super::*;
use crate::repo::events::cron;
use crate::repo::triggers;

/// Ticks that are to be made.
#[derive(Debug, Clone)]
pub(crate) struct Ticking {
    pub app: AppId,
    pub trigger: TriggerId,
    pub schedule: CronSchedule,
    /// Up to when all was made, as far as is known.
    pub ticked_at: Timestamp,
    pub due: Due,
}

/// What became of ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ticked {
    /// They are made.
    Made,
    /// Another node made them, or the trigger changed meanwhile.
    Elsewhere,
    /// There is no room for them: nothing was made, and they are due as before.
    Refused(EventRefusal),
}

impl Events {
    /// How far cron triggers have come, and the newest time that was noted.
    pub(crate) async fn cron_states(&self) -> Result<(Vec<CronState>, Option<Timestamp>), RepoError> {
        reading!(self.store, |db| states(db))
    }

    /// Has a trigger tick from now on, unless it does already by that schedule.
    pub(crate) async fn begin_cron(
        &self,
        app: AppId,
        trigger: TriggerId,
        schedule: CronSchedule,
        now: Timestamp,
    ) -> Result<(), RepoError> {
        changing!(self.store, |db| cron::begin(db, app, trigger, &schedule, now))
    }

    /// The schedule by which a trigger ticks in the store, which is ahead of a node's snapshot; `None` where that cannot be told, and
    /// `Some(None)` where it does not tick.
    pub(crate) async fn stored_schedule(&self, app: AppId, trigger: TriggerId) -> Option<Option<CronSchedule>> {
        let found = async { triggers::find(&mut self.store.read().await?, app, trigger).await };
        let found = found.await.ok()?.map(|stored| stored.trigger).filter(|trigger| trigger.enabled);
        Some(found.and_then(|trigger| match trigger.source {
            TriggerSource::Cron { schedule, .. } => Some(schedule),
            _ => None,
        }))
    }

    /// Lets go of a trigger that ticks no more.
    pub(crate) async fn forget_cron(&self, trigger: TriggerId) -> Result<(), RepoError> {
        changing!(self.store, |db| cron::forget(db, trigger))
    }

    /// Notes what the clock shows.
    pub(crate) async fn see_clock(&self, now: Timestamp) -> Result<(), RepoError> {
        changing!(self.store, |db| cron::see(db, now))
    }

    /// Makes ticks, all of them or none.
    pub(crate) async fn tick(&self, ticking: Ticking, now: Timestamp) -> Result<Ticked, RepoError> {
        let (quota, app, lane) = (self.quota, ticking.app, Lane::Trigger(ticking.trigger));
        let ticked: Result<Ticked, RepoError> = changing!(self.store, |db| tick(db, &ticking, now, quota));
        self.bells.ring(app, &lane);
        ticked
    }
}

async fn states<D: DataDb>(db: &mut D) -> Result<(Vec<CronState>, Option<Timestamp>), RepoError> {
    let states = cron::list(db).await?;
    Ok((states, cron::seen_at(db).await?))
}

async fn tick<D: DataDb>(
    db: &mut D,
    ticking: &Ticking,
    now: Timestamp,
    quota: EventQuota,
) -> Result<Ticked, RepoError> {
    let Ticking { app, trigger, schedule, ticked_at, due } = ticking;
    let usage = repo::lock(db, *app).await?;
    let payload = |tick: &Timestamp| {
        let payload = json!({ "scheduled_at": tick, "time_zone": schedule.time_zone });
        EventPayload::of_json(&payload).unwrap_or_default()
    };
    let payloads: Vec<EventPayload> = due.ticks.iter().map(payload).collect();
    let delta = EventDelta {
        events: i64::try_from(payloads.len()).unwrap_or(i64::MAX),
        bytes: payloads.iter().map(|payload| repo::length(payload.as_str())).sum(),
    };
    if let Err(refusal) = admit(usage, delta, quota) {
        return Ok(Ticked::Refused(refusal));
    }
    if !cron::advance(db, *trigger, schedule, *ticked_at, due.until).await? {
        return Ok(Ticked::Elsewhere);
    }
    for payload in &payloads {
        let insertion = Insertion {
            id: EventId::generate(now),
            app: *app,
            lane: &Lane::Trigger(*trigger),
            source: EventSource::Cron,
            op: EventOp::Tick,
            depth: 0,
            created_at: now,
            delayed_until: None,
            replay_of: None,
            dedup_key: None,
            payload,
        };
        repo::insert(db, &insertion).await?;
    }
    repo::account(db, *app, delta).await?;
    Ok(Ticked::Made)
}
