//! How long authorities asked to be left alone (`Retry-After`): one that is down by everybody, one that refuses a name's order for
//! that name alone. Each node learns of it by itself, and forgets it when it ends: who asks once too often is told again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::CertificateId;

use super::authority::{Authority, DirectoryUrl};
use super::wire::LONGEST_WAIT;

/// By whom an authority is to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Whom {
    All,
    One(CertificateId),
    /// By that one no more than by all; it has been told of it, and waits.
    Told(CertificateId),
}

/// An authority's directory, and by whom it is to be left alone.
type Place = (String, Whom);

/// Until when which authority is not asked.
#[derive(Debug, Default)]
pub(super) struct Pauses(Mutex<HashMap<Place, Timestamp>>);

impl Pauses {
    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Timestamp>> {
        // The map is whole after every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has an authority be left alone for so long from now on, for one certificate or for all.
    pub(super) fn note(
        &self,
        authority: &DirectoryUrl,
        certificate: Option<CertificateId>,
        now: Timestamp,
        wait: Duration,
    ) {
        self.put(authority, certificate.map_or(Whom::All, Whom::One), now, wait);
    }

    fn put(&self, authority: &DirectoryUrl, whom: Whom, now: Timestamp, wait: Duration) {
        let mut pauses = self.lock();
        pauses.retain(|_, until| left(*until, now).is_some());
        pauses.insert((authority.to_string(), whom), now.plus(wait));
    }

    /// Ends what an authority that answered an order of that certificate asked of all, and of that one.
    pub(super) fn lift(&self, authority: &DirectoryUrl, certificate: CertificateId) {
        let stays = |whom: &Whom| matches!(whom, Whom::One(other) if *other != certificate);
        self.lock().retain(|(of, whom), _| of != authority.as_str() || stays(whom));
    }

    /// Whether that certificate itself was told to leave it alone, and still is to.
    fn is_waited_for(&self, authority: &DirectoryUrl, certificate: CertificateId, now: Timestamp) -> bool {
        let pauses = self.lock();
        [Whom::One(certificate), Whom::Told(certificate)]
            .into_iter()
            .any(|whom| pauses.get(&(authority.to_string(), whom)).is_some_and(|until| left(*until, now).is_some()))
    }

    /// Whether it is to be left alone by all.
    pub(super) fn is_away(&self, authority: &DirectoryUrl, now: Timestamp) -> bool {
        self.lock().get(&(authority.to_string(), Whom::All)).is_some_and(|until| left(*until, now).is_some())
    }

    /// How long it is still to be left alone for that certificate.
    pub(super) fn left(
        &self,
        authority: &DirectoryUrl,
        certificate: CertificateId,
        now: Timestamp,
    ) -> Option<Duration> {
        let pauses = self.lock();
        let until = |of| pauses.get(&(authority.to_string(), of)).and_then(|until| left(*until, now));
        until(Whom::All).max(until(Whom::One(certificate)))
    }

    /// The authorities that a certificate asks, from that of its order under way on; and those among them that it leaves alone,
    /// each with how much longer that was asked for. One that waits for all of them already and has its turn all the same was told
    /// to by somebody, who wants to know: then all are asked.
    pub(super) fn whom_to_ask<'a>(
        &self,
        all: &'a [Authority],
        certificate: CertificateId,
        order_at: Option<&str>,
        now: Timestamp,
    ) -> (Vec<&'a Authority>, Vec<(&'a Authority, Duration)>) {
        let is_resumed = |one: &Authority| order_at == Some(one.directory.as_str());
        let from = &all[all.iter().position(is_resumed).unwrap_or(0)..];
        let (mut asked, mut left_alone) = (Vec::new(), Vec::new());
        for one in from {
            match self.left(&one.directory, certificate, now).filter(|_| !is_resumed(one)) {
                None => asked.push(one),
                Some(wait) => left_alone.push((one, wait)),
            }
        }
        if asked.is_empty() && from.iter().all(|one| self.is_waited_for(&one.directory, certificate, now)) {
            return (left_alone.into_iter().map(|(one, _)| one).collect(), Vec::new());
        }
        for (one, wait) in &left_alone {
            self.put(&one.directory, Whom::Told(certificate), now, *wait);
        }
        (asked, left_alone)
    }
}

/// What is left of a wait. One that is longer than any was noted by a clock that stood later, and has been set back since.
fn left(until: Timestamp, now: Timestamp) -> Option<Duration> {
    (until > now).then(|| until.since(now)).filter(|left| *left <= LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::super::authority::AuthorityTrust;
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn who_is_down_is_left_alone_by_all_and_who_refuses_a_name_for_that_name() {
        let pauses = Pauses::default();
        let [down, choosy]: [DirectoryUrl; 2] = ["https://a.test/", "https://b.test/"].map(|url| url.parse().unwrap());
        let [one, other] = [1, 2].map(|millis| CertificateId::generate(Timestamp::from_millis(millis)));
        pauses.note(&down, None, NOW, HOUR);
        pauses.note(&choosy, Some(one), NOW, HOUR * 3);
        assert_eq!(pauses.left(&down, one, NOW), Some(HOUR));
        assert_eq!(pauses.left(&down, other, NOW.plus(HOUR / 2)), Some(HOUR / 2));
        assert_eq!(pauses.left(&choosy, one, NOW), Some(HOUR * 3));
        assert_eq!(pauses.left(&choosy, other, NOW), None);
        assert!(pauses.is_waited_for(&choosy, one, NOW) && !pauses.is_waited_for(&choosy, one, NOW.plus(HOUR * 3)));
        assert!(!pauses.is_waited_for(&down, one, NOW), "nobody has told it yet");
        pauses.note(&down, Some(one), NOW, HOUR * 2);
        assert_eq!(pauses.left(&down, one, NOW), Some(HOUR * 2), "the longer one counts");
    }

    fn authorities() -> Vec<Authority> {
        let trust = AuthorityTrust::new(None).unwrap();
        let authority = |url: &str| Authority {
            directory: url.parse().unwrap(),
            staging: None,
            trust: trust.clone(),
            external_account: None,
            profile: None,
            preferred_chain: None,
        };
        ["https://a.test/", "https://b.test/"].map(authority).into()
    }

    #[test]
    fn where_all_are_away_a_name_waits_and_only_one_that_waits_for_each_of_them_is_told_to_ask() {
        let (pauses, all) = (Pauses::default(), authorities());
        let [one, other] = [1, 2].map(|millis| CertificateId::generate(Timestamp::from_millis(millis)));
        let whom = |certificate, order_at, now| {
            let (asked, left_alone) = pauses.whom_to_ask(&all, certificate, order_at, now);
            let shown = |authority: &Authority| authority.directory.to_string();
            let left_alone: Vec<_> = left_alone.into_iter().map(|(one, wait)| (shown(one), wait)).collect();
            (asked.into_iter().map(shown).collect::<Vec<_>>(), left_alone)
        };
        let [a, b] = ["https://a.test/", "https://b.test/"].map(str::to_owned);
        let both = vec![a.clone(), b.clone()];
        assert_eq!(whom(one, None, NOW), (both.clone(), vec![]));

        // The one name learns of the first itself, and of the second by what another name was told.
        pauses.note(&all[0].directory, Some(one), NOW, HOUR);
        pauses.note(&all[0].directory, None, NOW, HOUR);
        assert_eq!(whom(other, None, NOW), (vec![b.clone()], vec![(a.clone(), HOUR)]));
        pauses.note(&all[1].directory, None, NOW, HOUR * 2);
        let waits = vec![(a.clone(), HOUR), (b.clone(), HOUR * 2)];
        assert_eq!(whom(one, None, NOW), (vec![], waits.clone()), "it has been told of the first alone");
        assert_eq!(whom(one, None, NOW), (both.clone(), vec![]), "now somebody wants to know");
        // The other was told of the first when it asked the second.
        pauses.note(&all[1].directory, Some(other), NOW, HOUR * 2);
        assert_eq!(whom(other, None, NOW), (both.clone(), vec![]));

        // An order under way is gone on with, whoever is away; and of those the first that is back is asked, and it alone.
        assert_eq!(whom(one, Some("https://b.test/"), NOW), (vec![b.clone()], vec![]));
        assert_eq!(whom(one, None, NOW.plus(HOUR)), (vec![a], vec![(b, HOUR)]));
    }

    #[test]
    fn an_answer_ends_a_pause_for_all_but_whom_it_was_asked_of_by_name() {
        let (pauses, all) = (Pauses::default(), authorities());
        let [one, other, third] = [1, 2, 3].map(|millis| CertificateId::generate(Timestamp::from_millis(millis)));
        let [first, second] = [&all[0].directory, &all[1].directory];
        for certificate in [None, Some(one), Some(other)] {
            pauses.note(first, certificate, NOW, HOUR);
        }
        pauses.note(second, None, NOW, HOUR);
        assert_eq!(pauses.whom_to_ask(&all, third, None, NOW).1.len(), 2);
        assert!(pauses.is_away(first, NOW) && pauses.is_waited_for(first, third, NOW));
        pauses.lift(first, one);
        assert!(!pauses.is_away(first, NOW) && !pauses.is_waited_for(first, third, NOW));
        assert_eq!([one, other, third].map(|name| pauses.left(first, name, NOW)), [None, Some(HOUR), None]);
        assert!(pauses.is_away(second, NOW) && pauses.is_waited_for(second, third, NOW));
    }

    #[test]
    fn a_pause_ends_and_is_forgotten_also_by_a_clock_that_is_set_back() {
        let pauses = Pauses::default();
        let authority: DirectoryUrl = "https://a.test/".parse().unwrap();
        let certificate = CertificateId::generate(NOW);
        pauses.note(&authority, None, NOW, HOUR);
        assert_eq!(pauses.left(&authority, certificate, NOW.plus(HOUR)), None);
        assert_eq!(pauses.left(&authority, certificate, NOW.minus(LONGEST_WAIT)), None);
        pauses.note(&authority, Some(certificate), NOW.plus(HOUR), HOUR);
        assert_eq!(pauses.lock().len(), 1, "the first has ended");
    }
}
