//! Documents on a connection of SQLite's own.

use picloud_shared::docs::DocPlace;
use rusqlite::{Connection, OptionalExtension, Row as SqliteRow, params};

use super::*;
use crate::store::Dialects;

pub(crate) fn find(conn: &Connection, app: AppId, place: &DocPlace) -> Result<Option<Document>, RepoError> {
    let mut statement = conn.prepare_cached(FIND.sqlite)?;
    let (app, id) = (app.as_uuid(), place.id.as_uuid());
    let place = params![app.as_bytes(), place.collection.as_str(), id.as_bytes()];
    statement.query_row(place, |row| columns(row, 0)).optional()?.map(document).transpose()
}

/// The document as that write needs it: all but a patch make do with one that is damaged.
pub(crate) fn find_held(
    conn: &Connection,
    app: AppId,
    place: &DocPlace,
    write: &DocWrite,
) -> Result<Option<Held>, RepoError> {
    match find(conn, app, place) {
        Err(RepoError::Corrupt { .. }) if !matches!(write, DocWrite::Patch(_)) => {}
        found => return Ok(found?.map(Held::from)),
    }
    let (app, id) = (app.as_uuid(), place.id.as_uuid());
    let place = params![app.as_bytes(), place.collection.as_str(), id.as_bytes()];
    let row = conn.prepare_cached(FIND.sqlite)?.query_row(place, damaged_columns)?;
    let mut statement = conn.prepare_cached(ENTRIES_OF.sqlite)?;
    let entries = statement.query_map(place, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let entries: Vec<_> = entries.collect::<rusqlite::Result<_>>()?;
    Ok(Some(Held::damaged(row, entries.into_iter())))
}

/// Hands over the documents of a scan one by one, at most so many.
pub(crate) fn scan(
    conn: &Connection,
    app: AppId,
    collection: &CollectionName,
    scan: &Scan,
    descending: bool,
    limit: u32,
    each: Each<'_>,
) -> Result<(), RepoError> {
    let (app, collection) = (app.as_uuid(), collection.as_str());
    match scan {
        Scan::Ids { after, end } => {
            let mut statement = conn.prepare_cached(if descending { DOWN.sqlite } else { UP.sqlite })?;
            let (after, end) = (after.as_bytes(), end.as_bytes());
            let mut rows = statement.query(params![app.as_bytes(), collection, after, end, limit])?;
            while let Some(row) = rows.next()? {
                if !each(SortKey::none(), document(columns(row, 0)?)?) {
                    break;
                }
            }
        }
        Scan::Index { number, after: (key, id), end } => {
            let mut statement = conn.prepare_cached(if descending { INDEX_DOWN.sqlite } else { INDEX_UP.sqlite })?;
            let (key, id, end) = (key.as_bytes(), id.as_bytes(), end.as_bytes());
            let mut rows = statement.query(params![app.as_bytes(), number, key, id, end, collection, limit])?;
            while let Some(row) = rows.next()? {
                if !each(SortKey::stored(row.get(0)?), document(columns(row, 1)?)?) {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// How many entries an index has in a range, counted up to some.
pub(crate) fn count_entries(
    conn: &Connection,
    app: AppId,
    number: i64,
    range: &KeyRange,
    most: u32,
) -> Result<u32, RepoError> {
    let (app, from, to) = (app.as_uuid(), range.from.as_bytes(), range.to.as_bytes());
    let mut statement = conn.prepare_cached(COUNT_ENTRIES.sqlite)?;
    Ok(statement.query_row(params![app.as_bytes(), number, from, to, most], |row| row.get(0))?)
}

/// How many documents a collection has between two ids, counted up to some.
pub(crate) fn count_between(
    conn: &Connection,
    app: AppId,
    collection: &CollectionName,
    after: Uuid,
    before: Uuid,
    most: u32,
) -> Result<u32, RepoError> {
    let (app, collection, after, before) = (app.as_uuid(), collection.as_str(), after.as_bytes(), before.as_bytes());
    let mut statement = conn.prepare_cached(COUNT_BETWEEN.sqlite)?;
    Ok(statement.query_row(params![app.as_bytes(), collection, after, before, most], |row| row.get(0))?)
}

/// How many documents a collection has.
pub(crate) fn count_documents(conn: &Connection, app: AppId, collection: &CollectionName) -> Result<u64, RepoError> {
    let mut statement = conn.prepare_cached(COUNT_DOCUMENTS.sqlite)?;
    let app = app.as_uuid();
    let found = statement.query_row(params![app.as_bytes(), collection.as_str()], |row| row.get::<_, i64>(0));
    Ok(found.optional()?.map_or(0, |count| u64::try_from(count).unwrap_or(0)))
}

pub(crate) fn usage_of(conn: &Connection, app: AppId) -> Result<DocUsage, RepoError> {
    let mut statement = conn.prepare_cached(USAGE.sqlite)?;
    let found = statement.query_row([app.as_uuid().as_bytes()], |row| Ok(usage(row.get(0)?, row.get(1)?)));
    Ok(found.optional()?.unwrap_or_default())
}

pub(crate) fn collections(
    conn: &Connection,
    app: AppId,
    after: Option<&CollectionName>,
    limit: u32,
) -> Result<Vec<DocCollection>, RepoError> {
    let mut statement = conn.prepare_cached(COLLECTIONS.sqlite)?;
    let after = after.map_or("", CollectionName::as_str);
    let mut rows = statement.query(params![app.as_uuid().as_bytes(), after, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let name = collection_name(&row.get::<_, String>(0)?)?;
        found.push(DocCollection { name, usage: usage(row.get(1)?, row.get(2)?) });
    }
    Ok(found)
}

pub(crate) fn indexes(conn: &Connection, app: AppId, collection: &CollectionName) -> Result<Vec<DocIndex>, RepoError> {
    let mut statement = conn.prepare_cached(INDEXES.sqlite)?;
    let mut rows = statement.query(params![app.as_uuid().as_bytes(), collection.as_str()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (field, state): (String, String) = (row.get(1)?, row.get(2)?);
        found.push(index(row.get(0)?, &field, &state, Uuid::from_bytes(row.get(3)?))?);
    }
    Ok(found)
}

pub(crate) fn count_indexes(conn: &Connection, app: AppId) -> Result<i64, RepoError> {
    Ok(conn.prepare_cached(COUNT_INDEXES.sqlite)?.query_row([app.as_uuid().as_bytes()], |row| row.get(0))?)
}

/// The next index after that one of an app that is to be built or dropped.
pub(crate) fn next_unfinished(conn: &Connection, after: (Uuid, i64)) -> Result<Option<Unfinished>, RepoError> {
    let mut statement = conn.prepare_cached(UNFINISHED.sqlite)?;
    let row = |row: &SqliteRow<'_>| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, String>(1)?, row.get(2)?));
    let found = statement.query_row(params![after.0.as_bytes(), after.1], row).optional()?;
    found
        .map(|(app, collection, number)| {
            Ok((AppId::from_uuid(Uuid::from_bytes(app)), collection_name(&collection)?, number))
        })
        .transpose()
}

/// Numbers for so many indexes, that no other of the app has had; the first.
pub(crate) fn take_numbers(conn: &Connection, app: AppId, count: i64) -> Result<i64, RepoError> {
    let mut statement = conn.prepare_cached(TAKE_NUMBERS.sqlite)?;
    let next: i64 = statement.query_row(params![app.as_uuid().as_bytes(), count + 1], |row| row.get(0))?;
    Ok(next - count)
}

pub(crate) fn put_indexes(
    conn: &Connection,
    app: AppId,
    collection: &CollectionName,
    indexes: &[DocIndex],
) -> Result<(), RepoError> {
    let mut statement = conn.prepare_cached(PUT_INDEX.sqlite)?;
    for DocIndex { number, field, state, built_to } in indexes {
        let (app, collection, field) = (app.as_uuid(), collection.as_str(), field.as_str());
        statement.execute(params![app.as_bytes(), collection, number, field, state.as_str(), built_to.as_bytes()])?;
    }
    account(conn, app, collection.as_str(), DocDelta::default())
}

pub(crate) fn remove_index(
    conn: &Connection,
    app: AppId,
    collection: &CollectionName,
    number: i64,
) -> Result<(), RepoError> {
    let app = app.as_uuid();
    conn.prepare_cached(REMOVE_INDEX.sqlite)?.execute(params![app.as_bytes(), collection.as_str(), number])?;
    conn.prepare_cached(DELETE_EMPTY.sqlite)?.execute(params![app.as_bytes(), collection.as_str()])?;
    Ok(())
}

/// Does it within the transaction that is open, together with the account of it.
pub(crate) fn apply(conn: &Connection, app: AppId, place: &DocPlace, effect: &DocEffect) -> Result<(), RepoError> {
    let (owner, collection, id) = (app.as_uuid(), place.collection.as_str(), place.id.as_uuid());
    match &effect.document {
        Some(Document { body, updated_at, .. }) => conn.prepare_cached(PUT.sqlite)?.execute(params![
            owner.as_bytes(),
            collection,
            id.as_bytes(),
            updated_at.as_millis(),
            body.text()
        ])?,
        None => conn.prepare_cached(DELETE.sqlite)?.execute(params![owner.as_bytes(), collection, id.as_bytes()])?,
    };
    change_entries(conn, app, REMOVE_ENTRIES, &effect.removed)?;
    change_entries(conn, app, ADD_ENTRIES, &effect.added)?;
    account(conn, app, collection, effect.delta)
}

fn change_entries(conn: &Connection, app: AppId, statement: Dialects, entries: &[Entry]) -> Result<(), RepoError> {
    let mut statement = conn.prepare_cached(statement.sqlite)?;
    let app = app.as_uuid();
    for Entry { number, key, id } in entries {
        statement.execute(params![app.as_bytes(), number, key.as_bytes(), id.as_bytes()])?;
    }
    Ok(())
}

/// Adds entries of a collection's documents, with the account of them.
pub(crate) fn add_entries(
    conn: &Connection,
    app: AppId,
    collection: &CollectionName,
    entries: &[Entry],
) -> Result<(), RepoError> {
    change_entries(conn, app, ADD_ENTRIES, entries)?;
    account(conn, app, collection.as_str(), DocDelta { documents: 0, bytes: entry_bytes(entries) })
}

/// Removes a piece of an index's entries, with the account of them; whether there were any.
pub(crate) fn drop_entries(
    conn: &Connection,
    app: AppId,
    collection: &CollectionName,
    number: i64,
) -> Result<bool, RepoError> {
    let delta = drop_piece(conn, app, number)?;
    account(conn, app, collection.as_str(), delta)?;
    Ok(delta.bytes < 0)
}

fn drop_piece(conn: &Connection, app: AppId, number: i64) -> Result<DocDelta, RepoError> {
    let mut statement = conn.prepare_cached(DROP_ENTRIES.sqlite)?;
    let owner = app.as_uuid();
    let lengths = statement.query_map(params![owner.as_bytes(), number, PIECE], |row| row.get::<_, i64>(0))?;
    let lengths: Vec<i64> = lengths.collect::<rusqlite::Result<_>>()?;
    Ok(dropped(lengths.into_iter()))
}

/// Removes a piece of all of an app; whether there may be more.
pub(crate) fn purge(conn: &Connection, app: AppId) -> Result<bool, RepoError> {
    let owner = app.as_uuid();
    let mut statement = conn.prepare_cached(FIRST_NUMBER.sqlite)?;
    if let Some(number) = statement.query_row([owner.as_bytes()], |row| row.get(0)).optional()? {
        // The account goes with the last of it.
        drop_piece(conn, app, number)?;
        return Ok(true);
    }
    let row =
        |row: &SqliteRow<'_>| Ok((row.get::<_, String>(0)?, Uuid::from_bytes(row.get(1)?), row.get::<_, i64>(2)?));
    let found: Vec<_> = conn
        .prepare_cached(OF_APP.sqlite)?
        .query_map(params![owner.as_bytes(), PIECE], row)?
        .collect::<rusqlite::Result<_>>()?;
    let piece = within_piece(found.iter().map(|(_, _, bytes)| *bytes));
    if let Some((collection, id, _)) = found[..piece].last() {
        conn.prepare_cached(PURGE_DOCUMENTS.sqlite)?.execute(params![owner.as_bytes(), collection, id.as_bytes()])?;
        return Ok(true);
    }
    if conn.prepare_cached(PURGE_COLLECTIONS.sqlite)?.execute(params![owner.as_bytes(), PIECE])? > 0 {
        return Ok(true);
    }
    for statement in [PURGE_INDEXES, PURGE_APP] {
        conn.execute(statement.sqlite, [owner.as_bytes()])?;
    }
    Ok(false)
}

fn account(conn: &Connection, app: AppId, collection: &str, delta: DocDelta) -> Result<(), RepoError> {
    let DocDelta { documents, bytes } = delta;
    let app = app.as_uuid();
    conn.prepare_cached(ADD_TO_APP.sqlite)?.execute(params![app.as_bytes(), documents, bytes])?;
    conn.prepare_cached(ADD_TO_COLLECTION.sqlite)?.execute(params![app.as_bytes(), collection, documents, bytes])?;
    if documents < 0 {
        conn.prepare_cached(DELETE_EMPTY.sqlite)?.execute(params![app.as_bytes(), collection])?;
    }
    Ok(())
}

/// With as many bytes of a body as there are, of which those that are no text are not told.
fn damaged_columns(row: &SqliteRow<'_>) -> rusqlite::Result<Row> {
    let bytes = row.get_ref(2)?.as_bytes_or_null().ok().flatten().unwrap_or_default();
    let body = bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect();
    Ok((Uuid::from_bytes(row.get(0)?), row.get(1)?, body))
}

fn columns(row: &SqliteRow<'_>, first: usize) -> rusqlite::Result<Row> {
    Ok((Uuid::from_bytes(row.get(first)?), row.get(first + 1)?, row.get(first + 2)?))
}
