//! The memory that all runs on workers share. A run asks for more as it grows, and what would be too much for all, or for
//! its app, is refused: so it is what runs hold that is bounded, however many there are and whatever each may take.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picloud_shared::id::AppId;

/// Bytes are handed out in portions of this size, so that a run seldom asks.
const PORTION: usize = 1024 * 1024;

/// What is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The app's half.
    App,
    /// All of it.
    All,
}

/// The memory.
#[derive(Debug)]
pub struct Room {
    total: usize,
    of_app: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    apps: HashMap<AppId, usize>,
}

impl Room {
    /// Room for `bytes`, half of them for one app; and for one run that takes `largest`, however little that is.
    pub fn new(bytes: usize, largest: usize) -> Self {
        let at_least = largest.next_multiple_of(PORTION);
        Self { total: bytes.max(at_least), of_app: (bytes / 2).max(at_least), taken: Mutex::default() }
    }

    /// The share of a run that is about to begin.
    ///
    /// # Errors
    /// There is no portion left.
    pub fn enter(self: &Arc<Self>, app: AppId) -> Result<Share, Full> {
        let mut share = Share { room: Arc::clone(self), app, bytes: 0 };
        share.grow_to(PORTION)?;
        Ok(share)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing that is done under the lock can leave it half changed.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one run has of the room; dropped, it gives it back.
#[derive(Debug)]
pub struct Share {
    room: Arc<Room>,
    app: AppId,
    bytes: usize,
}

impl Share {
    /// Whose run it is.
    pub fn app(&self) -> AppId {
        self.app
    }

    /// Sees to it that the run may take so many bytes in all.
    ///
    /// # Errors
    /// There is not as much left.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Full> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let more = bytes.next_multiple_of(PORTION) - self.bytes;
        let mut taken = self.room.lock();
        let Taken { total, apps } = &mut *taken;
        let of_app = apps.get(&self.app).copied().unwrap_or(0);
        if more > self.room.total - *total {
            return Err(Full::All);
        }
        if more > self.room.of_app - of_app {
            return Err(Full::App);
        }
        *total += more;
        apps.insert(self.app, of_app + more);
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.room.lock();
        taken.total -= self.bytes;
        if let Some(of_app) = taken.apps.get_mut(&self.app) {
            *of_app -= self.bytes;
            if *of_app == 0 {
                taken.apps.remove(&self.app);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picloud_shared::clock::Timestamp;

    fn app(millis: i64) -> AppId {
        AppId::generate(Timestamp::from_millis(millis))
    }

    fn room(portions: usize) -> Arc<Room> {
        Arc::new(Room::new(portions * PORTION, 1))
    }

    #[test]
    fn one_app_has_half_and_all_have_the_whole() {
        let (room, a, b, c) = (room(8), app(1), app(2), app(3));
        let mut first = room.enter(a).unwrap();
        first.grow_to(3 * PORTION + 1).unwrap();
        assert_eq!(first.grow_to(4 * PORTION + 1).unwrap_err(), Full::App);
        assert_eq!(room.enter(a).unwrap_err(), Full::App);
        let mut second = room.enter(b).unwrap();
        second.grow_to(3 * PORTION).unwrap();
        let mut third = room.enter(c).unwrap();
        assert_eq!(third.grow_to(PORTION + 1).unwrap_err(), Full::All);
        assert_eq!(room.enter(app(4)).unwrap_err(), Full::All);
        drop(first);
        third.grow_to(4 * PORTION).unwrap();
    }

    #[test]
    fn what_is_given_back_is_all_that_was_taken() {
        let room = room(4);
        for number in 0..100 {
            let mut share = room.enter(app(number)).unwrap();
            share.grow_to(2 * PORTION).unwrap();
            share.grow_to(1).unwrap();
        }
        let taken = room.lock();
        assert_eq!((taken.total, taken.apps.len()), (0, 0));
    }

    #[test]
    fn the_largest_run_has_room_however_little_there_is() {
        let room = Arc::new(Room::new(0, 5 * PORTION / 2));
        let mut share = room.enter(app(1)).unwrap();
        share.grow_to(5 * PORTION / 2).unwrap();
        assert_eq!(room.enter(app(2)).unwrap_err(), Full::All);
    }

    #[test]
    fn a_run_that_asks_for_more_than_can_be_counted_is_refused() {
        let room = room(4);
        assert_eq!(room.enter(app(1)).unwrap().grow_to(usize::MAX / 2).unwrap_err(), Full::All);
    }
}
