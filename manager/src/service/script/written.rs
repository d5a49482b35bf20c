//! What is written of scripts within a change, each time with the audit row. Who may, and whether the rules allow it, is asked
//! before.

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{AppId, ScriptId};
use picloud_shared::name::ScriptName;
use picloud_shared::script::{ExecuteAccess, Sandbox, ScriptKind};
use serde_json::{Value, json};

use crate::repo::audit::AuditObject;
use crate::repo::scripts::{self, Script, ScriptMeta};
use crate::service::authorize::Actor;
use crate::service::change::{Change, Event};
use crate::service::error::ServiceError;

pub(super) fn audited(meta: &ScriptMeta) -> Value {
    let ScriptMeta { name, kind, description, version, timeout_ms, sandbox, execute_access, .. } = meta;
    json!({
        "name": name, "kind": kind, "description": description, "version": version, "timeout_ms": timeout_ms,
        "sandbox": sandbox, "execute_access": execute_access,
    })
}

/// A script of version 1 with everything optional left out.
pub(crate) fn blank_meta(id: ScriptId, app_id: AppId, name: ScriptName, kind: ScriptKind, at: Timestamp) -> ScriptMeta {
    ScriptMeta {
        id,
        app_id,
        name,
        kind,
        description: String::new(),
        version: 1,
        imports: Vec::new(),
        timeout_ms: None,
        sandbox: Sandbox::default(),
        execute_access: ExecuteAccess::Open,
        created_at: at,
        updated_at: at,
    }
}

/// Stores what changed of a script with its audit row; the script as it is then.
pub(crate) async fn store(
    change: &mut Change,
    actor: &Actor,
    old: &Script,
    mut new: Script,
) -> Result<Script, ServiceError> {
    let (id, app_id, at) = (new.meta.id, new.meta.app_id, change.at);
    if new.source != old.source {
        let by = Some(actor.user.id);
        let saved = scripts::update_source(change, id, &new.source, &new.meta.imports, by, at).await?;
        new.meta.version = saved.ok_or(ServiceError::NotFound("script"))?;
    }
    new.meta.updated_at = at;
    // What a source brings with it is stored with it.
    let ScriptMeta { version, imports, updated_at, .. } = new.meta.clone();
    if new.meta != (ScriptMeta { version, imports, updated_at, ..old.meta.clone() }) {
        scripts::update(change, &new.meta).await?;
    }
    let event = Event::new("script.update", AuditObject::Script(id)).in_app(app_id);
    change.record(event.before(audited(&old.meta)).after(audited(&new.meta)));
    Ok(new)
}

/// Removes scripts, of which some may not be readable, and their routes with them, with an audit row for each script.
pub(crate) async fn forget_all(
    change: &mut Change,
    app_id: AppId,
    scripts: &[(ScriptId, Option<&ScriptMeta>)],
) -> Result<(), ServiceError> {
    let ids: Vec<ScriptId> = scripts.iter().map(|(id, _)| *id).collect();
    scripts::delete_all(change, &ids).await?;
    for (id, meta) in scripts {
        let before = meta.map_or_else(|| json!({ "unreadable": true }), audited);
        record_deletion(change, app_id, *id, before);
    }
    Ok(())
}

pub(super) async fn delete_script(
    change: &mut Change,
    app_id: AppId,
    id: ScriptId,
    before: Value,
) -> Result<(), ServiceError> {
    scripts::delete(change, id).await?;
    record_deletion(change, app_id, id, before);
    Ok(())
}

fn record_deletion(change: &mut Change, app_id: AppId, id: ScriptId, before: Value) {
    let event = Event::new("script.delete", AuditObject::Script(id)).in_app(app_id);
    change.record(event.before(before));
}

/// Stores a new script with its audit row.
pub(crate) async fn insert_script(
    change: &mut Change,
    script: &Script,
    by: Option<&Actor>,
) -> Result<(), ServiceError> {
    scripts::insert(change, script, by.map(|actor| actor.user.id)).await?;
    let event = Event::new("script.create", AuditObject::Script(script.meta.id)).in_app(script.meta.app_id);
    change.record(event.after(audited(&script.meta)));
    Ok(())
}
