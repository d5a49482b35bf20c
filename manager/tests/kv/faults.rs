//! What scripts see of a store that is slow or away, and what is kept then.

use std::time::{Duration, Instant};

use picloud_executor::port::{KvStore, PortCaller, PortError};
use picloud_shared::execution::Outcome;
use picloud_shared::id::AppId;
use picloud_shared::kv::{KvPlace, KvQuery};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::stage::Stage;
use crate::world::{endless, publish};

const TIMEOUT: Duration = Duration::from_millis(300);

#[test]
fn a_write_that_waits_for_a_lock_in_postgres_ends_at_the_deadline_and_was_not_made() {
    let stage = Stage::postgres();
    let published = publish(&[("main", r#"try { kv::set("a", 2); } catch { } "survived""#)], endless(TIMEOUT));
    let seeded = publish_in(&stage, &published);
    let mut other = stage.runtime.block_on(stage.test.pg_connection());
    stage.runtime.block_on(async {
        other.execute("BEGIN; SELECT * FROM kv_apps FOR UPDATE").await.unwrap();
    });
    let begun = Instant::now();
    let completion = stage.call(&published, "main");
    assert_eq!(completion.outcome, Outcome::Timeout, "{:?}", completion.failure);
    assert_eq!(completion.failure.unwrap().message, "the script ran longer than its timeout");
    assert!(begun.elapsed() < TIMEOUT * 10);
    stage.runtime.block_on(async { other.execute("ROLLBACK").await.unwrap() });
    // Whoever writes next does so after what was given up on, if that was to come.
    let caller = PortCaller { deadline: Instant::now() + Duration::from_secs(10), ..seeded };
    let place = KvPlace { collection: "default".parse().unwrap(), key: "b".parse().unwrap() };
    stage.kv.write(&caller, place, picloud_shared::kv::KvWrite::Increment(1)).unwrap();
    let query = KvQuery { collection: "default".parse().unwrap(), prefix: String::new(), after: None, limit: 10 };
    let keys: Vec<_> = stage.kv.list(&caller, &query).unwrap().entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys.iter().map(picloud_shared::kv::KvKey::as_str).collect::<Vec<_>>(), ["b", "seed"]);
}

/// Has the app keep something, so that there is a row to lock; who it is.
fn publish_in(stage: &Stage, published: &crate::world::Published) -> PortCaller {
    let caller =
        PortCaller { app: published.0.app().id, deadline: Instant::now() + Duration::from_secs(10), event_depth: 0 };
    let place = KvPlace { collection: "default".parse().unwrap(), key: "seed".parse().unwrap() };
    stage.kv.write(&caller, place, picloud_shared::kv::KvWrite::Increment(1)).unwrap();
    caller
}

#[test]
fn a_write_that_another_process_holds_up_ends_at_the_deadline_and_reads_go_on() {
    let stage = Stage::sqlite();
    let source = r#"if "set" in ctx.request.query { kv::set("a", 2); } kv::get("seed")"#;
    let published = publish(&[("main", source)], endless(TIMEOUT));
    publish_in(&stage, &published);
    let path = stage.test.sqlite_dir().unwrap().join("data.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut other = stage.runtime.block_on(async {
        let mut other = SqliteConnection::connect_with(&options).await.unwrap();
        other.execute("BEGIN IMMEDIATE").await.unwrap();
        other
    });
    let request = crate::world::request("GET", "https://shop.example.com/?set");
    let completion = stage.run(published.call_with("main", request));
    assert_eq!(completion.outcome, Outcome::Timeout, "{:?}", completion.failure);
    // It had begun, so the record says that it may come.
    assert!(completion.failure.unwrap().message.contains("whether it was made is not known"));
    assert_eq!(crate::world::text(&stage.call(&published, "main")), "1");
    stage.runtime.block_on(async {
        other.execute("ROLLBACK").await.unwrap();
    });
}

#[test]
fn a_file_that_cannot_be_opened_throws_unavailable_is_told_of_and_recovers() {
    let stage = Stage::sqlite();
    let source = r#"try { kv::incr("n", 1) } catch (error) { return error.code; }"#;
    let published = publish(&[("main", source)], endless(Duration::from_secs(20)));
    let dir = stage.test.sqlite_dir().unwrap();
    let writable = || stage.runtime.block_on(stage.test.store.is_writable());
    std::fs::rename(dir.join("data.db"), dir.join("gone.db")).unwrap();
    assert_eq!(crate::world::text(&stage.call(&published, "main")), "unavailable");
    assert!(!writable());
    std::fs::rename(dir.join("gone.db"), dir.join("data.db")).unwrap();
    assert_eq!(crate::world::text(&stage.call(&published, "main")), "1");
}

#[test]
fn a_list_that_goes_through_what_has_expired_ends_at_the_deadline() {
    let stage = Stage::sqlite();
    let caller = PortCaller { app: AppId::generate(crate::world::NOW), deadline: Instant::now(), event_depth: 0 };
    let id = caller.app.as_uuid().simple();
    let expired = format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) \
         INSERT INTO kv_entries SELECT X'{id}', 'default', 'k' || n, 'json', 1, 1, X'31' FROM n"
    );
    stage.runtime.block_on(stage.test.tamper_with_data(&expired));
    let query = KvQuery { collection: "default".parse().unwrap(), prefix: String::new(), after: None, limit: 10 };
    assert_eq!(stage.kv.list(&caller, &query).map(|page| page.entries), Err(PortError::TooLate));
    let patient = PortCaller { deadline: Instant::now() + Duration::from_secs(60), ..caller };
    assert_eq!(stage.kv.list(&patient, &query).map(|page| page.entries), Ok(Vec::new()));
}

#[test]
fn a_statement_that_fails_throws_unavailable_and_changes_nothing() {
    let stage = Stage::sqlite();
    let source = r#"try { kv::incr("n", 1) } catch (error) { return error.code; }"#;
    let published = publish(&[("main", source)], endless(Duration::from_secs(20)));
    assert_eq!(crate::world::text(&stage.call(&published, "main")), "1");
    let full = "CREATE TRIGGER full BEFORE UPDATE ON kv_entries BEGIN SELECT RAISE(ABORT, 'full'); END";
    let path = stage.test.sqlite_dir().unwrap().join("data.db");
    stage.runtime.block_on(crate::test_store::tamper_with_file(&path, full));
    assert_eq!(crate::world::text(&stage.call(&published, "main")), "unavailable");
    stage.runtime.block_on(crate::test_store::tamper_with_file(&path, "DROP TRIGGER full"));
    assert_eq!(crate::world::text(&stage.call(&published, "main")), "2");
}

#[test]
fn what_is_acknowledged_is_there_once_the_store_is_opened_again() {
    let stage = Stage::sqlite();
    let published = publish(&[("main", r#"kv::incr("n", 1)"#)], crate::world::limits());
    for _ in 0..20 {
        stage.call(&published, "main");
    }
    stage.runtime.block_on(stage.test.store.close());
    assert_eq!(crate::world::text(&stage.call(&published, "main")), "21");
}
