//! How long authorities asked to be left alone (`Retry-After`): one that is down by everybody, one that refuses a name's order for
//! that name alone. Each node learns of it by itself, and forgets it when it ends: who asks once too often is told again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::CertificateId;

use super::authority::DirectoryUrl;
use super::wire::LONGEST_WAIT;

/// An authority's directory, and for whom it is to be left alone; `None` is for all.
type Place = (String, Option<CertificateId>);

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
        let mut pauses = self.lock();
        pauses.retain(|_, until| left(*until, now).is_some());
        pauses.insert((authority.to_string(), certificate), now.plus(wait));
    }

    /// Whether that certificate itself was told to leave it alone, and still is to.
    pub(super) fn is_waited_for(&self, authority: &DirectoryUrl, certificate: CertificateId, now: Timestamp) -> bool {
        let own = self.lock().get(&(authority.to_string(), Some(certificate))).copied();
        own.is_some_and(|until| left(until, now).is_some())
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
        until(None).max(until(Some(certificate)))
    }
}

/// What is left of a wait. One that is longer than any was noted by a clock that stood later, and has been set back since.
fn left(until: Timestamp, now: Timestamp) -> Option<Duration> {
    (until > now).then(|| until.since(now)).filter(|left| *left <= LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
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
