//! When: how long to wait after failures, and when to renew. Pure but for its dice.

use std::time::Duration;

use picloud_shared::certificate::{CertificateFacts, Renewal};
use picloud_shared::clock::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A certificate that lives no longer is renewed at half of its life, since two thirds would leave too little time to mend
/// what fails.
const SHORT_LIFE: Duration = Duration::from_secs(10 * 24 * 60 * 60);
/// How often an authority is asked for its wishes at least, which is twice a day, and at most.
const ASK_AT_LEAST_EVERY: Duration = Duration::from_secs(12 * 60 * 60);
const ASK_AT_MOST_EVERY: Duration = MINUTE;
/// How long a new certificate is left alone at least; a twentieth of a short life.
const SETTLING: Duration = Duration::from_secs(2 * 60 * 60);
/// How much a wait is varied, of itself: so that all that failed together does not come back together.
const JITTER: f64 = 0.1;

/// How long to wait for what.
#[derive(Debug, Clone)]
pub struct Timing {
    /// After the first failed round, the second and so on; the last goes on for ever.
    pub back_off: Vec<Duration>,
    /// How long a lease stands unless it is prolonged, at a third of it. What a node held that died is taken up after
    /// that.
    pub lease: Duration,
    /// How often the store is asked for what others did. It tells of most by itself.
    pub poll: Duration,
    /// How long an authority gets for its part of an order.
    pub order: Duration,
    /// How long other nodes get to answer a challenge as this one does.
    pub propagation: Duration,
    /// Certificates that are worked on at once.
    pub at_once: usize,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            back_off: vec![MINUTE, 10 * MINUTE, 100 * MINUTE, DAY],
            lease: Duration::from_secs(24),
            poll: Duration::from_secs(1),
            order: Duration::from_secs(120),
            propagation: Duration::from_secs(10),
            at_once: 4,
        }
    }
}

impl Timing {
    /// When to try again after that many failed rounds; not before the authority said, however long that is.
    pub(super) fn retry_at(&self, now: Timestamp, failures: u32, asked: Option<Duration>) -> Timestamp {
        let last = self.back_off.len().saturating_sub(1);
        let round = usize::try_from(failures.saturating_sub(1)).unwrap_or(last).min(last);
        let wait = self.back_off.get(round).copied().unwrap_or(DAY);
        let wait = wait.mul_f64(1.0 + JITTER * fraction());
        now.plus(asked.map_or(wait, |asked| wait.max(asked)))
    }
}

/// A number from 0 to 1 that nobody foresees.
fn fraction() -> f64 {
    f64::from(rand::random::<u32>()) / f64::from(u32::MAX)
}

/// When to renew a certificate that its authority has said nothing of: at two thirds of its life, or half of a short one, and
/// up to a fiftieth of its life earlier.
pub(super) fn renew_by_age(facts: &CertificateFacts, now: Timestamp) -> Renewal {
    let life = facts.not_after.since(facts.not_before);
    let share = if life < SHORT_LIFE { 0.5 } else { 2.0 / 3.0 };
    let at = facts.not_before.plus(life.mul_f64(share - 0.02 * fraction()));
    Renewal { at, window: None, explanation: None, ask_at: ask_again(now, None, life) }
}

/// When to ask an authority again: when it said, within bounds, and in time for a certificate of a short life.
pub(super) fn ask_again(now: Timestamp, asked: Option<Duration>, life: Duration) -> Timestamp {
    let longest = ASK_AT_LEAST_EVERY.min((life / 8).max(ASK_AT_MOST_EVERY));
    let wait = asked.unwrap_or(HOUR * 6).clamp(ASK_AT_MOST_EVERY.min(longest), longest);
    now.plus(wait.mul_f64(1.0 - JITTER * fraction()))
}

/// Between when and when a certificate is renewed, whatever its authority says: not at once after it was got, lest one that
/// speaks nonsense is asked for another and another, and not later than its age alone would have it.
pub(super) fn bounds(facts: &CertificateFacts, now: Timestamp) -> (Timestamp, Timestamp) {
    let life = facts.not_after.since(facts.not_before);
    (facts.not_before.plus((life / 20).min(SETTLING)), renew_by_age(facts, now).at)
}

/// What an authority's window comes to (RFC 9773, 4.2): a moment in it that nobody foresees, chosen once for each window, within
/// bounds. One that is past means now.
pub(super) fn renew_by_window(
    before: &Renewal,
    window: (Timestamp, Timestamp),
    explanation: Option<String>,
    bounds: (Timestamp, Timestamp),
    ask_at: Timestamp,
) -> Renewal {
    let at = if before.window == Some(window) {
        before.at
    } else {
        window.0.plus(window.1.since(window.0).mul_f64(fraction()))
    };
    let (earliest, latest) = bounds;
    Renewal { at: at.max(earliest).min(latest), window: Some(window), explanation, ask_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000)
    }

    fn facts(not_before: Timestamp, not_after: Timestamp) -> CertificateFacts {
        CertificateFacts {
            names: Vec::new(),
            issuer: String::new(),
            serial: String::new(),
            not_before,
            not_after,
            renewal_id: None,
            authority: None,
        }
    }

    #[test]
    fn waits_grow_from_a_minute_to_a_day_and_stay_there() {
        let timing = Timing::default();
        for (failures, minutes) in [(1, 1), (2, 10), (3, 100), (4, 1440), (5, 1440), (u32::MAX, 1440)] {
            let least = MINUTE * minutes;
            let wait = timing.retry_at(at(0), failures, None).since(at(0));
            assert!(wait >= least && wait <= least.mul_f64(1.1), "{failures}: {wait:?}");
        }
        let asked = Duration::from_secs(7 * 3600);
        assert_eq!(timing.retry_at(at(0), 1, Some(asked)), at(7), "an authority's word counts");
        assert!(timing.retry_at(at(0), 4, Some(MINUTE)) >= at(24), "but does not shorten a wait");
    }

    #[test]
    fn a_long_life_is_renewed_at_two_thirds_and_a_short_one_at_half() {
        for (days, share) in [(90, 2.0 / 3.0), (10, 2.0 / 3.0), (9, 0.5), (6, 0.5)] {
            let life = DAY * days;
            let renewal = renew_by_age(&facts(at(0), at(0).plus(life)), at(0));
            let (earliest, latest) = (life.mul_f64(share - 0.021), life.mul_f64(share));
            let waited = renewal.at.since(at(0));
            assert!(waited >= earliest && waited <= latest, "{days} days: {waited:?}");
            assert!(renewal.ask_at.since(at(0)) <= ASK_AT_LEAST_EVERY, "twice a day at least");
        }
    }

    #[test]
    fn an_authority_is_asked_when_it_says_within_bounds() {
        let long = DAY * 90;
        for (asked, least, most) in [
            (None, HOUR * 5, HOUR * 6),
            (Some(Duration::ZERO), MINUTE - Duration::from_secs(6), MINUTE),
            (Some(HOUR), HOUR.mul_f64(0.9), HOUR),
            (Some(DAY * 365), HOUR * 10, HOUR * 12),
        ] {
            let wait = ask_again(at(0), asked, long).since(at(0));
            assert!(wait >= least && wait <= most, "{asked:?}: {wait:?}");
        }
    }

    #[test]
    fn a_window_is_drawn_from_once_and_never_puts_a_renewal_off() {
        let by_age = renew_by_age(&facts(at(0), at(90 * 24)), at(0));
        let window = (at(100), at(200));
        let bounds = (at(0), by_age.at);
        let first = renew_by_window(&by_age, window, None, bounds, at(1));
        assert!(first.at >= at(100) && first.at <= at(200));
        assert_eq!(renew_by_window(&first, window, None, bounds, at(2)).at, first.at, "the same window");
        let past = renew_by_window(&first, (at(1), at(2)), None, bounds, at(3));
        assert!(past.at <= at(2), "a revoked certificate is renewed at once");
        let late = renew_by_window(&first, (at(80 * 24), at(85 * 24)), None, bounds, at(3));
        assert_eq!(late.at, by_age.at);
        let settled = super::bounds(&facts(at(0), at(90 * 24)), at(0)).0;
        let nonsense = renew_by_window(&first, (at(-9), at(-8)), None, (settled, by_age.at), at(3));
        assert_eq!(nonsense.at, at(2), "not at once after it was got");
    }
}
