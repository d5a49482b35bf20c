//! The program's own log: what is kept of it, how it looks, and a writer that never makes a request wait.

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::Context;
use tokio::time::{MissedTickBehavior, interval};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// Lines that may wait for whoever reads the log; more are dropped and counted. A line is seldom over 400 bytes, and at most
/// some 9 KiB (a target of 8 KiB in the access log).
const BUFFERED_LINES: usize = 8 * 1024;

/// How often lines that were dropped are told of.
const DROPS_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Begins to log to standard error, and counts the lines that are dropped. What is buffered is written when the guard is dropped,
/// unless nobody reads for a second.
///
/// # Errors
/// A filter that cannot be read.
pub fn start(settings: &LogSettings) -> anyhow::Result<(WorkerGuard, ErrorCounter)> {
    let filter = filter(settings)?;
    let format = settings.format.unwrap_or(if io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json });
    // The threads that serve connections are the ones that log: they must not wait for a terminal, a pipe or a disk.
    let writer = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(BUFFERED_LINES)
        .thread_name("picloud-log")
        .finish(io::stderr());
    let (writer, guard) = writer;
    let dropped = writer.error_counter();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    tokio::spawn(tell_of_drops(dropped.clone()));
    Ok((guard, dropped))
}

/// What is logged.
///
/// # Errors
/// A filter that cannot be read.
pub fn filter(settings: &LogSettings) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(&settings.filter).context("log_filter")?;
    // What Pingora calls an error, and `rustls` and `h2` a warning, is, on a public port, any client that goes wrong. What
    // PostgreSQL notices is that what a start makes where it is not there is there.
    let directives = format!("{},pingora_core=off,rustls=error,h2=error,sqlx::postgres::notice=warn", settings.filter);
    EnvFilter::try_new(directives).context("log_filter")
}

async fn tell_of_drops(dropped: ErrorCounter) {
    let mut told = 0;
    let mut ticks = interval(DROPS_TOLD_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let total = dropped.dropped_lines();
        if total > told {
            tracing::warn!(lines = total - told, "the log was not read fast enough; lines were dropped");
            told = total;
        }
    }
}
