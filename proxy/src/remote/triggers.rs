//! `picloud triggers`, `picloud queues` and `picloud dead-letters`.

use std::io::{self, Read};

use anyhow::{Context, bail};
use picloud_shared::event::MAX_PAYLOAD_BYTES;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::api::Api;
use super::output::{Output, cell, plain};
use super::scripts::{find, list, missing};
use crate::cli::remote::triggers::{
    DeadLetters, DeadLettersCommand, Filter, Knobs, Payload, Queues, QueuesCommand, Times, Triggers, TriggersCommand,
};

pub async fn run(Triggers { app, command }: Triggers, api: &Api, output: Output) -> anyhow::Result<()> {
    let app = named(app)?;
    match command {
        TriggersCommand::List => {
            let triggers = api.list(&["apps", &app, "triggers"], &[]).await?;
            let names = Names::of(api, &app).await;
            output.table(
                "triggers",
                &triggers,
                ["SOURCE", "OF", "SCRIPT", "ENABLED", "ATTEMPTS", "ID"],
                |trigger| {
                    let [source, enabled, attempts, id] =
                        ["/source", "/enabled", "/max_attempts", "/id"].map(|place| cell_at(trigger, place));
                    let of = ["/config/queue", "/config/collection", "/config/expression"]
                        .map(|place| cell_at(trigger, place))
                        .concat();
                    [source, of, names.tell(&trigger["script_id"]), enabled, attempts, id]
                },
            )?;
        }
        TriggersCommand::Create { script, queue, kv, docs, prefix, ops, times, disabled, knobs, .. } => {
            let source = match (&queue, &kv, &docs, &times.cron) {
                (Some(_), ..) => "queue",
                (_, Some(_), ..) => "kv",
                (_, _, Some(_), _) => "docs",
                (.., Some(_)) => "cron",
                _ => "dead_letter",
            };
            let of = [
                ("queue", queue.map(|queue| json!(queue))),
                ("collection", kv.or(docs).map(|collection| json!(collection))),
                ("prefix", prefix.map(|prefix| json!(prefix))),
                ("ops", ops.map(|ops| json!(ops))),
            ];
            let mut body = changes(knobs, times, of);
            body.insert("source".to_owned(), json!(source));
            let script_id = find(api, &app, &script).await?.with_context(|| missing(&app, &script))?;
            body.insert("script_id".to_owned(), json!(script_id));
            body.insert("enabled".to_owned(), json!(!disabled));
            let made = api.call(Method::POST, &["apps", &app, "triggers"], &[], Some(&body.into())).await?;
            output.print(&made, |made| vec![format!("created the trigger {}", cell(&made["id"]))])?;
        }
        TriggersCommand::Update { trigger, script, queue, times, enable, disable, no_timeout, knobs } => {
            let id = id(api, &app, &trigger).await?;
            let mut body = changes(knobs, times, [("queue", queue.map(|queue| json!(queue)))]);
            if let Some(script) = script {
                let script_id = find(api, &app, &script).await?.with_context(|| missing(&app, &script))?;
                body.insert("script_id".to_owned(), json!(script_id));
            }
            if enable || disable {
                body.insert("enabled".to_owned(), json!(enable));
            }
            if no_timeout {
                body.insert("timeout_ms".to_owned(), Value::Null);
            }
            let changed = api.call(Method::PATCH, &["apps", &app, "triggers", &id], &[], Some(&body.into())).await?;
            output.print(&changed, |changed| vec![format!("changed the trigger {}", cell(&changed["id"]))])?;
        }
        TriggersCommand::Delete { trigger } => {
            let id = id(api, &app, &trigger).await?;
            let answer = api.call(Method::DELETE, &["apps", &app, "triggers", &id], &[], None).await?;
            output.print(&answer, |_| vec![format!("deleted the trigger {}", plain(&id))])?;
        }
        TriggersCommand::Fire { trigger, payload } => {
            let id = id(api, &app, &trigger).await?;
            let body = json!({ "payload": read(payload)? });
            let made = api.call(Method::POST, &["apps", &app, "triggers", &id, "fire"], &[], Some(&body)).await?;
            output.print(&made, event_made)?;
        }
    }
    Ok(())
}

pub async fn run_queues(Queues { app, command }: Queues, api: &Api, output: Output) -> anyhow::Result<()> {
    let app = named(app)?;
    match command {
        QueuesCommand::List => {
            let queues = api.list(&["apps", &app, "queues"], &[]).await?;
            output.table("messages", &queues, ["QUEUE", "WAITING", "RUNNING", "OLDEST"], |queue| {
                [&queue["name"], &queue["waiting"], &queue["running"], &queue["oldest_at"]].map(cell)
            })?;
        }
        QueuesCommand::Send { queue, payload, delay, dedup_key } => {
            let mut body = json!({ "payload": read(payload)? });
            if let Some(delay) = delay {
                body["delay"] = json!(delay);
            }
            if let Some(key) = dedup_key {
                body["dedup_key"] = json!(key.as_str());
            }
            let made = api.call(Method::POST, &["apps", &app, "queues", queue.as_str()], &[], Some(&body)).await?;
            output.print(&made, event_made)?;
        }
    }
    Ok(())
}

pub async fn run_dead_letters(
    DeadLetters { app, command }: DeadLetters,
    api: &Api,
    output: Output,
) -> anyhow::Result<()> {
    let app = named(app)?;
    match command {
        DeadLettersCommand::List { resolved, filter } => {
            let mut query = asked(api, &app, filter).await?;
            if resolved {
                query.push(("unresolved", "false".to_owned()));
            }
            let query: Vec<_> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let letters = api.list(&["apps", &app, "dead-letters"], &query).await?;
            let names = Names::of(api, &app).await;
            output.table(
                "dead letters",
                &letters,
                ["CREATED", "SOURCE", "QUEUE", "SCRIPT", "ERROR", "BECAME", "ID"],
                |letter| {
                    let [created, source, queue, error, became, id] =
                        ["/created_at", "/source", "/queue", "/last_error", "/resolution", "/id"]
                            .map(|place| cell_at(letter, place));
                    [created, source, queue, names.tell(&letter["script_id"]), error, became, id]
                },
            )?;
        }
        DeadLettersCommand::Show { dead_letter } => {
            let letter = api.get(&["apps", &app, "dead-letters", &dead_letter.to_string()]).await?;
            output.print(&letter, details)?;
        }
        DeadLettersCommand::Replay { dead_letter: Some(id), payload, .. } => {
            let body = payload.map_or_else(|| json!({}), |payload| json!({ "payload": payload.0 }));
            let path = ["apps", &app, "dead-letters", &id.to_string(), "replay"];
            let made = api.call(Method::POST, &path, &[], Some(&body)).await?;
            output.print(&made, event_made)?;
        }
        DeadLettersCommand::Resolve { dead_letter: Some(id), .. } => {
            let path = ["apps", &app, "dead-letters", &id.to_string(), "resolve"];
            let answer = api.call(Method::POST, &path, &[], None).await?;
            output.print(&answer, |_| vec![format!("resolved {id}")])?;
        }
        DeadLettersCommand::Replay { filter, .. } => {
            all(api, &app, ("dead-letters:replay", "replayed"), filter, output).await?;
        }
        DeadLettersCommand::Resolve { filter, .. } => {
            all(api, &app, ("dead-letters:resolve", "resolved"), filter, output).await?;
        }
    }
    Ok(())
}

fn named(app: Option<String>) -> anyhow::Result<String> {
    app.context("say which app: --app, with its slug or id")
}

/// The names of an app's scripts, as far as the key may read them.
struct Names(Vec<Value>);

impl Names {
    async fn of(api: &Api, app: &str) -> Self {
        Self(list(api, app).await.unwrap_or_default())
    }

    /// The name of a script, or else its id.
    fn tell(&self, id: &Value) -> String {
        cell(self.0.iter().find(|script| script["id"] == *id).map_or(id, |script| &script["name"]))
    }
}

fn cell_at(thing: &Value, place: &str) -> String {
    thing.pointer(place).map(cell).unwrap_or_default()
}

/// The members that are named.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Map<String, Value> {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The members that a trigger is to have, as far as they are named; of its config those that tell what it is for.
fn changes<const N: usize>(knobs: Knobs, times: Times, of: [(&str, Option<Value>); N]) -> Map<String, Value> {
    let Knobs { batch_size, concurrency, max_attempts, backoff_base_ms, backoff_cap_ms, timeout_ms } = knobs;
    let mut config = object(of);
    let sizes = [("batch_size", batch_size.map(Value::from)), ("concurrency", concurrency.map(Value::from))];
    config.extend(object(sizes));
    let Times { cron, time_zone, misfire } = times;
    let times = [("expression", cron), ("time_zone", time_zone), ("misfire", misfire)];
    config.extend(object(times.map(|(name, word)| (name, word.map(Value::from)))));
    let backoff = object([("base_ms", backoff_base_ms.map(Value::from)), ("cap_ms", backoff_cap_ms.map(Value::from))]);
    let mut body =
        object([("max_attempts", max_attempts.map(Value::from)), ("timeout_ms", timeout_ms.map(Value::from))]);
    for (name, members) in [("config", config), ("backoff", backoff)] {
        if !members.is_empty() {
            body.insert(name.to_owned(), members.into());
        }
    }
    body
}

/// The id that was given, or that of the trigger for that queue.
async fn id(api: &Api, app: &str, given: &str) -> anyhow::Result<String> {
    if given.parse::<uuid::Uuid>().is_ok() {
        return Ok(given.to_owned());
    }
    let triggers = api.list(&["apps", app, "triggers"], &[]).await?;
    let found = triggers.iter().find(|trigger| trigger["config"]["queue"] == given);
    let found = found.and_then(|trigger| trigger["id"].as_str()).map(str::to_owned);
    found.with_context(|| format!("no trigger of the app {} is for the queue {}", plain(app), plain(given)))
}

/// The payload that was given, or is piped in.
fn read(Payload { given, payload_stdin }: Payload) -> anyhow::Result<Value> {
    if !payload_stdin {
        return Ok(given.map_or(Value::Null, |json| json.0));
    }
    let mut text = String::new();
    // White space may stand around it.
    let most = MAX_PAYLOAD_BYTES as u64 * 4;
    let bytes = io::stdin().lock().take(most).read_to_string(&mut text).context("cannot read the payload")?;
    if bytes as u64 == most {
        bail!("what is on standard input is too long for a payload");
    }
    serde_json::from_str(&text).context("what is on standard input is no JSON")
}

fn event_made(made: &Value) -> Vec<String> {
    vec![format!("made the event {}", cell(&made["event_id"]))]
}

/// What a filter asks for, by the names that the API has for it.
async fn asked(api: &Api, app: &str, filter: Filter) -> anyhow::Result<Vec<(&'static str, String)>> {
    let Filter { source, script, since, until } = filter;
    let script_id = match script {
        Some(name) => Some(find(api, app, &name).await?.with_context(|| missing(app, &name))?),
        None => None,
    };
    let source = source.map(|source| source.as_str().to_owned());
    let given = [("source", source), ("script_id", script_id), ("since", since), ("until", until)];
    Ok(given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

/// Has the same made of all dead letters that pass a filter.
async fn all(api: &Api, app: &str, (call, done): (&str, &str), filter: Filter, output: Output) -> anyhow::Result<()> {
    let filter = asked(api, app, filter).await?;
    let body: Map<String, Value> = filter.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let answer = api.call(Method::POST, &["apps", app, call], &[], Some(&body.into())).await?;
    output.print(&answer, |answer| vec![format!("{done}: {}", cell(&answer["count"]))])?;
    Ok(())
}

fn details(letter: &Value) -> Vec<String> {
    let members = letter.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    members.map(|(name, value)| format!("{}: {}", plain(name), cell(value))).collect()
}
