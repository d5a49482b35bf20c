//! Outgoing HTTP as scripts have it: real scripts on a real executor, and servers on loopback.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[allow(dead_code, reason = "the executor's own tests use all of it")]
#[path = "../../../executor/tests/executor/world.rs"]
mod world;

mod bounds;
mod documented;
mod guard;
mod pool;
mod sdk;
mod server;
mod stage;
mod tls;
