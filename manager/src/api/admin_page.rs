//! The page under `/admin/`: what this is and how to sign in from a terminal. It has no script and loads nothing.

use axum::Router;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_FRAME_OPTIONS};

use crate::api::ApiState;

const PAGE: &str = include_str!("admin_page/index.html");

/// Nothing may be loaded, run, sent or framed.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/admin", get(async || Redirect::permanent("/admin/")))
        .route("/admin/", get(page))
        .route("/admin/setup", get(page))
}

async fn page() -> Response {
    let headers = [(CONTENT_SECURITY_POLICY, POLICY), (REFERRER_POLICY, "no-referrer"), (X_FRAME_OPTIONS, "DENY")];
    (headers, Html(PAGE)).into_response()
}
