//! `/admin/`: the dashboard's files, its one page at every other address there, and what browsers are told to allow them.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, IF_NONE_MATCH, REFERRER_POLICY, VARY, X_FRAME_OPTIONS,
};
use http::{HeaderMap, StatusCode, Uri};
use picloud_shared::request::AdminPeer;

use crate::api::ApiState;
use crate::api::extract::Peer;
use crate::api::problem::ApiError;
use crate::dashboard_files::{DashboardFile, DashboardFiles};

const PREFIX: &str = "/admin/";
const ABSENT: &str = include_str!("dashboard/absent.html");

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

pub(crate) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/admin", get(async || Redirect::permanent(PREFIX)))
        .route("/admin/", get(dashboard))
        .route("/admin/{*path}", get(dashboard))
}

async fn dashboard(State(state): State<ApiState>, Peer(peer): Peer, uri: Uri, headers: HeaderMap) -> Response {
    match elsewhere(&state.public_base_url, &peer, &uri) {
        Some(url) => Redirect::temporary(&url).into_response(),
        None => answer(DashboardFiles::new(), uri.path(), &headers),
    }
}

/// Where the dashboard is for one who asks on a host that scripts share: there no browser would have a session.
fn elsewhere(public_base_url: &str, peer: &AdminPeer, uri: &Uri) -> Option<String> {
    let here = format!("{}://{}", peer.scheme.as_str(), peer.authority);
    (!peer.cookies_count && public_base_url != here).then(|| format!("{public_base_url}{uri}"))
}

fn answer(files: DashboardFiles, path: &str, headers: &HeaderMap) -> Response {
    let path = path.strip_prefix(PREFIX).unwrap_or_default();
    let accepts = |coding: &str| accepts(headers, coding);
    if let Some(file) = files.find(path, accepts) {
        return send(file, headers);
    }
    // Addresses of the dashboard have no dot in their last segment: what has one is a file that is not there.
    if path.rsplit('/').next().is_some_and(|last| last.contains('.')) {
        return ApiError::not_found("file").into_response();
    }
    let protection = [
        (CONTENT_SECURITY_POLICY, policy(&files.inline_scripts())),
        (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (OPENER_POLICY, HeaderValue::from_static("same-origin")),
    ];
    match files.page(accepts) {
        Some(page) => (protection, send(page, headers)).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, protection, Html(ABSENT)).into_response(),
    }
}

/// What the page may load and run: the files of this very host and the scripts that stand in it. `data:` is how the
/// editor's stylesheet draws the line below a mistake.
fn policy(inline_scripts: &[String]) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; script-src 'self' {}; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        inline_scripts.join(" ")
    );
    HeaderValue::from_str(&policy).expect("digests are base64, which a header can hold")
}

fn send(file: DashboardFile, headers: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", file.digest);
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|value| value.split(',')).any(|tag| tag.trim().trim_start_matches("W/") == etag);
    let cache = if file.is_immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = Response::new(if is_known { Body::empty() } else { Body::from(file.bytes) });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let answered = response.headers_mut();
    answered.insert(ETAG, HeaderValue::from_str(&etag).expect("a digest is hexadecimal, which a header can hold"));
    answered.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    answered.insert(VARY, HeaderValue::from_static("accept-encoding"));
    answered.insert(CONTENT_TYPE, HeaderValue::from_static(file.media_type));
    answered.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    if let Some(coding) = file.coding {
        answered.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name));
    }
    response
}

/// Whether `Accept-Encoding` (RFC 9110, 12.5.3) names the coding and does not refuse it by `q=0`. `*` is not taken as a name:
/// whoever sends it gets the file as it is, which is right too.
fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|choice| {
        let mut parts = choice.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding));
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        is_named && weight.and_then(|weight| weight.parse().ok()).unwrap_or(1.0_f32) > 0.0
    })
}

#[cfg(test)]
mod tests {
    use http::header::AsHeaderName;
    use http_body_util::BodyExt;
    use picloud_shared::request::Scheme;

    use super::*;
    use crate::dashboard_files::tests::{ABSENT as NONE, SMALL};

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn get(path: &str, sent: &[(HeaderName, &str)]) -> Response {
        answer(SMALL, path, &headers(sent))
    }

    fn header(response: &Response, name: impl AsHeaderName) -> &str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    async fn text(response: Response) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn every_address_without_a_dot_gets_the_page_and_its_policy() {
        for path in ["/admin/", "/admin/setup", "/admin/apps/shop/logs", "/admin/%2e%2e/%2e%2e/etc/passwd"] {
            let response = get(path, &[]);
            assert_eq!((response.status(), header(&response, CACHE_CONTROL)), (StatusCode::OK, "no-cache"), "{path}");
            let policy = header(&response, CONTENT_SECURITY_POLICY).to_owned();
            assert!(policy.starts_with("default-src 'none'; script-src 'self' 'sha256-"), "{policy}");
            assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
            assert!(text(response).await.contains("<title>small</title>"));
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_no_page() {
        for path in ["/admin/_app/immutable/gone.js", "/admin/..%2f..%2fCargo.toml", "/admin/index.html.br"] {
            assert_eq!(get(path, &[]).status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[tokio::test]
    async fn files_go_compressed_to_who_takes_that_and_are_kept_for_ever() {
        let path = "/admin/_app/immutable/start.js";
        let response = get(path, &[(ACCEPT_ENCODING, "gzip, br;q=0.5")]);
        assert_eq!((header(&response, CONTENT_ENCODING), header(&response, VARY)), ("br", "accept-encoding"));
        assert_eq!(header(&response, CACHE_CONTROL), "public, max-age=31536000, immutable");
        assert_eq!(header(&response, CONTENT_TYPE), "text/javascript; charset=utf-8");
        assert_eq!(text(response).await, "as brotli\n");
        for refused in ["br;q=0", "br; q=0.000", "identity", "*", "brotli"] {
            assert_eq!(header(&get(path, &[(ACCEPT_ENCODING, refused)]), CONTENT_ENCODING), "", "{refused}");
        }
    }

    #[tokio::test]
    async fn who_has_the_file_is_not_sent_it_again() {
        let first = get("/admin/favicon.svg", &[]);
        let etag = header(&first, ETAG).to_owned();
        for known in [etag.clone(), format!("\"other\", W/{etag}")] {
            let response = get("/admin/favicon.svg", &[(IF_NONE_MATCH, &known)]);
            assert_eq!((response.status(), header(&response, ETAG)), (StatusCode::NOT_MODIFIED, &*etag));
            assert_eq!(text(response).await, "");
        }
        assert_eq!(get("/admin/favicon.svg", &[(IF_NONE_MATCH, "\"other\"")]).status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_build_without_the_dashboard_says_so_on_a_page_that_runs_nothing() {
        let response = answer(NONE, "/admin/apps", &HeaderMap::new());
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(header(&response, CONTENT_SECURITY_POLICY).contains("script-src 'self' ;"));
        let page = text(response).await;
        assert!(page.contains("make dashboard") && !page.contains("<script"));
    }

    #[test]
    fn on_a_shared_host_the_dashboard_is_elsewhere() {
        let peer = |authority: &str, cookies_count| AdminPeer {
            remote_ip: [127, 0, 0, 1].into(),
            scheme: Scheme::Http,
            authority: authority.into(),
            cookies_count,
        };
        let uri = Uri::from_static("/admin/apps?a=1");
        let base = "http://127.0.0.1:8080";
        assert_eq!(
            elsewhere(base, &peer("localhost:8080", false), &uri).as_deref(),
            Some("http://127.0.0.1:8080/admin/apps?a=1")
        );
        assert_eq!(elsewhere(base, &peer("127.0.0.1:8080", true), &uri), None);
        // Where the operator says that it is at the shared host, it must not lead to itself.
        assert_eq!(elsewhere("http://localhost:8080", &peer("localhost:8080", false), &uri), None);
    }
}
