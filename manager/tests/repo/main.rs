//! The store and the repositories: one conformance suite, run on both databases.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../support/own_cluster.rs"]
mod own_cluster;
#[path = "../support/relay.rs"]
mod relay;
#[path = "../support/rows.rs"]
mod rows;
#[path = "../support/test_store.rs"]
mod test_store;

mod apps;
mod certificates;
mod config;
mod cron;
mod executions;
mod key_rotation;
mod migrations;
mod outage;
mod plans;
mod scripts;
mod secret_key;
mod snapshot;
mod statements;
mod tables;
mod users;
mod writer;
