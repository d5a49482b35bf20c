//! How much there is of everything.

use crate::repo::RepoError;
use crate::repo::column::from_row;
use crate::repo::statement::statements;
use crate::store::Conn;
use crate::store::conn::on_db;

/// How much the control data holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Apps.
    pub apps: u64,
    /// Domain claims.
    pub domains: u64,
    /// Scripts.
    pub scripts: u64,
    /// Routes.
    pub routes: u64,
    /// Users, active or not.
    pub users: u64,
    /// Bytes of the file, or of the whole database on PostgreSQL.
    pub store_bytes: u64,
}

from_row!(Sizes { apps, domains, scripts, routes, users, store_bytes });

macro_rules! counts {
    ($bytes:literal) => {
        concat!(
            "SELECT (SELECT COUNT(*) FROM apps) AS apps, (SELECT COUNT(*) FROM domains) AS domains, \
             (SELECT COUNT(*) FROM scripts) AS scripts, (SELECT COUNT(*) FROM routes) AS routes, \
             (SELECT COUNT(*) FROM users) AS users, ",
            $bytes,
            " AS store_bytes"
        )
    };
}

statements! {
    SIZES = counts!("(SELECT p.page_count * s.page_size FROM pragma_page_count p, pragma_page_size s)"),
        counts!("pg_database_size(current_database())");
}

/// How much there is.
///
/// # Errors
/// [`RepoError::Unavailable`].
pub async fn sizes(conn: &mut Conn) -> Result<Sizes, RepoError> {
    on_db!(conn, db => Ok(sqlx::query_as(SIZES.on(db)).fetch_one(db).await?))
}
