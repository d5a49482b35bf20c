//! The plans of the statements that read a long log: each goes by its index, in order, and sorts nothing.

use picloud_manager::repo::statement::log_statements;
use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqliteConnection};

use crate::test_store::TestStore;

/// Some apps of some scripts, most of whose runs succeed.
const FILL: &str = "INSERT INTO executions SELECT ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, \
    ('00000000-0000-0000-0001-' || lpad((n % 10)::text, 12, '0'))::uuid, \
    ('00000000-0000-0000-0002-' || lpad((n % 100)::text, 12, '0'))::uuid, 1, 'by_id', NULL, n, 1, \
    CASE WHEN n % 77 = 0 THEN 'error' ELSE 'success' END, 200, 1, '{}', NULL, NULL, '[]' \
    FROM generate_series(1, 50000) AS n; ANALYZE executions";

/// The pages and counts of the log, and what those who watch are shown.
fn statements() -> Vec<(&'static str, picloud_manager::store::Dialects)> {
    let reads = |name: &str| {
        ["LIST_OF", "COUNT_OF", "ENDED_OF"].iter().any(|what| name.contains(&format!("executions::{what}")))
    };
    let found: Vec<_> = log_statements().filter(|(name, _)| reads(name)).collect();
    assert_eq!(found.len(), 9);
    found
}

/// The index that a statement should go by.
fn index(name: &str) -> String {
    let of = if name.contains("OF_SCRIPT") { "script" } else { "app" };
    let outcome = if name.ends_with("BY_OUTCOME") { "outcome_" } else { "" };
    format!("executions_{of}_id_{outcome}id_idx")
}

#[tokio::test]
async fn sqlite_reads_pages_of_the_log_by_their_index() {
    let test = TestStore::sqlite().await;
    let path = test.sqlite_dir().unwrap().join("logs.db");
    let mut conn = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    for (name, statement) in statements() {
        let rows =
            conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement.sqlite)))).await;
        let plan: String = rows.unwrap().iter().map(|row| row.get::<String, _>("detail") + "\n").collect();
        // What ended lately is asked for where several nodes share a store, and is there for both because statements are.
        let is_sorted = plan.contains("TEMP B-TREE") && !name.contains("ENDED_OF");
        assert!(plan.contains(&format!("INDEX {} (", index(name))) && !is_sorted, "{name}: {plan}");
    }
}

#[tokio::test]
async fn postgres_reads_pages_of_the_log_by_their_index() {
    let test = TestStore::postgres().await;
    let mut conn = test.pg_connection().await;
    conn.execute(FILL).await.unwrap();
    // A handful of rows may well be gathered and sorted; this asks what can be done with many.
    conn.execute("SET enable_sort = off; SET enable_bitmapscan = off; SET enable_seqscan = off").await.unwrap();
    for (at, (name, statement)) in statements().into_iter().enumerate() {
        let parameters = match (name.contains("LIST"), name.ends_with("BY_OUTCOME")) {
            _ if name.contains("ENDED_OF") => "uuid, uuid, bigint, bigint, bigint",
            (true, false) => "uuid, uuid, uuid, bigint, bigint, bigint",
            (true, true) => "uuid, uuid, uuid, bigint, bigint, bigint, text",
            (false, false) => "uuid, uuid, bigint, bigint",
            (false, true) => "uuid, uuid, bigint, bigint, text",
        };
        let of = if name.contains("OF_SCRIPT") { "0002-000000000077" } else { "0001-000000000007" };
        let first_page = match name.contains("LIST") {
            _ if name.contains("ENDED_OF") => "'00000000-0000-0000-0000-000000000000', 0, 0, 10000",
            true => "'ffffffff-ffff-ffff-ffff-ffffffffffff', '00000000-0000-0000-0000-000000000000', 0, 51, 0",
            false => "'00000000-0000-0000-0000-000000000000', 0, 10000",
        };
        let outcome = if name.ends_with("BY_OUTCOME") { ", 'error'" } else { "" };
        let prepared = format!("PREPARE s{at} ({parameters}) AS {}", statement.postgres);
        conn.execute(sqlx::raw_sql(AssertSqlSafe(prepared))).await.unwrap();
        let explain = format!("EXPLAIN EXECUTE s{at} ('00000000-0000-0000-{of}', {first_page}{outcome})");
        let rows = conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(explain))).await.unwrap();
        let plan: String = rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect();
        assert!(plan.contains(&index(name)) && !plan.contains("Sort"), "{name}: {plan}");
    }
}
