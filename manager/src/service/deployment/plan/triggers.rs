//! Which of an app's triggers is which of those that are wanted: they have no names by which to tell them apart.

use std::collections::HashMap;
use std::mem::discriminant;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{ScriptId, TriggerId};
use picloud_shared::name::ScriptName;
use picloud_shared::script::ScriptKind;
use picloud_shared::trigger::{Trigger, TriggerSource};

use super::{State, Step, WantedTrigger};
use crate::repo::scripts::Script;
use crate::repo::triggers::StoredTrigger;

/// Whether an app may have one of the two only: they are for the same queue, or both for dead letters.
pub(crate) fn are_rivals(one: &TriggerSource, other: &TriggerSource) -> bool {
    match (one, other) {
        (TriggerSource::Queue { queue, .. }, TriggerSource::Queue { queue: other, .. }) => queue == other,
        (TriggerSource::DeadLetter, TriggerSource::DeadLetter) => true,
        _ => false,
    }
}

/// Whether there may be several of the kind, of which one is not told from another by anything that never changes.
fn is_one_of_several(source: &TriggerSource) -> bool {
    !matches!(source, TriggerSource::Queue { .. } | TriggerSource::DeadLetter)
}

/// The steps from the triggers of a state to those wanted, while the scripts become those. A trigger of a queue, or for dead letters, is
/// the one of its queue, whichever script it is to run; another one is the one of its script that is for the same, or failing
/// that for the same kind of source. So events that wait keep the trigger that they wait for.
pub(super) fn steps(state: &State, wanted: &[WantedTrigger], scripts: &[Script], at: Timestamp) -> Vec<Step> {
    let ids: HashMap<&ScriptName, ScriptId> =
        scripts.iter().map(|script| (&script.meta.name, script.meta.id)).collect();
    let endpoints: Vec<ScriptId> =
        scripts.iter().filter(|script| script.meta.kind == ScriptKind::Endpoint).map(|script| script.meta.id).collect();
    // A trigger goes with its script, as a route does: one that is to run another then is made anew.
    let (mut open, gone): (Vec<&StoredTrigger>, Vec<&StoredTrigger>) =
        state.triggers.iter().partition(|stored| endpoints.contains(&stored.trigger.script_id));
    let new: Vec<Trigger> = wanted
        .iter()
        .filter_map(|WantedTrigger { script, like }| {
            Some(Trigger { id: TriggerId::generate(at), script_id: *ids.get(script)?, ..like.clone() })
        })
        .collect();
    let mut found: Vec<Option<&StoredTrigger>> = vec![None; new.len()];
    let sames: [fn(&Trigger, &Trigger) -> bool; 4] = [
        |old, new| *old == Trigger { id: old.id, ..new.clone() },
        |old, new| are_rivals(&old.source, &new.source),
        |old, new| old.script_id == new.script_id && old.source == new.source,
        |old, new| {
            let is_same_kind = discriminant(&old.source) == discriminant(&new.source);
            old.script_id == new.script_id && is_same_kind && is_one_of_several(&old.source)
        },
    ];
    for is_same in sames {
        for (found, new) in found.iter_mut().zip(&new).filter(|(found, _)| found.is_none()) {
            let same = open.iter().position(|old| is_same(&old.trigger, new));
            *found = same.map(|place| open.remove(place));
        }
    }
    let delete = |stored: &StoredTrigger| Step::DeleteTrigger { old: stored.trigger.clone(), with_script: false };
    let mut steps: Vec<Step> = gone.into_iter().chain(open).map(delete).collect();
    for (found, new) in found.into_iter().zip(new) {
        match found {
            None => steps.push(Step::CreateTrigger(new)),
            Some(old) => {
                let new = Trigger { id: old.trigger.id, ..new };
                if new != old.trigger {
                    steps.push(Step::UpdateTrigger { old: old.clone(), new });
                }
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use picloud_shared::trigger::{Backoff, BatchSize, Concurrency, EventOps, MaxAttempts};

    use super::super::tests::{NOW, empty, script, wanted};
    use super::super::{Wanted, steps};
    use super::*;

    fn trigger(script: &str, source: TriggerSource, attempts: i64) -> WantedTrigger {
        let (id, script_id) = (TriggerId::generate(NOW), ScriptId::generate(NOW));
        let (max_attempts, backoff) = (MaxAttempts::try_from(attempts).unwrap(), Backoff::default());
        let like = Trigger { id, script_id, source, enabled: true, max_attempts, backoff, timeout: None };
        WantedTrigger { script: script.parse().unwrap(), like }
    }

    fn queue(name: &str) -> TriggerSource {
        let (batch_size, concurrency) = (BatchSize::default(), Concurrency::default());
        TriggerSource::Queue { queue: name.parse().unwrap(), batch_size, concurrency }
    }

    fn docs(collection: &str) -> TriggerSource {
        TriggerSource::Docs { collection: collection.parse().unwrap(), ops: EventOps::all(EventOps::OF_DOCS) }
    }

    fn with(scripts: &[&str], triggers: Vec<WantedTrigger>) -> Wanted {
        let scripts = scripts.iter().map(|name| script(name, "1", &[])).collect();
        Wanted { triggers: Some(triggers), ..wanted(scripts, None) }
    }

    /// What becomes of triggers: each one's number in the state before, or `new`, with its attempts; and how many are deleted.
    fn becomes(state: &State, wanted: &Wanted) -> (Vec<String>, usize) {
        let place = |id: TriggerId| state.triggers.iter().position(|stored| stored.trigger.id == id).unwrap();
        let steps = steps(state, wanted, NOW).unwrap();
        let kept = steps.iter().filter_map(|step| match step {
            Step::CreateTrigger(new) => Some(format!("new {}", new.max_attempts.get())),
            Step::UpdateTrigger { old, new } => Some(format!("{} {}", place(old.trigger.id), new.max_attempts.get())),
            _ => None,
        });
        let deleted = steps.iter().filter(|step| matches!(step, Step::DeleteTrigger { .. })).count();
        let after = state.clone().after(&steps, NOW);
        let again = super::super::steps(&after, wanted, NOW).unwrap();
        assert!(again.is_empty(), "and then it is as wanted");
        (kept.collect(), deleted)
    }

    fn state(scripts: &[&str], triggers: Vec<WantedTrigger>) -> State {
        let start = empty();
        let steps = steps(&start, &with(scripts, triggers), NOW).unwrap();
        start.after(&steps, NOW)
    }

    #[test]
    fn a_queue_keeps_its_trigger_whichever_script_it_is_to_run() {
        let state = state(&["a", "b"], vec![trigger("a", queue("q"), 1), trigger("b", queue("p"), 1)]);
        let place = |name: &str| state.triggers.iter().position(|s| s.trigger.source == queue(name)).unwrap();
        let (q, p) = (place("q"), place("p"));
        let swapped = with(&["a", "b"], vec![trigger("b", queue("q"), 2), trigger("a", queue("p"), 3)]);
        assert_eq!(becomes(&state, &swapped), (vec![format!("{q} 2"), format!("{p} 3")], 0));
        // With its script it goes, and for another one it is made anew.
        let without = with(&["b"], vec![trigger("b", queue("q"), 1), trigger("b", queue("p"), 1)]);
        assert_eq!(becomes(&state, &without), (vec!["new 1".to_owned()], 1));
        assert_eq!(
            becomes(&state, &with(&["a", "b"], vec![trigger("a", queue("r"), 1)])),
            (vec!["new 1".to_owned()], 2)
        );
    }

    #[test]
    fn one_of_several_is_first_the_one_for_the_same_and_then_one_of_the_same_kind() {
        let state = state(&["a"], vec![trigger("a", docs("x"), 1), trigger("a", docs("y"), 1)]);
        let place = |name: &str| state.triggers.iter().position(|s| s.trigger.source == docs(name)).unwrap();
        let (x, y) = (place("x"), place("y"));
        let changed = with(&["a"], vec![trigger("a", docs("z"), 4), trigger("a", docs("y"), 5)]);
        assert_eq!(becomes(&state, &changed), (vec![format!("{x} 4"), format!("{y} 5")], 0));
        let twice =
            with(&["a"], vec![trigger("a", docs("x"), 1), trigger("a", docs("y"), 1), trigger("a", docs("y"), 1)]);
        assert_eq!(becomes(&state, &twice), (vec!["new 1".to_owned()], 0));
    }

    #[test]
    fn those_that_differ_only_beside_their_source_stay_as_they_are_in_any_order() {
        let attempts = |order: [i64; 3]| order.map(|attempts| trigger("a", docs("x"), attempts)).into_iter().collect();
        let state = state(&["a"], attempts([3, 1, 2]));
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
            assert_eq!(becomes(&state, &with(&["a"], attempts(order))), (vec![], 0));
        }
        let told: Vec<_> = state.triggers.iter().map(|stored| stored.trigger.max_attempts.get()).collect();
        assert_eq!(told, [1, 2, 3], "in an order that tells nothing of when they were made");
    }
}
