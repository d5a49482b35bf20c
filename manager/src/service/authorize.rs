//! Who may do what: the table of roles and capabilities, in one function, and the access of a caller to an app.

use std::fmt;
use std::net::IpAddr;

use picloud_shared::id::{AppId, SessionId};
use picloud_shared::name::AppSlug;

use crate::repo::apps::{self, App};
use crate::repo::members;
use crate::repo::role::{AppRole, InstanceRole};
use crate::repo::users::User;
use crate::service::error::ServiceError;
use crate::store::Conn;

/// Who makes a call.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub user: User,
    pub session: SessionId,
    pub remote_ip: IpAddr,
}

/// Something that a role may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capability {
    AppCreate,
    AppManageSettings,
    AppManageMembers,
    AppManageSecrets,
    AppDelete,
    AppManageDomains,
    ScriptWrite,
    RouteWrite,
    TriggerWrite,
    DeadLetterAct,
    DataWrite,
    AppRead,
    ScriptInvoke,
}

impl Capability {
    /// Those that are about one app.
    pub(crate) const IN_APP: [Capability; 12] = [
        Self::AppRead,
        Self::ScriptInvoke,
        Self::ScriptWrite,
        Self::RouteWrite,
        Self::TriggerWrite,
        Self::DeadLetterAct,
        Self::DataWrite,
        Self::AppManageDomains,
        Self::AppManageMembers,
        Self::AppManageSecrets,
        Self::AppManageSettings,
        Self::AppDelete,
    ];
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The role that a user has in an app, membership or not; `None` when the app does not exist for the user.
pub(crate) fn effective_role(instance: InstanceRole, membership: Option<AppRole>) -> Option<AppRole> {
    match instance {
        InstanceRole::Owner => Some(AppRole::AppAdmin),
        InstanceRole::Admin => Some(membership.map_or(AppRole::Editor, |role| role.max(AppRole::Editor))),
        InstanceRole::Member => membership,
    }
}

/// The table of identity.md. `app` is the effective role in the app in question, where there is one.
pub(crate) fn allows(instance: InstanceRole, app: Option<AppRole>, capability: Capability) -> bool {
    match capability {
        Capability::AppCreate => instance >= InstanceRole::Admin,
        Capability::AppManageSettings
        | Capability::AppManageMembers
        | Capability::AppManageSecrets
        | Capability::AppDelete => app >= Some(AppRole::AppAdmin),
        Capability::AppManageDomains => instance >= InstanceRole::Admin || app >= Some(AppRole::AppAdmin),
        Capability::ScriptWrite
        | Capability::RouteWrite
        | Capability::TriggerWrite
        | Capability::DeadLetterAct
        | Capability::DataWrite
        | Capability::ScriptInvoke => app >= Some(AppRole::Editor),
        Capability::AppRead => app >= Some(AppRole::Viewer),
    }
}

/// An app as an address names it.
#[derive(Debug, Clone)]
pub(crate) enum AppRef {
    Id(AppId),
    Slug(AppSlug),
}

/// An app that the caller may see, with the caller's role there.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub app: App,
    pub role: AppRole,
    instance_role: InstanceRole,
}

impl Access {
    pub(crate) fn allows(&self, capability: Capability) -> bool {
        allows(self.instance_role, Some(self.role), capability)
    }

    pub(crate) fn require(&self, capability: Capability) -> Result<(), ServiceError> {
        if self.allows(capability) { Ok(()) } else { Err(ServiceError::Forbidden(capability)) }
    }

    /// Everything that the caller may do in the app.
    pub(crate) fn capabilities(&self) -> Vec<Capability> {
        Capability::IN_APP.into_iter().filter(|capability| self.allows(*capability)).collect()
    }
}

impl Actor {
    pub(crate) fn require(&self, capability: Capability) -> Result<(), ServiceError> {
        if allows(self.user.instance_role, None, capability) {
            Ok(())
        } else {
            Err(ServiceError::Forbidden(capability))
        }
    }

    /// The caller's access to an app row; `None` when the app does not exist for the caller.
    pub(crate) async fn access_to(&self, conn: &mut Conn, app: App) -> Result<Option<Access>, ServiceError> {
        let instance_role = self.user.instance_role;
        Ok(self.role_in(conn, app.id).await?.map(|role| Access { app, role, instance_role }))
    }

    async fn role_in(&self, conn: &mut Conn, app: AppId) -> Result<Option<AppRole>, ServiceError> {
        let instance_role = self.user.instance_role;
        let membership = match instance_role {
            InstanceRole::Owner => None,
            _ => members::find(conn, app, self.user.id).await?.map(|member| member.role),
        };
        Ok(effective_role(instance_role, membership))
    }

    /// What [`Actor::access`] and [`Access::require`] do, for an app whose row cannot be read.
    pub(crate) async fn require_in(
        &self,
        conn: &mut Conn,
        app: AppId,
        capability: Capability,
    ) -> Result<(), ServiceError> {
        let role = self.role_in(conn, app).await?.ok_or(ServiceError::NotFound("app"))?;
        if allows(self.user.instance_role, Some(role), capability) {
            Ok(())
        } else {
            Err(ServiceError::Forbidden(capability))
        }
    }

    /// The caller's access to the app that an address names.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] when there is none, or none for this caller.
    pub(crate) async fn access(&self, conn: &mut Conn, app: &AppRef) -> Result<Access, ServiceError> {
        let app = match app {
            AppRef::Id(id) => apps::find(conn, *id).await?,
            AppRef::Slug(slug) => apps::find_by_slug(conn, slug).await?,
        };
        let access = match app {
            Some(app) => self.access_to(conn, app).await?,
            None => None,
        };
        access.ok_or(ServiceError::NotFound("app"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns of identity.md's table, for an app that the user has that effective role in.
    fn column(instance: InstanceRole, membership: Option<AppRole>) -> String {
        let role = effective_role(instance, membership);
        let mut all = vec![Capability::AppCreate];
        all.extend(Capability::IN_APP);
        all.into_iter().map(|capability| if allows(instance, role, capability) { 'y' } else { '-' }).collect()
    }

    #[test]
    fn the_table_of_roles_is_as_written() {
        use AppRole::{AppAdmin, Editor, Viewer};
        use InstanceRole::{Admin, Member, Owner};
        // AppCreate, AppRead, ScriptInvoke, five writes, domains, members, secrets, settings, delete.
        let table = [
            (Owner, None, "yyyyyyyyyyyyy"),
            (Owner, Some(Viewer), "yyyyyyyyyyyyy"),
            (Admin, None, "yyyyyyyyy----"),
            (Admin, Some(Viewer), "yyyyyyyyy----"),
            (Admin, Some(AppAdmin), "yyyyyyyyyyyyy"),
            (Member, Some(AppAdmin), "-yyyyyyyyyyyy"),
            (Member, Some(Editor), "-yyyyyyy-----"),
            (Member, Some(Viewer), "-y-----------"),
            (Member, None, "-------------"),
        ];
        for (instance, membership, expected) in table {
            assert_eq!(column(instance, membership), expected, "{instance} {membership:?}");
        }
    }
}
