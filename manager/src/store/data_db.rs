//! One text for the apps' data in both databases, where a microsecond more is not waited for: a statement with its parameters,
//! on a connection of SQLite's own or on one to PostgreSQL. SQLite answers before the future is polled a second time, so that
//! the writer of the file, which is a thread, can run what is written for both.

use std::future::{Future, ready};

use futures_util::FutureExt;
use rusqlite::types::ValueRef;
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{Column, Row, TypeInfo};
use uuid::Uuid;

use crate::repo::RepoError;
use crate::store::Conn;
use crate::store::conn::{Dialects, on_postgres};
use crate::store::data_file::DataConnection;

/// A parameter of a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Param<'p> {
    Uuid(Option<Uuid>),
    Int(Option<i64>),
    Text(Option<&'p str>),
    Bytes(&'p [u8]),
    /// For `SELECT unhex(value) FROM json_each($1)` on SQLite, and `ANY($1)` on PostgreSQL.
    Uuids(&'p [Uuid]),
}

macro_rules! params_from {
    ($($Type:ty => |$value:ident| $param:expr;)+) => {$(
        impl<'p> From<$Type> for Param<'p> {
            fn from($value: $Type) -> Self {
                $param
            }
        }
    )+};
}
params_from! {
    Uuid => |value| Self::Uuid(Some(value));
    Option<Uuid> => |value| Self::Uuid(value);
    i64 => |value| Self::Int(Some(value));
    u32 => |value| Self::Int(Some(value.into()));
    Option<i64> => |value| Self::Int(value);
    &'p str => |value| Self::Text(Some(value));
    Option<&'p str> => |value| Self::Text(value);
    &'p [Uuid] => |value| Self::Uuids(value);
    &'p [u8] => |value| Self::Bytes(value);
}

/// The parameters of a statement, in the order of their numbers.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::data_db::Param::from($value)),*]
    };
}
pub(crate) use params;

/// A value of a row.
#[derive(Debug)]
enum Value {
    Null,
    Uuid(Uuid),
    Int(i64),
    Text(String),
    /// What no column holds, unless it is damaged.
    Unreadable,
}

/// A row, its values by their places.
#[derive(Debug)]
pub(crate) struct DataRow(Vec<Value>);

/// What a column holds.
pub(crate) trait FromValue: Sized {
    fn from_value(value: &mut DataValue) -> Option<Self>;
}

/// A value that is taken out of its row.
#[derive(Debug)]
pub(crate) struct DataValue(Value);

impl FromValue for Uuid {
    fn from_value(value: &mut DataValue) -> Option<Self> {
        if let Value::Uuid(id) = value.0 { Some(id) } else { None }
    }
}

impl FromValue for i64 {
    fn from_value(value: &mut DataValue) -> Option<Self> {
        if let Value::Int(number) = value.0 { Some(number) } else { None }
    }
}

impl FromValue for String {
    fn from_value(value: &mut DataValue) -> Option<Self> {
        if let Value::Text(text) = &mut value.0 { Some(std::mem::take(text)) } else { None }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &mut DataValue) -> Option<Self> {
        if matches!(value.0, Value::Null) { Some(None) } else { T::from_value(value).map(Some) }
    }
}

impl DataRow {
    /// Takes the value of the column at that place; `name` is for who reads the error.
    ///
    /// # Errors
    /// [`RepoError::Corrupt`] where it holds something else.
    pub(crate) fn take<T: FromValue>(&mut self, place: usize, name: &'static str) -> Result<T, RepoError> {
        let value = self.0.get_mut(place).map(|value| DataValue(std::mem::replace(value, Value::Null)));
        let taken = value.and_then(|mut value| T::from_value(&mut value));
        taken.ok_or_else(|| RepoError::Corrupt { column: name.to_owned(), source: "it is of another type".into() })
    }
}

/// A connection to the apps' data, within a transaction where it writes.
pub(crate) trait DataDb {
    /// Whether it is SQLite's file, which one process serves.
    const IS_FILE: bool;

    /// All rows that a statement gives.
    fn fetch(
        &mut self,
        statement: &'static Dialects,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Vec<DataRow>, RepoError>>;

    /// Runs a statement; how many rows it changed.
    fn execute(
        &mut self,
        statement: &'static Dialects,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<u64, RepoError>>;
}

/// SQLite's file.
pub(crate) struct FileDb<'c>(pub &'c DataConnection);

/// PostgreSQL.
pub(crate) struct PostgresDb<'c>(pub &'c mut Conn);

/// What comes of work on SQLite's file, which waits for nothing.
pub(crate) fn at_once<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("SQLite answers on the thread that asks")
}

impl FileDb<'_> {
    fn fetch_now(&self, statement: &Dialects, params: &[Param<'_>]) -> Result<Vec<DataRow>, RepoError> {
        let mut statement = self.0.prepare_cached(statement.sqlite)?;
        bind_to_sqlite(&mut statement, params)?;
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let values = (0..columns).map(|place| row.get_ref(place).map(sqlite_value)).collect::<Result<_, _>>()?;
            found.push(DataRow(values));
        }
        Ok(found)
    }

    fn execute_now(&self, statement: &Dialects, params: &[Param<'_>]) -> Result<u64, RepoError> {
        let mut statement = self.0.prepare_cached(statement.sqlite)?;
        bind_to_sqlite(&mut statement, params)?;
        Ok(statement.raw_execute()? as u64)
    }
}

impl DataDb for FileDb<'_> {
    const IS_FILE: bool = true;

    fn fetch(
        &mut self,
        statement: &'static Dialects,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Vec<DataRow>, RepoError>> {
        ready(self.fetch_now(statement, params))
    }

    fn execute(
        &mut self,
        statement: &'static Dialects,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<u64, RepoError>> {
        ready(self.execute_now(statement, params))
    }
}

/// The number of a parameter is its name to SQLite, whose own numbers go by where it stands first.
fn bind_to_sqlite(statement: &mut rusqlite::Statement<'_>, params: &[Param<'_>]) -> Result<(), RepoError> {
    for (number, param) in (1..).zip(params) {
        let Some(place) = statement.parameter_index(&format!("${number}"))? else { continue };
        match param {
            Param::Uuid(id) => statement.raw_bind_parameter(place, id.as_ref().map(|id| id.as_bytes().as_slice()))?,
            Param::Int(number) => statement.raw_bind_parameter(place, number)?,
            Param::Text(text) => statement.raw_bind_parameter(place, text)?,
            Param::Bytes(bytes) => statement.raw_bind_parameter(place, bytes)?,
            Param::Uuids(ids) => {
                let ids: Vec<String> = ids.iter().map(|id| format!("\"{}\"", id.simple())).collect();
                statement.raw_bind_parameter(place, format!("[{}]", ids.join(",")))?;
            }
        }
    }
    Ok(())
}

fn sqlite_value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Blob(bytes) => Uuid::from_slice(bytes).map_or(Value::Unreadable, Value::Uuid),
        ValueRef::Text(text) => {
            std::str::from_utf8(text).map_or(Value::Unreadable, |text| Value::Text(text.to_owned()))
        }
        ValueRef::Real(_) => Value::Unreadable,
    }
}

impl DataDb for PostgresDb<'_> {
    const IS_FILE: bool = false;

    async fn fetch(&mut self, statement: &'static Dialects, params: &[Param<'_>]) -> Result<Vec<DataRow>, RepoError> {
        on_postgres!(self.0, db => {
            let rows = bind_to_postgres(statement, params).fetch_all(db).await?;
            Ok(rows.iter().map(postgres_row).collect::<Result<_, _>>()?)
        })
    }

    async fn execute(&mut self, statement: &'static Dialects, params: &[Param<'_>]) -> Result<u64, RepoError> {
        on_postgres!(self.0, db => {
            Ok(bind_to_postgres(statement, params).execute(db).await?.rows_affected())
        })
    }
}

fn bind_to_postgres<'q>(statement: &'static Dialects, params: &[Param<'q>]) -> Query<'q, Postgres, PgArguments> {
    let mut query = sqlx::query(statement.postgres);
    for param in params {
        query = match *param {
            Param::Uuid(id) => query.bind(id),
            Param::Int(number) => query.bind(number),
            Param::Text(text) => query.bind(text),
            Param::Bytes(bytes) => query.bind(bytes),
            Param::Uuids(ids) => query.bind(ids),
        };
    }
    query
}

fn postgres_row(row: &PgRow) -> Result<DataRow, sqlx::Error> {
    let value = |column: &sqlx::postgres::PgColumn| {
        let place = column.ordinal();
        Ok(match column.type_info().name() {
            "UUID" => row.try_get::<Option<Uuid>, _>(place)?.map(Value::Uuid),
            "TEXT" => row.try_get::<Option<String>, _>(place)?.map(Value::Text),
            _ => row.try_get::<Option<i64>, _>(place)?.map(Value::Int),
        }
        .unwrap_or(Value::Null))
    };
    Ok(DataRow(row.columns().iter().map(value).collect::<Result<_, sqlx::Error>>()?))
}
