//! Users: made, changed, deactivated and deleted by those above or beside them, and by themselves as far as they may.

use std::sync::Arc;

use picloud_shared::id::UserId;
use picloud_shared::name::{Email, Username};
use serde_json::{Value, json};

use crate::repo::audit::AuditObject;
use crate::repo::role::InstanceRole;
use crate::repo::sessions;
use crate::repo::users::{self, PasswordHash, User};
use crate::secret::{NewPassword, TypedPassword};
use crate::service::authorize::{Actor, Capability};
use crate::service::change::{Change, Desk, Event};
use crate::service::error::ServiceError;
use crate::service::login_throttle::LoginThrottle;
use crate::service::page::{Page, PageSize};
use crate::service::password::{PasswordSlot, Verdict};
use crate::service::revision::{Precondition, Revision};
use crate::store::Conn;

pub(crate) struct UserService {
    desk: Desk,
    passwords: PasswordSlot,
    throttle: Arc<LoginThrottle>,
}

/// What a new user begins with.
pub(crate) struct NewUser {
    pub username: Username,
    pub email: Option<Email>,
    pub instance_role: InstanceRole,
    /// One is made up where none is given.
    pub password: Option<NewPassword>,
}

/// What is to change of a user; absent is unchanged.
#[derive(Default)]
pub(crate) struct UserPatch {
    pub username: Option<Username>,
    pub email: Option<Option<Email>>,
    pub instance_role: Option<InstanceRole>,
    pub is_active: Option<bool>,
}

pub(crate) fn revision(user: &User) -> Revision {
    Revision::of(&(user.id, audited(user)))
}

fn audited(user: &User) -> Value {
    let User { username, email, instance_role, is_active, .. } = user;
    json!({ "username": username, "email": email, "instance_role": instance_role, "is_active": is_active })
}

impl UserPatch {
    fn apply(&self, user: &User) -> User {
        let mut new = user.clone();
        if let Some(username) = &self.username {
            new.username = username.clone();
        }
        if let Some(email) = &self.email {
            new.email = email.clone();
        }
        new.instance_role = self.instance_role.unwrap_or(new.instance_role);
        new.is_active = self.is_active.unwrap_or(new.is_active);
        new
    }
}

impl Actor {
    /// Nobody acts on, or makes, somebody above themselves.
    fn require_up_to(&self, role: InstanceRole) -> Result<(), ServiceError> {
        if role <= self.user.instance_role { Ok(()) } else { Err(ServiceError::AboveOwnRole) }
    }
}

impl UserService {
    pub(crate) fn new(desk: Desk, passwords: PasswordSlot, throttle: Arc<LoginThrottle>) -> Self {
        Self { desk, passwords, throttle }
    }

    pub(crate) async fn list(
        &self,
        actor: &Actor,
        size: PageSize,
        after: Option<UserId>,
    ) -> Result<Page<User, UserId>, ServiceError> {
        actor.require(Capability::InstanceManageUsers)?;
        let found = users::list(&mut self.desk.store.read().await?, size.plus_one(), after).await?;
        Ok(Page::of_rows("user", found, size, |user| user.id.as_uuid(), UserId::from_uuid))
    }

    pub(crate) async fn get(&self, actor: &Actor, id: UserId) -> Result<User, ServiceError> {
        actor.require(Capability::InstanceManageUsers)?;
        find(&mut self.desk.store.read().await?, id).await
    }

    /// Makes a user; the password, if one was made up.
    pub(crate) async fn create(
        &self,
        actor: &Actor,
        new: NewUser,
    ) -> Result<(User, Option<NewPassword>), ServiceError> {
        let NewUser { username, email, instance_role, password } = new;
        actor.session()?;
        actor.require(Capability::InstanceManageUsers)?;
        actor.require_up_to(instance_role)?;
        let (hash, generated) = self.hash(&username, password).await?;
        let (mut change, actor) = self.desk.begin(actor).await?;
        actor.require(Capability::InstanceManageUsers)?;
        actor.require_up_to(instance_role)?;
        let user = insert_user(&mut change, username, email, instance_role, &hash).await?;
        change.commit().await?;
        Ok((user, generated))
    }

    /// The hash of the password given, or of one that is made up.
    async fn hash(
        &self,
        username: &Username,
        given: Option<NewPassword>,
    ) -> Result<(PasswordHash, Option<NewPassword>), ServiceError> {
        if given.as_ref().is_some_and(|password| password.merely_repeats(username)) {
            return Err(ServiceError::repeats_username("password"));
        }
        let generated = given.is_none().then(NewPassword::generate);
        let password = given.or_else(|| generated.clone()).expect("where none is given one is made up");
        Ok((self.passwords.hash(password).await?, generated))
    }

    pub(crate) async fn update(
        &self,
        actor: &Actor,
        id: UserId,
        patch: &UserPatch,
        precondition: &Precondition,
    ) -> Result<User, ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        actor.require(Capability::InstanceManageUsers)?;
        let old = find(&mut change, id).await?;
        actor.require_up_to(old.instance_role)?;
        precondition.check(&revision(&old))?;
        let mut new = patch.apply(&old);
        if new.instance_role != old.instance_role {
            actor.session()?;
            actor.require_up_to(new.instance_role)?;
        }
        if !new.is_active || new.instance_role != InstanceRole::Owner {
            refuse_last_owner(&mut change, &old).await?;
        }
        self.store(change, &old, &mut new).await?;
        Ok(new)
    }

    /// Changes what users may change of themselves.
    pub(crate) async fn update_self(
        &self,
        actor: &Actor,
        email: Option<Option<Email>>,
        precondition: &Precondition,
    ) -> Result<User, ServiceError> {
        actor.session()?;
        let (change, actor) = self.desk.begin(actor).await?;
        precondition.check(&revision(&actor.user))?;
        let mut new = UserPatch { email, ..UserPatch::default() }.apply(&actor.user);
        self.store(change, &actor.user, &mut new).await?;
        Ok(new)
    }

    async fn store(&self, mut change: Change, old: &User, new: &mut User) -> Result<(), ServiceError> {
        if new == old {
            return Ok(());
        }
        new.updated_at = change.at;
        users::update(&mut change, new).await?;
        let mut after = audited(new);
        if old.is_active && !new.is_active {
            after["sessions_ended"] = sessions::delete_of_user(&mut change, new.id, None).await?.into();
        }
        change.record(Event::new("user.update", AuditObject::User(new.id)).before(audited(old)).after(after));
        change.commit().await
    }

    pub(crate) async fn delete(
        &self,
        actor: &Actor,
        id: UserId,
        precondition: &Precondition,
    ) -> Result<(), ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        actor.require(Capability::InstanceManageUsers)?;
        let user = find(&mut change, id).await?;
        actor.require_up_to(user.instance_role)?;
        precondition.check(&revision(&user))?;
        refuse_last_owner(&mut change, &user).await?;
        users::delete(&mut change, id).await?;
        change.record(Event::new("user.delete", AuditObject::User(id)).before(audited(&user)));
        change.commit().await
    }

    /// Gives a user a new password and ends the user's sessions; the password, if it was made up.
    pub(crate) async fn reset_password(
        &self,
        actor: &Actor,
        id: UserId,
        password: Option<NewPassword>,
    ) -> Result<(User, Option<NewPassword>), ServiceError> {
        actor.session()?;
        actor.require(Capability::InstanceManageUsers)?;
        let user = find(&mut self.desk.store.read().await?, id).await?;
        actor.require_up_to(user.instance_role)?;
        // Whoever finds a session that somebody left open must not get the account by it.
        if id == actor.user.id {
            return Err(ServiceError::OwnPassword);
        }
        let (hash, generated) = self.hash(&user.username, password).await?;
        let (mut change, actor) = self.desk.begin(actor).await?;
        actor.require(Capability::InstanceManageUsers)?;
        let user = find(&mut change, id).await?;
        actor.require_up_to(user.instance_role)?;
        set_password(&mut change, "user.reset_password", &user, &hash, None).await?;
        change.commit().await?;
        Ok((user, generated))
    }

    /// Changes one's own password, and ends one's other sessions.
    pub(crate) async fn change_password(
        &self,
        actor: &Actor,
        current: TypedPassword,
        new: NewPassword,
    ) -> Result<(), ServiceError> {
        let session = actor.session()?;
        let (user, address) = (&actor.user, actor.remote_ip);
        if new.merely_repeats(&user.username) {
            return Err(ServiceError::repeats_username("new_password"));
        }
        self.throttle.admit(&user.username, address, self.desk.clock.monotonic()).await?;
        let stored = users::find_password(&mut self.desk.store.read().await?, user.id).await?;
        let verdict = self.passwords.verify(current, stored.clone()).await;
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(error) => {
                self.throttle.not_tried(&user.username, address).await;
                return Err(error);
            }
        };
        if !matches!(verdict, Verdict::Right | Verdict::RightButWeak) {
            return Err(ServiceError::invalid("current_password", "this is not your password"));
        }
        self.throttle.succeeded(&user.username, address).await;
        let hash = self.passwords.hash(new).await?;
        let (mut change, actor) = self.desk.begin(actor).await?;
        // Verified outside of this unit of work: it may have been reset since.
        if users::find_password(&mut change, actor.user.id).await? != stored {
            return Err(ServiceError::invalid("current_password", "this is not your password any more"));
        }
        set_password(&mut change, "user.change_password", &actor.user, &hash, Some(session)).await?;
        change.commit().await
    }
}

async fn find(conn: &mut Conn, id: UserId) -> Result<User, ServiceError> {
    users::find(conn, id).await?.ok_or(ServiceError::NotFound("user"))
}

/// Without an active owner nobody could ever make one again.
async fn refuse_last_owner(conn: &mut Conn, user: &User) -> Result<(), ServiceError> {
    let is_owner = user.is_active && user.instance_role == InstanceRole::Owner;
    if is_owner && users::count_active_owners(conn).await? <= 1 { Err(ServiceError::LastOwner) } else { Ok(()) }
}

/// Stores a new password with its audit row, and ends the user's sessions but one.
pub(crate) async fn set_password(
    change: &mut Change,
    action: &'static str,
    user: &User,
    hash: &PasswordHash,
    except: Option<picloud_shared::id::SessionId>,
) -> Result<(), ServiceError> {
    let at = change.at;
    users::update_password(change, user.id, hash, at).await?;
    let sessions_ended = sessions::delete_of_user(change, user.id, except).await?;
    let event = Event::new(action, AuditObject::User(user.id));
    change.record(event.after(json!({ "sessions_ended": sessions_ended })));
    Ok(())
}

/// Stores a new user with its audit row.
pub(crate) async fn insert_user(
    change: &mut Change,
    username: Username,
    email: Option<Email>,
    instance_role: InstanceRole,
    password: &PasswordHash,
) -> Result<User, ServiceError> {
    let at = change.at;
    let user = User {
        id: UserId::generate(at),
        username,
        email,
        instance_role,
        is_active: true,
        created_at: at,
        updated_at: at,
        last_login_at: None,
    };
    users::insert(change, &user, password).await?;
    change.record(Event::new("user.create", AuditObject::User(user.id)).after(audited(&user)));
    Ok(user)
}
