//! `stats/node`: what the node that answers does and takes.

use axum::Json;
use axum::extract::State;
use picloud_shared::clock::Timestamp;
use picloud_shared::gauges::{DiskSpace, ProcessUse};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Caller, Query};
use crate::api::openapi::problems;
use crate::api::problem::ApiError;
use crate::api::stats::ResolutionName;
use crate::gauge_watch::{Point, Span, Written};
use crate::service::stats::NodeStats;

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(node_stats))
}

impl From<ResolutionName> for Span {
    fn from(name: ResolutionName) -> Self {
        match name {
            ResolutionName::Minute => Self::Hour,
            ResolutionName::Hour => Self::Day,
            ResolutionName::Day => Self::TwoWeeks,
        }
    }
}

/// What a node did from one moment to the next.
#[derive(Serialize, ToSchema)]
struct NodePointView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Requests that were answered, by whomever: an app, the dashboard, the API or a refusal.
    requests: u64,
    /// Those of them with a status of 4xx.
    client_errors: u64,
    /// Those of them with a status of 5xx.
    server_errors: u64,
    /// What half of the requests to apps took at most, in microseconds; null where there were none.
    p50_us: Option<u64>,
    /// What 99 of 100 took at most.
    p99_us: Option<u64>,
    /// Memory in use at the end; null where nobody looked.
    memory_bytes: Option<u64>,
    /// Bytes that could still be written then.
    disk_free_bytes: Option<u64>,
    /// Bytes that were written to a disk; null where the system does not tell.
    written_bytes: Option<u64>,
    /// Lines of the program's own log that were dropped.
    log_lines_dropped: u64,
    /// Executions without a record.
    records_dropped: u64,
}

impl From<Point> for NodePointView {
    fn from(point: Point) -> Self {
        let Point { requests, .. } = point;
        Self {
            at: point.at,
            requests: requests.good + requests.client_error + requests.server_error,
            client_errors: requests.client_error,
            server_errors: requests.server_error,
            p50_us: point.p50_us,
            p99_us: point.p99_us,
            memory_bytes: point.resident_bytes,
            disk_free_bytes: point.disk_free_bytes,
            written_bytes: point.written_bytes,
            log_lines_dropped: point.log_lines_dropped,
            records_dropped: point.records_dropped,
        }
    }
}

/// The file system of the data folder.
#[derive(Serialize, ToSchema)]
struct DiskView {
    free_bytes: u64,
    size_bytes: u64,
    /// Below which room it is nearly full.
    low_below_bytes: u64,
    is_low: bool,
}

impl From<DiskSpace> for DiskView {
    fn from(disk: DiskSpace) -> Self {
        let low_below_bytes = disk.low_below();
        Self { free_bytes: disk.free, size_bytes: disk.size, low_below_bytes, is_low: disk.is_low() }
    }
}

/// What the process takes.
#[derive(Serialize, ToSchema)]
struct ProcessView {
    memory_bytes: u64,
    threads: u64,
    /// Files and sockets.
    open_files: Option<u64>,
    /// How many it may have open.
    max_open_files: Option<u64>,
}

impl From<ProcessUse> for ProcessView {
    fn from(process: ProcessUse) -> Self {
        let ProcessUse { resident_bytes, threads, open_files, max_open_files, .. } = process;
        Self { memory_bytes: resident_bytes, threads, open_files, max_open_files }
    }
}

/// What was written to a disk.
#[derive(Serialize, ToSchema)]
struct WrittenView {
    bytes: u64,
    /// A day ago, less up to an hour, or the process's start.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

impl From<Written> for WrittenView {
    fn from(Written { bytes, since }: Written) -> Self {
        Self { bytes, since }
    }
}

/// What a node does and takes. It remembers as long as its process lives.
#[derive(Serialize, ToSchema)]
struct NodeStatsView {
    /// When its process began.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    process: Option<ProcessView>,
    disk: Option<DiskView>,
    written: Option<WrittenView>,
    resolution: ResolutionName,
    /// One after the other without gaps, from the process's first on.
    points: Vec<NodePointView>,
}

impl NodeStatsView {
    fn new(resolution: ResolutionName, stats: NodeStats) -> Self {
        let NodeStats { since, process, disk, written, points } = stats;
        Self {
            since,
            process: process.map(ProcessView::from),
            disk: disk.map(DiskView::from),
            written: written.map(WrittenView::from),
            resolution,
            points: points.into_iter().map(NodePointView::from).collect(),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NodeChart {
    /// How long a point is: an hour of minutes, a day of hours or two weeks of days are told. An hour if absent.
    #[serde(default)]
    #[param(inline, value_type = Option<ResolutionName>)]
    resolution: ResolutionName,
}

problems! {
    NodeStatsProblems { "422": "`invalid`" }
}

/// Tell what the node that answers does and takes.
///
/// For owners and admins.
#[utoipa::path(get, path = "/stats/node", tag = "instance", params(NodeChart),
    responses((status = 200, description = "What it does and takes.", body = NodeStatsView), NodeStatsProblems))]
async fn node_stats(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(NodeChart { resolution }): Query<NodeChart>,
) -> Result<Json<NodeStatsView>, ApiError> {
    let stats = state.services.stats.of_node(&actor, resolution.into())?;
    Ok(Json(NodeStatsView::new(resolution, stats)))
}
