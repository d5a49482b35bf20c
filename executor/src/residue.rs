//! What runs leave behind for ever. A closure that captures the variable it is kept in holds itself, as does a part of the request that is
//! put into itself, and Rhai counts references: nothing frees it. So what each app left is added up, and an app that left too much gets
//! no more runs of programs that could leave more, until the process starts anew. That bounds what one app loses, with what its runs hold
//! that were admitted before; once all have lost too much together, each that left more than a little is refused as well. Whoever left
//! next to nothing is never refused for what others left.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use picloud_shared::execution::LogLine;
use picloud_shared::id::AppId;

use crate::failure::Failed;
use crate::invocation::ScriptResponse;
use crate::memory::{Account, measured};

/// What one app may leave, in memories of one execution.
const APP_SHARE: usize = 4;
/// What all apps together may leave before those are refused that left more than a little.
const TOTAL_SHARE: usize = 16;
/// The part of a memory that is a little.
const LITTLE: usize = 16;

/// The bytes that each app's runs have left.
pub struct Residues {
    app_limit: usize,
    total_limit: usize,
    little: usize,
    left: Mutex<Left>,
}

#[derive(Default)]
struct Left {
    /// Only apps that left anything; each entry stands for memory that is lost, so it is bounded as that is.
    apps: HashMap<AppId, usize>,
    total: usize,
}

impl Residues {
    /// None yet, where one execution may take `memory_bytes`.
    pub fn new(memory_bytes: usize) -> Self {
        let limit = |share: usize| memory_bytes.saturating_mul(share);
        Self {
            app_limit: limit(APP_SHARE),
            total_limit: limit(TOTAL_SHARE),
            little: memory_bytes / LITTLE,
            left: Mutex::default(),
        }
    }

    /// Whether the app may run what could leave more.
    ///
    /// # Errors
    /// It left too much already.
    pub fn admit(&self, app: AppId) -> Result<(), Failed> {
        let left = self.lock();
        let of_app = left.apps.get(&app).copied().unwrap_or(0);
        if of_app > self.app_limit || (of_app > self.little && left.total > self.total_limit) {
            return Err(Failed::budget("max_memory").because(
                "closures of this app that capture the variable they are kept in were never freed, and took too much \
                 memory: such a closure holds itself; programs with closures that capture run again once PiCloud restarts",
            ));
        }
        Ok(())
    }

    /// Adds what a run left.
    pub fn add(&self, app: AppId, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut left = self.lock();
        let crosses = |before: usize, limit: usize| before <= limit && before.saturating_add(bytes) > limit;
        let all = crosses(left.total, self.total_limit);
        left.total = left.total.saturating_add(bytes);
        let of_app = left.apps.entry(app).or_default();
        let one = crosses(*of_app, self.app_limit);
        *of_app = of_app.saturating_add(bytes);
        drop(left);
        if one {
            tracing::warn!(%app, "closures that hold themselves have taken too much memory; this app's are refused");
        }
        if all {
            tracing::warn!(
                "closures that hold themselves have taken too much memory; those of the apps that have such are refused"
            );
        }
    }

    /// The bytes that are lost.
    pub fn total(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies what a run gives out and drops the original; what is still held beside the copy is what the run left. Nothing else
/// of the run may be alive.
pub fn of_run(
    account: Account,
    result: Result<ScriptResponse, Failed>,
    logs: Vec<LogLine>,
) -> (Result<ScriptResponse, Failed>, Vec<LogLine>, usize) {
    let (copy, copied) = measured(|| (result.as_ref().map(copied_whole).map_err(Failed::clone), logs.clone()));
    drop((result, logs));
    let left = account.held().saturating_sub(copied);
    (copy.0, copy.1, left)
}

/// A copy that shares no memory with the original, as a clone would.
fn copied_whole(response: &ScriptResponse) -> ScriptResponse {
    let headers = copied_headers(&response.headers);
    ScriptResponse { status: response.status, headers, body: Bytes::copy_from_slice(&response.body) }
}

/// The same for headers.
pub fn copied_headers(original: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(original.len());
    for (name, value) in original {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use picloud_shared::clock::Timestamp;
    use picloud_shared::execution::{LogLevel, Outcome};

    fn app(millis: i64) -> AppId {
        AppId::generate(Timestamp::from_millis(millis))
    }

    #[test]
    fn an_app_is_refused_once_it_left_too_much_and_others_are_not() {
        let (residues, app, other) = (Residues::new(1_000), app(1), app(2));
        residues.add(app, 4_000);
        assert!(residues.admit(app).is_ok());
        residues.add(app, 1);
        assert_eq!(residues.admit(app).unwrap_err().outcome, Outcome::BudgetExceeded);
        assert!(residues.admit(other).is_ok());
    }

    #[test]
    fn many_apps_that_left_some_are_refused_and_those_that_left_next_to_nothing_never() {
        let residues = Residues::new(1_000);
        let apps: Vec<AppId> = (0..17).map(app).collect();
        for app in &apps {
            assert!(residues.admit(*app).is_ok());
            residues.add(*app, 1_000);
        }
        assert!(residues.admit(apps[3]).is_err());
        assert_eq!(residues.total(), 17_000);
        let careless = app(99);
        residues.add(careless, 1_000 / LITTLE);
        assert!(residues.admit(careless).is_ok());
        residues.add(careless, 1);
        assert!(residues.admit(careless).is_err());
    }

    #[test]
    fn what_a_run_gives_out_is_not_what_it_left() {
        let line = || LogLine {
            time: Timestamp::from_millis(0),
            level: LogLevel::Info,
            message: "said".to_owned(),
            data: Some(serde_json::json!({"a": [1, 2, "three"]})),
        };
        let response = || {
            let mut headers = HeaderMap::new();
            headers.append("x-a", HeaderValue::from_static("1"));
            headers.append("x-a", HeaderValue::from_static("2"));
            ScriptResponse { status: http::StatusCode::OK, headers, body: Bytes::from(vec![1; 5_000]) }
        };
        let account = Account::open();
        let leaked = vec![0_u8; 300];
        let (result, logs, left) = of_run(account, Ok(response()), vec![line()]);
        assert_eq!(left, 300);
        let copy = result.unwrap();
        assert_eq!((copy.headers, copy.body), (response().headers, response().body));
        assert_eq!(logs, [line()]);
        drop(leaked);
    }
}
