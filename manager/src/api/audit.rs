//! `audit`: who changed what, when, from where.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use picloud_shared::clock::Timestamp;
use picloud_shared::id::{ApiKeyId, AppId, AuditId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::ApiState;
use crate::api::extract::{Caller, Query, page_size};
use crate::api::problem::ApiError;
use crate::repo::audit::{AuditEntry, AuditFilter, SealedEntry};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(list_audit))
}

/// A change, and who made it.
#[derive(Serialize, ToSchema)]
struct AuditView {
    #[schema(value_type = Uuid)]
    id: AuditId,
    /// The place in the log, without gaps.
    seq: u64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Null for the platform itself, the command line and whoever holds the set-up link.
    #[schema(value_type = Option<Uuid>)]
    user_id: Option<UserId>,
    /// The name that the user had then.
    username: Option<String>,
    /// The API key that it was done by, if by one.
    #[schema(value_type = Option<Uuid>)]
    key_id: Option<ApiKeyId>,
    /// The address that it was done from, if by way of the network.
    #[schema(value_type = Option<String>)]
    remote_ip: Option<IpAddr>,
    /// What was done, such as `script.create`.
    action: String,
    /// To what kind of thing, such as `script`.
    object_kind: String,
    /// To which one; null for the instance.
    object_id: Option<Uuid>,
    #[schema(value_type = Option<Uuid>)]
    app_id: Option<AppId>,
    /// The thing as it was, without secrets.
    #[schema(value_type = Option<HashMap<String, serde_json::Value>>)]
    before: Option<serde_json::Value>,
    /// The thing as it became, without secrets.
    #[schema(value_type = Option<HashMap<String, serde_json::Value>>)]
    after: Option<serde_json::Value>,
}

impl From<SealedEntry> for AuditView {
    fn from(SealedEntry { seq, entry, .. }: SealedEntry) -> Self {
        let AuditEntry {
            id,
            at,
            user_id,
            username,
            key_id,
            action,
            object_kind,
            object_id,
            app_id,
            remote_ip,
            before,
            after,
        } = entry;
        Self {
            id,
            seq,
            at,
            user_id,
            username,
            key_id,
            remote_ip,
            action,
            object_kind,
            object_id,
            app_id,
            before,
            after,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct AuditList {
    /// The newest first.
    items: Vec<AuditView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// Rows on the page: 50 if absent, 200 at most.
    #[serde(default)]
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    cursor: Option<u64>,
    /// Only by that user.
    #[serde(default)]
    #[param(value_type = Option<Uuid>)]
    user_id: Option<UserId>,
    /// Only that action, such as `script.create`, or all that begin with what ends in a dot, such as `script.`.
    #[serde(default)]
    action: Option<String>,
    /// Only what was done to things of that kind, such as `script`.
    #[serde(default)]
    object_kind: Option<String>,
    /// Only what was done to that thing.
    #[serde(default)]
    object_id: Option<Uuid>,
    /// Only what was done in that app.
    #[serde(default)]
    #[param(value_type = Option<Uuid>)]
    app_id: Option<AppId>,
    /// Only what was done then or later, as RFC 3339.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    since: Option<Timestamp>,
    /// Only what was done before then, as RFC 3339.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    until: Option<Timestamp>,
}

/// List what was changed.
///
/// For owners and admins.
#[utoipa::path(get, path = "/audit", tag = "instance", params(AuditQuery),
    responses((status = 200, description = "A page of changes.", body = AuditList)))]
async fn list_audit(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditList>, ApiError> {
    let AuditQuery { limit, cursor, user_id, action, object_kind, object_id, app_id, since, until } = query;
    let filter = AuditFilter { user_id, action, object_kind, object_id, app_id, since, until };
    let page = state.services.audit.list(&actor, &filter, page_size(limit)?, cursor).await?;
    let items = page.items.into_iter().map(AuditView::from).collect();
    Ok(Json(AuditList { items, next_cursor: page.next.map(|seq| seq.to_string()) }))
}
