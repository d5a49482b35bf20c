//! The command line.

pub mod backup;
pub mod documents;
pub mod remote;

use std::path::PathBuf;

use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use picloud_shared::node::NodeRole;

use crate::config::Settings;
use backup::{BackupArgs, MoveArgs, RestoreArgs};
use documents::DocumentCommand;
use remote::RemoteCommand;

/// PiCloud: serverless for your own domains, on one small computer.
#[derive(Debug, Parser)]
#[command(name = "picloud", version)]
pub struct Cli {
    /// What to do; serve when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings file; /etc/picloud/picloud.toml when it exists
    #[arg(long, env = "PICLOUD_CONFIG", global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Serve plain HTTP on 127.0.0.1:8080, with data in ./picloud-data
    #[arg(long, env = "PICLOUD_DEV", global = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub dev: bool,
    /// All settings.
    #[command(flatten)]
    pub settings: Settings,
}

impl Cli {
    /// Reads the command line of this process, and ends it where there is nothing more to do than to say so.
    pub fn read() -> Self {
        Self::from_arg_matches(&Self::whole().get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// All commands. Those that ask a running PiCloud, which may be far away, do not tell of this machine's settings.
    fn whole() -> clap::Command {
        let whole = Self::command();
        let of_this_machine: Vec<Arg> =
            whole.get_arguments().filter(|arg| arg.is_global_set()).map(|arg| arg.clone().hide(true)).collect();
        let remote = RemoteCommand::augment_subcommands(clap::Command::new("remote"));
        remote.get_subcommands().fold(whole, |whole, remote| {
            whole.mut_subcommand(remote.get_name(), |command| command.args(of_this_machine.clone()))
        })
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// What is done with this machine's settings.
    #[command(flatten)]
    Local(LocalCommand),
    /// What asks a running PiCloud, and may be far from it.
    #[command(flatten)]
    Remote(Box<RemoteCommand>),
    /// What is printed of the command line itself.
    #[command(flatten)]
    Document(DocumentCommand),
}

/// What to do with this machine's settings.
#[derive(Debug, Subcommand)]
pub enum LocalCommand {
    /// Serve apps, the API and the dashboard
    Serve {
        /// What this node does: --node-role, in short
        #[arg(long)]
        role: Option<NodeRole>,
    },
    /// Have the PiCloud that serves here hand over to the binary that stands in its place now, and lose no request
    Upgrade,
    /// Bring the store's schema to the newest one, and stop
    Migrate,
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Manage users and the secret key in the store directly
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Look at the audit log in the store directly
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Make a file of the whole store, which may be served meanwhile
    Backup(BackupArgs),
    /// Make the store what a backup has, or only say whether that can be done
    Restore(RestoreArgs),
    /// Move the instance from SQLite to PostgreSQL, or back
    Move(MoveArgs),
    /// Look at everything that PiCloud rests on, and say what is not well and what to do; changes nothing
    Doctor {
        /// Print it for machines
        #[arg(long)]
        json: bool,
    },
    /// Print the root of the instance's own authority, from the store directly
    Trust {
        /// Have this machine trust it
        #[arg(long)]
        install: bool,
    },
}

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Say whether every row is as it was written and none is missing
    Verify {
        /// An end that an earlier verification told: fail unless the log still holds it
        #[arg(long, value_name = "ROW:SEAL")]
        holds: Option<String>,
    },
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether it can be used
    Check,
    /// Print it with defaults filled in, without secrets
    Show,
}

/// What to do with users and the secret key.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Create a user, and print the password unless it was given
    CreateUser {
        /// The user's name
        username: String,
        /// What the user may do
        #[arg(long, value_enum, default_value = "member")]
        role: Role,
        /// Read the password from the first line of standard input instead of making one up
        #[arg(long)]
        password_stdin: bool,
    },
    /// Give a user a new password and end all their sessions
    ResetPassword {
        /// The user's name
        username: String,
        /// Read the password from the first line of standard input instead of making one up
        #[arg(long)]
        password_stdin: bool,
    },
    /// List all users
    List,
    /// Replace the instance's secret key, and seal by the new one what the old one has sealed
    RotateKey,
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Everything
    Owner,
    /// Everything but owners and instance settings
    Admin,
    /// What memberships of apps say
    Member,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::whole().debug_assert();
    }

    #[test]
    fn what_asks_a_running_picloud_tells_of_no_setting_of_this_machine() {
        let help = |line: &[&str]| Cli::whole().try_get_matches_from(line).unwrap_err().to_string();
        for line in [
            &["picloud", "apps", "--help"][..],
            &["picloud", "apps", "create", "-h"],
            &["picloud", "keys", "revoke", "--help"],
        ] {
            let help = help(line);
            for flag in ["--tls-chain", "--executor-workers", "--config", "--dev", "PICLOUD_HTTP"] {
                assert!(!help.contains(flag), "{line:?}: {help}");
            }
            assert!(help.contains("--server") && help.contains("--json"), "{line:?}: {help}");
        }
        for line in [
            &["picloud", "serve", "--help"][..],
            &["picloud", "admin", "list", "--help"],
            &["picloud", "config", "check", "-h"],
        ] {
            assert!(help(line).contains("--tls-chain") && help(line).contains("--config"), "{line:?}");
        }
    }

    #[test]
    fn a_role_is_a_nodes_for_who_serves_and_a_users_for_who_makes_one() {
        let role = |line: &[&str]| match Cli::from_arg_matches(&Cli::whole().try_get_matches_from(line).unwrap())
            .unwrap()
            .command
        {
            Some(Command::Local(LocalCommand::Serve { role })) => role.map(NodeRole::as_str),
            Some(Command::Local(LocalCommand::Admin(AdminCommand::CreateUser { role: Role::Owner, .. }))) => {
                Some("owner")
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(role(&["picloud", "serve", "--role", "edge"]), Some("edge"));
        assert_eq!(role(&["picloud", "serve", "--node-role", "edge"]), None, "it is a setting");
        assert_eq!(role(&["picloud", "admin", "create-user", "a", "--role", "owner"]), Some("owner"));
        assert!(Cli::whole().try_get_matches_from(["picloud", "serve", "--role", "half"]).is_err());
    }

    #[test]
    fn settings_stand_before_or_after_the_command() {
        for line in [&["picloud", "--http", ":1", "serve"][..], &["picloud", "serve", "--dev", "--http", ":1"][..]] {
            let cli = Cli::from_arg_matches(&Cli::whole().try_get_matches_from(line).unwrap()).unwrap();
            assert!(cli.settings.http.is_some(), "{line:?}");
        }
        assert!(Cli::whole().try_get_matches_from(["picloud", "--http", "nowhere"]).is_err());
    }
}
