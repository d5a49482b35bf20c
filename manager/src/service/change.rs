//! The unit of work of every change: the change itself, its audit row and the new configuration version commit
//! together, and then the change is published.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use picloud_shared::clock::{Clock, Timestamp};
use picloud_shared::id::{ApiKeyId, AppId, AuditId, UserId};
use picloud_shared::name::Username;
use serde_json::Value;
use tokio::sync::watch;

use crate::audit_chain::AuditChain;
use crate::publish::Publisher;
use crate::repo::api_keys;
use crate::repo::audit::{AuditEntry, AuditObject};
use crate::repo::config::{self, Part};
use crate::repo::sessions;
use crate::repo::users::User;
use crate::secret::key_file::SecretKey;
use crate::service::authorize::Actor;
use crate::service::credential::{Credential, is_unexpired};
use crate::service::error::ServiceError;
use crate::service::idempotency::Deferral;
use crate::store::{Conn, Store, Tx};

/// Who a change is written down for.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    user: Option<(UserId, Username)>,
    key: Option<ApiKeyId>,
    remote_ip: Option<IpAddr>,
}

impl Author {
    /// The platform itself, or the command line.
    pub(crate) const PLATFORM: Author = Author { user: None, key: None, remote_ip: None };

    /// Somebody who is not signed in yet.
    pub(crate) fn signing_in(user: &User, remote_ip: IpAddr) -> Self {
        Self { user: Some((user.id, user.username.clone())), key: None, remote_ip: Some(remote_ip) }
    }

    /// Whoever holds the set-up link.
    pub(crate) fn setting_up(remote_ip: IpAddr) -> Self {
        Self { user: None, key: None, remote_ip: Some(remote_ip) }
    }

    /// The row that the audit log gets of an event.
    pub(crate) fn entry(&self, event: Event, at: Timestamp) -> AuditEntry {
        let Event { action, object, app, before, after } = event;
        let (user_id, username) = self.user.clone().unzip();
        AuditEntry {
            id: AuditId::generate(at),
            at,
            user_id,
            username: username.map(String::from),
            key_id: self.key,
            action: action.to_owned(),
            object_kind: object.kind().to_owned(),
            object_id: object.uuid(),
            app_id: app,
            remote_ip: self.remote_ip,
            before,
            after,
        }
    }
}

impl From<&Actor> for Author {
    fn from(actor: &Actor) -> Self {
        let key = actor.key().map(|key| key.id);
        Self { key, ..Self::signing_in(&actor.user, actor.remote_ip) }
    }
}

/// The user, if what the call came with still stands for that user. The sliding end of a session is not looked at again:
/// its row tells of its last use a moment late.
pub(crate) async fn still_standing(
    conn: &mut Conn,
    credential: &Credential,
    now: Timestamp,
) -> Result<Option<(User, Credential)>, ServiceError> {
    let standing = match credential {
        Credential::Session(id) => {
            let found = sessions::find(conn, *id).await?.filter(|(session, _)| now < session.absolute_expires_at);
            found.map(|(session, user)| (user, Credential::Session(session.id)))
        }
        Credential::Key(key) => {
            let found = api_keys::find(conn, key.id).await?.filter(|(key, _)| is_unexpired(key, now));
            found.map(|(key, user)| (user, Credential::Key(Arc::new(key))))
        }
    };
    Ok(standing.filter(|(user, _)| user.is_active))
}

/// The actor as it is now: since the call came the session may have ended or the key been revoked, and the user's role may be
/// another.
pub(crate) async fn as_of_now(conn: &mut Conn, actor: &Actor, now: Timestamp) -> Result<Actor, ServiceError> {
    let standing = still_standing(conn, &actor.credential, now).await?;
    let (user, credential) = standing.ok_or(ServiceError::Unauthenticated)?;
    Ok(Actor { user, credential, ..actor.clone() })
}

/// What happened to an object, for the audit log.
pub(crate) struct Event {
    pub action: &'static str,
    pub object: AuditObject,
    pub app: Option<AppId>,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

impl Event {
    pub(crate) fn new(action: &'static str, object: AuditObject) -> Self {
        Self { action, object, app: None, before: None, after: None }
    }

    pub(crate) fn in_app(self, app: AppId) -> Self {
        Self { app: Some(app), ..self }
    }

    pub(crate) fn before(self, before: Value) -> Self {
        Self { before: Some(before), ..self }
    }

    pub(crate) fn after(self, after: Value) -> Self {
        Self { after: Some(after), ..self }
    }
}

/// The store together with what every change of it needs: the time, and the chain of its audit log.
#[derive(Clone)]
pub struct AuditedStore {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chain: Arc<AuditChain>,
    ended: watch::Sender<()>,
}

impl AuditedStore {
    /// The store that was made with this key.
    pub fn new(store: Store, clock: Arc<dyn Clock>, key: &SecretKey) -> Self {
        Self { store, clock, chain: Arc::new(AuditChain::new(key)), ended: watch::Sender::new(()) }
    }

    /// Tells whoever asks that some change of this node has ended since: what they may could be another.
    pub(crate) fn ends(&self) -> watch::Receiver<()> {
        self.ended.subscribe()
    }

    /// Begins a change. Changes follow one another: what this one reads stays true until it commits.
    pub(crate) async fn begin_as(&self, author: Author) -> Result<Change, ServiceError> {
        let (tx, chain) = (self.store.begin().await?, Arc::clone(&self.chain));
        let ends = Ends(self.ended.clone());
        Ok(Change { tx, author, chain, entries: Vec::new(), deferral: None, at: self.clock.now(), _ends: ends })
    }
}

/// A change under way; dropped, it never happened.
pub(crate) struct Change {
    tx: Tx,
    author: Author,
    chain: Arc<AuditChain>,
    /// What is to stand in the audit log of it.
    entries: Vec<AuditEntry>,
    deferral: Option<Arc<Deferral>>,
    /// The moment of the change, one for all that it writes.
    pub at: Timestamp,
    /// The last to be dropped: it is committed by then, or never will be.
    _ends: Ends,
}

/// Says that a change is over.
struct Ends(watch::Sender<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.send_replace(());
    }
}

impl Change {
    /// Writes what follows down for that user.
    pub(crate) fn go_on_as(&mut self, user: &User) {
        self.author.user = Some((user.id, user.username.clone()));
    }

    /// Notes the audit row, which is written at the end, together with those of a change's other steps.
    pub(crate) fn record(&mut self, event: Event) {
        self.entries.push(self.author.entry(event, self.at));
    }

    /// Writes the audit rows that were noted.
    pub(crate) async fn write_audit(&mut self) -> Result<(), ServiceError> {
        Ok(self.chain.append(&mut self.tx, std::mem::take(&mut self.entries)).await?)
    }

    /// Commits a change of something that is not published, or lets it wait for the answer of its call.
    pub(crate) async fn commit(mut self) -> Result<(), ServiceError> {
        match self.deferral.take() {
            Some(deferral) => deferral.put(self, None),
            None => {
                self.write_audit().await?;
                self.tx.commit().await?;
            }
        }
        Ok(())
    }

    /// Commits a change of a part of an app; the version that it led to.
    pub(crate) async fn commit_part(mut self, app: AppId, part: Part) -> Result<u64, ServiceError> {
        self.write_audit().await?;
        let version = config::bump(&mut self.tx, app, part).await?;
        self.tx.commit().await?;
        Ok(version)
    }
}

impl Deref for Change {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.tx
    }
}

impl DerefMut for Change {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.tx
    }
}

/// What a service needs to read, to change and to publish.
#[derive(Clone)]
pub(crate) struct Desk {
    pub audited: AuditedStore,
    pub publisher: Publisher,
}

impl Deref for Desk {
    type Target = AuditedStore;

    fn deref(&self) -> &AuditedStore {
        &self.audited
    }
}

impl Desk {
    /// Begins a change, with the actor as it is now.
    pub(crate) async fn begin(&self, actor: &Actor) -> Result<(Change, Actor), ServiceError> {
        let mut change = self.begin_as(actor.into()).await?;
        let at = change.at;
        let actor = as_of_now(&mut change, actor, at).await?;
        change.deferral.clone_from(&actor.deferral);
        Ok((change, actor))
    }

    /// Commits a change of a part of an app and returns once requests are answered by it; or lets it wait for the answer of
    /// its call.
    ///
    /// # Errors
    /// Beside those of committing, [`ServiceError::NotLiveYet`], with the change kept.
    pub(crate) async fn publish(&self, mut change: Change, app: AppId, part: Part) -> Result<(), ServiceError> {
        if let Some(deferral) = change.deferral.take() {
            deferral.put(change, Some((app, part)));
            return Ok(());
        }
        let version = change.commit_part(app, part).await?;
        Ok(self.publisher.publish(version).await?)
    }
}
