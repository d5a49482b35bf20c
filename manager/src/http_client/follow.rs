//! Redirects, as the Fetch standard follows them (HTTP-redirect fetch), and stricter with what a script would not tell others.

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE, LOCATION, USER_AGENT,
};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use url::Url;

use super::{Failure, failure};

/// Bytes of a URL that is followed.
const MOST_URL_BYTES: usize = 8 * 1024;
/// What describes a body, and goes with it.
const OF_BODY: [HeaderName; 4] = [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE];
/// What another origin may be told. Which of all other headers are credentials nobody but the script knows.
const FOR_OTHERS: [HeaderName; 7] =
    [ACCEPT, ACCEPT_LANGUAGE, USER_AGENT, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE];

/// One request on the way.
#[derive(Debug, Clone)]
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

/// Where an answer leads on to, if it does.
pub(super) fn next<B>(hop: &Hop, answer: &Response<B>) -> Result<Option<Hop>, Failure> {
    let status = answer.status();
    let Some(location) = answer.headers().get(LOCATION).filter(|_| is_redirect(status)) else { return Ok(None) };
    let bad = |what: &str| failure("invalid_url", format!("the server redirects to {what}"));
    let location = location.to_str().map_err(|_| bad("what is no URL"))?;
    let mut url = hop.url.join(location).map_err(|_| bad("what is no URL"))?;
    if url.as_str().len() > MOST_URL_BYTES {
        return Err(bad(&format!("a URL of more than {MOST_URL_BYTES} bytes")));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("a URL that is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("a URL with a user or a password"));
    }
    if hop.url.scheme() == "https" && url.scheme() == "http" {
        return Err(failure("insecure_redirect", "the server redirects from https to http, which is not followed"));
    }
    url.set_fragment(None);
    let mut next = Hop { url, ..hop.clone() };
    let becomes_get = match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => hop.method == Method::POST,
        StatusCode::SEE_OTHER => !matches!(hop.method, Method::GET | Method::HEAD),
        _ => false,
    };
    if becomes_get {
        next.method = Method::GET;
        next.body = None;
        for name in &OF_BODY {
            next.headers.remove(name);
        }
    }
    if next.url.origin() != hop.url.origin() {
        let told = next.headers.iter().filter(|(name, _)| FOR_OTHERS.contains(name));
        next.headers = told.map(|(name, value)| (name.clone(), value.clone())).collect();
    }
    Ok(Some(next))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(method: Method, url: &str) -> Hop {
        let headers =
            [("authorization", "a"), ("cookie", "b"), ("x-api-key", "c"), ("content-type", "d"), ("accept", "e")];
        let headers = headers.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        Hop { method, url: url.parse().unwrap(), headers: headers.into_iter().collect(), body: Some("x".into()) }
    }

    fn answer(status: u16, location: &str) -> Response<()> {
        Response::builder().status(status).header(LOCATION, location).body(()).unwrap()
    }

    #[test]
    fn methods_and_bodies_change_as_the_fetch_standard_says() {
        for (method, status, expected) in [
            ("POST", 301, "GET"),
            ("POST", 302, "GET"),
            ("POST", 303, "GET"),
            ("POST", 307, "POST"),
            ("POST", 308, "POST"),
            ("PUT", 301, "PUT"),
            ("PUT", 302, "PUT"),
            ("PUT", 303, "GET"),
            ("DELETE", 303, "GET"),
            ("HEAD", 303, "HEAD"),
            ("GET", 302, "GET"),
        ] {
            let from = hop(method.parse().unwrap(), "https://a.test/x");
            let to = next(&from, &answer(status, "/y")).unwrap().unwrap();
            assert_eq!((to.method.as_str(), to.url.as_str()), (expected, "https://a.test/y"), "{method} {status}");
            assert_eq!(to.body.is_some(), to.method == from.method);
            assert_eq!(to.headers.contains_key(CONTENT_TYPE), to.body.is_some());
            assert!(to.headers.contains_key("authorization") && to.headers.contains_key("x-api-key"));
        }
    }

    #[test]
    fn another_origin_is_told_nothing_of_the_scripts_own() {
        for to in ["https://b.test/", "https://a.test:444/", "https://sub.a.test/"] {
            let to = next(&hop(Method::POST, "https://a.test/"), &answer(307, to)).unwrap().unwrap();
            let names: Vec<_> = to.headers.keys().map(HeaderName::as_str).collect();
            assert_eq!(names, ["content-type", "accept"]);
        }
    }

    #[test]
    fn what_leads_elsewhere_than_to_a_plain_url_is_not_followed() {
        for (to, code) in [
            ("http://a.test/", "insecure_redirect"),
            ("ftp://a.test/", "invalid_url"),
            ("file:///etc/passwd", "invalid_url"),
            ("https://u:p@a.test/", "invalid_url"),
            ("https://", "invalid_url"),
        ] {
            let refused = next(&hop(Method::GET, "https://a.test/"), &answer(302, to)).unwrap_err();
            assert_eq!(refused.code, code, "{to}");
        }
        assert!(next(&hop(Method::GET, "https://a.test/"), &answer(304, "/")).unwrap().is_none());
        assert!(
            next(&hop(Method::GET, "https://a.test/"), &Response::builder().status(302).body(()).unwrap())
                .unwrap()
                .is_none()
        );
    }
}
