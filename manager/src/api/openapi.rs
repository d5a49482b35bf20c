//! The OpenAPI 3.1 document, generated from the handlers, and the description of problems in it.

mod examples;
mod execute;

use std::collections::BTreeMap;

use axum::Router;
use axum::routing::get;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use picloud_shared::id::{AppId, ExecutionId};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, HeaderBuilder, InfoBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::openapi::{OpenApiBuilder, Required, SecurityRequirement};
use utoipa::{PartialSchema, ToSchema};

use crate::api::ApiState;
use crate::api::idempotency::{KEY, Keys, REPLAYED};
use crate::api::openapi::examples::Examples;
use crate::api::problem::{FieldError, PROBLEM_JSON};
use crate::api::route::RouteView;
use crate::api::schema::{AppName, DomainHolder, ScriptName};
use crate::api::trigger::TriggerView;

/// The name of the one way to sign calls.
const BEARER: &str = "bearer";

/// A problem document (RFC 9457). `code` is stable and tells problems apart; some codes have members of their own.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it stands for problem documents, which problem.rs writes, in the OpenAPI document")]
pub(crate) struct Problem {
    /// `urn:picloud:problem:` and the code.
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong and what to do, in words for a person.
    detail: String,
    /// The stable name of the problem.
    code: String,
    /// Of every 422 that is about fields, and where a document of a whole app is refused: what is wrong, field by field.
    errors: Option<Vec<FieldError>>,
    /// Of `forbidden`: what the caller may not do.
    capability: Option<String>,
    /// Of `body_too_large`: the most that is read.
    max_bytes: Option<u64>,
    /// Of a script that failed: which execution it was.
    #[schema(value_type = Option<Uuid>)]
    execution_id: Option<ExecutionId>,
    /// Of a script that failed: why, for those who may invoke it.
    message: Option<String>,
    /// Of `invalid_source`, and of a script that failed for those who may invoke it: the 1-based line, where known.
    line: Option<u32>,
    /// Of the same: the 1-based column, where known.
    column: Option<u32>,
    /// Of `invalid_source`: the name of the script that imports this one and would no longer compile, if it is that.
    importer: Option<String>,
    /// Of `limit_over_ceiling`, `app_limit_reached`, `quota_exceeded`, and `script_budget_exceeded` for those who may invoke it: the limit's name.
    limit: Option<String>,
    /// Of `limit_over_ceiling`: the most that the operator allows. Of the others: the most that an app may have.
    ceiling: Option<u64>,
    /// Of `too_many_keys`, `too_many_streams` and `too_many_idempotency_keys`: how many one may have (of kept answers, as long as
    /// they are 16 MiB at most).
    most: Option<u64>,
    /// Of `insufficient_scope`: the scope that the key lacks.
    scope: Option<String>,
    /// Of `has_scripts`: how many.
    script_count: Option<u64>,
    /// Of `key_bound_to_app`: the one app that the key is for.
    #[schema(value_type = Option<Uuid>)]
    app_id: Option<AppId>,
    /// Of `slug_historical`: the app that the slug leads to, if the caller may see it.
    app: Option<AppName>,
    /// Of `slug_historical`: whether the caller may take the slug from it by `takeover`.
    may_take_over: Option<bool>,
    /// Of `route_conflict`: the other route whole. Of `trigger_exists`: the other trigger. Of `domain_claimed`: who claims what, if the caller may see it.
    conflict: Option<Conflict>,
    /// Of `domain_in_use` and `script_in_use`: the routes that depend on it.
    routes: Option<Vec<RouteView>>,
    /// Of `script_in_use`: the triggers that run it.
    triggers: Option<Vec<TriggerView>>,
    /// Of `script_in_use`: the scripts that import it.
    importers: Option<Vec<ScriptName>>,
}

/// What stands in the way.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it stands for a member of problem documents")]
enum Conflict {
    Route(RouteView),
    Trigger(TriggerView),
    Domain(DomainHolder),
}

/// The response for a status, listing the codes that it may have.
pub(crate) fn problem_response(status: &str, codes: &str) -> RefOr<Response> {
    let content = Content::new(Some(RefOr::Ref(Ref::from_schema_name("Problem"))));
    let response = ResponseBuilder::new().description(format!("Codes: {codes}.")).content(PROBLEM_JSON, content);
    let header = |name: http::HeaderName, schema, text: &str| {
        (name.as_str().to_owned(), HeaderBuilder::new().schema(schema).description(Some(text)).build())
    };
    let (name, header) = match status {
        "401" => header(WWW_AUTHENTICATE, Some(String::schema()), "How to prove who one is: `Bearer`."),
        "429" | "503" => {
            header(RETRY_AFTER, Some(u64::schema()), "Seconds after which to try again, where that may help.")
        }
        _ => return response.build().into(),
    };
    response.header(name, header).build().into()
}

/// Names the problems of a call for its `responses(...)`.
macro_rules! problems {
    ($($Name:ident { $($status:literal: $codes:literal),+ $(,)? })+) => {$(
        struct $Name;

        impl utoipa::IntoResponses for $Name {
            fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                let listed = [$(($status, $codes)),+];
                let response = |(status, codes): (&str, &str)| {
                    (status.to_owned(), crate::api::openapi::problem_response(status, codes))
                };
                listed.into_iter().map(response).collect()
            }
        }
    )+};
}
pub(crate) use problems;

/// The document before any operation is in it.
pub(crate) fn preamble() -> OpenApi {
    let info = InfoBuilder::new()
        .title("PiCloud admin API")
        .version(picloud_shared::version::PRODUCT)
        .description(Some(
            "Apps, domains, scripts, routes, triggers and execution logs of a PiCloud instance. Errors are problem documents. \
             Sign in with `POST /api/v1/admin/auth/login` and send the token as `Authorization: Bearer <token>`, or send an API key so.",
        ))
        .build();
    OpenApiBuilder::new().info(info).build()
}

/// The whole document.
pub(crate) fn document() -> OpenApi {
    let (_, mut document) = super::operations().split_for_parts();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(BEARER, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    let mut schemas = vec![("Problem".to_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    components.schemas.extend(schemas);
    let examples = Examples::read();
    for (path, item) in &mut document.paths.paths {
        if let Some(reading) = &mut item.get {
            complete(reading, "`store_unavailable`, `overloaded`");
            examples.add_to(reading);
        }
        if let Some(posting) = &mut item.post {
            match Keys::of(path) {
                Keys::Honoured => honour_keys(posting),
                Keys::Refused => add_codes(posting, "400", "`malformed`", "`idempotency_not_supported`"),
                Keys::Ignored => {}
            }
        }
        for changing in [&mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten() {
            let codes = "`store_unavailable`, `overloaded`, `not_live_yet` (the change is kept; without Retry-After), `key_replaced` (the node must be started again)";
            complete(changing, codes);
            examples.add_to(changing);
        }
    }
    document.paths.paths.insert(execute::PATH.to_owned(), execute::item());
    document
}

/// Adds what is the same for every call, where the call does not say otherwise.
fn complete(operation: &mut Operation, unavailable: &'static str) {
    let is_open = operation.security.as_ref().is_some_and(Vec::is_empty);
    let mut responses = BTreeMap::from([("500", "`internal`"), ("503", unavailable)]);
    if !is_open {
        operation.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
        responses.insert("401", "`unauthenticated`");
        responses
            .insert("403", "`forbidden`, `insufficient_scope`, `key_bound_to_app`, `session_required`, `cross_origin`");
    }
    let parameters: Vec<&Parameter> = operation.parameters.iter().flatten().filter_map(inlined).collect();
    if parameters.iter().any(|parameter| parameter.name == "app") {
        let moved = ResponseBuilder::new()
            .description("The app has another slug now: make the same call there.")
            .header(LOCATION.as_str(), HeaderBuilder::new().schema(Some(String::schema())).build());
        operation.responses.responses.insert("308".to_owned(), moved.build().into());
    }
    let has_body = operation.request_body.is_some();
    if has_body || parameters.iter().any(|parameter| parameter.parameter_in == ParameterIn::Header) {
        responses.insert("400", "`malformed`");
    }
    if has_body || parameters.iter().any(|parameter| parameter.parameter_in == ParameterIn::Query) {
        responses.insert("422", "`invalid`");
    }
    if has_body {
        responses.insert("413", "`body_too_large`");
        responses.insert("415", "`unsupported_media_type`");
    }
    for (status, codes) in responses {
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| problem_response(status, codes));
    }
}

/// Adds what `Idempotency-Key` does to a POST.
fn honour_keys(operation: &mut Operation) {
    let parameter =
        ParameterBuilder::new().name(KEY.as_str()).parameter_in(ParameterIn::Header).required(Required::False);
    let parameter = parameter.description(Some(
        "Makes it safe to send the call again: for 24 hours it is done once and answered alike. 1 to 255 visible characters.",
    ));
    operation.parameters.get_or_insert_default().push(parameter.schema(Some(String::schema())).build().into());
    for response in operation.responses.responses.iter_mut().filter(|(status, _)| status.starts_with('2')) {
        if let (_, RefOr::T(response)) = response {
            let header = HeaderBuilder::new().schema(Some(String::schema()));
            let header =
                header.description(Some("`true`, where the answer was given before by the same Idempotency-Key."));
            response.headers.insert(REPLAYED.as_str().to_owned(), header.build().into());
        }
    }
    add_codes(operation, "400", "`malformed`", "");
    add_codes(operation, "409", "", "`idempotency_key_running`");
    add_codes(operation, "422", "`invalid`", "`idempotency_key_reused`");
    add_codes(operation, "429", "", "`too_many_idempotency_keys`");
}

/// Adds codes to those that a status may have, which are `usual` where the call does not say.
fn add_codes(operation: &mut Operation, status: &str, usual: &str, codes: &str) {
    let told = match operation.responses.responses.get(status) {
        Some(RefOr::T(response)) => response.description.trim_start_matches("Codes: ").trim_end_matches('.').to_owned(),
        _ => usual.to_owned(),
    };
    let all: Vec<&str> = [told.as_str(), codes].into_iter().filter(|codes| !codes.is_empty()).collect();
    operation.responses.responses.insert(status.to_owned(), problem_response(status, &all.join(", ")));
}

/// No parameter of this document is a reference.
fn inlined(parameter: &RefOr<Parameter>) -> Option<&Parameter> {
    match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    }
}

/// Serves the document, rendered once.
pub(crate) fn routes() -> Router<ApiState> {
    let json = document().to_json().expect("the document is made of plain values, which JSON can hold");
    let json = bytes::Bytes::from(json);
    Router::new().route("/api/v1/openapi.json", get(async move || ([(CONTENT_TYPE, "application/json")], json.clone())))
}
