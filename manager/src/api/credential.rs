//! What proves who a request comes from: a bearer token, or a browser's cookie together with its `Origin`.

use http::header::{AUTHORIZATION, COOKIE, HeaderValue, ORIGIN};
use http::{HeaderMap, Method};
use picloud_shared::request::{AdminPeer, Scheme};

use crate::api::problem::ApiError;
use crate::secret::{SecretToken, api_key};
use crate::service::credential::Proof;

/// The cookie over HTTPS: the prefix makes browsers take it from this very host only.
const SECURE_COOKIE: &str = "__Host-picloud";
/// The cookie over plain HTTP, for loopback only.
const LOOPBACK_COOKIE: &str = "picloud";
/// A browser keeps the cookie for the longest life of a session; the server decides when it ends.
const COOKIE_SECONDS: u32 = 30 * 24 * 60 * 60;

/// Where the page stands that sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageOrigin {
    /// No page: a terminal, or a browser that follows a link.
    Absent,
    /// A page of the host that the request goes to.
    Same,
    /// Another page, or one that hides where it stands.
    Foreign,
}

impl PageOrigin {
    pub(crate) fn of(headers: &HeaderMap, peer: &AdminPeer) -> Self {
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Self::Absent,
            (Some(origin), None) if origin.to_str().is_ok_and(|origin| is_origin_of(origin, peer)) => Self::Same,
            _ => Self::Foreign,
        }
    }
}

fn is_origin_of(origin: &str, peer: &AdminPeer) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let own_port = match peer.scheme {
        Scheme::Http => ":80",
        Scheme::Https => ":443",
    };
    let bare = |authority: &str| authority.strip_suffix(own_port).unwrap_or(authority).to_ascii_lowercase();
    scheme == peer.scheme.as_str() && bare(authority) == bare(&peer.authority)
}

/// The name of the session cookie that counts for this peer, if any does.
fn cookie_name(peer: &AdminPeer) -> Option<&'static str> {
    match peer.scheme {
        _ if !peer.cookies_count => None,
        Scheme::Https => Some(SECURE_COOKIE),
        Scheme::Http => peer.remote_ip.is_loopback().then_some(LOOPBACK_COOKIE),
    }
}

/// The header that gives a browser its session, where cookies count.
pub(crate) fn session_cookie(peer: &AdminPeer, token: &SecretToken) -> Option<HeaderValue> {
    cookie_header(peer, token.reveal(), COOKIE_SECONDS)
}

/// The header that takes a browser's session cookie back.
pub(crate) fn cleared_cookie(peer: &AdminPeer) -> Option<HeaderValue> {
    cookie_header(peer, "", 0)
}

fn cookie_header(peer: &AdminPeer, value: &str, seconds: u32) -> Option<HeaderValue> {
    let name = cookie_name(peer)?;
    let secure = if name == SECURE_COOKIE { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let mut header = HeaderValue::from_str(&text).expect("a token is base64, which a header can hold");
    header.set_sensitive(true);
    Some(header)
}

/// Whether the browser says that a page of another origin had it send the request (W3C Fetch Metadata). `SameSite=Strict` lets those
/// through whose host is beside or below this one, and apps can have such hosts.
fn is_sent_from_elsewhere(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-site").iter().any(|site| site != "same-origin" && site != "none")
}

/// What a request proves itself by. A bearer token goes before a cookie; a cookie on a call that may change something needs
/// the `Origin` of the same host, and on any call no word of the browser that another page sent it.
///
/// # Errors
/// No credential, one that is malformed, or a cookie from elsewhere.
pub(crate) fn credential(headers: &HeaderMap, peer: &AdminPeer, method: &Method) -> Result<Proof, ApiError> {
    if headers.contains_key(AUTHORIZATION) {
        return bearer(headers);
    }
    let token = cookie(headers, peer).ok_or_else(ApiError::unauthenticated)?;
    let is_unproven = !method.is_safe() && PageOrigin::of(headers, peer) != PageOrigin::Same;
    if is_unproven || is_sent_from_elsewhere(headers) {
        return Err(ApiError::cross_origin());
    }
    Ok(Proof::Session(token))
}

/// A session's token or an API key.
fn bearer(headers: &HeaderMap) -> Result<Proof, ApiError> {
    let token = bearer_token(headers).ok_or_else(ApiError::unauthenticated)?;
    match token.starts_with(api_key::PREFIX) {
        true => token.parse().map(Proof::Key).map_err(|_| ApiError::unknown_key()),
        false => token.parse().map(Proof::Session).map_err(|_| ApiError::unauthenticated()),
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?.to_str().ok()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The session cookie, if exactly one of its name came: of two, one was planted.
fn cookie(headers: &HeaderMap, peer: &AdminPeer) -> Option<SecretToken> {
    let name = cookie_name(peer)?;
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) => value.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(scheme: Scheme, authority: &str, remote_ip: &str) -> AdminPeer {
        AdminPeer { remote_ip: remote_ip.parse().unwrap(), scheme, authority: authority.into(), cookies_count: true }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn an_origin_is_the_same_by_scheme_host_and_port() {
        let table = [
            (Scheme::Https, "pi.example.com", "https://pi.example.com", PageOrigin::Same),
            (Scheme::Https, "PI.example.com:443", "https://pi.example.com", PageOrigin::Same),
            (Scheme::Http, "127.0.0.1:8080", "http://127.0.0.1:8080", PageOrigin::Same),
            (Scheme::Http, "127.0.0.1:8080", "http://127.0.0.1", PageOrigin::Foreign),
            (Scheme::Https, "pi.example.com", "http://pi.example.com", PageOrigin::Foreign),
            (Scheme::Https, "pi.example.com", "https://evil.pi.example.com", PageOrigin::Foreign),
            (Scheme::Https, "pi.example.com", "https://pi.example.com.evil", PageOrigin::Foreign),
            (Scheme::Https, "pi.example.com", "null", PageOrigin::Foreign),
        ];
        for (scheme, authority, origin, expected) in table {
            let found = PageOrigin::of(&headers(&[("origin", origin)]), &peer(scheme, authority, "::1"));
            assert_eq!(found, expected, "{origin} at {authority}");
        }
        let peer = peer(Scheme::Https, "pi.example.com", "::1");
        assert_eq!(PageOrigin::of(&HeaderMap::new(), &peer), PageOrigin::Absent);
        let twice = headers(&[("origin", "https://pi.example.com"), ("origin", "https://evil.example")]);
        assert_eq!(PageOrigin::of(&twice, &peer), PageOrigin::Foreign);
    }

    #[test]
    fn each_kind_of_connection_has_its_own_cookie() {
        let token = SecretToken::generate();
        let [secure, plain] = [SECURE_COOKIE, LOOPBACK_COOKIE].map(|name| format!("a=b; {name}={}", token.reveal()));
        let reads = |line: &str, peer: &AdminPeer| cookie(&headers(&[("cookie", line)]), peer).is_some();
        let https = peer(Scheme::Https, "pi.example.com", "192.0.2.1");
        let loopback = peer(Scheme::Http, "127.0.0.1:8080", "127.0.0.1");
        let plain_lan = peer(Scheme::Http, "192.168.1.9", "192.168.1.7");
        assert!(reads(&secure, &https) && !reads(&plain, &https));
        assert!(reads(&plain, &loopback) && !reads(&secure, &loopback));
        assert!(!reads(&plain, &plain_lan) && !reads(&secure, &plain_lan));
        let shared_host = AdminPeer { cookies_count: false, ..loopback };
        assert!(!reads(&plain, &shared_host) && session_cookie(&shared_host, &token).is_none());
    }

    #[test]
    fn a_second_cookie_of_the_name_spoils_both() {
        let token = SecretToken::generate();
        let line = format!("picloud={0}; picloud={0}", token.reveal());
        assert!(cookie(&headers(&[("cookie", &line)]), &peer(Scheme::Http, "127.0.0.1", "127.0.0.1")).is_none());
    }

    #[test]
    fn a_bad_bearer_token_is_not_replaced_by_a_good_cookie() {
        let token = SecretToken::generate();
        let cookie = format!("picloud={}", token.reveal());
        let both = headers(&[("authorization", "Bearer nonsense"), ("cookie", &cookie)]);
        let peer = peer(Scheme::Http, "127.0.0.1:8080", "127.0.0.1");
        assert!(credential(&both, &peer, &Method::GET).is_err());
        assert!(credential(&headers(&[("cookie", &cookie)]), &peer, &Method::GET).is_ok());
        assert!(credential(&headers(&[("cookie", &cookie)]), &peer, &Method::POST).is_err());
    }

    #[test]
    fn a_cookie_counts_for_no_page_of_another_origin_not_even_to_read() {
        let cookie = format!("picloud={}", SecretToken::generate().reveal());
        let peer = peer(Scheme::Http, "127.0.0.1:8080", "127.0.0.1");
        for (site, counts) in [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false)] {
            let headers = headers(&[("cookie", &cookie), ("sec-fetch-site", site)]);
            assert_eq!(credential(&headers, &peer, &Method::GET).is_ok(), counts, "{site}");
        }
    }

    #[test]
    fn the_https_cookie_cannot_leave_its_host_or_be_read_by_a_page() {
        let header = session_cookie(&peer(Scheme::Https, "pi.example.com", "192.0.2.1"), &SecretToken::generate());
        let text = header.unwrap().to_str().unwrap().to_owned();
        assert!(text.starts_with("__Host-picloud=") && !text.contains("Domain"));
        for part in ["; Path=/;", "; HttpOnly", "; SameSite=Strict", "; Secure"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
