//! The `picloud` binary: the one place where all parts are joined.

mod admin;
mod audit;
mod backup;
mod boot;
mod cli;
mod config;
mod control;
mod doctor;
mod password;
mod remote;
mod trust;
mod upgrade;

use std::process::ExitCode;

use anyhow::Context;
use picloud_executor::THREAD_STACK_BYTES;
use picloud_manager::store::Store;

use crate::boot::Origin;
use crate::cli::{Cli, Command, ConfigCommand, LocalCommand};
use crate::config::Config;
use crate::remote::output::{Unprinted, print, say, tell};

/// How a command ends that nobody reads on, such as one before `head`: as if by SIGPIPE, as a shell tells of it, and without a word.
const UNREAD: u8 = 128 + 13;

fn main() -> ExitCode {
    match run(Cli::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.downcast_ref().is_some_and(Unprinted::is_unread) => ExitCode::from(UNREAD),
        Err(error) => {
            tell(&explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and what led to it. Many tell their cause in their own text, which is then told once.
fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn run(Cli { command, config, dev, mut settings }: Cli) -> anyhow::Result<()> {
    match command.unwrap_or(Command::Local(LocalCommand::Serve { role: None })) {
        Command::Local(LocalCommand::Serve { role }) => {
            settings.node_role = role.or(settings.node_role);
            let origin = Origin::of_this_process()?;
            origin.sockets.settle(&mut settings);
            let predecessor = origin.predecessor.clone();
            let served = Config::load(settings, config.as_deref(), dev)
                .and_then(|config| block_on(config.executor.inline_threads, boot::serve(config, origin)));
            if let (Err(error), Some(predecessor)) = (&served, predecessor) {
                predecessor.tell_failure(&explain(error));
            }
            served
        }
        Command::Local(command) => {
            let config = Config::load(settings, config.as_deref(), dev)?;
            block_on(config.executor.inline_threads, execute(command, config))
        }
        // It knows nothing of the server's settings.
        Command::Remote(command) => block_on(1, remote::run(*command, config::api_key())),
        Command::Document(command) => cli::documents::print(command),
    }
}

fn block_on(
    worker_threads: usize,
    work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<()> {
    // Scripts begin on these threads; only what a script touches of its stack is ever real memory.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(worker_threads)
        .thread_stack_size(THREAD_STACK_BYTES)
        .build()
        .context("cannot start the runtime")?;
    // Even the one future that is blocked on runs where stacks are large.
    let done = runtime.block_on(async { tokio::spawn(work).await });
    runtime.shutdown_background();
    done.context("the program broke down")?
}

async fn execute(command: LocalCommand, config: Config) -> anyhow::Result<()> {
    match command {
        LocalCommand::Serve { .. } => unreachable!("what serves is begun with what it is given at its start"),
        LocalCommand::Upgrade => upgrade::run(&config).await,
        LocalCommand::Migrate => {
            let store = Store::open(&config.database).await?;
            let schema = store.schema_version();
            store.close().await;
            Ok(say(&format!("the store has schema {schema}"))?)
        }
        LocalCommand::Config(ConfigCommand::Check) => {
            let notes = boot::check(&config)?;
            say("the configuration can be used")?;
            for note in notes {
                say(&format!("note: {note}"))?;
            }
            Ok(())
        }
        LocalCommand::Config(ConfigCommand::Show) => Ok(print(config.to_string().as_bytes())?),
        LocalCommand::Admin(command) => admin::run(command, &config).await,
        LocalCommand::Audit(command) => audit::run(command, &config).await,
        LocalCommand::Backup(args) => backup::take(args, &config).await,
        LocalCommand::Restore(args) => backup::give_back(args, &config).await,
        LocalCommand::Move(args) => backup::relocate_to(args, &config).await,
        LocalCommand::Doctor { json } => doctor::run(json, &config).await,
        LocalCommand::Trust { install } => trust::run(install, &config).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("refused").context("the database: refused").context("the store cannot be opened");
        assert_eq!(explain(&error), "the store cannot be opened: the database: refused");
    }
}
