//! The work on one certificate, under its lease: what is to be done, by which authorities and challenges, and what is written
//! down when it is done or fails.

use std::sync::Arc;
use std::time::Duration;

use picloud_shared::certificate::{
    Admission, Attempt, AttemptLimits, AttemptOutcome, CertificateRecord, CertificateSource, CertificateState,
    ChallengeKind, Issued, Leased, OrderProgress, PrivateKey, Renewal, SaveError,
};
use picloud_shared::clock::Timestamp;
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::id::{CertificateAttemptId, LeaseId};
use rcgen::KeyPair;

use super::account::{Accounts, Session};
use super::agent::Shared;
use super::authority::Authority;
use super::dns::TxtRecord;
use super::order::Failure;
use super::preflight::{look, obstacle};
use super::schedule::renew_by_age;

/// What an operator's mistake may cost an authority, and one app the others.
const LIMITS: AttemptLimits = AttemptLimits { failed_validations_an_hour: 5, new_orders_a_day: 20 };
/// Rounds that fail before the next is rehearsed on the authority's practice ground.
const FAILURES_BEFORE_REHEARSAL: u32 = 2;
/// How long an order that its authority breaks off is gone on with, before it is given up for another. That it was asked to
/// issue already may not be known, and authorities sign only so many certificates for one name (Let's Encrypt: five a week).
const GOES_ON_FOR: Duration = Duration::from_secs(60 * 60);
/// How soon it is looked at again, at first.
const FIRST_LOOK: Duration = Duration::from_secs(60);
/// How often it is looked whether what stands in the way has gone, where looking costs nobody anything.
const LOOK_AGAIN: Duration = Duration::from_secs(60 * 60);

/// A certificate that is worked on.
pub(super) struct Work {
    pub(super) shared: Arc<Shared>,
    pub(super) lease: LeaseId,
    pub(super) record: CertificateRecord,
    pub(super) order: Option<OrderProgress>,
    /// What was set in the DNS for it.
    pub(super) records: Vec<TxtRecord>,
    /// Whether an authority was asked for something in this round.
    asked: bool,
}

/// Why an attempt ended without a certificate.
enum Ended {
    /// It was not begun: there were too many.
    Postponed { reason: String, until: Timestamp },
    /// Its authority broke it off, and it is gone on with then.
    BrokenOff { reason: String, until: Timestamp },
    /// It failed.
    Failed(Failure),
}

impl<F: Into<Failure>> From<F> for Ended {
    fn from(failure: F) -> Self {
        Self::Failed(failure.into())
    }
}

impl Work {
    pub(super) fn new(shared: Arc<Shared>, leased: Leased) -> Self {
        Self {
            shared,
            lease: leased.lease,
            record: leased.record,
            order: leased.order,
            records: Vec::new(),
            asked: false,
        }
    }

    /// Does what is due.
    pub(super) async fn run(&mut self) -> Result<(), SaveError> {
        match self.record.source {
            CertificateSource::Automatic if self.is_to_be_renewed() => self.order_round().await,
            CertificateSource::Automatic => self.ask_about_renewal().await,
            CertificateSource::Internal => self.sign_internally().await,
            // Whoever uploaded it renews it.
            CertificateSource::Manual => self.rest_until(None).await,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The order under way. There is one wherever this is asked.
    pub(super) fn progress(&mut self) -> &mut OrderProgress {
        self.order.as_mut().expect("an order is begun before its first step")
    }

    /// Writes down how far it has come, and what was issued if something was.
    pub(super) async fn save(&mut self, issued: Option<&Issued>) -> Result<(), SaveError> {
        self.record.updated_at = self.now();
        self.shared.store.save(self.lease, &self.record, self.order.as_ref(), issued).await
    }

    /// Whether it is time for a new one. What was broken off is gone on with.
    fn is_to_be_renewed(&self) -> bool {
        let rests = self.order.is_none() && self.record.facts.is_some() && self.record.state == CertificateState::Valid;
        !rests || self.record.renewal.as_ref().is_none_or(|renewal| renewal.at <= self.now())
    }

    /// One round: each authority by each challenge, until one gives a certificate.
    async fn order_round(&mut self) -> Result<(), SaveError> {
        let renewing = self.record.facts.is_some();
        if !renewing
            && self.order.is_none()
            && let Some(obstacle) = self.look_ahead().await?
        {
            return self.fail(obstacle, None).await;
        }
        self.record.state = if renewing { CertificateState::Renewing } else { CertificateState::Ordering };
        let challenges = self.challenges();
        if challenges.is_empty() {
            let reason = match self.is_wildcard() {
                true => {
                    "a wildcard is shown to be ours by a DNS record alone, and no way to set one is configured ([acme.dns])"
                }
                false => "no public listener could answer an authority: set http or https",
            };
            let until = self.now().plus(LOOK_AGAIN);
            return self.stand_by(CertificateState::Failing, reason.to_owned(), until).await;
        }
        let authorities = self.shared.settings.authorities.clone();
        let (mut reasons, mut retry_after) = (Vec::new(), None::<Duration>);
        let resumed = self.order.as_ref().map(|order| order.authority.clone());
        let first = authorities.iter().position(|one| Some(one.directory.as_str()) == resumed.as_deref()).unwrap_or(0);
        for authority in &authorities[first..] {
            match self.ask_authority(authority, &challenges).await {
                Ok(issued) => return self.finish(issued).await,
                // What was tried in this round has failed, and counts.
                Err(Ended::Postponed { reason, until }) if self.asked => {
                    reasons.push(reason);
                    let wait = until.since(self.now());
                    return self.fail(reasons.join("; "), Some(wait)).await;
                }
                Err(Ended::Postponed { reason, until }) => {
                    let state = if renewing { CertificateState::Valid } else { CertificateState::Claimed };
                    return self.stand_by(state, reason, until).await;
                }
                Err(Ended::BrokenOff { reason, until }) => {
                    return self.stand_by(CertificateState::Failing, reason, until).await;
                }
                Err(Ended::Failed(failure)) => {
                    let (reason, asked) = failure.told()?;
                    reasons.push(match authorities.len() {
                        1 => reason,
                        _ => format!("{}: {reason}", authority.directory),
                    });
                    retry_after = retry_after.max(asked);
                }
            }
        }
        self.fail(reasons.join("; "), retry_after).await
    }

    /// What surely stands in the way of a first certificate, looked for before any authority is asked.
    async fn look_ahead(&mut self) -> Result<Option<String>, SaveError> {
        self.record.state = CertificateState::Preflight;
        self.save(None).await?;
        let mut obstacles = Vec::new();
        for name in self.record.names.clone() {
            obstacles.extend(obstacle(&look(&self.shared, &name).await));
        }
        Ok((!obstacles.is_empty()).then(|| obstacles.join(" ")))
    }

    /// All challenges of one authority. Where earlier rounds failed, its practice ground is asked first.
    async fn ask_authority(&mut self, authority: &Authority, challenges: &[ChallengeKind]) -> Result<Issued, Ended> {
        if self.order.is_none()
            && self.record.failures >= FAILURES_BEFORE_REHEARSAL
            && let Some(rehearsal) = authority.rehearsal()
        {
            match self.by_any_challenge(&rehearsal, challenges).await {
                // What is wrong there with anything but the names keeps nobody from trying in earnest.
                Err(Ended::Failed(
                    failure @ (Failure::Refused { .. } | Failure::Interrupted { .. } | Failure::AccountGone(_)),
                )) => {
                    tracing::info!(authority = %rehearsal.directory, reason = %failure, "an order cannot be rehearsed")
                }
                rehearsed => drop(rehearsed?),
            }
        }
        self.by_any_challenge(authority, challenges).await
    }

    async fn by_any_challenge(&mut self, authority: &Authority, challenges: &[ChallengeKind]) -> Result<Issued, Ended> {
        let resumed = self.order.as_ref().filter(|order| order.authority == authority.directory.as_str());
        let resumed = resumed.map(|order| order.challenge);
        let first = challenges.iter().position(|kind| Some(*kind) == resumed).unwrap_or(0);
        let mut reasons = Vec::new();
        for kind in &challenges[first..] {
            match self.attempt(authority, *kind).await {
                Err(Ended::Failed(Failure::Validation(reason))) => reasons.push(format!("by {kind}: {reason}")),
                ended => return ended,
            }
        }
        Err(Failure::Validation(reasons.join("; ")).into())
    }

    /// One order, from its beginning or from where it was broken off, with its place in the history.
    async fn attempt(&mut self, authority: &Authority, kind: ChallengeKind) -> Result<Issued, Ended> {
        let goes_on = self
            .order
            .as_ref()
            .is_some_and(|order| order.authority == authority.directory.as_str() && order.challenge == kind);
        if !goes_on {
            self.begin(authority, kind).await?;
        }
        self.asked = true;
        let obtained = self.obtain_with_account(authority).await;
        if let Err(Failure::Unkept(_)) = &obtained {
            return Ok(obtained?);
        }
        if let Err(Failure::Interrupted { reason, retry_after }) = &obtained
            && let Some(until) = self.next_look(authority, *retry_after)
        {
            let name = self.record.names.first().map(DomainPattern::shape_key);
            tracing::warn!(name, next_attempt_at = %until, reason, "an authority broke an order off");
            return Err(Ended::BrokenOff { reason: reason.clone(), until });
        }
        let mut attempt = self.attempt_row(authority, kind);
        attempt.ended_at = Some(self.now());
        match &obtained {
            Ok(_) => attempt.outcome = AttemptOutcome::Succeeded,
            Err(failure) => {
                attempt.outcome = AttemptOutcome::Failed;
                attempt.validation_failed = matches!(failure, Failure::Validation(_));
                attempt.error = Some(failure.to_string());
            }
        }
        self.shared.store.end_attempt(&attempt).await?;
        self.shared.store.set_challenges(self.record.id, &[]).await?;
        self.clear_records().await;
        self.order = None;
        Ok(obtained?)
    }

    /// When the order under way is looked at again, if it was placed in earnest, and that is not too long after it began: other
    /// authorities are not asked before. Each look comes later than the last, and none before the authority said.
    fn next_look(&self, authority: &Authority, asked: Option<Duration>) -> Option<Timestamp> {
        let order = self.order.as_ref().filter(|order| order.url.is_some() && !self.is_rehearsal(authority))?;
        let now = self.now();
        let wait = FIRST_LOOK.max(now.since(order.begun_at) / 2).max(asked.unwrap_or_default());
        let until = now.plus(wait);
        // One that is yet to begin was begun by a clock that stood wrong.
        (order.begun_at <= now && until.since(order.begun_at) < GOES_ON_FOR).then_some(until)
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
        let postponed = match self.shared.store.begin_attempt(&attempt, &LIMITS).await? {
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
            name: self.record.names.first().map(DomainPattern::shape_key).unwrap_or_default(),
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
        let session = match self.open(authority).await {
            Err(Failure::AccountGone(_)) => self.replace_account(authority).await?,
            opened => opened?,
        };
        match self.obtain(&session, authority).await {
            Err(Failure::AccountGone(_)) => {
                let session = self.replace_account(authority).await?;
                // An order belongs to the account that placed it.
                self.progress().url = None;
                self.obtain(&session, authority).await
            }
            obtained => obtained,
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

    /// How the names can be shown to be ours, the likeliest first.
    fn challenges(&self) -> Vec<ChallengeKind> {
        let all = self.shared.challenges.iter().copied();
        all.filter(|kind| *kind == ChallengeKind::Dns01 || !self.is_wildcard()).collect()
    }

    fn is_wildcard(&self) -> bool {
        self.record.names.iter().any(|name| matches!(name, DomainPattern::Wildcard { .. }))
    }

    /// Serves a new certificate, and rests until it is to be renewed.
    pub(super) async fn finish(&mut self, issued: Issued) -> Result<(), SaveError> {
        tracing::info!(
            name = self.record.names.first().map(DomainPattern::shape_key),
            issuer = issued.facts.issuer,
            not_after = %issued.facts.not_after,
            "there is a new certificate"
        );
        self.record.facts = Some(issued.facts.clone());
        self.record.failures = 0;
        let now = self.now();
        let by_age = renew_by_age(&issued.facts, now);
        let renewal = if by_age.at > now {
            self.record.last_error = None;
            // What the authority wishes is asked at once.
            Renewal { ask_at: now, ..by_age }
        } else {
            // The next one would be no younger, and so on without end.
            let again = self.shared.settings.timing.retry_at(now, u32::MAX, None);
            let reason =
                "by the clock of this machine the new certificate is to be renewed already: the clock stands wrong";
            tracing::error!(now = %now, not_before = %issued.facts.not_before, "{reason}");
            self.record.last_error = Some(reason.to_owned());
            Renewal { at: again, ask_at: again, ..by_age }
        };
        self.rest(renewal, Some(&issued)).await
    }

    /// Rests until the next is to be got, or the authority is to be asked for its wishes.
    pub(super) async fn rest(&mut self, renewal: Renewal, issued: Option<&Issued>) -> Result<(), SaveError> {
        self.record.next_attempt_at = Some(match self.record.source {
            CertificateSource::Automatic => renewal.at.min(renewal.ask_at),
            _ => renewal.at,
        });
        self.record.state = CertificateState::Valid;
        self.record.renewal = Some(renewal);
        self.order = None;
        self.save(issued).await
    }

    pub(super) async fn rest_until(&mut self, at: Option<Timestamp>) -> Result<(), SaveError> {
        self.record.next_attempt_at = at;
        self.save(None).await
    }

    /// Waits for what stands in the way, which is no failed attempt.
    async fn stand_by(&mut self, state: CertificateState, reason: String, until: Timestamp) -> Result<(), SaveError> {
        self.record.state = state;
        self.record.last_error = Some(reason);
        self.record.next_attempt_at = Some(until);
        self.save(None).await
    }

    /// Writes a failed round down. Whatever is served stays.
    pub(super) async fn fail(&mut self, reason: String, retry_after: Option<Duration>) -> Result<(), SaveError> {
        self.order = None;
        self.back_off(reason, retry_after).await
    }

    /// Writes down that the next try comes later: of the order under way, if there is one.
    pub(super) async fn back_off(&mut self, reason: String, retry_after: Option<Duration>) -> Result<(), SaveError> {
        self.record.failures = self.record.failures.saturating_add(1);
        let next = self.shared.settings.timing.retry_at(self.now(), self.record.failures, retry_after);
        tracing::warn!(
            name = self.record.names.first().map(DomainPattern::shape_key),
            failures = self.record.failures,
            next_attempt_at = %next,
            reason,
            "there is no new certificate"
        );
        self.stand_by(CertificateState::Failing, reason, next).await
    }
}
