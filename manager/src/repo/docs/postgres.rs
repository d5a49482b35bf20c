//! Documents in PostgreSQL.

use futures_util::TryStreamExt as _;
use picloud_shared::docs::DocPlace;
use sqlx::postgres::PgConnection;

use super::*;
use crate::store::conn::on_postgres;
use crate::store::{Conn, Dialects};

pub(crate) async fn find(conn: &mut Conn, app: AppId, place: &DocPlace) -> Result<Option<Document>, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, Row>(FIND.postgres).bind(app.as_uuid());
        let query = query.bind(place.collection.as_str()).bind(place.id.as_uuid());
        query.fetch_optional(db).await?.map(document).transpose()
    })
}

/// The document as that write needs it: all but a patch make do with one that is damaged.
pub(crate) async fn find_held(
    conn: &mut Conn,
    app: AppId,
    place: &DocPlace,
    write: &DocWrite,
) -> Result<Option<Held>, RepoError> {
    match find(conn, app, place).await {
        Err(RepoError::Corrupt { .. }) if !matches!(write, DocWrite::Patch(_)) => {}
        found => return Ok(found?.map(Held::from)),
    }
    on_postgres!(conn, db => {
        let (app, collection, id) = (app.as_uuid(), place.collection.as_str(), place.id.as_uuid());
        let query = sqlx::query_as::<_, Row>(FIND.postgres).bind(app).bind(collection).bind(id);
        let row = query.fetch_one(&mut *db).await?;
        let query = sqlx::query_as::<_, (i64, Vec<u8>)>(ENTRIES_OF.postgres).bind(app).bind(collection).bind(id);
        Ok(Some(Held::damaged(row, query.fetch_all(db).await?.into_iter())))
    })
}

/// Hands over the documents of a scan one by one, at most so many and no more than some bytes of them; how many there were.
pub(crate) async fn scan(
    conn: &mut Conn,
    app: AppId,
    collection: &CollectionName,
    scan: &Scan,
    descending: bool,
    limit: u32,
    each: Each<'_>,
) -> Result<u32, RepoError> {
    let (limit, bytes) = (i64::from(limit), PIECE_BYTES as i64);
    on_postgres!(conn, db => {
        let (app, collection) = (app.as_uuid(), collection.as_str());
        let mut count = 0;
        match scan {
            Scan::Ids { after, end } => {
                let text = if descending { DOWN.postgres } else { UP.postgres };
                let query = sqlx::query_as::<_, Row>(text).bind(app).bind(collection).bind(after).bind(end);
                let mut rows = query.bind(limit).bind(bytes).fetch(db);
                while let Some(row) = rows.try_next().await? {
                    count += 1;
                    if !each(SortKey::none(), document(row)?) {
                        break;
                    }
                }
            }
            Scan::Index { number, after: (key, id), end } => {
                let text = if descending { INDEX_DOWN.postgres } else { INDEX_UP.postgres };
                let query = sqlx::query_as::<_, (Vec<u8>, Uuid, i64, String)>(text).bind(app).bind(number).bind(key.as_bytes());
                let query = query.bind(id).bind(end.as_bytes()).bind(collection).bind(limit).bind(bytes);
                let mut rows = query.fetch(db);
                while let Some((key, id, at, body)) = rows.try_next().await? {
                    count += 1;
                    if !each(SortKey::stored(key), document((id, at, body))?) {
                        break;
                    }
                }
            }
        }
        Ok(count)
    })
}

/// How many entries an index has in a range, counted up to some.
pub(crate) async fn count_entries(
    conn: &mut Conn,
    app: AppId,
    number: i64,
    range: &KeyRange,
    most: u32,
) -> Result<u32, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, (i64,)>(COUNT_ENTRIES.postgres).bind(app.as_uuid()).bind(number);
        let query = query.bind(range.from.as_bytes()).bind(range.to.as_bytes()).bind(i64::from(most));
        let (count,) = query.fetch_one(db).await?;
        Ok(u32::try_from(count).unwrap_or(most))
    })
}

/// How many documents a collection has between two ids, counted up to some.
pub(crate) async fn count_between(
    conn: &mut Conn,
    app: AppId,
    collection: &CollectionName,
    after: Uuid,
    before: Uuid,
    most: u32,
) -> Result<u32, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, (i64,)>(COUNT_BETWEEN.postgres).bind(app.as_uuid()).bind(collection.as_str());
        let (count,) = query.bind(after).bind(before).bind(i64::from(most)).fetch_one(db).await?;
        Ok(u32::try_from(count).unwrap_or(most))
    })
}

/// How many documents a collection has.
pub(crate) async fn count_documents(
    conn: &mut Conn,
    app: AppId,
    collection: &CollectionName,
) -> Result<u64, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, (i64,)>(COUNT_DOCUMENTS.postgres).bind(app.as_uuid());
        let found = query.bind(collection.as_str()).fetch_optional(db).await?;
        Ok(found.map_or(0, |(count,)| u64::try_from(count).unwrap_or(0)))
    })
}

/// What an app holds.
pub(crate) async fn usage_of(conn: &mut Conn, app: AppId) -> Result<DocUsage, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, (i64, i64)>(READ_USAGE.postgres).bind(app.as_uuid());
        Ok(query.fetch_optional(db).await?.map(|(documents, bytes)| usage(documents, bytes)).unwrap_or_default())
    })
}

/// The same, and until the transaction ends nobody else writes documents of the app.
pub(crate) async fn lock(conn: &mut Conn, app: AppId) -> Result<DocUsage, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, (i64, i64)>(USAGE.postgres).bind(app.as_uuid());
        let (documents, bytes) = query.fetch_one(db).await?;
        Ok(usage(documents, bytes))
    })
}

pub(crate) async fn collections(
    conn: &mut Conn,
    app: AppId,
    after: Option<&CollectionName>,
    limit: u32,
) -> Result<Vec<DocCollection>, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, (String, i64, i64)>(COLLECTIONS.postgres).bind(app.as_uuid());
        let query = query.bind(after.map_or("", CollectionName::as_str)).bind(i64::from(limit));
        let found = query.fetch_all(db).await?.into_iter().map(|(name, documents, bytes)| {
            Ok(DocCollection { name: collection_name(&name)?, usage: usage(documents, bytes) })
        });
        found.collect()
    })
}

pub(crate) async fn indexes(
    conn: &mut Conn,
    app: AppId,
    collection: &CollectionName,
) -> Result<Vec<DocIndex>, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, (i64, String, String, Uuid)>(INDEXES.postgres).bind(app.as_uuid());
        let rows = query.bind(collection.as_str()).fetch_all(db).await?;
        rows.into_iter().map(|(number, field, state, built_to)| index(number, &field, &state, built_to)).collect()
    })
}

pub(crate) async fn count_indexes(conn: &mut Conn, app: AppId) -> Result<i64, RepoError> {
    on_postgres!(conn, db => {
        let (count,) = sqlx::query_as::<_, (i64,)>(COUNT_INDEXES.postgres).bind(app.as_uuid()).fetch_one(db).await?;
        Ok(count)
    })
}

/// The next index after that one of an app that is to be built or dropped.
pub(crate) async fn next_unfinished(conn: &mut Conn, after: (Uuid, i64)) -> Result<Option<Unfinished>, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, (Uuid, String, i64)>(UNFINISHED.postgres).bind(after.0).bind(after.1);
        let read = |(app, collection, number): (Uuid, String, i64)| {
            Ok((AppId::from_uuid(app), collection_name(&collection)?, number))
        };
        query.fetch_optional(db).await?.map(read).transpose()
    })
}

/// Numbers for so many indexes, that no other of the app has had; the first.
pub(crate) async fn take_numbers(conn: &mut Conn, app: AppId, count: i64) -> Result<i64, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, (i64,)>(TAKE_NUMBERS.postgres).bind(app.as_uuid()).bind(count + 1);
        let (next,) = query.fetch_one(db).await?;
        Ok(next - count)
    })
}

pub(crate) async fn put_indexes(
    conn: &mut Conn,
    app: AppId,
    collection: &CollectionName,
    indexes: &[DocIndex],
) -> Result<(), RepoError> {
    on_postgres!(conn, db => {
        for DocIndex { number, field, state, built_to } in indexes {
            let query = sqlx::query(PUT_INDEX.postgres).bind(app.as_uuid()).bind(collection.as_str()).bind(number);
            query.bind(field.as_str()).bind(state.as_str()).bind(built_to).execute(&mut *db).await?;
        }
        account(db, app, collection.as_str(), DocDelta::default()).await
    })
}

pub(crate) async fn remove_index(
    conn: &mut Conn,
    app: AppId,
    collection: &CollectionName,
    number: i64,
) -> Result<(), RepoError> {
    on_postgres!(conn, db => {
        let (app, collection) = (app.as_uuid(), collection.as_str());
        sqlx::query(REMOVE_INDEX.postgres).bind(app).bind(collection).bind(number).execute(&mut *db).await?;
        sqlx::query(DELETE_EMPTY.postgres).bind(app).bind(collection).execute(&mut *db).await?;
        Ok(())
    })
}

/// Does it within the transaction, in which the app is locked, together with the account of it.
pub(crate) async fn apply(conn: &mut Conn, app: AppId, place: &DocPlace, effect: &DocEffect) -> Result<(), RepoError> {
    on_postgres!(conn, db => {
        let (owner, collection, id) = (app.as_uuid(), place.collection.as_str(), place.id.as_uuid());
        match &effect.document {
            Some(Document { body, updated_at, .. }) => {
                let query = sqlx::query(PUT.postgres).bind(owner).bind(collection).bind(id);
                query.bind(updated_at.as_millis()).bind(body.text()).execute(&mut *db).await?;
            }
            None => {
                sqlx::query(DELETE.postgres).bind(owner).bind(collection).bind(id).execute(&mut *db).await?;
            }
        }
        change_entries(&mut *db, app, REMOVE_ENTRIES, &effect.removed).await?;
        change_entries(&mut *db, app, ADD_ENTRIES, &effect.added).await?;
        account(db, app, collection, effect.delta).await
    })
}

async fn change_entries(
    db: &mut PgConnection,
    app: AppId,
    statement: Dialects,
    entries: &[Entry],
) -> Result<(), RepoError> {
    if entries.is_empty() {
        return Ok(());
    }
    let numbers: Vec<i64> = entries.iter().map(|entry| entry.number).collect();
    let values: Vec<&[u8]> = entries.iter().map(|entry| entry.key.as_bytes()).collect();
    let ids: Vec<Uuid> = entries.iter().map(|entry| entry.id).collect();
    let query = sqlx::query(statement.postgres).bind(app.as_uuid()).bind(numbers).bind(values).bind(ids);
    query.execute(db).await?;
    Ok(())
}

/// Adds entries of a collection's documents, with the account of them.
pub(crate) async fn add_entries(
    conn: &mut Conn,
    app: AppId,
    collection: &CollectionName,
    entries: &[Entry],
) -> Result<(), RepoError> {
    on_postgres!(conn, db => {
        change_entries(&mut *db, app, ADD_ENTRIES, entries).await?;
        account(db, app, collection.as_str(), DocDelta { documents: 0, bytes: entry_bytes(entries) }).await
    })
}

/// Removes a piece of an index's entries, with the account of them; whether there were any.
pub(crate) async fn drop_entries(
    conn: &mut Conn,
    app: AppId,
    collection: &CollectionName,
    number: i64,
) -> Result<bool, RepoError> {
    on_postgres!(conn, db => {
        let delta = drop_piece(&mut *db, app, number).await?;
        account(db, app, collection.as_str(), delta).await?;
        Ok(delta.bytes < 0)
    })
}

async fn drop_piece(db: &mut PgConnection, app: AppId, number: i64) -> Result<DocDelta, RepoError> {
    let query = sqlx::query_as::<_, (i32,)>(DROP_ENTRIES.postgres).bind(app.as_uuid()).bind(number);
    let lengths = query.bind(i64::from(PIECE)).fetch_all(db).await?;
    Ok(dropped(lengths.into_iter().map(|(length,)| i64::from(length))))
}

/// Removes a piece of all of an app, which is locked; whether there may be more.
pub(crate) async fn purge(conn: &mut Conn, app: AppId) -> Result<bool, RepoError> {
    on_postgres!(conn, db => {
        let owner = app.as_uuid();
        let query = sqlx::query_as::<_, (i64,)>(FIRST_NUMBER.postgres).bind(owner);
        if let Some((number,)) = query.fetch_optional(&mut *db).await? {
            // The account goes with the last of it.
            drop_piece(&mut *db, app, number).await?;
            return Ok(true);
        }
        let query = sqlx::query_as::<_, (String, Uuid, i32)>(OF_APP.postgres).bind(owner).bind(i64::from(PIECE));
        let found = query.fetch_all(&mut *db).await?;
        let piece = within_piece(found.iter().map(|(_, _, bytes)| i64::from(*bytes)));
        if let Some((collection, id, _)) = found[..piece].last() {
            sqlx::query(PURGE_DOCUMENTS.postgres).bind(owner).bind(collection).bind(id).execute(&mut *db).await?;
            return Ok(true);
        }
        let query = sqlx::query(PURGE_COLLECTIONS.postgres).bind(owner).bind(i64::from(PIECE));
        if query.execute(&mut *db).await?.rows_affected() > 0 {
            return Ok(true);
        }
        for statement in [PURGE_INDEXES, PURGE_APP] {
            sqlx::query(statement.postgres).bind(owner).execute(&mut *db).await?;
        }
        Ok(false)
    })
}

async fn account(db: &mut PgConnection, app: AppId, collection: &str, delta: DocDelta) -> Result<(), RepoError> {
    let DocDelta { documents, bytes } = delta;
    let app = app.as_uuid();
    sqlx::query(ADD_TO_APP.postgres).bind(app).bind(documents).bind(bytes).execute(&mut *db).await?;
    let query = sqlx::query(ADD_TO_COLLECTION.postgres).bind(app).bind(collection).bind(documents).bind(bytes);
    query.execute(&mut *db).await?;
    if documents < 0 {
        sqlx::query(DELETE_EMPTY.postgres).bind(app).bind(collection).execute(&mut *db).await?;
    }
    Ok(())
}
