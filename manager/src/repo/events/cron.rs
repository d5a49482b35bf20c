//! Up to when cron triggers have ticked, and the newest time that was seen.

use picloud_shared::cron::CronSchedule;

use super::*;

statements! {
    LIST = "SELECT trigger_id, app_id, schedule, ticked_at FROM cron_triggers";
    SEEN_AT = "SELECT seen_at FROM cron_clock WHERE id = 1";
    SEE = "INSERT INTO cron_clock (id, seen_at) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at \
        WHERE cron_clock.seen_at < excluded.seen_at";
    // Time goes back for nobody: what ticked by another schedule does not tick again.
    BEGIN = "INSERT INTO cron_triggers (trigger_id, app_id, schedule, ticked_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (trigger_id) DO UPDATE SET schedule = excluded.schedule, \
        ticked_at = CASE WHEN cron_triggers.ticked_at > excluded.ticked_at THEN cron_triggers.ticked_at \
        ELSE excluded.ticked_at END WHERE cron_triggers.schedule <> excluded.schedule";
    ADVANCE = "UPDATE cron_triggers SET ticked_at = $4 WHERE trigger_id = $1 AND schedule = $2 AND ticked_at = $3";
    FORGET = "DELETE FROM cron_triggers WHERE trigger_id = $1";
}

/// How far a cron trigger has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CronState {
    pub trigger: TriggerId,
    /// Its app.
    pub app: AppId,
    /// What it is about, as [`schedule_text`] writes it.
    pub schedule: String,
    /// All ticks up to this time are done with.
    pub ticked_at: Timestamp,
}

/// A schedule as it is kept, to be compared.
pub(crate) fn schedule_text(schedule: &CronSchedule) -> String {
    format!("{} {}", schedule.expression, schedule.time_zone)
}

pub(crate) async fn list<D: DataDb>(db: &mut D) -> Result<Vec<CronState>, RepoError> {
    let state = |mut row: DataRow| {
        Ok(CronState {
            trigger: TriggerId::from_uuid(row.take(0, "trigger_id")?),
            app: AppId::from_uuid(row.take(1, "app_id")?),
            schedule: row.take(2, "schedule")?,
            ticked_at: time(&mut row, 3, "ticked_at")?,
        })
    };
    db.fetch(&LIST, params![]).await?.into_iter().map(state).collect()
}

/// The newest time that was noted.
pub(crate) async fn seen_at<D: DataDb>(db: &mut D) -> Result<Option<Timestamp>, RepoError> {
    let rows = db.fetch(&SEEN_AT, params![]).await?;
    rows.into_iter().next().map(|mut row| time(&mut row, 0, "seen_at")).transpose()
}

/// Notes a time, unless a newer one is noted.
pub(crate) async fn see<D: DataDb>(db: &mut D, now: Timestamp) -> Result<(), RepoError> {
    db.execute(&SEE, params![now.as_millis()]).await.map(|_| ())
}

/// Has a trigger tick from now on, unless it does already by that schedule.
pub(crate) async fn begin<D: DataDb>(
    db: &mut D,
    app: AppId,
    trigger: TriggerId,
    schedule: &CronSchedule,
    now: Timestamp,
) -> Result<(), RepoError> {
    let schedule = schedule_text(schedule);
    db.execute(&BEGIN, params![trigger.as_uuid(), app.as_uuid(), &*schedule, now.as_millis()]).await.map(|_| ())
}

/// Moves a trigger on; whether it was where it is said to have been.
pub(crate) async fn advance<D: DataDb>(
    db: &mut D,
    trigger: TriggerId,
    schedule: &CronSchedule,
    from: Timestamp,
    to: Timestamp,
) -> Result<bool, RepoError> {
    let schedule = schedule_text(schedule);
    let given = params![trigger.as_uuid(), &*schedule, from.as_millis(), to.as_millis()];
    Ok(db.execute(&ADVANCE, given).await? > 0)
}

/// Lets go of a trigger that ticks no more.
pub(crate) async fn forget<D: DataDb>(db: &mut D, trigger: TriggerId) -> Result<(), RepoError> {
    db.execute(&FORGET, params![trigger.as_uuid()]).await.map(|_| ())
}
