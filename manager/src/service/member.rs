//! Members of apps: who belongs to one, and as what.

use picloud_shared::id::UserId;
use picloud_shared::name::Username;
use serde_json::{Value, json};

use crate::repo::audit::AuditObject;
use crate::repo::members::{self, Member};
use crate::repo::role::AppRole;
use crate::repo::users::{self, User};
use crate::service::authorize::{Actor, AppRef, Capability};
use crate::service::change::{Change, Desk, Event};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize};
use crate::service::revision::{Precondition, Revision};
use crate::store::Conn;

pub(crate) struct MemberService {
    desk: Desk,
}

/// A user who is to become a member.
pub(crate) enum Candidate {
    /// Picked from the users of the instance, by whoever may list them.
    Id(UserId),
    /// Named by whoever knows the name.
    Name(Username),
}

/// A membership with its user.
pub(crate) type NamedMember = (Member, User);

pub(crate) fn revision(member: &Member) -> Revision {
    Revision::of(&(member.app_id, member.user_id, member.role))
}

fn audited((member, user): &NamedMember) -> Value {
    json!({ "user_id": user.id, "username": user.username, "role": member.role })
}

impl MemberService {
    pub(crate) fn new(desk: Desk) -> Self {
        Self { desk }
    }

    pub(crate) async fn list(
        &self,
        actor: &Actor,
        app: &AppRef,
        size: PageSize,
        after: Option<UserId>,
    ) -> Result<Page<NamedMember, UserId>, ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(Capability::AppManageMembers)?;
        let found = members::list(&mut conn, access.app.id, size.plus_one(), after).await?;
        Ok(Page::of_rows("member", found, size, |(member, _)| member.user_id.as_uuid(), UserId::from_uuid))
    }

    pub(crate) async fn add(
        &self,
        actor: &Actor,
        app: &AppRef,
        candidate: Candidate,
        role: AppRole,
    ) -> Result<NamedMember, ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        let access = actor.access(&mut change, app).await?;
        access.require(Capability::AppManageMembers)?;
        let user = find_candidate(&mut change, &actor, candidate).await?;
        let member = Member { app_id: access.app.id, user_id: user.id, role, joined_at: change.at };
        members::insert(&mut change, &member).await?;
        let added = (member, user);
        record(&mut change, "member.create", &added, None, Some(audited(&added)));
        change.commit().await?;
        Ok(added)
    }

    pub(crate) async fn get(&self, actor: &Actor, app: &AppRef, user: UserId) -> Result<NamedMember, ServiceError> {
        find_member(&mut self.desk.store.read().await?, actor, app, user).await
    }

    pub(crate) async fn change_role(
        &self,
        actor: &Actor,
        app: &AppRef,
        user: UserId,
        role: AppRole,
        precondition: &Precondition,
    ) -> Result<NamedMember, ServiceError> {
        let (mut change, old) = self.find(actor, app, user, precondition).await?;
        let new = (Member { role, ..old.0.clone() }, old.1.clone());
        if new.0 == old.0 {
            return Ok(old);
        }
        members::update_role(&mut change, &new.0).await?;
        record(&mut change, "member.update", &new, Some(audited(&old)), Some(audited(&new)));
        change.commit().await?;
        Ok(new)
    }

    pub(crate) async fn remove(
        &self,
        actor: &Actor,
        app: &AppRef,
        user: UserId,
        precondition: &Precondition,
    ) -> Result<(), ServiceError> {
        let (mut change, old) = self.find(actor, app, user, precondition).await?;
        members::delete(&mut change, old.0.app_id, user).await?;
        record(&mut change, "member.delete", &old, Some(audited(&old)), None);
        change.commit().await
    }

    async fn find(
        &self,
        actor: &Actor,
        app: &AppRef,
        user: UserId,
        precondition: &Precondition,
    ) -> Result<(Change, NamedMember), ServiceError> {
        let (mut change, actor) = self.desk.begin(actor).await?;
        let found = find_member(&mut change, &actor, app, user).await?;
        precondition.check(&revision(&found.0))?;
        Ok((change, found))
    }
}

async fn find_member(conn: &mut Conn, actor: &Actor, app: &AppRef, user: UserId) -> Result<NamedMember, ServiceError> {
    let access = actor.access(conn, app).await?;
    access.require(Capability::AppManageMembers)?;
    let member = members::find(conn, access.app.id, user).await?.ok_or(ServiceError::NotFound("member"))?;
    let user = users::find(conn, user).await?.ok_or(ServiceError::NotFound("member"))?;
    Ok((member, user))
}

/// Whoever may not list users must know the name; of an id they learn nothing.
async fn find_candidate(conn: &mut Conn, actor: &Actor, candidate: Candidate) -> Result<User, ServiceError> {
    let (field, found) = match candidate {
        Candidate::Id(id) => {
            actor.require(Capability::InstanceManageUsers)?;
            ("user_id", users::find(conn, id).await?)
        }
        Candidate::Name(name) => ("username", users::find_by_username(conn, &name).await?.map(|(user, _)| user)),
    };
    let user = found.ok_or_else(|| ServiceError::invalid(field, "there is no such user"))?;
    if user.is_active { Ok(user) } else { Err(ServiceError::invalid(field, "this user is deactivated")) }
}

fn record(
    change: &mut Change,
    action: &'static str,
    (member, _): &NamedMember,
    before: Option<Value>,
    after: Option<Value>,
) {
    let event = Event { before, after, ..Event::new(action, AuditObject::Member(member.user_id)) };
    change.record(event.in_app(member.app_id));
}
