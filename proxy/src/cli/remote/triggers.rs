//! `picloud triggers`, `picloud queues` and `picloud dead-letters`.

use std::str::FromStr;

use clap::{ArgGroup, Args, Subcommand};
use picloud_shared::event::{DedupKey, EventSource};
use picloud_shared::id::DeadLetterId;
use picloud_shared::kv::KvPrefix;
use picloud_shared::name::{CollectionName, QueueName, ScriptName};
use serde_json::Value;

/// What to do with an app's triggers.
#[derive(Debug, Args)]
pub struct Triggers {
    /// The app's slug or id
    #[arg(long, global = true)]
    pub app: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub command: TriggersCommand,
}

/// What to do with an app's triggers.
#[derive(Debug, Subcommand)]
pub enum TriggersCommand {
    /// List them
    List,
    /// Have a script run for messages of a queue, for changes of entries or documents, at times, or for dead letters
    #[command(group(ArgGroup::new("source").required(true).args(["queue", "kv", "docs", "cron", "dead_letters"])))]
    Create {
        /// The script, an endpoint of the app
        script: ScriptName,
        /// For messages of this queue
        #[arg(long)]
        queue: Option<QueueName>,
        /// For changes of entries in this collection
        #[arg(long, value_name = "COLLECTION")]
        kv: Option<CollectionName>,
        /// For changes of documents in this collection
        #[arg(long, value_name = "COLLECTION")]
        docs: Option<CollectionName>,
        /// Only for entries whose keys begin so
        #[arg(long, requires = "kv")]
        prefix: Option<KvPrefix>,
        /// Only for these changes: set, delete, expire of entries; insert, update, delete of documents
        #[arg(long, value_name = "OP", value_delimiter = ',')]
        ops: Option<Vec<String>>,
        /// At which times it ticks
        #[command(flatten)]
        times: Times,
        /// For events of the app that are not tried again
        #[arg(long)]
        dead_letters: bool,
        /// It runs nothing yet
        #[arg(long)]
        disabled: bool,
        /// How it is to work
        #[command(flatten)]
        knobs: Knobs,
    },
    /// Change one; what is not named stays
    #[command(group(ArgGroup::new("change").required(true).multiple(true)
        .args(["script", "queue", "cron", "time_zone", "misfire", "enable", "disable", "no_timeout", "batch_size", "concurrency", "max_attempts", "backoff_base_ms", "backoff_cap_ms", "timeout_ms"])))]
    Update {
        /// Its id, or the queue that it is for
        trigger: String,
        /// Another script of the app
        #[arg(long)]
        script: Option<ScriptName>,
        /// Another queue
        #[arg(long)]
        queue: Option<QueueName>,
        /// Other times
        #[command(flatten)]
        times: Times,
        /// It runs its script
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// It runs nothing, and messages of its queue wait
        #[arg(long)]
        disable: bool,
        /// A run may take as long as any of the script
        #[arg(long, conflicts_with = "timeout_ms")]
        no_timeout: bool,
        /// How it is to work
        #[command(flatten)]
        knobs: Knobs,
    },
    /// Delete one; messages of its queue stay
    Delete {
        /// Its id, or the queue that it is for
        trigger: String,
    },
    /// Make an event for one, as if something had happened at its source
    Fire {
        /// Its id, or the queue that it is for
        trigger: String,
        /// What the event is to be about
        #[command(flatten)]
        payload: Payload,
    },
}

/// At which times a trigger ticks. Whether it can is for the server to say.
#[derive(Debug, Args)]
pub struct Times {
    /// At these times: minute, hour, day of month, month and day of week, with the second before them or without
    #[arg(long, value_name = "EXPRESSION")]
    pub cron: Option<String>,
    /// By the clocks of this time zone, such as Europe/Zurich; UTC, if absent
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// What is made of ticks that were missed: skip, once or all; once, if absent
    #[arg(long, value_name = "WHAT")]
    pub misfire: Option<String>,
}

/// How a trigger works. Bounds are the server's.
#[derive(Debug, Args)]
pub struct Knobs {
    /// Messages that one run is given at most
    #[arg(long, value_name = "COUNT")]
    pub batch_size: Option<u32>,
    /// Runs at once at most; with 1, messages are handled in order
    #[arg(long, value_name = "COUNT")]
    pub concurrency: Option<u32>,
    /// After so many failed attempts an event is a dead letter
    #[arg(long, value_name = "COUNT")]
    pub max_attempts: Option<u32>,
    /// The most that the second attempt waits
    #[arg(long, value_name = "MS")]
    pub backoff_base_ms: Option<u64>,
    /// The most that any attempt waits
    #[arg(long, value_name = "MS")]
    pub backoff_cap_ms: Option<u64>,
    /// How long a run may take, where that is to be less than the script's own timeout
    #[arg(long, value_name = "MS")]
    pub timeout_ms: Option<u64>,
}

/// What an event is about.
#[derive(Debug, Args)]
pub struct Payload {
    /// What it is about, as JSON; null, if absent
    #[arg(id = "payload", value_name = "JSON", allow_hyphen_values = true)]
    pub given: Option<Json>,
    /// Read that from standard input
    #[arg(long, conflicts_with = "payload")]
    pub payload_stdin: bool,
}

/// A value as it is typed.
#[derive(Debug, Clone)]
pub struct Json(pub Value);

impl FromStr for Json {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text).map(Self)
    }
}

/// What to do with an app's queues.
#[derive(Debug, Args)]
pub struct Queues {
    /// The app's slug or id
    #[arg(long, global = true)]
    pub app: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub command: QueuesCommand,
}

/// What to do with an app's queues.
#[derive(Debug, Subcommand)]
pub enum QueuesCommand {
    /// List those that have messages
    List,
    /// Send a message to one, which is there as soon as it has one
    Send {
        /// The queue
        queue: QueueName,
        /// What the message says
        #[command(flatten)]
        payload: Payload,
        /// Have it wait before it is handled
        #[arg(long, value_name = "SECONDS")]
        delay: Option<u64>,
        /// Where a message by the same key is there, or was handled within a day, send none
        #[arg(long, value_name = "KEY")]
        dedup_key: Option<DedupKey>,
    },
}

/// What to do with an app's dead letters.
#[derive(Debug, Args)]
pub struct DeadLetters {
    /// The app's slug or id
    #[arg(long, global = true)]
    pub app: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub command: DeadLettersCommand,
}

/// What to do with an app's dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// List those that are not resolved
    List {
        /// Those that are resolved as well
        #[arg(long)]
        resolved: bool,
        /// Which
        #[command(flatten)]
        filter: Filter,
    },
    /// Show one with its payload
    Show {
        /// Its id
        dead_letter: DeadLetterId,
    },
    /// Make events of one, or of all that pass the filters, again
    #[command(group(ArgGroup::new("which").required(true).args(["dead_letter", "all"])))]
    #[command(group(filters()))]
    Replay {
        /// Its id
        dead_letter: Option<DeadLetterId>,
        /// All that pass the filters, 1000 at most
        #[arg(long)]
        all: bool,
        /// Another payload than it had, as JSON
        #[arg(long, value_name = "JSON", conflicts_with = "all", allow_hyphen_values = true)]
        payload: Option<Json>,
        /// Which
        #[command(flatten)]
        filter: Filter,
    },
    /// Say that nothing more is to be made of one, or of all that pass the filters
    #[command(group(ArgGroup::new("which").required(true).args(["dead_letter", "all"])))]
    #[command(group(filters()))]
    Resolve {
        /// Its id
        dead_letter: Option<DeadLetterId>,
        /// All that pass the filters, 1000 at most
        #[arg(long)]
        all: bool,
        /// Which
        #[command(flatten)]
        filter: Filter,
    },
}

/// The filters, which say nothing of one that is named.
fn filters() -> ArgGroup {
    ArgGroup::new("filters").multiple(true).args(["source", "script", "since", "until"]).conflicts_with("dead_letter")
}

/// Which dead letters.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only those of events of this source, such as queue
    #[arg(long)]
    pub source: Option<EventSource>,
    /// Only those of this script
    #[arg(long)]
    pub script: Option<ScriptName>,
    /// Only what was given up then or later, such as 2030-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only what was given up before then
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}
