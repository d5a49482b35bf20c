//! What is counted and measured while the program works, and the page that tells Prometheus of it. The one module that speaks
//! Prometheus' library; it knows neither sockets nor the store, whose numbers it is handed with each question.
//!
//! What a label says is one of few words, an authority of the settings, or what an operator can list: an app that there is, a
//! name that has a certificate. Nothing that a client sends becomes one.

mod by_app;
mod machine;
mod page;
mod tally;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use picloud_shared::certificate::AttemptOutcome;
use picloud_shared::clock::Timestamp;
use picloud_shared::execution::ExecutionSink;
use picloud_shared::gauges::{NodeGauges, NodeSample, RequestCounts};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tracing_appender::non_blocking::ErrorCounter;

use by_app::{Counting, Executions};
pub use machine::disk_of;
pub use page::{CONTENT_TYPE, Sample};
use tally::{Tally, Told};

/// Who answered a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// An app's script, by a route or by its id.
    App,
    /// The dashboard and the API.
    Admin,
    /// Nobody further: a redirect, a challenge, a host or a path that leads nowhere, a refusal.
    None,
}

const DESTINATIONS: [&str; 3] = ["app", "admin", "none"];

/// By the first digit of the status; the first are those that were answered by none.
const STATUSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// What is counted since the start of this process.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: [Arc<Tally<{ STATUSES.len() }>>; DESTINATIONS.len()],
    executions: Arc<Executions>,
    attempts: Family<[(&'static str, String); 2], Counter>,
    node: Option<NodeFacts>,
}

/// What is known of this node from its start on.
#[derive(Debug)]
pub struct NodeFacts {
    /// When the process began.
    pub started: Timestamp,
    /// Whose file system is watched.
    pub data_dir: PathBuf,
    /// Lines of the program's log that were dropped.
    pub log_lines_dropped: ErrorCounter,
}

impl Metrics {
    /// Those of a node.
    pub fn of(node: NodeFacts) -> Self {
        Self { node: Some(node), ..Self::default() }
    }

    /// Counts a request that was answered by that status, or by none, after so long.
    pub fn request(&self, to: Destination, status: Option<StatusCode>, took: Duration) {
        let digit = status.map_or(0, |status| usize::from(status.as_u16() / 100));
        self.requests[to as usize].count(digit, took);
    }

    fn told_of_requests(&self) -> Told<{ STATUSES.len() }> {
        Told {
            counted: ("http_requests", "Requests by who answered and by the kind of status."),
            measured: ("http_request_duration", "From a request's head to the end of its answer."),
            named_by: "destination",
            counted_by: "status",
            words: STATUSES,
            tallies: DESTINATIONS.map(str::to_owned).into_iter().zip(self.requests.iter().cloned()).collect(),
        }
    }

    /// Counts an attempt to get a certificate from the authority of that directory.
    pub fn certificate_attempt(&self, authority: &str, outcome: AttemptOutcome) {
        let labels = [("authority", authority.to_owned()), ("outcome", outcome.as_str().to_owned())];
        self.attempts.get_or_create(&labels).inc();
    }

    /// A sink that counts executions on their way to another.
    pub fn counting(&self, sink: Arc<dyn ExecutionSink>) -> Arc<dyn ExecutionSink> {
        Arc::new(Counting { executions: Arc::clone(&self.executions), sink })
    }
}

impl NodeGauges for Metrics {
    fn sample(&self) -> NodeSample {
        let all = |words: &[&str]| {
            let places = STATUSES.iter().enumerate().filter(|(_, word)| words.contains(word));
            places.flat_map(|(place, _)| self.requests.iter().map(move |tally| tally.counted(place))).sum()
        };
        NodeSample {
            requests: RequestCounts {
                good: all(&["1xx", "2xx", "3xx"]),
                client_error: all(&["4xx"]),
                server_error: all(&["5xx"]),
                unanswered: all(&["none"]),
            },
            durations: self.requests[Destination::App as usize].durations(),
            log_lines_dropped: self.node.as_ref().map_or(0, |node| node.log_lines_dropped.dropped_lines() as u64),
            process: machine::process(),
            disk: self.node.as_ref().and_then(|node| disk_of(&node.data_dir)),
        }
    }
}
