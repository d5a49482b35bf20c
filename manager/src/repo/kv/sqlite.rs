//! The key-value store on a connection of SQLite's own.

use picloud_shared::kv::{KvPlace, KvUsage};
use rusqlite::{Connection, OptionalExtension, Row as SqliteRow, params};

use super::*;

pub(crate) fn find(conn: &Connection, app: AppId, place: &KvPlace) -> Result<Option<KvEntry>, RepoError> {
    let mut statement = conn.prepare_cached(FIND.sqlite)?;
    let id = app.as_uuid();
    let place = params![id.as_bytes(), place.collection.as_str(), place.key.as_str()];
    statement.query_row(place, columns).optional()?.map(entry).transpose()
}

pub(crate) fn list(conn: &Connection, app: AppId, query: &KvQuery, now: Timestamp) -> Result<KvPage, RepoError> {
    let (from, to) = bounds(query);
    let mut statement = conn.prepare_cached(LIST.sqlite)?;
    let collection = query.collection.as_str();
    let limit = i64::from(query.limit) + 1;
    let mut rows = statement.query(params![app.as_uuid().as_bytes(), collection, from, to, now.as_millis(), limit])?;
    let mut gathering = Gathering::new(query);
    while let Some(row) = rows.next()? {
        if !gathering.push(entry(columns(row)?)?) {
            break;
        }
    }
    Ok(gathering.page)
}

pub(crate) fn usage_of(conn: &Connection, app: AppId) -> Result<KvUsage, RepoError> {
    let mut statement = conn.prepare_cached(USAGE.sqlite)?;
    let found = statement.query_row([app.as_uuid().as_bytes()], |row| Ok(usage(row.get(0)?, row.get(1)?)));
    Ok(found.optional()?.unwrap_or_default())
}

pub(crate) fn collections(
    conn: &Connection,
    app: AppId,
    after: Option<&CollectionName>,
    limit: u32,
) -> Result<Vec<KvCollection>, RepoError> {
    let mut statement = conn.prepare_cached(COLLECTIONS.sqlite)?;
    let after = after.map_or("", CollectionName::as_str);
    let mut rows = statement.query(params![app.as_uuid().as_bytes(), after, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let name = collection_name(&row.get::<_, String>(0)?)?;
        found.push(KvCollection { name, usage: usage(row.get(1)?, row.get(2)?) });
    }
    Ok(found)
}

/// Does it within the transaction that is open, together with the account of it.
pub(crate) fn apply(
    conn: &Connection,
    app: AppId,
    place: &KvPlace,
    effect: &KvEffect,
    delta: KvDelta,
) -> Result<(), RepoError> {
    let (id, collection) = (app.as_uuid(), place.collection.as_str());
    match effect {
        KvEffect::Nothing => return Ok(()),
        KvEffect::Put(KvEntry { key, value, expires_at, updated_at }) => {
            let expires_at = expires_at.map(Timestamp::as_millis);
            conn.prepare_cached(PUT.sqlite)?.execute(params![
                id.as_bytes(),
                collection,
                key.as_str(),
                kind(value),
                value.bytes(),
                expires_at,
                updated_at.as_millis()
            ])?;
        }
        KvEffect::Remove => {
            conn.prepare_cached(DELETE.sqlite)?.execute(params![id.as_bytes(), collection, place.key.as_str()])?;
        }
    }
    account(conn, app, &place.collection, delta)
}

fn account(conn: &Connection, app: AppId, collection: &CollectionName, delta: KvDelta) -> Result<(), RepoError> {
    let KvDelta { keys, bytes } = delta;
    if delta == KvDelta::default() {
        return Ok(());
    }
    let (id, name) = (app.as_uuid(), collection.as_str());
    conn.prepare_cached(ADD_TO_APP.sqlite)?.execute(params![id.as_bytes(), keys, bytes])?;
    conn.prepare_cached(ADD_TO_COLLECTION.sqlite)?.execute(params![id.as_bytes(), name, keys, bytes])?;
    if keys < 0 {
        conn.prepare_cached(DELETE_EMPTY.sqlite)?.execute(params![id.as_bytes(), name])?;
    }
    Ok(())
}

/// An app of which entries have expired.
pub(crate) fn find_expired(conn: &Connection, now: Timestamp) -> Result<Option<AppId>, RepoError> {
    let mut statement = conn.prepare_cached(FIND_EXPIRED.sqlite)?;
    let id = statement.query_row([now.as_millis()], |row| row.get::<_, [u8; 16]>(0)).optional()?;
    Ok(id.map(|id| AppId::from_uuid(uuid::Uuid::from_bytes(id))))
}

/// Removes expired entries of an app, up to `limit`; how many.
pub(crate) fn delete_expired(conn: &Connection, app: AppId, now: Timestamp, limit: u32) -> Result<usize, RepoError> {
    let mut expired = Vec::new();
    {
        let mut statement = conn.prepare_cached(DELETE_EXPIRED.sqlite)?;
        let mut rows = statement.query(params![app.as_uuid().as_bytes(), now.as_millis(), limit])?;
        while let Some(row) = rows.next()? {
            let collection = collection_name(&row.get::<_, String>(0)?)?;
            expired.push(Expired { collection, bytes: row.get(1)? });
        }
    }
    let count = expired.len();
    for (collection, delta) in removed(expired) {
        account(conn, app, &collection, delta)?;
    }
    Ok(count)
}

/// Removes all of an app, up to `limit` entries at a time; whether there may be more.
pub(crate) fn purge(conn: &Connection, app: AppId, limit: u32) -> Result<bool, RepoError> {
    let id = app.as_uuid();
    let gone = conn.prepare_cached(PURGE_ENTRIES.sqlite)?.execute(params![id.as_bytes(), limit])?;
    if gone == limit as usize {
        return Ok(true);
    }
    conn.execute(PURGE_COLLECTIONS.sqlite, [id.as_bytes()])?;
    conn.execute(PURGE_APP.sqlite, [id.as_bytes()])?;
    Ok(false)
}

fn columns(row: &SqliteRow<'_>) -> rusqlite::Result<Row> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}
