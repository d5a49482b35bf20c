//! Signing in and out, and sessions.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{SessionId, UserId};
use picloud_shared::name::Username;
use tracing::{error, info};

use crate::repo::audit::AuditObject;
use crate::repo::sessions::{self, Session, TokenHash};
use crate::repo::users::{self, PasswordHash, User};
use crate::secret::{NewPassword, SecretToken, TypedPassword};
use crate::service::authorize::Actor;
use crate::service::change::{AuditedStore, Author, Event};
use crate::service::error::ServiceError;
use crate::service::last_use::LastUse;
use crate::service::login_throttle::LoginThrottle;
use crate::service::page::{Page, PageSize};
use crate::service::password::{PasswordSlot, Verdict};
use crate::store::Conn;

/// However much it is used, a session ends after this.
const ABSOLUTE_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Sessions of one user; at the next login the oldest beyond these end.
const SESSIONS_OF_A_USER: u32 = 50;
/// Characters of a user agent that are kept.
const USER_AGENT_CHARS: usize = 256;

pub(crate) struct AuthService {
    pub(super) audited: AuditedStore,
    pub(super) session_ttl: Duration,
    pub(super) last_use: LastUse,
    pub(super) passwords: PasswordSlot,
    throttle: Arc<LoginThrottle>,
}

/// From where somebody signs in.
pub(crate) struct Origin {
    pub remote_ip: IpAddr,
    pub user_agent: Option<String>,
}

/// A session that was just made, with the only copy of its token.
pub(crate) struct NewSession {
    pub token: SecretToken,
    pub session: Session,
    pub user: User,
}

/// A user whose password was right, and what it was verified against.
struct Proven {
    user: User,
    hash: PasswordHash,
    verdict: Verdict,
}

impl AuthService {
    pub(crate) fn new(
        audited: AuditedStore,
        session_ttl: Duration,
        last_use: LastUse,
        passwords: PasswordSlot,
        throttle: Arc<LoginThrottle>,
    ) -> Self {
        Self { audited, session_ttl: session_ttl.min(ABSOLUTE_LIFE), last_use, passwords, throttle }
    }

    /// Signs in by name and password. An unknown user, a wrong password and a deactivated user get one answer, after
    /// the same time.
    pub(crate) async fn login(
        &self,
        username: &Username,
        password: TypedPassword,
        origin: Origin,
    ) -> Result<NewSession, ServiceError> {
        let address = origin.remote_ip;
        self.throttle.admit(username, address, self.audited.clock.monotonic()).await?;
        let verified = self.verify(username, password.clone()).await;
        let proven = match verified {
            Ok(Some(proven)) => proven,
            Ok(None) => {
                info!(%username, remote_ip = %address, "a login failed");
                return Err(ServiceError::WrongCredentials);
            }
            Err(error) => {
                self.throttle.not_tried(username, address).await;
                return Err(error);
            }
        };
        self.throttle.succeeded(username, address).await;
        let stronger = match proven.verdict {
            // Where too many wait to be hashed, this one keeps its weaker hash until the next login.
            Verdict::RightButWeak => self.passwords.hash(NewPassword::proven(password)).await.ok(),
            _ => None,
        };
        self.open_session(proven, stronger, origin).await
    }

    /// The user, if the password is right and the user may sign in.
    async fn verify(&self, username: &Username, password: TypedPassword) -> Result<Option<Proven>, ServiceError> {
        let found = users::find_by_username(&mut self.audited.store.read().await?, username).await?;
        let hash = found.as_ref().map(|(_, hash)| hash.clone());
        let verdict = self.passwords.verify(password, hash).await?;
        let Some((user, hash)) = found else {
            return Ok(None);
        };
        if verdict == Verdict::Unreadable {
            error!(user_id = %user.id, "the stored password of a user cannot be read; give the user a new one");
        }
        let is_right = matches!(verdict, Verdict::Right | Verdict::RightButWeak);
        Ok((user.is_active && is_right).then_some(Proven { user, hash, verdict }))
    }

    async fn open_session(
        &self,
        Proven { mut user, hash, .. }: Proven,
        stronger: Option<PasswordHash>,
        origin: Origin,
    ) -> Result<NewSession, ServiceError> {
        let author = Author::signing_in(&user, origin.remote_ip);
        let mut change = self.audited.begin_as(author).await?;
        let at = change.at;
        // The password was verified outside of this unit of work: since then the user may have been deactivated, or
        // the password reset, which must neither let the old one in nor be undone by hashing it anew.
        let is_active = users::find(&mut change, user.id).await?.is_some_and(|current| current.is_active);
        if !is_active || users::find_password(&mut change, user.id).await? != Some(hash) {
            return Err(ServiceError::WrongCredentials);
        }
        users::touch_login(&mut change, user.id, at).await?;
        user.last_login_at = Some(at);
        if let Some(hash) = stronger {
            users::update_password(&mut change, user.id, &hash, at).await?;
        }
        let (token, session) = self.insert_session(&mut change, user.id, origin, at).await?;
        sessions::delete_surplus(&mut change, user.id, SESSIONS_OF_A_USER).await?;
        change.record(Event::new("session.create", AuditObject::Session(session.id)));
        change.commit().await?;
        Ok(NewSession { token, session, user })
    }

    pub(super) async fn insert_session(
        &self,
        conn: &mut Conn,
        user_id: UserId,
        origin: Origin,
        at: Timestamp,
    ) -> Result<(SecretToken, Session), ServiceError> {
        let token = SecretToken::generate();
        let user_agent = origin.user_agent.map(|text| text.chars().take(USER_AGENT_CHARS).collect());
        let session = Session {
            id: SessionId::generate(at),
            user_id,
            created_at: at,
            expires_at: at.plus(self.session_ttl),
            absolute_expires_at: at.plus(ABSOLUTE_LIFE),
            last_seen_at: at,
            remote_ip: Some(origin.remote_ip),
            user_agent,
        };
        sessions::insert(conn, &session, &TokenHash::new(token.hash())).await?;
        Ok((token, session))
    }

    /// Ends the session that the call was made with.
    pub(crate) async fn logout(&self, actor: &Actor) -> Result<(), ServiceError> {
        self.revoke(actor, actor.session()?).await
    }

    /// The caller's live sessions, the newest first.
    pub(crate) async fn sessions(
        &self,
        actor: &Actor,
        size: PageSize,
        before: Option<SessionId>,
    ) -> Result<Page<Session, SessionId>, ServiceError> {
        actor.session()?;
        let (mut conn, now) = (self.audited.store.read().await?, self.audited.clock.now());
        let found = sessions::list_of_user(&mut conn, actor.user.id, now, size.plus_one(), before).await?;
        Ok(Page::of_rows("session", found, size, |session| session.id.as_uuid(), SessionId::from_uuid))
    }

    /// Ends one of the caller's sessions.
    pub(crate) async fn revoke(&self, actor: &Actor, id: SessionId) -> Result<(), ServiceError> {
        actor.session()?;
        let mut change = self.audited.begin_as(actor.into()).await?;
        if !sessions::delete(&mut change, actor.user.id, id).await? {
            return Err(ServiceError::NotFound("session"));
        }
        change.record(Event::new("session.delete", AuditObject::Session(id)));
        change.commit().await
    }
}
