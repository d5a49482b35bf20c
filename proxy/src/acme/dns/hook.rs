//! The hook: a program of the operator's that sets and clears TXT records. It is named in the settings file only, and knows
//! nothing of this program's environment. Why it failed is in the log, for operators; whoever has a claim is told that it failed,
//! since what it says may hold the secrets that it works with.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use picloud_shared::certificate::TxtRecord;
use tokio::process::Command;
use tokio::time::timeout;

/// Longer than a slow provider takes.
const DEADLINE: Duration = Duration::from_secs(120);
/// What is logged of what it said.
const MOST_WORDS: usize = 500;
/// Where it finds programs: what a login would have.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How it failed: what may be told to everybody, and what only the log is told.
struct Failed {
    told: String,
    logged: String,
}

/// Runs it: `PROGRAM set NAME VALUE`, or `PROGRAM clear NAME VALUE`.
pub(super) async fn run(program: &Path, record: &TxtRecord, set: bool) -> Result<(), String> {
    call(program, record, set).await.map_err(|Failed { told, logged }| {
        tracing::warn!(hook = %program.display(), name = record.name, set, said = logged, "{told}");
        told
    })
}

async fn call(program: &Path, record: &TxtRecord, set: bool) -> Result<(), Failed> {
    let failed = |how: &str, logged: String| Failed { told: format!("the DNS hook {how}"), logged };
    let mut command = Command::new(program);
    command.arg(if set { "set" } else { "clear" }).arg(&record.name).arg(&record.value);
    command.env_clear().env("PATH", PATH).current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| failed("cannot be run", error.to_string()))?;
    let Ok(ended) = timeout(DEADLINE, child.wait_with_output()).await else {
        return Err(failed(&format!("did not end within {} s", DEADLINE.as_secs()), String::new()));
    };
    let output = ended.map_err(|error| failed("was lost", error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let from = (0..=said.len()).find(|at| said.len() - at <= MOST_WORDS && said.is_char_boundary(*at)).unwrap_or(0);
    Err(failed(&format!("failed ({})", output.status), said[from..].to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn record() -> TxtRecord {
        TxtRecord { name: "_acme-challenge.example.com".to_owned(), value: "va lue".to_owned() }
    }

    fn program(dir: &Path, text: &str) -> std::path::PathBuf {
        let path = dir.join("hook");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn it_is_told_what_to_do_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let said = dir.path().join("said");
        let path = program(dir.path(), &format!("echo \"$#:$1:$2:$3\" >{0}; env >>{0}", said.display()));
        run(&path, &record(), true).await.unwrap();
        let told = std::fs::read_to_string(&said).unwrap();
        assert!(told.starts_with("3:set:_acme-challenge.example.com:va lue\n"), "{told}");
        assert!(!told.contains("CARGO"), "nothing of our environment: {told}");
        run(&path, &record(), false).await.unwrap();
        assert!(std::fs::read_to_string(&said).unwrap().starts_with("3:clear:"));
    }

    #[tokio::test]
    async fn that_it_failed_is_told_and_what_it_said_is_logged_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = program(dir.path(), "echo 'no such zone, by token hunter2' >&2; exit 3");
        let Failed { told, logged } = call(&path, &record(), true).await.unwrap_err();
        assert_eq!(
            (told.as_str(), logged.as_str()),
            ("the DNS hook failed (exit status: 3)", "no such zone, by token hunter2")
        );
        assert_eq!(run(&path, &record(), true).await.unwrap_err(), told);
        let Failed { told, logged } = call(Path::new("/nonexistent/hook"), &record(), true).await.unwrap_err();
        assert_eq!(told, "the DNS hook cannot be run");
        assert!(!logged.is_empty());
    }

    #[tokio::test]
    async fn of_what_it_said_the_end_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = program(dir.path(), "printf 'ä%.0s' $(seq 1000) >&2; echo end >&2; exit 1");
        let Failed { logged, .. } = call(&path, &record(), false).await.unwrap_err();
        assert!(logged.len() <= MOST_WORDS && logged.ends_with("äend"), "{logged}");
    }
}
