//! `picloud logs`: what an app's scripts did, and what they do.

mod events;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use anyhow::Context;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::api::{Api, CallError};
use super::output::{Output, cell, plain, tell};
use super::scripts::{duration, failure, find, list, log_lines, missing};
use crate::cli::remote::Logs;
use events::Events;

/// Executions whose ids are remembered, so that none is shown twice: more than one list holds.
const REMEMBERED: usize = 1000;
/// As many as one list holds.
const MOST_CAUGHT_UP: u32 = 200;
/// The waits before another attempt, after the server was away.
const WAITS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];
/// No server says to come again later than that.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

pub async fn run(Logs { app, script, limit, follow }: Logs, api: &Api, output: Output) -> anyhow::Result<()> {
    let only = match script {
        Some(name) => Some(find(api, &app, &name).await?.with_context(|| missing(&app, &name))?),
        None => None,
    };
    let mut viewer = Viewer { api, app, only, output, names: HashMap::new(), shown: VecDeque::new() };
    if follow { viewer.follow(limit).await } else { viewer.catch_up(limit).await }
}

struct Viewer<'a> {
    api: &'a Api,
    app: String,
    /// The id of the one script that is of interest.
    only: Option<String>,
    output: Output,
    names: HashMap<String, String>,
    shown: VecDeque<String>,
}

impl Viewer<'_> {
    /// Shows what is kept already, and then all that comes. Whoever watches is sent away now and then, and comes again.
    async fn follow(&mut self, limit: u32) -> anyhow::Result<()> {
        let mut limit = limit;
        let mut waits = WAITS.iter();
        loop {
            let watched = self.watch(limit).await;
            // What was kept between two watches is caught up with, as far as one list goes.
            limit = MOST_CAUGHT_UP;
            let wait = match watched {
                Ok(()) => {
                    waits = WAITS.iter();
                    WAITS[0]
                }
                Err(error) => {
                    let next = waits.next().copied().unwrap_or(WAITS[WAITS.len() - 1]);
                    let Some(wait) = error.downcast_ref().and_then(|error| passing(error, next)) else {
                        return Err(error);
                    };
                    tell(&format!("{error}; again in {} s", wait.as_secs()));
                    wait
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// One watch, from its beginning to where the server ends it.
    async fn watch(&mut self, limit: u32) -> anyhow::Result<()> {
        let stream = self.api.send(Method::GET, &["apps", &self.app, "logs", "tail"], &[], None).await?;
        // Listed while the stream is open, so that nothing falls between the two.
        self.catch_up(limit).await?;
        let mut events = Events::of(stream);
        while let Some(event) = events.next().await? {
            match event.name.as_str() {
                "execution" => {
                    self.show(&serde_json::from_str(&event.data).context("an event that is no JSON")?).await?
                }
                // It is kept all the same, unless it is more than one list holds.
                "missed" => self.catch_up(MOST_CAUGHT_UP).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Shows the newest of what is kept, and has not been shown.
    async fn catch_up(&mut self, limit: u32) -> anyhow::Result<()> {
        if limit == 0 {
            return Ok(());
        }
        let limit = limit.to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(self.only.as_deref().map(|id| ("script_id", id)));
        let kept = self.api.call(Method::GET, &["apps", &self.app, "logs"], &query, None).await?;
        for execution in kept["items"].as_array().map(Vec::as_slice).unwrap_or_default().iter().rev() {
            self.show(execution).await?;
        }
        Ok(())
    }

    async fn show(&mut self, execution: &Value) -> anyhow::Result<()> {
        let id = execution["id"].as_str().unwrap_or_default();
        let script = execution["script_id"].as_str().unwrap_or_default();
        if self.shown.iter().any(|shown| shown == id) || self.only.as_deref().is_some_and(|only| only != script) {
            return Ok(());
        }
        if self.shown.len() == REMEMBERED {
            self.shown.pop_front();
        }
        self.shown.push_back(id.to_owned());
        let name = if self.output == Output::Lines { self.name_of(script).await? } else { String::new() };
        self.output.print(execution, |execution| lines(execution, &name))?;
        Ok(())
    }

    /// A script's name; its id, once it is deleted.
    async fn name_of(&mut self, id: &str) -> anyhow::Result<String> {
        if !self.names.contains_key(id) {
            let scripts = list(self.api, &self.app).await?;
            self.names.extend(scripts.iter().map(|script| (cell(&script["id"]), cell(&script["name"]))));
        }
        Ok(self.names.entry(id.to_owned()).or_insert_with(|| plain(id)).clone())
    }
}

/// How long to wait for what stands in the way to pass: as long as the server says, or else `next`. `None` for what does not
/// pass by itself.
fn passing(error: &CallError, next: Duration) -> Option<Duration> {
    match error {
        CallError::Transport(_) | CallError::Strange { .. } => Some(next),
        CallError::Refused(refusal)
            if matches!(refusal.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) =>
        {
            Some(refusal.retry_after.unwrap_or(next).clamp(WAITS[0], LONGEST_WAIT))
        }
        CallError::Refused(_) | CallError::Elsewhere { .. } | CallError::Renamed { .. } => None,
    }
}

fn lines(execution: &Value, script: &str) -> Vec<String> {
    let request = &execution["request"];
    let mut lines = vec![format!(
        "{} {script} {} {} → {} {}, {}",
        cell(&execution["started_at"]),
        cell(&request["method"]),
        cell(&request["url"]),
        cell(&execution["status"]),
        cell(&execution["outcome"]),
        duration(execution),
    )];
    lines.extend(failure(execution));
    lines.extend(log_lines(execution));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::api::Refusal;

    #[test]
    fn what_passes_by_itself_is_waited_for_as_long_as_the_server_says() {
        let refused = |status: u16, retry_after: Option<u64>| {
            let status = StatusCode::from_u16(status).unwrap();
            let retry_after = retry_after.map(Duration::from_secs);
            let (code, detail) = ("code".to_owned(), "detail".to_owned());
            CallError::Refused(Refusal { status, code, detail, errors: Vec::new(), conflict: None, retry_after })
        };
        let next = Duration::from_secs(10);
        for (status, retry_after, wait) in [
            (429, None, Some(10)),
            (503, None, Some(10)),
            (503, Some(2), Some(2)),
            (429, Some(0), Some(1)),
            (429, Some(1_000_000), Some(300)),
            (401, Some(2), None),
            (404, None, None),
        ] {
            let found = passing(&refused(status, retry_after), next);
            assert_eq!(found, wait.map(Duration::from_secs), "{status} {retry_after:?}");
        }
    }
}
