//! Dead letters: events that are not tried again, until somebody says what is to become of them.

use picloud_shared::event::EventPayload;
use picloud_shared::execution::RecordPolicy;
use picloud_shared::id::{AppId, DeadLetterId, EventId};
use serde_json::json;

use crate::events::{AuditOf, DeadLetter, DeadLetterFilter, DeadLetterRefusal, Events, shown};
use crate::repo::audit::AuditObject;
use crate::service::authorize::{Actor, AppRef, Capability};
use crate::service::change::{Author, Desk, Event};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize};

/// Dead letters that one call makes something of: each is a transaction of its own.
pub(crate) const MOST_AT_ONCE: u32 = 1_000;

pub(crate) struct DeadLetterService {
    desk: Desk,
    events: Events,
}

/// What is to become of dead letters, as the audit log is told.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Replayed { edited: bool },
    Resolved,
}

impl DeadLetterService {
    pub(crate) fn new(desk: Desk, events: Events) -> Self {
        Self { desk, events }
    }

    /// A page of dead letters, the newest first.
    pub(crate) async fn list(
        &self,
        actor: &Actor,
        app: &AppRef,
        filter: DeadLetterFilter,
        size: PageSize,
        before: Option<DeadLetterId>,
    ) -> Result<Page<DeadLetter, DeadLetterId>, ServiceError> {
        let app = self.desk.access_to_app(actor, app, Capability::DataRead).await?;
        let (found, policy) =
            (self.events.list_dead(app.id, filter, before, size.plus_one()).await?, app.record_policy());
        let found = found.into_iter().map(|letter| as_shown(letter, &policy)).collect();
        Ok(Page::cut(found, size, |last| last.id))
    }

    /// How many of an app are not resolved.
    pub(crate) async fn count(&self, actor: &Actor, app: &AppRef) -> Result<u64, ServiceError> {
        let app = self.desk.access(actor, app, Capability::AppRead).await?;
        Ok(self.events.count_dead(app).await?)
    }

    pub(crate) async fn get(
        &self,
        actor: &Actor,
        app: &AppRef,
        id: DeadLetterId,
    ) -> Result<(AppId, DeadLetter), ServiceError> {
        let app = self.desk.access_to_app(actor, app, Capability::DataRead).await?;
        let letter = self.events.find_dead(app.id, id).await?.ok_or(ServiceError::NotFound("dead letter"))?;
        Ok((app.id, as_shown(letter, &app.record_policy())))
    }

    /// Makes a dead letter an event again, perhaps with another payload; the event.
    pub(crate) async fn replay(
        &self,
        actor: &Actor,
        app: &AppRef,
        id: DeadLetterId,
        payload: Option<EventPayload>,
    ) -> Result<EventId, ServiceError> {
        let (app, actor) = self.desk.access_to_change(actor, app, Capability::DeadLetterAct).await?;
        let audit = self.audit(&actor, app, Fate::Replayed { edited: payload.is_some() });
        let made = self.events.replay(app, id, payload, Some(actor.user.id), audit).await?;
        self.desk.tell_of_data().await;
        Ok(made?)
    }

    /// Says that nothing more is to be made of a dead letter.
    pub(crate) async fn resolve(&self, actor: &Actor, app: &AppRef, id: DeadLetterId) -> Result<(), ServiceError> {
        let (app, actor) = self.desk.access_to_change(actor, app, Capability::DeadLetterAct).await?;
        let audit = self.audit(&actor, app, Fate::Resolved);
        let made = self.events.resolve(app, id, Some(actor.user.id), audit).await?;
        self.desk.tell_of_data().await;
        Ok(made?)
    }

    /// Replays those that pass the filter, the oldest [`MOST_AT_ONCE`] of them, in their order; how many.
    pub(crate) async fn replay_many(
        &self,
        actor: &Actor,
        app: &AppRef,
        filter: DeadLetterFilter,
    ) -> Result<u64, ServiceError> {
        let (app, actor) = self.desk.access_to_change(actor, app, Capability::DeadLetterAct).await?;
        let audit = || self.audit(&actor, app, Fate::Replayed { edited: false });
        let made = self.events.replay_many(app, filter, MOST_AT_ONCE, Some(actor.user.id), audit).await?;
        self.desk.tell_of_data().await;
        Ok(made?)
    }

    /// Resolves those that pass the filter, the oldest [`MOST_AT_ONCE`] of them, in their order; how many.
    pub(crate) async fn resolve_many(
        &self,
        actor: &Actor,
        app: &AppRef,
        filter: DeadLetterFilter,
    ) -> Result<u64, ServiceError> {
        let (app, actor) = self.desk.access_to_change(actor, app, Capability::DeadLetterAct).await?;
        let audit = || self.audit(&actor, app, Fate::Resolved);
        let made = self.events.resolve_many(app, filter, MOST_AT_ONCE, Some(actor.user.id), audit).await?;
        self.desk.tell_of_data().await;
        Ok(made)
    }

    fn audit(&self, actor: &Actor, app: AppId, fate: Fate) -> Option<AuditOf<DeadLetterId>> {
        let (desk, author) = (self.desk.clone(), Author::from(actor));
        let (action, told) = match fate {
            Fate::Replayed { edited } => {
                ("dead_letter.replay", json!({ "resolution": "replayed", "payload_edited": edited }))
            }
            Fate::Resolved => ("dead_letter.resolve", json!({ "resolution": "resolved" })),
        };
        Some(Box::new(move |id| {
            let event = Event::new(action, AuditObject::DeadLetter(id)).in_app(app);
            desk.outbound_of(&author, event.after(told.clone()))
        }))
    }
}

fn as_shown(letter: DeadLetter, policy: &RecordPolicy) -> DeadLetter {
    DeadLetter { payload: shown(letter.payload, letter.source, policy), ..letter }
}

impl From<DeadLetterRefusal> for ServiceError {
    fn from(refusal: DeadLetterRefusal) -> Self {
        match refusal {
            DeadLetterRefusal::NotFound => Self::NotFound("dead letter"),
            DeadLetterRefusal::Resolved => Self::AlreadyResolved,
            DeadLetterRefusal::Payload(invalid) => Self::invalid("payload", invalid),
            DeadLetterRefusal::Quota(refusal) => refusal.into(),
        }
    }
}
