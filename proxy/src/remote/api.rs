//! The HTTP of the remote commands: where calls go, what they carry, and what refusals say.

mod refusal;
mod server;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use picloud_shared::name::AppSlug;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use serde_json::Value;

use crate::cli::remote::Target;
use crate::remote::output::{plain, tell};
pub use refusal::Refusal;
use refusal::refused;
use server::{is_this_machine, parse_server};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream says something at least that often, and nothing else takes as long.
const SILENCE: Duration = Duration::from_secs(60);
/// An app may get another slug while it is asked for, and no server sends around for ever.
const MOST_RENAMES: usize = 5;
/// What keys begin with.
const KEY_PREFIX: &str = "pck_";
/// What a file of a key, or of authorities, has at most.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A PiCloud, and the credential that it is asked with.
pub struct Api {
    client: Client,
    base: Url,
    token: Option<String>,
    /// Whether it was said that an app has another slug now.
    told_of_rename: AtomicBool,
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
    /// The app has another slug now, and what would be deleted or replaced there may not be what was meant.
    #[error("{old} is now called {new}")]
    Renamed {
        /// What it was called.
        old: String,
        /// What it is called.
        new: AppSlug,
    },
    /// It was not reached, or broke off.
    #[error("the server cannot be reached")]
    Transport(#[from] reqwest::Error),
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
            .redirect(redirect::Policy::none());
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
            told_of_rename: AtomicBool::new(false),
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
            key.context("an API key is needed: PICLOUD_KEY, or --key-file FILE; create one with picloud keys create")?;
        let key = key.trim();
        if !key.starts_with(KEY_PREFIX) {
            bail!("what was given as the key is no key: keys begin with {KEY_PREFIX}");
        }
        api.with_token(key)
    }

    /// The same, asked with this token.
    pub fn with_token(self, token: &str) -> anyhow::Result<Self> {
        // Told here, because a token is not to be quoted in an error.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("what was given as the key is no key");
        }
        if self.base.scheme() == "http" && !is_this_machine(&self.base) {
            tell(&format!("{} is not encrypted: all between can read the key", self.base));
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
        for _ in 0..=MOST_RENAMES {
            let answer = self.send_to(method.clone(), url.clone(), body).await?;
            let status = answer.status();
            if status.is_success() {
                return Ok(answer);
            }
            let Some(to) = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()) else {
                return Err(refused(answer).await);
            };
            let Some(Rename { old, new, address }) = rename(status, &url, to) else {
                return Err(CallError::Elsewhere { url: url.to_string(), to: plain(to) });
            };
            if matches!(method, Method::DELETE | Method::PUT) {
                return Err(CallError::Renamed { old, new });
            }
            if !self.told_of_rename.swap(true, Ordering::Relaxed) {
                tell(&format!("{old} is now called {new}"));
            }
            url = address;
        }
        Err(CallError::Elsewhere { to: url.to_string(), url: url.to_string() })
    }

    async fn send_to(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Response, reqwest::Error> {
        let mut request = self.client.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        request.send().await
    }
}

/// An app that has another slug now, and the address where the same is asked of it.
#[derive(Debug, PartialEq, Eq)]
struct Rename {
    old: String,
    new: AppSlug,
    address: Url,
}

/// What a redirect says, if it is that of an app by a slug of before: to the same address of the same server, but for the one
/// segment or parameter that names the app. No other redirect is followed.
fn rename(status: StatusCode, asked: &Url, location: &str) -> Option<Rename> {
    let address = asked.join(location).ok().filter(|address| address.origin() == asked.origin())?;
    let ((before, others_before), (after, others_after)) = (apart(asked), apart(&address));
    let ([old], [new]) = (before.as_slice(), after.as_slice()) else {
        return None;
    };
    let is_rename = status == StatusCode::PERMANENT_REDIRECT && old != new && others_before == others_after;
    let (old, new) = (plain(old), new.parse().ok()?);
    is_rename.then_some(Rename { old, new, address })
}

/// What names an app in an address, which is the segment behind `apps` or the value of `app`; and all else in it, in order.
fn apart(url: &Url) -> (Vec<String>, Vec<String>) {
    let (mut apps, mut others) = (Vec::new(), Vec::new());
    let mut is_app = false;
    for segment in url.path_segments().into_iter().flatten() {
        let place = if is_app { &mut apps } else { &mut others };
        place.push(segment.to_owned());
        is_app = !is_app && segment == "apps";
    }
    // No segment is this, so that none is taken for a parameter.
    others.push("?".to_owned());
    for (name, value) in url.query_pairs() {
        let place = if name == "app" { &mut apps } else { &mut others };
        place.push(value.into_owned());
        others.push(name.into_owned());
    }
    (apps, others)
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
    fn only_the_redirect_of_an_app_is_followed() {
        let address = |path: &str| -> Url { format!("http://a/api/v1/admin{path}").parse().unwrap() };
        let asked = |path: &str, location: &str| rename(StatusCode::PERMANENT_REDIRECT, &address(path), location);
        for (path, to) in [
            ("/apps/blog?force=true", "/apps/weblog?force=true"),
            ("/apps/blog/export", "/apps/weblog/export"),
            ("/scripts?app=blog&limit=200", "/scripts?app=weblog&limit=200"),
        ] {
            let found = asked(path, &format!("/api/v1/admin{to}")).unwrap();
            assert_eq!((found.old.as_str(), found.new.as_str(), found.address), ("blog", "weblog", address(to)));
        }
        for (path, location) in [
            ("/apps/blog", "http://b/api/v1/admin/apps/weblog"),
            ("/apps/blog", "/api/v1/admin/apps/blog"),
            ("/apps/blog", "/api/v1/admin/apps/weblog/export"),
            ("/apps/blog/export", "/api/v1/admin/apps/weblog/deployment"),
            ("/apps/blog", "/api/v1/admin/apps/x;rm"),
            ("/scripts/blog", "/api/v1/admin/scripts/weblog"),
            ("/apps/blog/scripts", "/api/v1/admin/apps/blog/routes"),
            ("/apps/blog?force=true", "/api/v1/admin/apps/weblog?force=false"),
            ("/apps/blog?force=true", "/api/v1/admin/apps/weblog?takeover=true"),
            ("/scripts?name=blog", "/api/v1/admin/scripts?name=weblog"),
            ("/scripts?app=blog", "/api/v1/admin/scripts?name=weblog"),
            ("/scripts?app=blog", "/api/v1/admin/apps/weblog"),
            ("/apps/blog", "http://"),
        ] {
            assert_eq!(asked(path, location), None, "{location}");
        }
        assert_eq!(rename(StatusCode::FOUND, &address("/apps/blog"), "/api/v1/admin/apps/weblog"), None);
    }
}
