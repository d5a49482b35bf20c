//! PostgreSQL's end of a copy: one transaction, which sees one moment, or is all of what is written.

use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::migrate::{Migrate, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, PgPool, Postgres, Transaction};
use tokio::time::{Instant, sleep};

use crate::repo::RepoError;
use crate::repo::tables::{TABLES, Table};
use crate::store::copy::copy_text::{Kind, decode, encode};
use crate::store::copy::{Batch, CopyError, Row, Source, Tally, Target, quoted, require_columns};
use crate::store::migration::{self, HISTORY, newest_version, repo_error};
use crate::store::{DatabaseUrl, StoreError, postgres};

/// Nodes call themselves so, and commands that work beside them.
const NODE: &str = "picloud";

/// How long the connections of a node that has ended may be there. Over a long line it takes a round trip.
const CLOSING: Duration = Duration::from_secs(2);

/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(50);

/// What a copy calls itself, so that none takes itself for a node.
const COPY: &str = "picloud copy";

/// The database in a transaction, which sees one moment.
pub(crate) struct PostgresSource {
    pool: PgPool,
    tx: Transaction<'static, Postgres>,
}

impl PostgresSource {
    /// Takes the moment. Nothing is migrated.
    ///
    /// # Errors
    /// There is no store, it is a newer version's, or it does not answer.
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<(Self, i64), CopyError> {
        let mut source = Self::begin(url, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let known = newest_version(HISTORY);
        match source.schema().await? {
            None => Err(StoreError::NoInstance(url.to_string()).into()),
            Some(found) if found > known => Err(StoreError::NewerSchema { found, known }.into()),
            Some(schema) => Ok((source, schema)),
        }
    }

    /// Whether a node works on it now.
    pub(crate) async fn is_served(&mut self) -> Result<bool, CopyError> {
        // A transaction goes on to see the connections that it saw first.
        run(&mut self.tx, "SELECT pg_stat_clear_snapshot()").await?;
        let served = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1)";
        Ok(sqlx::query_scalar(served).bind(NODE).fetch_one(&mut *self.tx).await.map_err(RepoError::from)?)
    }

    /// Whether a node works on it, and still does in a moment: of one that has just ended the server has connections until it sees that.
    pub(crate) async fn stays_served(&mut self) -> Result<bool, CopyError> {
        let until = Instant::now() + CLOSING;
        while self.is_served().await? {
            if Instant::now() >= until {
                return Ok(true);
            }
            sleep(LOOK).await;
        }
        Ok(false)
    }

    async fn begin(url: &DatabaseUrl, begin: &'static str) -> Result<Self, CopyError> {
        let options: PgConnectOptions = url.connect_options().clone();
        let options = options.application_name(COPY).disable_statement_logging();
        let pool = postgres::pool_options().max_connections(1).connect_lazy_with(options);
        let mut tx = pool.begin_with(begin).await.map_err(RepoError::from)?;
        // The other end may take its time.
        run(&mut tx, "SET idle_in_transaction_session_timeout = 0").await?;
        Ok(Self { pool, tx })
    }

    async fn schema(&mut self) -> Result<Option<i64>, CopyError> {
        let table = &Migrator::DEFAULT.table_name;
        if !self.has_table(table).await? {
            return Ok(None);
        }
        let newest = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(&mut *self.tx).await;
        Ok(newest.map_err(RepoError::from)?)
    }

    async fn has_table(&mut self, name: &str) -> Result<bool, CopyError> {
        let there = "SELECT to_regclass(quote_ident(current_schema()) || '.' || quote_ident($1)) IS NOT NULL";
        Ok(sqlx::query_scalar(there).bind(name).fetch_one(&mut *self.tx).await.map_err(RepoError::from)?)
    }

    async fn kinds(&mut self, table: &Table) -> Result<Vec<(String, Kind)>, CopyError> {
        let list = "SELECT column_name::text, data_type::text FROM information_schema.columns \
            WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position";
        let query = sqlx::query_as::<_, (String, String)>(list).bind(table.name);
        let found = query.fetch_all(&mut *self.tx).await.map_err(CopyError::of(table))?;
        let kind = |(column, kind): (String, String)| {
            let known = Kind::named(&kind);
            let known = known.map(|known| (column.clone(), known));
            let name = table.name;
            known
                .ok_or_else(|| CopyError::Damaged(format!("the column {column} of the table {name} is of type {kind}")))
        };
        found.into_iter().map(kind).collect()
    }

    /// The types of those columns.
    async fn kinds_of(&mut self, table: &Table, columns: &[String]) -> Result<Vec<Kind>, CopyError> {
        let own = self.kinds(table).await?;
        let names: Vec<String> = own.iter().map(|(name, _)| name.clone()).collect();
        require_columns(table, columns, &names)?;
        let kind = |column: &String| own.iter().find(|(name, _)| name == column).map(|(_, kind)| *kind);
        Ok(columns.iter().filter_map(kind).collect())
    }
}

async fn run(conn: &mut PgConnection, statement: &'static str) -> Result<(), RepoError> {
    sqlx::raw_sql(statement).execute(conn).await?;
    Ok(())
}

impl Source for PostgresSource {
    async fn columns(&mut self, table: &Table) -> Result<Option<Vec<String>>, CopyError> {
        let columns: Vec<String> = self.kinds(table).await?.into_iter().map(|(name, _)| name).collect();
        Ok((!columns.is_empty()).then_some(columns))
    }

    async fn count(&mut self, table: &Table) -> Result<u64, CopyError> {
        let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM {}", table.name));
        let rows: i64 = sqlx::query_scalar(count).fetch_one(&mut *self.tx).await.map_err(CopyError::of(table))?;
        Ok(rows.unsigned_abs())
    }

    async fn read(
        &mut self,
        table: &Table,
        columns: &[String],
        mut sink: impl AsyncFnMut(Vec<Row>) -> Result<(), CopyError>,
    ) -> Result<(), CopyError> {
        let kinds = self.kinds_of(table, columns).await?;
        let of_table = CopyError::of::<sqlx::Error>(table);
        let copy = format!("COPY {} ({}) TO STDOUT", table.name, quoted(columns));
        let mut stream = self.tx.copy_out_raw(&copy).await.map_err(&of_table)?;
        let (mut batch, mut unread) = (Batch::default(), Vec::new());
        while let Some(chunk) = stream.try_next().await.map_err(&of_table)? {
            unread.extend_from_slice(&chunk);
            let mut begin = 0;
            while let Some(length) = unread[begin..].iter().position(|byte| *byte == b'\n') {
                let row = decode(&unread[begin..begin + length], &kinds);
                begin += length + 1;
                batch.push(row.ok_or_else(|| CopyError::Damaged(format!("a row of {} cannot be read", table.name)))?);
                if batch.is_full() {
                    sink(batch.take()).await?;
                }
            }
            unread.drain(..begin);
        }
        if !batch.is_empty() {
            sink(batch.take()).await?;
        }
        Ok(())
    }
}

/// A new store in the place of what is there, which counts once it is committed.
pub(crate) struct PostgresTarget {
    /// What was written so far, for who reads it back.
    pub written: PostgresSource,
}

/// What there is where a store is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whether a node works on it now.
    pub is_served: bool,
    /// Whether anything but an empty schema is there.
    pub has_data: bool,
}

impl PostgresTarget {
    /// Begins, and tells what is there. Nodes that start meanwhile wait.
    ///
    /// # Errors
    /// What is there is of a newer version, or does not answer.
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<(Self, Found), CopyError> {
        let mut written = PostgresSource::begin(url, "BEGIN").await?;
        written.tx.lock().await.map_err(repo_error)?;
        run(&mut written.tx, "SET LOCAL lock_timeout = '10s'").await?;
        let known = newest_version(HISTORY);
        let schema = written.schema().await?;
        if let Some(found) = schema.filter(|found| *found > known) {
            return Err(StoreError::NewerSchema { found, known }.into());
        }
        let is_served = written.stays_served().await?;
        let mut has_data = false;
        for table in ["users", "apps", "instance"] {
            if written.has_table(table).await? {
                let any = AssertSqlSafe(format!("SELECT EXISTS (SELECT 1 FROM {table})"));
                let found: bool = sqlx::query_scalar(any).fetch_one(&mut *written.tx).await.map_err(RepoError::from)?;
                has_data |= found;
            }
        }
        Ok((Self { written }, Found { is_served, has_data }))
    }

    /// Removes what is there, and makes an empty store of that schema.
    pub(crate) async fn make(&mut self, schema: i64) -> Result<(), CopyError> {
        let names = TABLES.iter().map(|table| table.name).chain(["_sqlx_migrations"]);
        let drop = format!("DROP TABLE IF EXISTS {} CASCADE", names.collect::<Vec<_>>().join(", "));
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *self.written.tx).await.map_err(RepoError::from)?;
        let until = HISTORY.iter().position(|step| step.version > schema).unwrap_or(HISTORY.len());
        Ok(migration::apply(&mut *self.written.tx, &HISTORY[..until], migration::Target::Postgres).await?)
    }

    /// Has it all count.
    pub(crate) async fn commit(self) -> Result<(), CopyError> {
        self.written.tx.commit().await.map_err(RepoError::from)?;
        self.written.pool.close().await;
        Ok(())
    }
}

impl Target for PostgresTarget {
    async fn begin(&mut self, table: &Table, columns: &[String]) -> Result<(), CopyError> {
        self.written.kinds_of(table, columns).await?;
        // A schema may begin with rows of its own.
        let delete = AssertSqlSafe(format!("DELETE FROM {}", table.name));
        sqlx::query(delete).execute(&mut *self.written.tx).await.map_err(CopyError::of(table))?;
        Ok(())
    }

    async fn write(&mut self, table: &Table, columns: &[String], rows: &[Row]) -> Result<(), CopyError> {
        let kinds = self.written.kinds_of(table, columns).await?;
        let of_table = CopyError::of::<sqlx::Error>(table);
        let mut lines = String::new();
        for row in rows {
            let encoded = encode(row, &kinds, &mut lines);
            encoded.ok_or_else(|| CopyError::Damaged(format!("a row of {} is of other types", table.name)))?;
        }
        let copy = format!("COPY {} ({}) FROM STDIN", table.name, quoted(columns));
        let mut copying = self.written.tx.copy_in_raw(&copy).await.map_err(&of_table)?;
        copying.send(lines.as_bytes()).await.map_err(&of_table)?;
        copying.finish().await.map_err(&of_table)?;
        Ok(())
    }

    async fn end(&mut self, table: &Table, _columns: &[String], _tally: &Tally) -> Result<(), CopyError> {
        let list = "SELECT column_name::text FROM information_schema.columns \
            WHERE table_schema = current_schema() AND table_name = $1 AND is_identity = 'YES'";
        let query = sqlx::query_scalar::<_, String>(list).bind(table.name);
        for column in query.fetch_all(&mut *self.written.tx).await.map_err(CopyError::of(table))? {
            // The next row comes after all of these.
            let column = column.replace('"', "\"\"");
            let name = table.name;
            let go_on = format!(
                "SELECT setval(pg_get_serial_sequence('{name}', '{column}'), COALESCE(MAX(\"{column}\"), 0) + 1, false) FROM {name}"
            );
            sqlx::query(AssertSqlSafe(go_on)).execute(&mut *self.written.tx).await.map_err(CopyError::of(table))?;
        }
        Ok(())
    }
}
