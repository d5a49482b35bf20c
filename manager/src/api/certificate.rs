//! `certificates`: what is served, what is being ordered, and why it is not there yet.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use picloud_shared::certificate::{
    Attempt, AttemptOutcome, CertificateRecord, CertificateSource, CertificateState, ChallengeKind, Check, Finding,
    PrivateKey, Verdict,
};
use picloud_shared::clock::Timestamp;
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::id::{AppId, CertificateAttemptId, CertificateId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ApiState;
use crate::api::extract::{Body, Caller, PageQuery, Path, Query, page_size};
use crate::api::openapi::problems;
use crate::api::problem::{ApiError, FieldError};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(list_certificates, upload_certificate))
        .routes(routes!(get_certificate, delete_certificate))
        .routes(routes!(renew_certificate))
        .routes(routes!(preflight_certificate))
        .routes(routes!(get_internal_root))
}

/// A certificate, and how far getting the next one has come.
#[derive(Serialize, ToSchema)]
pub(crate) struct CertificateView {
    #[schema(value_type = Uuid)]
    id: CertificateId,
    /// `automatic` from a public authority, `internal` from the instance's own, `manual` as it was uploaded.
    #[schema(value_type = String)]
    source: CertificateSource,
    /// The names that it is for, or is to be for.
    names: Vec<String>,
    /// Whose claim it was first wanted for; null for the dashboard's hosts and for uploaded ones.
    #[schema(value_type = Option<Uuid>)]
    app_id: Option<AppId>,
    /// `claimed`, `preflight`, `ordering`, `valid`, `renewing` or `failing`. One that is failing may be served all the same.
    #[schema(value_type = String)]
    state: CertificateState,
    /// Who signed what is served; null until there is something.
    issuer: Option<String>,
    /// The serial number of what is served, in hexadecimal.
    serial: Option<String>,
    /// From when on what is served is good.
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<Timestamp>,
    /// Until when.
    #[schema(value_type = Option<String>, format = DateTime)]
    not_after: Option<Timestamp>,
    /// When it is to be renewed.
    #[schema(value_type = Option<String>, format = DateTime)]
    renew_at: Option<Timestamp>,
    /// When something is done next; null for never by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    /// Rounds of attempts that failed since the last success.
    failures: u32,
    /// Why the last attempt failed, or what stands in the way.
    last_error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<CertificateRecord> for CertificateView {
    fn from(record: CertificateRecord) -> Self {
        let CertificateRecord { id, source, names, app, state, failures, last_error, .. } = record;
        let facts = record.facts;
        Self {
            id,
            source,
            names: names.iter().map(DomainPattern::shape_key).collect(),
            app_id: app,
            state,
            not_before: facts.as_ref().map(|facts| facts.not_before),
            not_after: facts.as_ref().map(|facts| facts.not_after),
            serial: facts.as_ref().map(|facts| facts.serial.clone()),
            issuer: facts.map(|facts| facts.issuer),
            renew_at: record.renewal.map(|renewal| renewal.at),
            next_attempt_at: record.next_attempt_at,
            failures,
            last_error,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// One attempt to get a certificate.
#[derive(Serialize, ToSchema)]
struct AttemptView {
    #[schema(value_type = Uuid)]
    id: CertificateAttemptId,
    /// The directory of the authority.
    authority: String,
    /// `http-01`, `tls-alpn-01` or `dns-01`.
    #[schema(value_type = Option<String>)]
    challenge: Option<ChallengeKind>,
    /// Whether there was a certificate already.
    is_renewal: bool,
    /// `running`, `succeeded` or `failed`.
    #[schema(value_type = String)]
    outcome: AttemptOutcome,
    /// Why it failed.
    error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        let Attempt { id, authority, challenge, is_renewal, outcome, error, started_at, ended_at, .. } = attempt;
        Self { id, authority, challenge, is_renewal, outcome, error, started_at, ended_at }
    }
}

/// A certificate with its history.
#[derive(Serialize, ToSchema)]
struct CertificateWithAttempts {
    #[serde(flatten)]
    certificate: CertificateView,
    /// The newest 50, the newest first.
    attempts: Vec<AttemptView>,
}

#[derive(Serialize, ToSchema)]
struct CertificateList {
    items: Vec<CertificateView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
    /// Whether certificates are obtained and renewed by themselves (the setting of that name).
    automatic_certificates: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UploadCertificate {
    /// The chain in PEM, the leaf first.
    chain: String,
    /// The leaf's private key in PEM.
    #[schema(value_type = String)]
    key: PrivateKey,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PreflightRequest {
    /// A host such as `shop.example.com`, or a wildcard such as `*.example.com`. It need not be claimed yet.
    name: String,
}

/// What was found of one thing.
#[derive(Serialize, ToSchema)]
struct FindingView {
    /// `name`, `resolution`, `caa`, `http`, `https` or `dns`.
    #[schema(value_type = String)]
    check: Check,
    /// `passed`, `doubtful` (it cannot be told from here) or `failed`.
    #[schema(value_type = String)]
    verdict: Verdict,
    /// The same in plain words, and what to do.
    detail: String,
}

/// Whether an authority could show that a name is ours.
#[derive(Serialize, ToSchema)]
struct PreflightView {
    name: String,
    /// Whether nothing failed: an order would be placed.
    passed: bool,
    findings: Vec<FindingView>,
}

problems! {
    ListProblems { "422": "`invalid`" }
    FindProblems { "404": "`not_found`" }
    UploadProblems { "422": "`invalid`" }
    DeleteProblems { "404": "`not_found`", "409": "`certificate_managed`" }
    RenewProblems { "404": "`not_found`", "409": "`certificate_uploaded`" }
    PreflightProblems { "422": "`invalid`" }
    RootProblems { "404": "`not_found`" }
}

/// List certificates.
///
/// For owners and admins.
#[utoipa::path(get, path = "/certificates", tag = "instance", params(PageQuery),
    responses((status = 200, description = "A page of certificates, in order of creation.", body = CertificateList),
        ListProblems))]
async fn list_certificates(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<CertificateList>, ApiError> {
    let size = page_size(page.limit)?;
    let after = page.cursor.map(CertificateId::from_uuid);
    let page = state.services.certificates.list(&actor, size, after).await?;
    let items = page.items.into_iter().map(CertificateView::from).collect();
    let next_cursor = page.next.map(|id| id.to_string());
    Ok(Json(CertificateList { items, next_cursor, automatic_certificates: state.automatic_certificates }))
}

/// Show a certificate with its newest attempts.
///
/// For owners and admins.
#[utoipa::path(get, path = "/certificates/{certificate}", tag = "instance",
    params(("certificate" = Uuid, Path, description = "The certificate's id.")),
    responses((status = 200, description = "The certificate.", body = CertificateWithAttempts), FindProblems))]
async fn get_certificate(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<CertificateId>,
) -> Result<Json<CertificateWithAttempts>, ApiError> {
    let (record, attempts) = state.services.certificates.find(&actor, id).await?;
    let attempts = attempts.into_iter().map(AttemptView::from).collect();
    Ok(Json(CertificateWithAttempts { certificate: record.into(), attempts }))
}

/// Upload a certificate.
///
/// It is served to the next handshake for its names, before automatic ones for them. For owners.
#[utoipa::path(post, path = "/certificates", tag = "instance", request_body = UploadCertificate,
    responses((status = 201, description = "The certificate.", body = CertificateView), UploadProblems))]
async fn upload_certificate(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Body(UploadCertificate { chain, key }): Body<UploadCertificate>,
) -> Result<impl IntoResponse, ApiError> {
    let record = state.services.certificates.upload(&actor, chain, key).await?;
    Ok((StatusCode::CREATED, Json(CertificateView::from(record))))
}

/// Serve an uploaded certificate no longer.
///
/// Managed ones go with their claim. For owners.
#[utoipa::path(delete, path = "/certificates/{certificate}", tag = "instance",
    params(("certificate" = Uuid, Path, description = "The certificate's id.")),
    responses((status = 204, description = "The certificate is gone."), DeleteProblems))]
async fn delete_certificate(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<CertificateId>,
) -> Result<StatusCode, ApiError> {
    state.services.certificates.delete(&actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Renew a certificate now.
///
/// The attempt begins at once; how it goes is told by the certificate's state. For owners.
#[utoipa::path(post, path = "/certificates/{certificate}/renew", tag = "instance",
    params(("certificate" = Uuid, Path, description = "The certificate's id.")),
    responses((status = 202, description = "The certificate as it is until then.", body = CertificateView), RenewProblems))]
async fn renew_certificate(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<CertificateId>,
) -> Result<impl IntoResponse, ApiError> {
    let record = state.services.certificates.renew(&actor, id).await?;
    Ok((StatusCode::ACCEPTED, Json(CertificateView::from(record))))
}

/// Look whether a certificate for a name could be had.
///
/// Nothing is ordered. For owners and admins.
#[utoipa::path(post, path = "/certificates:preflight", tag = "instance", request_body = PreflightRequest,
    responses((status = 200, description = "What was found.", body = PreflightView), PreflightProblems))]
async fn preflight_certificate(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Body(PreflightRequest { name }): Body<PreflightRequest>,
) -> Result<Json<PreflightView>, ApiError> {
    let pattern: DomainPattern =
        name.parse().map_err(|error| ApiError::invalid(vec![FieldError::new("name", error)]))?;
    let findings = state.services.certificates.preflight(&actor, &pattern).await?;
    let passed = findings.iter().all(|finding| finding.verdict != Verdict::Failed);
    let view = |Finding { check, verdict, detail }| FindingView { check, verdict, detail };
    Ok(Json(PreflightView { name: pattern.shape_key(), passed, findings: findings.into_iter().map(view).collect() }))
}

/// What phones and browsers take for a root that they are asked to trust.
const ROOT_MEDIA_TYPE: &str = "application/x-x509-ca-cert";

/// Download the root of the instance's own authority.
///
/// It signs for names that no public authority does, such as those of a home network; devices must be told to trust it. It is no
/// secret: for everybody who is signed in. There is none before the first such name has its certificate.
#[utoipa::path(get, path = "/certificates:internal-root", tag = "instance",
    responses((status = 200, description = "The root in PEM.", body = String, content_type = ROOT_MEDIA_TYPE,
        headers(("content-disposition" = String, description = "The name of a file for it."))), RootProblems))]
async fn get_internal_root(State(state): State<ApiState>, _caller: Caller) -> Result<impl IntoResponse, ApiError> {
    let root = state.services.certificates.internal_root().await?;
    let headers = [(CONTENT_TYPE, ROOT_MEDIA_TYPE), (CONTENT_DISPOSITION, "attachment; filename=\"picloud-root.crt\"")];
    Ok((headers, root))
}
