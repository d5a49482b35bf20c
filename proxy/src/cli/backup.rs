//! Commands that copy a whole store.

use std::path::PathBuf;

use clap::Args;

/// A backup that is to be taken.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to make
    pub file: PathBuf,
    /// Take the records of executions along
    #[arg(long)]
    pub with_logs: bool,
    /// Take the secret key along, sealed by a passphrase that is asked for
    #[arg(long)]
    pub with_key: bool,
    /// Read the passphrase from the first line of standard input
    #[arg(long, requires = "with_key")]
    pub passphrase_stdin: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A backup that is to be restored.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup
    pub file: PathBuf,
    /// Only say whether it can be restored: tries it in a folder beside the file
    #[arg(long, conflicts_with = "replace")]
    pub check: bool,
    /// Put it in the place of the instance that is there, which is kept aside
    #[arg(long)]
    pub replace: bool,
    /// Open the secret key in the backup by the passphrase in the first line of standard input
    #[arg(long)]
    pub passphrase_stdin: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// An instance that is to be moved.
#[derive(Debug, Args)]
pub struct MoveArgs {
    /// Where to: "sqlite" for files in the data directory, or postgres://user:password@host:port/database
    #[arg(long, env = "PICLOUD_MOVE_TO", hide_env_values = true)]
    pub to: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
