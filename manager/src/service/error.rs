//! Why a service did not do what it was asked, in the words of the product. What a client reads of it, and with which
//! status, is decided in `api/problem.rs` alone.

use std::time::Duration;

use picloud_shared::domain_pattern::{DomainPattern, PublicSuffix};
use picloud_shared::id::AppId;
use picloud_shared::name::AppSlug;
use picloud_shared::script::LimitOverCeiling;

use crate::publish::NotLiveYet;
use crate::repo::apps::App;
use crate::repo::scope::Scope;
use crate::repo::scripts::ScriptMeta;
use crate::repo::triggers::StoredTrigger;
use crate::repo::{Constraint, RepoError};
use crate::service::app::Former;
use crate::service::app_limit::AppLimit;
use crate::service::authorize::Capability;
use crate::service::route_url::LocatedRoute;
use crate::service::script_check::SourceProblem;

/// A field of a request that cannot be as it is.
#[derive(Debug, Clone)]
pub(crate) struct InvalidField {
    pub field: String,
    pub detail: String,
}

/// Why a service refused or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    #[error("no valid session came with the request")]
    Unauthenticated,
    #[error("the API key is void")]
    UnknownKey,
    #[error("the username or the password is wrong")]
    WrongCredentials,
    #[error("the set-up token is not valid")]
    WrongSetupToken,
    #[error("too many attempts with a wrong password")]
    Throttled { retry_after: Duration },
    #[error("too many passwords wait to be checked")]
    HashingBusy,
    #[error("too many sources are being checked")]
    CheckingBusy,
    #[error("the app's scripts change faster than a change can be checked against them")]
    Overtaken,
    #[error("the caller lacks {0}")]
    Forbidden(Capability),
    #[error("the API key is for the app {0} alone")]
    BoundToApp(AppId),
    #[error("the API key lacks {0}")]
    OutOfScope(Scope),
    #[error("this takes a session, and not an API key")]
    SessionRequired,
    #[error("the user's role is above the caller's")]
    AboveOwnRole,
    #[error("one's own password is not reset but changed")]
    OwnPassword,
    #[error("this is the last active owner")]
    LastOwner,
    #[error("the user has {most} API keys already")]
    TooManyKeys { most: u64 },
    #[error("there is no such {0}, or the caller may not see it")]
    NotFound(&'static str),
    #[error("there is no authority of this instance's own yet")]
    NoInternalAuthority,
    #[error("the app has the slug {to} now")]
    Moved { to: AppSlug },
    #[error("fields of the request are not valid")]
    Invalid(Vec<InvalidField>),
    #[error("{field}: {error}")]
    At { field: String, error: Box<ServiceError> },
    #[error("the username is taken")]
    UsernameTaken,
    #[error("the user is a member already")]
    AlreadyMember,
    #[error("the slug is taken")]
    SlugTaken,
    #[error("the slug leads to another app")]
    SlugHistorical(Box<Former>),
    #[error("the app has {script_count} scripts")]
    HasScripts { script_count: u64 },
    #[error("{0}")]
    PublicSuffix(PublicSuffix),
    #[error("the host is an admin host")]
    HostReserved,
    #[error("the domain is claimed")]
    DomainClaimed { holder: Option<Box<(App, DomainPattern)>> },
    #[error("routes depend on the domain")]
    DomainInUse { routes: Vec<LocatedRoute> },
    #[error("the script's name is taken")]
    ScriptNameTaken,
    #[error("others depend on the script")]
    ScriptInUse { routes: Vec<LocatedRoute>, triggers: Vec<StoredTrigger>, importers: Vec<ScriptMeta> },
    #[error("the source cannot be saved")]
    InvalidSource(SourceProblem),
    #[error("{0}")]
    LimitOverCeiling(LimitOverCeiling),
    #[error("the app has as many {} as one may have", .0.as_str())]
    AppLimit(AppLimit),
    #[error("the app keeps as much as it may: {most} {limit}")]
    QuotaExceeded { limit: &'static str, most: u64 },
    #[error("the message does not wait any more")]
    NotWaiting,
    #[error("the dead letter is resolved")]
    AlreadyResolved,
    #[error("the search would have to look at too many documents")]
    TooManyScanned,
    #[error("too many searches run at once")]
    SearchingBusy,
    #[error("the search took too long")]
    SearchTooLate,
    #[error("the host lies in no claim of the app")]
    HostNotClaimed,
    #[error("a module cannot have routes")]
    ModuleNotRoutable,
    #[error("a module cannot have triggers")]
    ModuleNotTriggerable,
    #[error("another trigger is for the queue")]
    TriggerExists { other: Option<Box<StoredTrigger>> },
    #[error("a module cannot be invoked")]
    ModuleNotInvokable,
    #[error("the script is not published")]
    NotPublished,
    #[error("the app's routes have their parameters in too many different places")]
    RoutesTooAmbiguous,
    #[error("another route takes the same requests")]
    RouteConflict { other: Option<Box<LocatedRoute>> },
    #[error("the certificate was uploaded")]
    UploadedCertificate,
    #[error("the certificate is managed by the platform")]
    ManagedCertificate,
    #[error("the thing has changed since it was read")]
    PreconditionFailed,
    #[error("the change is kept, and requests are not answered by it yet")]
    NotLiveYet,
    #[error("{most} streams are open already")]
    TooManyStreams { most: u64 },
    #[error("the same call is running at this moment")]
    KeyRunning,
    #[error("the idempotency key was given to another call")]
    KeyReused,
    #[error("as many answers are kept for the user as may be")]
    TooManyIdempotencyKeys,
    #[error("the store failed")]
    Store(#[source] RepoError),
}

impl ServiceError {
    pub(crate) fn invalid(field: &'static str, detail: impl ToString) -> Self {
        Self::Invalid(vec![InvalidField { field: field.to_owned(), detail: detail.to_string() }])
    }

    /// The same refusal, of a part of what was sent. That the store fails is of no part.
    pub(crate) fn at(self, field: impl Into<String>) -> Self {
        match self {
            Self::Store(_) => self,
            error => Self::At { field: field.into(), error: Box::new(error) },
        }
    }

    pub(crate) fn repeats_username(field: &'static str) -> Self {
        Self::invalid(field, "a password must not merely repeat the username")
    }
}

impl From<RepoError> for ServiceError {
    fn from(error: RepoError) -> Self {
        match error {
            RepoError::Conflict(Constraint::AppSlug | Constraint::HistoricalSlug) => Self::SlugTaken,
            RepoError::Conflict(Constraint::Member) => Self::AlreadyMember,
            RepoError::Conflict(Constraint::ScriptName) => Self::ScriptNameTaken,
            RepoError::Conflict(Constraint::Username) => Self::UsernameTaken,
            RepoError::Conflict(Constraint::DomainShape) => Self::DomainClaimed { holder: None },
            RepoError::Conflict(Constraint::Route) => Self::RouteConflict { other: None },
            RepoError::Conflict(Constraint::TriggerSource) => Self::TriggerExists { other: None },
            // Units of work follow one another, so that a parent which was there at the beginning of one stays.
            RepoError::MissingReference => Self::NotFound("app"),
            // The store says "the description" where a client says `description`.
            RepoError::Unstorable(what) => Self::invalid(what.trim_start_matches("the "), "it holds a NUL character"),
            other => Self::Store(other),
        }
    }
}

impl From<NotLiveYet> for ServiceError {
    fn from(NotLiveYet: NotLiveYet) -> Self {
        Self::NotLiveYet
    }
}

impl From<PublicSuffix> for ServiceError {
    fn from(error: PublicSuffix) -> Self {
        Self::PublicSuffix(error)
    }
}

impl From<LimitOverCeiling> for ServiceError {
    fn from(error: LimitOverCeiling) -> Self {
        Self::LimitOverCeiling(error)
    }
}
