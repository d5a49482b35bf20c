//! A store of its own for each test: a temporary directory, or a PostgreSQL database cloned from a migrated template.
//!
//! Include it by `#[path = "support/test_store.rs"] mod test_store;`, then write tests as
//! `on_both! { async fn a_fact(test: TestStore) { ... } }`, which makes `a_fact::sqlite` and `a_fact::postgres`.
#![allow(dead_code, unused_macros, unused_imports, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use picloud_manager::store::migration::{HISTORY, Target, render};
use picloud_manager::store::{DatabaseConfig, Store};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use uuid::Uuid;

/// One test, on both databases.
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $fact:ident($test:ident: $TestStore:ident) $body:block)+) => {$(
        $(#[$meta])*
        mod $fact {
            use super::*;

            async fn holds($test: $TestStore) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                holds($TestStore::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                holds($TestStore::postgres().await).await;
            }
        }
    )+};
}
pub(crate) use on_both;

/// An open store that is removed when it is dropped.
pub struct TestStore {
    /// The store.
    pub store: Store,
    /// How to open it again.
    pub config: DatabaseConfig,
    place: Place,
}

enum Place {
    Directory(tempfile::TempDir),
    Database { name: String },
}

impl TestStore {
    /// A store in a temporary directory.
    pub async fn sqlite() -> Self {
        let place = tempfile::tempdir().unwrap();
        let config = DatabaseConfig::Sqlite { dir: place.path().join("data") };
        let store = Store::open(&config).await.unwrap();
        Self { store, config, place: Place::Directory(place) }
    }

    /// A store in a database of its own.
    pub async fn postgres() -> Self {
        let mut admin = PgConnection::connect(&admin_url()).await.unwrap();
        let template = template(&mut admin).await;
        let name = format!("picloud_test_{}", Uuid::now_v7().simple());
        execute(&mut admin, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        let config = DatabaseConfig::Postgres { url: database_url(&name).parse().unwrap() };
        let store = Store::open(&config).await.unwrap();
        Self { store, config, place: Place::Database { name } }
    }

    /// The directory of a SQLite store.
    pub fn sqlite_dir(&self) -> Option<PathBuf> {
        match &self.config {
            DatabaseConfig::Sqlite { dir } => Some(dir.clone()),
            DatabaseConfig::Postgres { .. } => None,
        }
    }

    /// A connection of one's own to a PostgreSQL store.
    pub async fn pg_connection(&self) -> PgConnection {
        let Place::Database { name } = &self.place else { panic!("this store is no PostgreSQL database") };
        PgConnection::connect(&database_url(name)).await.unwrap()
    }

    /// Returns once somebody waits for a lock in this PostgreSQL database.
    pub async fn until_somebody_waits_for_a_lock(&self) {
        let mut conn = self.pg_connection().await;
        let waiting =
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut conn).await.unwrap() == 0 {}
    }

    /// Runs a statement past the repositories, as damage or another version would, on the control data.
    pub async fn tamper(&self, sql: &str) {
        self.tamper_with("main", sql).await;
    }

    /// As [`TestStore::tamper`], on the execution log.
    pub async fn tamper_with_log(&self, sql: &str) {
        self.tamper_with("logs", sql).await;
    }

    /// As [`TestStore::tamper`], on the apps' data.
    pub async fn tamper_with_data(&self, sql: &str) {
        self.tamper_with("data", sql).await;
    }

    /// Rows of a table of the apps' data.
    pub async fn count_of_data(&self, table: &str) -> i64 {
        let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
        match &self.place {
            Place::Directory(dir) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("data/data.db"));
                let mut conn = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
                sqlx::query_scalar(count).fetch_one(&mut conn).await.unwrap()
            }
            Place::Database { .. } => {
                sqlx::query_scalar(count).fetch_one(&mut self.pg_connection().await).await.unwrap()
            }
        }
    }

    /// The tables, of all data, that tell apps apart, each with how many rows it has of one.
    pub async fn rows_of_app(&self, app: Uuid) -> BTreeMap<String, i64> {
        let mut found = BTreeMap::new();
        macro_rules! count {
            ($conn:expr, $tables:expr) => {
                let mut conn = $conn;
                for table in sqlx::query_scalar::<_, String>($tables).fetch_all(&mut conn).await.unwrap() {
                    let rows = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table} WHERE app_id = $1"));
                    let rows = sqlx::query_scalar(rows).bind(app).fetch_one(&mut conn).await.unwrap();
                    found.insert(table, rows);
                }
            };
        }
        match &self.place {
            Place::Directory(dir) => {
                let tables = "SELECT m.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c \
                    WHERE m.type = 'table' AND c.name = 'app_id'";
                for file in ["main", "data", "logs"] {
                    let file = dir.path().join(format!("data/{file}.db"));
                    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
                    count!(sqlx::SqliteConnection::connect_with(&options).await.unwrap(), tables);
                }
            }
            Place::Database { .. } => {
                let tables = "SELECT table_name::text FROM information_schema.columns \
                    WHERE column_name = 'app_id' AND table_schema = 'public'";
                count!(self.pg_connection().await, tables);
            }
        }
        found
    }

    async fn tamper_with(&self, file: &str, sql: &str) {
        match &self.place {
            Place::Directory(dir) => tamper_with_file(&dir.path().join(format!("data/{file}.db")), sql).await,
            Place::Database { name } => {
                let mut conn = PgConnection::connect(&database_url(name)).await.unwrap();
                execute(&mut conn, sql.to_owned()).await;
            }
        }
    }
}

/// Runs a statement on a SQLite file.
pub async fn tamper_with_file(path: &Path, sql: &str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).foreign_keys(false);
    let mut conn = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
    conn.close().await.unwrap();
}

impl Drop for TestStore {
    fn drop(&mut self) {
        if let Place::Database { name } = &self.place {
            let drop_it = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            // Dropping is not async, and this runtime may be ending.
            let thread = std::thread::spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let mut admin = PgConnection::connect(&admin_url()).await.unwrap();
                    execute(&mut admin, drop_it).await;
                });
            });
            thread.join().ok();
        }
    }
}

/// The migrated database that tests are cloned from: one for each schema, made by whoever comes first.
async fn template(admin: &mut PgConnection) -> String {
    let mut hasher = DefaultHasher::new();
    HISTORY.iter().for_each(|step| render(step.text, Target::Postgres).hash(&mut hasher));
    let name = format!("picloud_template_{:016x}", hasher.finish());
    let lock = "SELECT pg_advisory_lock(7205159403792794)";
    admin.execute(lock).await.unwrap();
    let found = sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1").bind(&name);
    if found.fetch_optional(&mut *admin).await.unwrap().is_none() {
        let building = format!("{name}_building");
        execute(admin, format!("DROP DATABASE IF EXISTS {building} WITH (FORCE)")).await;
        execute(admin, format!("CREATE DATABASE {building}")).await;
        let url = database_url(&building).parse().unwrap();
        Store::open(&DatabaseConfig::Postgres { url }).await.unwrap().close().await;
        execute(admin, format!("ALTER DATABASE {building} RENAME TO {name}")).await;
    }
    admin.execute("SELECT pg_advisory_unlock(7205159403792794)").await.unwrap();
    name
}

/// The address of the cluster's own database.
#[expect(clippy::disallowed_methods, reason = "tests have no config.rs")]
pub fn admin_url() -> String {
    std::env::var("TEST_PG_URL").expect(
        "these tests need PostgreSQL: run them by `.ci/with-postgres cargo nextest run`, or name the address of a \
         cluster in TEST_PG_URL (postgres://user:password@127.0.0.1:5432/postgres)",
    )
}

fn database_url(name: &str) -> String {
    let admin = admin_url();
    let (address, options) = admin.split_once('?').map_or((admin.as_str(), None), |(a, o)| (a, Some(o)));
    let (server, _) = address.rsplit_once('/').expect("TEST_PG_URL ends in /database");
    options.map_or(format!("{server}/{name}"), |options| format!("{server}/{name}?{options}"))
}

async fn execute(conn: &mut PgConnection, sql: String) {
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
}
