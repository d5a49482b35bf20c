//! The dispatcher: it has the enabled triggers of the snapshot handle the events that are due, each in a run of the executor
//! like any other, and says what came of them.
//!
//! It knows the snapshot, the executor and `crate::events`, and no SQL. Who is to handle an event is looked up when it is taken,
//! so that a change of a trigger or a script is heeded by the next attempt.

pub(crate) mod cron;
mod handling;
mod orphans;
mod outcome;
mod request;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use picloud_executor::{Completion, Executor, Invocation};
use picloud_shared::clock::{Clock, Timestamp};
use picloud_shared::event::Event;
use picloud_shared::execution::Outcome;
use picloud_shared::id::AppId;
use picloud_shared::script::ScriptKind;
use picloud_shared::snapshot::{PublishedApp, PublishedScript, Snapshot, SnapshotCell};
use picloud_shared::trigger::Trigger;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, warn};

use handling::{Handling, handler_of, lane_of};

use crate::events::{Events, Handler, Lane, Leased, Settled};
use crate::repo::RepoError;
use crate::survive::survive;
use crate::without_secrets::without_secrets;

/// How often the snapshot is looked at for triggers that came, went or changed.
const LOOK: Duration = Duration::from_millis(200);

/// How long nobody looks for events of a lane of which nothing was heard. What is added here rings, and what another node adds is
/// looked for by [`POLL`].
const QUIET: Duration = Duration::from_secs(30);

/// How often PostgreSQL is asked what other nodes have added.
const POLL: Duration = Duration::from_millis(500);

/// How long a lane waits for a store that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Runs of all triggers that a node has under way at most, for each worker of the executor.
const RUNS_A_WORKER: usize = 4;

/// How long the end of what was begun is waited for when the node ends.
const ENDING: Duration = Duration::from_secs(3);

/// Has triggers handle events. Clones are the same.
#[derive(Clone)]
pub(crate) struct Dispatcher(Arc<Inner>);

struct Inner {
    events: Events,
    snapshot: Arc<SnapshotCell>,
    executor: Arc<Executor>,
    clock: Arc<dyn Clock>,
    /// A permit for each run.
    runs: Arc<Semaphore>,
    most_runs: usize,
    most_of_app: usize,
    of_apps: Mutex<HashMap<AppId, Arc<Semaphore>>>,
    stopped: watch::Sender<bool>,
}

/// Why a lane is looked after no longer: nobody handles what is in it.
struct Ended;

/// What is needed to have what is in a lane handled, as it is now.
struct Ready {
    app: Arc<PublishedApp>,
    script: Arc<PublishedScript>,
    handling: Handling,
}

/// A task that looks after a lane, which ends with this.
struct Listener {
    /// Of a trigger's lane, as it was when the task was last told.
    trigger: Option<Arc<Trigger>>,
    bell: Arc<Notify>,
    task: AbortHandle,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Room for a run on this node.
struct Room {
    _run: OwnedSemaphorePermit,
    _of_app: OwnedSemaphorePermit,
}

impl Dispatcher {
    pub(crate) fn new(
        events: Events,
        snapshot: Arc<SnapshotCell>,
        executor: Arc<Executor>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let workers = executor.load().workers.max(1);
        let most_runs = workers * RUNS_A_WORKER;
        // An app has half of the workers: one of them is left to requests, for which people wait.
        let most_of_app = (workers / 2).saturating_sub(1).max(1);
        Self(Arc::new(Inner {
            events,
            snapshot,
            executor,
            clock,
            runs: Arc::new(Semaphore::new(most_runs)),
            most_runs,
            most_of_app,
            of_apps: Mutex::default(),
            stopped: watch::Sender::new(false),
        }))
    }

    /// Begins nothing any more.
    pub(crate) fn stop(&self) {
        self.0.stopped.send_replace(true);
    }

    /// Waits for what was begun, if it comes to its end soon.
    pub(crate) async fn ended(&self) {
        let all = u32::try_from(self.0.most_runs).unwrap_or(u32::MAX);
        if timeout(ENDING, self.0.runs.acquire_many(all)).await.is_err() {
            debug!("some events are still being handled; they come again once their leases have ended");
        }
    }

    /// Looks after the lanes of the snapshot's enabled triggers, and after those of scripts that have something to handle, until it
    /// is stopped.
    pub(crate) async fn dispatch(self) {
        let mut seen = None;
        let mut listeners: HashMap<(AppId, Lane), Listener> = HashMap::new();
        let mut turns = interval(LOOK);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopped = self.0.stopped.subscribe();
        while let Err(error) = self.0.events.void_leases().await {
            warn!(error = &error as &dyn std::error::Error, "triggers wait for the store");
            tokio::select! {
                () = sleep(AFTER_FAILURE) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
        loop {
            tokio::select! {
                _ = turns.tick() => {}
                () = self.0.events.strayed() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let snapshot = self.0.snapshot.load_full();
            if seen != Some(snapshot.version()) {
                seen = Some(snapshot.version());
                self.follow(&snapshot, &mut listeners);
                // A script that could not run may be able to by now.
                if let Err(error) = self.0.events.ring_all().await {
                    debug!(error = &error as &dyn std::error::Error, "what waits for scripts is looked for later");
                }
            }
            for (app, lane) in self.0.events.take_strays() {
                let listener = self.look_after(app, &lane, None);
                listeners.insert((app, lane), listener);
            }
            // A trigger may have been looked at while it could not run.
            if listeners.values().any(|listener| listener.trigger.is_some() && listener.task.is_finished()) {
                seen = None;
            }
            listeners.retain(|_, listener| !listener.task.is_finished());
            self.forget_idle_apps();
        }
    }

    /// Has each enabled trigger's lane be looked after, and tells of changes.
    fn follow(&self, snapshot: &Snapshot, listeners: &mut HashMap<(AppId, Lane), Listener>) {
        let mut wanted = HashMap::new();
        for app in snapshot.apps() {
            for trigger in app.triggers().iter().filter(|trigger| trigger.enabled) {
                wanted.insert((app.app().id, lane_of(trigger)), Arc::clone(trigger));
            }
        }
        listeners.retain(|of, listener| {
            listener.trigger.is_none() || (wanted.contains_key(of) && !listener.task.is_finished())
        });
        for ((app, lane), trigger) in wanted {
            match listeners.entry((app, lane)) {
                Entry::Occupied(known) if known.get().trigger.as_ref() == Some(&trigger) => {}
                Entry::Occupied(mut changed) => {
                    changed.get_mut().trigger = Some(trigger);
                    changed.get().bell.notify_one();
                }
                Entry::Vacant(place) => {
                    let (app, lane) = place.key();
                    let listener = self.look_after(*app, lane, Some(trigger));
                    place.insert(listener);
                }
            }
        }
    }

    /// Has events wait again whose node ended, and looks for what other nodes have added; for ever.
    pub(crate) async fn keep_reaping(self) {
        let Inner { events, .. } = &*self.0;
        // What a node had that died is due again a short while after its lease has ended.
        let turn = (events.lease() / 8).clamp(Duration::from_millis(50), POLL);
        let mut turns = interval(turn);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_rung = false;
        let mut was_alone = true;
        loop {
            turns.tick().await;
            // A process that ended may have added something since the last look.
            let is_alone = events.is_alone();
            let others_may_add = !(is_alone && was_alone);
            was_alone = is_alone;
            let work = async {
                let reaped = events.reap().await?;
                if reaped > 0 {
                    warn!(count = reaped, "events wait again, whose runs ended without a word");
                }
                // What an earlier process was told of nobody else tells of, nor what a failure left untold.
                if !has_rung {
                    events.ring_all().await?;
                } else if others_may_add {
                    events.ring_due().await?;
                }
                Ok::<_, RepoError>(())
            };
            let done = survive("looking for events", work).await;
            has_rung = matches!(done, Some(Ok(())));
            if let Some(Err(error)) = done {
                debug!(error = &error as &dyn std::error::Error, "events are not looked for now");
                sleep(AFTER_FAILURE).await;
            }
        }
    }

    /// Looks after one lane until nobody handles what is in it. What is rung when something about it changed.
    fn look_after(&self, app: AppId, lane: &Lane, trigger: Option<Arc<Trigger>>) -> Listener {
        let bell = self.0.events.bell(app, lane);
        let listening = tokio::spawn(self.clone().listen(app, lane.clone(), Arc::clone(&bell)));
        Listener { trigger, bell, task: listening.abort_handle() }
    }

    async fn listen(self, app: AppId, lane: Lane, mut bell: Arc<Notify>) {
        let mut stopped = self.0.stopped.subscribe();
        // Scripts are called now and then: nobody listens at what stays empty.
        let mut is_leaving = false;
        loop {
            let attend = survive("handling events", self.attend(app, &lane));
            let next = tokio::select! {
                attended = attend => match attended {
                    Some(Ok(next)) => next,
                    Some(Err(Ended)) => {
                        self.0.events.leave(app, &lane);
                        return;
                    }
                    None => Some(AFTER_FAILURE),
                },
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            if is_leaving {
                if next.is_none() {
                    return;
                }
                (is_leaving, bell) = (false, self.0.events.bell(app, &lane));
            }
            let rung = tokio::select! {
                () = bell.notified() => true,
                () = sleep(next.unwrap_or(QUIET)) => false,
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            if !rung && next.is_none() && matches!(lane, Lane::Script(_)) {
                // Whoever rings from now on finds nobody, and what came before is found by one more look.
                self.0.events.leave(app, &lane);
                is_leaving = true;
            }
        }
    }

    /// Has what is due of a lane handled; how long there is nothing to do, if that is known.
    async fn attend(&self, app: AppId, lane: &Lane) -> Result<Option<Duration>, Ended> {
        loop {
            let _ = self.ready(app, lane).ok_or(Ended)?;
            let room = self.room(app).await;
            // It may have waited for long.
            let ready = self.ready(app, lane).ok_or(Ended)?;
            // What was taken is told of whatever becomes of who asked for it.
            let dispatcher = self.clone();
            let taken_of = lane.clone();
            let taking = tokio::spawn(async move { dispatcher.take(ready, &taken_of, room).await });
            match taking.await {
                Ok(Ok(Taken::Some)) => {}
                Ok(Ok(Taken::None { next })) => return Ok(next),
                Ok(Err(error)) => {
                    debug!(error = &error as &dyn std::error::Error, %lane, "events cannot be taken now");
                    return Ok(Some(AFTER_FAILURE));
                }
                Err(_) => return Ok(Some(AFTER_FAILURE)),
            }
        }
    }

    /// Takes events and begins a run for them.
    async fn take(&self, ready: Ready, lane: &Lane, room: Room) -> Result<Taken, RepoError> {
        if *self.0.stopped.borrow() {
            return Ok(Taken::None { next: None });
        }
        let Handling { trigger, batch, concurrency, .. } = ready.handling;
        let of = (trigger, Some(ready.script.row.id));
        let leased = self.0.events.claim(ready.app.app().id, lane, of, batch, concurrency).await?;
        if leased.events.is_empty() {
            let until = |due_at: Timestamp| due_at.since(self.0.clock.now()).clamp(Duration::from_millis(1), QUIET);
            return Ok(Taken::None { next: leased.next_due.map(until) });
        }
        let (dispatcher, lane) = (self.clone(), lane.clone());
        tokio::spawn(async move {
            let app = leased.app;
            survive("handling events", dispatcher.handle(ready, leased)).await;
            drop(room);
            dispatcher.0.events.ring(app, &lane);
        });
        Ok(Taken::Some)
    }

    /// Has events handled, and says what came of each.
    async fn handle(&self, ready: Ready, leased: Leased) {
        let Leased { app, claim, execution, events, .. } = leased;
        let now = self.0.clock.now();
        let handler = handler_of(&ready.app);
        let (mut settled, mut given) = (Vec::new(), Vec::new());
        for event in events {
            match outcome::given_up(&event, ready.handling.max_attempts, now) {
                Some(error) => {
                    settled.push(Settled::Dead { id: event.id, outcome: None, error, handler: handler.clone() });
                }
                None => given.push(event.delivered()),
            }
        }
        let input = match request::of_events(&given, ready.handling.trigger) {
            Ok(input) => Some(input).filter(|_| !given.is_empty()),
            Err(unreadable) => {
                let dead = |event: Event| Settled::Dead {
                    id: event.id,
                    outcome: None,
                    error: unreadable.to_string(),
                    handler: handler.clone(),
                };
                settled.extend(given.drain(..).map(dead));
                None
            }
        };
        if let Some((input, origin)) = input {
            let invocation = Invocation {
                execution_id: execution,
                app: Arc::clone(&ready.app),
                script: Arc::clone(&ready.script),
                input,
                origin,
                timeout: ready.handling.timeout,
            };
            let run = async { without_secrets(self.0.executor.run(invocation).await).await };
            let completion = self.keeping(claim, run).await;
            if completion.outcome != Outcome::Success {
                debug!(execution_id = %execution, outcome = completion.outcome.as_str(), "events were not handled");
            }
            settled.extend(self.judge(&completion, &given, &ready.handling, handler.as_ref()));
        }
        self.tell(app, claim, settled).await;
    }

    fn judge(
        &self,
        completion: &Completion,
        given: &[Event],
        handling: &Handling,
        handler: Option<&Handler>,
    ) -> Vec<Settled> {
        let now: Timestamp = self.0.clock.now();
        let failures = outcome::of_run(completion, given);
        let of_event = |event: &Event| {
            let id = event.id;
            match failures.of(id) {
                outcome::OfEvent::Handled => Settled::Done(id),
                outcome::OfEvent::NotTried => Settled::PutBack { id, due_at: now.plus(outcome::until_capacity()) },
                outcome::OfEvent::Failed { outcome, error } if event.attempt < handling.max_attempts.get() => {
                    let due_at = now.plus(outcome::jitter(handling.backoff.most_after(event.attempt)));
                    Settled::Retry { id, due_at, outcome, error }
                }
                outcome::OfEvent::Failed { outcome, error } => {
                    Settled::Dead { id, outcome: Some(outcome), error, handler: handler.cloned() }
                }
            }
        };
        given.iter().map(of_event).collect()
    }

    /// Keeps what was taken while it is handled.
    async fn keeping<T>(&self, claim: uuid::Uuid, run: impl Future<Output = T>) -> T {
        let events = &self.0.events;
        let keep = async {
            let mut turns = interval(events.lease() / 4);
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            turns.tick().await;
            loop {
                turns.tick().await;
                match events.renew(claim).await {
                    Ok(true) => {}
                    Ok(false) => {
                        warn!("a run lost the lease of its events; another may handle them, too");
                        return std::future::pending::<()>().await;
                    }
                    Err(error) => debug!(error = &error as &dyn std::error::Error, "a lease cannot be kept now"),
                }
            }
        };
        tokio::pin!(run);
        tokio::select! {
            done = &mut run => done,
            () = keep => unreachable!("it is kept for ever"),
        }
    }

    /// Says what came of events. Where the store does not answer, until the lease has ended: then they come again anyway.
    async fn tell(&self, app: AppId, claim: uuid::Uuid, settled: Vec<Settled>) {
        let events = &self.0.events;
        let end = tokio::time::Instant::now() + events.lease();
        let mut pause = Duration::from_millis(100);
        while let Err(error) = events.settle(app, claim, settled.clone()).await {
            if tokio::time::Instant::now() + pause >= end {
                let error = &error as &dyn std::error::Error;
                warn!(error, "what came of events cannot be kept; they come again");
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Who handles what is in a lane as it is now, unless nobody does.
    fn ready(&self, app: AppId, lane: &Lane) -> Option<Ready> {
        let snapshot = self.0.snapshot.load();
        let app = snapshot.app(app)?;
        let (script, handling) = match lane {
            Lane::Script(id) => (*id, Handling::of_script()),
            Lane::Queue(_) | Lane::Trigger(_) => {
                let handles = |trigger: &&Arc<Trigger>| trigger.enabled && lane_of(trigger) == *lane;
                let trigger = app.triggers().iter().find(handles)?;
                (trigger.script_id, Handling::of_trigger(trigger))
            }
        };
        let script = app.script(script).filter(|script| script.row.kind == ScriptKind::Endpoint)?;
        Some(Ready { app: Arc::clone(app), script: Arc::clone(script), handling })
    }

    /// Waits for room for a run of an app. Triggers of others are not held up by it, and get theirs in turn.
    async fn room(&self, app: AppId) -> Room {
        let of_app = {
            let mut apps = self.apps();
            Arc::clone(apps.entry(app).or_insert_with(|| Arc::new(Semaphore::new(self.0.most_of_app))))
        };
        let closed = "nobody closes it";
        let of_app = of_app.acquire_owned().await.expect(closed);
        let run = Arc::clone(&self.0.runs).acquire_owned().await.expect(closed);
        Room { _run: run, _of_app: of_app }
    }

    fn forget_idle_apps(&self) {
        self.apps().retain(|_, of_app| Arc::strong_count(of_app) > 1);
    }

    fn apps(&self) -> MutexGuard<'_, HashMap<AppId, Arc<Semaphore>>> {
        self.0.of_apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of looking for events.
enum Taken {
    /// There were some, and a run was begun.
    Some,
    /// There were none.
    None {
        /// How long there are none, if nothing happens before.
        next: Option<Duration>,
    },
}
