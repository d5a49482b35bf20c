//! What all apps keep together: who is near a quota, what failed for good, and what waits.

use picloud_shared::app_data::{AppData, Quota, QuotaUse};
use picloud_shared::clock::Timestamp;
use picloud_shared::id::AppId;

use crate::repo::RepoError;
use crate::repo::statement::statements;
use crate::store::data_db::{DataDb, DataRow, params};

/// Apps that are told of at most, for each thing that is told.
const APPS: u32 = 1_000;

statements! {
    KV_NEAR = "SELECT app_id, keys, bytes FROM kv_apps WHERE keys >= $1 OR bytes >= $2 ORDER BY app_id LIMIT $3";
    DOCS_NEAR = "SELECT app_id, documents, bytes FROM docs_apps WHERE documents >= $1 OR bytes >= $2 ORDER BY app_id LIMIT $3";
    EVENTS_NEAR = "SELECT app_id, events, bytes FROM event_apps WHERE events >= $1 OR bytes >= $2 ORDER BY app_id LIMIT $3";
    UNRESOLVED = "SELECT app_id, COUNT(*) AS letters FROM dead_letters WHERE resolved_at IS NULL GROUP BY app_id \
        ORDER BY letters DESC LIMIT $1";
    // The first of each lane, which its index gives.
    OLDEST = "SELECT app_id, MIN(ordered_at) AS since FROM (SELECT app_id, (SELECT ordered_at FROM events \
        WHERE events.app_id = event_lanes.app_id AND events.lane = event_lanes.lane AND ended_at IS NULL \
        ORDER BY ordered_at, seq LIMIT 1) AS ordered_at FROM event_lanes) AS firsts \
        WHERE ordered_at <= $1 GROUP BY app_id ORDER BY since LIMIT $2";
}

/// How much an app may have of things of one kind, and how many bytes of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub kv: [(Quota, u64); 2],
    pub docs: [(Quota, u64); 2],
    pub events: [(Quota, u64); 2],
}

/// What is so now.
pub(crate) async fn look<D: DataDb>(db: &mut D, bounds: Bounds, now: Timestamp) -> Result<AppData, RepoError> {
    let mut near_quota = Vec::new();
    for (statement, of) in [(&KV_NEAR, bounds.kv), (&DOCS_NEAR, bounds.docs), (&EVENTS_NEAR, bounds.events)] {
        let [items, bytes] = of.map(|(_, most)| i64::try_from(Quota::near(most)).unwrap_or(i64::MAX));
        for mut row in db.fetch(statement, params![items, bytes, APPS]).await? {
            let app = app(&mut row)?;
            for (place, (quota, most)) in (1..).zip(of) {
                let used = u64::try_from(row.take::<i64>(place, "used")?).unwrap_or(0);
                if used >= Quota::near(most) {
                    near_quota.push(QuotaUse { app, quota, used, most: most.max(1) });
                }
            }
        }
    }
    let mut dead_letters = Vec::new();
    for mut row in db.fetch(&UNRESOLVED, params![APPS]).await? {
        dead_letters.push((app(&mut row)?, u64::try_from(row.take::<i64>(1, "letters")?).unwrap_or(0)));
    }
    let mut oldest_events = Vec::new();
    for mut row in db.fetch(&OLDEST, params![now.as_millis(), APPS]).await? {
        oldest_events.push((app(&mut row)?, Timestamp::from_millis(row.take(1, "since")?)));
    }
    Ok(AppData { near_quota, dead_letters, oldest_events })
}

fn app(row: &mut DataRow) -> Result<AppId, RepoError> {
    row.take(0, "app_id").map(AppId::from_uuid)
}
