//! `picloud apps`, `export` and `import`.

use std::io::Read as _;

use anyhow::{Context, bail};
use picloud_shared::app::MAX_DOCUMENT_BYTES;
use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, CallError};
use super::app_folder;
use super::deploy::{summary, tell_missing_secrets};
use super::output::{Output, cell, plain, say};
use crate::cli::remote::{AppsCommand, Export, Import};

pub async fn run(command: Option<AppsCommand>, api: &Api, output: Output) -> anyhow::Result<()> {
    match command.unwrap_or(AppsCommand::List) {
        AppsCommand::List => {
            let apps = api.list(&["apps"], &[]).await?;
            output.table("apps", &apps, ["SLUG", "NAME", "ROLE", "ID"], |app| {
                [&app["slug"], &app["name"], &app["my_role"], &app["id"]].map(cell)
            })?;
        }
        AppsCommand::Create { slug, name, takeover } => {
            let name = name.map_or_else(|| slug.to_string(), |name| name.to_string());
            let body = json!({ "slug": slug, "name": name, "takeover": takeover });
            let app = api.call(Method::POST, &["apps"], &[], Some(&body)).await?;
            output.print(&app, created_or_would_be)?;
        }
        AppsCommand::Rename { app, slug, name, takeover } => {
            let (slug, name) = (slug.map(|slug| ("slug", json!(slug))), name.map(|name| ("name", json!(name))));
            // What is not named stays.
            let body = slug.into_iter().chain(name).chain([("takeover", json!(takeover))]).collect();
            let app = api.call(Method::PATCH, &["apps", &app], &[], Some(&body)).await?;
            output
                .print(&app, |app| vec![format!("the app is {}, called {}", cell(&app["slug"]), cell(&app["name"]))])?;
        }
        AppsCommand::Delete { app, force } => {
            let force = if force { &[("force", "true")][..] } else { &[] };
            let deleted = api.call(Method::DELETE, &["apps", &app], force, None).await;
            if let Err(renamed @ CallError::Renamed { new, .. }) = &deleted {
                bail!("{renamed}: picloud apps delete {new}");
            }
            output.print(&deleted?, |_| vec![format!("deleted the app {}", plain(&app))])?;
        }
    }
    Ok(())
}

pub async fn export(Export { app, dir, overwrite }: Export, api: &Api, output: Output) -> anyhow::Result<()> {
    let document = api.get(&["apps", &app, "export"]).await?;
    let Some(dir) = dir else {
        say(&serde_json::to_string_pretty(&document)?)?;
        return Ok(());
    };
    let written = app_folder::write(&dir, &document, overwrite)?;
    output.print(&json!({ "files": written }), |_| vec![format!("wrote {written} files to {}", dir.display())])?;
    Ok(())
}

pub async fn import(command: Import, api: &Api, output: Output) -> anyhow::Result<()> {
    let Import { file, slug, takeover, without_domains, dry_run } = command;
    let mut text = Vec::new();
    // One more than there may be, so that the server refuses what is longer.
    let most = MAX_DOCUMENT_BYTES as u64 + 1;
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(most).read_to_end(&mut text)
    } else {
        std::fs::File::open(&file).and_then(|file| file.take(most).read_to_end(&mut text))
    };
    read.with_context(|| format!("cannot read {}", file.display()))?;
    let document: Value = serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    let flags = [("takeover", takeover), ("without_domains", without_domains), ("dry_run", dry_run)];
    let flags = flags.into_iter().filter_map(|(name, is_set)| is_set.then_some((name, "true")));
    let query: Vec<_> = slug.as_ref().map(|slug| ("slug", slug.as_str())).into_iter().chain(flags).collect();
    let answer = api.call(Method::POST, &["apps:import"], &query, Some(&document)).await?;
    output.print(&answer, created_or_would_be)?;
    let app = slug.as_ref().map(|slug| slug.as_str()).or(document["app"]["slug"].as_str());
    tell_missing_secrets(&answer, &document, app.unwrap_or_default());
    Ok(())
}

/// What an import comes to: the app, or what creating it would be.
pub fn created_or_would_be(answer: &Value) -> Vec<String> {
    if answer["changes"].is_array() {
        summary(answer)
    } else {
        vec![format!("created the app {}", cell(&answer["slug"]))]
    }
}
