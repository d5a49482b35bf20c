//! Memory that all clients share. None may have more than a quarter of it, so that one client's slow transfers leave
//! room for everybody else's.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of all the room, one client may have this part.
const SHARE: usize = 4;
/// Who gets an IPv6 address gets all of its /64.
const IPV6_CLIENT_BITS: u128 = !0 << 64;

/// Memory, by the byte.
#[derive(Debug)]
pub(super) struct Room {
    bytes: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    by_all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// What one request has of a room; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place<'r> {
    room: &'r Room,
    client: IpAddr,
    bytes: usize,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes, taken: Mutex::default() }
    }

    /// A place without any memory as yet.
    pub(super) fn place(&self, remote_ip: IpAddr) -> Place<'_> {
        Place { room: self, client: client(remote_ip), bytes: 0 }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it is held.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Takes more memory. Tells whether there was enough.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let taken = &mut *self.room.taken();
        let by_client = taken.by_client.get(&self.client).copied().unwrap_or_default();
        let left = (self.room.bytes - taken.by_all).min((self.room.bytes / SHARE).saturating_sub(by_client));
        if bytes > left {
            return false;
        }
        if bytes > 0 {
            taken.by_all += bytes;
            taken.by_client.insert(self.client, by_client + bytes);
            self.bytes += bytes;
        }
        true
    }

    /// Gives all of it back.
    pub(super) fn give_back(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == 0 {
            return;
        }
        let taken = &mut *self.room.taken();
        taken.by_all -= bytes;
        if let Some(by_client) = taken.by_client.get_mut(&self.client) {
            *by_client -= bytes;
            if *by_client == 0 {
                taken.by_client.remove(&self.client);
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.give_back();
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

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_a_quarter_and_all_have_the_whole() {
        let room = Room::new(100);
        let mut first = room.place(ip("10.0.0.1"));
        assert!(first.take(20) && first.take(5) && !first.take(1) && first.take(0));
        assert!(!room.place(ip("10.0.0.1")).take(1), "another request of the same client");
        let mut others: Vec<_> = (2..5).map(|n| room.place(ip(&format!("10.0.0.{n}")))).collect();
        assert!(others.iter_mut().all(|other| other.take(25)));
        assert!(!room.place(ip("10.0.0.9")).take(1), "all is taken");
        drop(first);
        assert!(room.place(ip("10.0.0.9")).take(25));
        others.clear();
        let taken = room.taken();
        assert!(taken.by_all == 0 && taken.by_client.is_empty(), "{taken:?}");
    }

    #[test]
    fn addresses_of_one_network_are_one_client() {
        let room = Room::new(100);
        let mut first = room.place(ip("2001:db8:0:1::1"));
        assert!(first.take(25));
        assert!(!room.place(ip("2001:db8:0:1:ffff::2")).take(1));
        assert!(room.place(ip("2001:db8:0:2::1")).take(25));
    }
}
