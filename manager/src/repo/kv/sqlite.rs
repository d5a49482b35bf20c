//! The key-value store on a connection of SQLite's own.

use picloud_shared::kv::{KvPlace, KvUsage};
use rusqlite::{Connection, OptionalExtension, Row as SqliteRow, ToSql, params};

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
                expires_at,
                updated_at.as_millis(),
                value.bytes()
            ])?;
        }
        KvEffect::Remove => {
            conn.prepare_cached(DELETE.sqlite)?.execute(params![id.as_bytes(), collection, place.key.as_str()])?;
        }
    }
    account(conn, app, place.collection.as_str(), delta)
}

fn account(conn: &Connection, app: AppId, collection: &str, delta: KvDelta) -> Result<(), RepoError> {
    let KvDelta { keys, bytes } = delta;
    if delta == KvDelta::default() {
        return Ok(());
    }
    let id = app.as_uuid();
    conn.prepare_cached(ADD_TO_APP.sqlite)?.execute(params![id.as_bytes(), keys, bytes])?;
    conn.prepare_cached(ADD_TO_COLLECTION.sqlite)?.execute(params![id.as_bytes(), collection, keys, bytes])?;
    if keys < 0 {
        conn.prepare_cached(DELETE_EMPTY.sqlite)?.execute(params![id.as_bytes(), collection])?;
    }
    Ok(())
}

/// A piece of the entries of an app that have expired.
pub(crate) fn expired(conn: &Connection, app: AppId, now: Timestamp) -> Result<Piece, RepoError> {
    piece(conn, EXPIRED.sqlite, params![app.as_uuid().as_bytes(), now.as_millis(), PIECE])
}

/// Removes a piece of all of an app; whether there may be more.
pub(crate) fn purge(conn: &Connection, app: AppId) -> Result<bool, RepoError> {
    let id = app.as_uuid();
    let piece = piece(conn, OF_APP.sqlite, params![id.as_bytes(), PIECE])?;
    if remove(conn, app, &piece)? > 0 {
        return Ok(true);
    }
    conn.execute(PURGE_COLLECTIONS.sqlite, [id.as_bytes()])?;
    conn.execute(PURGE_APP.sqlite, [id.as_bytes()])?;
    Ok(false)
}

/// The first that the statement finds, as many as one piece may have.
fn piece(conn: &Connection, find: &str, of: &[&dyn ToSql]) -> Result<Piece, RepoError> {
    let mut piece = Piece::default();
    let mut statement = conn.prepare_cached(find)?;
    let mut rows = statement.query(of)?;
    while let Some(row) = rows.next()? {
        if !piece.push(row.get(0)?, row.get(1)?, row.get(2)?) {
            break;
        }
    }
    Ok(piece)
}

/// Removes what is there; how many.
pub(crate) fn remove(conn: &Connection, app: AppId, piece: &Piece) -> Result<usize, RepoError> {
    let id = app.as_uuid();
    let mut delete = conn.prepare_cached(DELETE_ALL_OF.sqlite)?;
    let mut count = 0;
    for (collection, key) in piece.places() {
        count += delete.execute(params![id.as_bytes(), collection, key])?;
    }
    for (collection, delta) in piece.deltas() {
        account(conn, app, collection, delta)?;
    }
    Ok(count)
}

fn columns(row: &SqliteRow<'_>) -> rusqlite::Result<Row> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}
