//! What people make of dead letters: events again, or nothing.

use picloud_shared::id::UserId;
use picloud_shared::request::{InvalidKeptRequest, KeptRequest};

use super::*;
use crate::repo::events::dead_letters as letters;

/// Why nothing is made of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeadLetterRefusal {
    /// There is none.
    #[error("there is no such dead letter")]
    NotFound,
    /// Somebody was first.
    #[error("the dead letter is resolved already")]
    Resolved,
    /// It was a request, and the payload in its place is none.
    #[error(transparent)]
    Payload(InvalidKeptRequest),
    /// There is no room for the event.
    #[error(transparent)]
    Quota(EventRefusal),
}

/// What is to be made of a dead letter.
struct Making {
    app: AppId,
    id: DeadLetterId,
    replay: bool,
    /// In place of the letter's own.
    payload: Option<EventPayload>,
    by: Option<UserId>,
    now: Timestamp,
    quota: EventQuota,
}

impl Events {
    /// How many dead letters of an app are not resolved.
    pub(crate) async fn count_dead(&self, app: AppId) -> Result<u64, RepoError> {
        reading!(self.store, |db| letters::count_of_app(db, app))
    }

    /// Dead letters of an app, the newest first. Payloads of more than 4 KiB are left out.
    pub(crate) async fn list_dead(
        &self,
        app: AppId,
        filter: DeadLetterFilter,
        before: Option<DeadLetterId>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, RepoError> {
        reading!(self.store, |db| letters::list_letters(db, app, &filter, before, limit))
    }

    /// A dead letter.
    pub(crate) async fn find_dead(&self, app: AppId, id: DeadLetterId) -> Result<Option<DeadLetter>, RepoError> {
        reading!(self.store, |db| letters::find_letter(db, app, id))
    }

    /// Makes a dead letter an event again, which waits where the first did, with another payload if one is given.
    pub(crate) async fn replay(
        &self,
        app: AppId,
        id: DeadLetterId,
        payload: Option<EventPayload>,
        by: Option<UserId>,
        audit: Option<AuditOf<DeadLetterId>>,
    ) -> Result<Result<EventId, DeadLetterRefusal>, RepoError> {
        let making = self.making(app, id, true, payload, by);
        let made: Result<_, RepoError> = changing!(self.store, |db| make(db, &making, audit.as_ref()));
        Ok(made?.map(|(event, lane)| {
            if let Some(lane) = lane {
                self.bells.ring(app, &lane);
            }
            event
        }))
    }

    /// Says that nothing more is to be made of a dead letter.
    pub(crate) async fn resolve(
        &self,
        app: AppId,
        id: DeadLetterId,
        by: Option<UserId>,
        audit: Option<AuditOf<DeadLetterId>>,
    ) -> Result<Result<(), DeadLetterRefusal>, RepoError> {
        let making = self.making(app, id, false, None, by);
        let made: Result<_, RepoError> = changing!(self.store, |db| make(db, &making, audit.as_ref()));
        Ok(made?.map(|_| ()))
    }

    /// Replays the unresolved dead letters that pass the filter, the oldest `most` of them, in their order; how many.
    pub(crate) async fn replay_many(
        &self,
        app: AppId,
        filter: DeadLetterFilter,
        most: u32,
        by: Option<UserId>,
        audit: impl Fn() -> Option<AuditOf<DeadLetterId>>,
    ) -> Result<Result<u64, DeadLetterRefusal>, RepoError> {
        let mut made = 0;
        for id in self.unresolved(app, filter, most).await? {
            match self.replay(app, id, None, by, audit()).await? {
                Ok(_) => made += 1,
                // Somebody else was first.
                Err(DeadLetterRefusal::NotFound | DeadLetterRefusal::Resolved) => {}
                Err(refusal @ DeadLetterRefusal::Quota(_)) if made == 0 => return Ok(Err(refusal)),
                Err(DeadLetterRefusal::Quota(_) | DeadLetterRefusal::Payload(_)) => break,
            }
        }
        Ok(Ok(made))
    }

    /// Resolves the unresolved dead letters that pass the filter, the oldest `most` of them, in their order; how many.
    pub(crate) async fn resolve_many(
        &self,
        app: AppId,
        filter: DeadLetterFilter,
        most: u32,
        by: Option<UserId>,
        audit: impl Fn() -> Option<AuditOf<DeadLetterId>>,
    ) -> Result<u64, RepoError> {
        let mut made = 0;
        for id in self.unresolved(app, filter, most).await? {
            made += u64::from(self.resolve(app, id, by, audit()).await?.is_ok());
        }
        Ok(made)
    }

    async fn unresolved(
        &self,
        app: AppId,
        filter: DeadLetterFilter,
        most: u32,
    ) -> Result<Vec<DeadLetterId>, RepoError> {
        reading!(self.store, |db| letters::unresolved(db, app, &filter, most))
    }

    fn making(
        &self,
        app: AppId,
        id: DeadLetterId,
        replay: bool,
        payload: Option<EventPayload>,
        by: Option<UserId>,
    ) -> Making {
        Making { app, id, replay, payload, by, now: self.clock.now(), quota: self.quota }
    }
}

/// The event that was made, with its lane; the letter's own where none was.
async fn make<D: DataDb>(
    db: &mut D,
    making: &Making,
    audit: Option<&AuditOf<DeadLetterId>>,
) -> Result<Result<(EventId, Option<Lane>), DeadLetterRefusal>, RepoError> {
    let Making { app, id, now, .. } = *making;
    let usage = repo::lock(db, app).await?;
    let Some(letter) = letters::find_letter(db, app, id).await? else {
        return Ok(Err(DeadLetterRefusal::NotFound));
    };
    if letter.resolved_at.is_some() {
        return Ok(Err(DeadLetterRefusal::Resolved));
    }
    let mut delta = EventDelta { events: -1, bytes: -i64::try_from(letter.bytes).unwrap_or(i64::MAX) };
    let mut replayed = None;
    if making.replay {
        if let Some(payload) = making.payload.as_ref().filter(|_| letter.source == EventSource::Http)
            && let Err(invalid) = KeptRequest::of_payload(payload)
        {
            return Ok(Err(DeadLetterRefusal::Payload(invalid)));
        }
        let payload = making.payload.clone().or(letter.payload).unwrap_or_default();
        delta.events += 1;
        delta.bytes += repo::length(payload.as_str());
        if let Err(refusal) = admit(usage, delta, making.quota) {
            return Ok(Err(DeadLetterRefusal::Quota(refusal)));
        }
        let event = EventId::generate(now);
        let insertion = Insertion {
            id: event,
            app,
            lane: &letter.lane,
            source: letter.source,
            op: letter.op,
            depth: 0,
            created_at: now,
            delayed_until: None,
            replay_of: Some(id),
            dedup_key: None,
            payload: &payload,
        };
        repo::insert(db, &insertion).await?;
        replayed = Some(event);
    }
    letters::resolve(db, app, id, now, making.by, replayed).await?;
    repo::account(db, app, delta).await?;
    told(db, audit, id).await?;
    Ok(Ok((replayed.unwrap_or(letter.event), replayed.map(|_| letter.lane))))
}
