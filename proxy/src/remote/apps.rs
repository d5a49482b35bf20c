//! `picloud apps`, `export` and `import`.

use std::io::Read as _;

use anyhow::Context;
use picloud_shared::app::MAX_DOCUMENT_BYTES;
use reqwest::Method;
use serde_json::{Value, json};

use super::api::Api;
use super::app_folder;
use super::output::{Output, cell, say};
use crate::cli::remote::{AppsCommand, Export, Import};

pub async fn run(command: Option<AppsCommand>, api: &Api, output: Output) -> anyhow::Result<()> {
    match command.unwrap_or(AppsCommand::List) {
        AppsCommand::List => {
            let apps = api.list(&["apps"], &[]).await?;
            output.table(&apps, ["SLUG", "NAME", "ROLE", "ID"], |app| {
                [&app["slug"], &app["name"], &app["my_role"], &app["id"]].map(cell)
            })?;
        }
        AppsCommand::Create { slug, name } => {
            let name = name.map_or_else(|| slug.to_string(), |name| name.to_string());
            let body = json!({ "slug": slug, "name": name });
            let app = api.call(Method::POST, &["apps"], &[], Some(&body)).await?;
            output.print(&app, |app| vec![format!("made the app {}", cell(&app["slug"]))])?;
        }
        AppsCommand::Delete { app, force } => {
            let force = if force { &[("force", "true")][..] } else { &[] };
            let answer = api.call(Method::DELETE, &["apps", &app], force, None).await?;
            output.print(&answer, |_| vec!["deleted the app".to_owned()])?;
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

pub async fn import(Import { file, slug, without_domains }: Import, api: &Api, output: Output) -> anyhow::Result<()> {
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
    let mut query: Vec<_> = slug.as_ref().map(|slug| ("slug", slug.as_str())).into_iter().collect();
    if without_domains {
        query.push(("without_domains", "true"));
    }
    let app = api.call(Method::POST, &["apps:import"], &query, Some(&document)).await?;
    output.print(&app, |app| vec![format!("made the app {}", cell(&app["slug"]))])?;
    Ok(())
}
