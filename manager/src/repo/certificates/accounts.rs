//! Accounts with authorities, and the instance's own authority. All keys are sealed.

use picloud_shared::clock::Timestamp;

use crate::repo::RepoError;
use crate::repo::column::from_row;
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// An account with an authority, sealed.
#[derive(Debug)]
pub struct AccountRow {
    /// The authority's directory.
    pub directory: String,
    /// The account.
    pub account_sealed: Vec<u8>,
}

from_row!(AccountRow { directory, account_sealed });

/// The instance's own authority, its keys sealed.
#[derive(Debug, Clone)]
pub struct InternalAuthorityRow {
    /// The root in PEM.
    pub root: String,
    /// Its key.
    pub root_key_sealed: Vec<u8>,
    /// The intermediate in PEM.
    pub intermediate: String,
    /// Its key.
    pub intermediate_key_sealed: Vec<u8>,
    /// Until when it is good.
    pub intermediate_not_after: Timestamp,
}

from_row!(InternalAuthorityRow {
    root,
    root_key_sealed,
    intermediate,
    intermediate_key_sealed,
    intermediate_not_after,
});

statements! {
    FIND = "SELECT directory, account_sealed FROM acme_accounts WHERE directory = $1";
    LIST = "SELECT directory, account_sealed FROM acme_accounts ORDER BY directory";
    RESEAL = "UPDATE acme_accounts SET account_sealed = $2 WHERE directory = $1";
    INSERT = "INSERT INTO acme_accounts (directory, account_sealed, created_at) VALUES ($1, $2, $3) \
        ON CONFLICT (directory) DO NOTHING";
    REPLACE = "INSERT INTO acme_accounts (directory, account_sealed, created_at) VALUES ($1, $2, $3) \
        ON CONFLICT (directory) DO UPDATE SET account_sealed = excluded.account_sealed, created_at = excluded.created_at";
    INTERNAL = "SELECT root, root_key_sealed, intermediate, intermediate_key_sealed, intermediate_not_after \
        FROM internal_authority";
    INSERT_INTERNAL = "INSERT INTO internal_authority (id, root, root_key_sealed, intermediate, intermediate_key_sealed, \
        intermediate_not_after) VALUES (1, $1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING";
    REPLACE_INTERNAL = "UPDATE internal_authority SET root = $1, root_key_sealed = $2, intermediate = $3, \
        intermediate_key_sealed = $4, intermediate_not_after = $5 WHERE intermediate_not_after = $6";
}

/// The sealed account with an authority.
pub async fn find(conn: &mut Conn, directory: &str) -> Result<Option<Vec<u8>>, RepoError> {
    let found: Option<AccountRow> =
        on_db!(conn, db => Ok(sqlx::query_as(FIND.on(db)).bind(directory).fetch_optional(db).await?))?;
    Ok(found.map(|row| row.account_sealed))
}

/// All sealed accounts.
pub async fn list(conn: &mut Conn) -> Result<Vec<AccountRow>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as(LIST.on(db)).fetch_all(db).await?))
}

/// Keeps an account sealed otherwise.
pub async fn reseal(conn: &mut Conn, account: &AccountRow) -> Result<(), RepoError> {
    on_db!(conn, db => {
        let query = sqlx::query(RESEAL.on(db)).bind(&account.directory).bind(&account.account_sealed);
        query.execute(db).await?;
        Ok(())
    })
}

/// Keeps an account; one that is there already stays, unless it is to be replaced.
pub async fn save(
    conn: &mut Conn,
    directory: &str,
    account_sealed: &[u8],
    replace: bool,
    at: Timestamp,
) -> Result<(), RepoError> {
    let statement = if replace { REPLACE } else { INSERT };
    on_db!(conn, db => {
        sqlx::query(statement.on(db)).bind(directory).bind(account_sealed).bind(at.as_millis()).execute(db).await?;
        Ok(())
    })
}

/// The instance's own authority, once there is one.
pub async fn internal_authority(conn: &mut Conn) -> Result<Option<InternalAuthorityRow>, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as(INTERNAL.on(db)).fetch_optional(db).await?))
}

/// Keeps the instance's own authority, in place of one whose intermediate ended then, or of none. One that another node kept
/// meanwhile stays.
pub async fn save_internal_authority(
    conn: &mut Conn,
    row: &InternalAuthorityRow,
    in_place_of: Option<Timestamp>,
) -> Result<(), RepoError> {
    let statement = if in_place_of.is_some() { REPLACE_INTERNAL } else { INSERT_INTERNAL };
    on_db!(conn, db => {
        let query = sqlx::query(statement.on(db)).bind(&row.root).bind(&row.root_key_sealed).bind(&row.intermediate);
        let query = query.bind(&row.intermediate_key_sealed).bind(row.intermediate_not_after.as_millis());
        let query = match in_place_of {
            Some(ended) => query.bind(ended.as_millis()),
            None => query,
        };
        query.execute(db).await?;
        Ok(())
    })
}
