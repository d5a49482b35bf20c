//! The key-value store in PostgreSQL.

use futures_util::TryStreamExt;
use picloud_shared::kv::{KvPlace, KvUsage};
use sqlx::postgres::{PgArguments, PgConnection, Postgres};
use sqlx::query::QueryAs;

use super::*;
use crate::store::Conn;
use crate::store::conn::on_postgres;

pub(crate) async fn find(conn: &mut Conn, app: AppId, place: &KvPlace) -> Result<Option<KvEntry>, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, Row>(FIND.postgres).bind(app.as_uuid());
        let query = query.bind(place.collection.as_str()).bind(place.key.as_str());
        query.fetch_optional(db).await?.map(entry).transpose()
    })
}

pub(crate) async fn list(conn: &mut Conn, app: AppId, query: &KvQuery, now: Timestamp) -> Result<KvPage, RepoError> {
    let (from, to) = bounds(query);
    on_postgres!(conn, db => {
        let page_bytes = i64::try_from(PAGE_BYTES).unwrap_or(i64::MAX);
        let rows = sqlx::query_as::<_, (String, String, Option<i64>, i64, Vec<u8>, i64)>(LIST.postgres).bind(app.as_uuid());
        let rows = rows.bind(query.collection.as_str()).bind(from).bind(to).bind(now.as_millis()).bind(i64::from(query.limit) + 1).bind(page_bytes);
        let mut rows = rows.fetch(db);
        let mut gathering = Gathering::new(query);
        let mut found = 0;
        while let Some((key, kind, expires_at, updated_at, value, total)) = rows.try_next().await? {
            found = total;
            if !gathering.push(entry((key, kind, expires_at, updated_at, value))?) {
                break;
            }
        }
        // Rows that the page had no room for were not sent.
        if usize::try_from(found).is_ok_and(|found| found > gathering.page.entries.len()) {
            gathering.end_here();
        }
        Ok(gathering.page)
    })
}

/// What an app holds.
pub(crate) async fn usage_of(conn: &mut Conn, app: AppId) -> Result<KvUsage, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, (i64, i64)>(READ_USAGE.postgres).bind(app.as_uuid());
        Ok(query.fetch_optional(db).await?.map(|(keys, bytes)| usage(keys, bytes)).unwrap_or_default())
    })
}

/// The same, and until the transaction ends nobody else writes entries of the app.
pub(crate) async fn lock(conn: &mut Conn, app: AppId) -> Result<KvUsage, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, (i64, i64)>(USAGE.postgres).bind(app.as_uuid());
        let (keys, bytes) = query.fetch_one(db).await?;
        Ok(usage(keys, bytes))
    })
}

pub(crate) async fn collections(
    conn: &mut Conn,
    app: AppId,
    after: Option<&CollectionName>,
    limit: u32,
) -> Result<Vec<KvCollection>, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, (String, i64, i64)>(COLLECTIONS.postgres).bind(app.as_uuid());
        let query = query.bind(after.map_or("", CollectionName::as_str)).bind(i64::from(limit));
        let found = query.fetch_all(db).await?.into_iter().map(|(name, keys, bytes)| {
            Ok(KvCollection { name: collection_name(&name)?, usage: usage(keys, bytes) })
        });
        found.collect()
    })
}

/// Does it within the transaction, in which the app is locked, together with the account of it.
pub(crate) async fn apply(
    conn: &mut Conn,
    app: AppId,
    place: &KvPlace,
    effect: &KvEffect,
    delta: KvDelta,
) -> Result<(), RepoError> {
    on_postgres!(conn, db => {
        match effect {
            KvEffect::Nothing => return Ok(()),
            KvEffect::Put(KvEntry { key, value, expires_at, updated_at }) => {
                let query = sqlx::query(PUT.postgres).bind(app.as_uuid()).bind(place.collection.as_str());
                let query = query.bind(key.as_str()).bind(kind(value)).bind(expires_at.map(Timestamp::as_millis));
                query.bind(updated_at.as_millis()).bind(value.bytes()).execute(&mut *db).await?;
            }
            KvEffect::Remove => {
                let query = sqlx::query(DELETE.postgres).bind(app.as_uuid()).bind(place.collection.as_str());
                query.bind(place.key.as_str()).execute(&mut *db).await?;
            }
        }
        account(db, app, place.collection.as_str(), delta).await
    })
}

async fn account(db: &mut PgConnection, app: AppId, collection: &str, delta: KvDelta) -> Result<(), RepoError> {
    let KvDelta { keys, bytes } = delta;
    if delta == KvDelta::default() {
        return Ok(());
    }
    let id = app.as_uuid();
    sqlx::query(ADD_TO_APP.postgres).bind(id).bind(keys).bind(bytes).execute(&mut *db).await?;
    let query = sqlx::query(ADD_TO_COLLECTION.postgres).bind(id).bind(collection).bind(keys).bind(bytes);
    query.execute(&mut *db).await?;
    if keys < 0 {
        sqlx::query(DELETE_EMPTY.postgres).bind(id).bind(collection).execute(&mut *db).await?;
    }
    Ok(())
}

/// A piece of the entries of an app that have expired.
pub(crate) async fn expired(conn: &mut Conn, app: AppId, now: Timestamp) -> Result<Piece, RepoError> {
    on_postgres!(conn, db => {
        let find = sqlx::query_as(EXPIRED.postgres).bind(app.as_uuid()).bind(now.as_millis());
        piece(db, find.bind(i64::from(PIECE))).await
    })
}

/// Removes what is there of an app, which is locked; how many.
pub(crate) async fn remove(conn: &mut Conn, app: AppId, piece: &Piece) -> Result<usize, RepoError> {
    on_postgres!(conn, db => remove_all(db, app, piece).await)
}

/// Removes a piece of all of an app, which is locked; whether there may be more.
pub(crate) async fn purge(conn: &mut Conn, app: AppId) -> Result<bool, RepoError> {
    on_postgres!(conn, db => {
        let id = app.as_uuid();
        let find = sqlx::query_as(OF_APP.postgres).bind(id).bind(i64::from(PIECE));
        let piece = piece(&mut *db, find).await?;
        if remove_all(&mut *db, app, &piece).await? > 0 {
            return Ok(true);
        }
        sqlx::query(PURGE_COLLECTIONS.postgres).bind(id).execute(&mut *db).await?;
        sqlx::query(PURGE_APP.postgres).bind(id).execute(&mut *db).await?;
        Ok(false)
    })
}

/// The first that the query finds, as many as one piece may have.
async fn piece(
    db: &mut PgConnection,
    find: QueryAs<'_, Postgres, (String, String, i32), PgArguments>,
) -> Result<Piece, RepoError> {
    let mut piece = Piece::default();
    for (collection, key, bytes) in find.fetch_all(db).await? {
        if !piece.push(collection, key, i64::from(bytes)) {
            break;
        }
    }
    Ok(piece)
}

async fn remove_all(db: &mut PgConnection, app: AppId, piece: &Piece) -> Result<usize, RepoError> {
    let (collections, keys): (Vec<_>, Vec<_>) = piece.places().unzip();
    let query = sqlx::query(DELETE_ALL_OF.postgres).bind(app.as_uuid()).bind(collections).bind(keys);
    let gone = query.execute(&mut *db).await?.rows_affected();
    for (collection, delta) in piece.deltas() {
        account(&mut *db, app, collection, delta).await?;
    }
    Ok(usize::try_from(gone).unwrap_or(usize::MAX))
}
