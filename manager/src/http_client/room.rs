//! How many calls run at once, and the bytes of bodies that they hold, each with a share that no app exceeds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picloud_shared::id::AppId;

use super::{Failure, failure};

const MOST: Taken = Taken { calls: 64, bytes: 32 * 1024 * 1024 };
const MOST_OF_APP: Taken = Taken { calls: 16, bytes: 8 * 1024 * 1024 };

/// What all calls share.
#[derive(Default)]
pub(super) struct Room(Mutex<Shares>);

#[derive(Default)]
struct Shares {
    all: Taken,
    apps: HashMap<AppId, Taken>,
}

#[derive(Clone, Copy, Default)]
struct Taken {
    calls: usize,
    bytes: usize,
}

impl Room {
    /// A call that is about to begin.
    pub(super) fn enter(self: &Arc<Self>, app: AppId) -> Result<Entered, Failure> {
        let mut shares = self.lock();
        let Shares { all, apps } = &mut *shares;
        let of_app = apps.get(&app).map_or(0, |taken| taken.calls);
        if of_app >= MOST_OF_APP.calls {
            return Err(failure("busy", format!("the app makes {} calls at once already", MOST_OF_APP.calls)));
        }
        if all.calls >= MOST.calls {
            return Err(failure("busy", "too many calls are being made at once; try again"));
        }
        all.calls += 1;
        apps.entry(app).or_default().calls += 1;
        Ok(Entered { room: Arc::clone(self), app, bytes: 0 })
    }

    fn lock(&self) -> MutexGuard<'_, Shares> {
        // Nothing that is done under the lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The share of one call; dropped, it gives it back.
pub(super) struct Entered {
    room: Arc<Room>,
    app: AppId,
    bytes: usize,
}

impl Entered {
    /// So many bytes more.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Failure> {
        let more = bytes.saturating_sub(self.bytes);
        let mut shares = self.room.lock();
        let Shares { all, apps } = &mut *shares;
        let of_app = apps.entry(self.app).or_default();
        if of_app.bytes + more > MOST_OF_APP.bytes || all.bytes + more > MOST.bytes {
            return Err(failure("busy", "the bodies of calls at once take too much memory; try again"));
        }
        of_app.bytes += more;
        all.bytes += more;
        self.bytes += more;
        Ok(())
    }

    /// What it has.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut shares = self.room.lock();
        shares.all.calls -= 1;
        shares.all.bytes -= self.bytes;
        if let Some(of_app) = shares.apps.get_mut(&self.app) {
            of_app.calls -= 1;
            of_app.bytes -= self.bytes;
            if of_app.calls == 0 {
                shares.apps.remove(&self.app);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picloud_shared::clock::Timestamp;

    #[test]
    fn no_app_takes_all_and_what_is_given_back_is_all_that_was_taken() {
        let room = Arc::new(Room::default());
        let [a, b] = [1, 2].map(|millis| AppId::generate(Timestamp::from_millis(millis)));
        let mut calls: Vec<Entered> =
            (0..MOST_OF_APP.calls).map(|_| room.enter(a).unwrap_or_else(|_| panic!())).collect();
        assert!(room.enter(a).is_err_and(|refused| refused.code == "busy"));
        assert!(calls[0].grow_to(MOST_OF_APP.bytes).is_ok());
        assert!(calls[1].grow_to(1).is_err());
        assert!(room.enter(b).is_ok_and(|mut other| other.grow_to(MOST_OF_APP.bytes).is_ok()));
        drop(calls);
        let shares = room.lock();
        assert_eq!((shares.all.calls, shares.all.bytes, shares.apps.len()), (0, 0, 0));
    }
}
