//! Views that several resources share, and the schemas of words that the shared vocabulary defines.

use std::collections::BTreeMap;

use picloud_shared::id::{AppId, ScriptId};
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::repo::apps::App;
use crate::repo::scripts::ScriptMeta;

/// Words of the shared vocabulary as the OpenAPI document lists them. A test holds them to the vocabulary.
macro_rules! words {
    ($($(#[$doc:meta])* $Name:ident $rename:literal { $($Word:ident),+ })+) => {$(
        $(#[$doc])*
        #[derive(ToSchema)]
        #[schema(rename_all = $rename)]
        #[cfg_attr(not(test), expect(dead_code, reason = "it stands for its words in the OpenAPI document"))]
        #[cfg_attr(test, derive(Serialize), serde(rename_all = $rename))]
        pub(crate) enum $Name { $($Word),+ }
    )+};
}

words! {
    /// What a script is for: it answers requests, or is only imported.
    ScriptKind "snake_case" { Endpoint, Module }
    /// Who may run a script by its id: everybody, or holders of ScriptInvoke.
    ExecuteAccess "snake_case" { Open, Restricted }
    /// Which hosts of its app a route answers on.
    HostKind "snake_case" { Any, Strict, Wildcard }
    /// How a route's path is read.
    PathKind "snake_case" { Exact, Param, Prefix }
    /// The method that a route answers.
    RouteMethod "UPPERCASE" { Get, Head, Post, Put, Patch, Delete, Options, Any }
    /// How an execution ended.
    Outcome "snake_case" { Success, Error, Timeout, BudgetExceeded, Rejected }
    /// A role on the instance.
    InstanceRole "snake_case" { Owner, Admin, Member }
    /// A role in one app.
    AppRole "snake_case" { AppAdmin, Editor, Viewer }
}

/// What an API key may be used for, as far as its owner may do it.
pub(crate) struct Scope;

impl PartialSchema for Scope {
    fn schema() -> RefOr<Schema> {
        let words = crate::repo::scope::Scope::ALL.iter().map(|scope| scope.as_str());
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(words))
            .description(Some("What an API key may be used for, as far as its owner may do it."))
            .into()
    }
}

impl ToSchema for Scope {}

/// An app by its names.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppName {
    /// The app's id.
    #[schema(value_type = Uuid)]
    pub id: AppId,
    /// The app's slug.
    pub slug: String,
}

impl From<&App> for AppName {
    fn from(app: &App) -> Self {
        Self { id: app.id, slug: app.slug.to_string() }
    }
}

/// A script by its names.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScriptName {
    /// The script's id.
    #[schema(value_type = Uuid)]
    pub id: ScriptId,
    /// The script's name.
    pub name: String,
}

impl From<&ScriptMeta> for ScriptName {
    fn from(script: &ScriptMeta) -> Self {
        Self { id: script.id, name: script.name.to_string() }
    }
}

/// Who claims a domain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DomainHolder {
    /// The app that claims it.
    pub app: AppName,
    /// The claim that is in the way.
    pub pattern: String,
}

/// What started an execution: `{"kind": "route", "route_id": ...}`, `{"kind": "by_id"}`, `{"kind": "test"}`, or
/// `{"kind": "invoke"}` by another script of the app.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[serde(tag = "kind", content = "route_id")]
#[cfg_attr(not(test), expect(dead_code, reason = "it stands for an origin in the OpenAPI document"))]
#[cfg_attr(test, derive(Serialize), serde(rename_all = "snake_case"))]
pub(crate) enum ExecutionOrigin {
    Route(uuid::Uuid),
    ById,
    Test,
    Invoke,
}

/// A request as it was recorded, without credentials and what the app leaves out.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it stands for a stored document in the OpenAPI document")]
pub(crate) struct RecordedRequest {
    method: String,
    url: String,
    remote_ip: String,
    /// Each header with all its values.
    headers: BTreeMap<String, Vec<String>>,
    /// The beginning of the body, where it is text.
    body: Option<String>,
    /// The beginning of the body in base64, where it is not.
    body_base64: Option<String>,
    /// Bytes of the whole body.
    body_len: u64,
}

/// A response as it was recorded, without credentials and what the app leaves out.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it stands for a stored document in the OpenAPI document")]
pub(crate) struct RecordedResponse {
    /// Each header with all its values.
    headers: BTreeMap<String, Vec<String>>,
    /// The beginning of the body, where it is text.
    body: Option<String>,
    /// The beginning of the body in base64, where it is not.
    body_base64: Option<String>,
    /// Bytes of the whole body.
    body_len: u64,
}

/// Where an execution failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FailureView {
    /// What went wrong.
    pub message: String,
    /// 1-based line in the script, where known.
    pub line: Option<u32>,
    /// 1-based column in that line, where known.
    pub column: Option<u32>,
    /// The limit that was reached, where one was.
    pub limit: Option<String>,
}

impl From<picloud_shared::execution::ExecutionFailure> for FailureView {
    fn from(failure: picloud_shared::execution::ExecutionFailure) -> Self {
        let picloud_shared::execution::ExecutionFailure { message, line, column, limit } = failure;
        Self { message, line, column, limit }
    }
}

/// A line that a script logged.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogLineView {
    /// When it was logged.
    #[schema(value_type = String, format = DateTime)]
    pub time: picloud_shared::clock::Timestamp,
    /// `trace`, `info`, `warn` or `error`.
    #[schema(value_type = String)]
    pub level: picloud_shared::execution::LogLevel,
    /// The text.
    pub message: String,
    /// The structured data given with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

impl From<picloud_shared::execution::LogLine> for LogLineView {
    fn from(line: picloud_shared::execution::LogLine) -> Self {
        let picloud_shared::execution::LogLine { time, level, message, data } = line;
        Self { time, level, message, data }
    }
}

#[cfg(test)]
mod tests {
    use picloud_shared::{execution, path_pattern, route, script};

    use super::*;
    use crate::repo::role;

    fn word(value: impl Serialize) -> String {
        serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn the_documented_words_are_those_of_the_vocabulary() {
        assert_eq!(word(ScriptKind::Endpoint), script::ScriptKind::Endpoint.as_str());
        assert_eq!(word(ScriptKind::Module), script::ScriptKind::Module.as_str());
        assert_eq!(word(ExecuteAccess::Open), script::ExecuteAccess::Open.as_str());
        assert_eq!(word(ExecuteAccess::Restricted), script::ExecuteAccess::Restricted.as_str());
        assert_eq!(word(PathKind::Exact), path_pattern::PathKind::Exact.as_str());
        assert_eq!(word(PathKind::Param), path_pattern::PathKind::Param.as_str());
        assert_eq!(word(PathKind::Prefix), path_pattern::PathKind::Prefix.as_str());
        let methods = [
            RouteMethod::Get,
            RouteMethod::Head,
            RouteMethod::Post,
            RouteMethod::Put,
            RouteMethod::Patch,
            RouteMethod::Delete,
            RouteMethod::Options,
            RouteMethod::Any,
        ];
        assert_eq!(methods.map(word), route::RouteMethod::ALL.map(|method| method.as_str().to_owned()));
        for documented in
            [Outcome::Success, Outcome::Error, Outcome::Timeout, Outcome::BudgetExceeded, Outcome::Rejected]
        {
            assert!(word(documented).parse::<execution::Outcome>().is_ok());
        }
        for documented in [InstanceRole::Owner, InstanceRole::Admin, InstanceRole::Member] {
            assert!(word(documented).parse::<role::InstanceRole>().is_ok());
        }
        for documented in [AppRole::AppAdmin, AppRole::Editor, AppRole::Viewer] {
            assert!(word(documented).parse::<role::AppRole>().is_ok());
        }
        let id = uuid::Uuid::from_u128(7);
        for (documented, origin) in [
            (ExecutionOrigin::Route(id), execution::Origin::Route(picloud_shared::id::RouteId::from_uuid(id))),
            (ExecutionOrigin::ById, execution::Origin::ById),
            (ExecutionOrigin::Test, execution::Origin::Test),
            (ExecutionOrigin::Invoke, execution::Origin::Invoke),
        ] {
            assert_eq!(serde_json::to_value(documented).unwrap(), serde_json::to_value(origin).unwrap());
        }
        assert_eq!(word(HostKind::Any), route::HostSelector::Any.kind());
        let host = || picloud_shared::domain_pattern::Host::parse_authority("a.example").unwrap();
        assert_eq!(word(HostKind::Strict), route::HostSelector::Strict(host()).kind());
        assert_eq!(word(HostKind::Wildcard), route::HostSelector::Wildcard(host()).kind());
    }
}
