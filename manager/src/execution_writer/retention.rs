//! Deletes what the policy does not keep, in pieces that hold the log's file for a moment only.

use picloud_shared::clock::Timestamp;

use crate::execution_writer::policy::LogPolicy;
use crate::repo::RepoError;
use crate::repo::executions::{counters, retention};
use crate::store::Store;

/// Records deleted in one transaction.
const CHUNK: u32 = 5_000;

pub(super) async fn prune(store: &Store, policy: &LogPolicy, now: Timestamp) -> Result<u64, RepoError> {
    let oldest_kept = now.minus(policy.max_age);
    let mut deleted = delete_before(store, oldest_kept, u64::MAX).await?;
    deleted += prune_apps(store, policy).await?;
    let usage = retention::usage(&mut store.read_logs().await?).await?;
    if let Some(excess) = usage.bytes.checked_sub(policy.max_bytes).filter(|excess| *excess > 0) {
        let records = u128::from(usage.records) * u128::from(excess) / u128::from(usage.bytes);
        deleted +=
            delete_before(store, Timestamp::from_millis(i64::MAX), u64::try_from(records).unwrap_or(0) + 1).await?;
    }
    let mut tx = store.begin_logs().await?;
    counters::delete_counters_before(&mut tx, oldest_kept).await?;
    retention::vacuum_some(&mut tx).await?;
    tx.commit().await?;
    Ok(deleted)
}

/// Deletes up to `count` of the oldest records from before that moment.
async fn delete_before(store: &Store, before: Timestamp, count: u64) -> Result<u64, RepoError> {
    let mut deleted = 0;
    while deleted < count {
        let chunk = u32::try_from(count - deleted).unwrap_or(CHUNK).min(CHUNK);
        let mut tx = store.begin_logs().await?;
        let now_deleted = retention::delete_older_than(&mut tx, before, chunk).await?;
        tx.commit().await?;
        deleted += now_deleted;
        if now_deleted < u64::from(chunk) {
            break;
        }
    }
    Ok(deleted)
}

async fn prune_apps(store: &Store, policy: &LogPolicy) -> Result<u64, RepoError> {
    let crowded = retention::apps_over(&mut store.read_logs().await?, policy.max_records_per_app).await?;
    let mut deleted = 0;
    for (app_id, mut excess) in crowded {
        while excess > 0 {
            let chunk = u32::try_from(excess).unwrap_or(CHUNK).min(CHUNK);
            let mut tx = store.begin_logs().await?;
            let now_deleted = retention::delete_oldest_of_app(&mut tx, app_id, chunk).await?;
            tx.commit().await?;
            deleted += now_deleted;
            excess = if now_deleted < u64::from(chunk) { 0 } else { excess - now_deleted };
        }
    }
    Ok(deleted)
}
