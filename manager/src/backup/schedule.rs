//! Backups that the instance takes by itself: one for all nodes at a time, each tried out before an older one is removed for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use picloud_shared::backups::Backups;
use picloud_shared::clock::{Clock, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use tracing::{debug, info, warn};

use crate::backup::restore::check_in;
use crate::backup::{Backup, BackupError, Progress, back_up, on_a_thread};
use crate::repo::RepoError;
use crate::repo::backups::{self, Failure, Scheduled};
use crate::store::{DatabaseConfig, Store};
use crate::survive::survive;

/// How often is looked whether one is due.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long after one was begun that did not succeed, or whose node died with it, the next is.
const RETRY: Duration = Duration::from_secs(60 * 60);
/// How often a node says that it is still at it: several times before another takes it for dead.
const RENEWAL: Duration = Duration::from_secs(10 * 60);
/// How much longer a node waits that has failed itself: each other one has had its turn by then.
const REST: Duration = Duration::from_secs(2 * 60);
/// What the files are called, with the time between the two.
const NAME: (&str, &str) = ("picloud-", ".backup");
/// What is added to the name until the backup was tried out.
const UNTRIED: &str = "untried";
/// What folders begin with in which that is done.
const TRIAL: &str = ".picloud-trial-";
/// Characters that are kept of why one failed.
const MOST_REASON: usize = 1_000;

/// Backups that are to be taken by themselves.
#[derive(Debug, Clone)]
pub struct BackupPlan {
    /// Where to.
    pub dir: PathBuf,
    /// How often.
    pub every: Duration,
    /// How many are kept; at least one.
    pub keep: usize,
    /// Of which store.
    pub database: DatabaseConfig,
    /// Where its secret key is.
    pub secret_key_file: PathBuf,
}

/// Takes them.
pub(crate) struct Schedule {
    plan: BackupPlan,
    store: Store,
    clock: Arc<dyn Clock>,
    told: watch::Sender<Backups>,
}

impl Schedule {
    pub(crate) fn new(plan: BackupPlan, store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { plan, store, clock, told: watch::Sender::default() }
    }

    /// How they are doing.
    pub(crate) fn told(&self) -> watch::Receiver<Backups> {
        self.told.subscribe()
    }

    /// Takes them, for ever.
    pub(crate) async fn keep_taking(self) {
        let mut turns = interval(INTERVAL);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rests_until = Instant::now();
        loop {
            turns.tick().await;
            match survive("taking a scheduled backup", self.turn(Instant::now() >= rests_until)).await {
                Some(Ok(true)) => {}
                Some(Err(error)) => {
                    debug!(error = &error as &dyn std::error::Error, "whether a backup is due cannot be told")
                }
                Some(Ok(false)) => rests_until = Instant::now() + RETRY + REST,
                None => {
                    rests_until = Instant::now() + RETRY + REST;
                    self.count_failure();
                }
            }
        }
    }

    /// Takes one if it is due, and if this node `may` be who does. Whether nothing went wrong with it.
    async fn turn(&self, may: bool) -> Result<bool, RepoError> {
        let begun_at = self.clock.now();
        let scheduled = backups::get(&mut self.store.read().await?).await?;
        self.told.send_modify(|told| told.newest = scheduled.newest);
        if !may || !is_due(&scheduled, self.plan.every, begun_at) || !self.claim(begun_at).await? {
            return Ok(true);
        }
        let plan = self.plan.clone();
        let mut taking = pin!(on_a_thread(async move || take(&plan, begun_at).await));
        let mut renewals = interval_at(Instant::now() + RENEWAL, RENEWAL);
        let taken = loop {
            tokio::select! {
                taken = &mut taking => break taken,
                _ = renewals.tick() => {
                    let now = self.clock.now();
                    if let Err(error) = self.note(|noted| noted.begun_at = Some(now)).await {
                        debug!(error = &error as &dyn std::error::Error, "that a backup is being taken cannot be told");
                    }
                }
            }
        };
        match taken {
            Ok(file) => {
                info!(file = %file.display(), "a backup was taken, and tried out");
                let newest = Some(begun_at);
                self.note(|noted| *noted = Scheduled { begun_at: newest, newest, failure: None }).await?;
                self.told.send_modify(|told| told.newest = newest);
                Ok(true)
            }
            Err(error) => {
                self.count_failure();
                let why = error.to_string().chars().take(MOST_REASON).collect();
                warn!(
                    error = &error as &dyn std::error::Error,
                    dir = %self.plan.dir.display(),
                    "no backup was taken, or none that can be restored; it is tried again in an hour"
                );
                if let Err(error) = self.note(|noted| noted.failure = Some(Failure { at: begun_at, why })).await {
                    debug!(error = &error as &dyn std::error::Error, "that no backup was taken cannot be noted");
                }
                Ok(false)
            }
        }
    }

    fn count_failure(&self) {
        self.told.send_modify(|told| told.failures += 1);
    }

    /// Whether it falls to this node. Nodes ask one after the other.
    async fn claim(&self, now: Timestamp) -> Result<bool, RepoError> {
        let mut tx = self.store.begin().await?;
        let scheduled = backups::get(&mut tx).await?;
        if !is_due(&scheduled, self.plan.every, now) {
            return Ok(false);
        }
        backups::set(&mut tx, &Scheduled { begun_at: Some(now), ..scheduled }).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn note(&self, change: impl FnOnce(&mut Scheduled)) -> Result<(), RepoError> {
        let mut tx = self.store.begin().await?;
        let mut noted = backups::get(&mut tx).await?;
        change(&mut noted);
        backups::set(&mut tx, &noted).await?;
        tx.commit().await
    }
}

/// Takes one, tries it out, and removes what is too old then.
async fn take(plan: &BackupPlan, now: Timestamp) -> Result<PathBuf, BackupError> {
    let BackupPlan { dir, keep, database, secret_key_file, .. } = plan;
    let failed = |source: io::Error| BackupError::File { path: dir.clone(), source };
    fs::create_dir_all(dir).and_then(|()| remove_unfinished(dir)).map_err(failed)?;
    let (before, after) = NAME;
    let name = format!("{before}{}{after}", now.to_string().replace(':', "-"));
    let file = dir.join(&name);
    let untried = file.with_added_extension(UNTRIED);
    let backup = Backup {
        database: database.clone(),
        secret_key_file: secret_key_file.clone(),
        file: untried.clone(),
        with_logs: false,
        with_key: None,
        now,
    };
    back_up(backup, Box::new(|_| true)).await?;
    let trial = tempfile::Builder::new().prefix(TRIAL).tempdir_in(dir).map_err(failed)?;
    let checked = check_in(trial.path(), &untried, secret_key_file, None, &mut |_: Progress| true).await?;
    drop(trial);
    if let Some(violation) = checked.audit_log {
        let error = &violation as &dyn std::error::Error;
        warn!(error, "the audit log in the backup is not as it was written");
    }
    fs::rename(&untried, &file).and_then(|()| fs::File::open(dir)?.sync_all()).map_err(failed)?;
    // It is a good one, whatever becomes of others.
    if let Err(error) = remove_oldest(dir, &name, *keep) {
        let error = &error as &dyn std::error::Error;
        warn!(error, dir = %dir.display(), "backups that are too old cannot be removed; remove them, or the disk will be full one day");
    }
    Ok(file)
}

/// Whether one is due.
fn is_due(scheduled: &Scheduled, every: Duration, now: Timestamp) -> bool {
    let Some(begun_at) = scheduled.begun_at else { return true };
    let wait = if scheduled.newest == Some(begun_at) { every } else { every.min(RETRY) };
    // A clock that was set back has none wait for longer than that.
    now.since(begun_at) >= wait || begun_at.since(now) >= wait
}

/// Removes what one that was cut short has left.
fn remove_unfinished(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.starts_with(TRIAL) && path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if name.starts_with(NAME.0) && (name.ends_with(".untried") || name.ends_with(".untried.partial")) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes all but the newest, by the times in their names. One from a time that is to come was made by a clock that was wrong: it goes
/// first, and never in the place of the one that was `made` just now.
fn remove_oldest(dir: &Path, made: &str, keep: usize) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().filter(|name| is_ours(name)) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable_by(|one, other| (&**one <= made, one).cmp(&(&**other <= made, other)));
    let gone = names.len().saturating_sub(keep.max(1));
    let mut removed = Ok(());
    for name in &names[..gone] {
        // One that stays keeps no other from being removed.
        removed = removed.and(fs::remove_file(dir.join(name)));
    }
    removed
}

/// Whether a schedule made the file of that name: its time is one. What people put beside is not touched.
fn is_ours(name: &str) -> bool {
    let time = name.strip_prefix(NAME.0).and_then(|name| name.strip_suffix(NAME.1));
    time.and_then(|time| time.split_once('T')).is_some_and(|(date, time)| {
        let time = time.replacen('-', ":", 2);
        format!("{date}T{time}").parse::<Timestamp>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn one_is_due_when_its_time_has_passed_or_an_hour_after_one_that_failed() {
        let ago = |span: Duration| Some(NOW.minus(span));
        let hour = Duration::from_secs(3600);
        for (begun_at, newest, due) in [
            (None, None, true),
            (ago(DAY), ago(DAY), true),
            (ago(DAY - hour), ago(DAY - hour), false),
            (ago(hour), ago(2 * DAY), true),
            (ago(hour / 2), ago(2 * DAY), false),
            (ago(hour / 2), None, false),
            // The clock was a year ahead for a while.
            (Some(NOW.plus(365 * DAY)), Some(NOW.plus(365 * DAY)), true),
        ] {
            let scheduled = Scheduled { begun_at, newest, failure: None };
            assert_eq!(is_due(&scheduled, DAY, NOW), due, "{begun_at:?} {newest:?}");
        }
    }

    #[test]
    fn the_newest_are_kept_and_what_others_put_there_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let name = |day: u32| format!("picloud-{}.backup", NOW.plus(day * DAY).to_string().replace(':', "-"));
        let names: Vec<String> = (0..5).map(name).collect();
        let others =
            ["picloud-mine.backup", "notes.txt", "cloud.backup", "picloud-2026-01-01T00-00-00.000Z.backup.old"];
        let untried = [format!("{}.untried", name(9)), format!("{}.untried.partial", name(8))];
        for name in names.iter().map(String::as_str).chain(others).chain(untried.iter().map(String::as_str)) {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join(".picloud-trial-left")).unwrap();
        remove_unfinished(dir.path()).unwrap();
        remove_oldest(dir.path(), &names[4], 2).unwrap();
        let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<String> = left.collect();
        left.sort();
        let mut expected: Vec<String> = names[3..].iter().cloned().chain(others.map(str::to_owned)).collect();
        expected.sort();
        assert_eq!(left, expected);
        remove_oldest(dir.path(), &names[4], 0).unwrap();
        assert!(dir.path().join(&names[4]).exists(), "there is always one");
    }

    #[test]
    fn the_one_that_was_just_made_stays_though_others_are_of_a_later_time_or_cannot_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let name = |day: u32| format!("picloud-{}.backup", NOW.plus(day * DAY).to_string().replace(':', "-"));
        let there = |day: u32| dir.path().join(name(day)).exists();
        for day in [1, 2, 3, 901, 902, 903] {
            fs::write(dir.path().join(name(day)), "").unwrap();
        }
        remove_oldest(dir.path(), &name(3), 4).unwrap();
        assert_eq!([1, 2, 3, 901, 902, 903].map(there), [true, true, true, false, false, true]);
        // No file, so that it cannot be removed as one.
        fs::create_dir(dir.path().join(name(0))).unwrap();
        assert!(remove_oldest(dir.path(), &name(3), 1).is_err());
        assert_eq!([0, 1, 2, 3, 903].map(there), [true, false, false, true, false]);
    }
}
