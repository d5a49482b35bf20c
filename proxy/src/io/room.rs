//! Memory that all clients share. None may have more than a quarter of it, so that one client's slow transfers leave
//! room for everybody else's.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Of all the room, one client may have this part.
const SHARE: usize = 4;

/// Memory, by the byte.
#[derive(Debug)]
pub(super) struct Room {
    bytes: usize,
    taken: AtomicUsize,
}

/// What one request has of a room; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place<'r> {
    room: &'r Room,
    /// What its client has of the room in all.
    by_client: &'r AtomicUsize,
    bytes: usize,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes, taken: AtomicUsize::new(0) }
    }

    /// A place without any memory as yet, for the client that has so much of this room.
    pub(super) fn place<'r>(&'r self, by_client: &'r AtomicUsize) -> Place<'r> {
        Place { room: self, by_client, bytes: 0 }
    }
}

impl Place<'_> {
    /// Takes more memory. Tells whether there was enough.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        if bytes == 0 {
            return true;
        }
        if !add_within(self.by_client, bytes, self.room.bytes / SHARE) {
            return false;
        }
        if !add_within(&self.room.taken, bytes, self.room.bytes) {
            self.by_client.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.bytes += bytes;
        true
    }

    /// Gives all of it back.
    pub(super) fn give_back(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes > 0 {
            self.room.taken.fetch_sub(bytes, Ordering::Relaxed);
            self.by_client.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn add_within(count: &AtomicUsize, bytes: usize, most: usize) -> bool {
    let sum = |count: usize| count.checked_add(bytes).filter(|sum| *sum <= most);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_a_quarter_and_all_have_the_whole() {
        let room = Room::new(100);
        let clients: [AtomicUsize; 6] = Default::default();
        let mut first = room.place(&clients[0]);
        assert!(first.take(20) && first.take(5) && !first.take(1) && first.take(0));
        assert!(!room.place(&clients[0]).take(1), "another request of the same client");
        assert!(!room.place(&clients[1]).take(usize::MAX), "more than there is");
        let mut others: Vec<_> = clients[1..4].iter().map(|client| room.place(client)).collect();
        assert!(others.iter_mut().all(|other| other.take(25)));
        assert!(!room.place(&clients[5]).take(1), "all is taken");
        drop(first);
        assert!(room.place(&clients[5]).take(25));
        drop(others);
        assert_eq!(room.taken.into_inner(), 0);
        assert_eq!(clients.map(AtomicUsize::into_inner), [0; 6]);
    }
}
