//! What `picloud doctor` finds of backups that are taken by themselves: how old the newest good one is, and what went wrong since.

use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::doctor::Check;

use crate::repo::backups::{Failure, Scheduled};

const ABOUT: &str = "backup";
const HOUR: Duration = Duration::from_secs(60 * 60);

/// How the schedule is doing, of which this node takes one so often, if it takes any.
pub(super) fn of_schedule(scheduled: &Scheduled, every: Option<Duration>, now: Timestamp) -> Vec<Check> {
    let mut checks = vec![match (scheduled.newest, every) {
        (None, None) => Check::ok(
            ABOUT,
            "none are taken by themselves here: backup_dir and backup_every_hours are not set (docs/operations/backup.md)",
        ),
        (None, Some(every)) => Check::ok(
            ABOUT,
            format!("one is to be taken each {} hours; none that can be restored was taken yet", hours(every)),
        ),
        (Some(newest), None) => Check::ok(
            ABOUT,
            format!("the newest one by a schedule that can be restored is of {newest}; this node takes none"),
        ),
        (Some(newest), Some(every)) => of_age(newest, every, now),
    }];
    if let Some(Failure { at, why }) = &scheduled.failure {
        let found = format!("the one of {at} was not taken, or cannot be restored: {why}");
        checks.push(match every {
            Some(_) => {
                let fix = "mend what it names; it is tried again an hour after the last time, and until then: picloud backup FILE";
                Check::wrong(ABOUT, found, fix)
            }
            // It may be of a schedule that is no more.
            None => {
                let fix = "where a node is to take them still, ask the doctor there; else take one: picloud backup FILE";
                Check::warning(ABOUT, found, fix)
            }
        });
    }
    checks
}

/// One that is late by as much again, and by an hour for a try that failed, is missing.
fn of_age(newest: Timestamp, every: Duration, now: Timestamp) -> Check {
    let age = now.since(newest);
    let found = format!(
        "the newest one that can be restored is of {newest}, {} hours ago; one is to be taken each {} hours",
        hours(age),
        hours(every)
    );
    match age > 2 * every + HOUR {
        true => Check::warning(
            ABOUT,
            found,
            "see why (journalctl --unit picloud --grep backup), and take one: picloud backup FILE",
        ),
        false => Check::ok(ABOUT, found),
    }
}

fn hours(span: Duration) -> u64 {
    span.as_secs() / HOUR.as_secs()
}

#[cfg(test)]
mod tests {
    use picloud_shared::doctor::CheckState;

    use super::*;

    #[test]
    fn a_backup_that_failed_or_is_missing_is_told_and_that_none_are_wanted_is_well() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        let day = 24 * HOUR;
        let ago = |span: Duration| Some(now.minus(span));
        let failure = Some(Failure { at: now, why: "the disk is full".to_owned() });
        for (newest, failure, every, state, word) in [
            (None, None, None, CheckState::Ok, "not set"),
            (None, None, Some(day), CheckState::Ok, "none that can be restored was taken yet"),
            (ago(2 * day + HOUR), None, Some(day), CheckState::Ok, "49 hours ago"),
            (ago(2 * day + 2 * HOUR), None, Some(day), CheckState::Warning, "50 hours ago"),
            // The clock was ahead when it was taken.
            (Some(now.plus(day)), None, Some(day), CheckState::Ok, "0 hours ago"),
            (ago(400 * day), None, None, CheckState::Ok, "this node takes none"),
            (ago(day), failure.clone(), Some(day), CheckState::Wrong, "the disk is full"),
            (None, failure, None, CheckState::Warning, "the disk is full"),
        ] {
            let scheduled = Scheduled { begun_at: newest, newest, failure };
            let found = of_schedule(&scheduled, every, now);
            let worst = found.iter().max_by_key(|check| check.state).unwrap();
            let told = worst.state == state && found.iter().any(|check| check.found.contains(word));
            assert!(told && (state == CheckState::Ok || worst.fix.is_some()), "{found:?}");
        }
    }
}
