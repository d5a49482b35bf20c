//! `picloud admin`: users and the secret key, on the store directly, for operators who cannot sign in.

use std::sync::Arc;

use anyhow::Context;
use picloud_manager::audit_chain::AuditChain;
use picloud_manager::key_rotation::Rotation;
use picloud_manager::secret::key_file::SecretKey;
use picloud_manager::store::Store;
use picloud_manager::users::{InstanceRole, create_user, list_users, reset_password};
use picloud_manager::{AuditedStore, NewPassword};
use picloud_shared::clock::SystemClock;
use picloud_shared::name::Username;

use crate::cli::{AdminCommand, Role};
use crate::config::Config;
use crate::password;
use crate::remote::output::say;

/// Does what the command says.
pub async fn run(command: AdminCommand, config: &Config) -> anyhow::Result<()> {
    let store = Store::open_existing(&config.database).await?;
    let done = on_store(command, config, &store).await;
    store.close().await;
    done
}

async fn on_store(command: AdminCommand, config: &Config, store: &Store) -> anyhow::Result<()> {
    let key = SecretKey::open(store, &config.secret_key_file).await?;
    let audited = AuditedStore::new(store.clone(), Arc::new(SystemClock), &key);
    match command {
        AdminCommand::CreateUser { username, role, password_stdin } => {
            let (username, given) = (parse_username(&username)?, given_password(password_stdin)?);
            let password = create_user(&audited, username, role.into(), given).await?;
            show(&password, password_stdin)?;
        }
        AdminCommand::ResetPassword { username, password_stdin } => {
            let (username, given) = (parse_username(&username)?, given_password(password_stdin)?);
            let password = reset_password(&audited, &username, given).await?;
            show(&password, password_stdin)?;
        }
        AdminCommand::List => {
            for user in list_users(store).await? {
                let state = if user.is_active { "active" } else { "inactive" };
                say(&format!("{}\t{}\t{state}", user.username, user.instance_role.as_str()))?;
            }
        }
        AdminCommand::RotateKey => rotate_key(config, store).await?,
    }
    Ok(())
}

async fn rotate_key(config: &Config, store: &Store) -> anyhow::Result<()> {
    let path = &config.secret_key_file;
    let rotation = Rotation::prepare(store, Arc::new(SystemClock), path).await?;
    let rotated = rotation.commit().await?.put_in_place()?;
    say(&format!("the secret key in {} is a new one, {}", path.display(), rotated.fingerprint))?;
    say(&format!("{} keys, accounts and secrets are sealed by it, and the whole audit log", rotated.resealed.count))?;
    for unopenable in &rotated.resealed.unopenable {
        say(&format!("note: {unopenable} does not open, and did not by the old key: it stays as it is"))?;
    }
    let audit_log = AuditChain::new(&SecretKey::open(store, path).await?).verify(store, None).await?;
    say(&format!("the audit log's end is {} now; an end that was noted earlier is not found any more", audit_log.end))?;
    if store.is_sqlite() {
        say("now restart PiCloud if it is running: it makes no changes until then")?;
    } else {
        say("now copy the file to every other node, and restart all: they make no changes until then")?;
    }
    say("copies of the store from before open by the old key alone")?;
    Ok(())
}

fn parse_username(text: &str) -> anyhow::Result<Username> {
    text.parse().with_context(|| format!("{text:?} is no user name"))
}

/// The password that is to be set, where one is given.
fn given_password(from_stdin: bool) -> anyhow::Result<Option<NewPassword>> {
    if from_stdin { Ok(Some(password::read()?.parse()?)) } else { Ok(None) }
}

/// Prints a password that was made up; one that was given is known to whoever gave it.
fn show(password: &NewPassword, given: bool) -> anyhow::Result<()> {
    if given { Ok(()) } else { Ok(say(password.reveal())?) }
}

impl From<Role> for InstanceRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::Member => Self::Member,
        }
    }
}
