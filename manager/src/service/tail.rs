//! Watching an app's executions as they are kept: bounded in number, and for as long as the watcher may.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use picloud_shared::id::{AppId, UserId};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, interval_at};

use crate::execution_writer::{Follower, Shown};
use crate::repo::executions::Execution;
use crate::repo::sessions;
use crate::service::authorize::{Actor, AppRef, Capability};
use crate::service::change::{AuditedStore, still_standing};
use crate::service::error::ServiceError;
use crate::service::last_use::{LastUse, UsedBy};

/// Watchers of one user: some windows of a browser and a terminal.
const WATCHERS_OF_A_USER: u64 = 8;
/// Watchers of one node, each of whom costs a look at the store now and then.
const WATCHERS: u64 = 64;
/// How often it is looked at whether a watcher still may, beside each row that comes after a change by this node: what another node
/// revoked is seen for at most so much longer.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(2);
/// After so many quiet looks something is sent, so that a connection that is lost is noticed.
const QUIET_LOOKS: u32 = 7;
/// A watcher comes again after that: no answer lasts for ever.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Lets in those who watch.
pub(crate) struct TailService {
    audited: AuditedStore,
    last_use: LastUse,
    follower: Follower,
    places: Arc<Mutex<Places>>,
    ending: watch::Sender<bool>,
}

#[derive(Default)]
struct Places {
    all: u64,
    users: HashMap<UserId, u64>,
}

/// One who watches; leaves when dropped.
struct Place {
    user: UserId,
    places: Arc<Mutex<Places>>,
}

impl Place {
    fn take(places: &Arc<Mutex<Places>>, user: UserId) -> Result<Self, ServiceError> {
        let mut taken = places.lock().unwrap_or_else(PoisonError::into_inner);
        let of_user = taken.users.get(&user).copied().unwrap_or_default();
        if of_user >= WATCHERS_OF_A_USER {
            return Err(ServiceError::TooManyStreams { most: WATCHERS_OF_A_USER });
        }
        if taken.all >= WATCHERS {
            return Err(ServiceError::TooManyStreams { most: WATCHERS });
        }
        taken.all += 1;
        taken.users.insert(user, of_user + 1);
        Ok(Self { user, places: Arc::clone(places) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(of_user) = taken.users.get_mut(&self.user) {
            *of_user -= 1;
            if *of_user == 0 {
                taken.users.remove(&self.user);
            }
        }
    }
}

/// What a watcher is told.
pub(crate) enum Seen {
    /// An execution was kept.
    Execution(Arc<Execution>),
    /// So many were kept that this watcher was too slow for.
    Missed(u64),
    /// Nothing for a while.
    Quiet,
}

/// A watcher's view of one app.
pub(crate) struct Tail {
    audited: AuditedStore,
    last_use: LastUse,
    actor: Actor,
    app: AppId,
    rows: Receiver<Shown>,
    /// The number of the last row that was seen.
    last: u64,
    /// What comes after those that were missed.
    next: Option<Arc<Execution>>,
    looks: Interval,
    quiet_looks: u32,
    until: Instant,
    /// Changes by this node: one may have been that the watcher may no longer.
    changes: watch::Receiver<()>,
    ending: watch::Receiver<bool>,
    _place: Place,
}

impl TailService {
    pub(crate) fn new(audited: AuditedStore, last_use: LastUse, follower: Follower) -> Self {
        Self { audited, last_use, follower, places: Arc::default(), ending: watch::Sender::new(false) }
    }

    /// Watches an app from now on.
    pub(crate) async fn watch(&self, actor: Actor, app: &AppRef) -> Result<Tail, ServiceError> {
        let changes = self.audited.ends();
        let access = actor.access(&mut self.audited.store.read().await?, app).await?;
        access.require(Capability::LogRead)?;
        let (now, app) = (Instant::now(), access.app.id);
        let place = Place::take(&self.places, actor.user.id)?;
        let (last, rows) = self.follower.watch(app).await?;
        Ok(Tail {
            _place: place,
            audited: self.audited.clone(),
            last_use: self.last_use.clone(),
            actor,
            app,
            rows,
            last,
            next: None,
            looks: interval_at(now + LOOKED_AT_EVERY, LOOKED_AT_EVERY),
            quiet_looks: 0,
            until: now + LONGEST,
            changes,
            ending: self.ending.subscribe(),
        })
    }

    /// Ends all watching: what is never over by itself must not keep a process that is to end.
    pub(crate) fn end(&self) {
        self.ending.send_replace(true);
    }
}

impl Tail {
    /// What is seen next; `None` when the watcher may not watch any longer.
    pub(crate) async fn next(&mut self) -> Option<Seen> {
        if let Some(row) = self.next.take() {
            return self.still_may().await.then_some(Seen::Execution(row));
        }
        loop {
            tokio::select! {
                biased;
                () = ended(&mut self.ending) => return None,
                _ = self.looks.tick() => {
                    if Instant::now() >= self.until || !self.may_go_on().await {
                        return None;
                    }
                    self.quiet_looks += 1;
                    if self.quiet_looks > QUIET_LOOKS {
                        self.quiet_looks = 0;
                        return Some(Seen::Quiet);
                    }
                }
                row = self.rows.recv() => {
                    self.quiet_looks = 0;
                    let (number, row) = match row {
                        Ok(shown) => shown,
                        // The number of the next one tells how many these were.
                        Err(RecvError::Lagged(_)) => continue,
                        Err(RecvError::Closed) => return None,
                    };
                    let missed = number - std::mem::replace(&mut self.last, number) - 1;
                    if !self.still_may().await {
                        return None;
                    }
                    if missed == 0 {
                        return Some(Seen::Execution(row));
                    }
                    self.next = Some(row);
                    return Some(Seen::Missed(missed));
                }
            }
        }
    }

    /// Whether they may, as far as this node's changes go.
    async fn still_may(&mut self) -> bool {
        match self.changes.has_changed() {
            Ok(false) => true,
            _ => {
                self.changes.mark_unchanged();
                self.may_go_on().await
            }
        }
    }

    /// Whether session or key, user, membership and app are still such that they may. Watching is no use of a session, which
    /// ends as if nobody did. Where the store cannot tell, nobody may: what is not known is not shown.
    async fn may_go_on(&self) -> bool {
        let looked = async {
            // Asked for first: once it is no note any more it is the row.
            let noted = self.actor.session().ok().and_then(|session| self.last_use.of(UsedBy::Session(session)));
            let mut conn = self.audited.store.read().await?;
            let now = self.audited.clock.now();
            if let Ok(session) = self.actor.session() {
                let row = sessions::find(&mut conn, session).await?.map(|(session, _)| session.expires_at);
                if noted.map(|last| last.expires_at).max(row) <= Some(now) {
                    return Err(ServiceError::Unauthenticated);
                }
            }
            let standing = still_standing(&mut conn, &self.actor.credential, now).await?;
            let (user, credential) = standing.ok_or(ServiceError::Unauthenticated)?;
            let actor = Actor { user, credential, ..self.actor.clone() };
            actor.access(&mut conn, &AppRef::Id(self.app)).await?.require(Capability::LogRead)
        };
        looked.await.is_ok()
    }
}

/// Comes back once all watching is to end, or nobody is left to say so.
async fn ended(ending: &mut watch::Receiver<bool>) {
    let _ = ending.wait_for(|ending| *ending).await;
}
