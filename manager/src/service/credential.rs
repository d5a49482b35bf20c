//! Who a bearer token or an API key stands for: authentication, at the beginning of every call.

use std::net::IpAddr;
use std::sync::Arc;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::SessionId;

use crate::repo::api_keys::{self, ApiKey};
use crate::repo::sessions::{self, Session, TokenHash};
use crate::repo::users::User;
use crate::secret::SecretToken;
use crate::secret::api_key::ApiKeyToken;
use crate::service::auth::AuthService;
use crate::service::authorize::Actor;
use crate::service::error::ServiceError;
use crate::service::last_use::{NOTE_INTERVAL, Use, UsedBy};

/// What a request proves itself by.
pub(crate) enum Proof {
    Session(SecretToken),
    Key(ApiKeyToken),
}

/// By what somebody acts.
#[derive(Debug, Clone)]
pub(crate) enum Credential {
    /// A login.
    Session(SessionId),
    /// An API key, which cuts what its owner may do.
    Key(Arc<ApiKey>),
}

/// Whether a key is not void by time.
pub(crate) fn is_unexpired(key: &ApiKey, now: Timestamp) -> bool {
    key.expires_at.is_none_or(|end| now < end)
}

impl AuthService {
    /// Who a proof stands for. Moves a session's life on.
    ///
    /// # Errors
    /// [`ServiceError::Unauthenticated`], and for a key [`ServiceError::UnknownKey`]: one that is unknown, expired, revoked, or of
    /// a deactivated user.
    pub(crate) async fn authenticate(&self, proof: &Proof, remote_ip: IpAddr) -> Result<Actor, ServiceError> {
        match proof {
            Proof::Session(token) => self.authenticate_session(token, remote_ip).await,
            Proof::Key(key) => self.authenticate_key(key, remote_ip).await,
        }
    }

    async fn authenticate_session(&self, token: &SecretToken, remote_ip: IpAddr) -> Result<Actor, ServiceError> {
        let hash = TokenHash::new(token.hash());
        let now = self.audited.clock.now();
        let (mut session, mut user, mut last) = self.find_session(&hash).await?;
        if now >= last.expires_at {
            // The note of a use may have become the row between the look at the one and the look at the other.
            (session, user, last) = self.find_session(&hash).await?;
        }
        if !user.is_active || now >= last.expires_at || now >= session.absolute_expires_at {
            return Err(ServiceError::Unauthenticated);
        }
        if now.since(last.seen_at) >= NOTE_INTERVAL {
            let expires_at = now.plus(self.session_ttl).min(session.absolute_expires_at);
            self.last_use.note(UsedBy::Session(session.id), Use { seen_at: now, expires_at });
        }
        Ok(Actor { user, credential: Credential::Session(session.id), remote_ip, deferral: None })
    }

    /// The session of a token with its user and its last use, as written or, where that waits to be written, as noted.
    async fn find_session(&self, hash: &TokenHash) -> Result<(Session, User, Use), ServiceError> {
        let found = sessions::find_by_token_hash(&mut self.audited.store.read().await?, hash).await?;
        let (session, user) = found.ok_or(ServiceError::Unauthenticated)?;
        let stored = Use { seen_at: session.last_seen_at, expires_at: session.expires_at };
        let last = self.last_use.of(UsedBy::Session(session.id)).unwrap_or(stored);
        Ok((session, user, last))
    }

    async fn authenticate_key(&self, token: &ApiKeyToken, remote_ip: IpAddr) -> Result<Actor, ServiceError> {
        let hash = TokenHash::new(token.hash());
        let found = api_keys::find_by_hash(&mut self.audited.store.read().await?, &hash).await?;
        let now = self.audited.clock.now();
        let found = found.filter(|(key, user)| user.is_active && is_unexpired(key, now));
        let (key, user) = found.ok_or(ServiceError::UnknownKey)?;
        let noted = self.last_use.of(UsedBy::Key(key.id)).map(|last| last.seen_at).or(key.last_used_at);
        if noted.is_none_or(|last| now.since(last) >= NOTE_INTERVAL) {
            let expires_at = key.expires_at.unwrap_or(now);
            self.last_use.note(UsedBy::Key(key.id), Use { seen_at: now, expires_at });
        }
        Ok(Actor { user, credential: Credential::Key(Arc::new(key)), remote_ip, deferral: None })
    }
}
