//! The admin API over HTTP: the only part of the manager that knows axum.
//!
//! A handler extracts, parses, calls one service and maps the result to a view. Rules live in the services.

mod api_key;
mod app;
mod audit;
mod auth;
mod certificate;
mod credential;
mod cursor;
mod dashboard;
mod dead_letter;
mod deployment;
mod docs;
mod domain;
mod env;
mod event;
mod execution;
mod extract;
mod idempotency;
mod invoke;
mod kv;
mod member;
mod moved;
mod node;
mod node_stats;
mod openapi;
mod precondition;
mod problem;
mod queue;
mod reference;
mod route;
mod route_body;
mod route_check;
mod schema;
mod script;
mod script_body;
mod script_version;
mod secret;
mod settings;
mod stats;
mod trigger;
mod trigger_body;
mod user;
mod wording;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use utoipa_axum::router::OpenApiRouter;

pub(crate) use credential::credential;
pub(crate) use openapi::document;
use problem::ApiError;

use crate::manager::Manager;
use crate::service::Services;

/// What every handler is given.
#[derive(Clone)]
pub(crate) struct ApiState {
    pub services: Arc<Services>,
    /// Where people reach this instance, without a slash at the end.
    pub public_base_url: Arc<str>,
    /// Bytes of the longest request body that is read.
    pub max_request_body_bytes: usize,
    /// Whether claims get certificates by themselves.
    pub automatic_certificates: bool,
}

fn operations() -> OpenApiRouter<ApiState> {
    let resources = OpenApiRouter::default()
        .merge(auth::operations())
        .merge(user::operations())
        .merge(api_key::operations())
        .merge(app::operations())
        .merge(deployment::operations())
        .merge(member::operations())
        .merge(domain::operations())
        .merge(script::operations())
        .merge(script_version::operations())
        .merge(invoke::operations())
        .merge(kv::operations())
        .merge(env::operations())
        .merge(secret::operations())
        .merge(docs::operations())
        .merge(route::operations())
        .merge(route_check::operations())
        .merge(trigger::operations())
        .merge(event::operations())
        .merge(queue::operations())
        .merge(dead_letter::operations())
        .merge(execution::operations())
        .merge(stats::operations())
        .merge(node_stats::operations())
        .merge(settings::operations())
        .merge(node::operations())
        .merge(audit::operations())
        .merge(certificate::operations());
    OpenApiRouter::with_openapi(openapi::preamble()).nest("/api/v1/admin", resources)
}

impl Manager {
    /// What answers `/api/v1/admin`, `/api/v1/openapi.json`, `/api/v1/reference` and `/admin/`. Each request carries a
    /// [`picloud_shared::request::AdminPeer`] as an extension.
    pub fn router(&self) -> Router {
        let (operations, _) = operations().split_for_parts();
        operations
            .layer(from_fn_with_state(self.api_state().clone(), idempotency::honour))
            .merge(openapi::routes())
            .merge(reference::routes())
            .merge(dashboard::routes())
            .fallback(async || ApiError::not_found("page or call"))
            .method_not_allowed_fallback(async || ApiError::method_not_allowed())
            .layer(from_fn(contain))
            .with_state(self.api_state().clone())
    }
}

/// Turns a panic into an answer, says where a renamed app is, and keeps answers out of caches, of the browser's guesses and of
/// other origins' pages.
async fn contain(request: Request, next: Next) -> Response {
    let called = request.uri().clone();
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|_| ApiError::internal("a handler panicked").into_response());
    moved::add_location(&mut response, &called);
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    headers.entry("cross-origin-resource-policy").or_insert(HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use http::StatusCode;
    use http::header::CONTENT_TYPE;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_handler_is_an_answer() {
        async fn broken() -> StatusCode {
            panic!("on purpose")
        }
        let router = Router::new().route("/", get(broken)).layer(from_fn(contain));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[CONTENT_TYPE], problem::PROBLEM_JSON);
    }
}
