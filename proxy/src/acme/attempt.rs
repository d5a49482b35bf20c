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
/// How long one is waited for whose authority was asked to issue, and says when to ask for the certificate: as long as orders last.
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
        let goes_on = self.order.as_ref().is_some_and(|order| {
            let is_its = order.authority == authority.directory.as_str() && order.rehearsal == self.rehearses;
            is_its && order.challenge == kind
        });
        if !goes_on {
            self.begin(authority, kind).await?;
        }
        self.asked = true;
        let mut obtained = self.obtain_with_account(authority).await;
        if let Err(failure @ Failure::Forgotten(_)) = &obtained {
            // What takes its place is an attempt of its own, and counts as one.
            self.end_attempt(Err(failure)).await?;
            self.begin(authority, kind).await?;
            obtained = self.obtain_with_account(authority).await;
        }
        if matches!(&obtained, Ok(_) | Err(Failure::Validation(_) | Failure::Issuing { .. })) {
            // It serves who asks.
            self.shared.pauses.lift(&authority.directory, self.record.id);
        }
        let failure = match &obtained {
            Err(Failure::Unkept(_)) => return Ok(obtained?),
            // One in earnest ends when what it led to is kept.
            Ok(_) if !self.progress().rehearsal => return Ok(obtained?),
            Ok(_) => None,
            Err(failure) => Some(failure),
        };
        if let Some(failure) = failure {
            self.note_pause(authority, failure);
            if let Some((state, until)) = self.next_look(failure) {
                let (name, reason) = (self.first_name(), failure.to_string());
                tracing::warn!(name, next_attempt_at = %until, reason, "an order waits for its authority");
                if matches!(failure, Failure::Issuing { .. }) {
                    // It has seen them.
                    self.clear_records().await;
                }
                return Err(Ended::Suspended { state, reason, until });
            }
        }
        self.end_attempt(failure.map_or(Ok(()), Err)).await?;
        Ok(obtained?)
    }

    /// Has the authority be left alone for as long as it asked: by this certificate, and where it serves nobody, by all.
    fn note_pause(&self, authority: &Authority, failure: &Failure) {
        let Some(wait) = failure.asked() else { return };
        self.shared.pauses.note(&authority.directory, Some(self.record.id), self.now(), wait);
        self.note_away(authority, failure);
    }

    /// Has the authority be left alone by all, if it serves nobody.
    pub(super) fn note_away(&self, authority: &Authority, failure: &Failure) {
        if let Failure::Away { wait, .. } = failure {
            self.shared.pauses.note(&authority.directory, None, self.now(), *wait);
        }
    }

    /// Clears away what was done for the attempt under way, and writes down how it ended. Until that is done the order stays.
    async fn end_attempt(&mut self, ended: Result<(), &Failure>) -> Result<(), Failure> {
        self.clear_records().await;
        let attempt = self.ended_attempt(ended);
        self.shared.store.end_attempt(&attempt).await?;
        self.shared.store.set_challenges(self.record.id, &[]).await?;
        self.order = None;
        self.shared.metrics.certificate_attempt(&attempt.authority, attempt.outcome);
        Ok(())
    }

    /// The attempt under way as one that ends now.
    pub(super) fn ended_attempt(&mut self, ended: Result<(), &Failure>) -> Attempt {
        let mut attempt = self.attempt_row();
        attempt.ended_at = Some(self.now());
        match ended {
            Ok(()) => attempt.outcome = AttemptOutcome::Succeeded,
            Err(failure) => {
                attempt.outcome = AttemptOutcome::Failed;
                attempt.validation_failed = matches!(failure, Failure::Validation(_));
                attempt.error = Some(failure.to_string());
            }
        }
        attempt
    }

    /// When the order under way is looked at again, and as what it is shown until then, if it was placed in earnest and what became
    /// of it is not known for sure: other authorities are not asked before. Each look comes later than the last, and none
    /// before the authority said; but that it was broken off has an end.
    fn next_look(&self, failure: &Failure) -> Option<(CertificateState, Timestamp)> {
        let order = self.order.as_ref().filter(|order| order.url.is_some() && !order.rehearsal)?;
        let (state, longest) = match failure {
            Failure::Away { .. } if order.finalized => (CertificateState::Failing, ISSUED_WITHIN),
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

    /// Begins an order, if it may be.
    async fn begin(&mut self, authority: &Authority, kind: ChallengeKind) -> Result<(), Ended> {
        // One that is there belongs to an authority or a challenge that is none any more.
        self.clear_records().await;
        let now = self.now();
        let key = KeyPair::generate().map_err(|error| Failure::refused(format!("no key could be made: {error}")))?;
        self.order = Some(OrderProgress {
            attempt: CertificateAttemptId::generate(now),
            authority: authority.directory.to_string(),
            url: None,
            challenge: kind,
            key: PrivateKey::new(key.serialize_pem()),
            begun_at: now,
            records: Vec::new(),
            rehearsal: self.rehearses,
            finalized: false,
        });
        let attempt = self.attempt_row();
        // What was not admitted is no order to go on with.
        let admission = self.shared.store.begin_attempt(&attempt, &LIMITS).await.inspect_err(|_| self.order = None)?;
        let postponed = match admission {
            Admission::Admitted => {
                self.save().await?;
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

    /// Takes the DNS records of the order under way away, if there is one.
    pub(super) async fn clear_records(&mut self) {
        let records = self.order.as_mut().map(|order| std::mem::take(&mut order.records));
        self.shared.clear_records(records.unwrap_or_default()).await;
    }

    fn attempt_row(&mut self) -> Attempt {
        let OrderProgress { attempt, authority, challenge, begun_at, rehearsal, .. } = self.progress().clone();
        Attempt {
            id: attempt,
            certificate: self.record.id,
            name: self.first_name().unwrap_or_default(),
            // A rehearsal costs nobody anything.
            app: self.record.app.filter(|_| !rehearsal),
            is_renewal: self.record.facts.is_some(),
            authority,
            challenge: Some(challenge),
            outcome: AttemptOutcome::Running,
            validation_failed: false,
            error: None,
            started_at: begun_at,
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
