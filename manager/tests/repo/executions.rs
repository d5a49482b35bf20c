//! The execution log and its counters.

use std::time::Duration;

use picloud_manager::repo::executions::counters::{self, Counter};
use picloud_manager::repo::executions::insert::{self, NewExecution};
use picloud_manager::repo::executions::{self, Ended, Execution, ExecutionFilter, ExecutionsOf, retention};
use picloud_shared::clock::Timestamp;
use picloud_shared::execution::{ExecutionFailure, LogLevel, LogLine, Origin, Outcome};
use picloud_shared::id::{AppId, ExecutionId, RouteId, ScriptId};
use serde_json::json;

use crate::rows::{NOW, all};
use crate::test_store::{TestStore, on_both};

fn row(app_id: AppId, script_id: ScriptId, started_at: Timestamp, outcome: Outcome) -> NewExecution {
    NewExecution {
        id: ExecutionId::generate(started_at),
        app_id,
        script_id,
        version: 3,
        origin: Origin::ById,
        started_at,
        duration: Duration::from_micros(1_234),
        outcome,
        status: 200,
        sample_weight: 1,
        request: "{}".to_owned(),
        response: None,
        error: None,
        logs: "[]".to_owned(),
    }
}

fn seconds(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

async fn insert(test: &TestStore, rows: &[NewExecution]) {
    let mut tx = test.store.begin_logs().await.unwrap();
    insert::insert_batch(&mut tx, rows).await.unwrap();
    tx.commit().await.unwrap();
}

async fn count_of_app(test: &TestStore, app_id: AppId) -> u64 {
    let filter = ExecutionFilter { of: ExecutionsOf::App(app_id), outcome: None, since: None };
    executions::count(&mut test.store.read_logs().await.unwrap(), &filter, u32::MAX).await.unwrap()
}

on_both! {
    async fn what_ended_lately_is_found_however_long_it_took(test: TestStore) {
        let (app_id, script_id) = (AppId::generate(NOW), ScriptId::generate(NOW));
        let run = |app_id, started_s: u64, took_s: u64| NewExecution {
            duration: Duration::from_secs(took_s),
            ..row(app_id, script_id, seconds(started_s), Outcome::Timeout)
        };
        let [early, long, short] = [run(app_id, 60, 9), run(app_id, 41, 30), run(app_id, 80, 0)];
        let other = run(AppId::generate(NOW), 80, 0);
        insert(&test, &[short.clone(), long.clone(), early, other]).await;
        let mut conn = test.store.read_logs().await.unwrap();
        let longest = Duration::from_secs(30);
        let between = (seconds(71), seconds(72));
        let all = executions::ended_since(&mut conn, app_id, between, longest, 9).await.unwrap();
        assert_eq!(all.ids, [short.id, long.id], "the one that began last first");
        assert_eq!((all.count, all.later_count), (2, 1));
        let newest = executions::ended_since(&mut conn, app_id, between, longest, 1).await.unwrap();
        assert_eq!(newest, Ended { ids: vec![short.id], ..all }, "what is cut off is counted");
        let nothing = executions::ended_since(&mut conn, app_id, (seconds(90), seconds(90)), longest, 1).await.unwrap();
        assert_eq!(nothing, Ended::default());
        let asked = [short.id, ExecutionId::generate(NOW), long.id];
        let found = executions::find_all(&mut conn, &asked).await.unwrap();
        assert_eq!(found, [&long, &short].map(|row| Ok(Execution::from(row))), "the one that began first first");
    }

    async fn an_execution_is_read_as_it_was_written(test: TestStore) {
        let (app_id, script_id) = (AppId::generate(NOW), ScriptId::generate(NOW));
        let failure = ExecutionFailure { message: "no ünïcode".to_owned(), line: Some(1), column: None, limit: None };
        let line = LogLine { time: NOW, level: LogLevel::Warn, message: "m".to_owned(), data: Some(json!({ "a": [1, null] })) };
        for origin in [Origin::Route(RouteId::generate(NOW)), Origin::ById, Origin::Test, Origin::Invoke] {
            let written = NewExecution {
                origin,
                sample_weight: 7,
                request: json!({ "url": "http://x/" }).to_string(),
                response: Some(json!({ "body": "ok" }).to_string()),
                error: Some(serde_json::to_string(&failure).unwrap()),
                logs: serde_json::to_string(&[&line]).unwrap(),
                ..row(app_id, script_id, NOW, Outcome::Timeout)
            };
            insert(&test, std::slice::from_ref(&written)).await;
            let filter = ExecutionFilter { of: ExecutionsOf::Script(script_id), outcome: None, since: None };
            let read = executions::list(&mut test.store.read_logs().await.unwrap(), &filter, 1, None, 0).await.unwrap();
            let expected = Execution {
                id: written.id,
                app_id,
                script_id,
                version: 3,
                origin,
                started_at: NOW,
                duration: Duration::from_micros(1_234),
                outcome: Outcome::Timeout,
                status: 200,
                sample_weight: 7,
                request: json!({ "url": "http://x/" }),
                response: Some(json!({ "body": "ok" })),
                error: Some(failure.clone()),
                logs: vec![line.clone()],
            };
            assert_eq!(read, [Ok(expected)]);
            let mut tx = test.store.begin_logs().await.unwrap();
            assert_eq!(retention::delete_oldest_of_app(&mut tx, app_id, 9).await.unwrap(), 1);
            tx.commit().await.unwrap();
        }
    }

    async fn a_batch_of_any_length_is_written_whole_and_once(test: TestStore) {
        for length in [0, 1, 63, 64, 65, 200] {
            let (app_id, script_id) = (AppId::generate(NOW), ScriptId::generate(NOW));
            let rows: Vec<_> = (0..length).map(|n| row(app_id, script_id, seconds(n), Outcome::Success)).collect();
            insert(&test, &rows).await;
            insert(&test, &rows).await;
            assert_eq!(count_of_app(&test, app_id).await, length);
        }
    }

    async fn executions_are_listed_newest_first_and_filtered(test: TestStore) {
        let (app_id, one, two) = (AppId::generate(NOW), ScriptId::generate(NOW), ScriptId::generate(NOW));
        let mut rows = Vec::new();
        for n in 0..6 {
            let outcome = if n % 2 == 0 { Outcome::Success } else { Outcome::Error };
            rows.push(row(app_id, if n < 4 { one } else { two }, seconds(n), outcome));
        }
        rows.push(row(AppId::generate(NOW), one, seconds(9), Outcome::Success));
        insert(&test, &rows).await;
        let mut conn = test.store.read_logs().await.unwrap();
        let of_app = ExecutionFilter { of: ExecutionsOf::App(app_id), outcome: None, since: None };
        let of_one = ExecutionFilter { of: ExecutionsOf::Script(one), ..of_app };
        for (filter, limit, offset, expected, total) in [
            (of_app, 9, 0, &[5, 4, 3, 2, 1, 0][..], 6),
            (of_app, 2, 1, &[4, 3], 6),
            (of_app, 2, 9, &[], 6),
            (of_one, 9, 0, &[6, 3, 2, 1, 0], 5),
            (ExecutionFilter { outcome: Some(Outcome::Error), ..of_app }, 9, 0, &[5, 3, 1], 3),
            (ExecutionFilter { outcome: Some(Outcome::Rejected), ..of_app }, 9, 0, &[], 0),
            (ExecutionFilter { since: Some(seconds(3)), ..of_app }, 9, 0, &[5, 4, 3], 3),
        ] {
            let listed = all(executions::list(&mut conn, &filter, limit, None, offset).await.unwrap());
            let ids: Vec<_> = listed.iter().map(|execution| execution.id).collect();
            assert_eq!(ids, expected.iter().map(|at| rows[*at].id).collect::<Vec<_>>(), "{filter:?}");
            assert_eq!(executions::count(&mut conn, &filter, 100).await.unwrap(), total, "{filter:?}");
            assert_eq!(executions::count(&mut conn, &filter, 2).await.unwrap(), total.min(2), "{filter:?}");
            let Some((last, before)) = ids.split_last() else { continue };
            let rest = all(executions::list(&mut conn, &filter, 9, before.last().copied(), 0).await.unwrap());
            assert!(before.is_empty() || rest[0].id == *last, "a cursor goes on after its row");
        }
    }

    async fn counters_add_up(test: TestStore) {
        let counter = Counter {
            app_id: AppId::generate(NOW),
            script_id: ScriptId::generate(NOW),
            minute: Timestamp::from_millis(60_000),
            outcome: Outcome::Success,
            count: 2,
            duration_us_sum: 10,
        };
        let others = [
            Counter { minute: Timestamp::from_millis(120_000), ..counter.clone() },
            Counter { outcome: Outcome::Error, ..counter.clone() },
        ];
        let mut tx = test.store.begin_logs().await.unwrap();
        for _ in 0..3 {
            counters::add_counters(&mut tx, std::slice::from_ref(&counter)).await.unwrap();
        }
        counters::add_counters(&mut tx, &others).await.unwrap();
        counters::add_counters(&mut tx, &[]).await.unwrap();
        let sum = Counter { count: 6, duration_us_sum: 30, ..counter.clone() };
        let counted = counters::list_counters(&mut tx, counter.app_id, Timestamp::from_millis(0)).await.unwrap();
        assert_eq!(counted, [others[1].clone(), sum, others[0].clone()]);
        let later = counters::list_counters(&mut tx, counter.app_id, Timestamp::from_millis(60_001)).await.unwrap();
        assert_eq!(later, others[..1]);
        assert_eq!(counters::delete_counters_before(&mut tx, Timestamp::from_millis(120_000)).await.unwrap(), 2);
    }

    async fn the_oldest_are_deleted_first_in_pieces(test: TestStore) {
        let (app_id, script_id) = (AppId::generate(NOW), ScriptId::generate(NOW));
        let rows: Vec<_> = (0..10).map(|n| row(app_id, script_id, seconds(n), Outcome::Success)).collect();
        insert(&test, &rows).await;
        let mut tx = test.store.begin_logs().await.unwrap();
        assert_eq!(retention::delete_older_than(&mut tx, seconds(5), 3).await.unwrap(), 3);
        assert_eq!(retention::delete_older_than(&mut tx, seconds(5), 3).await.unwrap(), 2);
        assert_eq!(retention::delete_older_than(&mut tx, seconds(5), 3).await.unwrap(), 0);
        assert_eq!(retention::apps_over(&mut tx, 3).await.unwrap(), [(app_id, 2)]);
        assert_eq!(retention::apps_over(&mut tx, 5).await.unwrap(), []);
        assert_eq!(retention::delete_oldest_of_app(&mut tx, app_id, 2).await.unwrap(), 2);
        retention::vacuum_some(&mut tx).await.unwrap();
        let filter = ExecutionFilter { of: ExecutionsOf::App(app_id), outcome: None, since: None };
        let left = all(executions::list(&mut tx, &filter, 9, None, 0).await.unwrap());
        let left: Vec<_> = left.iter().map(|execution| execution.id).collect();
        assert_eq!(left, [rows[9].id, rows[8].id, rows[7].id]);
    }

    async fn the_log_knows_its_size(test: TestStore) {
        let (app_id, script_id) = (AppId::generate(NOW), ScriptId::generate(NOW));
        let mut conn = test.store.read_logs().await.unwrap();
        let empty = retention::usage(&mut conn).await.unwrap();
        assert_eq!(empty.records, 0);
        drop(conn);
        let noise = |n: u64| (0..250).map(|k| format!("{:016x}", (n * 1_000 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect::<String>();
        let rows: Vec<_> = (0..300)
            .map(|n| NewExecution { request: json!(noise(n)).to_string(), ..row(app_id, script_id, seconds(n), Outcome::Success) })
            .collect();
        insert(&test, &rows).await;
        let mut conn = test.store.read_logs().await.unwrap();
        let full = retention::usage(&mut conn).await.unwrap();
        assert_eq!(full.records, 300);
        let grown = full.bytes - empty.bytes;
        // 300 requests of 4,000 bytes, which PostgreSQL may compress to half of it.
        assert!((600_000..2_400_000).contains(&grown), "{grown}");
        drop(conn);
        let mut tx = test.store.begin_logs().await.unwrap();
        retention::delete_oldest_of_app(&mut tx, app_id, 299).await.unwrap();
        tx.commit().await.unwrap();
        let pruned = retention::usage(&mut test.store.read_logs().await.unwrap()).await.unwrap();
        assert!(pruned.bytes < full.bytes / 4, "{pruned:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_count_the_same_do_not_deadlock() {
    let test = TestStore::postgres().await;
    let app_id = AppId::generate(NOW);
    let counter = |n: u8| Counter {
        app_id,
        script_id: ScriptId::from_uuid(uuid::Uuid::from_u128(u128::from(n))),
        minute: Timestamp::from_millis(60_000),
        outcome: Outcome::Success,
        count: 1,
        duration_us_sum: 1,
    };
    let mut one = test.store.begin_logs().await.unwrap();
    counters::add_counters(&mut one, &[counter(1)]).await.unwrap();
    let other = async {
        let mut other = test.store.begin_logs().await.unwrap();
        counters::add_counters(&mut other, &[counter(2), counter(1)]).await.unwrap();
        other.commit().await.unwrap();
    };
    let one = async {
        test.until_somebody_waits_for_a_lock().await;
        counters::add_counters(&mut one, &[counter(2)]).await.unwrap();
        one.commit().await.unwrap();
    };
    futures_util::future::join(one, other).await;
    let mut conn = test.store.read_logs().await.unwrap();
    let counted = counters::list_counters(&mut conn, app_id, Timestamp::from_millis(0)).await.unwrap();
    assert_eq!(counted.iter().map(|counter| counter.count).collect::<Vec<_>>(), [2, 2]);
}
