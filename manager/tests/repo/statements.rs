//! Every statement of the catalogue is understood by both databases.

use picloud_manager::repo::statement::{data_statements, log_statements, main_statements};
use picloud_manager::store::DatabaseConfig;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqlSafeStr, SqliteConnection};

use crate::test_store::TestStore;

#[tokio::test]
async fn sqlite_prepares_every_statement() {
    let test = TestStore::sqlite().await;
    let dir = test.sqlite_dir().unwrap();
    for (file, statements) in [
        ("main.db", main_statements().collect::<Vec<_>>()),
        ("data.db", data_statements().collect()),
        ("logs.db", log_statements().collect()),
    ] {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join(file));
        let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
        assert!(!statements.is_empty());
        for (name, statement) in statements {
            let prepared = conn.prepare(AssertSqlSafe(statement.sqlite).into_sql_str()).await;
            assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
        }
    }
}

#[tokio::test]
async fn postgres_prepares_every_statement() {
    let test = TestStore::postgres().await;
    let DatabaseConfig::Postgres { url } = &test.config else { unreachable!() };
    let database = url.to_string().rsplit_once('/').unwrap().1.to_owned();
    let options =
        crate::test_store::admin_url().parse::<sqlx::postgres::PgConnectOptions>().unwrap().database(&database);
    let mut conn = PgConnection::connect_with(&options).await.unwrap();
    for (name, statement) in main_statements().chain(data_statements()).chain(log_statements()) {
        let prepared = conn.prepare(AssertSqlSafe(statement.postgres).into_sql_str()).await;
        assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
    }
}
