//! The key-value store as scripts have it: real scripts on a real executor, on both databases.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../support/listening.rs"]
mod listening;
#[path = "../support/test_store.rs"]
mod test_store;
#[allow(dead_code, reason = "the executor's own tests use all of it")]
#[path = "../../../executor/tests/executor/world.rs"]
mod world;

mod documented;
mod events;
mod faults;
mod group_commit;
mod hostile;
mod sdk;
mod stage;
mod upkeep;
