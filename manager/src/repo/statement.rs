//! The catalogue: every statement by name, so that a test can prepare each of them on both databases.

use crate::store::Dialects;

/// Defines statements: `NAME = text` where one text serves both databases, `NAME = text, text` where SQLite and
/// PostgreSQL each need their own.
macro_rules! statements {
    ($($NAME:ident = $text:expr $(, $postgres:expr)?;)+) => {
        $(const $NAME: $crate::store::Dialects = $crate::repo::statement::statement!($text $(, $postgres)?);)+

        /// Every statement of this module, by name.
        pub(in crate::repo) const CATALOGUE: &[(&str, $crate::store::Dialects)] =
            &[$((concat!(module_path!(), "::", stringify!($NAME)), $NAME)),+];
    };
}
pub(super) use statements;

macro_rules! statement {
    ($text:expr) => {
        $crate::store::Dialects::same($text)
    };
    ($sqlite:expr, $postgres:expr) => {
        $crate::store::Dialects { sqlite: $sqlite, postgres: $postgres }
    };
}
pub(super) use statement;

/// Every statement of the control data.
#[doc(hidden)]
pub fn main_statements() -> impl Iterator<Item = (&'static str, Dialects)> {
    use crate::repo::*;
    [
        api_keys::CATALOGUE,
        apps::CATALOGUE,
        audit::CATALOGUE,
        certificates::CATALOGUE,
        certificates::accounts::CATALOGUE,
        certificates::attempts::CATALOGUE,
        certificates::nodes::CATALOGUE,
        certificates::sealed::CATALOGUE,
        certificates::served::CATALOGUE,
        config::CATALOGUE,
        deleted_apps::CATALOGUE,
        domains::CATALOGUE,
        idempotency::CATALOGUE,
        members::CATALOGUE,
        probe::CATALOGUE,
        routes::CATALOGUE,
        scripts::CATALOGUE,
        sessions::CATALOGUE,
        settings::CATALOGUE,
        setup_tokens::CATALOGUE,
        snapshot::CATALOGUE,
        stats::CATALOGUE,
        users::CATALOGUE,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Every statement of the execution log.
#[doc(hidden)]
pub fn log_statements() -> impl Iterator<Item = (&'static str, Dialects)> {
    use crate::repo::executions::{self, counters, insert, retention};
    use crate::repo::probe;
    [executions::CATALOGUE, counters::CATALOGUE, insert::CATALOGUE, retention::CATALOGUE, probe::CATALOGUE]
        .into_iter()
        .flatten()
        .copied()
}
