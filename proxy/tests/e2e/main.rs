//! PiCloud from outside: the real binary, real sockets, both databases. What is tested here is what an operator and
//! a caller see; the rules in between have their own tests beside the code.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod async_routes;
mod backup;
#[path = "../support/certificate.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod certificate;
mod certificate_authorities;
mod certificate_recovery;
mod certificate_troubles;
mod certificates;
mod cloud;
mod command_line;
mod connections;
mod crash_oracle;
mod docs;
mod doctor;
mod edge;
mod faults;
mod https;
mod journey;
mod key_rotation;
mod kv;
mod lifecycle;
mod metrics;
mod nodes;
#[path = "../../../manager/tests/support/own_cluster.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod own_cluster;
mod power_cut;
mod publish;
#[path = "../support/raw.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod raw;
mod relay;
mod remote;
mod triggers;
mod upgrade;
