//! `picloud env` and `picloud secrets`. A secret comes by standard input or from a terminal, and never as an argument, which every
//! process could see.

use std::io::{self, IsTerminal as _, Read};

use anyhow::{Context, bail};
use picloud_shared::env::MAX_ENV_BYTES;
use picloud_shared::name::SettingName;
use picloud_shared::secret::MAX_SECRET_BYTES;
use reqwest::Method;
use serde_json::json;

use super::api::Api;
use super::output::{Output, cell, plain};
use crate::cli::remote::env::{Env, EnvCommand, Secrets, SecretsCommand};

pub async fn run(Env { app, command }: Env, api: &Api, output: Output) -> anyhow::Result<()> {
    let app = named(app)?;
    match command {
        EnvCommand::List => {
            let settings = api.list(&["apps", &app, "env"], &[]).await?;
            output.table("settings", &settings, ["NAME", "VALUE", "UPDATED"], |setting| {
                [&setting["name"], &setting["value"], &setting["updated_at"]].map(cell)
            })?;
        }
        EnvCommand::Set { name, value, .. } => {
            let value = match value {
                Some(value) => value.to_string(),
                None => piped(io::stdin().lock(), MAX_ENV_BYTES)?,
            };
            set(api, &[&app, "env"], &name, &value, output).await?;
        }
        EnvCommand::Delete { name } => delete(api, &[&app, "env"], &name, output).await?,
    }
    Ok(())
}

pub async fn run_secrets(Secrets { app, command }: Secrets, api: &Api, output: Output) -> anyhow::Result<()> {
    let app = named(app)?;
    match command {
        SecretsCommand::List => {
            let secrets = api.list(&["apps", &app, "secrets"], &[]).await?;
            output.table("secrets", &secrets, ["NAME", "CREATED", "UPDATED"], |secret| {
                [&secret["name"], &secret["created_at"], &secret["updated_at"]].map(cell)
            })?;
        }
        SecretsCommand::Set { name, value_stdin } => {
            let value = if value_stdin { piped(io::stdin().lock(), MAX_SECRET_BYTES)? } else { typed()? };
            set(api, &[&app, "secrets"], &name, &value, output).await?;
        }
        SecretsCommand::Delete { name } => delete(api, &[&app, "secrets"], &name, output).await?,
    }
    Ok(())
}

fn named(app: Option<String>) -> anyhow::Result<String> {
    app.context("say which app: --app, with its slug or id")
}

async fn set(
    api: &Api,
    [app, kind]: &[&str; 2],
    name: &SettingName,
    value: &str,
    output: Output,
) -> anyhow::Result<()> {
    let answer =
        api.call(Method::PUT, &["apps", app, kind, name.as_str()], &[], Some(&json!({ "value": value }))).await?;
    output.print(&answer, |_| vec![format!("set {name} of the app {}", plain(app))])?;
    Ok(())
}

async fn delete(api: &Api, [app, kind]: &[&str; 2], name: &SettingName, output: Output) -> anyhow::Result<()> {
    let answer = api.call(Method::DELETE, &["apps", app, kind, name.as_str()], &[], None).await?;
    output.print(&answer, |_| vec![format!("deleted {name} of the app {}", plain(app))])?;
    Ok(())
}

/// All that is piped in, but for an end of line at its end.
fn piped(input: impl Read, most: usize) -> anyhow::Result<String> {
    let mut text = String::new();
    // The end of line is no part of it.
    let bytes = input.take(most as u64 + 3).read_to_string(&mut text).context("cannot read the value")?;
    let value = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if value.len() > most || bytes > most + 2 {
        bail!("what is on standard input has more than {most} bytes, and is no value");
    }
    Ok(value.to_owned())
}

/// Asks at a terminal, without showing what is typed.
fn typed() -> anyhow::Result<String> {
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask for the value at: pipe it in, with --value-stdin");
    }
    let value = rpassword::prompt_password("Value, in one line: ").context("cannot read the value")?;
    if value.starts_with("-----BEGIN") {
        bail!("that is the first line of several: nothing was set; pipe the whole in, with --value-stdin");
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_piped_in_is_the_value_but_for_its_last_end_of_line() {
        let read = |input: &str| piped(input.as_bytes(), 8).map_err(|error| error.to_string());
        for (input, value) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            ("a\nb\n\n", "a\nb\n"),
            (" a ", " a "),
            ("12345678\r\n", "12345678"),
            ("", ""),
        ] {
            assert_eq!(read(input), Ok(value.to_owned()), "{input:?}");
        }
        for long in ["123456789", "123456789\n", "12345678\r\n\n", &"1".repeat(100)] {
            assert!(
                read(long).is_err_and(|said| said.contains("more than 8 bytes") && !said.contains('1')),
                "{long:?}"
            );
        }
        assert!(piped(&b"\xff\n"[..], 8).is_err());
    }
}
