//! Failures as this node counts them, in memory.

use std::collections::HashMap;
use std::fmt;
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
pub(super) const MEMORY: Duration = Duration::from_secs(60 * 60);
/// Entries of one table: some 2 MB at most. The longest quiet ones leave first.
const CAPACITY: usize = 10_000;

/// Remembers failures to sign in.
#[derive(Default)]
pub(super) struct Counted(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    users: Table<(Username, Network)>,
    addresses: Table<Network>,
}

impl Tables {
    fn wait(&self, key: &(Username, Network), now: Duration) -> Option<Duration> {
        self.users.wait(key, FREE_FOR_USER, now).max(self.addresses.wait(&key.1, FREE_FOR_ADDRESS, now))
    }
}

/// An address as it counts: an IPv4 address, or a /64 of IPv6, which is what one customer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Network(IpAddr);

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

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

/// Failures as all nodes count them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub count: u32,
    /// Another for each failure.
    pub stamp: i64,
    /// How long ago the last one was.
    pub age: Duration,
}

impl Counted {
    /// Takes over what all nodes have counted of a user at an address, and of the address. What this node counted itself stays as it
    /// is: it has the better clock for it.
    pub(super) fn learn(
        &self,
        user: &Username,
        address: IpAddr,
        (of_user, of_address): (Option<Told>, Option<Told>),
        now: Duration,
    ) {
        let mut tables = self.tables();
        let network = Network::from(address);
        tables.users.learn((user.clone(), network), of_user, now);
        tables.addresses.learn(network, of_address, now);
    }

    /// How often a user at an address has failed, and how often the address.
    pub(super) fn counts(&self, user: &Username, address: IpAddr) -> (u32, u32) {
        let tables = self.tables();
        let network = Network::from(address);
        (tables.users.count_of(&(user.clone(), network)), tables.addresses.count_of(&network))
    }

    /// Says by which stamps all nodes know these failures.
    pub(super) fn stamp(&self, user: &Username, address: IpAddr, (of_user, of_address): (i64, i64)) {
        let mut tables = self.tables();
        let network = Network::from(address);
        tables.users.stamp(&(user.clone(), network), of_user);
        tables.addresses.stamp(&network, of_address);
    }

    /// How long there may be no attempt.
    pub(super) fn wait(&self, user: &Username, address: IpAddr, now: Duration) -> Option<Duration> {
        self.tables().wait(&(user.clone(), Network::from(address)), now)
    }

    /// Counts an attempt as failed, or tells how long to wait before there may be one.
    pub(super) fn admit(&self, user: &Username, address: IpAddr, now: Duration) -> Result<(), Duration> {
        let mut tables = self.tables();
        let (network, user_key) = (Network::from(address), (user.clone(), Network::from(address)));
        match tables.wait(&user_key, now) {
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
    pub(super) fn succeeded(&self, user: &Username, address: IpAddr) {
        let mut tables = self.tables();
        let network = Network::from(address);
        tables.users.0.remove(&(user.clone(), network));
        tables.addresses.forgive_one(&network);
    }

    /// Takes an admitted attempt back that never came to be tried.
    pub(super) fn not_tried(&self, user: &Username, address: IpAddr) {
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
    /// By which all nodes know it.
    stamp: i64,
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
        let failures = self.0.entry(key).or_insert(Failures { count: 0, last: now, stamp: 0 });
        if now.saturating_sub(failures.last) >= MEMORY {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    fn learn(&mut self, key: K, told: Option<Told>, now: Duration) {
        let Some(Told { count, stamp, age }) = told else {
            self.0.remove(&key);
            return;
        };
        if self.0.get(&key).is_some_and(|known| (known.count, known.stamp) == (count, stamp)) {
            return;
        }
        if self.0.len() >= CAPACITY && !self.0.contains_key(&key) {
            self.make_room(now);
        }
        self.0.insert(key, Failures { count, last: now.saturating_sub(age), stamp });
    }

    fn count_of(&self, key: &K) -> u32 {
        self.0.get(key).map_or(0, |failures| failures.count)
    }

    fn stamp(&mut self, key: &K, stamp: i64) {
        if let Some(failures) = self.0.get_mut(key) {
            failures.stamp = stamp;
        }
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

    fn try_at(throttle: &Counted, user: &str, address: &str, seconds: u64) -> Option<u64> {
        throttle
            .admit(&name(user), address.parse().unwrap(), Duration::from_secs(seconds))
            .err()
            .map(|wait| wait.as_secs())
    }

    #[test]
    fn the_delay_begins_after_five_failures_and_doubles_up_to_fifteen_minutes() {
        let throttle = Counted::default();
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
        let throttle = Counted::default();
        while try_at(&throttle, "ada", "198.51.100.1", 0).is_none() {}
        assert_eq!(try_at(&throttle, "ada", HOME, 0), None);
    }

    #[test]
    fn many_names_from_one_address_are_delayed_together() {
        let throttle = Counted::default();
        for n in 0..20 {
            assert_eq!(try_at(&throttle, &format!("user{n}"), HOME, 0), None);
        }
        assert_eq!(try_at(&throttle, "another", HOME, 0), Some(1));
    }

    #[test]
    fn ipv6_counts_by_its_64_and_mapped_ipv4_as_ipv4() {
        let throttle = Counted::default();
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
        let throttle = Counted::default();
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
        let throttle = Counted::default();
        while try_at(&throttle, "ada", HOME, 0).is_none() {}
        for _ in 0..5 {
            assert_eq!(try_at(&throttle, "ada", HOME, 3600), None);
        }
        assert_eq!(try_at(&throttle, "ada", HOME, 3600), Some(1));
    }

    #[test]
    fn what_other_nodes_counted_counts_and_what_this_one_did_is_by_its_own_clock() {
        let throttle = Counted::default();
        let (ada, home, now) = (name("ada"), HOME.parse().unwrap(), Duration::from_secs(7_200));
        let told = |count, stamp, age| Some(Told { count, stamp, age: Duration::from_secs(age) });
        throttle.learn(&ada, home, (told(7, 1, 1), None), now);
        assert_eq!(
            try_at(&throttle, "ada", HOME, 7_200),
            Some(3),
            "four seconds after the seventh, of which one is over"
        );
        // The same again, by a clock that was set: nothing new.
        throttle.learn(&ada, home, (told(7, 1, 3_000), None), now);
        assert_eq!(try_at(&throttle, "ada", HOME, 7_200), Some(3));
        // Somebody signed in elsewhere.
        throttle.learn(&ada, home, (None, None), now);
        assert_eq!(try_at(&throttle, "ada", HOME, 7_200), None);
        assert_eq!(throttle.counts(&ada, home), (1, 1));
    }

    #[test]
    fn memory_is_bounded_and_the_latest_failures_stay() {
        let throttle = Counted::default();
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
