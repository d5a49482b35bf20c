//! Takes secrets out of what came of a run, for those who are shown it or keep it.

use picloud_executor::Completion;
use picloud_shared::execution::{MAX_FAILURE_BYTES, MAX_LOG_BYTES, Redactor};

/// Bytes that are gone through at most to take the secrets out of a test's log.
const MOST_WORK: usize = 64 * 1024 * 1024;

/// Takes the secrets that the run was given out of what it logged and how it failed, as they are out of its record. The response is
/// the script's.
pub(crate) async fn without_secrets(mut completion: Completion) -> Completion {
    if completion.secrets.is_empty() {
        return completion;
    }
    let (mut failure, mut logs) = (completion.failure.take(), std::mem::take(&mut completion.logs));
    let secrets = completion.secrets.clone();
    let redact = move || {
        let redactor = Redactor::new(&secrets, MAX_FAILURE_BYTES + MAX_LOG_BYTES, MOST_WORK);
        failure.iter_mut().for_each(|failure| redactor.failure(failure));
        logs.iter_mut().for_each(|line| redactor.line(line));
        (failure, logs)
    };
    match tokio::task::spawn_blocking(redact).await {
        Ok((failure, logs)) => Completion { failure, logs, ..completion },
        // Rather nothing than what may hold one.
        Err(_) => completion,
    }
}
