//! Panics of the interpreter: kept off the program's log but for a line a second and script, since a script can cause as many
//! as it likes.

use std::any::Any;
use std::collections::HashMap;
use std::panic;
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use picloud_shared::id::ScriptId;

use crate::limits;

/// Between two lines about one script.
const PAUSE: Duration = Duration::from_secs(1);
/// Scripts that are remembered; more start anew.
const REMEMBERED: usize = 256;

/// Has panics on threads that run a script say nothing by themselves; all others go on as before.
pub fn silence_scripts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !limits::is_running() {
                before(info);
            }
        }));
    });
}

/// Tells of a script whose run panicked, unless that was told just now.
pub fn report(script: ScriptId, panic: &(dyn Any + Send)) {
    static TOLD: Mutex<Option<HashMap<ScriptId, Instant>>> = Mutex::new(None);
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if is_due(told.get_or_insert_default(), script, Instant::now()) {
        tracing::error!(%script, panic = message(panic), "a script's run panicked");
    }
}

fn is_due(told: &mut HashMap<ScriptId, Instant>, script: ScriptId, now: Instant) -> bool {
    if told.get(&script).is_some_and(|last| now.duration_since(*last) < PAUSE) {
        return false;
    }
    if told.len() >= REMEMBERED {
        told.clear();
    }
    told.insert(script, now);
    true
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use picloud_shared::clock::Timestamp;

    #[test]
    fn a_script_is_told_of_once_a_second_and_others_beside_it() {
        let script = |millis| ScriptId::generate(Timestamp::from_millis(millis));
        let (mut told, now) = (HashMap::new(), Instant::now());
        let one = script(1);
        assert!(is_due(&mut told, one, now));
        assert!(!is_due(&mut told, one, now));
        assert!(is_due(&mut told, one, now + PAUSE));
        for other in 2..1_000 {
            assert!(is_due(&mut told, script(other), now));
        }
        assert!(told.len() <= REMEMBERED);
    }
}
