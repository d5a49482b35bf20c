//! Reading columns: each type of the vocabulary says as what it is stored, and reads itself from that.

use std::net::IpAddr;
use std::str::FromStr;

use picloud_shared::app::HstsMaxAge;
use picloud_shared::certificate::{
    AttemptOutcome, CertificateFacts, CertificateSource, CertificateState, ChallengeKind, Renewal,
};
use picloud_shared::clock::Timestamp;
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::env::EnvValue;
use picloud_shared::execution::{ExecutionFailure, LogLine, Outcome, RedactedHeaders};
use picloud_shared::id::{
    ApiKeyId, AppId, AuditId, CertificateAttemptId, CertificateId, DomainId, ExecutionId, LeaseId, NodeId, RouteId,
    ScriptId, SessionId, TriggerId, UserId,
};
use picloud_shared::name::{AppName, AppSlug, Email, KeyName, ScriptName, SettingName, Username};
use picloud_shared::node::NodeRole;
use picloud_shared::path_pattern::ParamShape;
use picloud_shared::route::RouteMethod;
use picloud_shared::script::{ExecuteAccess, Sandbox, ScriptKind, ScriptSource};
use picloud_shared::trigger::MaxAttempts;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;
use sqlx::{Decode, FromRow, Postgres, Row, Sqlite, Type};
use uuid::Uuid;

use crate::repo::error::Cause;
use crate::repo::idempotency::Demand;
use crate::repo::role::{AppRole, InstanceRole};
use crate::repo::scope::Scope;
use crate::repo::settings::Settings;

/// A type that is stored in one column.
pub(super) trait Column: Sized {
    /// As what it is stored.
    type Stored: Stored;

    /// The value that a stored one stands for.
    fn read(stored: Self::Stored) -> Result<Self, Cause>;
}

/// A type that both drivers read.
pub(super) trait Stored:
    for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}

impl<T> Stored for T where T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres> {}

/// A row of either database.
pub(super) trait StoreRow: Row {
    /// The value of a column.
    fn read<T: Column>(&self, name: &'static str) -> Result<T, sqlx::Error>;
}

impl StoreRow for SqliteRow {
    fn read<T: Column>(&self, name: &'static str) -> Result<T, sqlx::Error> {
        value(self.try_get(name)?, name)
    }
}

impl StoreRow for PgRow {
    fn read<T: Column>(&self, name: &'static str) -> Result<T, sqlx::Error> {
        value(self.try_get(name)?, name)
    }
}

fn value<T: Column>(stored: T::Stored, name: &'static str) -> Result<T, sqlx::Error> {
    T::read(stored).map_err(|source| sqlx::Error::ColumnDecode { index: name.to_owned(), source })
}

/// Reads each field of a struct from the column of its name.
macro_rules! from_row {
    ($Row:ident { $($field:ident),* $(,)? }) => {
        impl<'r, R: $crate::repo::column::StoreRow> sqlx::FromRow<'r, R> for $Row {
            fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
                Ok(Self { $($field: row.read(stringify!($field))?),* })
            }
        }
    };
}
pub(super) use from_row;

/// A row of a list. One that cannot be read must not hide the others.
pub type Listed<T> = Result<T, UnreadableRow>;

/// A row that cannot be read as what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the row {id} cannot be read: {detail}")]
pub struct UnreadableRow {
    /// The row's id, the nil one where even that cannot be read.
    pub id: Uuid,
    /// What is wrong with it.
    pub detail: String,
}

/// Reads a row for a list.
pub(super) struct Lenient<T>(pub Listed<T>);

impl<'r, R: StoreRow, T: FromRow<'r, R>> FromRow<'r, R> for Lenient<T> {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self(
            T::from_row(row)
                .map_err(|error| UnreadableRow { id: row.read("id").unwrap_or_default(), detail: error.to_string() }),
        ))
    }
}

/// A row of a list that goes by names, with the name as it is stored, by which the list goes on.
pub struct Named<T> {
    /// The name.
    pub name: String,
    /// The row.
    pub row: Listed<T>,
}

impl<'r, R: StoreRow, T: FromRow<'r, R>> FromRow<'r, R> for Named<T> {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let Lenient(read) = Lenient::from_row(row)?;
        Ok(Self { name: row.read("name")?, row: read })
    }
}

/// A list as it was read.
pub(super) fn listed<T>(rows: Vec<Lenient<T>>) -> Vec<Listed<T>> {
    rows.into_iter().map(|Lenient(row)| row).collect()
}

impl<T: Column> Column for Option<T> {
    type Stored = Option<T::Stored>;

    fn read(stored: Self::Stored) -> Result<Self, Cause> {
        stored.map(T::read).transpose()
    }
}

macro_rules! stored_as_is {
    ($($Type:ty),+) => {$(
        impl Column for $Type {
            type Stored = $Type;

            fn read(stored: $Type) -> Result<Self, Cause> {
                Ok(stored)
            }
        }
    )+};
}
stored_as_is!(bool, String, Uuid, Vec<u8>);

macro_rules! stored_as_uuid {
    ($($Id:ty),+) => {$(
        impl Column for $Id {
            type Stored = Uuid;

            fn read(stored: Uuid) -> Result<Self, Cause> {
                Ok(<$Id>::from_uuid(stored))
            }
        }
    )+};
}
stored_as_uuid!(
    ApiKeyId,
    AppId,
    AuditId,
    CertificateAttemptId,
    CertificateId,
    DomainId,
    ExecutionId,
    LeaseId,
    NodeId,
    RouteId,
    ScriptId,
    SessionId,
    TriggerId,
    UserId
);

macro_rules! stored_as_text {
    ($($Type:ty),+) => {$(
        impl Column for $Type {
            type Stored = String;

            fn read(stored: String) -> Result<Self, Cause> {
                Ok(<$Type>::from_str(&stored)?)
            }
        }
    )+};
}
stored_as_text!(
    AppName,
    AppRole,
    AppSlug,
    AttemptOutcome,
    CertificateSource,
    CertificateState,
    ChallengeKind,
    DomainPattern,
    Email,
    EnvValue,
    ExecuteAccess,
    InstanceRole,
    IpAddr,
    KeyName,
    NodeRole,
    Outcome,
    ParamShape,
    RouteMethod,
    ScriptKind,
    ScriptName,
    ScriptSource,
    SettingName,
    Username
);

macro_rules! stored_as_integer {
    ($($Type:ty),+) => {$(
        impl Column for $Type {
            type Stored = i64;

            fn read(stored: i64) -> Result<Self, Cause> {
                Ok(<$Type>::try_from(stored)?)
            }
        }
    )+};
}
stored_as_integer!(HstsMaxAge, MaxAttempts, i64, u16, u32, u64);

impl Column for Timestamp {
    type Stored = i64;

    fn read(stored: i64) -> Result<Self, Cause> {
        Ok(Self::from_millis(stored))
    }
}

macro_rules! stored_as_json {
    ($($Type:ty),+) => {$(
        impl Column for $Type {
            type Stored = Json<$Type>;

            fn read(stored: Json<$Type>) -> Result<Self, Cause> {
                Ok(stored.0)
            }
        }
    )+};
}
stored_as_json!(
    CertificateFacts,
    ExecutionFailure,
    RedactedHeaders,
    Renewal,
    Sandbox,
    Settings,
    Vec<Demand>,
    Vec<DomainPattern>,
    Vec<LogLine>,
    Vec<Scope>,
    Vec<ScriptName>,
    serde_json::Value
);

/// A row of one id.
pub(super) struct IdOf<T>(pub T);

impl<'r, R: StoreRow, T: Column> FromRow<'r, R> for IdOf<T> {
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        row.read("id").map(Self)
    }
}

/// Ids of which each is looked for, as one value: a list in JSON that SQLite takes apart, an array of PostgreSQL.
pub(super) struct Ids(Vec<Uuid>);

impl Ids {
    pub fn of(ids: impl Iterator<Item = Uuid>) -> Self {
        Self(ids.collect())
    }

    /// For `SELECT unhex(value) FROM json_each($1)`.
    pub fn sqlite(&self) -> Json<Vec<String>> {
        Json(self.0.iter().map(|id| id.simple().to_string()).collect())
    }

    /// For `ANY($1)`.
    pub fn postgres(&self) -> &[Uuid] {
        &self.0
    }
}

/// A row of one number.
pub(super) struct Count {
    pub count: u64,
}

from_row!(Count { count });

/// A count or size as it is stored.
pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A text that both databases can hold: PostgreSQL has no NUL in text.
pub(super) fn text<'t>(what: &'static str, text: &'t str) -> Result<&'t str, crate::repo::RepoError> {
    if text.contains('\0') { Err(crate::repo::RepoError::Unstorable(what)) } else { Ok(text) }
}
