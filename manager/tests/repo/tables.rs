//! The list of tables, by which whole stores are copied, is the schema's.

use std::collections::BTreeMap;

use picloud_manager::repo::tables::{TABLES, TableFile};
use sqlx::{Connection, SqliteConnection};

use crate::test_store::TestStore;

#[tokio::test]
async fn the_list_has_each_table_of_each_file_of_sqlite() {
    let test = TestStore::sqlite().await;
    for file in [TableFile::Main, TableFile::Data, TableFile::Logs] {
        let path = test.sqlite_dir().unwrap().join(format!("{}.db", file.name()));
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
        let found = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
            AND name <> '_sqlx_migrations' ORDER BY name";
        let found: Vec<String> = sqlx::query_scalar(found).fetch_all(&mut conn).await.unwrap();
        let mut listed: Vec<&str> = TABLES.iter().filter(|table| table.file == file).map(|table| table.name).collect();
        listed.sort_unstable();
        assert_eq!(listed, found, "{file:?}: a new table belongs into manager/src/repo/tables.rs");
    }
}

#[tokio::test]
async fn the_list_has_each_column_of_json_and_each_table_after_those_that_it_refers_to() {
    let test = TestStore::postgres().await;
    let mut conn = test.pg_connection().await;
    let found = "SELECT table_name::text, column_name::text FROM information_schema.columns \
        WHERE table_schema = 'public' AND data_type = 'jsonb'";
    let found: Vec<(String, String)> = sqlx::query_as(found).fetch_all(&mut conn).await.unwrap();
    let mut by_table: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (table, column) in found {
        by_table.entry(table).or_default().push(column);
    }
    for table in TABLES {
        let mut found = by_table.remove(table.name).unwrap_or_default();
        let mut listed = table.json.to_vec();
        found.sort();
        listed.sort_unstable();
        assert_eq!(listed, found, "{}", table.name);
    }
    assert!(by_table.is_empty(), "{by_table:?}");
    let refer = "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'";
    let refer: Vec<(String, String)> = sqlx::query_as(refer).fetch_all(&mut conn).await.unwrap();
    let place = |name: &str| TABLES.iter().position(|table| table.name == name).unwrap();
    assert!(!refer.is_empty());
    for (from, to) in refer {
        assert!(place(&to) < place(&from), "{from} refers to {to}");
    }
}
