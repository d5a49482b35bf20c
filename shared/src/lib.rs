//! The vocabulary that every part of PiCloud speaks: identifiers, names, patterns, matching, the snapshot of
//! what is published, and the record of an execution.
//!
//! This crate owns no I/O: it opens no file, socket or database, and it knows neither Rhai nor axum nor
//! Pingora. Everything here is a value, a parser of a value, or a pure function of values.

pub mod address;
pub mod admin_hosts;
pub mod app;
pub mod app_data;
pub mod at_most;
pub mod backups;
pub mod certificate;
pub mod clock;
pub mod cron;
pub mod docs;
pub mod doctor;
pub mod domain_pattern;
pub mod env;
pub mod event;
pub mod execution;
pub mod gauges;
pub mod hashing;
pub mod id;
pub mod kv;
pub mod name;
pub mod node;
pub mod path_pattern;
pub mod request;
pub mod route;
pub mod routing;
pub mod script;
pub mod secret;
pub mod snapshot;
pub mod trigger;
pub mod version;
