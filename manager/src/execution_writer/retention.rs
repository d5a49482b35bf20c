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
    deleted += prune_bytes(store, policy).await?;
    let mut tx = store.begin_logs().await?;
    counters::delete_counters_before(&mut tx, oldest_kept).await?;
    tx.commit().await?;
    vacuum(store).await?;
    Ok(deleted)
}

/// Deletes the oldest records until there is room for those that come until the next prune.
async fn prune_bytes(store: &Store, policy: &LogPolicy) -> Result<u64, RepoError> {
    let kept_bytes = policy.max_bytes - policy.prune_step();
    let mut deleted = 0;
    loop {
        let usage = retention::usage(&mut store.read_logs().await?).await?;
        let Some(excess) = usage.bytes.checked_sub(kept_bytes).filter(|excess| *excess > 0) else {
            return Ok(deleted);
        };
        // As many as would take that much if all were of one size, which they are not: then again.
        let records = u128::from(usage.records) * u128::from(excess) / u128::from(usage.bytes);
        let records = u64::try_from(records).unwrap_or(u64::MAX).saturating_add(1);
        let now_deleted = delete_before(store, Timestamp::from_millis(i64::MAX), records).await?;
        if now_deleted == 0 {
            return Ok(deleted);
        }
        deleted += now_deleted;
    }
}

/// Gives the pages that became free back to the disk, in steps between which records are written.
async fn vacuum(store: &Store) -> Result<(), RepoError> {
    let mut free = u64::MAX;
    loop {
        let mut tx = store.begin_logs().await?;
        let left = retention::vacuum_some(&mut tx).await?;
        tx.commit().await?;
        // Where others free pages as fast, the next prune goes on.
        if left == 0 || left >= free {
            return Ok(());
        }
        free = left;
    }
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
