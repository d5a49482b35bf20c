//! The commands that work on a running PiCloud through its API, as anybody's program could: nothing here knows the store.

mod api;
mod app_folder;
mod apps;
mod certs;
mod deploy;
mod env;
mod keys;
mod logs;
pub mod output;
mod scripts;
mod triggers;

use crate::cli::remote::{At, RemoteCommand};
use api::Api;
use output::Output;

/// Does what the command says.
pub async fn run(command: RemoteCommand, key: Option<String>) -> anyhow::Result<()> {
    match command {
        RemoteCommand::Apps(At { target, command }) => {
            apps::run(command.command, &Api::with_key(&target, key)?, Output::of(&target)).await
        }
        RemoteCommand::Scripts(At { target, command }) => {
            scripts::run(command.command, &Api::with_key(&target, key)?, Output::of(&target)).await
        }
        RemoteCommand::Deploy(At { target, command }) => {
            deploy::run(command, &Api::with_key(&target, key)?, Output::of(&target)).await
        }
        RemoteCommand::Export(At { target, command }) => {
            apps::export(command, &Api::with_key(&target, key)?, Output::of(&target)).await
        }
        RemoteCommand::Import(At { target, command }) => {
            apps::import(command, &Api::with_key(&target, key)?, Output::of(&target)).await
        }
        RemoteCommand::Logs(At { target, command }) => {
            logs::run(command, &Api::with_key(&target, key)?, Output::of(&target)).await
        }
        RemoteCommand::Env(At { target, command }) => {
            env::run(command, &Api::with_key(&target, key)?, Output::of(&target)).await
        }
        RemoteCommand::Secrets(At { target, command }) => {
            env::run_secrets(command, &Api::with_key(&target, key)?, Output::of(&target)).await
        }
        RemoteCommand::Triggers(At { target, command }) => {
            triggers::run(command, &Api::with_key(&target, key)?, Output::of(&target)).await
        }
        RemoteCommand::Queues(At { target, command }) => {
            triggers::run_queues(command, &Api::with_key(&target, key)?, Output::of(&target)).await
        }
        RemoteCommand::DeadLetters(At { target, command }) => {
            triggers::run_dead_letters(command, &Api::with_key(&target, key)?, Output::of(&target)).await
        }
        RemoteCommand::Certs(At { target, command }) => {
            certs::run(command.command, &Api::with_key(&target, key)?, Output::of(&target)).await
        }
        RemoteCommand::Keys(At { target, command }) => {
            keys::run(command, Api::new(&target)?, Output::of(&target)).await
        }
    }
}
