//! The admin API, asked from the command line of any machine: by an API key, over HTTPS or, on this machine, plain HTTP.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Args;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use picloud_proxy::acme::AuthorityTrust;
use serde_json::Value;

use crate::config::Config;

/// Longer than any call takes: a preflight looks at several addresses.
const DEADLINE: Duration = Duration::from_secs(60);
/// More than any page of a list has.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Which instance is asked, and as whom.
#[derive(Debug, Clone, Args)]
pub struct Remote {
    /// Address of the instance; public_base_url without it
    #[arg(long, env = "PICLOUD_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// The API key to ask with
    #[arg(long, env = "PICLOUD_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub api_key: Option<String>,
    /// PEM file of a root to trust the instance by, beside those that browsers trust
    #[arg(long, env = "PICLOUD_SERVER_ROOT", value_name = "FILE")]
    pub server_root: Option<PathBuf>,
    /// Print the API's answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// An instance's API.
pub struct ApiClient {
    trust: AuthorityTrust,
    base: String,
    key: String,
}

impl ApiClient {
    /// The API that the arguments name.
    ///
    /// # Errors
    /// No instance or no key is named, or the instance would be told the key by plain HTTP over a network.
    pub fn new(remote: &Remote, config: &Config) -> anyhow::Result<Self> {
        let base_url = config.public_base_url.as_ref().map(|url| url.as_str().to_owned());
        let Some(server) = remote.server.clone().or(base_url) else {
            bail!("which instance? Name it by --server or PICLOUD_SERVER, such as https://pi.example.com")
        };
        let Some(key) = remote.api_key.clone() else {
            bail!("an API key is needed: make one in the dashboard or by POST api-keys, and set PICLOUD_API_KEY")
        };
        let uri: Uri = server.parse().with_context(|| format!("{server} is no address"))?;
        let host = uri.host().with_context(|| format!("{server} is no address such as https://pi.example.com"))?;
        let is_here = matches!(host, "localhost" | "[::1]") || host.starts_with("127.");
        ensure!(
            uri.scheme_str() == Some("https") || is_here,
            "{server}: a key is sent by https:// only, but to this machine"
        );
        let root =
            remote.server_root.as_ref().map(|path| std::fs::read(path).with_context(|| path.display().to_string()));
        let trust = AuthorityTrust::new(root.transpose()?.as_deref()).map_err(anyhow::Error::msg)?;
        Ok(Self { trust, base: format!("{}/api/v1/admin", server.trim_end_matches('/')), key })
    }

    /// Makes a call, such as of `certificates`; its answer.
    ///
    /// # Errors
    /// What the API says, in its own words.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let connector = HttpsConnectorBuilder::new().with_tls_config(self.trust.client_config()).https_or_http();
        let client = Client::builder(TokioExecutor::new()).build(connector.enable_http1().enable_http2().build());
        let mut request = Request::builder().method(method).uri(format!("{}/{path}", self.base));
        request = request.header(AUTHORIZATION, format!("Bearer {}", self.key)).header(ACCEPT, "application/json");
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(body)).context("the key is none")?;
        let asked = async {
            let answer = client.request(request).await.with_context(|| format!("{} cannot be asked", self.base))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MOST_BYTES).collect().await.map_err(anyhow::Error::from_boxed)?.to_bytes();
            anyhow::Ok((head.status, body))
        };
        let (status, body) = tokio::time::timeout(DEADLINE, asked).await.context("no answer came")??;
        let answer = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap_or_default() };
        if status.is_success() {
            return Ok(answer);
        }
        match answer["detail"].as_str() {
            Some(detail) => bail!("{detail}"),
            None => bail!("the server answered {status}"),
        }
    }
}
