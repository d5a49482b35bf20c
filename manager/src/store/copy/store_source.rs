//! A store of either database as where rows come from.

use crate::repo::tables::{TABLES, Table};
use crate::store::DatabaseConfig;
use crate::store::copy::{CopyError, PostgresSource, Row, Source, SqliteSource, Value};

/// A store at one moment, of whatever schema that this program knows.
pub(crate) enum StoreSource {
    Sqlite(Box<SqliteSource>),
    Postgres(PostgresSource, i64),
}

impl StoreSource {
    /// Takes the moment; nothing is changed.
    ///
    /// # Errors
    /// There is no store, or it is a newer version's.
    pub(crate) async fn open(database: &DatabaseConfig) -> Result<Self, CopyError> {
        match database {
            DatabaseConfig::Sqlite { dir } => Ok(Self::Sqlite(Box::new(SqliteSource::open(dir)?))),
            DatabaseConfig::Postgres { url } => {
                let (source, schema) = PostgresSource::open(url).await?;
                Ok(Self::Postgres(source, schema))
            }
        }
    }

    /// Whether a node works on it now, as far as the database tells: SQLite's files have a lock for that.
    pub(crate) async fn is_served(&mut self) -> Result<bool, CopyError> {
        match self {
            Self::Sqlite(_) => Ok(false),
            Self::Postgres(source, _) => source.stays_served().await,
        }
    }

    /// The number of its newest migration.
    pub(crate) fn schema(&self) -> i64 {
        match self {
            Self::Sqlite(source) => source.schema(),
            Self::Postgres(_, schema) => *schema,
        }
    }

    /// What kind it is, as backups call it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(..) => "postgres",
        }
    }
}

impl Source for StoreSource {
    async fn columns(&mut self, table: &Table) -> Result<Option<Vec<String>>, CopyError> {
        match self {
            Self::Sqlite(source) => source.columns(table).await,
            Self::Postgres(source, _) => source.columns(table).await,
        }
    }

    async fn count(&mut self, table: &Table) -> Result<u64, CopyError> {
        match self {
            Self::Sqlite(source) => source.count(table).await,
            Self::Postgres(source, _) => source.count(table).await,
        }
    }

    async fn read(
        &mut self,
        table: &Table,
        columns: &[String],
        sink: impl AsyncFnMut(Vec<Row>) -> Result<(), CopyError>,
    ) -> Result<(), CopyError> {
        match self {
            Self::Sqlite(source) => source.read(table, columns, sink).await,
            Self::Postgres(source, _) => source.read(table, columns, sink).await,
        }
    }
}

/// The fingerprint of the secret key that a store was made with; `None` where it has none yet.
pub(crate) async fn key_fingerprint(store: &mut impl Source) -> Result<Option<String>, CopyError> {
    let Some(instance) = TABLES.iter().find(|table| table.name == "instance") else { return Ok(None) };
    let mut found = None;
    let columns = ["key".to_owned(), "value".to_owned()];
    let sink = async |rows: Vec<Row>| {
        for row in rows {
            if let [Value::Text(key), Value::Text(value)] = &row[..]
                && key == "secret_key"
            {
                found = serde_json::from_str(value).ok();
            }
        }
        Ok(())
    };
    store.read(instance, &columns, sink).await?;
    Ok(found)
}
