//! The OpenAPI 3.1 document, generated from the handlers, and the description of problems in it.

use std::collections::BTreeMap;

use axum::Router;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, InfoBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::openapi::{OpenApiBuilder, PathItem, SecurityRequirement};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use crate::api::ApiState;
use crate::api::problem::{FieldError, PROBLEM_JSON};

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
    /// Of `invalid`: what is wrong, field by field.
    errors: Option<Vec<FieldError>>,
    /// Of `invalid_source`: the 1-based line, where known.
    line: Option<u32>,
    /// Of `invalid_source`: the 1-based column, where known.
    column: Option<u32>,
    /// Of `limit_over_ceiling`: the limit's name.
    limit: Option<String>,
    /// Of `limit_over_ceiling`: the most that the operator allows.
    ceiling: Option<u64>,
    /// Of `has_scripts`: how many.
    script_count: Option<u64>,
    /// Of `route_conflict`: the other route whole. Of `domain_claimed`: who claims what, if the caller may see it.
    conflict: Option<serde_json::Value>,
}

/// The response for a status, listing the codes that it may have.
pub(crate) fn problem_response(codes: &str) -> RefOr<Response> {
    let content = Content::new(Some(RefOr::Ref(Ref::from_schema_name("Problem"))));
    ResponseBuilder::new().description(format!("Codes: {codes}.")).content(PROBLEM_JSON, content).build().into()
}

/// Names the problems of a call for its `responses(...)`.
macro_rules! problems {
    ($($Name:ident { $($status:literal: $codes:literal),+ $(,)? })+) => {$(
        struct $Name;

        impl utoipa::IntoResponses for $Name {
            fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                let listed = [$(($status, $codes)),+];
                let response = |(status, codes): (&str, &str)| {
                    (status.to_owned(), crate::api::openapi::problem_response(codes))
                };
                listed.into_iter().map(response).collect()
            }
        }
    )+};
}
pub(crate) use problems;

/// What every call may answer.
struct EveryCall;

impl IntoResponses for EveryCall {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let listed = [
            ("500", "`internal`"),
            ("503", "`store_unavailable` and `overloaded` (with Retry-After), `not_live_yet` (the change is kept)"),
        ];
        listed.into_iter().map(|(status, codes)| (status.to_owned(), problem_response(codes))).collect()
    }
}

/// The document before any operation is in it.
pub(crate) fn preamble() -> OpenApi {
    let info = InfoBuilder::new()
        .title("PiCloud admin API")
        .version(picloud_shared::version::PRODUCT)
        .description(Some(
            "Apps, domains, scripts, routes and execution logs of a PiCloud instance. Errors are problem documents. \
             Sign in with `POST /api/v1/admin/auth/login` and send the token as `Authorization: Bearer <token>`.",
        ))
        .build();
    OpenApiBuilder::new().info(info).build()
}

/// The whole document.
pub(crate) fn document() -> OpenApi {
    let (_, mut document) = super::operations().split_for_parts();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(BEARER, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    components.schemas.insert("Problem".to_owned(), Problem::schema());
    components.schemas.insert("FieldError".to_owned(), FieldError::schema());
    for operation in document.paths.paths.values_mut().flat_map(operations_of) {
        complete(operation);
    }
    document
}

fn operations_of(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().filter_map(Option::as_mut)
}

/// Adds what is the same for every call, where the call does not say otherwise.
fn complete(operation: &mut Operation) {
    let is_open = operation.security.as_ref().is_some_and(Vec::is_empty);
    let mut responses = EveryCall::responses();
    if !is_open {
        operation.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
        responses.insert("401".to_owned(), problem_response("`unauthenticated`"));
        responses.insert("403".to_owned(), problem_response("`forbidden`, `cross_origin`"));
    }
    let parameters: Vec<&Parameter> = operation.parameters.iter().flatten().filter_map(inlined).collect();
    let has_body = operation.request_body.is_some();
    if has_body || parameters.iter().any(|parameter| parameter.parameter_in == ParameterIn::Header) {
        responses.insert("400".to_owned(), problem_response("`malformed`"));
    }
    if has_body || parameters.iter().any(|parameter| parameter.parameter_in == ParameterIn::Query) {
        responses.insert("422".to_owned(), problem_response("`invalid`"));
    }
    if has_body {
        responses.insert("413".to_owned(), problem_response("`body_too_large`"));
        responses.insert("415".to_owned(), problem_response("`unsupported_media_type`"));
    }
    for (status, response) in responses {
        operation.responses.responses.entry(status).or_insert(response);
    }
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
