//! The JSON of scripts: what clients send and what they get.

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{AppId, ScriptId};
use picloud_shared::name::ScriptName;
use picloud_shared::script::{ExecuteAccess, Sandbox, ScriptKind, ScriptSource};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::extract::{Object, present};
use crate::api::schema;
use crate::repo::scripts::{Script, ScriptMeta};
use crate::service::script::{NewScript, ScriptPatch};

/// The six limits of a script's sandbox; an absent or null one is the platform's default.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SandboxView {
    max_operations: Option<u64>,
    max_string_size: Option<u64>,
    max_array_size: Option<u64>,
    max_map_size: Option<u64>,
    max_call_levels: Option<u64>,
    max_expr_depth: Option<u64>,
}

impl From<SandboxView> for Sandbox {
    fn from(view: SandboxView) -> Self {
        let SandboxView {
            max_operations,
            max_string_size,
            max_array_size,
            max_map_size,
            max_call_levels,
            max_expr_depth,
        } = view;
        Self { max_operations, max_string_size, max_array_size, max_map_size, max_call_levels, max_expr_depth }
    }
}

impl From<Sandbox> for SandboxView {
    fn from(sandbox: Sandbox) -> Self {
        let Sandbox { max_operations, max_string_size, max_array_size, max_map_size, max_call_levels, max_expr_depth } =
            sandbox;
        Self { max_operations, max_string_size, max_array_size, max_map_size, max_call_levels, max_expr_depth }
    }
}

/// A script without its source, as lists show it.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScriptSummary {
    #[schema(value_type = Uuid)]
    pub id: ScriptId,
    #[schema(value_type = Uuid)]
    pub app_id: AppId,
    /// Unique within the app.
    pub name: String,
    #[schema(value_type = schema::ScriptKind)]
    pub kind: ScriptKind,
    pub description: String,
    /// The number of the current source, one more at each change of it.
    pub version: u32,
    /// The modules that the source imports.
    pub imports: Vec<String>,
    /// Wall clock of one execution in milliseconds; null is the platform's default.
    pub timeout_ms: Option<u64>,
    pub sandbox: SandboxView,
    #[schema(value_type = schema::ExecuteAccess)]
    pub execute_access: ExecuteAccess,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A script with its source.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScriptView {
    #[serde(flatten)]
    pub summary: ScriptSummary,
    /// The current Rhai source.
    pub source: String,
}

impl From<ScriptMeta> for ScriptSummary {
    fn from(meta: ScriptMeta) -> Self {
        Self {
            id: meta.id,
            app_id: meta.app_id,
            name: meta.name.to_string(),
            kind: meta.kind,
            description: meta.description,
            version: meta.version,
            imports: meta.imports.into_iter().map(String::from).collect(),
            timeout_ms: meta.timeout_ms,
            sandbox: meta.sandbox.into(),
            execute_access: meta.execute_access,
            created_at: meta.created_at,
            updated_at: meta.updated_at,
        }
    }
}

impl From<Script> for ScriptView {
    fn from(Script { meta, source }: Script) -> Self {
        Self { summary: meta.into(), source: source.into() }
    }
}

/// What people wrote about a script: at most 2,000 characters.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Description(String);

impl TryFrom<String> for Description {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        if text.chars().count() > 2000 { Err("a description has at most 2000 characters") } else { Ok(Self(text)) }
    }
}

impl From<Description> for String {
    fn from(Description(text): Description) -> Self {
        text
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateScript {
    /// The app that the script is to belong to.
    #[schema(value_type = Uuid)]
    app_id: AppId,
    /// 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or a digit.
    #[schema(value_type = String, min_length = 1, max_length = 63)]
    name: ScriptName,
    #[schema(value_type = schema::ScriptKind)]
    kind: ScriptKind,
    /// Rhai source of at most 128 KiB.
    #[schema(value_type = String)]
    source: ScriptSource,
    #[schema(value_type = Option<String>, max_length = 2000)]
    description: Option<Description>,
    /// Wall clock of one execution in milliseconds; null is the platform's default.
    timeout_ms: Option<u64>,
    #[schema(value_type = Option<SandboxView>)]
    sandbox: Option<Object<SandboxView>>,
    /// The instance's default, if absent.
    #[schema(value_type = Option<schema::ExecuteAccess>)]
    execute_access: Option<ExecuteAccess>,
}

impl From<CreateScript> for NewScript {
    fn from(body: CreateScript) -> Self {
        Self {
            app_id: body.app_id,
            name: body.name,
            kind: body.kind,
            source: body.source,
            description: body.description.map(|text| text.0).unwrap_or_default(),
            timeout_ms: body.timeout_ms,
            sandbox: body.sandbox.unwrap_or_default().0.into(),
            execute_access: body.execute_access,
        }
    }
}

/// Changes of a script; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateScript {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 63)]
    name: Option<ScriptName>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = schema::ScriptKind, required = false)]
    kind: Option<ScriptKind>,
    /// Rhai source of at most 128 KiB. A changed source is a new version.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false)]
    source: Option<ScriptSource>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, max_length = 2000)]
    description: Option<Description>,
    /// Wall clock of one execution in milliseconds; null is the platform's default.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u64>)]
    timeout_ms: Option<Option<u64>>,
    /// Replaces the whole object; null is the platform's defaults.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<SandboxView>)]
    sandbox: Option<Option<Object<SandboxView>>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = schema::ExecuteAccess, required = false)]
    execute_access: Option<ExecuteAccess>,
}

impl From<UpdateScript> for ScriptPatch {
    fn from(body: UpdateScript) -> Self {
        Self {
            name: body.name,
            kind: body.kind,
            source: body.source,
            description: body.description.map(|text| text.0),
            timeout_ms: body.timeout_ms,
            sandbox: body.sandbox.map(|sandbox| sandbox.unwrap_or_default().0.into()),
            execute_access: body.execute_access,
        }
    }
}
