//! `picloud scripts`.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use picloud_shared::name::ScriptName;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::api::{Api, CallError};
use super::output::{Output, cell, plain};
use crate::cli::remote::{Kind, ScriptsCommand};

pub async fn run(command: ScriptsCommand, api: &Api, output: Output) -> anyhow::Result<()> {
    match command {
        ScriptsCommand::List { app } => {
            let scripts = list(api, &app).await?;
            output.table("scripts", &scripts, ["NAME", "KIND", "VERSION", "UPDATED", "ID"], |script| {
                [&script["name"], &script["kind"], &script["version"], &script["updated_at"], &script["id"]].map(cell)
            })?;
        }
        ScriptsCommand::Pull { app, name, file } => pull(api, &app, &name, file.as_deref(), output).await?,
        ScriptsCommand::Push { app, file, name, kind } => {
            let name = match name {
                Some(name) => name,
                None => name_of(&file)?,
            };
            push(api, &app, &name, &file, kind, output).await?;
        }
        ScriptsCommand::Invoke { app, name, method, path, query, headers, body, source } => {
            let mut request = json!({ "method": method, "path": path, "headers": parse_headers(&headers)? });
            for (member, value) in [("query", query), ("body", body)] {
                if let Some(value) = value {
                    request[member] = json!(value);
                }
            }
            if let Some(file) = source {
                request["source"] = json!(read(&file)?);
            }
            let id = find(api, &app, &name).await?.with_context(|| missing(&app, &name))?;
            let result = api.call(Method::POST, &["scripts", &id, "invoke"], &[], Some(&request)).await?;
            output.print(&result, answer)?;
            if result["outcome"] != "success" {
                bail!("the script did not succeed");
            }
        }
    }
    Ok(())
}

/// All scripts of an app.
pub async fn list(api: &Api, app: &str) -> Result<Vec<Value>, CallError> {
    api.list(&["scripts"], &[("app", app)]).await
}

/// The id of an app's script, if there is such a one.
pub async fn find(api: &Api, app: &str, name: &ScriptName) -> anyhow::Result<Option<String>> {
    let scripts = list(api, app).await?;
    let found = scripts.iter().find(|script| script["name"] == name.as_str());
    Ok(found.and_then(|script| script["id"].as_str()).map(str::to_owned))
}

pub fn missing(app: &str, name: &ScriptName) -> String {
    format!("the app {} has no script {name}", plain(app))
}

async fn pull(api: &Api, app: &str, name: &ScriptName, file: Option<&Path>, output: Output) -> anyhow::Result<()> {
    let id = find(api, app, name).await?.with_context(|| missing(app, name))?;
    let script = api.get(&["scripts", &id]).await?;
    let source = script["source"].as_str().context("the server's answer lacks a source")?;
    match file {
        Some(file) => {
            fs::write(file, source).with_context(|| format!("cannot write {}", file.display()))?;
            output.print(&script, |script| {
                vec![format!("wrote version {} to {}", cell(&script["version"]), file.display())]
            })?;
        }
        None => output.print(&script, |_| vec![source.strip_suffix('\n').unwrap_or(source).to_owned()])?,
    }
    Ok(())
}

async fn push(api: &Api, app: &str, name: &ScriptName, file: &Path, kind: Kind, output: Output) -> anyhow::Result<()> {
    let source = read(file)?;
    let (script, done) = match find(api, app, name).await? {
        Some(id) => {
            let patch = json!({ "source": source });
            (api.call(Method::PATCH, &["scripts", &id], &[], Some(&patch)).await?, "saved")
        }
        None => {
            let app = api.get(&["apps", app]).await?;
            let kind = match kind {
                Kind::Endpoint => "endpoint",
                Kind::Module => "module",
            };
            let new = json!({ "app_id": app["id"], "name": name, "kind": kind, "source": source });
            (api.call(Method::POST, &["scripts"], &[], Some(&new)).await?, "created")
        }
    };
    output.print(&script, |script| vec![format!("{done} {name}, version {}", cell(&script["version"]))])?;
    Ok(())
}

fn name_of(file: &Path) -> anyhow::Result<ScriptName> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem.parse().with_context(|| format!("{} names no script; say --name", file.display()))
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn parse_headers(headers: &[String]) -> anyhow::Result<Map<String, Value>> {
    let parse = |header: &String| {
        let (name, value) = header.split_once(':').with_context(|| format!("{header:?} is not \"name: value\""))?;
        Ok((name.trim().to_owned(), json!(value.trim())))
    };
    headers.iter().map(parse).collect()
}

/// A test's result for people: what was logged, and then what was answered.
fn answer(result: &Value) -> Vec<String> {
    let mut lines = log_lines(result);
    lines.push(format!("{} {}, {}", cell(&result["status"]), cell(&result["outcome"]), duration(result)));
    lines.extend(failure(result));
    let response = &result["response"];
    for (name, values) in response["headers"].as_object().into_iter().flatten() {
        let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
        lines.extend(values.iter().map(|value| format!("{}: {}", plain(name), cell(value))));
    }
    if let Some(body) = response["body"].as_str() {
        lines.push(String::new());
        lines.extend(body.lines().map(plain));
    }
    if let Some(body) = response["body_base64"].as_str() {
        lines.extend([String::new(), format!("base64: {}", plain(body))]);
    }
    lines
}

/// How long a script took.
pub fn duration(execution: &Value) -> String {
    let duration_us = execution["duration_us"].as_u64().unwrap_or_default();
    format!("{}.{:03} ms", duration_us / 1000, duration_us % 1000)
}

/// What a script logged.
pub fn log_lines(execution: &Value) -> Vec<String> {
    let logs = execution["logs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |line: &Value| format!("  {} {} {}", cell(&line["level"]), cell(&line["message"]), cell(&line["data"]));
    logs.iter().map(|entry| line(entry).trim_end().to_owned()).collect()
}

/// Where a script failed.
pub fn failure(execution: &Value) -> Option<String> {
    let error = execution["error"].as_object()?;
    let message = error.get("message").map(cell).unwrap_or_default();
    Some(match error.get("line").filter(|line| !line.is_null()) {
        Some(line) => format!("  line {}: {message}", cell(line)),
        None => format!("  {message}"),
    })
}
