//! `apps/{app}/domains`.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use picloud_shared::certificate::CertificateRecord;
use picloud_shared::clock::Timestamp;
use picloud_shared::domain_pattern::{DomainPattern, InvalidDomainPattern};
use picloud_shared::id::{AppId, DomainId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::certificate::CertificateView;
use crate::api::extract::{Body, Caller, PageQuery, Path, Query, app_ref, page_size};
use crate::api::openapi::problems;
use crate::api::problem::{ApiError, FieldError};
use crate::repo::domains::Domain;

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(list_domains, claim_domain)).routes(routes!(release_domain))
}

/// A domain claim.
#[derive(Serialize, ToSchema)]
struct DomainView {
    #[schema(value_type = Uuid)]
    id: DomainId,
    #[schema(value_type = Uuid)]
    app_id: AppId,
    /// What is claimed, in lower case and with A-labels; the name that a wildcard gives its label stays as it was written.
    pattern: String,
    /// The claim's shape, unique over the instance: `shop.example.com` or `*.example.com`.
    shape_key: String,
    /// How far the claim's certificate has come; null until the platform has taken the claim up, and where it manages none.
    certificate: Option<CertificateView>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl DomainView {
    fn new(domain: Domain, certificate: Option<CertificateRecord>) -> Self {
        Self {
            id: domain.id,
            app_id: domain.app_id,
            shape_key: domain.pattern.shape_key(),
            pattern: domain.pattern.to_string(),
            certificate: certificate.map(CertificateView::from),
            created_at: domain.created_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct DomainList {
    items: Vec<DomainView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
    /// Whether claims get certificates by themselves. Where they do not, somebody else serves HTTPS, or an owner uploads them.
    automatic_certificates: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ClaimDomain {
    /// A host such as `shop.example.com`, or a wildcard such as `*.example.com` or `{tenant}.example.com`.
    pattern: String,
}

problems! {
    ListProblems { "404": "`not_found`", "422": "`invalid`" }
    ClaimProblems {
        "404": "`not_found`",
        "409": "`domain_claimed` (with `conflict`), `host_reserved`",
        "422": "`invalid`, `public_suffix`, `app_limit_reached` (with `limit` and `ceiling`)",
    }
    ReleaseProblems { "404": "`not_found`", "409": "`domain_in_use` (with `routes`)" }
}

/// List the domains of an app.
#[utoipa::path(get, path = "/apps/{app}/domains", tag = "domains",
    params(("app" = String, Path, description = "The app's id or slug."), PageQuery),
    responses((status = 200, description = "A page of claims, in order of creation.", body = DomainList), ListProblems))]
async fn list_domains(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<DomainList>, ApiError> {
    let size = page_size(page.limit)?;
    let page = state.services.domains.list(&actor, &app_ref(&app)?, size, page.cursor.map(DomainId::from_uuid)).await?;
    let items = page.items.into_iter().map(|(domain, certificate)| DomainView::new(domain, certificate)).collect();
    let next_cursor = page.next.map(|id| id.to_string());
    Ok(Json(DomainList { items, next_cursor, automatic_certificates: state.automatic_certificates }))
}

/// Claim a domain for an app.
#[utoipa::path(post, path = "/apps/{app}/domains", tag = "domains", request_body = ClaimDomain,
    params(("app" = String, Path, description = "The app's id or slug.")),
    responses((status = 201, description = "The claim.", body = DomainView), ClaimProblems))]
async fn claim_domain(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Body(ClaimDomain { pattern }): Body<ClaimDomain>,
) -> Result<impl IntoResponse, ApiError> {
    let invalid = |error: InvalidDomainPattern| ApiError::invalid(vec![FieldError::new("pattern", error)]);
    let pattern: DomainPattern = pattern.parse().map_err(invalid)?;
    let domain = state.services.domains.claim(&actor, &app_ref(&app)?, pattern).await?;
    Ok((StatusCode::CREATED, Json(DomainView::new(domain, None))))
}

/// Give a domain up.
#[utoipa::path(delete, path = "/apps/{app}/domains/{domain}", tag = "domains",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("domain" = Uuid, Path, description = "The claim's id."),
    ),
    responses((status = 204, description = "The claim is gone."), ReleaseProblems))]
async fn release_domain(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, domain)): Path<(String, DomainId)>,
) -> Result<StatusCode, ApiError> {
    state.services.domains.release(&actor, &app_ref(&app)?, domain).await?;
    Ok(StatusCode::NO_CONTENT)
}
