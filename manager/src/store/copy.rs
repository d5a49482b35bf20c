//! Copying a whole store, table by table: out of either database or a file into either database or a file, by one walk over
//! one list of tables.
//!
//! Values travel as SQLite keeps them (an id is 16 bytes, a truth is 0 or 1, JSON is its text); PostgreSQL's end turns them into
//! its own types. It must not know what the tables are for.

mod copy_text;
mod postgres;
mod sqlite;
mod store_source;
mod tally;

use std::path::PathBuf;

use crate::repo::RepoError;
use crate::repo::tables::{TABLES, Table, TableFile};
use crate::store::StoreError;
pub(crate) use postgres::{PostgresSource, PostgresTarget};
pub(crate) use sqlite::{SqliteSource, SqliteTarget, holds_data};
pub(crate) use store_source::{StoreSource, key_fingerprint};
pub(crate) use tally::Tally;

/// Rows that travel together, at most.
const BATCH_ROWS: usize = 500;

/// And their bytes, but for the last of them.
const BATCH_BYTES: usize = 1024 * 1024;

/// Bytes of one value. No column of the product comes near it.
pub(crate) const MOST_VALUE_BYTES: usize = 256 * 1024 * 1024;

/// Why a store was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The database at either end failed.
    #[error("the table {table}: {source}")]
    Table {
        /// The table.
        table: &'static str,
        /// How.
        source: RepoError,
    },
    /// The database at either end failed otherwise.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is read is not what was written.
    #[error("{0}")]
    Damaged(String),
    /// What arrived is not what was sent.
    #[error("the table {0} is not the same in the copy as it was read")]
    Differs(&'static str),
    /// Whoever asked for it wants it no more.
    #[error("it was given up")]
    GivenUp,
}

impl From<RepoError> for CopyError {
    fn from(error: RepoError) -> Self {
        Self::Store(error.into())
    }
}

impl CopyError {
    /// What makes an error of that table.
    fn of<E: Into<RepoError>>(table: &Table) -> impl Fn(E) -> Self {
        let table = table.name;
        move |source| Self::Table { table, source: source.into() }
    }
}

/// A value, as SQLite keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    fn len(&self) -> usize {
        match self {
            Self::Null | Self::Int(_) => 9,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// A row, its values in the order of the columns that were asked for.
pub(crate) type Row = Vec<Value>;

/// Rows that are gathered until there are enough of them to send on.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    rows: Vec<Row>,
    bytes: usize,
}

impl Batch {
    pub(crate) fn push(&mut self, row: Row) {
        self.bytes += row.iter().map(Value::len).sum::<usize>();
        self.rows.push(row);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes what was gathered.
    pub(crate) fn take(&mut self) -> Vec<Row> {
        self.bytes = 0;
        std::mem::take(&mut self.rows)
    }
}

/// Where rows come from, all of one moment.
pub(crate) trait Source {
    /// The table's columns; `None` where there is no such table, as in an older schema.
    async fn columns(&mut self, table: &Table) -> Result<Option<Vec<String>>, CopyError>;

    /// How many rows it has.
    async fn count(&mut self, table: &Table) -> Result<u64, CopyError>;

    /// All its rows, some at a time.
    async fn read(
        &mut self,
        table: &Table,
        columns: &[String],
        sink: impl AsyncFnMut(Vec<Row>) -> Result<(), CopyError>,
    ) -> Result<(), CopyError>;
}

/// Where rows go to.
pub(crate) trait Target {
    /// A table follows, which has no rows yet.
    async fn begin(&mut self, table: &Table, columns: &[String]) -> Result<(), CopyError>;

    /// Rows of that table.
    async fn write(&mut self, table: &Table, columns: &[String], rows: &[Row]) -> Result<(), CopyError>;

    /// The table has no more.
    async fn end(&mut self, table: &Table, columns: &[String], tally: &Tally) -> Result<(), CopyError>;
}

/// What is done with tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// They are copied.
    Copying,
    /// They are read again.
    Verifying,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// What is done with the tables.
    pub stage: Stage,
    /// The table that is at it.
    pub table: &'static str,
    /// Rows of all tables that this is done with.
    pub rows: u64,
    /// Rows of all tables.
    pub of: u64,
}

/// Who is told how far a copy is, and says whether it is to go on.
pub trait Watch {
    /// That it has come so far; whether to go on.
    fn goes_on(&mut self, progress: Progress) -> bool;
}

impl<F: FnMut(Progress) -> bool> Watch for F {
    fn goes_on(&mut self, progress: Progress) -> bool {
        self(progress)
    }
}

/// The tables to copy.
pub(crate) fn tables(with_logs: bool) -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(move |table| with_logs || table.file != TableFile::Logs)
}

/// Copies the tables; what was read of each.
pub(crate) async fn copy(
    source: &mut impl Source,
    target: &mut impl Target,
    with_logs: bool,
    watch: &mut dyn Watch,
) -> Result<Vec<(&'static Table, Tally)>, CopyError> {
    let mut present = Vec::new();
    let mut of = 0;
    for table in tables(with_logs) {
        if let Some(columns) = source.columns(table).await? {
            of += source.count(table).await?;
            present.push((table, columns));
        }
    }
    let (mut copied, mut rows) = (Vec::new(), 0);
    for (table, columns) in present {
        target.begin(table, &columns).await?;
        let mut tally = Tally::new(table, &columns);
        let sink = async |batch: Vec<Row>| {
            rows += batch.len() as u64;
            tally.add(&batch);
            target.write(table, &columns, &batch).await?;
            let goes_on = watch.goes_on(Progress { stage: Stage::Copying, table: table.name, rows: rows.min(of), of });
            if goes_on { Ok(()) } else { Err(CopyError::GivenUp) }
        };
        source.read(table, &columns, sink).await?;
        target.end(table, &columns, &tally).await?;
        copied.push((table, tally));
    }
    Ok(copied)
}

/// That a store holds exactly what was copied into it.
pub(crate) async fn verify(
    store: &mut impl Source,
    copied: &[(&'static Table, Tally)],
    watch: &mut dyn Watch,
) -> Result<(), CopyError> {
    let of = copied.iter().map(|(_, tally)| tally.rows()).sum();
    let mut rows = 0;
    for (table, expected) in copied {
        let mut tally = expected.emptied();
        let columns = expected.columns().to_vec();
        let sink = async |batch: Vec<Row>| {
            rows += batch.len() as u64;
            tally.add(&batch);
            let goes_on =
                watch.goes_on(Progress { stage: Stage::Verifying, table: table.name, rows: rows.min(of), of });
            if goes_on { Ok(()) } else { Err(CopyError::GivenUp) }
        };
        store.read(table, &columns, sink).await?;
        if tally != *expected {
            return Err(CopyError::Differs(table.name));
        }
    }
    Ok(())
}

/// Column names as both databases quote them. They come from a database's own catalogue, or were held against one.
fn quoted(columns: &[String]) -> String {
    let quoted = columns.iter().map(|column| format!("\"{}\"", column.replace('"', "\"\"")));
    quoted.collect::<Vec<_>>().join(", ")
}

/// That a table of the target has all these columns.
fn require_columns(table: &Table, columns: &[String], own: &[String]) -> Result<(), CopyError> {
    match columns.iter().find(|column| !own.contains(column)) {
        Some(column) => {
            let name = table.name;
            Err(CopyError::Damaged(format!("the table {name} has no column {column:?}")))
        }
        None => Ok(()),
    }
}
