//! Which apps' scripts waited for locks of their own on an I/O thread.
//!
//! Rhai keeps a captured variable behind a lock. A script that wants one that it holds itself (`a.map(|x| a.len())`) is an error, but
//! only after its thread slept for 50 ms, in one operation and unseen by any meter. It happens in programs that share values
//! (`Program::shares`), and these run on I/O threads like all others, until one of the app's did that: then the app's go to the workers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use picloud_shared::id::AppId;

/// An inline run that took as long has waited; its meter stops it after a small part of this, whatever else it does.
const WAITED: Duration = Duration::from_millis(50);
/// How long an app is kept off the I/O threads. Not for ever, since a machine that stood still looks the same.
const KEPT_OFF: Duration = Duration::from_secs(3600);

/// The apps that are kept off.
#[derive(Debug, Default)]
pub struct LockWaits {
    until: Mutex<HashMap<AppId, Instant>>,
}

impl LockWaits {
    /// Notes how long an inline run of a program took that shares values.
    pub fn note(&self, app: AppId, took: Duration, now: Instant) {
        if took < WAITED {
            return;
        }
        let mut until = self.lock();
        until.retain(|_, until| *until > now);
        until.insert(app, now + KEPT_OFF);
    }

    /// Whether the app's programs that share values are kept off the I/O threads.
    pub fn keep_off(&self, app: AppId, now: Instant) -> bool {
        self.lock().get(&app).is_some_and(|until| *until > now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AppId, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picloud_shared::clock::Timestamp;

    fn app(millis: i64) -> AppId {
        AppId::generate(Timestamp::from_millis(millis))
    }

    #[test]
    fn an_app_that_waited_is_kept_off_for_an_hour_and_no_other() {
        let (waits, now) = (LockWaits::default(), Instant::now());
        waits.note(app(1), Duration::from_micros(400), now);
        let (one, other) = (app(1), app(2));
        waits.note(one, Duration::from_millis(50), now);
        assert!(waits.keep_off(one, now + Duration::from_secs(3599)));
        assert!(!waits.keep_off(one, now + KEPT_OFF) && !waits.keep_off(other, now));
        waits.note(other, Duration::from_millis(50), now + KEPT_OFF);
        assert_eq!(waits.lock().len(), 1);
    }
}
