//! Calls that may be repeated: the answer of the first is kept in the very transaction of its change, and given again.
//!
//! For that the change of such a call is not committed when its service says so, but held back until the answer is known
//! ([`Deferral`]). What was refused changed nothing and is asked anew. A kept answer is given to who may make the call now.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use picloud_shared::clock::Timestamp;
use picloud_shared::id::AppId;
use sha2::{Digest, Sha256};

use crate::hex::hex;
use crate::repo::config::Part;
use crate::repo::idempotency::{self, Demand, KeptAnswer, KeptWithin};
use crate::repo::{Constraint, RepoError};
use crate::secret::key_file::{DerivedKey, Purpose, SecretKey};
use crate::service::authorize::{Actor, AppRef, Capability};
use crate::service::change::{Change, Desk};
use crate::service::error::ServiceError;
use crate::store::Conn;

/// How long an answer is given again.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// When the answers that count now were kept. Those that a clock kept which was ahead by more than they are kept for do not, for they
/// would count for years.
pub(crate) fn kept_within(now: Timestamp) -> KeptWithin {
    KeptWithin { after: now.minus(KEPT_FOR), until: now.plus(KEPT_FOR) }
}

/// Answers kept for one user: room for a program that makes a thing a minute.
pub(crate) const ANSWERS_OF_A_USER: u64 = 1_500;
/// Bytes of the answers kept for one user: as many as one app may have of sources.
const BYTES_OF_A_USER: u64 = 16 * 1024 * 1024;

/// What is known of a call until it is answered: the change that waits for the answer, and what the caller had to be allowed.
pub(crate) struct Deferral {
    call: Scope,
    change: Mutex<Option<Deferred>>,
    demands: Mutex<Vec<Demand>>,
}

struct Deferred {
    change: Change,
    /// What is to be published with it.
    part: Option<(AppId, Part)>,
}

impl Deferral {
    fn of(call: Scope) -> Self {
        Self { call, change: Mutex::default(), demands: Mutex::default() }
    }

    /// What tells the call from all others. A change that is not in the transaction of its answer is known by it, where the node
    /// ended in between.
    pub(crate) fn call(&self) -> String {
        hex(&self.call.0)
    }

    pub(crate) fn put(&self, change: Change, part: Option<(AppId, Part)>) {
        *self.change.lock().unwrap_or_else(PoisonError::into_inner) = Some(Deferred { change, part });
    }

    /// Notes what the call took.
    pub(crate) fn note(&self, app: Option<AppId>, capability: Capability) {
        let demand = Demand(app, capability.to_string());
        let mut demands = self.demands.lock().unwrap_or_else(PoisonError::into_inner);
        if !demands.contains(&demand) {
            demands.push(demand);
        }
    }

    fn take(&self) -> (Option<Deferred>, Vec<Demand>) {
        let change = self.change.lock().unwrap_or_else(PoisonError::into_inner).take();
        (change, std::mem::take(&mut *self.demands.lock().unwrap_or_else(PoisonError::into_inner)))
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
    key: DerivedKey,
    running: Arc<Mutex<HashSet<Scope>>>,
}

/// A call under way. Dropped, it runs no longer.
pub(crate) struct Running {
    scope: Scope,
    body_mac: [u8; 32],
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
    pub(crate) fn new(desk: Desk, key: &SecretKey) -> Self {
        Self { desk, key: key.derive(Purpose::CallBodies), running: Arc::default() }
    }

    /// Begins a call, or finds its answer.
    ///
    /// # Errors
    /// The same call runs at this moment, or another was made by the key; the caller may not make the call any more, or has
    /// as many answers kept as one may have.
    pub(crate) async fn begin(&self, actor: &Actor, scope: Scope, body: &[u8]) -> Result<Start, ServiceError> {
        let body_mac = mac(&self.key, body);
        if !self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(scope) {
            return Err(ServiceError::KeyRunning);
        }
        // From here on the key is free again whatever happens.
        let running =
            Running { scope, body_mac, running: Arc::clone(&self.running), deferral: Arc::new(Deferral::of(scope)) };
        if let Some(answer) = self.find(actor, &running).await? {
            return Ok(Start::Repeated(answer));
        }
        let within = kept_within(self.desk.clock.now());
        refuse_excess(&mut self.desk.store.read().await?, actor, within).await?;
        Ok(Start::First(running))
    }

    /// The answer to the call, if it was made before and the caller still may make it.
    async fn find(&self, actor: &Actor, call: &Running) -> Result<Option<KeptAnswer>, ServiceError> {
        let within = kept_within(self.desk.clock.now());
        let mut read = self.desk.store.begin_read().await?;
        let Some(answer) = idempotency::find(&mut read, &call.scope.0, within).await? else {
            return Ok(None);
        };
        for Demand(app, capability) in &answer.demands {
            let unknown = || RepoError::Corrupt { column: "demands".to_owned(), source: capability.as_str().into() };
            let capability = Capability::named(capability).ok_or_else(unknown)?;
            match app {
                Some(app) => actor.access(&mut read, &AppRef::Id(*app)).await?.require(capability)?,
                None => actor.require(capability)?,
            }
        }
        if answer.body_mac != call.body_mac { Err(ServiceError::KeyReused) } else { Ok(Some(answer)) }
    }

    /// The answer of another node that was quicker by the same key: this call was refused for what that one did.
    pub(crate) async fn find_quicker(&self, actor: &Actor, call: &Running) -> Option<KeptAnswer> {
        self.find(actor, call).await.ok().flatten()
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
        let (deferred, demands) = call.deferral.take();
        let answer = KeptAnswer { body_mac: call.body_mac.to_vec(), demands, status, etag, body };
        let (mut change, part) = match deferred {
            Some(Deferred { change, part }) => (change, part),
            None => (self.desk.begin_as(actor.into()).await?, None),
        };
        let at = change.at;
        let within = kept_within(at);
        idempotency::delete_others(&mut change, within).await?;
        refuse_excess(&mut change, actor, within).await?;
        match idempotency::insert(&mut change, &call.scope.0, actor.user.id, &answer, at).await {
            Err(RepoError::Conflict(Constraint::Identity)) => {
                drop(change);
                let other = self.find(actor, call).await?;
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

/// What tells a body from others, and nothing of it to who has the store alone: many a body is quickly guessed at.
fn mac(key: &DerivedKey, body: &[u8]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.chain_update(body).finalize().into_bytes().into()
}

/// Refuses one answer more to a user who has as many kept as one may have. The last one may go beyond the bytes.
async fn refuse_excess(conn: &mut Conn, actor: &Actor, within: KeptWithin) -> Result<(), ServiceError> {
    let kept = idempotency::kept_of_user(conn, actor.user.id, within).await?;
    if kept.answers >= ANSWERS_OF_A_USER || kept.bytes >= BYTES_OF_A_USER {
        return Err(ServiceError::TooManyIdempotencyKeys);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_told_from_others_by_the_key_alone() {
        let [one, other] = [1, 2].map(|byte| SecretKey::from_bytes([byte; 32]).derive(Purpose::CallBodies));
        assert_eq!(mac(&one, b"{}"), mac(&one, b"{}"));
        assert_ne!(mac(&one, b"{}"), mac(&one, b"{ }"));
        assert_ne!(mac(&one, b"{}"), mac(&other, b"{}"));
        assert_ne!(mac(&one, b"{}")[..], Sha256::digest(b"{}")[..]);
    }
}
