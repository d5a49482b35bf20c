//! `picloud certs`: what is served, what is being ordered, and why something is not there yet.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use crate::api_client::{ApiClient, Remote};
use crate::config::Config;

/// What to do with certificates.
#[derive(Debug, Subcommand)]
pub enum CertsCommand {
    /// List all certificates
    List {
        /// Which instance
        #[command(flatten)]
        remote: Remote,
    },
    /// Show one with the history of its attempts
    Show {
        /// Its id, or a name that it is for
        certificate: String,
        /// Which instance
        #[command(flatten)]
        remote: Remote,
    },
    /// Renew one now
    Renew {
        /// Its id, or a name that it is for
        certificate: String,
        /// Which instance
        #[command(flatten)]
        remote: Remote,
    },
    /// Look whether a certificate for a name could be had; nothing is ordered
    Preflight {
        /// A host or a wildcard
        name: String,
        /// Which instance
        #[command(flatten)]
        remote: Remote,
    },
}

/// Does what the command says.
pub async fn run(command: CertsCommand, config: &Config) -> anyhow::Result<()> {
    match command {
        CertsCommand::List { remote } => {
            let all = list(&ApiClient::new(&remote, config)?).await?;
            show(&remote, &Value::Array(all.clone()), || all.iter().map(line).collect());
        }
        CertsCommand::Show { certificate, remote } => {
            let api = ApiClient::new(&remote, config)?;
            let found = api.call(Method::GET, &format!("certificates/{}", id(&api, &certificate).await?), None).await?;
            show(&remote, &found, || details(&found));
        }
        CertsCommand::Renew { certificate, remote } => {
            let api = ApiClient::new(&remote, config)?;
            let path = format!("certificates/{}/renew", id(&api, &certificate).await?);
            let renewed = api.call(Method::POST, &path, None).await?;
            show(&remote, &renewed, || vec![format!("the attempt begins: {}", line(&renewed))]);
        }
        CertsCommand::Preflight { name, remote } => {
            let api = ApiClient::new(&remote, config)?;
            let found = api.call(Method::POST, "certificates:preflight", Some(&json!({ "name": name }))).await?;
            show(&remote, &found, || findings(&found));
            anyhow::ensure!(found["passed"] == true, "an order for {name} would fail");
        }
    }
    Ok(())
}

fn show(remote: &Remote, answer: &Value, lines: impl FnOnce() -> Vec<String>) {
    if remote.json {
        println!("{answer:#}");
    } else {
        lines().iter().for_each(|line| println!("{line}"));
    }
}

/// All pages.
async fn list(api: &ApiClient) -> anyhow::Result<Vec<Value>> {
    let (mut all, mut path) = (Vec::new(), "certificates?limit=200".to_owned());
    loop {
        let page = api.call(Method::GET, &path, None).await?;
        all.extend(page["items"].as_array().cloned().unwrap_or_default());
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("certificates?limit=200&cursor={cursor}"),
            None => return Ok(all),
        }
    }
}

/// The id that was given, or that of the certificate for that name.
async fn id(api: &ApiClient, given: &str) -> anyhow::Result<String> {
    if given.parse::<uuid::Uuid>().is_ok() {
        return Ok(given.to_owned());
    }
    let all = list(api).await?;
    let is_for = |one: &&Value| one["names"].as_array().is_some_and(|names| names.iter().any(|name| name == given));
    let found = all.iter().find(is_for).and_then(|one| one["id"].as_str());
    found.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("no certificate is for {given}"))
}

fn text<'v>(value: &'v Value, absent: &'v str) -> &'v str {
    value.as_str().unwrap_or(absent)
}

fn names(certificate: &Value) -> String {
    let names = certificate["names"].as_array().into_iter().flatten().filter_map(Value::as_str);
    names.collect::<Vec<_>>().join(",")
}

fn line(certificate: &Value) -> String {
    let error = certificate["last_error"].as_str().map(|error| format!("\t{error}")).unwrap_or_default();
    format!(
        "{}\t{}\t{}\t{}{error}",
        names(certificate),
        text(&certificate["state"], "?"),
        text(&certificate["source"], "?"),
        text(&certificate["not_after"], "none yet")
    )
}

fn details(certificate: &Value) -> Vec<String> {
    let mut lines = vec![format!("names            {}", names(certificate))];
    for (label, key) in [
        ("id", "id"),
        ("state", "state"),
        ("source", "source"),
        ("issuer", "issuer"),
        ("not after", "not_after"),
        ("renewed at", "renew_at"),
        ("next attempt", "next_attempt_at"),
        ("last error", "last_error"),
    ] {
        lines.push(format!("{label:<16} {}", text(&certificate[key], "-")));
    }
    for attempt in certificate["attempts"].as_array().into_iter().flatten() {
        lines.push(format!(
            "attempt          {} {} {} by {} {}",
            text(&attempt["started_at"], "?"),
            text(&attempt["outcome"], "?"),
            text(&attempt["authority"], "?"),
            text(&attempt["challenge"], "?"),
            text(&attempt["error"], "")
        ));
    }
    lines
}

fn findings(found: &Value) -> Vec<String> {
    let line = |finding: &Value| {
        format!(
            "{:<8} {:<10} {}",
            text(&finding["verdict"], "?"),
            text(&finding["check"], "?"),
            text(&finding["detail"], "")
        )
    };
    found["findings"].as_array().into_iter().flatten().map(line).collect()
}
