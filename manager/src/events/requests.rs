//! Requests that are answered as soon as they are kept. They come from anybody, and may come all at once: what other events of
//! their app, and all of other apps, need is left to these.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use picloud_shared::execution::RecordPolicy;
use picloud_shared::id::ScriptId;
use picloud_shared::request::{KeptRequest, NotKept, RequestKeeper};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;
use tracing::{error, warn};

use super::*;
use crate::store::PostgresData;
use crate::store::data_file::DataConnection;

/// How long a client waits at most for its request to be kept.
const KEEPING: Duration = Duration::from_secs(5);

/// Requests of one app that a node keeps at once; more wait. The writer of SQLite does so many in one transaction. On PostgreSQL those
/// of an app follow one another whatever this is, and each has a connection while it waits for the one before it.
const AT_ONCE_ON_SQLITE: usize = 64;
const AT_ONCE_ON_POSTGRES: usize = 2;

/// Bytes of requests of one app, and of all, that are being kept or wait for their turn: all of them are in memory. Beyond that a
/// client is told at once to come again.
const ROOM_OF_APP: usize = 8 * 1024 * 1024;
const ROOM: usize = 32 * 1024 * 1024;

/// What a request takes of the room at least, for what there is of it beside its payload.
const LEAST_ROOM: usize = 1024;

/// Apps of which it is remembered that their requests are being kept, before those are forgotten that have none.
const REMEMBERED_APPS: usize = 1_000;

/// Whose requests are being kept now.
#[derive(Debug)]
pub(super) struct Arrivals {
    apps: Mutex<HashMap<AppId, Arc<OfApp>>>,
    room: Arc<Semaphore>,
}

/// What those of one app have.
#[derive(Debug)]
struct OfApp {
    turns: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

/// The place of a request that is being kept, or waits for its turn.
#[derive(Debug)]
struct Place {
    of_app: Arc<OfApp>,
    _room: [OwnedSemaphorePermit; 2],
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { apps: Mutex::default(), room: Arc::new(Semaphore::new(ROOM)) }
    }
}

impl Arrivals {
    /// A place for a payload of so many bytes, where there is room.
    fn place(&self, app: AppId, bytes: usize, at_once: usize) -> Option<Place> {
        let of_app = {
            let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
            if apps.len() >= REMEMBERED_APPS {
                apps.retain(|_, of_app| Arc::strong_count(of_app) > 1);
            }
            let (turns, room) = (|| Arc::new(Semaphore::new(at_once)), || Arc::new(Semaphore::new(ROOM_OF_APP)));
            Arc::clone(apps.entry(app).or_insert_with(|| Arc::new(OfApp { turns: turns(), room: room() })))
        };
        let bytes = u32::try_from(bytes.max(LEAST_ROOM)).ok()?;
        let room = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_many_owned(bytes).ok();
        let room = [room(&of_app.room)?, room(&self.room)?];
        Some(Place { of_app, _room: room })
    }
}

impl Place {
    /// Waits for the app's turn.
    async fn turn(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.of_app.turns).acquire_owned().await.expect("nobody closes it")
    }
}

impl EventQuota {
    /// What an app may have when a request is kept: three quarters. The rest is for what its scripts do.
    fn of_requests(self) -> Self {
        Self { events: self.events - self.events / 4, bytes: self.bytes - self.bytes / 4 }
    }
}

#[async_trait]
impl RequestKeeper for Events {
    async fn keep(&self, app: AppId, script: ScriptId, payload: EventPayload) -> Result<EventId, NotKept> {
        // A client that leaves must not keep what it has begun from being handled.
        let (events, deadline) = (self.clone(), Instant::now() + KEEPING);
        let keeping = tokio::spawn(async move { events.keep_until(deadline, app, script, payload).await });
        keeping.await.unwrap_or(Err(NotKept::Unknown))
    }
}

impl Events {
    async fn keep_until(
        &self,
        deadline: Instant,
        app: AppId,
        script: ScriptId,
        payload: EventPayload,
    ) -> Result<EventId, NotKept> {
        let at_once = if self.store.is_sqlite() { AT_ONCE_ON_SQLITE } else { AT_ONCE_ON_POSTGRES };
        let place = self.arrivals.place(app, payload.as_str().len(), at_once).ok_or(NotKept::Busy)?;
        let _turn = timeout_at(deadline.into(), place.turn()).await.map_err(|_| NotKept::Busy)?;
        let lane = Lane::Script(script);
        let event = NewEvent {
            app,
            lane: lane.clone(),
            source: EventSource::Http,
            op: EventOp::Async,
            payload,
            due_at: None,
            depth: 0,
            dedup_key: None,
            replay_of: None,
        };
        let taking = Taking { event, audit: None, now: self.clock.now(), quota: self.quota.of_requests() };
        let taken = match self.store.data() {
            DataPlace::File(file) => {
                file.write_by(deadline.into(), move |conn: &DataConnection| take_on_file(conn, &taking)).await
            }
            DataPlace::Postgres(data) => take_on_postgres(data, deadline, &taking).await,
        };
        self.bells.ring(app, &lane);
        match taken {
            Ok(taken) => taken.map_err(|refusal| NotKept::Full(refusal.to_string())),
            Err(failure) => Err(not_kept(&failure)),
        }
    }
}

/// Takes an event in the transaction that is open on that connection.
pub(super) fn take_on_file(conn: &DataConnection, taking: &Taking) -> Result<Result<EventId, EventRefusal>, RepoError> {
    at_once(async { take(&mut FileDb(conn), taking).await })
}

/// Takes an event by the deadline, or tells what is known of it.
pub(super) async fn take_on_postgres(
    data: PostgresData<'_>,
    deadline: Instant,
    taking: &Taking,
) -> Result<Result<EventId, EventRefusal>, WriteFailed> {
    let committing = AtomicBool::new(false);
    let work = async {
        let mut tx = data.begin().await?;
        let taken = take(&mut PostgresDb(&mut tx), taking).await?;
        committing.store(true, Ordering::Relaxed);
        tx.commit().await?;
        Ok::<_, RepoError>(taken)
    };
    let done = timeout_at(deadline.into(), work).await;
    match (done, committing.into_inner()) {
        (Ok(Ok(taken)), _) => Ok(taken),
        // A connection that broke amid the commit does not say what became of it.
        (Ok(Err(error)), true) => Err(WriteFailed::Unknown(error)),
        (Ok(Err(error)), false) => Err(WriteFailed::NotMade(error)),
        (Err(_), true) => Err(WriteFailed::Unsettled),
        (Err(_), false) => Err(WriteFailed::TooLate),
    }
}

/// What of a payload is shown to people, and to scripts that it is not for: all of it, but for what a request holds that records of
/// the app leave out.
pub(crate) fn shown(payload: Option<EventPayload>, source: EventSource, policy: &RecordPolicy) -> Option<EventPayload> {
    match source {
        EventSource::Http => payload.map(|payload| KeptRequest::shown(&payload, policy)),
        _ => payload,
    }
}

/// What the client is told, and the operator.
fn not_kept(failure: &WriteFailed) -> NotKept {
    let cause = failure as &dyn std::error::Error;
    match failure {
        WriteFailed::NotMade(RepoError::Unavailable(_) | RepoError::Contended(_)) | WriteFailed::TooLate => {
            warn!(error = cause, "a request cannot be kept for later");
            NotKept::Unavailable
        }
        WriteFailed::NotMade(_) => {
            error!(error = cause, "a request cannot be kept for later");
            NotKept::Unavailable
        }
        WriteFailed::Unknown(_) | WriteFailed::Unsettled => {
            warn!(error = cause, "whether a request is kept for later is not known");
            NotKept::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_leave_a_quarter_of_the_quota_to_what_scripts_do() {
        let of = |events, bytes| EventQuota { events, bytes }.of_requests();
        assert_eq!(of(100, 8), EventQuota { events: 75, bytes: 6 });
        assert_eq!(of(1, 3), EventQuota { events: 1, bytes: 3 });
        assert_eq!(of(0, u64::MAX).events, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_whose_requests_wait_holds_up_no_other() {
        let arrivals = Arrivals::default();
        let app = |n| AppId::from_uuid(uuid::Uuid::from_u128(n));
        let place = |n| arrivals.place(app(n), 1, 1).unwrap();
        let (first, second, other) = (place(1), place(1), place(2));
        let held = first.turn().await;
        let waits = tokio::time::timeout(Duration::from_secs(1), second.turn()).await;
        assert!(waits.is_err());
        let _other = other.turn().await;
        drop(held);
        let _next = second.turn().await;
    }

    #[test]
    fn what_waits_has_a_room_for_each_app_and_one_for_all() {
        let arrivals = Arrivals::default();
        let place = |n, bytes| arrivals.place(AppId::from_uuid(uuid::Uuid::from_u128(n)), bytes, 1);
        let held: Vec<_> = (1..=4).map(|n| place(n, ROOM_OF_APP - LEAST_ROOM).unwrap()).collect();
        assert!(place(1, LEAST_ROOM + 1).is_none());
        let small: Vec<_> = (1..=4).map(|n| place(n, 0).unwrap()).collect();
        assert!(place(1, 0).is_none() && place(5, 0).is_none());
        drop((held, small));
        assert!(place(5, ROOM_OF_APP).is_some());
    }

    #[test]
    fn apps_that_have_had_their_turn_are_forgotten() {
        let arrivals = Arrivals::default();
        for n in 0..3 * REMEMBERED_APPS as u128 {
            drop(arrivals.place(AppId::from_uuid(uuid::Uuid::from_u128(n)), 1, 1));
        }
        assert!(arrivals.apps.lock().unwrap().len() <= REMEMBERED_APPS);
    }
}
