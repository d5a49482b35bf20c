//! Removing what nobody needs any more: what has ended for a while, and all of apps that are gone.

use super::*;

/// Rows that one transaction removes: writes of scripts wait for it.
const PIECE: u32 = 500;

statements! {
    OLD_EVENTS = "SELECT id FROM events WHERE ended_at <= $1 ORDER BY ended_at LIMIT $2";
    // The newest that is one too many, of an app. Those that had a key say for longer that it was sent.
    EVENTS_BEYOND = "SELECT ended_at FROM events WHERE app_id = $1 AND ended_at IS NOT NULL AND dedup_key IS NULL \
        ORDER BY ended_at DESC LIMIT 1 OFFSET $2";
    KEYED_BEYOND = "SELECT ended_at FROM events WHERE app_id = $1 AND ended_at IS NOT NULL AND dedup_key IS NOT NULL \
        ORDER BY ended_at DESC LIMIT 1 OFFSET $2";
    OLD_EVENTS_OF_APP = "SELECT id FROM events WHERE app_id = $1 AND ended_at <= $2 AND dedup_key IS NULL ORDER BY ended_at LIMIT $3";
    OLD_KEYED_OF_APP = "SELECT id FROM events WHERE app_id = $1 AND ended_at <= $2 AND dedup_key IS NOT NULL ORDER BY ended_at LIMIT $3";
    DELETE_ATTEMPTS_OF = "DELETE FROM event_attempts WHERE event_id IN (SELECT unhex(value) FROM json_each($1))",
        "DELETE FROM event_attempts WHERE event_id = ANY($1)";
    DELETE_EVENTS = "DELETE FROM events WHERE ended_at IS NOT NULL AND id IN (SELECT unhex(value) FROM json_each($1))",
        "DELETE FROM events WHERE ended_at IS NOT NULL AND id = ANY($1)";
    OLD_LETTERS = "SELECT id FROM dead_letters WHERE resolved_at <= $1 ORDER BY resolved_at LIMIT $2";
    LETTERS_BEYOND = "SELECT resolved_at FROM dead_letters WHERE app_id = $1 AND resolved_at IS NOT NULL \
        ORDER BY resolved_at DESC LIMIT 1 OFFSET $2";
    OLD_LETTERS_OF_APP = "SELECT id FROM dead_letters WHERE app_id = $1 AND resolved_at <= $2 ORDER BY resolved_at LIMIT $3";
    DELETE_LETTERS = "DELETE FROM dead_letters WHERE id IN (SELECT unhex(value) FROM json_each($1))",
        "DELETE FROM dead_letters WHERE id = ANY($1)";
    APPS = "SELECT app_id FROM event_apps WHERE app_id > $1 ORDER BY app_id LIMIT $2";
    EVENTS_OF_APP = "SELECT id FROM events WHERE app_id = $1 LIMIT $2";
    LETTERS_OF_APP = "SELECT id FROM dead_letters WHERE app_id = $1 LIMIT $2";
    PURGE_EVENTS = "DELETE FROM events WHERE app_id = $1 AND id IN (SELECT unhex(value) FROM json_each($2))",
        "DELETE FROM events WHERE app_id = $1 AND id = ANY($2)";
    PURGE_LANES = "DELETE FROM event_lanes WHERE app_id = $1";
    PURGE_CRON = "DELETE FROM cron_triggers WHERE app_id = $1";
    PURGE_ACCOUNT = "DELETE FROM event_apps WHERE app_id = $1";
}

/// Removes a piece of the events that ended by then; how many.
pub(crate) async fn delete_old_events<D: DataDb>(db: &mut D, until: Timestamp) -> Result<usize, RepoError> {
    let ids = ids(db.fetch(&OLD_EVENTS, params![until.as_millis(), PIECE]).await?)?;
    delete_events(db, &ids).await
}

/// Removes a piece of an app's ended events beyond so many, the oldest first, of those that had a key or of those that had none; how
/// many.
pub(crate) async fn delete_events_beyond<D: DataDb>(
    db: &mut D,
    app: AppId,
    keyed: bool,
    most: u32,
) -> Result<usize, RepoError> {
    let (newest, old) = if keyed { (&KEYED_BEYOND, &OLD_KEYED_OF_APP) } else { (&EVENTS_BEYOND, &OLD_EVENTS_OF_APP) };
    let mut beyond = db.fetch(newest, params![app.as_uuid(), most]).await?;
    let Some(row) = beyond.first_mut() else { return Ok(0) };
    let until = row.take::<i64>(0, "ended_at")?;
    let ids = ids(db.fetch(old, params![app.as_uuid(), until, PIECE]).await?)?;
    delete_events(db, &ids).await
}

async fn delete_events<D: DataDb>(db: &mut D, ids: &[Uuid]) -> Result<usize, RepoError> {
    if !ids.is_empty() {
        db.execute(&DELETE_ATTEMPTS_OF, params![ids]).await?;
        db.execute(&DELETE_EVENTS, params![ids]).await?;
    }
    Ok(ids.len())
}

/// Removes a piece of the dead letters that were resolved by then; how many.
pub(crate) async fn delete_old_letters<D: DataDb>(db: &mut D, until: Timestamp) -> Result<usize, RepoError> {
    let ids = ids(db.fetch(&OLD_LETTERS, params![until.as_millis(), PIECE]).await?)?;
    delete_letters(db, &ids).await
}

/// Removes a piece of an app's resolved dead letters beyond so many, the oldest first; how many.
pub(crate) async fn delete_letters_beyond<D: DataDb>(db: &mut D, app: AppId, most: u32) -> Result<usize, RepoError> {
    let mut beyond = db.fetch(&LETTERS_BEYOND, params![app.as_uuid(), most]).await?;
    let Some(row) = beyond.first_mut() else { return Ok(0) };
    let until = row.take::<i64>(0, "resolved_at")?;
    let ids = ids(db.fetch(&OLD_LETTERS_OF_APP, params![app.as_uuid(), until, PIECE]).await?)?;
    delete_letters(db, &ids).await
}

async fn delete_letters<D: DataDb>(db: &mut D, ids: &[Uuid]) -> Result<usize, RepoError> {
    if !ids.is_empty() {
        db.execute(&DELETE_LETTERS, params![ids]).await?;
    }
    Ok(ids.len())
}

/// Apps that have an account, after that one.
pub(crate) async fn apps<D: DataDb>(db: &mut D, after: Uuid, limit: u32) -> Result<Vec<AppId>, RepoError> {
    let found = ids(db.fetch(&APPS, params![after, limit]).await?)?;
    Ok(found.into_iter().map(AppId::from_uuid).collect())
}

/// Removes a piece of all of an app, which is locked; whether there may be more.
pub(crate) async fn purge<D: DataDb>(db: &mut D, app: AppId) -> Result<bool, RepoError> {
    let events = ids(db.fetch(&EVENTS_OF_APP, params![app.as_uuid(), PIECE]).await?)?;
    let letters = ids(db.fetch(&LETTERS_OF_APP, params![app.as_uuid(), PIECE]).await?)?;
    if !events.is_empty() {
        db.execute(&DELETE_ATTEMPTS_OF, params![&*events]).await?;
        db.execute(&PURGE_EVENTS, params![app.as_uuid(), &*events]).await?;
    }
    delete_letters(db, &letters).await?;
    if events.is_empty() && letters.is_empty() {
        db.execute(&PURGE_LANES, params![app.as_uuid()]).await?;
        db.execute(&PURGE_CRON, params![app.as_uuid()]).await?;
        db.execute(&PURGE_ACCOUNT, params![app.as_uuid()]).await?;
        return Ok(false);
    }
    Ok(true)
}

fn ids(rows: Vec<DataRow>) -> Result<Vec<Uuid>, RepoError> {
    rows.into_iter().map(|mut row| row.take(0, "id")).collect()
}
