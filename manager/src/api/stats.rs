//! `stats`, of an app and of the instance.

use axum::Json;
use axum::extract::State;
use picloud_shared::clock::Timestamp;
use picloud_shared::execution::Outcome;
use picloud_shared::id::ScriptId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Caller, Path, Query, app_ref};
use crate::api::openapi::problems;
use crate::api::problem::ApiError;
use crate::service::stats::{Chart, ChartQuery, Point, Resolution};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(app_stats)).routes(routes!(instance_stats))
}

/// How long one point of a chart is.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ResolutionName {
    Minute,
    #[default]
    Hour,
    Day,
}

impl From<ResolutionName> for Resolution {
    fn from(name: ResolutionName) -> Self {
        match name {
            ResolutionName::Minute => Self::Minute,
            ResolutionName::Hour => Self::Hour,
            ResolutionName::Day => Self::Day,
        }
    }
}

/// Executions from one moment to the next.
#[derive(Serialize, ToSchema)]
struct PointView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// All of them.
    count: u64,
    success: u64,
    error: u64,
    timeout: u64,
    budget_exceeded: u64,
    rejected: u64,
    /// The sum of their durations in microseconds.
    duration_us_sum: u64,
}

impl From<(Timestamp, Point)> for PointView {
    fn from((at, point): (Timestamp, Point)) -> Self {
        let of = |outcome: Outcome| point.by_outcome.get(outcome.as_str()).copied().unwrap_or_default();
        Self {
            at,
            count: point.by_outcome.values().sum(),
            success: of(Outcome::Success),
            error: of(Outcome::Error),
            timeout: of(Outcome::Timeout),
            budget_exceeded: of(Outcome::BudgetExceeded),
            rejected: of(Outcome::Rejected),
            duration_us_sum: point.duration_us_sum,
        }
    }
}

/// Executions over time, exact whatever records are kept.
#[derive(Serialize, ToSchema)]
struct ChartView {
    resolution: ResolutionName,
    /// The beginning of the first point.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// The end of the last point.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// One after the other without gaps.
    points: Vec<PointView>,
}

impl ChartView {
    fn new(resolution: ResolutionName, Chart { since, until, points }: Chart) -> Self {
        Self { resolution, since, until, points: points.into_iter().map(PointView::from).collect() }
    }
}

/// What the execution log holds.
#[derive(Serialize, ToSchema)]
struct LogStats {
    records: u64,
    /// Bytes that they take; estimated on PostgreSQL.
    bytes: u64,
    /// Records that this node lost since its start, since the buffer was full or the store away.
    dropped: u64,
}

/// What there is on the instance.
#[derive(Serialize, ToSchema)]
struct InstanceStatsView {
    apps: u64,
    domains: u64,
    scripts: u64,
    routes: u64,
    users: u64,
    /// `sqlite` or `postgres`.
    store: String,
    /// Bytes of the control data, or of the whole database on PostgreSQL.
    store_bytes: u64,
    log: LogStats,
    executions: ChartView,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct InstanceChart {
    /// How long a point is; an hour if absent.
    #[serde(default)]
    #[param(inline, value_type = Option<ResolutionName>)]
    resolution: ResolutionName,
    /// From when on, as RFC 3339; if absent an hour of minutes, a day of hours or two weeks of days.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    since: Option<Timestamp>,
    /// Until when, as RFC 3339; until now if absent. At most 1,500 points lie between.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    until: Option<Timestamp>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AppChart {
    /// How long a point is; an hour if absent.
    #[serde(default)]
    #[param(inline, value_type = Option<ResolutionName>)]
    resolution: ResolutionName,
    /// From when on, as RFC 3339; if absent an hour of minutes, a day of hours or two weeks of days.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    since: Option<Timestamp>,
    /// Until when, as RFC 3339; until now if absent. At most 1,500 points lie between.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    until: Option<Timestamp>,
    /// Only of this script of the app.
    #[serde(default)]
    #[param(value_type = Option<Uuid>)]
    script_id: Option<ScriptId>,
}

problems! {
    StatsProblems { "404": "`not_found`", "422": "`invalid`" }
    InstanceProblems { "422": "`invalid`" }
}

/// Chart the executions of an app.
#[utoipa::path(get, path = "/apps/{app}/stats", tag = "logs",
    params(("app" = String, Path, description = "The app's id or slug."), AppChart),
    responses((status = 200, description = "The chart.", body = ChartView), StatsProblems))]
async fn app_stats(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(AppChart { resolution, since, until, script_id }): Query<AppChart>,
) -> Result<Json<ChartView>, ApiError> {
    let query = ChartQuery { resolution: resolution.into(), since, until };
    let chart = state.services.stats.of_app(&actor, &app_ref(&app)?, script_id, &query).await?;
    Ok(Json(ChartView::new(resolution, chart)))
}

/// Tell what there is on the instance.
///
/// For owners and admins.
#[utoipa::path(get, path = "/stats", tag = "instance", params(InstanceChart),
    responses((status = 200, description = "What there is.", body = InstanceStatsView), InstanceProblems))]
async fn instance_stats(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(InstanceChart { resolution, since, until }): Query<InstanceChart>,
) -> Result<Json<InstanceStatsView>, ApiError> {
    let query = ChartQuery { resolution: resolution.into(), since, until };
    let stats = state.services.stats.of_instance(&actor, &query).await?;
    Ok(Json(InstanceStatsView {
        apps: stats.sizes.apps,
        domains: stats.sizes.domains,
        scripts: stats.sizes.scripts,
        routes: stats.sizes.routes,
        users: stats.sizes.users,
        store: if stats.is_sqlite { "sqlite" } else { "postgres" }.to_owned(),
        store_bytes: stats.sizes.store_bytes,
        log: LogStats { records: stats.log.records, bytes: stats.log.bytes, dropped: stats.dropped },
        executions: ChartView::new(resolution, stats.chart),
    }))
}
