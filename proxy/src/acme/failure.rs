//! Why an order led to no certificate, and what of an authority's errors says which.

use std::time::{Duration, Instant};

use instant_acme::{Error, Problem};
use picloud_shared::certificate::{LostLease, SaveError, StoreFailure};

use super::wire::{LONGEST_WAIT, Wire, away, causes, refused};

/// Why an order led to no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The authority looked for the challenge's answer in vain.
    #[error("{0}")]
    Validation(String),
    /// The authority did not do its part.
    #[error("{reason}")]
    Refused { reason: String, retry_after: Option<Duration> },
    /// The authority, or the way to it, broke off. An order that was placed may still lead to a certificate.
    #[error("{reason}")]
    Interrupted { reason: String, retry_after: Option<Duration> },
    /// The same, and it serves nobody until then (RFC 9110, 15.6.4).
    #[error("{reason}")]
    Away { reason: String, wait: Duration },
    /// The authority is still issuing.
    #[error("the authority has not issued the certificate yet")]
    Issuing { retry_after: Option<Duration> },
    /// The authority does not know the account any more.
    #[error("{0}")]
    AccountGone(String),
    /// The authority does not know the order any more.
    #[error("the authority does not go on with the order: {0}")]
    Forgotten(String),
    /// What was done cannot be kept.
    #[error(transparent)]
    Unkept(#[from] SaveError),
}

impl Failure {
    pub(super) fn refused(reason: String) -> Self {
        Self::Refused { reason, retry_after: None }
    }

    /// What is to be told of it, and how long the authority asked us to stay away.
    pub(super) fn told(self) -> Result<(String, Option<Duration>), SaveError> {
        let asked = self.asked();
        match self {
            Self::Unkept(error) => Err(error),
            failure => Ok((failure.to_string(), asked)),
        }
    }

    /// How long the authority asked us to stay away.
    pub(super) fn asked(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. }
            | Self::Interrupted { retry_after, .. }
            | Self::Issuing { retry_after } => *retry_after,
            Self::Away { wait, .. } => Some(*wait),
            Self::Validation(_) | Self::AccountGone(_) | Self::Forgotten(_) | Self::Unkept(_) => None,
        }
    }

    /// What an error of the protocol comes to.
    pub(super) fn of(error: Error, wire: &Wire) -> Self {
        let seen = wire.seen();
        let (retry_after, is_passing) = (seen.retry_after, seen.is_passing());
        let passing = |reason, status, retry_after| match away(status, retry_after) {
            Some(wait) => Self::Away { reason, wait },
            None => Self::Interrupted { reason, retry_after },
        };
        match error {
            Error::Api(problem)
                if is_of_kind(&problem, "accountDoesNotExist") || is_of_kind(&problem, "unauthorized") =>
            {
                Self::AccountGone(words(&problem))
            }
            Error::Api(problem) if is_passing => passing(words(&problem), seen.refusal, retry_after),
            Error::Api(problem) => Self::Refused { reason: words(&problem), retry_after },
            Error::Json(error) => match seen.refusal {
                Some(status) if is_passing => passing(refused(status), seen.refusal, retry_after),
                Some(status) => Self::Refused { reason: refused(status), retry_after },
                None => Self::refused(format!("the authority's answer is not understood: {error}")),
            },
            Error::Timeout(next) => Self::Interrupted { reason: causes(&error), retry_after: wait_until(next) },
            Error::Other(_) => Self::Interrupted { reason: causes(&error), retry_after: None },
            error => Self::refused(causes(&error)),
        }
    }
}

impl From<StoreFailure> for Failure {
    fn from(error: StoreFailure) -> Self {
        Self::Unkept(error.into())
    }
}

impl From<LostLease> for Failure {
    fn from(error: LostLease) -> Self {
        Self::Unkept(error.into())
    }
}

/// Repeats a call whose nonce was refused, which says nothing of the call (RFC 8555, 6.5). The library gives up after three.
macro_rules! patiently {
    ($call:expr) => {{
        let mut refused = 0;
        loop {
            match $call.await {
                Err(instant_acme::Error::Api(problem))
                    if refused < 10 && $crate::acme::failure::is_of_kind(&problem, "badNonce") =>
                {
                    refused += 1;
                }
                done => break done,
            }
        }
    }};
}
pub(super) use patiently;

pub(super) fn is_of_kind(problem: &Problem, kind: &str) -> bool {
    problem.r#type.as_deref().and_then(|full| full.strip_prefix("urn:ietf:params:acme:error:")) == Some(kind)
}

/// Whether an error says what an authority found where it looked for a name (RFC 8555, 6.7).
pub(super) fn tells_of_validation(problem: &Problem) -> bool {
    let kinds = ["caa", "connection", "dns", "incorrectResponse", "tls", "unauthorized"];
    kinds.into_iter().any(|kind| is_of_kind(problem, kind))
}

/// How long it is until then. Nobody is waited for longer than that, whatever an authority says.
pub(super) fn wait_until(then: Option<Instant>) -> Option<Duration> {
    then.map(|then| then.saturating_duration_since(Instant::now()).min(LONGEST_WAIT))
}

/// What an authority says, without the library's own words.
pub(super) fn words(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().filter(|kind| *kind != "about:blank");
    let mut text = match (&problem.detail, kind) {
        (Some(detail), Some(kind)) => format!("{detail} ({})", kind.rsplit(':').next().unwrap_or(kind)),
        (Some(detail), None) => detail.clone(),
        (None, kind) => kind.unwrap_or("the authority refused without saying why").to_owned(),
    };
    for subproblem in &problem.subproblems {
        text = format!("{text}; {subproblem}");
    }
    text
}
