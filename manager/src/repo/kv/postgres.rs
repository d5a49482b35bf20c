//! The key-value store in PostgreSQL.

use futures_util::TryStreamExt;
use picloud_shared::kv::{KvPlace, KvUsage};
use sqlx::PgConnection;
use uuid::Uuid;

use super::*;
use crate::repo::data_audit::on_postgres;
use crate::store::Conn;
use crate::store::conn::Driver;

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
        let rows = sqlx::query_as::<_, (String, String, Vec<u8>, Option<i64>, i64, i64)>(LIST.postgres).bind(app.as_uuid()).bind(query.collection.as_str());
        let rows = rows.bind(from).bind(to).bind(now.as_millis()).bind(i64::from(query.limit) + 1).bind(page_bytes);
        let mut rows = rows.fetch(db);
        let mut gathering = Gathering::new(query);
        let mut found = 0;
        while let Some((key, kind, value, expires_at, updated_at, total)) = rows.try_next().await? {
            found = total;
            if !gathering.push(entry((key, kind, value, expires_at, updated_at))?) {
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
                let query = query.bind(key.as_str()).bind(kind(value)).bind(value.bytes());
                let query = query.bind(expires_at.map(Timestamp::as_millis)).bind(updated_at.as_millis());
                query.execute(&mut *db).await?;
            }
            KvEffect::Remove => {
                let query = sqlx::query(DELETE.postgres).bind(app.as_uuid()).bind(place.collection.as_str());
                query.bind(place.key.as_str()).execute(&mut *db).await?;
            }
        }
        account(db, app, &place.collection, delta).await
    })
}

async fn account(
    db: &mut PgConnection,
    app: AppId,
    collection: &CollectionName,
    delta: KvDelta,
) -> Result<(), RepoError> {
    let KvDelta { keys, bytes } = delta;
    if delta == KvDelta::default() {
        return Ok(());
    }
    let (id, name) = (app.as_uuid(), collection.as_str());
    sqlx::query(ADD_TO_APP.postgres).bind(id).bind(keys).bind(bytes).execute(&mut *db).await?;
    let query = sqlx::query(ADD_TO_COLLECTION.postgres).bind(id).bind(name).bind(keys).bind(bytes);
    query.execute(&mut *db).await?;
    if keys < 0 {
        sqlx::query(DELETE_EMPTY.postgres).bind(id).bind(name).execute(&mut *db).await?;
    }
    Ok(())
}

/// An app of which entries have expired.
pub(crate) async fn find_expired(conn: &mut Conn, now: Timestamp) -> Result<Option<AppId>, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, (Uuid,)>(FIND_EXPIRED.postgres).bind(now.as_millis());
        Ok(query.fetch_optional(db).await?.map(|(id,)| AppId::from_uuid(id)))
    })
}

/// Removes expired entries of an app, which is locked, up to `limit`; how many.
pub(crate) async fn delete_expired(
    conn: &mut Conn,
    app: AppId,
    now: Timestamp,
    limit: u32,
) -> Result<usize, RepoError> {
    on_postgres!(conn, db => {
        let query = sqlx::query_as::<_, (String, i32)>(DELETE_EXPIRED.postgres).bind(app.as_uuid());
        let rows = query.bind(now.as_millis()).bind(i64::from(limit)).fetch_all(&mut *db).await?;
        let expired = rows.into_iter().map(|(name, bytes)| {
            Ok(Expired { collection: collection_name(&name)?, bytes: i64::from(bytes) })
        });
        let expired = expired.collect::<Result<Vec<_>, RepoError>>()?;
        let count = expired.len();
        for (collection, delta) in removed(expired) {
            account(&mut *db, app, &collection, delta).await?;
        }
        Ok(count)
    })
}

/// Removes all of an app, which is locked, up to `limit` entries at a time; whether there may be more.
pub(crate) async fn purge(conn: &mut Conn, app: AppId, limit: u32) -> Result<bool, RepoError> {
    on_postgres!(conn, db => {
        let id = app.as_uuid();
        let gone = sqlx::query(PURGE_ENTRIES.postgres).bind(id).bind(i64::from(limit)).execute(&mut *db).await?;
        if gone.rows_affected() >= u64::from(limit) {
            return Ok(true);
        }
        sqlx::query(PURGE_COLLECTIONS.postgres).bind(id).execute(&mut *db).await?;
        sqlx::query(PURGE_APP.postgres).bind(id).execute(&mut *db).await?;
        Ok(false)
    })
}
