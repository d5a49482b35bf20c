//! `picloud keys`: a key cannot make keys, so that whoever wants one signs in, and out again.

use std::io::{IsTerminal as _, Read as _};

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};

use super::api::Api;
use super::output::{Output, cell};
use crate::cli::remote::{Keys, KeysCommand};

/// Longer than any password.
const MAX_INPUT_BYTES: u64 = 4096;

pub async fn run(Keys { username, command }: Keys, api: Api, output: Output) -> anyhow::Result<()> {
    let username = username.context("say who you are: --username NAME, or PICLOUD_USERNAME")?;
    let credentials = json!({ "username": username, "password": read_password()? });
    let session = api.call(Method::POST, &["auth", "login"], &[], Some(&credentials)).await?;
    let api = api.with_token(session["token"].as_str().context("the server's answer lacks a token")?)?;
    let done = with_session(command, &api, output).await;
    // A session that nobody needs any longer is not left behind.
    let ended = api.call(Method::POST, &["auth", "logout"], &[], None).await;
    done?;
    ended.context("the session could not be ended")?;
    Ok(())
}

async fn with_session(command: KeysCommand, api: &Api, output: Output) -> anyhow::Result<()> {
    match command {
        KeysCommand::List => {
            let keys = api.list(&["api-keys"], &[]).await?;
            output.table(&keys, ["NAME", "SCOPES", "EXPIRES", "LAST USED", "ID"], |key| {
                let scopes = key["scopes"].as_array().map(Vec::as_slice).unwrap_or_default();
                let scopes = scopes.iter().map(cell).collect::<Vec<_>>().join(",");
                [cell(&key["name"]), scopes, cell(&key["expires_at"]), cell(&key["last_used_at"]), cell(&key["id"])]
            })?;
        }
        KeysCommand::Create { name, scopes, app, expires_at } => {
            let mut new = json!({ "name": name, "scopes": scopes });
            if let Some(app) = app {
                new["app_id"] = api.get(&["apps", &app]).await?["id"].take();
            }
            if let Some(expires_at) = expires_at {
                new["expires_at"] = Value::from(expires_at);
            }
            let key = api.call(Method::POST, &["api-keys"], &[], Some(&new)).await?;
            // The key alone, for PICLOUD_KEY=$(picloud keys create ...).
            output.print(&key, |key| vec![cell(&key["key"])])?;
        }
        KeysCommand::Revoke { id } => {
            let answer = api.call(Method::DELETE, &["api-keys", &id.to_string()], &[], None).await?;
            output.print(&answer, |_| vec!["the key is void".to_owned()])?;
        }
    }
    Ok(())
}

/// Asks at a terminal, without showing what is typed; else reads standard input.
fn read_password() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password("Password: ").context("cannot read the password");
    }
    let mut text = String::new();
    std::io::stdin().lock().take(MAX_INPUT_BYTES).read_to_string(&mut text).context("cannot read the password")?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    Ok(password.strip_suffix('\r').unwrap_or(password).to_owned())
}
