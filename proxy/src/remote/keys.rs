//! `picloud keys`: a key cannot make keys, so that whoever wants one signs in, and out again.

use std::io::IsTerminal as _;

use anyhow::{Context, bail};
use picloud_shared::id::ApiKeyId;
use reqwest::Method;
use serde_json::{Value, json};

use super::api::Api;
use super::output::{Output, cell, plain};
use crate::cli::remote::{Keys, KeysCommand};
use crate::password;

pub async fn run(Keys { username, password_stdin, command }: Keys, api: Api, output: Output) -> anyhow::Result<()> {
    let username = username.context("say who you are: --username NAME, or PICLOUD_USERNAME")?;
    let credentials = json!({ "username": username, "password": typed_password(password_stdin)? });
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
            output.table("keys", &keys, ["NAME", "SCOPES", "EXPIRES", "LAST USED", "ID"], |key| {
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
        KeysCommand::Revoke { key } => {
            let (id, name) = find(&api.list(&["api-keys"], &[]).await?, &key)?;
            let answer = api.call(Method::DELETE, &["api-keys", &id], &[], None).await?;
            output.print(&answer, |_| vec![format!("revoked the key {name}, {id}")])?;
        }
    }
    Ok(())
}

/// The id and the name of the one key that has this id, or else this name.
fn find(keys: &[Value], wanted: &str) -> anyhow::Result<(String, String)> {
    let with = |member: &str, text: &str| keys.iter().filter(|key| key[member] == text).collect::<Vec<_>>();
    // An id may be written in other ways than the API writes it.
    let by_id = wanted.parse::<ApiKeyId>().map(|id| with("id", &id.to_string())).unwrap_or_default();
    let found = if by_id.is_empty() { with("name", wanted) } else { by_id };
    match found.as_slice() {
        [key] => Ok((cell(&key["id"]), cell(&key["name"]))),
        [] => bail!("you have no key {}; picloud keys list shows those that you have", plain(wanted)),
        several => {
            let ids = several.iter().map(|key| cell(&key["id"])).collect::<Vec<_>>().join(", ");
            bail!("{} of your keys are called {}; say which by its id: {ids}", several.len(), plain(wanted))
        }
    }
}

/// Asks at a terminal, without showing what is typed.
fn typed_password(from_stdin: bool) -> anyhow::Result<String> {
    if from_stdin {
        return password::read();
    }
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask for the password at: pipe it in, with --password-stdin");
    }
    rpassword::prompt_password("Password: ").context("cannot read the password")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_meant_by_its_id_or_by_a_name_that_no_other_has() {
        let ids = ["a1", "a2", "a3", "a4"].map(|end| format!("01890a5d-ac96-774b-bcce-b302099a80{end}"));
        let [one, two, three, four] = &ids;
        let keys = [(one, "ci"), (two, "laptop"), (three, "ci"), (four, two.as_str())];
        let keys = keys.map(|(id, name)| json!({ "id": id, "name": name }));
        let found = |wanted: &str| find(&keys, wanted).map_err(|error| error.to_string());
        let laptop = Ok((two.clone(), "laptop".to_owned()));
        assert_eq!(found("laptop"), laptop);
        assert_eq!(found(three), Ok((three.clone(), "ci".to_owned())));
        assert_eq!(found(two), laptop, "no name takes an id's place");
        assert_eq!(found(&two.to_uppercase()), laptop);
        assert_eq!(found(&two.replace('-', "")), laptop);
        assert!(
            found("ci").is_err_and(|said| said.contains("2 of your keys") && said.contains(&format!("{one}, {three}")))
        );
        assert!(found("gone").is_err_and(|said| said.contains("no key gone") && said.contains("keys list")));
    }
}
