//! The work on one certificate, under its lease: what is to be done, by which authorities and challenges, and what is written
//! down when it is done or fails.

use std::sync::Arc;
use std::time::Duration;

use picloud_shared::certificate::{
    CertificateRecord, CertificateSource, CertificateState, ChallengeKind, Issued, Leased, OrderProgress, Renewal,
    SaveError,
};
use picloud_shared::clock::Timestamp;
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::id::LeaseId;
use tokio::time::sleep;

use super::agent::Shared;
use super::attempt::Ended;
use super::authority::Authority;
use super::failure::Failure;
use super::preflight::{look, obstacle};
use super::schedule::renew_by_age;

/// Rounds that fail before the next is rehearsed on the authority's practice ground.
const FAILURES_BEFORE_REHEARSAL: u32 = 2;
/// How often it is looked whether what stands in the way has gone, where looking costs nobody anything.
const LOOK_AGAIN: Duration = Duration::from_secs(60 * 60);

/// After how long a store is asked again that did not keep a certificate.
const KEPT_AGAIN_AFTER: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// A certificate that is worked on.
pub(super) struct Work {
    pub(super) shared: Arc<Shared>,
    pub(super) lease: LeaseId,
    pub(super) record: CertificateRecord,
    pub(super) order: Option<OrderProgress>,
    /// Whether an authority was asked for something in this round.
    pub(super) asked: bool,
    /// Whether it is on a practice ground, for now.
    pub(super) rehearses: bool,
}

impl Work {
    pub(super) fn new(shared: Arc<Shared>, leased: Leased) -> Self {
        let Leased { lease, record, order } = leased;
        Self { shared, lease, record, order, asked: false, rehearses: false }
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

    pub(super) fn first_name(&self) -> Option<String> {
        self.record.names.first().map(DomainPattern::shape_key)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The order under way. There is one wherever this is asked.
    pub(super) fn progress(&mut self) -> &mut OrderProgress {
        self.order.as_mut().expect("an order is begun before its first step")
    }

    /// Writes down how far it has come.
    pub(super) async fn save(&mut self) -> Result<(), SaveError> {
        self.record.updated_at = self.now();
        self.shared.store.save(self.lease, &self.record, self.order.as_ref()).await
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
        let of = |authority: &Authority, reason: String| match authorities.len() {
            1 => reason,
            _ => format!("{}: {reason}", authority.directory),
        };
        let state_at_rest = match &self.record.facts {
            None => CertificateState::Claimed,
            Some(facts) if facts.not_after > self.now() => CertificateState::Valid,
            // What is served has ended, whoever is waited for.
            Some(_) => CertificateState::Failing,
        };
        // A rehearsal that was broken off is not gone on with.
        let in_earnest = self.order.as_ref().filter(|order| !order.rehearsal);
        let order_at = in_earnest.map(|order| order.authority.as_str());
        let (asked, left_alone) = self.shared.pauses.whom_to_ask(&authorities, self.record.id, order_at, self.now());
        // The first that may be asked again is: how long the others want to be left alone is no matter of its.
        let mut waits: Vec<Duration> = left_alone.iter().map(|(_, wait)| *wait).collect();
        let told =
            |(authority, _): &(&Authority, _)| of(authority, "the authority asked not to be asked yet".to_owned());
        let mut reasons: Vec<String> = left_alone.iter().map(told).collect();
        if asked.is_empty() {
            let until = self.now().plus(waits.into_iter().min().unwrap_or_default());
            return self.stand_by(state_at_rest, reasons.join("; "), until).await;
        }
        for authority in asked {
            match self.ask_authority(authority, &challenges).await {
                Ok(issued) => return self.finish(issued).await,
                // What was tried in this round has failed, and counts.
                Err(Ended::Postponed { reason, until }) if self.asked => {
                    reasons.push(reason);
                    let wait = until.since(self.now());
                    return self.fail(reasons.join("; "), Some(wait)).await;
                }
                Err(Ended::Postponed { reason, until }) => return self.stand_by(state_at_rest, reason, until).await,
                Err(Ended::Suspended { state, reason, until }) => return self.stand_by(state, reason, until).await,
                Err(Ended::Failed(failure)) => {
                    let (reason, wait) = failure.told()?;
                    reasons.push(of(authority, reason));
                    waits.push(wait.unwrap_or_default());
                }
            }
        }
        self.fail(reasons.join("; "), waits.into_iter().min()).await
    }

    /// What surely stands in the way of a first certificate, looked for before any authority is asked.
    async fn look_ahead(&mut self) -> Result<Option<String>, SaveError> {
        self.record.state = CertificateState::Preflight;
        self.save().await?;
        let mut obstacles = Vec::new();
        for name in self.record.names.clone() {
            obstacles.extend(obstacle(&look(&self.shared, &name).await));
        }
        Ok((!obstacles.is_empty()).then(|| obstacles.join(" ")))
    }

    /// All challenges of one authority. Where earlier rounds failed, its practice ground is asked first, if it may be.
    async fn ask_authority(&mut self, authority: &Authority, challenges: &[ChallengeKind]) -> Result<Issued, Ended> {
        if self.order.is_none()
            && self.record.failures >= FAILURES_BEFORE_REHEARSAL
            && let Some(rehearsal) = authority.rehearsal()
            && self.shared.pauses.left(&rehearsal.directory, self.record.id, self.now()).is_none()
        {
            self.rehearses = true;
            let rehearsed = self.by_any_challenge(&rehearsal, challenges).await;
            self.rehearses = false;
            match rehearsed {
                // What is wrong there with anything but the names keeps nobody from trying in earnest.
                Err(Ended::Failed(failure)) if !matches!(failure, Failure::Validation(_) | Failure::Unkept(_)) => {
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
        let mut record = CertificateRecord { facts: Some(issued.facts.clone()), failures: 0, ..self.record.clone() };
        let now = self.now();
        let by_age = renew_by_age(&issued.facts, now);
        let renewal = if by_age.at > now {
            record.last_error = None;
            // What the authority wishes is asked at once.
            Renewal { ask_at: now, ..by_age }
        } else {
            // The next one would be no younger, and so on without end.
            let again = self.shared.settings.timing.retry_at(now, u32::MAX, None);
            let reason =
                "by the clock of this machine the new certificate is to be renewed already: the clock stands wrong";
            tracing::error!(now = %now, not_before = %issued.facts.not_before, "{reason}");
            record.last_error = Some(reason.to_owned());
            Renewal { at: again, ask_at: again, ..by_age }
        };
        rests(&mut record, renewal);
        self.keep(record, &issued).await
    }

    /// Has a new certificate kept, patiently: its authority signs only so many for a name. Where the store takes it not for long,
    /// the order stays with its key, and is gone on with.
    async fn keep(&mut self, mut record: CertificateRecord, issued: &Issued) -> Result<(), SaveError> {
        let attempt = self.order.is_some().then(|| self.ended_attempt(Ok(())));
        let mut pauses = KEPT_AGAIN_AFTER.into_iter();
        loop {
            record.updated_at = self.now();
            let kept = self.shared.store.keep(self.lease, &record, issued, attempt.as_ref()).await;
            match (kept, pauses.next()) {
                (Ok(()), _) => break,
                (Err(SaveError::Store(error)), Some(pause)) => {
                    tracing::warn!(name = self.first_name(), %error, "a new certificate is not kept yet");
                    sleep(pause).await;
                }
                (Err(error), _) => return Err(error),
            }
        }
        tracing::info!(
            name = self.first_name(),
            issuer = issued.facts.issuer,
            not_after = %issued.facts.not_after,
            "there is a new certificate"
        );
        self.record = record;
        if let Some(attempt) = attempt {
            self.shared.metrics.certificate_attempt(&attempt.authority, attempt.outcome);
        }
        if let Some(order) = self.order.take() {
            self.shared.clear_beside(order.records);
        }
        Ok(())
    }

    /// Rests until the next is to be got, or the authority is to be asked for its wishes.
    pub(super) async fn rest(&mut self, renewal: Renewal) -> Result<(), SaveError> {
        rests(&mut self.record, renewal);
        self.save().await
    }

    pub(super) async fn rest_until(&mut self, at: Option<Timestamp>) -> Result<(), SaveError> {
        self.record.next_attempt_at = at;
        self.save().await
    }

    /// Waits for what stands in the way, which is no failed attempt.
    async fn stand_by(&mut self, state: CertificateState, reason: String, until: Timestamp) -> Result<(), SaveError> {
        self.record.state = state;
        self.record.last_error = Some(reason);
        self.record.next_attempt_at = Some(until);
        self.save().await
    }

    /// Writes a failed round down. Whatever is served stays.
    pub(super) async fn fail(&mut self, reason: String, retry_after: Option<Duration>) -> Result<(), SaveError> {
        if self.order.is_some() {
            self.shared.store.fail_running_attempts(self.record.id, &reason, self.now()).await?;
        }
        let order = self.order.take();
        let noted = self.back_off(reason, retry_after).await;
        // Whoever has the lease now may go on with the order, and needs its records.
        if let Some(order) = order
            && !matches!(noted, Err(SaveError::Lost(_)))
        {
            self.shared.clear_beside(order.records);
        }
        noted
    }

    /// Writes down that the next try comes later: of the order under way, if there is one.
    pub(super) async fn back_off(&mut self, reason: String, retry_after: Option<Duration>) -> Result<(), SaveError> {
        self.record.failures = self.record.failures.saturating_add(1);
        let next = self.shared.settings.timing.retry_at(self.now(), self.record.failures, retry_after);
        tracing::warn!(
            name = self.first_name(),
            failures = self.record.failures,
            next_attempt_at = %next,
            reason,
            "there is no new certificate"
        );
        self.stand_by(CertificateState::Failing, reason, next).await
    }
}

/// Has a certificate rest until the next is to be got, or its authority is to be asked for its wishes.
fn rests(record: &mut CertificateRecord, renewal: Renewal) {
    record.next_attempt_at = Some(match record.source {
        CertificateSource::Automatic => renewal.at.min(renewal.ask_at),
        _ => renewal.at,
    });
    record.state = CertificateState::Valid;
    record.renewal = Some(renewal);
}
