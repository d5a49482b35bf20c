//! The commands that work on a running PiCloud, near or far, through its API.

pub mod env;
pub mod triggers;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use picloud_shared::name::{AppName, AppSlug, KeyName, ScriptName, Username};

/// Which PiCloud, and who asks it.
#[derive(Debug, Args)]
pub struct Target {
    /// The address of its dashboard, such as `https://cloud.example.com`
    #[arg(long, env = "PICLOUD_SERVER", global = true, value_name = "URL")]
    pub server: Option<String>,
    /// File of the API key, in place of the variable PICLOUD_KEY
    #[arg(long, env = "PICLOUD_KEY_FILE", global = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// PEM file of more certificate authorities to trust, beside the system's
    #[arg(long, env = "PICLOUD_CA_FILE", global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Print JSON, as the API answers it
    #[arg(long, global = true)]
    pub json: bool,
}

/// A command and where it goes.
#[derive(Debug, Args)]
pub struct At<C: Args> {
    /// Where it goes.
    #[command(flatten)]
    pub target: Target,
    /// What to do.
    #[command(flatten)]
    pub command: C,
}

/// What to do with a running PiCloud.
#[derive(Debug, Subcommand)]
pub enum RemoteCommand {
    /// List, create, rename and delete apps
    Apps(At<Apps>),
    /// List, pull, push and try an app's scripts
    Scripts(At<Scripts>),
    /// Make an app what the files of a directory say, all at once
    Deploy(At<Deploy>),
    /// Print an app as one JSON document, or write it as the files that deploy takes
    Export(At<Export>),
    /// Create an app out of a JSON document
    Import(At<Import>),
    /// Show what an app's scripts did
    Logs(At<Logs>),
    /// List, set and delete an app's settings, which its scripts read
    Env(At<env::Env>),
    /// List, set and delete an app's secrets, which its scripts alone are told
    Secrets(At<env::Secrets>),
    /// List, create, change, delete and fire an app's triggers, which run its scripts without a request
    Triggers(At<triggers::Triggers>),
    /// List an app's queues, and send them messages
    Queues(At<triggers::Queues>),
    /// List, show, replay and resolve an app's dead letters: events that are not tried again
    DeadLetters(At<triggers::DeadLetters>),
    /// List, renew and explain certificates
    Certs(At<Certs>),
    /// List, create and revoke your API keys; asks for your password
    Keys(At<Keys>),
}

/// What to do with apps.
#[derive(Debug, Args)]
pub struct Apps {
    /// List them, when nothing is said
    #[command(subcommand)]
    pub command: Option<AppsCommand>,
}

/// What to do with apps.
#[derive(Debug, Subcommand)]
pub enum AppsCommand {
    /// List the apps that you may see
    List,
    /// Create an app
    Create {
        /// Its short name in addresses
        slug: AppSlug,
        /// What people call it; the slug, if absent
        #[arg(long)]
        name: Option<AppName>,
        /// Take a slug that still leads to another app, which ends that
        #[arg(long)]
        takeover: bool,
    },
    /// Give an app another name, or another slug; calls by the old slug are sent to the new one
    #[command(group(ArgGroup::new("to").required(true).multiple(true).args(["slug", "name"])))]
    Rename {
        /// Its slug or id
        app: String,
        /// Its new short name in addresses
        #[arg(long)]
        slug: Option<AppSlug>,
        /// What people are to call it
        #[arg(long)]
        name: Option<AppName>,
        /// Take a slug that still leads to another app, which ends that
        #[arg(long, requires = "slug")]
        takeover: bool,
    },
    /// Delete an app
    Delete {
        /// Its slug or id
        app: String,
        /// With all that is in it
        #[arg(long)]
        force: bool,
    },
}

/// What to do with scripts.
#[derive(Debug, Args)]
pub struct Scripts {
    /// What to do
    #[command(subcommand)]
    pub command: ScriptsCommand,
}

/// What to do with scripts.
#[derive(Debug, Subcommand)]
pub enum ScriptsCommand {
    /// List an app's scripts
    List {
        /// The app's slug or id
        app: String,
    },
    /// Write a script's source to a file
    Pull {
        /// The app's slug or id
        app: String,
        /// The script
        name: ScriptName,
        /// The file; standard output, if absent
        file: Option<PathBuf>,
    },
    /// Save a file as a script's source, and create the script where there is none
    Push {
        /// The app's slug or id
        app: String,
        /// The file; its name without .rhai is the script's
        file: PathBuf,
        /// Another name than the file's
        #[arg(long)]
        name: Option<ScriptName>,
        /// What a new script is
        #[arg(long, value_enum, default_value = "endpoint")]
        kind: Kind,
    },
    /// Run a script with a request that is made up, and print its answer
    Invoke {
        /// The app's slug or id
        app: String,
        /// The script
        name: ScriptName,
        /// The request's method
        #[arg(long, default_value = "GET")]
        method: String,
        /// The request's path
        #[arg(long, default_value = "/")]
        path: String,
        /// The request's query
        #[arg(long)]
        query: Option<String>,
        /// A header of the request, as "name: value"
        #[arg(long = "header", value_name = "HEADER")]
        headers: Vec<String>,
        /// The request's body
        #[arg(long)]
        body: Option<String>,
        /// Run this file in place of the saved source
        #[arg(long, value_name = "FILE")]
        source: Option<PathBuf>,
    },
}

/// What a script is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// It answers requests
    Endpoint,
    /// Others import it
    Module,
}

/// How to deploy.
#[derive(Debug, Args)]
pub struct Deploy {
    /// The directory with picloud.app.toml and scripts/*.rhai
    pub dir: PathBuf,
    /// The app's slug or id, in place of the file's slug
    #[arg(long)]
    pub app: Option<String>,
    /// Tell what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Create the app where there is none
    #[arg(long)]
    pub create: bool,
    /// Create it by a slug that still leads to another app, which ends that
    #[arg(long, requires = "create")]
    pub takeover: bool,
}

/// How to export.
#[derive(Debug, Args)]
pub struct Export {
    /// The app's slug or id
    pub app: String,
    /// A directory to write files to that deploy takes; one JSON document on standard output, if absent
    pub dir: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long, requires = "dir")]
    pub overwrite: bool,
}

/// How to import.
#[derive(Debug, Args)]
pub struct Import {
    /// The document's file; - is standard input
    pub file: PathBuf,
    /// The new app's slug, in place of the document's
    #[arg(long)]
    pub slug: Option<AppSlug>,
    /// Take a slug that still leads to another app, which ends that
    #[arg(long)]
    pub takeover: bool,
    /// Claim none of its domains
    #[arg(long)]
    pub without_domains: bool,
    /// Tell what would be created, and create nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Which executions to show.
#[derive(Debug, Args)]
pub struct Logs {
    /// The app's slug or id
    pub app: String,
    /// Only of this script
    #[arg(long)]
    pub script: Option<ScriptName>,
    /// So many of the newest, the oldest of them first
    #[arg(long, default_value = "20", value_parser = clap::value_parser!(u32).range(0..=200))]
    pub limit: u32,
    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,
}

/// What to do with certificates.
#[derive(Debug, Args)]
pub struct Certs {
    /// What to do; list, when nothing is said
    #[command(subcommand)]
    pub command: Option<CertsCommand>,
}

/// What to do with certificates.
#[derive(Debug, Subcommand)]
pub enum CertsCommand {
    /// List them
    List,
    /// Show one with the history of its attempts
    Show {
        /// Its id, or a name that it is for
        certificate: String,
    },
    /// Renew one now
    Renew {
        /// Its id, or a name that it is for
        certificate: String,
    },
    /// Print the root of the instance's own authority, for devices that are to trust it
    Root,
    /// Look whether a certificate for a name could be had; nothing is ordered
    Preflight {
        /// A host or a wildcard
        name: String,
    },
}

/// What to do with API keys.
#[derive(Debug, Args)]
pub struct Keys {
    /// Who you are; the password is asked for
    #[arg(long, env = "PICLOUD_USERNAME", global = true)]
    pub username: Option<Username>,
    /// Read the password from the first line of standard input instead of asking for it
    #[arg(long, global = true)]
    pub password_stdin: bool,
    /// What to do
    #[command(subcommand)]
    pub command: KeysCommand,
}

/// What to do with API keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List your keys, without the keys themselves
    List,
    /// Create a key and print it, this once
    Create {
        /// What you call it
        name: KeyName,
        /// What it may be used for, such as scripts:write; several are separated by commas
        #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', required = true)]
        scopes: Vec<String>,
        /// The slug or id of the one app that it is for
        #[arg(long)]
        app: Option<String>,
        /// When it becomes void, such as 2030-01-01T00:00:00Z; never, if absent
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
    },
    /// Make a key void
    Revoke {
        /// Its name, where no other of your keys has it, or its id
        key: String,
    },
}
