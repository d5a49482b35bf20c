//! Who may do what: the table of roles and capabilities, in one function, what an API key cuts off from it, and the access
//! of a caller to an app.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use picloud_shared::id::{AppId, SessionId};
use picloud_shared::name::AppSlug;

use crate::repo::api_keys::ApiKey;
use crate::repo::apps::{self, App};
use crate::repo::members;
use crate::repo::role::{AppRole, InstanceRole};
use crate::repo::scope::Scope;
use crate::repo::users::User;
use crate::service::credential::Credential;
use crate::service::error::ServiceError;
use crate::service::idempotency::Deferral;
use crate::store::Conn;

/// Who makes a call, and by what.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub user: User,
    pub credential: Credential,
    pub remote_ip: IpAddr,
    /// Where the call's change waits for its answer, if that is to be kept.
    pub deferral: Option<Arc<Deferral>>,
}

macro_rules! capabilities {
    ($($(#[$doc:meta])* $Name:ident: $Scope:ident;)+) => {
        /// Something that a role may allow.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Capability {
            $($(#[$doc])* $Name,)+
        }

        impl Capability {
            pub(crate) const ALL: &'static [Capability] = &[$(Self::$Name),+];

            /// The capability of that name.
            pub(crate) fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|capability| capability.to_string() == name)
            }

            /// The scope that a key needs for it, beside its owner's role.
            pub(crate) const fn scope(self) -> Scope {
                match self {
                    $(Self::$Name => Scope::$Scope,)+
                }
            }
        }
    };
}

capabilities! {
    /// List, make and change users up to one's own role.
    InstanceManageUsers: UsersWrite;
    InstanceManageSettings: InstanceWrite;
    /// See certificates, the audit log, the state of the instance.
    InstanceRead: InstanceRead;
    AppCreate: AppsWrite;
    AppRead: AppsRead;
    ScriptRead: ScriptsRead;
    LogRead: LogsRead;
    DataRead: DataRead;
    ScriptInvoke: ScriptsExecute;
    ScriptWrite: ScriptsWrite;
    RouteWrite: ScriptsWrite;
    TriggerWrite: TriggersWrite;
    DeadLetterAct: TriggersWrite;
    DataWrite: DataWrite;
    AppManageDomains: AppsWrite;
    AppManageMembers: MembersWrite;
    AppManageSecrets: DataWrite;
    AppManageSettings: AppsWrite;
    AppDelete: AppsWrite;
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

/// The table of roles. `app` is the effective role in the app in question, where there is one.
pub(crate) fn allows(instance: InstanceRole, app: Option<AppRole>, capability: Capability) -> bool {
    match capability {
        Capability::InstanceManageSettings => instance >= InstanceRole::Owner,
        Capability::InstanceManageUsers | Capability::InstanceRead | Capability::AppCreate => {
            instance >= InstanceRole::Admin
        }
        Capability::AppManageSettings
        | Capability::AppManageMembers
        | Capability::AppManageSecrets
        | Capability::AppDelete => app >= Some(AppRole::AppAdmin),
        // An admin, who is but an editor otherwise, sees to the instance's hosts.
        Capability::AppManageDomains => {
            app >= Some(AppRole::AppAdmin) || (app.is_some() && instance >= InstanceRole::Admin)
        }
        Capability::ScriptWrite
        | Capability::RouteWrite
        | Capability::TriggerWrite
        | Capability::DeadLetterAct
        | Capability::DataWrite
        | Capability::ScriptInvoke => app >= Some(AppRole::Editor),
        Capability::AppRead | Capability::ScriptRead | Capability::LogRead | Capability::DataRead => {
            app >= Some(AppRole::Viewer)
        }
    }
}

/// An app as an address names it.
#[derive(Debug, Clone)]
pub(crate) enum AppRef {
    Id(AppId),
    Slug(AppSlug),
}

/// What somebody may do, in one app or outside of all.
#[derive(Debug, Clone)]
struct Grant {
    instance_role: InstanceRole,
    app_role: Option<AppRole>,
    /// All of a role's, or a key's.
    scopes: Option<Vec<Scope>>,
    /// Where what is required is noted, and as of which app.
    noted: Option<(Arc<Deferral>, Option<AppId>)>,
}

impl Grant {
    fn allows(&self, capability: Capability) -> bool {
        self.check(capability).is_ok()
    }

    fn require(&self, capability: Capability) -> Result<(), ServiceError> {
        self.check(capability)?;
        if let Some((deferral, app)) = &self.noted {
            deferral.note(*app, capability);
        }
        Ok(())
    }

    /// The role is looked at first: that a key lacks a scope is told only to who would otherwise be let in.
    fn check(&self, capability: Capability) -> Result<(), ServiceError> {
        if !allows(self.instance_role, self.app_role, capability) {
            return Err(ServiceError::Forbidden(capability));
        }
        match &self.scopes {
            Some(scopes) if !scopes.contains(&capability.scope()) => Err(ServiceError::OutOfScope(capability.scope())),
            _ => Ok(()),
        }
    }

    fn capabilities(&self) -> Vec<Capability> {
        Capability::ALL.iter().copied().filter(|capability| self.allows(*capability)).collect()
    }
}

/// An app that the caller may see, with the caller's role there.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub app: App,
    pub role: AppRole,
    grant: Grant,
}

impl Access {
    pub(crate) fn allows(&self, capability: Capability) -> bool {
        self.grant.allows(capability)
    }

    pub(crate) fn require(&self, capability: Capability) -> Result<(), ServiceError> {
        self.grant.require(capability)
    }

    /// Everything that the caller may do in the app.
    pub(crate) fn capabilities(&self) -> Vec<Capability> {
        let outside = Grant { app_role: None, ..self.grant.clone() };
        self.grant.capabilities().into_iter().filter(|capability| !outside.allows(*capability)).collect()
    }
}

impl Actor {
    /// The key that the call is made with, if it is made with one.
    pub(crate) fn key(&self) -> Option<&ApiKey> {
        match &self.credential {
            Credential::Session(_) => None,
            Credential::Key(key) => Some(key),
        }
    }

    /// The session that the call is made with.
    ///
    /// # Errors
    /// [`ServiceError::SessionRequired`] when it is made with a key: some things are for people alone.
    pub(crate) fn session(&self) -> Result<SessionId, ServiceError> {
        match &self.credential {
            Credential::Session(session) => Ok(*session),
            Credential::Key(_) => Err(ServiceError::SessionRequired),
        }
    }

    fn grant(&self, app: Option<(AppId, AppRole)>) -> Grant {
        let (app, app_role) = app.unzip();
        let scopes = self.key().map(|key| key.scopes.clone());
        let noted = self.deferral.clone().map(|deferral| (deferral, app));
        Grant { instance_role: self.user.instance_role, app_role, scopes, noted }
    }

    /// What the caller may do outside of all apps. A key that is bound to an app may do nothing there.
    fn grant_outside(&self) -> Option<Grant> {
        let is_bound = self.key().is_some_and(|key| key.app_id.is_some());
        (!is_bound).then(|| self.grant(None))
    }

    pub(crate) fn require(&self, capability: Capability) -> Result<(), ServiceError> {
        if let Some(grant) = self.grant_outside() {
            return grant.require(capability);
        }
        // As with scopes, what the key lacks is told only to who would be let in without it.
        match self.key().and_then(|key| key.app_id).filter(|_| allows(self.user.instance_role, None, capability)) {
            Some(app) => Err(ServiceError::BoundToApp(app)),
            None => Err(ServiceError::Forbidden(capability)),
        }
    }

    pub(crate) fn allows(&self, capability: Capability) -> bool {
        self.grant_outside().is_some_and(|grant| grant.allows(capability))
    }

    /// Everything that the caller may do outside of all apps.
    pub(crate) fn capabilities(&self) -> Vec<Capability> {
        Capability::ALL.iter().copied().filter(|capability| self.allows(*capability)).collect()
    }

    /// What a list over several apps needs, in each of which the caller has a role.
    pub(crate) fn require_scope_of(&self, capability: Capability) -> Result<(), ServiceError> {
        Grant { app_role: Some(AppRole::AppAdmin), ..self.grant(None) }.check(capability)
    }

    /// The caller's access to an app row; `None` when the app does not exist for the caller.
    pub(crate) async fn access_to(&self, conn: &mut Conn, app: App) -> Result<Option<Access>, ServiceError> {
        let role = self.role_in(conn, app.id).await?;
        Ok(role.map(|role| Access { role, grant: self.grant(Some((app.id, role))), app }))
    }

    async fn role_in(&self, conn: &mut Conn, app: AppId) -> Result<Option<AppRole>, ServiceError> {
        if self.key().is_some_and(|key| key.app_id.is_some_and(|own| own != app)) {
            return Ok(None);
        }
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
        self.grant(Some((app, role))).require(capability)
    }

    /// The caller's access to the app that an address names.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] when there is none, or none for this caller; [`ServiceError::Moved`] for a slug that it had
    /// before.
    pub(crate) async fn access(&self, conn: &mut Conn, app: &AppRef) -> Result<Access, ServiceError> {
        let (found, is_former) = match app {
            AppRef::Id(id) => (apps::find(conn, *id).await?, false),
            AppRef::Slug(slug) => match apps::find_by_slug(conn, slug).await? {
                Some(app) => (Some(app), false),
                None => (apps::find_by_historical_slug(conn, slug).await?, true),
            },
        };
        let access = match found {
            Some(app) => self.access_to(conn, app).await?,
            None => None,
        };
        match access.ok_or(ServiceError::NotFound("app"))? {
            Access { app, .. } if is_former => Err(ServiceError::Moved { to: app.slug }),
            access => Ok(access),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns of the table of roles, for an app that the user has that effective role in.
    fn column(instance: InstanceRole, membership: Option<AppRole>) -> String {
        let role = effective_role(instance, membership);
        let row = |capability: &Capability| if allows(instance, role, *capability) { 'y' } else { '-' };
        Capability::ALL.iter().map(row).collect()
    }

    #[test]
    fn the_table_of_roles_is_as_written() {
        use AppRole::{AppAdmin, Editor, Viewer};
        use InstanceRole::{Admin, Member, Owner};
        // Users, settings, reading the instance, AppCreate; four readings; ScriptInvoke and five writings; domains,
        // members, secrets, settings, delete.
        let table = [
            (Owner, None, "yyyy yyyy yyyyyy yyyyy"),
            (Owner, Some(Viewer), "yyyy yyyy yyyyyy yyyyy"),
            (Admin, None, "y-yy yyyy yyyyyy y----"),
            (Admin, Some(Viewer), "y-yy yyyy yyyyyy y----"),
            (Admin, Some(AppAdmin), "y-yy yyyy yyyyyy yyyyy"),
            (Member, Some(AppAdmin), "---- yyyy yyyyyy yyyyy"),
            (Member, Some(Editor), "---- yyyy yyyyyy -----"),
            (Member, Some(Viewer), "---- yyyy ------ -----"),
            (Member, None, "---- ---- ------ -----"),
        ];
        for (instance, membership, expected) in table {
            assert_eq!(column(instance, membership), expected.replace(' ', ""), "{instance} {membership:?}");
        }
    }

    #[test]
    fn a_key_needs_the_role_and_the_scope_for_each_capability() {
        for capability in Capability::ALL {
            for scope in Scope::ALL {
                let grant = |instance_role| Grant {
                    instance_role,
                    app_role: Some(AppRole::AppAdmin),
                    scopes: Some(vec![*scope]),
                    noted: None,
                };
                assert_eq!(grant(InstanceRole::Owner).allows(*capability), capability.scope() == *scope);
                let weak = Grant { app_role: None, ..grant(InstanceRole::Member) };
                assert!(!weak.allows(*capability), "{capability} by {scope}");
            }
        }
    }

    #[test]
    fn a_capability_is_found_by_its_name() {
        for capability in Capability::ALL {
            assert_eq!(Capability::named(&capability.to_string()), Some(*capability));
        }
        assert_eq!(Capability::named("scriptwrite"), None);
    }

    #[test]
    fn every_scope_allows_something() {
        for scope in Scope::ALL {
            assert!(Capability::ALL.iter().any(|capability| capability.scope() == *scope), "{scope}");
        }
    }
}
