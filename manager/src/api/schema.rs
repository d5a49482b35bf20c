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
    /// Which events a trigger is for.
    TriggerSource "snake_case" { Cron, Queue, Kv, Docs, DeadLetter }
    /// What is made of ticks that were missed: nothing, one for all of them, or each of the newest 100.
    Misfire "snake_case" { Skip, Once, All }
    /// Where an event comes from.
    EventSource "snake_case" { Cron, Kv, Docs, Queue, Http, Invoke, DeadLetter }
    /// What happened at the source.
    EventOp "snake_case" { Tick, Set, Delete, Expire, Insert, Update, Message, Async, Call, Created }
    /// What has become of an event: it waits, is being handled, was handled, or is a dead letter.
    EventState "snake_case" { Waiting, Running, Done, Dead }
    /// What became of a dead letter: an event again, or nothing.
    Resolution "snake_case" { Replayed, Resolved }
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

/// What started an execution: `{"kind": "route", "route_id": ...}`, `{"kind": "trigger", "trigger_id": ...}`,
/// `{"kind": "by_id"}`, `{"kind": "test"}`, `{"kind": "invoke"}` by another script of the app,
/// or `{"kind": "event"}` by a call that nobody waits for.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[serde(tag = "kind")]
#[cfg_attr(not(test), expect(dead_code, reason = "it stands for an origin in the OpenAPI document"))]
#[cfg_attr(test, derive(Serialize), serde(rename_all = "snake_case"))]
pub(crate) enum ExecutionOrigin {
    Route { route_id: uuid::Uuid },
    Trigger { trigger_id: uuid::Uuid },
    ById,
    Test,
    Invoke,
    Event,
}

/// An event as it was recorded.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it stands for a stored document in the OpenAPI document")]
pub(crate) struct RecordedEvent {
    /// The same at each attempt.
    id: uuid::Uuid,
    /// `cron`, `kv`, `docs`, `queue`, `http`, `invoke` or `dead_letter`.
    source: String,
    /// What happened there, such as `message`.
    op: String,
    /// Which attempt it was, from 1 on.
    attempt: u32,
    /// The beginning of its payload, as JSON. All of an execution keep 4 KiB.
    payload: String,
    /// Bytes of the whole payload.
    payload_len: u64,
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
    /// The event that it was kept as; absent where its caller waited.
    event: Option<RecordedAttempt>,
}

/// An attempt at the event that a request was kept as.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it stands for a stored document in the OpenAPI document")]
pub(crate) struct RecordedAttempt {
    /// The event's id.
    id: uuid::Uuid,
    /// Which attempt it was, from 1 on.
    attempt: u32,
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
    use picloud_shared::{cron, event, execution, path_pattern, route, script};

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
        for documented in [
            TriggerSource::Cron,
            TriggerSource::Queue,
            TriggerSource::Kv,
            TriggerSource::Docs,
            TriggerSource::DeadLetter,
        ] {
            assert!(word(documented).parse::<event::EventSource>().is_ok());
        }
        for documented in [Misfire::Skip, Misfire::Once, Misfire::All] {
            assert!(serde_json::from_value::<cron::Misfire>(word(documented).into()).is_ok());
        }
        let sources = [
            EventSource::Cron,
            EventSource::Kv,
            EventSource::Docs,
            EventSource::Queue,
            EventSource::Http,
            EventSource::Invoke,
            EventSource::DeadLetter,
        ];
        assert_eq!(sources.map(word), std::array::from_fn(|at| event::EventSource::ALL[at].as_str().to_owned()));
        let ops = [
            EventOp::Tick,
            EventOp::Set,
            EventOp::Delete,
            EventOp::Expire,
            EventOp::Insert,
            EventOp::Update,
            EventOp::Message,
            EventOp::Async,
            EventOp::Call,
            EventOp::Created,
        ];
        assert_eq!(ops.map(word), std::array::from_fn(|at| event::EventOp::ALL[at].as_str().to_owned()));
        for documented in [EventState::Waiting, EventState::Running, EventState::Done, EventState::Dead] {
            assert!(word(documented).parse::<crate::events::EventState>().is_ok());
        }
        for documented in [Resolution::Replayed, Resolution::Resolved] {
            assert!(word(documented).parse::<crate::events::Resolution>().is_ok());
        }
        for documented in [InstanceRole::Owner, InstanceRole::Admin, InstanceRole::Member] {
            assert!(word(documented).parse::<role::InstanceRole>().is_ok());
        }
        for documented in [AppRole::AppAdmin, AppRole::Editor, AppRole::Viewer] {
            assert!(word(documented).parse::<role::AppRole>().is_ok());
        }
        let id = uuid::Uuid::from_u128(7);
        for (documented, origin) in [
            (
                ExecutionOrigin::Route { route_id: id },
                execution::Origin::Route(picloud_shared::id::RouteId::from_uuid(id)),
            ),
            (
                ExecutionOrigin::Trigger { trigger_id: id },
                execution::Origin::Trigger(picloud_shared::id::TriggerId::from_uuid(id)),
            ),
            (ExecutionOrigin::ById, execution::Origin::ById),
            (ExecutionOrigin::Test, execution::Origin::Test),
            (ExecutionOrigin::Invoke, execution::Origin::Invoke),
            (ExecutionOrigin::Event, execution::Origin::Event),
        ] {
            assert_eq!(serde_json::to_value(documented).unwrap(), serde_json::to_value(origin).unwrap());
        }
        assert_eq!(word(HostKind::Any), route::HostSelector::Any.kind());
        let host = || picloud_shared::domain_pattern::Host::parse_authority("a.example").unwrap();
        assert_eq!(word(HostKind::Strict), route::HostSelector::Strict(host()).kind());
        assert_eq!(word(HostKind::Wildcard), route::HostSelector::Wildcard(host()).kind());
    }
}
