//! The page: what was counted, and what is so at this moment, in Prometheus' text format.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use picloud_executor::Load;
use picloud_shared::app_data::AppData;
use picloud_shared::backups::Backups;
use picloud_shared::certificate::CertificateState;
use picloud_shared::clock::Timestamp;
use picloud_shared::gauges::{NodeGauges, ProcessUse};
use picloud_shared::id::AppId;
use picloud_shared::node::NodeRole;
use picloud_shared::snapshot::Snapshot;
use picloud_shared::version;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;
use crate::manager_link::StoreHealth;

/// The media type of the page.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// What is so at this moment, as others know it.
#[derive(Debug)]
pub struct Sample {
    /// What the executor has at hand.
    pub load: Load,
    /// Executions whose record was lost.
    pub records_dropped: u64,
    /// What apps keep.
    pub app_data: Arc<AppData>,
    /// How many nodes of each role live.
    pub nodes: Vec<(NodeRole, usize)>,
    /// How backups are doing that are taken by a schedule.
    pub backups: Backups,
    /// The time.
    pub now: Timestamp,
    /// How the store is.
    pub store: StoreHealth,
    /// How long the store took to tell.
    pub store_probe: Duration,
    /// How many certificates there are in each state, if the store told.
    pub certificates: Option<Vec<(CertificateState, u64)>>,
    /// Until when the certificates are good that are shown, each by a name that it is shown for.
    pub ends: Vec<(String, Timestamp)>,
    /// How many of them end soon.
    pub ending_soon: usize,
}

/// Numbers of one kind, told apart by labels.
#[derive(Debug)]
struct Gauges<V, const LABELS: usize> {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    labels: [&'static str; LABELS],
    values: Vec<([String; LABELS], V)>,
}

impl<V, const LABELS: usize> Collector for Gauges<V, LABELS>
where
    V: EncodeGaugeValue + Copy + fmt::Debug + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), MetricType::Gauge)?;
        for (told, value) in &self.values {
            let labels: [_; LABELS] = std::array::from_fn(|place| (self.labels[place], told[place].as_str()));
            ConstGauge::new(*value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn gauge(value: impl TryInto<i64>) -> ConstGauge {
    ConstGauge::new(value.try_into().unwrap_or(i64::MAX))
}

impl Metrics {
    /// The page as it is now.
    pub fn page(&self, snapshot: &Snapshot, sample: Sample) -> String {
        let mut whole = Registry::default();
        self.tell_of_node(&mut whole);
        let registry = whole.sub_registry_with_prefix("picloud");
        registry.register("build", "The version of this program", Info::new([("version", version::PRODUCT)]));
        self.tell_of_requests(registry, snapshot, sample.load);
        registry.register(
            "execution_records_dropped",
            "Executions without a record, since too many waited to be written or the store was away",
            ConstCounter::new(sample.records_dropped),
        );
        let is = |health| i64::from(sample.store == health);
        let is_reachable = 1 - is(StoreHealth::Unreachable);
        registry.register("store_reachable", "Whether the store answers", gauge(is_reachable));
        registry.register(
            "store_writable",
            "Whether no write to the store is known to fail",
            gauge(is_reachable - is(StoreHealth::NotWritable)),
        );
        registry.register(
            "secret_key_replaced",
            "Whether the store has another secret key by now, so that this node changes nothing until it is started again",
            gauge(is(StoreHealth::KeyReplaced)),
        );
        registry.register_with_unit(
            "store_probe_duration",
            "How long the store took to answer when it was last asked how it is",
            Unit::Seconds,
            ConstGauge::new(sample.store_probe.as_secs_f64()),
        );
        registry.register(
            "snapshot_version",
            "The version of the configuration that is served",
            gauge(snapshot.version()),
        );
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        registry.register_collector(Box::new(Gauges {
            name: "nodes",
            help: "Nodes of the instance that live, as this one saw them last.",
            unit: None,
            labels: ["role"],
            values: sample.nodes.iter().map(|(role, count)| ([role.to_string()], number(*count))).collect(),
        }));
        tell_of_data(registry, snapshot, &sample.app_data);
        tell_of_backups(registry, sample.backups, sample.now);
        self.tell_of_certificates(registry, sample);
        let mut page = String::new();
        // Writing to a string cannot fail, nor does anything that is written here of itself.
        let _ = prometheus_text::encode(&mut page, &whole);
        page
    }

    /// What the process takes, by the names that every program's exporter has for it, and what this one adds.
    fn tell_of_node(&self, registry: &mut Registry) {
        let sample = self.sample();
        if let Some(process) = sample.process {
            tell_of_process(registry, process);
        }
        if let Some(node) = &self.node {
            let since_1970 = u64::try_from(node.started.as_millis()).unwrap_or(0);
            registry.register_with_unit(
                "process_start_time",
                "When the process began, in seconds since 1970",
                Unit::Seconds,
                ConstGauge::new(Duration::from_millis(since_1970).as_secs_f64()),
            );
        }
        let registry = registry.sub_registry_with_prefix("picloud");
        registry.register(
            "log_lines_dropped",
            "Lines of the program's own log that were dropped, since nobody read them in time",
            ConstCounter::new(sample.log_lines_dropped),
        );
        if let Some(written) = sample.process.and_then(|process| process.written_bytes) {
            registry.register(
                "written_bytes",
                "Bytes that the process has had its file systems write to a disk",
                ConstCounter::new(written),
            );
        }
        if let Some(disk) = sample.disk {
            registry.register(
                "disk_free_bytes",
                "Bytes that may still be written to the file system of the data folder",
                gauge(disk.free),
            );
            registry.register("disk_size_bytes", "Bytes of the file system of the data folder", gauge(disk.size));
        }
    }

    fn tell_of_requests(&self, registry: &mut Registry, snapshot: &Snapshot, load: Load) {
        registry.register_collector(Box::new(self.told_of_requests()));
        registry.register_collector(Box::new(self.executions.told(snapshot)));
        registry.register(
            "executions_running",
            "Executions that have not ended, waiting ones too",
            gauge(load.running),
        );
        registry.register("executions_waiting", "Executions that wait for a worker", gauge(load.waiting));
        registry.register("workers_busy", "Workers that run a script", gauge(load.busy_workers));
        registry.register("workers", "Workers in all", gauge(load.workers));
        registry.register("spare_workers", "Workers beyond them", gauge(load.spare_workers));
        registry.register("scripts_lost_bytes", "Memory that scripts left for ever", gauge(load.lost_bytes));
    }

    fn tell_of_certificates(&self, registry: &mut Registry, sample: Sample) {
        registry.register(
            "certificate_attempts",
            "Attempts of this node to get a certificate, by authority and outcome",
            self.attempts.clone(),
        );
        if let Some(by_state) = sample.certificates {
            let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            registry.register_collector(Box::new(Gauges {
                name: "certificates",
                help: "Certificates of the instance by state.",
                unit: None,
                labels: ["state"],
                values: by_state.into_iter().map(|(state, count)| ([state.to_string()], number(count))).collect(),
            }));
        }
        registry.register_collector(Box::new(Gauges {
            name: "certificate_not_after_timestamp",
            help: "Until when each certificate is good that this node shows, in seconds since 1970.",
            unit: Some(Unit::Seconds),
            labels: ["name"],
            values: sample.ends.into_iter().map(|(name, ends)| ([name], ends.as_millis() / 1000)).collect(),
        }));
        registry.register(
            "certificates_ending_soon",
            "Certificates that this node shows and that end within a week, or the last third of a shorter life",
            gauge(sample.ending_soon),
        );
    }
}

fn tell_of_process(registry: &mut Registry, process: ProcessUse) {
    registry.register(
        "process_cpu_seconds",
        "Seconds that the process has run on processors",
        ConstCounter::new(process.cpu.as_secs_f64()),
    );
    registry.register("process_resident_memory_bytes", "Memory that is in use", gauge(process.resident_bytes));
    registry.register("process_virtual_memory_bytes", "Addresses that are reserved", gauge(process.virtual_bytes));
    registry.register("process_threads", "Threads", gauge(process.threads));
    if let Some(open) = process.open_files {
        registry.register("process_open_fds", "Files and sockets that are open", gauge(open));
    }
    if let Some(most) = process.max_open_files {
        registry.register("process_max_fds", "How many may be open", gauge(most));
    }
}

/// What a schedule makes of backups.
fn tell_of_backups(registry: &mut Registry, backups: Backups, now: Timestamp) {
    let (name, help) = ("backup_age", "How long ago the newest scheduled backup was taken that can be restored");
    match backups.newest {
        Some(newest) => {
            let age = ConstGauge::new(now.since(newest).as_secs_f64());
            registry.register_with_unit(name, help, Unit::Seconds, age);
        }
        None => {
            let none = Gauges::<f64, 0> { name, help, unit: Some(Unit::Seconds), labels: [], values: Vec::new() };
            registry.register_collector(Box::new(none));
        }
    }
    registry.register(
        "backup_failures",
        "Scheduled backups of this node that were not taken, or could not be restored",
        ConstCounter::new(backups.failures),
    );
}

/// What apps keep, of those that are published.
fn tell_of_data(registry: &mut Registry, snapshot: &Snapshot, data: &AppData) {
    let slug = |app: &AppId| snapshot.app(*app).map(|app| app.app().slug.to_string());
    let near = data.near_quota.iter();
    registry.register_collector(Box::new(Gauges {
        name: "app_quota_used_ratio",
        help: "The share of a quota that an app uses, from 0.8 on.",
        unit: None,
        labels: ["app", "quota"],
        values: near.filter_map(|near| Some(([slug(&near.app)?, near.quota.as_str().into()], near.ratio()))).collect(),
    }));
    let letters = data.dead_letters.iter();
    registry.register_collector(Box::new(Gauges {
        name: "dead_letters_unresolved",
        help: "Dead letters of an app that are neither replayed nor resolved.",
        unit: None,
        labels: ["app"],
        values: letters.filter_map(|(app, count)| Some(([slug(app)?], i64::try_from(*count).ok()?))).collect(),
    }));
    let oldest = data.oldest_events.iter();
    registry.register_collector(Box::new(Gauges {
        name: "oldest_event_timestamp",
        help: "From when on an app's oldest event was to be handled that is not, in seconds since 1970.",
        unit: Some(Unit::Seconds),
        labels: ["app"],
        values: oldest.filter_map(|(app, since)| Some(([slug(app)?], since.as_millis() / 1000))).collect(),
    }));
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use picloud_shared::certificate::AttemptOutcome;

    use super::super::Destination;
    use super::*;

    fn sample() -> Sample {
        Sample {
            load: Load { running: 3, waiting: 1, busy_workers: 2, workers: 4, spare_workers: 1, lost_bytes: 5 },
            records_dropped: 7,
            app_data: Arc::default(),
            nodes: vec![(NodeRole::Full, 2), (NodeRole::Edge, 1)],
            backups: Backups { newest: Some(Timestamp::from_millis(1_800_000_000_000)), failures: 3 },
            now: Timestamp::from_millis(1_800_000_090_500),
            store: StoreHealth::NotWritable,
            store_probe: Duration::from_millis(2),
            certificates: Some(vec![(CertificateState::Valid, 2), (CertificateState::Failing, 1)]),
            ends: vec![("shop.example.com".to_owned(), Timestamp::from_millis(1_800_000_000_999))],
            ending_soon: 1,
        }
    }

    #[test]
    fn the_page_tells_what_was_counted_and_what_is_so() {
        let metrics = Metrics::default();
        for status in [200, 204, 404] {
            let status = StatusCode::from_u16(status).unwrap();
            metrics.request(Destination::App, Some(status), Duration::from_millis(3));
        }
        metrics.request(Destination::None, None, Duration::from_secs(100));
        metrics.certificate_attempt("https://ca.test/dir", AttemptOutcome::Failed);
        let page = metrics.page(&Snapshot::default(), sample());
        for line in [
            "# TYPE picloud_http_requests_total counter",
            "picloud_http_requests_total{destination=\"app\",status=\"2xx\"} 2",
            "picloud_http_requests_total{destination=\"app\",status=\"4xx\"} 1",
            "picloud_http_requests_total{destination=\"none\",status=\"none\"} 1",
            "picloud_http_request_duration_seconds_bucket{destination=\"app\",le=\"0.001\"} 0",
            "picloud_http_request_duration_seconds_bucket{destination=\"app\",le=\"0.005\"} 3",
            "picloud_http_request_duration_seconds_bucket{destination=\"none\",le=\"+Inf\"} 1",
            "picloud_executions_running 3",
            "picloud_executions_waiting 1",
            "picloud_workers_busy 2",
            "picloud_workers 4",
            "picloud_spare_workers 1",
            "picloud_scripts_lost_bytes 5",
            "picloud_execution_records_dropped_total 7",
            "picloud_nodes{role=\"full\"} 2",
            "picloud_nodes{role=\"edge\"} 1",
            "picloud_store_reachable 1",
            "picloud_store_writable 0",
            "picloud_secret_key_replaced 0",
            "picloud_backup_age_seconds 90.5",
            "picloud_backup_failures_total 3",
            "picloud_store_probe_duration_seconds 0.002",
            "picloud_certificate_attempts_total{authority=\"https://ca.test/dir\",outcome=\"failed\"} 1",
            "picloud_certificates{state=\"failing\"} 1",
            "picloud_certificate_not_after_timestamp_seconds{name=\"shop.example.com\"} 1800000000",
            "picloud_certificates_ending_soon 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn what_the_store_does_not_tell_is_left_out() {
        let silent = Sample { store: StoreHealth::Unreachable, certificates: None, ..sample() };
        let page = Metrics::default().page(&Snapshot::default(), silent);
        assert!(page.contains("picloud_store_reachable 0") && !page.contains("picloud_certificates{"), "{page}");
    }

    #[test]
    fn a_store_whose_key_was_replaced_is_told_from_one_that_is_full() {
        let replaced = Sample { store: StoreHealth::KeyReplaced, ..sample() };
        let page = Metrics::default().page(&Snapshot::default(), replaced);
        for line in ["picloud_store_reachable 1", "picloud_store_writable 1", "picloud_secret_key_replaced 1"] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn every_series_is_told_once_and_a_name_cannot_break_its_line() {
        let evil = ("\"} 1\npicloud_up{x=\"".to_owned(), Timestamp::from_millis(0));
        let page = Arc::new(Metrics::default()).page(&Snapshot::default(), Sample { ends: vec![evil], ..sample() });
        let mut series: Vec<&str> = page
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .map(|line| line.0)
            .collect();
        let is_ours = |series: &&str| series.starts_with("picloud_") || series.starts_with("process_");
        assert!(series.iter().all(is_ours) && !page.contains("\npicloud_up"), "{page}");
        let count = series.len();
        series.sort_unstable();
        series.dedup();
        assert_eq!(series.len(), count, "{page}");
    }
}
