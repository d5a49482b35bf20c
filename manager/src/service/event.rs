//! Events and queues as people look at them, and what they add to them and take away. Scripts do so by themselves
//! (`crate::events`).

use std::time::Duration;

use picloud_shared::event::{DedupKey, EventOp, EventPayload, EventSource};
use picloud_shared::execution::RecordPolicy;
use picloud_shared::id::{AppId, EventId, TriggerId};
use picloud_shared::name::QueueName;
use picloud_shared::trigger::TriggerSource;
use serde_json::json;

use crate::events::{
    AttemptRow, AuditOf, EventFilter, EventQuota, EventRefusal, EventRow, EventState, EventUsage, Events, Lane,
    MAX_QUEUES, NewEvent, QueueDepth, shown,
};
use crate::repo::RepoError;
use crate::repo::audit::AuditObject;
use crate::repo::triggers;
use crate::service::authorize::{Actor, AppRef, Capability};
use crate::service::change::{Author, Desk, Event};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize};

pub(crate) struct EventService {
    desk: Desk,
    events: Events,
}

/// The queues of an app, and what all of its events come to.
pub(crate) struct Queues {
    pub usage: EventUsage,
    pub quota: EventQuota,
    pub queues: Page<QueueDepth, QueueName>,
}

/// A message that a person sends.
pub(crate) struct NewMessage {
    pub queue: QueueName,
    pub payload: EventPayload,
    pub delay: Duration,
    pub dedup_key: Option<DedupKey>,
}

impl EventService {
    pub(crate) fn new(desk: Desk, events: Events) -> Self {
        Self { desk, events }
    }

    /// A page of events, the newest first.
    pub(crate) async fn list(
        &self,
        actor: &Actor,
        app: &AppRef,
        mut filter: EventFilter,
        size: PageSize,
        before: Option<EventId>,
    ) -> Result<Page<EventRow, EventId>, ServiceError> {
        let app = self.desk.access_to_app(actor, app, Capability::DataRead).await?;
        if let Some(id) = filter.trigger {
            let found = match triggers::find(&mut self.desk.store.read().await?, app.id, id).await {
                Err(RepoError::Corrupt { .. }) => None,
                found => found?,
            };
            if let Some(TriggerSource::Queue { queue, .. }) = found.map(|found| found.trigger.source) {
                filter.queue_of_trigger = Some(queue);
            }
        }
        let (found, policy) = (self.events.list(app.id, filter, before, size.plus_one()).await?, app.record_policy());
        let found = found.into_iter().map(|event| as_shown(event, &policy)).collect();
        Ok(Page::cut(found, size, |last| last.id))
    }

    /// An event with what was tried so far.
    pub(crate) async fn get(
        &self,
        actor: &Actor,
        app: &AppRef,
        id: EventId,
    ) -> Result<(EventRow, Vec<AttemptRow>), ServiceError> {
        let app = self.desk.access_to_app(actor, app, Capability::DataRead).await?;
        let (event, attempts) = self.events.find(app.id, id).await?.ok_or(ServiceError::NotFound("event"))?;
        Ok((as_shown(event, &app.record_policy()), attempts))
    }

    /// A page of queues that have messages, by name.
    pub(crate) async fn queues(
        &self,
        actor: &Actor,
        app: &AppRef,
        size: PageSize,
        after: Option<QueueName>,
    ) -> Result<Queues, ServiceError> {
        let app = self.desk.access(actor, app, Capability::DataRead).await?;
        let (usage, found) = (self.events.usage(app).await?, self.events.queues(app, after, size.plus_one()).await?);
        let queues = Page::cut(found, size, |last| last.name.clone());
        Ok(Queues { usage, quota: self.events.quota(), queues })
    }

    /// Sends a message to a queue. Where one of its key is there, that one is given.
    pub(crate) async fn send(&self, actor: &Actor, app: &AppRef, new: NewMessage) -> Result<EventId, ServiceError> {
        let (app, actor) = self.desk.access_to_change(actor, app, Capability::DataWrite).await?;
        let NewMessage { queue, payload, delay, dedup_key } = new;
        let (desk, author) = (self.desk.clone(), Author::from(&actor));
        let told = json!({ "queue": queue, "bytes": payload.as_str().len() });
        let audit: AuditOf<EventId> = Box::new(move |id| {
            let event = Event::new("queue.send", AuditObject::Event(id)).in_app(app);
            desk.outbound_of(&author, event.after(told.clone()))
        });
        let due_at = Some(self.desk.clock.now().plus(delay));
        let (source, op) = (EventSource::Queue, EventOp::Message);
        let dedup_key = dedup_key.or_else(|| key_of_call(&actor));
        let event = NewEvent { dedup_key, due_at, ..blank(app, Lane::Queue(queue), source, op, payload) };
        self.enqueue(event, audit).await
    }

    /// Makes an event for a trigger, as if something had happened at its source.
    pub(crate) async fn fire(
        &self,
        actor: &Actor,
        app: &AppRef,
        id: TriggerId,
        payload: EventPayload,
    ) -> Result<EventId, ServiceError> {
        let (app, actor) = self.desk.access_to_change(actor, app, Capability::TriggerWrite).await?;
        let found = triggers::find(&mut self.desk.store.read().await?, app, id).await?;
        let trigger = found.ok_or(ServiceError::NotFound("trigger"))?.trigger;
        let (desk, author, bytes) = (self.desk.clone(), Author::from(&actor), payload.as_str().len());
        let audit: AuditOf<EventId> = Box::new(move |event| {
            let told = json!({ "event_id": event, "bytes": bytes });
            desk.outbound_of(&author, Event::new("trigger.fire", AuditObject::Trigger(id)).in_app(app).after(told))
        });
        let (lane, op) = match &trigger.source {
            TriggerSource::Queue { queue, .. } => (Lane::Queue(queue.clone()), EventOp::Message),
            // As if it were the first thing that it is for.
            TriggerSource::Kv { ops, .. } | TriggerSource::Docs { ops, .. } => {
                (Lane::Trigger(id), ops.as_slice().first().copied().unwrap_or(EventOp::Delete))
            }
            TriggerSource::Cron { .. } => (Lane::Trigger(id), EventOp::Tick),
            TriggerSource::DeadLetter => (Lane::Trigger(id), EventOp::Created),
        };
        let dedup_key = key_of_call(&actor);
        let event = NewEvent { dedup_key, ..blank(app, lane, trigger.source.source(), op, payload) };
        self.enqueue(event, audit).await
    }

    async fn enqueue(&self, event: NewEvent, audit: AuditOf<EventId>) -> Result<EventId, ServiceError> {
        let taken = self.events.enqueue(event, Some(audit)).await?;
        self.desk.tell_of_data().await;
        Ok(taken?)
    }

    /// Removes a message of a queue that waits.
    pub(crate) async fn delete_message(
        &self,
        actor: &Actor,
        app: &AppRef,
        queue: QueueName,
        id: EventId,
    ) -> Result<(), ServiceError> {
        let (app, actor) = self.desk.access_to_change(actor, app, Capability::DataWrite).await?;
        let found = self.events.find(app, id).await?.map(|(event, _)| event);
        let event = found.filter(|event| event.lane == Lane::Queue(queue.clone()));
        let event = event.ok_or(ServiceError::NotFound("message"))?;
        let (desk, author) = (self.desk.clone(), Author::from(&actor));
        let told = json!({ "queue": queue, "bytes": event.bytes });
        let audit: AuditOf<EventId> = Box::new(move |id| {
            let event = Event::new("queue.delete", AuditObject::Event(id)).in_app(app);
            desk.outbound_of(&author, event.before(told.clone()))
        });
        // Between the look and this it may have been taken to be handled.
        let waited = event.state == EventState::Waiting && self.events.delete_event(app, id, Some(audit)).await?;
        if !waited {
            return Err(ServiceError::NotWaiting);
        }
        self.desk.tell_of_data().await;
        Ok(())
    }
}

fn as_shown(event: EventRow, policy: &RecordPolicy) -> EventRow {
    EventRow { payload: shown(event.payload, event.source, policy), ..event }
}

/// The key by which an event is known that a call by an `Idempotency-Key` made, should its answer not be kept.
fn key_of_call(actor: &Actor) -> Option<DedupKey> {
    format!("idempotency-key:{}", actor.deferral.as_ref()?.call()).parse().ok()
}

/// An event to be handled at once that nothing else caused.
fn blank(app: AppId, lane: Lane, source: EventSource, op: EventOp, payload: EventPayload) -> NewEvent {
    NewEvent { app, lane, source, op, payload, due_at: None, depth: 0, dedup_key: None, replay_of: None }
}

impl From<EventRefusal> for ServiceError {
    fn from(refusal: EventRefusal) -> Self {
        match refusal {
            EventRefusal::TooMany { most } => Self::QuotaExceeded { limit: "events", most },
            EventRefusal::QueuesUsedUp => Self::QuotaExceeded { limit: "queues", most: MAX_QUEUES },
            EventRefusal::TooManyBytes { most } => Self::QuotaExceeded { limit: "event_bytes", most },
        }
    }
}
