//! The repositories: one module for each table or family of tables, and the only text in the product that is SQL.
//!
//! A repository runs statements and turns rows into types. It must not decide, log, commit or read the clock.

pub mod api_keys;
pub(crate) mod app_data;
pub mod apps;
pub mod audit;
pub(crate) mod backups;
pub mod certificates;
mod column;
pub mod config;
pub mod data_audit;
pub mod deleted_apps;
pub mod docs;
pub mod domains;
pub mod env;
pub mod error;
pub mod events;
pub mod executions;
pub mod idempotency;
pub mod kv;
pub mod login_failures;
pub mod members;
pub mod nodes;
pub(crate) mod probe;
pub mod role;
pub mod routes;
pub mod scope;
pub mod scripts;
pub mod secrets;
pub mod sessions;
pub mod settings;
pub mod setup_tokens;
pub mod snapshot;
pub mod statement;
pub mod stats;
pub mod tables;
pub mod triggers;
pub mod users;

pub use column::{Listed, Named, UnreadableRow};
pub use error::{Constraint, RepoError};
