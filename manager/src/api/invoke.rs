//! `scripts/{script}/invoke`: the test panel.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use picloud_executor::ScriptResponse;
use picloud_shared::domain_pattern::Host;
use picloud_shared::execution::Outcome;
use picloud_shared::id::{ExecutionId, ScriptId};
use picloud_shared::path_pattern::RequestPath;
use picloud_shared::script::ScriptSource;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Body, Caller, Path, parse_method};
use crate::api::openapi::problems;
use crate::api::problem::{ApiError, FieldError};
use crate::api::schema::{self, FailureView, LogLineView};
use crate::service::invoke::{TestRequest, TestResult};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(invoke_script))
}

/// A request to try a script with. What is absent is a plain `GET /`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct Invoke {
    /// Run this source in place of the saved one.
    #[schema(value_type = Option<String>)]
    source: Option<ScriptSource>,
    method: String,
    /// The path, as a client would send it. The parameters of the script's own route are taken from it.
    path: String,
    /// The query, without `?`.
    query: Option<String>,
    /// The host; the app's first domain if absent.
    host: Option<String>,
    headers: BTreeMap<String, String>,
    /// The body as text.
    body: Option<String>,
    /// The body as base64, in place of `body`.
    body_base64: Option<String>,
}

impl Default for Invoke {
    fn default() -> Self {
        Self {
            source: None,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            query: None,
            host: None,
            headers: BTreeMap::new(),
            body: None,
            body_base64: None,
        }
    }
}

/// What the script answered.
#[derive(Serialize, ToSchema)]
struct ResponseView {
    status: u16,
    /// Each header with all its values.
    headers: BTreeMap<String, Vec<String>>,
    /// The body, where it is text.
    body: Option<String>,
    /// The body in base64, where it is not.
    body_base64: Option<String>,
}

/// How a test ended.
#[derive(Serialize, ToSchema)]
struct InvokeResult {
    #[schema(value_type = Uuid)]
    execution_id: ExecutionId,
    /// The version that ran; 0 for unsaved source.
    version: u32,
    #[schema(value_type = schema::Outcome)]
    outcome: Outcome,
    /// The status that a caller would get.
    status: u16,
    duration_us: u64,
    /// Exactly when the outcome is `success`.
    response: Option<ResponseView>,
    /// Exactly when the outcome is another.
    error: Option<FailureView>,
    logs: Vec<LogLineView>,
}

problems! {
    InvokeProblems {
        "404": "`not_found`",
        "409": "`not_published`",
        "422": "`invalid`, `invalid_source` (with `line` and `column`), `module_not_invokable`, `limit_over_ceiling`",
    }
}

/// Try a script.
///
/// Runs it with a made-up request, and records the execution as a test. Unsaved source needs ScriptWrite.
#[utoipa::path(post, path = "/scripts/{script}/invoke", tag = "scripts", request_body = Invoke,
    params(("script" = Uuid, Path, description = "The script's id.")),
    responses((status = 200, description = "The script ran, well or not.", body = InvokeResult), InvokeProblems))]
async fn invoke_script(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<ScriptId>,
    Body(body): Body<Invoke>,
) -> Result<Json<InvokeResult>, ApiError> {
    let (source, request) = parse(body)?;
    let result = state.services.invoke.invoke(&actor, id, source, request).await?;
    Ok(Json(result.into()))
}

fn parse(body: Invoke) -> Result<(Option<ScriptSource>, TestRequest), ApiError> {
    let mut errors = Vec::new();
    let method = kept(parse_method(&body.method), &mut errors);
    if let Err(error) = RequestPath::parse(&body.path) {
        errors.push(FieldError::new("path", error));
    } else if body.path.contains(['?', '#']) {
        errors.push(FieldError::new("path", "send the query as `query`"));
    }
    let host = body.host.map(|text| match Host::parse_authority(&text) {
        Ok(host) => Ok(host.into_owned()),
        Err(error) => Err(FieldError::new("host", error)),
    });
    let host = host.and_then(|host| kept(host, &mut errors));
    let headers = kept(parse_headers(&body.headers), &mut errors);
    let payload = match (body.body, body.body_base64) {
        (Some(_), Some(_)) => Err(FieldError::new("body_base64", "send either body or body_base64")),
        (None, Some(text)) => {
            let bytes = STANDARD.decode(text).map(Bytes::from);
            bytes.map_err(|_| FieldError::new("body_base64", "it is not base64"))
        }
        (text, None) => Ok(Bytes::from(text.unwrap_or_default())),
    };
    let payload = kept(payload, &mut errors);
    match (method, headers, payload) {
        (Some(method), Some(headers), Some(payload)) if errors.is_empty() => {
            let request = TestRequest { method, host, path: body.path, query: body.query, headers, body: payload };
            Ok((body.source, request))
        }
        _ => Err(ApiError::invalid(errors)),
    }
}

/// The value, or its error among the others.
fn kept<T>(parsed: Result<T, FieldError>, errors: &mut Vec<FieldError>) -> Option<T> {
    parsed.map_err(|error| errors.push(error)).ok()
}

fn parse_headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, FieldError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let field = format!("headers.{name}");
        let name: HeaderName = name.parse().map_err(|_| FieldError::new(&field, "it is no name of a header"))?;
        let value: HeaderValue = value.parse().map_err(|_| FieldError::new(&field, "a header cannot hold it"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

impl From<TestResult> for InvokeResult {
    fn from(TestResult { completion, version }: TestResult) -> Self {
        let status = match &completion.response {
            Some(response) => response.status,
            None => completion.outcome.failure_status(),
        };
        Self {
            execution_id: completion.execution_id,
            version,
            outcome: completion.outcome,
            status: status.as_u16(),
            duration_us: u64::try_from(completion.duration.as_micros()).unwrap_or(u64::MAX),
            response: completion.response.map(ResponseView::from),
            error: completion.failure.map(FailureView::from),
            logs: completion.logs.into_iter().map(LogLineView::from).collect(),
        }
    }
}

impl From<ScriptResponse> for ResponseView {
    fn from(response: ScriptResponse) -> Self {
        let mut headers = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in &response.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers.entry(name.to_string()).or_default().push(value);
        }
        let (body, body_base64) = match String::from_utf8(response.body.into()) {
            Ok(text) => (Some(text), None),
            Err(bytes) => (None, Some(STANDARD.encode(bytes.as_bytes()))),
        };
        Self { status: response.status.as_u16(), headers, body, body_base64 }
    }
}
