//! HTTP to an authority: one request at a time with its deadline and its bound, and what of the answers the ACME library
//! does not hand on: when to come back, and where other chains are.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LINK, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use picloud_shared::clock::Clock;

use super::authority::{AuthorityTrust, DirectoryUrl};

/// An authority that takes longer has gone away.
const DEADLINE: Duration = Duration::from_secs(30);
/// Larger than any answer of ACME.
const MOST_BYTES: usize = 512 * 1024;
/// The longest wait that an authority can ask for: beyond it, it speaks nonsense.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The longest that an authority can have all names stay away: what ends soon must not wait for long on one answer.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// Connections to an authority, for one piece of work.
#[derive(Clone)]
pub(super) struct Wire {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    clock: Arc<dyn Clock>,
    seen: Arc<Mutex<Seen>>,
}

/// What was seen in the answers.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How the last answer refused, where it did: the library looks at no status where it expects no refusal.
    pub(super) refusal: Option<StatusCode>,
    /// How long the authority asked us to stay away with its last refusal.
    pub(super) retry_after: Option<Duration>,
    /// Where other chains of the last certificate are.
    pub(super) alternates: Vec<String>,
    /// The last chain.
    pub(super) chain: Option<String>,
}

impl Seen {
    /// Whether the last answer says nothing but that the authority cannot do its part just now.
    pub(super) fn is_passing(&self) -> bool {
        self.refusal.is_some_and(|status| status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS)
    }
}

/// How long an authority that answered by this serves nobody (RFC 9110, 15.6.4).
pub(super) fn away(status: Option<StatusCode>, retry_after: Option<Duration>) -> Option<Duration> {
    retry_after.filter(|_| status == Some(StatusCode::SERVICE_UNAVAILABLE)).map(|wait| wait.min(LONGEST_PAUSE))
}

/// A refusal in words.
pub(super) fn refused(status: StatusCode) -> String {
    format!("the authority answered {status}")
}

impl Wire {
    pub(super) fn new(trust: &AuthorityTrust, clock: Arc<dyn Clock>) -> Self {
        let connector = HttpsConnectorBuilder::new().with_tls_config(trust.client_config()).https_only();
        let client = Client::builder(TokioExecutor::new()).build(connector.enable_http1().enable_http2().build());
        Self { client, clock, seen: Arc::default() }
    }

    /// What was seen so far.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        // What is noted is whole after every step.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By which names CAA records let this authority sign (RFC 8555, 9.7.6); none where it does not tell.
    pub(super) async fn caa_identities(&self, directory: &DirectoryUrl) -> Vec<String> {
        let Ok(request) = Request::builder().uri(directory.as_str()).body(BodyWrapper::default()) else {
            return Vec::new();
        };
        let Ok(mut answer) = self.clone().ask(request).await else { return Vec::new() };
        let body = answer.body.into_bytes().await.unwrap_or_default();
        let directory: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let identities = directory["meta"]["caaIdentities"].as_array().into_iter().flatten();
        identities.filter_map(|identity| Some(identity.as_str()?.to_ascii_lowercase())).collect()
    }

    async fn ask(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let asked = async {
            let answer = self.client.request(request).await.map_err(|error| Error::Other(causes(&error).into()))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MOST_BYTES).collect().await.map_err(Error::Other)?;
            Ok::<_, Error>(Response::from_parts(head, body.to_bytes()))
        };
        let answer = tokio::time::timeout(DEADLINE, asked).await;
        let answer = answer.map_err(|_| Error::Other("the authority did not answer within 30 s".into()))??;
        Ok(self.note(answer).map(Full::new).into())
    }

    /// Takes note of an answer. A refusal that does not explain itself is put in words.
    fn note(&self, answer: Response<Bytes>) -> Response<Bytes> {
        let (head, body) = answer.into_parts();
        let has_type = |expected: &str| is_of_type(&head.headers, expected);
        let mut seen = self.seen();
        seen.refusal = None;
        if head.status.is_client_error() || head.status.is_server_error() {
            seen.retry_after = head.headers.get(RETRY_AFTER).and_then(|value| self.wait(value));
            seen.refusal = Some(head.status);
            if !has_type("application/problem+json") {
                let (status, detail) = (head.status.as_u16(), refused(head.status));
                let problem = serde_json::json!({ "type": "about:blank", "detail": detail, "status": status });
                return Response::from_parts(head, problem.to_string().into());
            }
        } else if has_type("application/pem-certificate-chain") {
            seen.alternates = alternates(&head.headers);
            seen.chain = String::from_utf8(body.to_vec()).ok();
        }
        Response::from_parts(head, body)
    }

    /// Seconds, or a date.
    fn wait(&self, value: &HeaderValue) -> Option<Duration> {
        let text = value.to_str().ok()?.trim();
        let wait = match text.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => {
                let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
                let now = Duration::from_millis(u64::try_from(self.clock.now().as_millis()).unwrap_or(0));
                date.saturating_sub(now)
            }
        };
        Some(wait.min(LONGEST_WAIT))
    }
}

impl HttpClient for Wire {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().ask(request))
    }
}

fn is_of_type(headers: &HeaderMap, expected: &str) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.split(';').next().is_some_and(|found| found.trim().eq_ignore_ascii_case(expected))
}

/// The addresses of `Link` headers of the relation `alternate` (RFC 8555, 7.4.2).
fn alternates(headers: &HeaderMap) -> Vec<String> {
    let links = headers.get_all(LINK).into_iter().filter_map(|value| value.to_str().ok());
    let links = links.flat_map(|value| value.split(','));
    let alternate = |link: &str| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_alternate = parameters.split(';').any(|parameter| {
            matches!(parameter.trim().split_once('='), Some(("rel", relation)) if relation.trim_matches('"') == "alternate")
        });
        is_alternate.then(|| address.to_owned())
    };
    links.filter_map(alternate).collect()
}

/// An error with what led to it: the outermost alone says "client error".
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use picloud_shared::clock::{ManualClock, Timestamp};

    use super::*;

    fn wire() -> Wire {
        // 784111770 is 7 seconds before the date below.
        let clock = ManualClock::new(Timestamp::from_millis(784_111_770_000));
        Wire::new(&AuthorityTrust::new(None).unwrap(), Arc::new(clock))
    }

    #[test]
    fn how_long_to_stay_away_is_read_as_seconds_and_as_a_date() {
        let wire = wire();
        for (text, seconds) in [
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("99999999999", Some(7 * 24 * 3600)),
            ("soon", None),
        ] {
            let wait = wire.wait(&HeaderValue::from_static(text));
            assert_eq!(wait, seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn other_chains_are_found_among_links() {
        let mut headers = HeaderMap::new();
        for link in [
            "<https://ca.test/dir>;rel=\"index\"",
            "<https://ca.test/1>;rel=\"alternate\", <https://ca.test/2>; title=x; rel=alternate",
            "no link",
        ] {
            headers.append(LINK, link.parse().unwrap());
        }
        assert_eq!(alternates(&headers), ["https://ca.test/1", "https://ca.test/2"]);
    }

    #[test]
    fn a_refusal_without_words_gets_some() {
        let wire = wire();
        let answer = Response::builder().status(503).header(RETRY_AFTER, "60").body(Bytes::from_static(b"<html>"));
        let noted = wire.note(answer.unwrap());
        let problem: serde_json::Value = serde_json::from_slice(noted.body()).unwrap();
        assert_eq!(problem["detail"], "the authority answered 503 Service Unavailable");
        assert_eq!(wire.seen().retry_after, Some(Duration::from_secs(60)));
    }
}
