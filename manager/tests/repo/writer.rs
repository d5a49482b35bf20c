//! The execution writer: what it keeps, what it counts, and what it does when the store is gone.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use picloud_manager::execution_writer::{ExecutionWriter, LogPolicy, Rate};
use picloud_manager::repo::executions::counters::{self, Counter};
use picloud_manager::repo::executions::{self, Execution, ExecutionFilter, ExecutionsOf, retention};
use picloud_manager::store::Store;
use picloud_shared::clock::{Clock, ManualClock, Timestamp};
use picloud_shared::execution::{
    ExecutionFailure, ExecutionRecord, LogLevel, LogLine, Origin, Outcome, RecordedInput, RecordedResponse,
};
use picloud_shared::id::{AppId, ExecutionId, ScriptId};
use picloud_shared::request::{RequestHead, Scheme};
use picloud_shared::secret::GivenSecrets;
use serde_json::json;

use crate::own_cluster::OwnCluster;
use crate::rows::{NOW, all};
use crate::test_store::{TestStore, on_both};

/// Writes by command only within the length of a test's life.
const SLOWEST: Duration = Duration::from_secs(1);

struct Log {
    writer: ExecutionWriter,
    clock: Arc<ManualClock>,
    store: Store,
    app_id: AppId,
    script_id: ScriptId,
}

impl Log {
    fn start(store: &Store, policy: LogPolicy) -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let writer = ExecutionWriter::start(store.clone(), Arc::<ManualClock>::clone(&clock), policy);
        Self { writer, clock, store: store.clone(), app_id: AppId::generate(NOW), script_id: ScriptId::generate(NOW) }
    }

    fn record(&self, outcome: Outcome) -> ExecutionRecord {
        let now = self.clock.now();
        ExecutionRecord {
            id: ExecutionId::generate(now),
            app_id: self.app_id,
            script_id: self.script_id,
            script_version: 1,
            origin: Origin::ById,
            started_at: now,
            duration: Duration::from_micros(5),
            outcome,
            status: StatusCode::OK,
            policy: Arc::default(),
            input: RecordedInput::Request { head: Arc::new(head()), body: Bytes::new(), body_len: 0, event: None },
            response: None,
            failure: None,
            logs: vec![],
            secrets: GivenSecrets::default(),
        }
    }

    fn offer(&self, count: usize, outcome: Outcome) {
        let sink = self.writer.sink();
        for _ in 0..count {
            sink.record(self.record(outcome));
        }
    }

    async fn rows(&self, outcome: Option<Outcome>) -> Vec<Execution> {
        self.writer.flush().await;
        let filter = ExecutionFilter { of: ExecutionsOf::App(self.app_id), outcome, since: None };
        let mut conn = self.store.read_logs().await.unwrap();
        all(executions::list(&mut conn, &filter, 1_000_000, None, 0).await.unwrap())
    }

    async fn counters(&self) -> Vec<Counter> {
        self.writer.flush().await;
        let mut conn = self.store.read_logs().await.unwrap();
        counters::list_counters(&mut conn, self.app_id, Timestamp::from_millis(0)).await.unwrap()
    }

    async fn counted(&self) -> u64 {
        self.counters().await.iter().map(|counter| counter.count).sum()
    }
}

fn head() -> RequestHead {
    RequestHead {
        method: Method::GET,
        scheme: Scheme::Http,
        host: "x.localhost".into(),
        port: Some(8080),
        path: "/a".into(),
        query: Some("b=c".into()),
        headers: HeaderMap::new(),
        remote_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

fn policy(store: &Store, per_second: u32, burst: u32) -> LogPolicy {
    let rate = Rate { per_second, burst };
    LogPolicy { successes: rate, failures_per_app: rate, tick: SLOWEST, ..LogPolicy::for_store(store) }
}

fn weight(rows: &[Execution]) -> u64 {
    rows.iter().map(|row| row.sample_weight).sum()
}

on_both! {
    async fn of_a_script_that_is_gone_nothing_is_remembered(test: TestStore) {
        let log = Log::start(&test.store, policy(&test.store, 0, 1));
        log.offer(5, Outcome::Success);
        assert_eq!(weight(&log.rows(None).await), 1);
        log.writer.retain_scripts(|id| id == log.script_id);
        log.clock.advance(Duration::from_secs(2));
        log.offer(5, Outcome::Success);
        assert_eq!(weight(&log.rows(None).await), 6, "one for itself and the four that had none");
        log.writer.retain_scripts(|id| id != log.script_id);
        log.clock.advance(Duration::from_secs(2));
        log.offer(1, Outcome::Success);
        assert_eq!(weight(&log.rows(None).await), 7, "the four before are forgotten");
        assert_eq!(log.counted().await, 11, "and counted all the same");
    }

    async fn every_record_of_a_burst_is_kept_once(test: TestStore) {
        let log = Log::start(&test.store, policy(&test.store, 1, 50_000));
        log.offer(20_000, Outcome::Success);
        let rows = log.rows(None).await;
        assert_eq!((rows.len(), log.writer.dropped()), (20_000, 0));
        assert!(rows.iter().all(|row| row.sample_weight == 1));
        assert_eq!(log.counted().await, 20_000);
    }

    async fn a_record_is_whole_but_for_its_secrets(test: TestStore) {
        let log = Log::start(&test.store, LogPolicy::for_store(&test.store));
        let mut record = log.record(Outcome::Error);
        let mut request = head();
        for (name, value) in [("authorization", "hunter2"), ("cookie", "hunter2"), ("x-a", "1\u{e9}"), ("x-a", "2")] {
            request.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let mut headers = HeaderMap::new();
        headers.insert("set-cookie", "hunter2".parse().unwrap());
        headers.insert("content-type", "text/plain".parse().unwrap());
        let body = Bytes::from_static(b"\xff\x00");
        record.input = RecordedInput::Request { head: Arc::new(request), body, body_len: 5_000, event: None };
        record.response = Some(RecordedResponse { headers, body: Bytes::from_static(b"o\0k"), body_len: 3 });
        record.failure =
            Some(ExecutionFailure { message: "bad \0 thing".to_owned(), line: Some(3), column: None, limit: None });
        let data = Some(json!({ "k\0": ["\\u0000", "\0"] }));
        record.logs = vec![LogLine { time: NOW, level: LogLevel::Error, message: "m\0".to_owned(), data }];
        log.writer.sink().record(record.clone());

        let rows = log.rows(None).await;
        let [row] = &rows[..] else { panic!("{rows:?}") };
        let request = json!({
            "method": "GET", "url": "http://x.localhost:8080/a?b=c", "remote_ip": "127.0.0.1",
            "headers": { "x-a": ["1\u{e9}", "2"] }, "body_base64": "/wA=", "body_len": 5_000,
        });
        assert_eq!(row.request, request);
        let response = json!({ "headers": { "content-type": ["text/plain"] }, "body": "o\u{fffd}k", "body_len": 3 });
        assert_eq!(row.response, Some(response));
        assert_eq!(row.error.as_ref().unwrap().message, "bad \u{fffd} thing");
        assert_eq!(row.logs[0].data, Some(json!({ "k\u{fffd}": ["\\u0000", "\u{fffd}"] })));
        assert_eq!((row.id, row.outcome, row.duration, row.version), (record.id, Outcome::Error, record.duration, 1));
    }

    async fn over_the_rate_rows_are_samples_whose_weights_add_up(test: TestStore) {
        let log = Log::start(&test.store, policy(&test.store, 10, 100));
        log.offer(1_000, Outcome::Success);
        assert_eq!(log.rows(None).await.len(), 100, "the burst");
        log.clock.advance(Duration::from_secs(1));
        log.offer(500, Outcome::Success);
        let rows = log.rows(None).await;
        assert_eq!(rows.len(), 110, "and the rate");
        // The first row of the second burst speaks for the 900 that were skipped before it.
        assert_eq!(weight(&rows), 1_000 + 10);
        log.clock.advance(Duration::from_secs(60));
        log.offer(1, Outcome::Success);
        assert_eq!(weight(&log.rows(None).await), 1_501);
        let counted = log.counters().await;
        assert_eq!(counted.iter().map(|counter| counter.count).collect::<Vec<_>>(), [1_500, 1]);
        assert_eq!(counted[0].duration_us_sum, 1_500 * 5);
        assert_eq!(counted[1].minute.as_millis(), (NOW.as_millis() + 61_000) / 60_000 * 60_000);
        assert_eq!(log.writer.dropped(), 0, "sampling is no loss");
    }

    async fn a_busy_script_hides_no_quiet_one(test: TestStore) {
        let mut log = Log::start(&test.store, policy(&test.store, 0, 0));
        log.offer(1_000, Outcome::Success);
        let busy = std::mem::replace(&mut log.script_id, ScriptId::generate(NOW));
        log.offer(1, Outcome::Success);
        let rows = log.rows(None).await;
        assert_eq!(rows.len(), 2, "each has its sample: {rows:?}");
        assert!(rows.iter().any(|row| row.script_id == busy));
        log.clock.advance(Duration::from_millis(999));
        log.offer(1, Outcome::Success);
        assert_eq!(log.rows(None).await.len(), 2);
        log.clock.advance(Duration::from_millis(1));
        log.offer(1, Outcome::Success);
        assert_eq!(log.rows(None).await.len(), 3);
    }

    async fn failures_and_tests_are_kept_when_successes_are_not_and_capped_for_each_app(test: TestStore) {
        let mut log = Log::start(&test.store, LogPolicy { failures_per_app: Rate { per_second: 1, burst: 50 }, ..policy(&test.store, 0, 0) });
        log.offer(100, Outcome::Success);
        for outcome in [Outcome::Error, Outcome::Timeout, Outcome::BudgetExceeded, Outcome::Rejected] {
            log.offer(10, outcome);
            assert_eq!(log.rows(Some(outcome)).await.len(), 10);
        }
        let mut test_run = log.record(Outcome::Success);
        test_run.origin = Origin::Test;
        for _ in 0..10 {
            log.writer.sink().record(ExecutionRecord { id: ExecutionId::generate(NOW), ..test_run.clone() });
        }
        let successes = log.rows(Some(Outcome::Success)).await;
        assert_eq!(successes.iter().filter(|row| row.origin == Origin::Test).count(), 10);
        assert!(successes.iter().all(|row| row.sample_weight == 1), "a test stands for no traffic");

        log.offer(100, Outcome::Error);
        assert_eq!(log.rows(Some(Outcome::Error)).await.len(), 10, "the app has used its share up");
        log.app_id = AppId::generate(NOW);
        log.offer(50, Outcome::Error);
        assert_eq!(log.rows(Some(Outcome::Error)).await.len(), 50, "another app has its own");
    }

    async fn a_clock_that_goes_back_silences_nothing(test: TestStore) {
        let log = Log::start(&test.store, policy(&test.store, 0, 0));
        log.clock.advance(Duration::from_secs(3_600));
        log.offer(1, Outcome::Success);
        let past = Arc::new(ManualClock::new(NOW));
        let back = ExecutionWriter::start(test.store.clone(), past, policy(&test.store, 0, 0));
        back.sink().record(log.record(Outcome::Success));
        back.flush().await;
        assert_eq!(log.rows(None).await.len(), 2);
    }

    async fn a_flush_writes_what_came_before_it_in_order(test: TestStore) {
        let log = Log::start(&test.store, policy(&test.store, 1, 50_000));
        for round in 1..=10 {
            log.offer(50, Outcome::Success);
            assert_eq!(log.rows(None).await.len(), round * 50);
        }
        let many = (0..8).map(|_| {
            let writer = log.writer.clone();
            tokio::spawn(async move { writer.flush().await })
        });
        for flush in many.collect::<Vec<_>>() {
            flush.await.unwrap();
        }
    }

    async fn a_record_is_written_within_its_tick_without_a_flush(test: TestStore) {
        let log = Log::start(&test.store, LogPolicy { tick: Duration::ZERO, ..policy(&test.store, 1, 10) });
        log.offer(3, Outcome::Success);
        let filter = ExecutionFilter { of: ExecutionsOf::App(log.app_id), outcome: None, since: None };
        let written = async {
            while executions::count(&mut log.store.read_logs().await.unwrap(), &filter, u32::MAX).await.unwrap() < 3 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), written).await.unwrap();
    }

    async fn a_shutdown_writes_everything_and_later_records_are_counted_as_dropped(test: TestStore) {
        let log = Log::start(&test.store, policy(&test.store, 1, 50_000));
        log.offer(5_000, Outcome::Success);
        log.writer.shutdown().await;
        assert_eq!(log.rows(None).await.len(), 5_000);
        log.offer(7, Outcome::Success);
        log.writer.flush().await;
        log.writer.shutdown().await;
        assert_eq!((log.rows(None).await.len(), log.writer.dropped()), (5_000, 7));
    }

    async fn records_that_would_take_too_much_memory_are_dropped_and_counted(test: TestStore) {
        let log = Log::start(&test.store, policy(&test.store, 1, 50_000));
        let sink = log.writer.sink();
        let mut large = log.record(Outcome::Success);
        let message = "x".repeat(60_000);
        large.logs = vec![LogLine { time: NOW, level: LogLevel::Info, message, data: None }];
        let offered = 1_500;
        for _ in 0..offered {
            sink.record(ExecutionRecord { id: ExecutionId::generate(NOW), ..large.clone() });
        }
        log.writer.flush().await;
        let filter = ExecutionFilter { of: ExecutionsOf::App(log.app_id), outcome: None, since: None };
        let kept = executions::count(&mut log.store.read_logs().await.unwrap(), &filter, u32::MAX).await.unwrap();
        assert_eq!(kept + log.writer.dropped(), offered);
        assert!(log.writer.dropped() > 0 && kept > 900, "{kept} kept");
        assert_eq!(log.counted().await, offered, "counted all the same");
        // What was written takes no more of the budget.
        log.offer(1, Outcome::Success);
        log.writer.flush().await;
        assert_eq!(executions::count(&mut log.store.read_logs().await.unwrap(), &filter, u32::MAX).await.unwrap(), kept + 1);
    }

    async fn a_row_that_is_refused_takes_no_other_along_and_counts_nothing_twice(test: TestStore) {
        test.tamper_with_log(match test.store.is_sqlite() {
            true => "CREATE TRIGGER picky BEFORE INSERT ON executions WHEN NEW.version = 700 BEGIN SELECT RAISE(ABORT, 'no'); END",
            false => "ALTER TABLE executions ADD CONSTRAINT picky CHECK (version <> 700)",
        }).await;
        let log = Log::start(&test.store, policy(&test.store, 1, 50_000));
        for n in 0..1_000 {
            log.writer.sink().record(ExecutionRecord { script_version: n, ..log.record(Outcome::Success) });
        }
        assert_eq!((log.rows(None).await.len(), log.counted().await, log.writer.dropped()), (999, 1_000, 1));
    }

    async fn a_prune_is_asked_for_after_so_many_bytes_and_leaves_room_for_as_many(test: TestStore) {
        let (max_bytes, row_bytes) = (4 * 1024 * 1024, 60_000);
        let log = Log::start(&test.store, LogPolicy { max_bytes, ..policy(&test.store, 1, 50_000) });
        let offer = async |count: u64| {
            for n in 0..count {
                let mut large = log.record(Outcome::Success);
                // What PostgreSQL cannot compress.
                let message: String = (0..row_bytes / 16).map(|k| format!("{:016x}", (n * 10_000 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
                large.logs = vec![LogLine { time: NOW, level: LogLevel::Info, message, data: None }];
                log.clock.advance(Duration::from_millis(1));
                log.writer.sink().record(ExecutionRecord { id: ExecutionId::generate(log.clock.now()), ..large });
            }
            log.writer.flush().await;
        };
        let step = max_bytes / 8;
        offer(step / row_bytes - 1).await;
        assert!(log.writer.prune_due().now_or_never().is_none(), "not yet");
        offer(2).await;
        assert!(log.writer.prune_due().now_or_never().is_some());
        offer(100).await;
        let used = async || retention::usage(&mut log.store.read_logs().await.unwrap()).await.unwrap().bytes;
        let full = used().await;
        assert!(full > max_bytes, "{full}");
        assert!(log.writer.prune().await.unwrap() > 0);
        let pruned = used().await;
        assert!((max_bytes / 2..=max_bytes - step).contains(&pruned), "{pruned}");
        if let Some(dir) = test.sqlite_dir() {
            test.store.close().await;
            // The file itself is as small as what it holds: all free pages, more than one step frees, are given back.
            let file = std::fs::metadata(dir.join("logs.db")).unwrap().len();
            assert_eq!(file, pruned);
        }
    }

    async fn pruning_deletes_by_age_by_app_and_by_bytes(test: TestStore) {
        let mut keep = policy(&test.store, 1, 50_000);
        keep.max_age = Duration::from_secs(60);
        keep.max_records_per_app = 10;
        let mut log = Log::start(&test.store, keep.clone());
        log.offer(5, Outcome::Success);
        log.clock.advance(Duration::from_secs(61));
        let old = log.app_id;
        log.app_id = AppId::generate(NOW);
        log.offer(12, Outcome::Success);
        log.writer.flush().await;
        assert_eq!(log.writer.prune().await.unwrap(), 5 + 2);
        assert_eq!((log.rows(None).await.len(), log.counted().await), (10, 12));
        log.app_id = old;
        assert_eq!(log.rows(None).await.len(), 0);

        let tiny = Log::start(&test.store, LogPolicy { max_bytes: 1, max_age: Duration::from_secs(1_000_000), ..keep });
        assert_eq!(tiny.writer.prune().await.unwrap(), 10);
        assert_eq!(tiny.writer.prune().await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_store_gone_records_are_dropped_and_counted_counters_wait_and_all_recovers() {
    let cluster = OwnCluster::start();
    let store = Store::open(&cluster.config()).await.unwrap();
    let log = Log::start(&store, policy(&store, 1, 50_000));
    log.offer(10, Outcome::Success);
    assert_eq!(log.rows(None).await.len(), 10);

    cluster.stop();
    log.offer(30_000, Outcome::Success);
    let started = std::time::Instant::now();
    log.writer.flush().await;
    // Eight batches, each tried for 2.5 s, would take 20 s.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(log.writer.dropped(), 30_000);
    assert!(log.writer.prune().await.is_err());

    cluster.start_again();
    log.offer(5, Outcome::Success);
    assert_eq!(log.rows(None).await.len(), 15);
    assert_eq!(log.counted().await, 30_015, "charts stay exact");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_another_transaction_was_in_the_way_of_is_repeated_and_nothing_is_lost() {
    use sqlx::Executor;
    let test = TestStore::postgres().await;
    let log = Log::start(&test.store, policy(&test.store, 1, 50_000));
    let mut other = test.pg_connection().await;
    for table in ["executions", "execution_counters"] {
        let lock = format!("BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE");
        other.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(lock))).await.unwrap();
        log.offer(10, Outcome::Success);
        let writer = log.writer.clone();
        let flushed = tokio::spawn(async move { writer.flush().await });
        test.until_somebody_waits_for_a_lock().await;
        let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        other.execute(cancel).await.unwrap();
        other.execute("COMMIT").await.unwrap();
        flushed.await.unwrap();
    }
    assert_eq!((log.rows(None).await.len(), log.counted().await, log.writer.dropped()), (20, 20, 0));
}

#[tokio::test]
async fn an_idle_writer_writes_nothing() {
    let test = TestStore::sqlite().await;
    let log = Log::start(&test.store, LogPolicy::for_store(&test.store));
    log.offer(1, Outcome::Success);
    log.writer.flush().await;
    let sizes = || {
        let files = std::fs::read_dir(test.sqlite_dir().unwrap()).unwrap().map(Result::unwrap);
        let mut sizes: Vec<_> = files.map(|file| (file.path(), file.metadata().unwrap().len())).collect();
        sizes.sort();
        sizes
    };
    let before = sizes();
    assert!(before.iter().any(|(path, _)| path.ends_with("logs.db-wal")), "{before:?}");
    for _ in 0..20 {
        log.writer.flush().await;
    }
    assert_eq!(sizes(), before);
}
