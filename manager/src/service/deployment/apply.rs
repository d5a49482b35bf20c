//! What is to be done, done within one change.

use picloud_shared::script::ScriptKind;
use serde_json::json;

use super::plan::Step;
use crate::repo::routes::StoredRoute;
use crate::repo::scripts::Script;
use crate::service::authorize::{Access, Actor};
use crate::service::change::Change;
use crate::service::domain::{self, DomainService};
use crate::service::error::ServiceError;
use crate::service::route::{self, insert_routes};
use crate::service::script::{self, insert_script};
use crate::service::trigger::{self, triggers_of};
use crate::service::{app, env};
use crate::store::Conn;

/// Does the steps, each with the audit row that it would have alone.
pub(super) async fn apply(
    change: &mut Change,
    actor: &Actor,
    access: &Access,
    steps: &[Step],
    domains: &DomainService,
) -> Result<(), ServiceError> {
    // Of routes and scripts there may be thousands.
    let (mut gone_routes, mut gone_scripts, mut changed, mut created) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::ForgetRoute(id) => gone_routes.push((*id, None)),
            Step::DeleteRoute(route) => gone_routes.push((route.id, Some(route))),
            Step::ForgetScript(id) => gone_scripts.push((*id, None)),
            Step::DeleteScript(old) => gone_scripts.push((old.meta.id, Some(&old.meta))),
            Step::UpdateRoute { old, new } => changed.push((old, new)),
            Step::CreateRoute(route) => created.push(StoredRoute { route: route.clone(), created_at: change.at }),
            _ => {}
        }
    }
    for step in steps {
        match step {
            Step::ForgetTrigger(id) => trigger::remove(change, access.app.id, *id, None).await?,
            Step::DeleteTrigger { old, .. } => trigger::remove(change, access.app.id, old.id, Some(old)).await?,
            _ => {}
        }
    }
    route::forget_all(change, access.app.id, &gone_routes).await?;
    script::forget_all(change, access.app.id, &gone_scripts).await?;
    for step in steps {
        match step {
            Step::ReleaseDomain(domain) => {
                let before = json!({ "pattern": domain.pattern });
                domain::give_up(change, domain.app_id, domain.id, before).await?;
            }
            Step::ClaimDomain { place, pattern } => {
                let taken = domains.take(change, actor, access, pattern.clone()).await;
                taken.map_err(|error| error.at(format!("domains[{place}]")))?;
            }
            Step::UpdateApp { old, new } => app::store(change, old, new).await?,
            Step::CreateScript { script, .. } => insert_script(change, script, Some(actor)).await?,
            Step::UpdateScript { place, old, new } => {
                refuse_triggered(change, old, new).await.map_err(|error| error.at(format!("scripts[{place}].kind")))?;
                script::store(change, actor, old, new.clone()).await?;
            }
            Step::UpdateTrigger { old, new } => drop(trigger::store(change, old, new.clone()).await?),
            Step::CreateTrigger(new) => drop(trigger::insert(change, access.app.id, new.clone()).await?),
            Step::DeleteSetting(old) => env::remove(change, access.app.id, old).await?,
            Step::SetSetting { old, name, value } => {
                env::store(change, access.app.id, old.as_ref(), name.clone(), value.clone()).await?;
            }
            // Before, or all at once after.
            Step::ForgetTrigger(_)
            | Step::DeleteTrigger { .. }
            | Step::ForgetRoute(_)
            | Step::DeleteRoute(_)
            | Step::ForgetScript(_)
            | Step::DeleteScript(_)
            | Step::UpdateRoute { .. }
            | Step::CreateRoute(_) => {}
        }
    }
    route::store_all(change, &changed).await?;
    insert_routes(change, &created).await
}

/// Refuses to make a module of what a trigger runs. (Of routes the document tells itself.)
async fn refuse_triggered(conn: &mut Conn, old: &Script, new: &Script) -> Result<(), ServiceError> {
    if old.meta.kind != ScriptKind::Endpoint || new.meta.kind != ScriptKind::Module {
        return Ok(());
    }
    let triggers = triggers_of(conn, old.meta.id).await?;
    match triggers.is_empty() {
        true => Ok(()),
        false => Err(ServiceError::ScriptInUse { routes: Vec::new(), triggers, importers: Vec::new() }),
    }
}
