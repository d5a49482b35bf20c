//! `picloud doctor`: looks at everything that PiCloud rests on, tells how each thing is, and what to do where it is not well. It changes
//! nothing, and works whether PiCloud runs or not. Each group of checks has a file; those of the store are the manager's.

mod backups;
mod certificates;
mod clock;
mod disk;
mod dns;
mod files;
mod machine;
mod nodes;
mod ports;
mod unit;

use anyhow::bail;
use picloud_manager::doctor;
use picloud_manager::store::DatabaseConfig;
use picloud_shared::clock::{Clock, SystemClock};
use picloud_shared::doctor::{Check, CheckState};
use picloud_shared::node::NodeRole;
use serde::Serialize;

use crate::config::Config;
use crate::remote::output::{plain, say};

/// What a machine reads.
#[derive(Serialize)]
struct Report<'c> {
    /// The worst of all.
    state: CheckState,
    checks: &'c [Check],
}

/// Looks at everything, and tells of it.
///
/// # Errors
/// Something is wrong.
pub async fn run(json: bool, config: &Config) -> anyhow::Result<()> {
    let checks = look(config).await;
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let wrong = count(CheckState::Wrong);
    if json {
        let state = checks.iter().map(|check| check.state).max().unwrap_or(CheckState::Ok);
        say(&serde_json::to_string_pretty(&Report { state, checks: &checks })?)?;
    } else {
        for check in &checks {
            say(&told(check))?;
        }
        let (doubtful, well) = (count(CheckState::Warning), count(CheckState::Ok));
        say(&format!("\n{wrong} wrong, {doubtful} to look at, {well} well"))?;
    }
    if wrong > 0 {
        bail!("{wrong} of {} checks found something wrong", checks.len());
    }
    Ok(())
}

async fn look(config: &Config) -> Vec<Check> {
    let now = SystemClock.now();
    // Edge nodes leave them to full ones.
    let backups = config.backups.as_ref().filter(|_| config.node.role == NodeRole::Full);
    let backup_every = backups.map(|backups| backups.every);
    let store = doctor::look(&config.database, &config.secret_key_file, backup_every, &SystemClock).await;
    let listeners = ports::look(&config.listen, config.node.listen);
    let serving = match &config.database {
        DatabaseConfig::Sqlite { dir } => doctor::served_by(dir).or(listeners.served_by),
        DatabaseConfig::Postgres { .. } => listeners.served_by,
    };
    let (names, times, others) = tokio::join!(
        dns::look(config, &store.claims),
        clock::look(config),
        nodes::look(config, store.full_nodes.as_deref())
    );
    let mut checks = listeners.checks;
    checks.extend(names);
    checks.extend(times);
    checks.extend(disk::look(config));
    checks.extend(files::look(config));
    checks.extend(store.checks);
    checks.extend(others);
    checks.extend(backups.and_then(|backups| backups::look(&backups.dir, &config.secret_key_file, serving)));
    checks.extend(certificates::look(config, &store.certificates, now));
    checks.extend(machine::look(config, serving));
    checks.extend(unit::look(serving, listeners.is_hidden));
    checks
}

/// A line for people, and the fix below it.
fn told(check: &Check) -> String {
    let word = match check.state {
        CheckState::Ok => "ok",
        CheckState::Warning => "warning",
        CheckState::Wrong => "WRONG",
    };
    // Some of it comes from elsewhere: what an authority answered, or what a process calls itself.
    let line = format!("{word:<8} {:<13} {}", check.about, plain(&check.found));
    match &check.fix {
        Some(fix) => format!("{line}\n{:<22} to do: {}", "", plain(fix)),
        None => line,
    }
}
