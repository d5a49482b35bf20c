//! The steps of a deployment.

use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::env::EnvValue;
use picloud_shared::id::{RouteId, ScriptId, TriggerId};
use picloud_shared::name::{ScriptName, SettingName};
use picloud_shared::route::Route;
use picloud_shared::trigger::Trigger;

use crate::repo::apps::App;
use crate::repo::domains::Domain;
use crate::repo::env::EnvSetting;
use crate::repo::scripts::Script;
use crate::repo::triggers::StoredTrigger;
use crate::service::authorize::Capability;
use crate::service::script::needs_check;

/// One thing to be done. They are done in the order of these kinds, in which none stands in the way of a later one.
#[derive(Clone, PartialEq)]
pub(crate) enum Step {
    ForgetTrigger(TriggerId),
    /// With its script, or alone.
    DeleteTrigger {
        old: Trigger,
        with_script: bool,
    },
    ForgetRoute(RouteId),
    ForgetScript(ScriptId),
    DeleteRoute(Route),
    DeleteScript(Script),
    ReleaseDomain(Domain),
    UpdateApp {
        old: App,
        new: App,
    },
    ClaimDomain {
        place: usize,
        pattern: DomainPattern,
    },
    CreateScript {
        place: usize,
        script: Script,
    },
    UpdateScript {
        place: usize,
        old: Box<Script>,
        new: Script,
    },
    UpdateRoute {
        old: Route,
        new: Route,
    },
    CreateRoute(Route),
    UpdateTrigger {
        old: StoredTrigger,
        new: Trigger,
    },
    CreateTrigger(Trigger),
    DeleteSetting(EnvSetting),
    SetSetting {
        old: Option<EnvSetting>,
        name: SettingName,
        value: EnvValue,
    },
}

impl Step {
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::ForgetTrigger(_) => 0,
            Self::DeleteTrigger { .. } => 1,
            Self::ForgetRoute(_) => 2,
            Self::ForgetScript(_) => 3,
            Self::DeleteRoute(_) => 4,
            Self::DeleteScript(_) => 5,
            Self::ReleaseDomain(_) => 6,
            Self::UpdateApp { .. } => 7,
            Self::ClaimDomain { .. } => 8,
            Self::CreateScript { .. } => 9,
            Self::UpdateScript { .. } => 10,
            Self::UpdateRoute { .. } => 11,
            Self::CreateRoute(_) => 12,
            Self::UpdateTrigger { .. } => 13,
            Self::CreateTrigger(_) => 14,
            Self::DeleteSetting(_) => 15,
            Self::SetSetting { .. } => 16,
        }
    }

    /// What it takes to do it.
    pub(crate) fn capability(&self) -> Capability {
        match self {
            Self::ForgetScript(_)
            | Self::DeleteScript(_)
            | Self::CreateScript { .. }
            | Self::UpdateScript { .. }
            | Self::DeleteTrigger { with_script: true, .. } => Capability::ScriptWrite,
            Self::ForgetRoute(_) | Self::DeleteRoute(_) | Self::UpdateRoute { .. } | Self::CreateRoute(_) => {
                Capability::RouteWrite
            }
            Self::ClaimDomain { .. } | Self::ReleaseDomain(_) => Capability::AppManageDomains,
            Self::UpdateApp { .. } => Capability::AppManageSettings,
            Self::ForgetTrigger(_)
            | Self::DeleteTrigger { with_script: false, .. }
            | Self::UpdateTrigger { .. }
            | Self::CreateTrigger(_) => Capability::TriggerWrite,
            Self::DeleteSetting(_) | Self::SetSetting { .. } => Capability::DataWrite,
        }
    }

    /// The script whose other state others may have to be checked against, if this step changes one.
    pub(crate) fn changes_program_of(&self) -> Option<&ScriptName> {
        match self {
            Self::DeleteScript(script) | Self::CreateScript { script, .. } => Some(&script.meta.name),
            Self::UpdateScript { old, new, .. } if needs_check(old, new) => Some(&new.meta.name),
            _ => None,
        }
    }
}
