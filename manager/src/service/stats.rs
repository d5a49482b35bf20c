//! Charts of executions, exact whatever rows of the log are kept, and how large the instance is.

use std::collections::BTreeMap;
use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::execution::Outcome;
use picloud_shared::gauges::{DiskSpace, ProcessUse};
use picloud_shared::id::ScriptId;

use crate::execution_writer::ExecutionWriter;
use crate::gauge_watch::{GaugeWatch, Point as NodePoint, Span, Written};
use crate::repo::executions::counters::{self, CountersOf};
use crate::repo::executions::retention;
use crate::repo::scripts;
use crate::repo::stats::{self, Sizes};
use crate::service::authorize::{Actor, AppRef, Capability};
use crate::service::change::AuditedStore;
use crate::service::error::ServiceError;

/// Points of one chart: a day of minutes, with room to spare.
const MOST_POINTS: u64 = 1_500;

/// How long one point of a chart is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolution {
    Minute,
    Hour,
    Day,
}

impl Resolution {
    fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        })
    }

    /// How far back a chart goes that does not say.
    fn usual_span(self) -> Duration {
        match self {
            Self::Minute => Duration::from_secs(60 * 60),
            Self::Hour => Duration::from_secs(24 * 60 * 60),
            Self::Day => Duration::from_secs(14 * 24 * 60 * 60),
        }
    }
}

/// Which part of the time.
pub(crate) struct ChartQuery {
    pub resolution: Resolution,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// Executions from one moment to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Point {
    pub by_outcome: BTreeMap<&'static str, u64>,
    pub duration_us_sum: u64,
}

/// Points one after the other without gaps.
pub(crate) struct Chart {
    pub since: Timestamp,
    pub until: Timestamp,
    pub points: Vec<(Timestamp, Point)>,
}

/// How large the instance is.
pub(crate) struct InstanceStats {
    pub sizes: Sizes,
    pub log: retention::Usage,
    pub dropped: u64,
    pub is_sqlite: bool,
    pub chart: Chart,
}

/// What this node does and takes.
pub(crate) struct NodeStats {
    pub since: Timestamp,
    pub process: Option<ProcessUse>,
    pub disk: Option<DiskSpace>,
    pub written: Option<Written>,
    pub points: Vec<NodePoint>,
}

pub(crate) struct StatsService {
    audited: AuditedStore,
    writer: ExecutionWriter,
    gauges: GaugeWatch,
}

impl StatsService {
    pub(crate) fn new(audited: AuditedStore, writer: ExecutionWriter, gauges: GaugeWatch) -> Self {
        Self { audited, writer, gauges }
    }

    /// The executions of an app, or of one script of it.
    pub(crate) async fn of_app(
        &self,
        actor: &Actor,
        app: &AppRef,
        script: Option<ScriptId>,
        query: &ChartQuery,
    ) -> Result<Chart, ServiceError> {
        let mut conn = self.audited.store.read().await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(Capability::LogRead)?;
        if let Some(script) = script {
            let meta = scripts::find_meta(&mut conn, script).await?.filter(|meta| meta.app_id == access.app.id);
            meta.ok_or_else(|| ServiceError::invalid("script_id", "the app has no such script"))?;
        }
        drop(conn);
        self.chart(CountersOf::App(access.app.id, script), query).await
    }

    /// The executions of all apps, and what there is of everything.
    pub(crate) async fn of_instance(&self, actor: &Actor, query: &ChartQuery) -> Result<InstanceStats, ServiceError> {
        actor.require(Capability::InstanceRead)?;
        let chart = self.chart(CountersOf::All, query).await?;
        let store = &self.audited.store;
        let sizes = stats::sizes(&mut store.read().await?).await?;
        let log = retention::usage(&mut store.read_logs().await?).await?;
        Ok(InstanceStats { sizes, log, dropped: self.writer.dropped(), is_sqlite: store.is_sqlite(), chart })
    }

    /// What this node does and takes, as it is now and was as long as its process lives.
    pub(crate) fn of_node(&self, actor: &Actor, span: Span) -> Result<NodeStats, ServiceError> {
        actor.require(Capability::InstanceRead)?;
        Ok(self.gauges.look(|history| NodeStats {
            since: history.since(),
            process: history.last().and_then(|last| last.sample.process),
            disk: history.last().and_then(|last| last.sample.disk),
            written: history.written_in_a_day(),
            points: history.points(span),
        }))
    }

    async fn chart(&self, of: CountersOf, query: &ChartQuery) -> Result<Chart, ServiceError> {
        let length = query.resolution.length();
        let step = i64::try_from(length.as_millis()).expect("a day is some millions of milliseconds");
        let now = self.audited.clock.now();
        let until = query.until.unwrap_or_else(|| now.plus(length));
        let since = query.since.unwrap_or_else(|| until.minus(query.resolution.usual_span()));
        // Whole points: the one that `since` lies in, and up to the one that `until` lies in.
        let first = since.as_millis().div_euclid(step);
        let end = until.as_millis().div_euclid(step);
        let count = u64::try_from(end.saturating_sub(first)).unwrap_or(0);
        if count == 0 {
            return Err(ServiceError::invalid("until", "it must be later than since by one point at least"));
        }
        if count > MOST_POINTS {
            return Err(ServiceError::invalid("since", format!("a chart has at most {MOST_POINTS} points")));
        }
        let at = |point: i64| Timestamp::from_millis(point * step);
        self.writer.flush().await;
        let mut conn = self.audited.store.read_logs().await?;
        let sums = counters::sum(&mut conn, of, at(first), at(end), step).await?;
        let mut points: Vec<_> = (first..end).map(|point| (at(point), Point::default())).collect();
        for sum in sums {
            let place = usize::try_from(sum.at.as_millis().div_euclid(step) - first).unwrap_or(usize::MAX);
            if let Some((_, point)) = points.get_mut(place) {
                point.by_outcome.insert(Outcome::as_str(sum.outcome), sum.count);
                point.duration_us_sum = point.duration_us_sum.saturating_add(sum.duration_us_sum);
            }
        }
        Ok(Chart { since: at(first), until: at(end), points })
    }
}
