//! The end of what nobody will handle: the triggers or scripts that it was for are gone.

use super::*;
use crate::events::EventRow;

/// How often is looked for what nobody will handle.
const ENDING_TURN: Duration = Duration::from_secs(60);

impl Dispatcher {
    /// Has lanes end that nobody will look after again: what waits there becomes dead letters; for ever.
    pub(crate) async fn keep_ending(self) {
        let mut turns = interval(ENDING_TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if let Some(Err(error)) = survive("ending what nobody handles", self.end_orphans()).await {
                debug!(error = &error as &dyn std::error::Error, "what nobody handles waits for now");
            }
        }
    }

    async fn end_orphans(&self) -> Result<(), RepoError> {
        for (app_id, lane) in self.0.events.lanes().await? {
            // What a deleted app has left is purged.
            let Some(app) = self.0.snapshot.load().app(app_id).cloned() else { continue };
            let is_known = match &lane {
                Lane::Queue(_) => true,
                Lane::Trigger(id) => app.triggers().iter().any(|trigger| trigger.id == *id),
                Lane::Script(id) => app.script(*id).is_some_and(|script| script.row.kind == ScriptKind::Endpoint),
            };
            // A node may be behind: the store knows.
            if is_known || !self.0.events.is_orphaned(app_id, &lane).await? {
                continue;
            }
            let handler = handler_of(&app);
            loop {
                let leased = self.0.events.claim_orphans(app_id, &lane).await?;
                if leased.events.is_empty() && leased.unreadable.is_empty() {
                    break;
                }
                let error = match &lane {
                    Lane::Script(_) => "the script that was to handle it is gone, or no endpoint any more",
                    _ => "the trigger that was to handle it is gone",
                };
                let dead = |event: EventRow| Settled::Dead {
                    id: event.id,
                    outcome: None,
                    error: error.to_owned(),
                    handler: handler.clone(),
                };
                let unreadable = leased.unreadable.into_iter().map(|id| {
                    warn!(event = %id, app = %app.app().slug, %lane, "an event that cannot be read ends: {error}");
                    Settled::Unreadable { id, error: error.to_owned() }
                });
                let settled = leased.events.into_iter().map(dead).chain(unreadable).collect();
                self.0.events.settle(app_id, leased.claim, settled).await?;
            }
        }
        Ok(())
    }
}
