//! One attempt: one order with one authority by one challenge, from its beginning or from where it was broken off, and its place
//! in the history.

use std::time::Duration;

use picloud_shared::certificate::{
    Admission, Attempt, AttemptLimits, AttemptOutcome, CertificateState, ChallengeKind, Issued, OrderProgress,
    PrivateKey,
};
use picloud_shared::clock::Timestamp;
use picloud_shared::id::CertificateAttemptId;
use rcgen::KeyPair;

use super::account::{Accounts, Session};
use super::authority::Authority;
use super::failure::Failure;
use super::round::Work;
use super::wire::LONGEST_WAIT;

/// What an operator's mistake may cost an authority, and one app the others.
const LIMITS: AttemptLimits = AttemptLimits { failed_validations_an_hour: 5, new_orders_a_day: 20 };
/// How long an order that its authority breaks off is gone on with, before it is given up for another. That it was asked to
/// issue already may not be known, and authorities sign only so many certificates for one name (Let's Encrypt: five a week).
const GOES_ON_FOR: Duration = Duration::from_secs(60 * 60);
/// How long one is waited for whose authority says when to ask for the certificate: as long as orders last.
const ISSUED_WITHIN: Duration = LONGEST_WAIT;
/// How soon it is looked at again, at first.
const FIRST_LOOK: Duration = Duration::from_secs(60);

/// Why an attempt ended without a certificate.
pub(super) enum Ended {
    /// It was not begun: there were too many.
    Postponed { reason: String, until: Timestamp },
    /// Its authority has it wait, or broke it off, and it is gone on with then.
    Suspended { state: CertificateState, reason: String, until: Timestamp },
    /// It failed.
    Failed(Failure),
}

impl<F: Into<Failure>> From<F> for Ended {
    fn from(failure: F) -> Self {
        Self::Failed(failure.into())
    }
}

impl Work {
    /// One order, from its beginning or from where it was broken off, with its place in the history.
    pub(super) async fn attempt(&mut self, authority: &Authority, kind: ChallengeKind) -> Result<Issued, Ended> {
        let goes_on = self
            .order
            .as_ref()
            .is_some_and(|order| order.authority == authority.directory.as_str() && order.challenge == kind);
        if !goes_on {
            self.begin(authority, kind).await?;
        }
        self.asked = true;
        let mut obtained = self.obtain_with_account(authority).await;
        if let Err(failure @ Failure::Forgotten(_)) = &obtained {
            // What takes its place is an attempt of its own, and counts as one.
            self.end_attempt(authority, kind, Err(failure)).await?;
            self.begin(authority, kind).await?;
            obtained = self.obtain_with_account(authority).await;
        }
        let failure = match &obtained {
            Ok(_) => None,
            Err(Failure::Unkept(_)) => return Ok(obtained?),
            Err(failure) => Some(failure),
        };
        if let Some(failure) = failure {
            self.note_pause(authority, failure);
            if let Some((state, until)) = self.next_look(authority, failure) {
                let (name, reason) = (self.first_name(), failure.to_string());
                tracing::warn!(name, next_attempt_at = %until, reason, "an order waits for its authority");
                if matches!(failure, Failure::Issuing { .. }) {
                    // It has seen them, and whoever goes on with the order does not know of them.
                    self.clear_records().await;
                }
                return Err(Ended::Suspended { state, reason, until });
            }
        }
        self.end_attempt(authority, kind, failure.map_or(Ok(()), Err)).await?;
        Ok(obtained?)
    }

    /// Has the authority be left alone for as long as it asked: by all, where it serves nobody, else by this certificate.
    fn note_pause(&self, authority: &Authority, failure: &Failure) {
        if let Some(wait) = failure.asked() {
            let certificate = (!matches!(failure, Failure::Away { .. })).then_some(self.record.id);
            self.shared.pauses.note(&authority.directory, certificate, self.now(), wait);
        }
    }

    /// Writes down how the attempt under way ended, and clears away what was done for it.
    async fn end_attempt(
        &mut self,
        authority: &Authority,
        kind: ChallengeKind,
        ended: Result<(), &Failure>,
    ) -> Result<(), Failure> {
        let mut attempt = self.attempt_row(authority, kind);
        attempt.ended_at = Some(self.now());
        match ended {
            Ok(()) => attempt.outcome = AttemptOutcome::Succeeded,
            Err(failure) => {
                attempt.outcome = AttemptOutcome::Failed;
                attempt.validation_failed = matches!(failure, Failure::Validation(_));
                attempt.error = Some(failure.to_string());
            }
        }
        self.shared.metrics.certificate_attempt(&attempt.authority, attempt.outcome);
        self.shared.store.end_attempt(&attempt).await?;
        self.shared.store.set_challenges(self.record.id, &[]).await?;
        self.clear_records().await;
        self.order = None;
        Ok(())
    }

    /// When the order under way is looked at again, and as what it is shown until then, if it was placed in earnest and what became
    /// of it is not known for sure: other authorities are not asked before. Each look comes later than the last, and none
    /// before the authority said; but that it was broken off has an end.
    fn next_look(&self, authority: &Authority, failure: &Failure) -> Option<(CertificateState, Timestamp)> {
        let order = self.order.as_ref().filter(|order| order.url.is_some() && !self.is_rehearsal(authority))?;
        let (state, longest) = match failure {
            Failure::Interrupted { .. } | Failure::Away { .. } => (CertificateState::Failing, GOES_ON_FOR),
            Failure::Issuing { retry_after: None } => (self.record.state, GOES_ON_FOR),
            Failure::Issuing { retry_after: Some(_) } => (self.record.state, ISSUED_WITHIN),
            _ => return None,
        };
        let now = self.now();
        let wait = FIRST_LOOK.max(now.since(order.begun_at) / 2).max(failure.asked().unwrap_or_default());
        let until = now.plus(wait);
        // One that is yet to begin was begun by a clock that stood wrong.
        (order.begun_at <= now && until.since(order.begun_at) < longest).then_some((state, until))
    }

    fn is_rehearsal(&self, authority: &Authority) -> bool {
        !self.shared.settings.authorities.iter().any(|one| one.directory == authority.directory)
    }

    /// Begins an order, if it may be.
    async fn begin(&mut self, authority: &Authority, kind: ChallengeKind) -> Result<(), Ended> {
        let now = self.now();
        let key = KeyPair::generate().map_err(|error| Failure::refused(format!("no key could be made: {error}")))?;
        self.order = Some(OrderProgress {
            attempt: CertificateAttemptId::generate(now),
            authority: authority.directory.to_string(),
            url: None,
            challenge: kind,
            key: PrivateKey::new(key.serialize_pem()),
            begun_at: now,
        });
        let attempt = self.attempt_row(authority, kind);
        // What was not admitted is no order to go on with.
        let admission = self.shared.store.begin_attempt(&attempt, &LIMITS).await.inspect_err(|_| self.order = None)?;
        let postponed = match admission {
            Admission::Admitted => {
                self.save(None).await?;
                return Ok(());
            }
            Admission::TooManyFailedValidations(until) => {
                let most = LIMITS.failed_validations_an_hour;
                (format!("authorities looked for {} in vain {most} times within an hour", attempt.name), until)
            }
            Admission::TooManyNewOrders(until) => {
                (format!("the app had its {} new certificates of one day", LIMITS.new_orders_a_day), until)
            }
        };
        self.order = None;
        Err(Ended::Postponed { reason: postponed.0, until: postponed.1 })
    }

    /// Takes the records of an attempt away. One that stays does no harm but clutter.
    async fn clear_records(&mut self) {
        let Some(provider) = &self.shared.settings.dns else { return };
        for record in std::mem::take(&mut self.records) {
            if let Err(error) = provider.clear(&record).await {
                tracing::warn!(name = record.name, error, "a DNS record that was set for an authority stays");
            }
        }
    }

    fn attempt_row(&mut self, authority: &Authority, kind: ChallengeKind) -> Attempt {
        let (id, started_at) = (self.progress().attempt, self.progress().begun_at);
        let is_rehearsal = self.is_rehearsal(authority);
        Attempt {
            id,
            certificate: self.record.id,
            name: self.first_name().unwrap_or_default(),
            // A rehearsal costs nobody anything.
            app: self.record.app.filter(|_| !is_rehearsal),
            is_renewal: self.record.facts.is_some(),
            authority: authority.directory.to_string(),
            challenge: Some(kind),
            outcome: AttemptOutcome::Running,
            validation_failed: false,
            error: None,
            started_at,
            ended_at: None,
        }
    }

    async fn obtain_with_account(&mut self, authority: &Authority) -> Result<Issued, Failure> {
        let obtained = match self.open(authority).await {
            Ok(session) => self.obtain(&session, authority).await,
            Err(failure) => Err(failure),
        };
        let Err(Failure::AccountGone(reason)) = obtained else { return obtained };
        let session = self.replace_account(authority).await?;
        match self.progress().url {
            // An order belongs to the account that placed it.
            Some(_) => Err(Failure::Forgotten(reason)),
            None => self.obtain(&session, authority).await,
        }
    }

    pub(super) async fn open(&self, authority: &Authority) -> Result<Session, Failure> {
        self.accounts().open(authority).await
    }

    async fn replace_account(&self, authority: &Authority) -> Result<Session, Failure> {
        self.accounts().replace(authority).await
    }

    fn accounts(&self) -> Accounts<'_> {
        let shared = &self.shared;
        Accounts { store: &*shared.store, clock: &shared.clock, contact: shared.settings.contact.as_deref() }
    }
}
