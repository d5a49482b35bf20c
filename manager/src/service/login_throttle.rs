//! Slows down guessing: failures are counted for each pair of user and address, and for each address, and after a few
//! free ones the next attempt must wait longer and longer.
//!
//! An attempt counts as failed from its beginning until it succeeds, so that a hundred parallel guesses are not free.
//! There is no lock-out: a stranger's failures count at the stranger's address only. Times are of a clock that only goes on
//! ([`picloud_shared::clock::Clock::monotonic`]): setting the wall clock neither lengthens a wait nor ends one.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use picloud_shared::name::Username;

/// Failures without a delay for one user at one address: people mistype.
const FREE_FOR_USER: u32 = 5;
/// Failures without a delay at one address, behind which several people may sit.
const FREE_FOR_ADDRESS: u32 = 20;
/// The first delay, which doubles with each further failure.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);
/// Failures are forgotten after as long a quiet time.
const MEMORY: Duration = Duration::from_secs(60 * 60);
/// Entries of one table: some 2 MB at most. The longest quiet ones leave first.
const CAPACITY: usize = 10_000;

/// Remembers failures to sign in.
#[derive(Default)]
pub(crate) struct LoginThrottle(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    users: Table<(Username, Network)>,
    addresses: Table<Network>,
}

/// An address as it counts: an IPv4 address, or a /64 of IPv6, which is what one customer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            v4 => Self(v4),
        }
    }
}

impl LoginThrottle {
    /// Counts an attempt as failed, or tells how long to wait before there may be one.
    pub(crate) fn admit(&self, user: &Username, address: IpAddr, now: Duration) -> Result<(), Duration> {
        let mut tables = self.tables();
        let (network, user_key) = (Network::from(address), (user.clone(), Network::from(address)));
        let by_user = tables.users.wait(&user_key, FREE_FOR_USER, now);
        let by_address = tables.addresses.wait(&network, FREE_FOR_ADDRESS, now);
        match by_user.max(by_address) {
            Some(wait) => Err(wait),
            None => {
                tables.users.count(user_key, now);
                tables.addresses.count(network, now);
                Ok(())
            }
        }
    }

    /// Takes an admitted attempt back as a failure. Of the address only this one is forgiven: whoever has an account
    /// must not be able to guess at others' between two logins of their own.
    pub(crate) fn succeeded(&self, user: &Username, address: IpAddr) {
        let mut tables = self.tables();
        let network = Network::from(address);
        tables.users.0.remove(&(user.clone(), network));
        tables.addresses.forgive_one(&network);
    }

    /// Takes an admitted attempt back that never came to be tried.
    pub(crate) fn not_tried(&self, user: &Username, address: IpAddr) {
        let mut tables = self.tables();
        let network = Network::from(address);
        tables.users.forgive_one(&(user.clone(), network));
        tables.addresses.forgive_one(&network);
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // The tables are counters: they are whole after any panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Failures {
    count: u32,
    last: Duration,
}

struct Table<K>(HashMap<K, Failures>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Table<K> {
    fn wait(&self, key: &K, free: u32, now: Duration) -> Option<Duration> {
        let failures = self.0.get(key)?;
        let quiet = now.saturating_sub(failures.last);
        let over = failures.count.checked_sub(free)?;
        let delay = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(over)).min(LONGEST_DELAY);
        if quiet >= MEMORY { None } else { delay.checked_sub(quiet).filter(|wait| !wait.is_zero()) }
    }

    fn count(&mut self, key: K, now: Duration) {
        if self.0.len() >= CAPACITY && !self.0.contains_key(&key) {
            self.make_room(now);
        }
        let failures = self.0.entry(key).or_insert(Failures { count: 0, last: now });
        if now.saturating_sub(failures.last) >= MEMORY {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    fn forgive_one(&mut self, key: &K) {
        if let Some(failures) = self.0.get_mut(key) {
            failures.count = failures.count.saturating_sub(1);
            if failures.count == 0 {
                self.0.remove(key);
            }
        }
    }

    /// Drops what is forgotten, and else the longest quiet quarter, so that the cost is spread over many insertions.
    fn make_room(&mut self, now: Duration) {
        self.0.retain(|_, failures| now.saturating_sub(failures.last) < MEMORY);
        if self.0.len() < CAPACITY {
            return;
        }
        let mut times: Vec<Duration> = self.0.values().map(|failures| failures.last).collect();
        let (_, oldest_kept, _) = times.select_nth_unstable(CAPACITY / 4);
        let oldest_kept = *oldest_kept;
        let mut surplus = self.0.len() - CAPACITY * 3 / 4;
        self.0.retain(|_, failures| {
            let leaves = surplus > 0 && failures.last <= oldest_kept;
            surplus -= usize::from(leaves);
            !leaves
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "192.0.2.7";

    fn name(text: &str) -> Username {
        text.parse().unwrap()
    }

    fn try_at(throttle: &LoginThrottle, user: &str, address: &str, seconds: u64) -> Option<u64> {
        throttle
            .admit(&name(user), address.parse().unwrap(), Duration::from_secs(seconds))
            .err()
            .map(|wait| wait.as_secs())
    }

    #[test]
    fn the_delay_begins_after_five_failures_and_doubles_up_to_fifteen_minutes() {
        let throttle = LoginThrottle::default();
        for _ in 0..5 {
            assert_eq!(try_at(&throttle, "ada", HOME, 0), None);
        }
        let mut now = 0;
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            assert_eq!(try_at(&throttle, "ada", HOME, now), Some(expected));
            now += expected;
            assert_eq!(try_at(&throttle, "ada", HOME, now), None, "after the wait of {expected} s");
        }
    }

    #[test]
    fn a_strangers_failures_do_not_keep_the_user_out() {
        let throttle = LoginThrottle::default();
        while try_at(&throttle, "ada", "198.51.100.1", 0).is_none() {}
        assert_eq!(try_at(&throttle, "ada", HOME, 0), None);
    }

    #[test]
    fn many_names_from_one_address_are_delayed_together() {
        let throttle = LoginThrottle::default();
        for n in 0..20 {
            assert_eq!(try_at(&throttle, &format!("user{n}"), HOME, 0), None);
        }
        assert_eq!(try_at(&throttle, "another", HOME, 0), Some(1));
    }

    #[test]
    fn ipv6_counts_by_its_64_and_mapped_ipv4_as_ipv4() {
        let throttle = LoginThrottle::default();
        for n in 0..5 {
            assert_eq!(try_at(&throttle, "ada", &format!("2001:db8:1:2::{n}"), 0), None);
        }
        assert_eq!(try_at(&throttle, "ada", "2001:db8:1:2:ffff::1", 0), Some(1));
        assert_eq!(try_at(&throttle, "ada", "2001:db8:1:3::1", 0), None);
        for _ in 0..5 {
            assert_eq!(try_at(&throttle, "bob", HOME, 0), None);
        }
        assert_eq!(try_at(&throttle, "bob", &format!("::ffff:{HOME}"), 0), Some(1));
    }

    #[test]
    fn success_forgets_the_users_failures_but_only_one_of_the_address() {
        let throttle = LoginThrottle::default();
        for n in 0..19 {
            assert_eq!(try_at(&throttle, &format!("victim{n}"), HOME, 0), None);
        }
        assert_eq!(try_at(&throttle, "mallory", HOME, 0), None);
        throttle.succeeded(&name("mallory"), HOME.parse().unwrap());
        assert_eq!(try_at(&throttle, "victim", HOME, 0), None);
        assert_eq!(try_at(&throttle, "victim", HOME, 0), Some(1));
    }

    #[test]
    fn failures_are_forgotten_after_an_hour_of_quiet() {
        let throttle = LoginThrottle::default();
        while try_at(&throttle, "ada", HOME, 0).is_none() {}
        for _ in 0..5 {
            assert_eq!(try_at(&throttle, "ada", HOME, 3600), None);
        }
        assert_eq!(try_at(&throttle, "ada", HOME, 3600), Some(1));
    }

    #[test]
    fn memory_is_bounded_and_the_latest_failures_stay() {
        let throttle = LoginThrottle::default();
        for n in 0..25_000_u32 {
            let address = IpAddr::from(n.to_be_bytes());
            assert_eq!(throttle.admit(&name("ada"), address, Duration::from_secs(u64::from(n) / 100)), Ok(()));
        }
        let tables = throttle.tables();
        assert!(tables.users.0.len() <= CAPACITY && tables.addresses.0.len() <= CAPACITY);
        assert!(tables.addresses.0.contains_key(&Network(IpAddr::from(24_999_u32.to_be_bytes()))));
        assert!(!tables.addresses.0.contains_key(&Network(IpAddr::from(0_u32.to_be_bytes()))));
    }
}
