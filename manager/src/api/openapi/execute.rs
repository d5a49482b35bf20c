//! The one call of the document that the data plane answers itself: a script run by its id. The gateway's tests hold it to
//! what is told here.

use serde_json::json;
use utoipa::PartialSchema;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathItemBuilder};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, Required, Response, ResponseBuilder, ResponsesBuilder, SecurityRequirement,
};

use super::{BEARER, problem_response};

pub(super) const PATH: &str = "/api/v1/execute/{script}";

/// What PiCloud answers in place of the script.
const PROBLEMS: [(&str, &str); 9] = [
    ("400", "`malformed_body`"),
    ("401", "`unauthenticated` (of a restricted script)"),
    ("404", "`not_found`"),
    ("408", "`request_timeout`"),
    ("413", "`body_too_large`"),
    ("500", "`script_error`"),
    ("503", "`overloaded`, `store_unavailable` (of a restricted script)"),
    ("504", "`script_timeout`"),
    ("507", "`script_budget_exceeded`"),
];

/// Each method, since a script may be asked by any.
pub(super) fn item() -> PathItem {
    use HttpMethod::{Delete, Get, Head, Options, Patch, Post, Put};
    let methods = [Get, Head, Post, Put, Patch, Delete, Options];
    methods
        .into_iter()
        .fold(PathItemBuilder::new(), |item, method| item.operation(method.clone(), call(&method)))
        .build()
}

fn call(method: &HttpMethod) -> OperationBuilder {
    let name = match method {
        HttpMethod::Get => "execute_by_get",
        HttpMethod::Head => "execute_by_head",
        HttpMethod::Post => "execute_by_post",
        HttpMethod::Put => "execute_by_put",
        HttpMethod::Patch => "execute_by_patch",
        HttpMethod::Delete => "execute_by_delete",
        _ => "execute_by_options",
    };
    let script = ParameterBuilder::new().name("script").parameter_in(ParameterIn::Path).required(Required::True);
    let script = script.description(Some("The script's id.")).schema(Some(text(KnownFormat::Uuid)));
    let operation = OperationBuilder::new()
        .operation_id(Some(name))
        .tag("execute")
        .summary(Some("Run a script by its id."))
        .description(Some(
            "Open, as routes are, unless the script's `execute_access` is `restricted`: then for those who may invoke it. Query, \
             headers and body reach the script, but for what proves who asks. What it answers is shown as a sandboxed page, without \
             headers that would reach beyond it. Counted and measured as the data plane's.",
        ))
        .parameter(script)
        .securities(Some([SecurityRequirement::default(), SecurityRequirement::new(BEARER, Vec::<String>::new())]))
        .responses(PROBLEMS.iter().fold(
            ResponsesBuilder::new().response("default", answer()),
            |responses, (status, codes)| responses.response(*status, problem_response(status, codes)),
        ));
    match method {
        HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch | HttpMethod::Delete => {
            operation.request_body(Some(body()))
        }
        _ => operation,
    }
}

fn text(format: KnownFormat) -> Object {
    ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format))).build()
}

fn body() -> RequestBody {
    let any = ContentBuilder::new().schema(Some(text(KnownFormat::Binary))).example(Some(json!("{\"n\": 1}")));
    let body = RequestBodyBuilder::new().description(Some("Whatever the script takes, of any media type."));
    body.content("application/octet-stream", any.build()).build()
}

fn answer() -> Response {
    let id = HeaderBuilder::new().schema(Some(String::schema())).description(Some("The execution, as the log has it."));
    ResponseBuilder::new().description("What the script answers.").header("x-execution-id", id.build()).build()
}
