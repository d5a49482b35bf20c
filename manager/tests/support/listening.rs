//! Apps with triggers for changes of what they keep, and what these are told.

use std::sync::Arc;

use picloud_shared::id::TriggerId;
use picloud_shared::snapshot::SnapshotCell;
use picloud_shared::trigger::{Backoff, MaxAttempts, Trigger, TriggerSource};
use serde_json::Value;
use uuid::Uuid;

use crate::test_store::TestStore;
use crate::world::Published;

/// The app, published with triggers of these numbers for its script `main`. Those of higher numbers than 99 are disabled.
pub fn listening(snapshot: &SnapshotCell, app: Published, triggers: Vec<(u128, TriggerSource)>) -> Published {
    let script_id = app.script("main").row.id;
    let trigger = |(number, source): (u128, TriggerSource)| Trigger {
        id: TriggerId::from_uuid(Uuid::from_u128(number)),
        script_id,
        source,
        enabled: number < 100,
        max_attempts: MaxAttempts::default(),
        backoff: Backoff::default(),
        timeout: None,
    };
    let app = Arc::into_inner(app.0).expect("nobody has it yet");
    let app = Arc::new(app.with_triggers(triggers.into_iter().map(trigger).collect()));
    let before = snapshot.load_full();
    snapshot.store(Arc::new(before.with_apps(before.version() + 1, [(app.app().id, Some(Arc::clone(&app)))])));
    Published(app)
}

/// Each event of a trigger in its order: the trigger's number, the op, the depth and the payload.
pub async fn heard(test: &TestStore) -> Vec<(u128, String, i64, Value)> {
    let sql = "SELECT trigger_id, op, depth, payload FROM events WHERE trigger_id IS NOT NULL ORDER BY seq";
    let rows: Vec<(Uuid, String, i64, String)> = match test.sqlite_dir() {
        Some(dir) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("data.db"));
            let mut conn = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
            sqlx::query_as(sql).fetch_all(&mut conn).await.unwrap()
        }
        None => sqlx::query_as(sql).fetch_all(&mut test.pg_connection().await).await.unwrap(),
    };
    let row = |(id, op, depth, payload): (Uuid, String, i64, String)| {
        (id.as_u128(), op, depth, serde_json::from_str(&payload).unwrap())
    };
    rows.into_iter().map(row).collect()
}
