//! `picloud deploy`: an app becomes what a directory says, all at once.

use anyhow::{Context, bail};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::api::{Api, CallError};
use super::app_folder::{APP_FILE, AppFolder};
use super::apps::created_or_would_be;
use super::output::{Output, cell, plain, tell};
use crate::cli::remote::Deploy;

pub async fn run(
    Deploy { dir, app, dry_run, create: may_create, takeover }: Deploy,
    api: &Api,
    output: Output,
) -> anyhow::Result<()> {
    let folder = AppFolder::read(&dir)?;
    let app =
        app.as_deref().or(folder.slug()).with_context(|| format!("say which app: --app, or slug in {APP_FILE}"))?;
    let query = if dry_run { &[("dry_run", "true")][..] } else { &[] };
    let mut answer = api.call(Method::PUT, &["apps", app, "deployment"], query, Some(&folder.document)).await;
    let is_new = match &answer {
        Err(CallError::Refused(refusal)) => may_create && refusal.status == StatusCode::NOT_FOUND,
        // Whoever takes the slug over means another app than the one that it leads to.
        Err(CallError::Renamed { .. }) if takeover => true,
        Err(renamed @ CallError::Renamed { new, .. }) => {
            let or = if may_create { ", or add --takeover to take its former slug for a new app" } else { "" };
            bail!("{renamed}: deploy with --app {new}{or}");
        }
        _ => false,
    };
    if is_new {
        let takeover = if takeover { &[("takeover", "true")][..] } else { &[] };
        let query = [&[("slug", app)], takeover, query].concat();
        answer = api.call(Method::POST, &["apps:import"], &query, Some(&folder.document)).await;
    }
    let done = answer.map_err(|error| placed(error, &folder))?;
    output.print(&done, created_or_would_be)?;
    tell_missing_secrets(&done, &folder.document, app);
    Ok(())
}

/// Tells which secrets are to be set before the app has all that its scripts read. A new app has none.
pub fn tell_missing_secrets(answer: &Value, document: &Value, app: &str) {
    let named = answer.get("missing_secrets").unwrap_or(&document["secrets"]);
    for name in named.as_array().into_iter().flatten() {
        tell(&format!("a secret is missing: picloud secrets set {} --app {}", cell(name), plain(app)));
    }
}

/// The refusal, with the places of its errors in the files.
fn placed(error: CallError, folder: &AppFolder) -> anyhow::Error {
    let CallError::Refused(refusal) = error else { return error.into() };
    if refusal.errors.is_empty() {
        return CallError::Refused(refusal).into();
    }
    let lines = refusal.errors.iter().map(|(field, detail)| format!("\n  {}: {detail}", folder.place_of(field)));
    let conflict = refusal.conflict.iter().map(|claim| format!("\n  conflict: {claim}"));
    anyhow::anyhow!("nothing is changed ({}){}", refusal.code, lines.chain(conflict).collect::<String>())
}

pub fn summary(done: &Value) -> Vec<String> {
    let changes = done["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sign = |action: &Value| match action.as_str() {
        Some("create") => "+",
        Some("delete") => "-",
        _ => "~",
    };
    let mut lines: Vec<_> = changes
        .iter()
        .map(|change| format!("{} {} {}", sign(&change["action"]), cell(&change["kind"]), cell(&change["name"])))
        .collect();
    lines.push(match (changes.len(), done["applied"] == true) {
        (0, _) => "the app is as the files say already".to_owned(),
        (count, true) => format!("{count} changes, live now"),
        (count, false) if changes.iter().all(|change| change["action"] == "create") => {
            format!("{count} would be created")
        }
        (count, false) => format!("{count} would be changed"),
    });
    lines
}
