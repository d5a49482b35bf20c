//! The HTTP of the remote commands: where calls go, what they carry, and what refusals say.

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use serde_json::{Value, json};

use crate::cli::remote::Target;
use crate::remote::output::plain;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream says something at least that often, and nothing else takes as long.
const SILENCE: Duration = Duration::from_secs(60);
const MOST_REDIRECTS: usize = 5;
/// What a file of a key, or of authorities, has at most.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A PiCloud, and the credential that it is asked with.
pub struct Api {
    client: Client,
    base: Url,
    token: Option<String>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It was answered with a problem.
    #[error("{0}")]
    Refused(Refusal),
    /// What answered is no PiCloud, or something stands between.
    #[error("{url} answered {status}, which is not the answer of a PiCloud's API")]
    Strange {
        /// What was asked.
        url: String,
        /// What it said.
        status: StatusCode,
    },
    /// It sends elsewhere than to itself. The key is not shown to others.
    #[error("{url} sends to {to}; if that is right, give it as --server")]
    Elsewhere {
        /// What was asked.
        url: String,
        /// Where it sends.
        to: String,
    },
    /// It was not reached, or broke off.
    #[error("the server cannot be reached")]
    Transport(#[from] reqwest::Error),
}

/// A problem of the API.
#[derive(Debug)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// Its stable code.
    pub code: String,
    /// Its words.
    pub detail: String,
    /// Each field that is wrong, and what is wrong with it.
    pub errors: Vec<(String, String)>,
    /// After how long it may be another answer, where the server tells.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    fn read(status: StatusCode, retry_after: Option<Duration>, problem: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(plain);
        let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        Some(Self {
            status,
            retry_after,
            code: text(&problem["code"])?,
            detail: in_flags(problem).map(str::to_owned).or_else(|| text(&problem["detail"]))?,
            errors: errors.iter().filter_map(|error| Some((text(&error["field"])?, text(&error["detail"])?))).collect(),
        })
    }
}

/// What to do about a problem, where the API tells it in words of the API and a command has a flag for it.
fn in_flags(problem: &Value) -> Option<&'static str> {
    match problem["code"].as_str()? {
        "slug_historical" if problem["may_take_over"] == true => {
            Some("this slug still leads to another app; --takeover ends that")
        }
        "has_scripts" => Some("the app has scripts; --force deletes them with it"),
        "unauthenticated" => Some("the API key is wrong, revoked or past its end; make one with picloud keys create"),
        _ => None,
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)?;
        // A single error stands in the detail already.
        if self.errors.len() > 1 {
            self.errors.iter().try_for_each(|(field, detail)| write!(f, "\n  {field}: {detail}"))?;
        }
        Ok(())
    }
}

impl Api {
    /// One that is asked without a credential.
    pub fn new(target: &Target) -> anyhow::Result<Self> {
        let server = target.server.as_deref().context("say which PiCloud: --server URL, or PICLOUD_SERVER")?;
        // An Err says that the provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("picloud/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE)
            .redirect(redirect::Policy::custom(within_one_server));
        if let Some(file) = &target.ca_file {
            let pem = read_small(file).with_context(|| format!("cannot read {}", file.display()))?;
            let authorities = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
            let authorities = authorities.with_context(|| format!("{} holds no certificates", file.display()))?;
            client = client.tls_certs_merge(authorities);
        }
        Ok(Self {
            client: client.build().context("cannot make an HTTP client")?,
            base: parse_server(server)?,
            token: None,
        })
    }

    /// One that is asked with a key: that of the file which is named, or else that of the environment.
    pub fn with_key(target: &Target, key: Option<String>) -> anyhow::Result<Self> {
        let api = Self::new(target)?;
        let key = match &target.key_file {
            Some(file) => Some(read_small(file).with_context(|| format!("cannot read {}", file.display()))?),
            None => key,
        };
        let key =
            key.context("an API key is needed: PICLOUD_KEY, or --key-file FILE; make one with picloud keys create")?;
        api.with_token(key.trim())
    }

    /// The same, asked with this token.
    pub fn with_token(self, token: &str) -> anyhow::Result<Self> {
        // Told here, because a token is not to be quoted in an error.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("what was given as the key is no key");
        }
        if self.base.scheme() == "http" && !is_this_machine(&self.base) {
            eprintln!("picloud: {} is not encrypted: all between can read the key", self.base);
        }
        Ok(Self { token: Some(token.to_owned()), ..self })
    }

    /// A call, and what it answers; null where that is nothing. The path is told by its segments.
    pub async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, CallError> {
        let answer = self.send(method, path, query, body).await?;
        let (url, status) = (answer.url().to_string(), answer.status());
        let bytes = answer.bytes().await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|_| CallError::Strange { url, status })
    }

    /// GET.
    pub async fn get(&self, path: &[&str]) -> Result<Value, CallError> {
        self.call(Method::GET, path, &[], None).await
    }

    /// All items of a list, page by page.
    pub async fn list(&self, path: &[&str], filter: &[(&str, &str)]) -> Result<Vec<Value>, CallError> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut query = [filter, &[("limit", "200")]].concat();
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let mut page = self.call(Method::GET, path, &query, None).await?;
            if let Value::Array(more) = page["items"].take() {
                items.extend(more);
            }
            match page["next_cursor"].as_str() {
                Some(next) if cursor.as_deref() != Some(next) => cursor = Some(next.to_owned()),
                _ => return Ok(items),
            }
        }
    }

    /// A call whose answer is read as it comes.
    pub async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Response, CallError> {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("an address by HTTP has a path").extend(["api", "v1", "admin"]).extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let answer = request.send().await?;
        let (url, status) = (answer.url().to_string(), answer.status());
        if status.is_success() {
            return Ok(answer);
        }
        if let Some(to) = answer.headers().get("location").and_then(|to| to.to_str().ok()) {
            return Err(CallError::Elsewhere { url, to: plain(to) });
        }
        let seconds = answer.headers().get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        let problem = serde_json::from_slice(&answer.bytes().await?).unwrap_or(json!({}));
        Err(match Refusal::read(status, seconds.map(Duration::from_secs), &problem) {
            Some(refusal) => CallError::Refused(refusal),
            None => CallError::Strange { url, status },
        })
    }
}

/// An app that has moved to another slug is followed there, and nothing is followed to another server.
fn within_one_server(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let first = attempt.previous().first().map(Url::origin);
    if attempt.previous().len() <= MOST_REDIRECTS && first == Some(attempt.url().origin()) {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn parse_server(text: &str) -> anyhow::Result<Url> {
    let url = text.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let plain = |url: &Url| {
        url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
    };
    // What was written is not shown: somebody may have put a password in.
    let mut url = url
        .filter(plain)
        .context("the server is an address such as https://cloud.example.com, without a path or a user")?;
    // So that segments are put behind the slash that is there already.
    url.path_segments_mut().expect("an address by HTTP has a path").pop_if_empty();
    Ok(url)
}

fn is_this_machine(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_matches(['[', ']']);
            host.ends_with(".localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        None => false,
    }
}

fn read_small(file: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    fs::File::open(file)?.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_origin() {
        for good in ["https://cloud.example.com", "http://127.0.0.1:8080/", "http://[::1]:80"] {
            assert!(parse_server(good).is_ok(), "{good}");
        }
        for bad in
            ["cloud.example.com", "ftp://a", "https://ada:secret@a", "https://a/b", "https://a/?b", "https://a/#b", ""]
        {
            let error = parse_server(bad).expect_err(bad).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn only_loopback_is_this_machine() {
        for (url, here) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://admin.localhost", true),
            ("http://192.168.1.4", false),
            ("http://localhost.example.com", false),
            ("http://notlocalhost", false),
        ] {
            assert_eq!(is_this_machine(&url.parse().unwrap()), here, "{url}");
        }
    }

    #[test]
    fn a_refusal_tells_each_field_and_nothing_that_moves_a_terminal() {
        let problem = json!({"code": "invalid", "detail": "2 fields\u{1b}[2J", "errors": [
            {"field": "name", "detail": "too long"}, {"field": "slug", "detail": "taken"}]});
        let refusal = Refusal::read(StatusCode::UNPROCESSABLE_ENTITY, None, &problem).unwrap();
        assert_eq!(refusal.to_string(), "2 fields\u{fffd}[2J (invalid)\n  name: too long\n  slug: taken");
        let taken = json!({"code": "slug_historical", "detail": "send \"takeover\": true", "may_take_over": true});
        assert!(Refusal::read(StatusCode::CONFLICT, None, &taken).unwrap().to_string().contains("--takeover"));
        let of_others = json!({"code": "slug_historical", "detail": "choose another", "may_take_over": false});
        let refusal = Refusal::read(StatusCode::CONFLICT, None, &of_others).unwrap();
        assert_eq!(refusal.to_string(), "choose another (slug_historical)");
        assert!(Refusal::read(StatusCode::BAD_GATEWAY, None, &json!({"error": "proxy"})).is_none());
    }
}
