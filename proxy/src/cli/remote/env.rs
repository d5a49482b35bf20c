//! `picloud env` and `picloud secrets`.

use clap::{ArgGroup, Args, Subcommand};
use picloud_shared::env::EnvValue;
use picloud_shared::name::SettingName;

/// What to do with an app's settings.
#[derive(Debug, Args)]
pub struct Env {
    /// The app's slug or id
    #[arg(long, global = true)]
    pub app: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub command: EnvCommand,
}

/// What to do with an app's settings.
#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// List them with their values
    List,
    /// Set one, whether it is there or not
    #[command(group(ArgGroup::new("given").required(true).args(["value", "value_stdin"])))]
    Set {
        /// Its name
        name: SettingName,
        /// Its value
        #[arg(allow_hyphen_values = true)]
        value: Option<EnvValue>,
        /// Read the value from standard input, up to its end; a last end of line is none of it
        #[arg(long)]
        value_stdin: bool,
    },
    /// Delete one
    Delete {
        /// Its name
        name: SettingName,
    },
}

/// What to do with an app's secrets.
#[derive(Debug, Args)]
pub struct Secrets {
    /// The app's slug or id
    #[arg(long, global = true)]
    pub app: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub command: SecretsCommand,
}

/// What to do with an app's secrets.
#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// List them, without their values, which nobody is told
    List,
    /// Set one, whether it is there or not; asks for the value
    Set {
        /// Its name
        name: SettingName,
        /// Read the value from standard input, up to its end, instead of asking for it; a last end of line is none of it
        #[arg(long)]
        value_stdin: bool,
    },
    /// Delete one
    Delete {
        /// Its name
        name: SettingName,
    },
}
