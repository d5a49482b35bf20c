//! Who is connected: how many connections each client has, and how much of the memory that all share. What is counted so may be something
//! else as well of which each is to leave some to others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Who gets an IPv6 address gets all of its /64.
const IPV6_CLIENT_BITS: u128 = !0 << 64;

/// A client may have so many times the connections that are free: one that wants all gets three quarters, and each that comes
/// after it three quarters of what is left.
const TIMES_WHAT_IS_FREE: usize = 3;

/// How often it is told that connections are turned away.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// All clients of some listeners.
#[derive(Debug)]
pub(crate) struct Clients {
    most: usize,
    most_of_each: usize,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    connections: usize,
    clients: HashMap<IpAddr, Presence>,
    turned_away: TurnedAway,
}

#[derive(Debug, Default)]
struct Presence {
    connections: usize,
    guests: usize,
    holdings: Arc<Holdings>,
}

/// What a client has of each room.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    /// Of the memory for heads.
    pub(super) heads: AtomicUsize,
    /// Of the memory for bodies.
    pub(super) bodies: AtomicUsize,
    /// Of the memory for answers.
    pub(super) answers: AtomicUsize,
}

/// Connections that were closed at once, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct TurnedAway {
    /// All were taken.
    none_free: u64,
    /// Their client had enough.
    over_share: u64,
    told: Option<Instant>,
}

/// A client, known for as long as something of it is here.
#[derive(Debug)]
pub(crate) struct Guest {
    clients: Arc<Clients>,
    client: IpAddr,
    connections: usize,
    holdings: Arc<Holdings>,
}

impl Clients {
    /// With so many connections at once, of all and of each.
    pub(crate) fn new(most: usize, most_of_each: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_each, present: Mutex::default() })
    }

    /// Lets a client's connection in, unless all are taken or it has enough.
    pub(crate) fn admit(self: &Arc<Self>, remote_ip: IpAddr) -> Option<Guest> {
        let client = client(remote_ip);
        let mut present = self.present();
        let free = self.most - present.connections;
        let own = present.clients.get(&client).map_or(0, |presence| presence.connections);
        if free == 0 {
            present.turned_away.none_free += 1;
        } else if own >= self.most_of_each.min(free.saturating_mul(TIMES_WHAT_IS_FREE)) {
            present.turned_away.over_share += 1;
        } else {
            return Some(self.guest(present, client, 1));
        }
        let told = present.turned_away.tell(Instant::now());
        drop(present);
        if let Some(TurnedAway { none_free, over_share, .. }) = told {
            tracing::warn!(%remote_ip, none_free, over_share, "connections are turned away, so many since the start");
        }
        None
    }

    fn guest(self: &Arc<Self>, mut present: MutexGuard<'_, Present>, client: IpAddr, connections: usize) -> Guest {
        present.connections += connections;
        let presence = present.clients.entry(client).or_default();
        presence.connections += connections;
        presence.guests += 1;
        Guest { clients: Arc::clone(self), client, connections, holdings: Arc::clone(&presence.holdings) }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        // Nothing panics while it is held.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TurnedAway {
    /// What there is to tell, now and then.
    fn tell(&mut self, now: Instant) -> Option<Self> {
        if self.told.is_some_and(|told| now - told < TELL_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(*self)
    }
}

impl Guest {
    pub(super) fn holdings(&self) -> &Holdings {
        &self.holdings
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let present = &mut *self.clients.present();
        present.connections -= self.connections;
        if let Some(presence) = present.clients.get_mut(&self.client) {
            presence.connections -= self.connections;
            presence.guests -= 1;
            if presence.guests == 0 {
                present.clients.remove(&self.client);
            }
        }
    }
}

fn client(remote_ip: IpAddr) -> IpAddr {
    match remote_ip {
        IpAddr::V4(_) => remote_ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & IPV6_CLIENT_BITS).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens connections until one is turned away.
    fn take_all(clients: &Arc<Clients>, ip: &str) -> Vec<Guest> {
        std::iter::from_fn(|| clients.admit(ip.parse().unwrap())).collect()
    }

    #[test]
    fn addresses_of_one_network_are_one_client_and_nobody_stays_who_left() {
        let clients = Clients::new(100, 100);
        let admit = |ip: &str| clients.admit(ip.parse().unwrap()).unwrap();
        let same = |a: &Guest, b: &Guest| Arc::ptr_eq(&a.holdings, &b.holdings);
        let first = admit("2001:db8:0:1::1");
        assert!(same(&first, &admit("2001:db8:0:1:ffff::2")));
        assert!(!same(&first, &admit("2001:db8:0:2::1")));
        assert!(!same(&admit("10.0.0.1"), &admit("10.0.0.2")));
        drop(first);
        let present = clients.present();
        assert!(present.connections == 0 && present.clients.is_empty(), "{present:?}");
    }

    #[test]
    fn one_client_gets_three_quarters_and_the_next_one_three_quarters_of_the_rest() {
        let clients = Clients::new(100, 100);
        let first = take_all(&clients, "10.0.0.1");
        assert_eq!(first.len(), 75);
        let second = take_all(&clients, "10.0.0.2");
        assert_eq!(second.len(), 19);
        drop(first);
        assert_eq!(take_all(&clients, "10.0.0.2").len(), 75 - 19);
    }

    #[test]
    fn a_client_has_no_more_than_it_was_given() {
        assert_eq!(take_all(&Clients::new(100, 5), "10.0.0.1").len(), 5);
        assert_eq!(take_all(&Clients::new(1, 100), "10.0.0.1").len(), 1);
    }

    #[test]
    fn who_was_turned_away_is_counted_and_told_once_a_minute() {
        let clients = Clients::new(2, 1);
        let _held = [take_all(&clients, "10.0.0.1"), take_all(&clients, "10.0.0.2")];
        assert!(clients.admit("10.0.0.3".parse().unwrap()).is_none());
        let mut turned_away = clients.present().turned_away;
        assert_eq!((turned_away.over_share, turned_away.none_free), (1, 2));
        let told = turned_away.told.unwrap();
        assert_eq!(turned_away.tell(told + TELL_EVERY / 2), None);
        assert!(turned_away.tell(told + TELL_EVERY).is_some());
    }
}
