//! An app as one document: as it is told, and as it is to be.

use std::collections::BTreeMap;

use picloud_shared::app::HstsMaxAge;
use picloud_shared::at_most::{AtMost, AtMostNamed};
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::env::EnvValue;
use picloud_shared::event::EventSource;
use picloud_shared::execution::RedactedHeaders;
use picloud_shared::id::{ScriptId, TriggerId};
use picloud_shared::name::{AppName, AppSlug, ScriptName, SettingName};
use picloud_shared::path_pattern::PathKind;
use picloud_shared::route::{Route, RouteMethod, RoutePattern};
use picloud_shared::script::{ExecuteAccess, ScriptKind, ScriptSource};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::extract::Object;
use crate::api::problem::FieldError;
use crate::api::route_body::{HostKind, PatternBody, host_text};
use crate::api::schema;
use crate::api::script_body::{Description, SandboxView};
use crate::api::trigger_body::{
    BackoffBody, BackoffView, CreateTrigger, SourceKind, TriggerConfigBody, TriggerConfigView, TriggerView,
};
use crate::repo::triggers::StoredTrigger;
use crate::service::app::AppPatch;
use crate::service::app_limit::AppLimit;
use crate::service::deployment::MOST_ERRORS;
use crate::service::deployment::plan::{State, Wanted, WantedScript, WantedTrigger};
use crate::service::error::InvalidField;
use crate::service::{env, secret};

/// The form of documents that this version writes and reads.
const FORMAT: u32 = 1;

/// What an app may have the most of, as far as one list tells.
const MOST_DOMAINS: usize = AppLimit::Domains.ceiling() as usize;
const MOST_SCRIPTS: usize = AppLimit::Scripts.ceiling() as usize;
const MOST_ROUTES: usize = AppLimit::Routes.ceiling() as usize;
const MOST_TRIGGERS: usize = AppLimit::Triggers.ceiling() as usize;
const MOST_SETTINGS: usize = env::MOST as usize;
const MOST_SECRETS: usize = secret::MOST as usize;

/// An app as one document.
#[derive(Serialize, ToSchema)]
pub(super) struct AppDocument {
    /// 1.
    format: u32,
    app: SettingsDocument,
    /// The claims, as they are written.
    domains: Vec<String>,
    scripts: Vec<ScriptDocument>,
    triggers: Vec<TriggerDocument>,
    /// Settings that scripts read by name; absent for who may not read data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = HashMap<String, String>, required = false)]
    env: Option<BTreeMap<SettingName, EnvValue>>,
    /// The names of secrets, which have no values here; absent for who may not read data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>, required = false)]
    secrets: Option<Vec<SettingName>>,
}

#[derive(Serialize, ToSchema)]
struct SettingsDocument {
    slug: String,
    name: String,
    redacted_headers: Vec<String>,
    record_bodies: bool,
    #[schema(value_type = Option<u32>)]
    hsts_max_age_s: Option<HstsMaxAge>,
}

/// A script with its routes.
#[derive(Serialize, ToSchema)]
struct ScriptDocument {
    name: String,
    #[schema(value_type = schema::ScriptKind)]
    kind: ScriptKind,
    description: String,
    timeout_ms: Option<u64>,
    sandbox: SandboxView,
    #[schema(value_type = schema::ExecuteAccess)]
    execute_access: ExecuteAccess,
    routes: Vec<RouteDocument>,
    source: String,
}

#[derive(Serialize, ToSchema)]
struct RouteDocument {
    #[schema(value_type = schema::HostKind)]
    host_kind: HostKind,
    host: Option<String>,
    #[schema(value_type = schema::PathKind)]
    path_kind: PathKind,
    path: String,
    #[schema(value_type = schema::RouteMethod)]
    method: RouteMethod,
    /// Whether its callers are answered at once with 202; absent where they are not.
    #[serde(rename = "async", skip_serializing_if = "is_false")]
    #[schema(required = false)]
    is_async: bool,
}

/// A trigger, with the name of what it runs.
#[derive(Serialize, ToSchema)]
struct TriggerDocument {
    script: String,
    #[schema(value_type = schema::TriggerSource)]
    source: EventSource,
    config: TriggerConfigView,
    enabled: bool,
    max_attempts: u32,
    backoff: BackoffView,
    timeout_ms: Option<u64>,
}

impl TriggerDocument {
    fn of(script: &ScriptName, stored: &StoredTrigger) -> Self {
        let TriggerView { source, config, enabled, max_attempts, backoff, timeout_ms, .. } = stored.clone().into();
        Self { script: script.to_string(), source, config, enabled, max_attempts, backoff, timeout_ms }
    }
}

/// Documents of apps without async routes are what they were before there were any.
fn is_false(value: &bool) -> bool {
    !value
}

impl From<&Route> for RouteDocument {
    fn from(route: &Route) -> Self {
        let RoutePattern { host, path, method } = &route.pattern;
        Self {
            host_kind: HostKind::of(host),
            host: host_text(host),
            path_kind: path.kind(),
            path: path.as_str().to_owned(),
            method: *method,
            is_async: route.is_async,
        }
    }
}

impl From<State> for AppDocument {
    fn from(State { app, domains, scripts, routes, triggers, env, secrets, .. }: State) -> Self {
        let triggers = triggers.iter().filter_map(|stored| {
            let script = scripts.iter().find(|script| script.meta.id == stored.trigger.script_id);
            script.map(|script| TriggerDocument::of(&script.meta.name, stored))
        });
        let triggers = triggers.collect();
        let scripts = scripts.into_iter().map(|script| {
            let routes = routes.iter().filter(|route| route.script_id == script.meta.id);
            ScriptDocument {
                routes: routes.map(RouteDocument::from).collect(),
                name: script.meta.name.to_string(),
                kind: script.meta.kind,
                description: script.meta.description,
                timeout_ms: script.meta.timeout_ms,
                sandbox: script.meta.sandbox.into(),
                execute_access: script.meta.execute_access,
                source: script.source.into(),
            }
        });
        Self {
            format: FORMAT,
            app: SettingsDocument {
                slug: app.slug.to_string(),
                name: app.name.to_string(),
                redacted_headers: app.redacted_headers.into(),
                record_bodies: app.record_bodies,
                hsts_max_age_s: app.hsts_max_age_s,
            },
            domains: domains.into_iter().map(|domain| domain.pattern.to_string()).collect(),
            scripts: scripts.collect(),
            triggers,
            env: env.map(|env| env.into_iter().map(|setting| (setting.name, setting.value)).collect()),
            secrets,
        }
    }
}

/// An app as it is to be, in the form that an export has.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedApp {
    /// 1.
    #[schema(minimum = 1, maximum = 1)]
    format: u32,
    /// Settings; what is absent stays.
    #[serde(default)]
    #[schema(value_type = Option<WantedSettings>)]
    app: Object<WantedSettings>,
    /// All claims; absent, they stay as they are.
    #[schema(value_type = Option<Vec<String>>, max_items = 1000)]
    pub domains: Option<AtMost<String, MOST_DOMAINS>>,
    /// All scripts, each with all of its routes.
    #[schema(value_type = Vec<WantedScriptBody>, max_items = 1000)]
    scripts: AtMost<Object<WantedScriptBody>, MOST_SCRIPTS>,
    /// All triggers; absent, they stay as they are.
    #[schema(value_type = Option<Vec<WantedTriggerBody>>, max_items = 100)]
    triggers: Option<AtMost<Object<WantedTriggerBody>, MOST_TRIGGERS>>,
    /// All settings that scripts read by name, at most 200, each of at most 8 KiB; absent, they stay as they are.
    #[schema(value_type = Option<HashMap<String, String>>)]
    env: Option<AtMostNamed<SettingName, EnvValue, MOST_SETTINGS>>,
    /// Names of secrets that the scripts read. They are not changed by it: the answer tells which of them the app lacks.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>, max_items = 200)]
    secrets: Option<AtMost<SettingName, MOST_SECRETS>>,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WantedSettings {
    /// What an import calls the app; a deployment takes no notice of it.
    #[schema(value_type = Option<String>)]
    pub slug: Option<AppSlug>,
    #[schema(value_type = Option<String>)]
    pub name: Option<AppName>,
    #[schema(value_type = Option<Vec<String>>)]
    pub redacted_headers: Option<RedactedHeaders>,
    pub record_bodies: Option<bool>,
    #[schema(value_type = Option<u32>, maximum = 63_072_000)]
    pub hsts_max_age_s: Option<HstsMaxAge>,
}

/// A script as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WantedScriptBody {
    #[schema(value_type = String, min_length = 1, max_length = 63)]
    name: ScriptName,
    #[schema(value_type = schema::ScriptKind)]
    kind: ScriptKind,
    /// Rhai source of at most 128 KiB.
    #[schema(value_type = String)]
    source: ScriptSource,
    #[schema(value_type = Option<String>, max_length = 2000)]
    description: Option<Description>,
    timeout_ms: Option<u64>,
    #[schema(value_type = Option<SandboxView>)]
    sandbox: Option<Object<SandboxView>>,
    /// Absent, a script keeps what it has, and a new one has the instance's default.
    #[schema(value_type = Option<schema::ExecuteAccess>)]
    execute_access: Option<ExecuteAccess>,
    #[serde(default)]
    #[schema(value_type = Vec<PatternBody>, required = false, max_items = 10_000)]
    routes: AtMost<Object<PatternBody>, MOST_ROUTES>,
}

/// A trigger as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WantedTriggerBody {
    /// The name of an endpoint in the document.
    #[schema(value_type = String, min_length = 1, max_length = 63)]
    script: ScriptName,
    #[schema(value_type = schema::TriggerSource)]
    source: SourceKind,
    #[schema(value_type = Option<TriggerConfigBody>)]
    config: Option<Object<TriggerConfigBody>>,
    /// True if absent.
    enabled: Option<bool>,
    /// 5 if absent.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100)]
    max_attempts: Option<i64>,
    #[schema(value_type = Option<BackoffBody>)]
    backoff: Option<Object<BackoffBody>>,
    /// Wall clock of one run in milliseconds, where it is to be less than the script's own.
    timeout_ms: Option<u64>,
}

impl WantedTriggerBody {
    fn parse(self) -> Result<WantedTrigger, Vec<InvalidField>> {
        let Self { script, source, config, enabled, max_attempts, backoff, timeout_ms } = self;
        let script_id = ScriptId::from_uuid(Uuid::nil());
        let like = CreateTrigger { script_id, source, config, enabled, max_attempts, backoff, timeout_ms }.parse()?;
        Ok(WantedTrigger { script, like: like(TriggerId::from_uuid(Uuid::nil())) })
    }
}

/// Adds to what is wrong with a document, as long as somebody may read it.
fn add(errors: &mut Vec<FieldError>, field: &str, detail: impl ToString) {
    if errors.len() < MOST_ERRORS {
        errors.push(FieldError::new(field, detail));
    }
}

/// What can be wrong with a document beyond its form.
pub(super) fn parse(wanted: WantedApp, errors: &mut Vec<FieldError>) -> (WantedSettings, Wanted) {
    let WantedApp { format, app: Object(settings), domains, scripts, triggers, env, secrets } = wanted;
    if format != FORMAT {
        add(errors, "format", "this version reads format 1");
    }
    let domains = domains.map(|AtMost(domains)| {
        let parsed = domains.iter().enumerate().filter_map(|(place, text)| {
            let parsed = text.parse::<DomainPattern>();
            parsed.map_err(|error| add(errors, &format!("domains[{place}]"), error)).ok()
        });
        parsed.collect()
    });
    let scripts = scripts.0.into_iter().enumerate().map(|(place, Object(script))| {
        let routes = script.routes.0.iter().enumerate().filter_map(|(route, Object(body))| {
            let parsed = body.parse().map_err(|wrong| {
                for wrong in wrong {
                    add(errors, &format!("scripts[{place}].routes[{route}].{}", wrong.field), wrong.detail);
                }
            });
            parsed.ok()
        });
        WantedScript {
            routes: routes.collect(),
            name: script.name,
            kind: script.kind,
            source: script.source,
            description: script.description.map(String::from).unwrap_or_default(),
            timeout_ms: script.timeout_ms,
            sandbox: script.sandbox.unwrap_or_default().0.into(),
            execute_access: script.execute_access,
        }
    });
    let scripts = scripts.collect();
    let triggers = triggers.map(|AtMost(triggers)| {
        let parsed = triggers.into_iter().enumerate().filter_map(|(place, Object(body))| {
            let parsed = body.parse().map_err(|wrong| {
                for wrong in wrong {
                    add(errors, &format!("triggers[{place}].{}", wrong.field), wrong.detail);
                }
            });
            parsed.ok()
        });
        parsed.collect()
    });
    let env = env.map(|AtMostNamed(env)| env);
    let secrets = secrets.unwrap_or_default().0.into_iter().collect();
    (settings, Wanted { settings: AppPatch::default(), domains, scripts, triggers, env, secrets })
}
