//! Attacks on the control plane, each by its name. Those on one part alone stand with that part: guesses at one password
//! (`auth.rs`, `users.rs`), keys beyond their scopes, their app and their owner (`keys.rs`, `matrix.rs`), roles above one's own
//! (`users.rs`), damage to the audit log (`audit.rs`), a second cookie (`src/api/credential.rs`).

mod by_ids;
mod by_members;
mod on_people;

use serde_json::Value;

use crate::stage::{Stage, Target};

/// All that can be told of an app, its members and the changes in it among that.
async fn all_of(stage: &Stage, target: &Target) -> Vec<Value> {
    let app = format!("/apps/{}", target.slug);
    let audit = format!("/audit?limit=200&app_id={}", crate::world::id(&target.app));
    let mut all = Vec::new();
    for path in [app.clone(), format!("{app}/export"), format!("{app}/members"), audit, "/admins?limit=200".to_owned()]
    {
        all.push(stage.owner.get(&path).await.is(200));
    }
    all
}
