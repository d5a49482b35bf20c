//! `picloud certs`: what is served, what is being ordered, and why something is not there yet.

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};

use super::api::Api;
use super::output::{Output, cell, plain};
use crate::cli::remote::CertsCommand;

pub async fn run(command: Option<CertsCommand>, api: &Api, output: Output) -> anyhow::Result<()> {
    match command.unwrap_or(CertsCommand::List) {
        CertsCommand::List => {
            let all = api.list(&["certificates"], &[]).await?;
            output.table("certificates", &all, ["NAMES", "STATE", "SOURCE", "NOT AFTER", "LAST ERROR"], |one| {
                [
                    names(one),
                    cell(&one["state"]),
                    cell(&one["source"]),
                    cell(&one["not_after"]),
                    cell(&one["last_error"]),
                ]
            })?;
        }
        CertsCommand::Show { certificate } => {
            let found = api.get(&["certificates", &id(api, &certificate).await?]).await?;
            output.print(&found, details)?;
        }
        CertsCommand::Renew { certificate } => {
            let path = ["certificates", &id(api, &certificate).await?, "renew"];
            let renewed = api.call(Method::POST, &path, &[], None).await?;
            output.print(&renewed, |renewed| vec![format!("the attempt for {} begins", names(renewed))])?;
        }
        CertsCommand::Root => {
            let answer = api.send(Method::GET, &["certificates:internal-root"], &[], None).await?;
            let root = Value::from(answer.text().await.context("the root broke off")?);
            output.print(&root, |root| root.as_str().into_iter().flat_map(str::lines).map(plain).collect())?;
        }
        CertsCommand::Preflight { name } => {
            let asked = json!({ "name": name });
            let found = api.call(Method::POST, &["certificates:preflight"], &[], Some(&asked)).await?;
            output.print(&found, findings)?;
            anyhow::ensure!(found["passed"] == true, "an order for {name} would fail");
        }
    }
    Ok(())
}

/// The id that was given, or that of the certificate for that name.
async fn id(api: &Api, given: &str) -> anyhow::Result<String> {
    if given.parse::<uuid::Uuid>().is_ok() {
        return Ok(given.to_owned());
    }
    let all = api.list(&["certificates"], &[]).await?;
    let is_for = |one: &&Value| one["names"].as_array().is_some_and(|names| names.iter().any(|name| name == given));
    let found = all.iter().find(is_for).and_then(|one| one["id"].as_str());
    found.map(str::to_owned).with_context(|| format!("no certificate is for {given}"))
}

fn names(certificate: &Value) -> String {
    let names = certificate["names"].as_array().into_iter().flatten().filter_map(Value::as_str);
    plain(&names.collect::<Vec<_>>().join(","))
}

fn details(certificate: &Value) -> Vec<String> {
    let mut lines = vec![format!("names              {}", names(certificate))];
    for (label, key) in [
        ("id", "id"),
        ("state", "state"),
        ("source", "source"),
        ("issuer", "issuer"),
        ("not after", "not_after"),
        ("to be renewed at", "renew_at"),
        ("next attempt", "next_attempt_at"),
        ("last error", "last_error"),
    ] {
        lines.push(format!("{label:<18} {}", cell(&certificate[key])).trim_end().to_owned());
    }
    let attempts = certificate["attempts"].as_array().into_iter().flatten();
    lines.extend(attempts.map(|attempt| {
        let told = ["started_at", "outcome", "authority", "challenge", "error"].map(|key| cell(&attempt[key]));
        format!("attempt            {}", told.join(" ").trim_end())
    }));
    lines
}

fn findings(found: &Value) -> Vec<String> {
    let told = |finding: &Value| ["verdict", "check", "detail"].map(|key| cell(&finding[key]));
    let line = |[verdict, check, detail]: [String; 3]| format!("{verdict:<8} {check:<10} {detail}");
    found["findings"].as_array().into_iter().flatten().map(told).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_still_to_come_is_told_so() {
        let certificate = json!({"names": ["a.test", "*.a.test"], "renew_at": "2026-12-03T00:00:00.000Z",
            "attempts": [{"started_at": "2026-11-01T00:00:00.000Z", "outcome": "issued", "authority": "acme"}]});
        let lines = details(&certificate);
        assert_eq!(lines[0], "names              a.test,*.a.test");
        assert!(lines.contains(&"to be renewed at   2026-12-03T00:00:00.000Z".to_owned()), "{lines:?}");
        assert!(lines.last().is_some_and(|line| line.starts_with("attempt            2026-11-01")), "{lines:?}");
    }
}
