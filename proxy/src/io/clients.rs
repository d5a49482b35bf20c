//! Who is connected: how many connections each client has, and how much of the memory that all share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who gets an IPv6 address gets all of its /64.
const IPV6_CLIENT_BITS: u128 = !0 << 64;

/// All clients of some listeners.
#[derive(Debug, Default)]
pub(super) struct Clients {
    present: Mutex<HashMap<IpAddr, Presence>>,
}

#[derive(Debug, Default)]
struct Presence {
    guests: usize,
    holdings: Arc<Holdings>,
}

/// What a client has of each room.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    /// Of the memory for requests.
    pub(super) requests: AtomicUsize,
    /// Of the memory for answers.
    pub(super) answers: AtomicUsize,
}

/// A client, known for as long as something of it is here.
#[derive(Debug)]
pub(super) struct Guest {
    clients: Arc<Clients>,
    client: IpAddr,
    holdings: Arc<Holdings>,
}

impl Clients {
    /// Lets a client in.
    pub(super) fn admit(self: &Arc<Self>, remote_ip: IpAddr) -> Guest {
        let client = client(remote_ip);
        let mut present = self.present();
        let presence = present.entry(client).or_default();
        presence.guests += 1;
        Guest { clients: Arc::clone(self), client, holdings: Arc::clone(&presence.holdings) }
    }

    fn present(&self) -> MutexGuard<'_, HashMap<IpAddr, Presence>> {
        // Nothing panics while it is held.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    pub(super) fn holdings(&self) -> &Holdings {
        &self.holdings
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut present = self.clients.present();
        if let Some(presence) = present.get_mut(&self.client) {
            presence.guests -= 1;
            if presence.guests == 0 {
                present.remove(&self.client);
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

    #[test]
    fn addresses_of_one_network_are_one_client_and_nobody_stays_who_left() {
        let clients = Arc::new(Clients::default());
        let admit = |ip: &str| clients.admit(ip.parse().unwrap());
        let same = |a: &Guest, b: &Guest| Arc::ptr_eq(&a.holdings, &b.holdings);
        let first = admit("2001:db8:0:1::1");
        assert!(same(&first, &admit("2001:db8:0:1:ffff::2")));
        assert!(!same(&first, &admit("2001:db8:0:2::1")));
        assert!(!same(&admit("10.0.0.1"), &admit("10.0.0.2")));
        assert_eq!(clients.present().len(), 1);
        drop(first);
        assert!(clients.present().is_empty());
    }
}
