//! The reference page of the API: three files of our own that show the OpenAPI document. Nothing of them comes from elsewhere.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS};

use crate::api::ApiState;

const PAGE: &str = include_str!("reference/index.html");
const STYLE: &str = include_str!("reference/style.css");
const SCRIPT: &str = include_str!("reference/script.js");

/// Its own script and style, and the document; nothing else may be loaded, sent or framed.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

pub(crate) fn routes() -> Router<ApiState> {
    let served = |media_type: &'static str, text: &'static str| get(async move || file(media_type, text));
    Router::new()
        .route("/api/v1/reference", served("text/html; charset=utf-8", PAGE))
        .route("/api/v1/reference.css", served("text/css; charset=utf-8", STYLE))
        .route("/api/v1/reference.js", served("text/javascript; charset=utf-8", SCRIPT))
}

fn file(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, media_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    (headers, text).into_response()
}
