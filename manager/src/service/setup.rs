//! The first owner of an instance that has no user: from the environment, or by a one-time link.
//!
//! Each node that starts without a user shows a link of its own, which lives as long as the node and serves until any of
//! them is used. The links of nodes that are gone go stale soon.

use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::name::Username;
use tracing::info;

use crate::manager::{FirstOwner, StartError};
use crate::repo::audit::AuditObject;
use crate::repo::role::InstanceRole;
use crate::repo::sessions::TokenHash;
use crate::repo::{RepoError, setup_tokens, users};
use crate::secret::{NewPassword, SecretToken};
use crate::service::auth::{AuthService, NewSession, Origin};
use crate::service::change::{AuditedStore, Author, Event};
use crate::service::error::ServiceError;
use crate::service::password::hash_now;
use crate::service::user::insert_user;
use crate::store::Store;

/// How long a link serves without its node having said that it is there. Three times what housekeeping takes to say so.
const STALE_AFTER: Duration = Duration::from_secs(30 * 60);

/// A link that stands, as far as it must be kept standing.
pub(crate) struct SetupLink(TokenHash);

impl SetupLink {
    /// Says that this link's node is there.
    pub(crate) async fn keep(&self, store: &Store, now: Timestamp) -> Result<(), RepoError> {
        let mut tx = store.begin().await?;
        setup_tokens::touch(&mut tx, &self.0, now).await?;
        tx.commit().await
    }
}

/// Makes the first owner, or a token to make it with; nothing where any user exists, whose settings are then inert.
pub(crate) async fn prepare_first_owner(
    audited: &AuditedStore,
    first_owner: Option<FirstOwner>,
) -> Result<Option<(SecretToken, SetupLink)>, StartError> {
    if users::count(&mut audited.store.read().await?).await? > 0 {
        return Ok(None);
    }
    let owner = first_owner.map(|owner| match owner.password.merely_repeats(&owner.username) {
        true => Err(StartError::FirstOwnerPassword),
        false => Ok((owner.username, hash_now(&owner.password))),
    });
    let owner = owner.transpose()?;
    let mut change = audited.begin_as(Author::PLATFORM).await?;
    // Another node may have been quicker.
    if users::count(&mut change).await? > 0 {
        return Ok(None);
    }
    let made = match owner {
        Some((username, hash)) => {
            insert_user(&mut change, username.clone(), None, InstanceRole::Owner, &hash).await?;
            setup_tokens::clear(&mut change).await?;
            info!(%username, "the first owner is made");
            None
        }
        None => {
            // Where no other process serves, earlier links end with this start.
            let stale = if audited.store.is_alone() { change.at } else { change.at.minus(STALE_AFTER) };
            let (token, at) = (SecretToken::generate(), change.at);
            let hash = TokenHash::new(token.hash());
            setup_tokens::delete_until(&mut change, stale).await?;
            setup_tokens::insert(&mut change, &hash, at).await?;
            Some((token, SetupLink(hash)))
        }
    };
    change.commit().await?;
    Ok(made)
}

impl AuthService {
    /// Makes the first owner with the one-time token of a set-up link, and signs in.
    pub(crate) async fn set_up(
        &self,
        token: &SecretToken,
        username: Username,
        password: NewPassword,
        origin: Origin,
    ) -> Result<NewSession, ServiceError> {
        if password.merely_repeats(&username) {
            return Err(ServiceError::repeats_username("password"));
        }
        // Without the token nobody makes this instance hash anything, and while it hashes others may write.
        let token = TokenHash::new(token.hash());
        let fresh = self.audited.clock.now().minus(STALE_AFTER);
        if !setup_tokens::stands(&mut self.audited.store.read().await?, &token, fresh).await? {
            return Err(ServiceError::WrongSetupToken);
        }
        let hash = self.passwords.hash(password).await?;
        let author = Author::setting_up(origin.remote_ip);
        let mut change = self.audited.begin_as(author).await?;
        if !setup_tokens::stands(&mut change, &token, fresh).await? || users::count(&mut change).await? > 0 {
            return Err(ServiceError::WrongSetupToken);
        }
        setup_tokens::clear(&mut change).await?;
        let mut user = insert_user(&mut change, username, None, InstanceRole::Owner, &hash).await?;
        change.go_on_as(&user);
        let at = change.at;
        let (token, session) = self.insert_session(&mut change, user.id, origin, at).await?;
        users::touch_login(&mut change, user.id, at).await?;
        user.last_login_at = Some(at);
        change.record(Event::new("session.create", AuditObject::Session(session.id)));
        change.commit().await?;
        Ok(NewSession { token, session, user })
    }
}
