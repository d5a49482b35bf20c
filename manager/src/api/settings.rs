//! `settings` and `limits`.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use picloud_shared::script::{ExecuteAccess, Limits};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Body, Caller, present};
use crate::api::openapi::problems;
use crate::api::precondition::{IfMatch, etag};
use crate::api::problem::ApiError;
use crate::api::schema;
use crate::repo::settings::Settings;
use crate::service::app_limit::AppLimit;
use crate::service::settings::{SettingsPatch, revision};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(get_settings, update_settings)).routes(routes!(get_limits))
}

/// The instance's settings.
#[derive(Serialize, ToSchema)]
struct SettingsView {
    /// Who may run a new script by its id, where its author does not say.
    #[schema(value_type = schema::ExecuteAccess)]
    execute_access: ExecuteAccess,
}

impl From<Settings> for SettingsView {
    fn from(Settings { execute_access }: Settings) -> Self {
        Self { execute_access }
    }
}

/// Changes of the settings; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateSettings {
    /// For scripts that are made from now on.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = schema::ExecuteAccess, required = false)]
    execute_access: Option<ExecuteAccess>,
}

/// Limits of one script's runs.
#[derive(Serialize, ToSchema)]
struct LimitsView {
    max_operations: u64,
    max_string_size: u64,
    max_array_size: u64,
    max_map_size: u64,
    max_call_levels: u64,
    max_expr_depth: u64,
    timeout_ms: u64,
}

impl From<&Limits> for LimitsView {
    fn from(limits: &Limits) -> Self {
        let Limits {
            max_operations,
            max_string_size,
            max_array_size,
            max_map_size,
            max_call_levels,
            max_expr_depth,
            timeout,
        } = *limits;
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        Self {
            max_operations,
            max_string_size,
            max_array_size,
            max_map_size,
            max_call_levels,
            max_expr_depth,
            timeout_ms,
        }
    }
}

/// How much one app may have.
#[derive(Serialize, ToSchema)]
struct AppLimitsView {
    scripts: u64,
    /// Bytes of all current sources.
    source_bytes: u64,
    routes: u64,
    triggers: u64,
    domains: u64,
    former_slugs: u64,
}

/// The limits that hold on this instance.
#[derive(Serialize, ToSchema)]
struct InstanceLimits {
    /// What a script gets that asks for nothing.
    defaults: LimitsView,
    /// The most that a script may ask for.
    ceilings: LimitsView,
    app: AppLimitsView,
}

problems! {
    UpdateProblems { "412": "`precondition_failed`" }
}

/// Get the settings.
///
/// For owners and admins.
#[utoipa::path(get, path = "/settings", tag = "instance",
    responses((status = 200, description = "The settings.", body = SettingsView,
        headers(("etag" = String, description = "What `If-Match` of a change takes.")))))]
async fn get_settings(State(state): State<ApiState>, Caller(actor): Caller) -> Result<impl IntoResponse, ApiError> {
    let settings = state.services.settings.get(&actor).await?;
    Ok((etag(&revision(&settings)), Json(SettingsView::from(settings))))
}

/// Change the settings.
///
/// For owners.
#[utoipa::path(patch, path = "/settings", tag = "instance", request_body = UpdateSettings, params(IfMatch),
    responses((status = 200, description = "The settings as they are now.", body = SettingsView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), UpdateProblems))]
async fn update_settings(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    IfMatch(precondition): IfMatch,
    Body(UpdateSettings { execute_access }): Body<UpdateSettings>,
) -> Result<impl IntoResponse, ApiError> {
    let patch = SettingsPatch { execute_access };
    let settings = state.services.settings.update(&actor, patch, &precondition).await?;
    Ok((etag(&revision(&settings)), Json(SettingsView::from(settings))))
}

/// Tell the limits that hold.
#[utoipa::path(get, path = "/limits", tag = "instance",
    responses((status = 200, description = "The limits.", body = InstanceLimits)))]
async fn get_limits(State(state): State<ApiState>, _caller: Caller) -> Json<InstanceLimits> {
    let policy = state.services.settings.limits();
    Json(InstanceLimits {
        defaults: (&policy.defaults).into(),
        ceilings: (&policy.ceilings).into(),
        app: AppLimitsView {
            scripts: AppLimit::Scripts.ceiling(),
            source_bytes: AppLimit::SourceBytes.ceiling(),
            routes: AppLimit::Routes.ceiling(),
            triggers: AppLimit::Triggers.ceiling(),
            domains: AppLimit::Domains.ceiling(),
            former_slugs: AppLimit::FormerSlugs.ceiling(),
        },
    })
}
