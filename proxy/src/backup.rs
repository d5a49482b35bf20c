//! `picloud backup`, `restore` and `move`: a whole store as a file, out of one, and from one database to the other.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use picloud_manager::backup::{
    self, Backup, Checked, Manifest, Passphrase, Progress, Relocation, Restore, Stage, Watching, back_up, relocate,
    restore,
};
use picloud_manager::store::{DatabaseConfig, DatabaseUrl};
use picloud_shared::clock::{Clock, SystemClock};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::backup::{BackupArgs, MoveArgs, RestoreArgs};
use crate::config::Config;
use crate::password;
use crate::remote::output::say;

/// How often a bar is drawn anew.
const REDRAW: Duration = Duration::from_millis(100);
/// How wide it is.
const WIDTH: usize = 30;

/// Takes a backup.
pub async fn take(args: BackupArgs, config: &Config) -> anyhow::Result<()> {
    let with_key = if args.with_key { Some(new_passphrase(args.passphrase_stdin)?) } else { None };
    let backup = Backup {
        database: config.database.clone(),
        secret_key_file: config.secret_key_file.clone(),
        file: args.file.clone(),
        with_logs: args.with_logs,
        with_key,
        now: SystemClock.now(),
    };
    let taken = back_up(backup, bar()).await?;
    let manifest = &taken.manifest;
    if args.json {
        let told = json!({ "file": text(&args.file), "bytes": taken.bytes, "backup": told(manifest) });
        return Ok(say(&told.to_string())?);
    }
    say(&format!("{}: {} rows in {} bytes", args.file.display(), manifest.rows(), taken.bytes))?;
    if manifest.sealed_key.is_some() {
        say("the secret key is in it, sealed by the passphrase; it can be restored where the key's file is lost")?;
    } else {
        say(&format!(
            "it is restored where the secret key {} is: keep a copy of {} elsewhere, or use --with-key",
            manifest.key,
            config.secret_key_file.display()
        ))?;
    }
    Ok(())
}

/// Restores a backup, or tries one out.
pub async fn give_back(args: RestoreArgs, config: &Config) -> anyhow::Result<()> {
    let passphrase = if args.passphrase_stdin { Some(password::read()?.parse()?) } else { None };
    if args.check {
        let checked = backup::check(args.file.clone(), config.secret_key_file.clone(), passphrase, bar()).await?;
        if args.json {
            let told = json!({ "file": text(&args.file), "backup": told(&checked.manifest), "notes": notes(&checked) });
            return Ok(say(&told.to_string())?);
        }
        say(&format!("{} can be restored: {}", args.file.display(), in_words(&checked.manifest)))?;
        return tell_notes(&checked);
    }
    let wanted = Restore {
        file: args.file.clone(),
        database: config.database.clone(),
        data_dir: config.data_dir.clone(),
        secret_key_file: config.secret_key_file.clone(),
        passphrase,
        replace: args.replace,
        now: SystemClock.now(),
    };
    let restored = restore(wanted, bar()).await?;
    if args.json {
        let checked = &restored.checked;
        let told = json!({
            "file": text(&args.file), "backup": told(&checked.manifest), "notes": notes(checked),
            "aside": restored.aside.as_deref().map(text), "key_aside": restored.key_aside.as_deref().map(text),
        });
        return Ok(say(&told.to_string())?);
    }
    say(&format!("{} is restored: {}", args.file.display(), in_words(&restored.checked.manifest)))?;
    if let Some(aside) = &restored.aside {
        say(&format!("what it replaced is in {}", aside.display()))?;
    }
    if let Some(key) = &restored.key_aside {
        say(&format!("the secret key of that is in {}", key.display()))?;
    }
    tell_notes(&restored.checked)
}

/// Moves the instance to another database.
pub async fn relocate_to(args: MoveArgs, config: &Config) -> anyhow::Result<()> {
    let to = match args.to.as_str() {
        "sqlite" => DatabaseConfig::Sqlite { dir: config.data_dir.clone() },
        url => DatabaseConfig::Postgres {
            url: url.parse::<DatabaseUrl>().context("--to is \"sqlite\" or an address of PostgreSQL")?,
        },
    };
    let is_to_files = matches!(to, DatabaseConfig::Sqlite { .. });
    let relocation = Relocation { from: config.database.clone(), to, secret_key_file: config.secret_key_file.clone() };
    let rows = relocate(relocation, bar()).await?;
    if args.json {
        return Ok(say(&json!({ "rows": rows }).to_string())?);
    }
    say(&format!(
        "the instance is moved: {rows} rows, each read again and found the same; what it was moved from is as it was"
    ))?;
    say(if is_to_files {
        "now start PiCloud without PICLOUD_DATABASE_URL (database_url)"
    } else {
        "now start PiCloud with PICLOUD_DATABASE_URL (database_url) set to that address"
    })?;
    Ok(())
}

/// A path as JSON has it, where not every path can stand.
fn text(path: &Path) -> String {
    path.display().to_string()
}

/// What a backup says of itself, for programs.
fn told(manifest: &Manifest) -> serde_json::Value {
    json!({
        "format": manifest.format,
        "product": manifest.product,
        "schema": manifest.schema,
        "store": manifest.store,
        "taken_at": manifest.taken_at,
        "key": manifest.key,
        "with_key": manifest.sealed_key.is_some(),
        "with_logs": manifest.has_logs(),
        "rows": manifest.rows(),
    })
}

fn in_words(manifest: &Manifest) -> String {
    let logs = if manifest.has_logs() { ", with the records of executions" } else { "" };
    format!(
        "taken at {} by version {}, schema {}, {} rows{logs}",
        manifest.taken_at,
        manifest.product,
        manifest.schema,
        manifest.rows()
    )
}

fn notes(checked: &Checked) -> Vec<String> {
    let note = |violation| format!("the audit log was not as it was written when the backup was taken: {violation}");
    checked.audit_log.iter().map(note).collect()
}

fn tell_notes(checked: &Checked) -> anyhow::Result<()> {
    for note in notes(checked) {
        say(&format!("note: {note}"))?;
    }
    Ok(())
}

fn new_passphrase(from_stdin: bool) -> anyhow::Result<Passphrase> {
    if from_stdin {
        return Ok(password::read()?.parse()?);
    }
    if !io::stdin().is_terminal() {
        bail!("--with-key asks for a passphrase at the terminal; without one, give it by --passphrase-stdin");
    }
    let ask = |prompt: &str| rpassword::prompt_password(prompt).context("cannot read the passphrase");
    let passphrase = ask("A passphrase that the secret key is sealed by: ")?;
    let parsed = passphrase.parse()?;
    if ask("Once more: ")? != passphrase {
        bail!("these are two passphrases");
    }
    Ok(parsed)
}

/// Whether somebody has asked the command to stop (SIGINT, SIGTERM). It removes what it has made so far; asked again, it ends as it is.
fn asked_to_stop() -> Arc<AtomicBool> {
    let asked = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&asked);
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return };
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if told.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        }
    });
    asked
}

/// A bar on a terminal; elsewhere nothing is drawn.
fn bar() -> Watching {
    let (asked, has_terminal) = (asked_to_stop(), io::stderr().is_terminal());
    let mut drawn: Option<Instant> = None;
    Box::new(move |progress: Progress| {
        if asked.load(Ordering::Relaxed) {
            return false;
        }
        if !has_terminal {
            return true;
        }
        let is_done = progress.rows >= progress.of;
        if is_done || drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            drawn = Some(Instant::now());
            let end = if is_done { "\r\x1b[K" } else { "" };
            // A terminal that has gone is no reason to stop.
            let _ = write!(io::stderr(), "\r\x1b[K{}{end}", draw(progress));
        }
        true
    })
}

fn draw(progress: Progress) -> String {
    let of = progress.of.max(1);
    let share = |most: u64| usize::try_from(u128::from(progress.rows) * u128::from(most) / u128::from(of)).unwrap_or(0);
    let full = share(WIDTH as u64).min(WIDTH);
    let word = match progress.stage {
        Stage::Copying => "copying",
        Stage::Verifying => "verifying",
    };
    format!("[{}{}] {:3} % {word} {}", "#".repeat(full), " ".repeat(WIDTH - full), share(100).min(100), progress.table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_with_the_rows() {
        let bar = |rows, of| draw(Progress { stage: Stage::Copying, table: "events", rows, of });
        assert_eq!(bar(0, 0), format!("[{}]   0 % copying events", " ".repeat(30)));
        assert_eq!(bar(1, 2), format!("[{}{}]  50 % copying events", "#".repeat(15), " ".repeat(15)));
        assert_eq!(bar(u64::MAX, u64::MAX), format!("[{}] 100 % copying events", "#".repeat(30)));
    }
}
