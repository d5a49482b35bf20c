//! The plans of the statements that read a long log, or one app's data: each goes by its index, in order, and sorts nothing.

use picloud_manager::repo::statement::{data_statements, log_statements};
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

/// Many entries of some apps, of which a few have expired.
const FILL_DATA: &str = "INSERT INTO kv_entries SELECT ('00000000-0000-0000-0001-' || lpad((n % 10)::text, 12, '0'))::uuid, 'default', \
    n::text, 'json', CASE WHEN n % 7 = 0 THEN n END, 1, 'x'::bytea FROM generate_series(1, 50000) AS n; ANALYZE kv_entries";

/// A statement that looks through an app's entries.
struct Looking {
    name: &'static str,
    statement: picloud_manager::store::Dialects,
    /// The types and values of its parameters.
    types: &'static str,
    values: &'static str,
    /// The index that it should go by; none for that of the primary key.
    index: Option<&'static str>,
}

fn looking() -> Vec<Looking> {
    let of_app = Some("kv_entries_app_id_expires_at_idx");
    let expected = [
        ("EXPIRED", "uuid, bigint, bigint", "'00000000-0000-0000-0001-000000000007', 700, 500", of_app),
        ("FIND_EXPIRED", "bigint, uuid[]", "700, '{}'", Some("kv_entries_expires_at_app_id_idx")),
        ("OF_APP", "uuid, bigint", "'00000000-0000-0000-0001-000000000007', 500", None),
    ];
    let find = |(name, types, values, index)| {
        let (_, statement) = data_statements().find(|(known, _)| known.ends_with(&format!("kv::{name}"))).unwrap();
        Looking { name, statement, types, values, index }
    };
    expected.into_iter().map(find).collect()
}

#[tokio::test]
async fn sqlite_looks_through_an_apps_data_by_an_index() {
    let test = TestStore::sqlite().await;
    let path = test.sqlite_dir().unwrap().join("data.db");
    let mut conn = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    for Looking { name, statement, index, .. } in looking() {
        let explain = format!("EXPLAIN QUERY PLAN {}", statement.sqlite);
        let rows = conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(explain))).await.unwrap();
        let plan: String = rows.iter().map(|row| row.get::<String, _>("detail") + "\n").collect();
        let index = index.unwrap_or("sqlite_autoindex_kv_entries_1");
        assert!(plan.contains(&format!("INDEX {index} (")) && !plan.contains("TEMP B-TREE"), "{name}: {plan}");
    }
}

#[tokio::test]
async fn postgres_looks_through_an_apps_data_by_an_index() {
    let test = TestStore::postgres().await;
    let mut conn = test.pg_connection().await;
    conn.execute(FILL_DATA).await.unwrap();
    conn.execute("SET enable_sort = off; SET enable_bitmapscan = off; SET enable_seqscan = off").await.unwrap();
    for Looking { name, statement, types, values, index } in looking() {
        let prepared = format!("PREPARE {name} ({types}) AS {}", statement.postgres);
        conn.execute(sqlx::raw_sql(AssertSqlSafe(prepared))).await.unwrap();
        let rows =
            conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN EXECUTE {name} ({values})")))).await.unwrap();
        let plan: String = rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect();
        // Of two that bound app and time alike it takes the one that it thinks the cheaper.
        let bounded =
            name == "EXPIRED" && plan.contains("Index Cond: ((expires_at <=") && plan.contains("AND (app_id =");
        let index = index.unwrap_or("kv_entries_app_id_collection_key_key");
        assert!((bounded || plan.contains(index)) && !plan.contains("Sort"), "{name}: {plan}");
    }
}

/// Many documents of some apps and collections, and entries of several indexes of each.
const FILL_DOCS: [&str; 2] = [
    "INSERT INTO docs_documents SELECT ('00000000-0000-0000-0001-' || lpad((n % 10)::text, 12, '0'))::uuid, 'c' || (n % 3), \
    ('00000000-0000-0000-0002-' || lpad(n::text, 12, '0'))::uuid, 1, '{}' FROM generate_series(1, 30000) AS n; ANALYZE docs_documents",
    "INSERT INTO docs_entries SELECT ('00000000-0000-0000-0001-' || lpad((n % 10)::text, 12, '0'))::uuid, n % 16, \
    decode(lpad(n::text, 8, '0'), 'hex'), ('00000000-0000-0000-0002-' || lpad(n::text, 12, '0'))::uuid FROM generate_series(1, 50000) AS n; \
    ANALYZE docs_entries",
];

/// The statements of documents that go through many, with the types and values of their parameters, and the tables that they go through
/// by a part of their key.
const OF_DOCS: [(&str, &str, &str, &str); 10] = [
    (
        "UP",
        "uuid, text, uuid, uuid, bigint, bigint",
        "APP, 'c1', ID, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 50, 1000000",
        "documents (app_id=? AND collection=? AND id>? AND id<?)",
    ),
    (
        "DOWN",
        "uuid, text, uuid, uuid, bigint, bigint",
        "APP, 'c1', ID, '00000000-0000-0000-0000-000000000000', 50, 1000000",
        "documents (app_id=? AND collection=? AND id>? AND id<?)",
    ),
    (
        "COUNT_BETWEEN",
        "uuid, text, uuid, uuid, bigint",
        "APP, 'c1', ID, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 10001",
        "documents (app_id=? AND collection=? AND id>? AND id<?)",
    ),
    (
        "INDEX_UP",
        "uuid, bigint, bytea, uuid, bytea, text, bigint, bigint",
        "APP, 7, '\\x00', ID, '\\xff', 'c1', 50, 1000000",
        "entries (app_id=? AND number=? AND (value,id)>(?,?)",
    ),
    (
        "INDEX_DOWN",
        "uuid, bigint, bytea, uuid, bytea, text, bigint, bigint",
        "APP, 7, '\\xff', ID, '\\x00', 'c1', 50, 1000000",
        "entries (app_id=? AND number=?",
    ),
    (
        "COUNT_ENTRIES",
        "uuid, bigint, bytea, bytea, bigint",
        "APP, 7, '\\x00', '\\xff', 10001",
        "entries (app_id=? AND number=? AND value>? AND value<?)",
    ),
    ("DROP_ENTRIES", "uuid, bigint, bigint", "APP, 7, 500", "entries (app_id=? AND number=? AND value=? AND id=?)"),
    ("FIRST_NUMBER", "uuid", "APP", "entries (app_id=?)"),
    ("OF_APP", "uuid, bigint", "APP, 500", "documents (app_id=?)"),
    ("PURGE_DOCUMENTS", "uuid, text, uuid", "APP, 'c0', ID", "documents (app_id=? AND (collection,id)<(?,?))"),
];

#[tokio::test]
async fn sqlite_goes_through_documents_and_entries_by_their_keys() {
    let test = TestStore::sqlite().await;
    let path = test.sqlite_dir().unwrap().join("data.db");
    let mut conn = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    for (name, _, _, expected) in OF_DOCS {
        let (_, statement) = data_statements().find(|(known, _)| known.ends_with(&format!("docs::{name}"))).unwrap();
        let rows =
            conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement.sqlite)))).await;
        let plan: String = rows.unwrap().iter().map(|row| row.get::<String, _>("detail") + "\n").collect();
        let (table, key) = expected.split_once(' ').unwrap();
        let by = if table == "entries" { "PRIMARY KEY" } else { "INDEX sqlite_autoindex_docs_documents_1" };
        let found = plan.lines().any(|line| {
            line.starts_with(&format!("SEARCH docs_{table} USING ")) && line.contains(&format!("{by} {key}"))
        });
        assert!(found && !plan.contains("SCAN docs_") && !plan.contains("TEMP B-TREE"), "{name}: {plan}");
    }
}

#[tokio::test]
async fn postgres_goes_through_documents_and_entries_by_their_keys() {
    let test = TestStore::postgres().await;
    let mut conn = test.pg_connection().await;
    for fill in FILL_DOCS {
        conn.execute(fill).await.unwrap();
    }
    for (name, types, values, _) in OF_DOCS {
        let (_, statement) = data_statements().find(|(known, _)| known.ends_with(&format!("docs::{name}"))).unwrap();
        let prepared = format!("PREPARE {name} ({types}) AS {}", statement.postgres);
        conn.execute(sqlx::raw_sql(AssertSqlSafe(prepared))).await.unwrap();
        let values = values
            .replace("APP", "'00000000-0000-0000-0001-000000000007'")
            .replace("ID", "'00000000-0000-0000-0002-000000000700'");
        let rows =
            conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN EXECUTE {name} ({values})")))).await.unwrap();
        let plan: String = rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect();
        assert!(plan.contains("docs_") && plan.contains("_pkey") && !plan.contains("Seq Scan"), "{name}: {plan}");
    }
}
