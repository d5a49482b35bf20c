//! Calls that may be repeated: the answer of the first is kept in the very transaction of its change, and given again.
//!
//! For that the change of such a call is not committed when its service says so, but held back until the answer is known
//! ([`Deferral`]). What was refused changed nothing and is asked anew.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use picloud_shared::id::AppId;
use sha2::{Digest, Sha256};

use crate::repo::config::Part;
use crate::repo::idempotency::{self, KeptAnswer};
use crate::repo::{Constraint, RepoError};
use crate::service::authorize::Actor;
use crate::service::change::{Change, Desk};
use crate::service::error::ServiceError;

/// How long an answer is given again.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Answers kept for one user, each as long as a script at most: room for a program that makes a thing a minute.
const ANSWERS_OF_A_USER: u64 = 1_500;

/// A change that waits for its call's answer.
#[derive(Default)]
pub(crate) struct Deferral(Mutex<Option<Deferred>>);

struct Deferred {
    change: Change,
    /// What is to be published with it.
    part: Option<(AppId, Part)>,
}

impl Deferral {
    pub(crate) fn put(&self, change: Change, part: Option<(AppId, Part)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Deferred { change, part });
    }

    fn take(&self) -> Option<Deferred> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Deferral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deferral")
    }
}

/// Which call: who makes it, how and where, and the key that the caller gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Scope([u8; 32]);

impl Scope {
    pub(crate) fn new(actor: &Actor, method: &str, address: &str, key: &str) -> Self {
        let by = actor.key().map(|key| key.id.to_string()).unwrap_or_default();
        let mut hash = Sha256::new();
        for part in [actor.user.id.to_string().as_str(), &by, method, address, key] {
            // None of these holds a NUL, so that no two calls feed the same.
            hash.update(part);
            hash.update([0]);
        }
        Self(hash.finalize().into())
    }
}

pub(crate) struct IdempotencyService {
    desk: Desk,
    running: Arc<Mutex<HashSet<Scope>>>,
}

/// A call under way. Dropped, it runs no longer.
pub(crate) struct Running {
    scope: Scope,
    body_hash: [u8; 32],
    running: Arc<Mutex<HashSet<Scope>>>,
    /// Where the change of the call is to be put.
    pub deferral: Arc<Deferral>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.scope);
    }
}

/// What becomes of a call.
pub(crate) enum Start {
    /// It is the first of its key.
    First(Running),
    /// It was made before, and this was the answer.
    Repeated(KeptAnswer),
}

impl IdempotencyService {
    pub(crate) fn new(desk: Desk) -> Self {
        Self { desk, running: Arc::default() }
    }

    /// Begins a call, or finds its answer.
    ///
    /// # Errors
    /// The same call runs at this moment, or another was made by the key.
    pub(crate) async fn begin(&self, scope: Scope, body: &[u8]) -> Result<Start, ServiceError> {
        let body_hash = Sha256::digest(body).into();
        if !self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(scope) {
            return Err(ServiceError::KeyRunning);
        }
        // From here on the key is free again whatever happens.
        let running = Running { scope, body_hash, running: Arc::clone(&self.running), deferral: Arc::default() };
        Ok(match self.find(&running).await? {
            Some(answer) => Start::Repeated(answer),
            None => Start::First(running),
        })
    }

    async fn find(&self, call: &Running) -> Result<Option<KeptAnswer>, ServiceError> {
        let after = self.desk.clock.now().minus(KEPT_FOR);
        let found = idempotency::find(&mut self.desk.store.read().await?, &call.scope.0, after).await?;
        match found {
            Some(answer) if answer.body_hash != call.body_hash => Err(ServiceError::KeyReused),
            found => Ok(found),
        }
    }

    /// The answer of another node that was quicker by the same key: this call was refused for what that one did.
    pub(crate) async fn find_quicker(&self, call: &Running) -> Option<KeptAnswer> {
        self.find(call).await.ok().flatten()
    }

    /// Keeps the answer of a call with its change, and publishes that. Another node that was quicker by the same key is
    /// given way to: its answer comes back.
    pub(crate) async fn finish(
        &self,
        actor: &Actor,
        call: &Running,
        status: u16,
        etag: Option<String>,
        body: String,
    ) -> Result<Option<KeptAnswer>, ServiceError> {
        let answer = KeptAnswer { body_hash: call.body_hash.to_vec(), status, etag, body };
        let (mut change, part) = match call.deferral.take() {
            Some(Deferred { change, part }) => (change, part),
            None => (self.desk.begin_as(actor.into()).await?, None),
        };
        let at = change.at;
        idempotency::delete_until(&mut change, at.minus(KEPT_FOR)).await?;
        if idempotency::count_of_user(&mut change, actor.user.id).await? >= ANSWERS_OF_A_USER {
            return Err(ServiceError::TooManyIdempotencyKeys { most: ANSWERS_OF_A_USER });
        }
        match idempotency::insert(&mut change, &call.scope.0, actor.user.id, &answer, at).await {
            Err(RepoError::Conflict(Constraint::Identity)) => {
                drop(change);
                let other = self.find(call).await?;
                return Ok(Some(other.ok_or(ServiceError::KeyRunning)?));
            }
            inserted => inserted?,
        }
        match part {
            Some((app, part)) => self.desk.publish(change, app, part).await?,
            None => change.commit().await?,
        }
        Ok(None)
    }
}
