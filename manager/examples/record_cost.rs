//! What handing over the record of an execution costs whoever answers the request: what `make bench` measures as P10.
//!
//! `record_cost DIRECTORY` prints a line of JSON, `{"kept_ns": N, "sampled_ns": N}`: the median over bursts of 1,000 records, each of
//! a request with some headers, handed over one after the other to the writer that the binary has. Of the first kind all are
//! kept, of the second nearly none, as where there are more than the policy keeps.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "it is a tool, and tells people")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use picloud_manager::execution_writer::{ExecutionWriter, LogPolicy, Rate};
use picloud_manager::store::{DatabaseConfig, Store};
use picloud_shared::clock::{Clock, SystemClock};
use picloud_shared::execution::{ExecutionRecord, Origin, Outcome, RecordedInput};
use picloud_shared::id::{AppId, ExecutionId, ScriptId};
use picloud_shared::request::{RequestHead, Scheme};
use picloud_shared::secret::GivenSecrets;

const BURST: usize = 1_000;
const BURSTS: usize = 101;

fn head() -> RequestHead {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("bench.localhost"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("record_cost"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    RequestHead {
        method: Method::GET,
        scheme: Scheme::Http,
        host: "bench.localhost".into(),
        port: Some(8080),
        path: "/hello".into(),
        query: None,
        headers,
        remote_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

#[tokio::main]
async fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("the first argument is a directory"));
    let store = Store::open(&DatabaseConfig::Sqlite { dir }).await.expect("the directory is empty");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let kept = cost(&store, &clock, Rate { per_second: 10_000_000, burst: 10_000_000 }).await;
    let sampled = cost(&store, &clock, Rate { per_second: 1, burst: 1 }).await;
    println!("{{\"kept_ns\": {kept}, \"sampled_ns\": {sampled}}}");
}

/// Nanoseconds of a record, where so many successes are kept.
async fn cost(store: &Store, clock: &Arc<dyn Clock>, successes: Rate) -> u128 {
    let policy = LogPolicy { successes, ..LogPolicy::for_store(store) };
    let writer = ExecutionWriter::start(store.clone(), Arc::clone(clock), policy);
    let (sink, head) = (writer.sink(), Arc::new(head()));
    let (app_id, script_id) = (AppId::generate(clock.now()), ScriptId::generate(clock.now()));
    let record = || ExecutionRecord {
        id: ExecutionId::generate(clock.now()),
        app_id,
        script_id,
        script_version: 1,
        origin: Origin::ById,
        started_at: clock.now(),
        duration: Duration::from_micros(5),
        outcome: Outcome::Success,
        status: StatusCode::OK,
        policy: Arc::default(),
        input: RecordedInput::Request { head: Arc::clone(&head), body: Bytes::new(), body_len: 0, event: None },
        response: None,
        failure: None,
        logs: Vec::new(),
        secrets: GivenSecrets::default(),
    };
    let mut costs = Vec::new();
    for _ in 0..BURSTS {
        let records: Vec<_> = (0..BURST).map(|_| record()).collect();
        let begun = Instant::now();
        for record in records {
            sink.record(record);
        }
        costs.push(begun.elapsed().as_nanos() / BURST as u128);
        // The writer comes to its end before the next burst.
        writer.flush().await;
    }
    assert_eq!(writer.dropped(), 0, "a record that finds no room costs less than one that does");
    writer.shutdown().await;
    costs.sort_unstable();
    costs[BURSTS / 2]
}
