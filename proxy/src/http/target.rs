//! Which host and path a request means. One reading, or a refusal.

use http::header::{EXPECT, HOST};
use http::{HeaderMap, Method, Version};
use picloud_shared::domain_pattern::{Authority, Host};
use picloud_shared::path_pattern::RequestPath;
use picloud_shared::request;

use super::head::Head;
use super::refusal::Refusal;

/// The host and path that a request means, borrowed from its head.
#[derive(Debug)]
pub struct RequestTarget<'h> {
    /// The scheme that it names, if it names one.
    pub scheme: Option<&'h str>,
    /// The authority as the client wrote it.
    pub authority: &'h str,
    /// Its host, normalised.
    pub host: Host<'h>,
    /// Its port, where one was written.
    pub port: Option<u16>,
    /// The path, split and checked.
    pub path: RequestPath<'h>,
    /// The query without its `?`.
    pub query: Option<&'h str>,
    /// `OPTIONS *`: the server as a whole is meant, and the path is `/` for want of another.
    pub whole_server: bool,
}

/// Refuses methods that no route can name (RFC 9110, 15.6.2).
///
/// # Errors
/// Any of them, CONNECT and TRACE among them.
pub fn check_method(method: &Method) -> Result<(), Refusal> {
    request::check_method(method).map_err(|_| Refusal::MethodNotImplemented)
}

/// Refuses expectations other than `100-continue` (RFC 9110, 10.1.1; in HTTP/1.0 they mean nothing). Tells whether
/// that one was sent.
///
/// # Errors
/// Any other expectation.
pub fn check_expectation(version: Version, headers: &HeaderMap) -> Result<bool, Refusal> {
    if version < Version::HTTP_11 {
        return Ok(false);
    }
    let mut expectations = headers.get_all(EXPECT).iter();
    match (expectations.next(), expectations.next()) {
        (None, _) => Ok(false),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(true),
        _ => Err(Refusal::ExpectationFailed),
    }
}

/// Reads the host and path of a request.
///
/// # Errors
/// A missing, repeated or invalid host; two hosts that differ; a target that is no path.
pub fn read_target(head: &Head) -> Result<RequestTarget<'_>, Refusal> {
    let host_field = only_host_field(&head.headers)?;
    let split = split_target(head)?;
    let authority = match (split.authority, host_field) {
        (Some(named), Some(field)) if !named.eq_ignore_ascii_case(field) => return Err(Refusal::HostMismatch),
        // RFC 9112, 3.2: HTTP/1.1 names it in any case.
        (Some(named), Some(_)) => named,
        (Some(named), None) if head.version != Version::HTTP_11 => named,
        (None, Some(field)) => field,
        (_, None) => return Err(Refusal::MissingHost),
    };
    let Authority { host, port } = Authority::parse(authority).map_err(|_| Refusal::InvalidHost)?;
    let (path, query) = match split.path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (split.path_and_query, None),
    };
    // RFC 9110, 4.2.3: only an absolute form gets here without a path, and means the root.
    let path = if path.is_empty() { "/" } else { path };
    if !split.path_and_query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Refusal::InvalidTarget);
    }
    let path = RequestPath::parse(path).map_err(|_| Refusal::InvalidTarget)?;
    Ok(RequestTarget { scheme: split.scheme, authority, host, port, path, query, whole_server: is_whole_server(head) })
}

fn only_host_field(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut fields = headers.get_all(HOST).iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(None),
        // A name in UTF-8 is converted like any other.
        (Some(field), None) => match str::from_utf8(field.as_bytes()) {
            Ok("") => Err(Refusal::MissingHost),
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Refusal::InvalidHost),
        },
        (Some(_), Some(_)) => Err(Refusal::RepeatedHost),
    }
}

/// A target, cut into what it names.
struct Split<'h> {
    scheme: Option<&'h str>,
    authority: Option<&'h str>,
    path_and_query: &'h str,
}

fn split_target(head: &Head) -> Result<Split<'_>, Refusal> {
    let target = head.target();
    let of_path = |path_and_query| Split { scheme: head.scheme(), authority: head.authority(), path_and_query };
    if target.starts_with('/') {
        return Ok(of_path(target));
    }
    if is_whole_server(head) {
        return Ok(of_path("/"));
    }
    if head.version == Version::HTTP_2 {
        return Err(Refusal::InvalidTarget);
    }
    let (scheme, authority, path_and_query) = split_absolute(target)?;
    Ok(Split { scheme: Some(scheme), authority: Some(authority), path_and_query })
}

/// Scheme, authority, and path with query of HTTP/1's absolute form, which every server must accept (RFC 9112, 3.2.2).
fn split_absolute(target: &str) -> Result<(&str, &str, &str), Refusal> {
    let (scheme, rest) = split_scheme(target).ok_or(Refusal::InvalidTarget)?;
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path_and_query) = rest.split_at(end);
    match path_and_query.as_bytes().first() {
        _ if authority.is_empty() => Err(Refusal::InvalidHost),
        None | Some(b'/' | b'?') => Ok((scheme, authority, path_and_query)),
        Some(_) => Err(Refusal::InvalidTarget),
    }
}

fn is_whole_server(head: &Head) -> bool {
    head.target() == "*" && head.method == Method::OPTIONS
}

fn split_scheme(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then_some((scheme, rest))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue, Request, Uri};

    use super::super::{ALLOWED_METHODS, HeadScanner};
    use super::*;

    fn head(target: &str, authority: Option<&str>, hosts: &[&str]) -> Head {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).unwrap());
        }
        let Some(authority) = authority else {
            return Head::get(target, headers);
        };
        let uri = Uri::builder().scheme("https").authority(authority).path_and_query(target).build().unwrap();
        let (mut parts, ()) = Request::new(()).into_parts();
        (parts.version, parts.uri, parts.headers) = (Version::HTTP_2, uri, headers);
        Head::http_2(parts)
    }

    fn read(
        target: &str,
        authority: Option<&str>,
        hosts: &[&str],
    ) -> Result<(String, String, Option<String>), Refusal> {
        let head = head(target, authority, hosts);
        let read = read_target(&head)?;
        Ok((read.host.as_str().to_owned(), read.path.raw().to_owned(), read.query.map(str::to_owned)))
    }

    #[test]
    fn one_host_is_read_from_wherever_it_is_named() {
        let found = |host: &str, path: &str, query: Option<&str>| {
            Ok((host.to_owned(), path.to_owned(), query.map(str::to_owned)))
        };
        assert_eq!(read("/a?b=/?", None, &["X.example:80"]), found("x.example", "/a", Some("b=/?")));
        assert_eq!(read("http://x.example/a", None, &["x.example"]), found("x.example", "/a", None));
        assert_eq!(read("HTTPS://X.example:8443", None, &["x.EXAMPLE:8443"]), found("x.example", "/", None));
        assert_eq!(read("http://x.example?a=/b?", None, &["x.example"]), found("x.example", "/", Some("a=/b?")));
        assert_eq!(read("/", Some("x.example"), &[]), found("x.example", "/", None));
        assert_eq!(read("/", Some("x.example"), &["x.example"]), found("x.example", "/", None));
        assert_eq!(read("/?", None, &["x"]), found("x", "/", Some("")));
    }

    #[test]
    fn the_scheme_and_the_port_are_known_where_they_are_named() {
        for (target, authority, host, scheme, port) in [
            ("/", None, "x", None, None),
            ("/", None, "x:80", None, Some(80)),
            ("HTTP://x:8080", None, "x:8080", Some("HTTP"), Some(8080)),
            ("/", Some("x:1"), "x:1", Some("https"), Some(1)),
        ] {
            let head = head(target, authority, &[host]);
            let read = read_target(&head).unwrap();
            assert_eq!((read.scheme, read.port), (scheme, port), "{target} {authority:?}");
        }
    }

    #[test]
    fn a_host_that_is_missing_repeated_or_doubtful_is_refused() {
        for (target, authority, hosts, refusal) in [
            ("/", None, &[][..], Refusal::MissingHost),
            ("/", None, &[""][..], Refusal::MissingHost),
            ("/", None, &["a", "a"][..], Refusal::RepeatedHost),
            ("/", None, &["a", "b"][..], Refusal::RepeatedHost),
            ("/", None, &["user@a"][..], Refusal::InvalidHost),
            ("/", None, &["a b"][..], Refusal::InvalidHost),
            ("/", None, &["a/b"][..], Refusal::InvalidHost),
            ("/", None, &["a:port"][..], Refusal::InvalidHost),
            ("/", None, &["a,b"][..], Refusal::InvalidHost),
            ("http://a/", None, &["b"][..], Refusal::HostMismatch),
            ("http://a:80/", None, &["a:81"][..], Refusal::HostMismatch),
            ("http://user@a/", None, &["user@a"][..], Refusal::InvalidHost),
            ("http:///x", None, &["a"][..], Refusal::InvalidHost),
            ("/", Some("a"), &["b"][..], Refusal::HostMismatch),
            ("/", Some("u@a"), &[][..], Refusal::InvalidHost),
        ] {
            assert_eq!(read(target, authority, hosts), Err(refusal), "{target} {authority:?} {hosts:?}");
        }
    }

    #[test]
    fn a_target_that_is_no_path_is_refused() {
        for target in [
            "*",
            "a",
            "?q",
            "ftp://a/",
            "http:a",
            "http:/a",
            "http://a\\b/",
            "/a#b",
            "/../x",
            "/%2e%2E/x",
            "/a%00",
            "/a%",
            "/%ff",
        ] {
            assert_eq!(read(target, None, &["a"]), Err(Refusal::InvalidTarget), "{target}");
        }
        assert_eq!(read("*", Some("a"), &[]), Err(Refusal::InvalidTarget));
    }

    #[test]
    fn an_absolute_form_is_read_with_the_host_that_http_1_1_names_beside_it() {
        use Refusal::{HostMismatch, InvalidHost, InvalidTarget, MissingHost};
        let read = |request: &str| {
            let bytes = Bytes::from(format!("{request}\r\n\r\n"));
            let scanned = HeadScanner::new(1024, 256).scan(&bytes).unwrap().unwrap();
            let head = Head::http_1(&bytes, &scanned).unwrap();
            read_target(&head).map(|target| target.host.as_str().to_owned())
        };
        for good in [
            "GET http://a/b HTTP/1.1\r\nhost: \ta ",
            "GET http://A/b HTTP/1.1\r\nhost: a",
            "GET http://a/ HTTP/1.0",
            "GET https://a:1 HTTP/1.0\r\nhost: a:1",
        ] {
            assert_eq!(read(good), Ok("a".to_owned()), "{good}");
        }
        for (bad, refusal) in [
            ("GET http://a/ HTTP/1.1", MissingHost),
            ("GET http://a/ HTTP/1.1\r\nhost:", MissingHost),
            ("GET http://a/ HTTP/1.1\r\nhost: b", HostMismatch),
            ("GET http://a/ HTTP/1.0\r\nhost: b", HostMismatch),
            ("GET http://u@a/ HTTP/1.0", InvalidHost),
            ("GET http:///x HTTP/1.1\r\nhost: a", InvalidHost),
            ("GET http://a:x/ HTTP/1.1\r\nhost: a:x", InvalidHost),
            ("GET http:/a/ HTTP/1.1\r\nhost: a", InvalidTarget),
            ("GET http:\\\\a HTTP/1.1\r\nhost: a", InvalidTarget),
        ] {
            assert_eq!(read(bad), Err(refusal), "{bad}");
        }
    }

    #[test]
    fn methods_are_those_that_a_route_can_name() {
        for good in ALLOWED_METHODS.split(", ") {
            assert_eq!(check_method(&good.parse().unwrap()), Ok(()), "{good}");
        }
        for bad in ["CONNECT", "TRACE", "PROPFIND", "FOO", "ANY", "get", "Get", "-", &"A".repeat(33)] {
            assert_eq!(check_method(&bad.parse().unwrap()), Err(Refusal::MethodNotImplemented), "{bad}");
        }
    }

    #[test]
    fn only_100_continue_is_met() {
        let headers = |values: &[&str]| {
            values.iter().map(|v| (HeaderName::from_static("expect"), v.parse().unwrap())).collect::<HeaderMap>()
        };
        let check = |values: &[&str]| check_expectation(Version::HTTP_11, &headers(values));
        assert_eq!(check(&[]), Ok(false));
        assert_eq!(check(&["100-Continue"]), Ok(true));
        assert_eq!(check_expectation(Version::HTTP_10, &headers(&["x"])), Ok(false));
        for bad in [&["200-ok"][..], &["100-continue, x"][..], &["100-continue", "100-continue"][..], &[""][..]] {
            assert_eq!(check(bad), Err(Refusal::ExpectationFailed), "{bad:?}");
        }
    }
}
