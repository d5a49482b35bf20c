//! The hook: a program of the operator's that sets and clears TXT records. It is named in the settings file only, and knows
//! nothing of this program's environment.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::TxtRecord;

/// Longer than a slow provider takes.
const DEADLINE: Duration = Duration::from_secs(120);
/// What is told of what it said.
const MOST_WORDS: usize = 500;
/// Where it finds programs: what a login would have.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs it: `PROGRAM set NAME VALUE`, or `PROGRAM clear NAME VALUE`.
pub(super) async fn run(program: &Path, record: &TxtRecord, set: bool) -> Result<(), String> {
    let shown = program.display();
    let mut command = Command::new(program);
    command.arg(if set { "set" } else { "clear" }).arg(&record.name).arg(&record.value);
    command.env_clear().env("PATH", PATH).current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| format!("the DNS hook {shown} cannot be run: {error}"))?;
    let ended = timeout(DEADLINE, child.wait_with_output()).await;
    let ended = ended.map_err(|_| format!("the DNS hook {shown} did not end within {} s", DEADLINE.as_secs()))?;
    let output = ended.map_err(|error| format!("the DNS hook {shown} was lost: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let from = (0..=said.len()).find(|at| said.len() - at <= MOST_WORDS && said.is_char_boundary(*at)).unwrap_or(0);
    Err(format!("the DNS hook {shown} failed ({}): {}", output.status, &said[from..]))
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
    async fn what_it_says_when_it_fails_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = program(dir.path(), "echo 'no such zone' >&2; exit 3");
        let error = run(&path, &record(), true).await.unwrap_err();
        assert!(error.contains("exit status: 3") && error.ends_with("no such zone"), "{error}");
        let error = run(Path::new("/nonexistent/hook"), &record(), true).await.unwrap_err();
        assert!(error.contains("cannot be run"), "{error}");
    }
}
