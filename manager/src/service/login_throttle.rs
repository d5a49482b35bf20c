//! Slows down guessing: failures are counted for each pair of user and address, and for each address, and after a few
//! free ones the next attempt must wait longer and longer.
//!
//! An attempt counts as failed from its beginning until it succeeds, so that a hundred parallel guesses are not free.
//! There is no lock-out: a stranger's failures count at the stranger's address only. Times are of a clock that only goes on
//! ([`picloud_shared::clock::Clock::monotonic`]): setting the wall clock neither lengthens a wait nor ends one.
//!
//! Where several nodes serve from a store they count together there, so that nobody has as many guesses as there are nodes.

mod counted;

use std::net::IpAddr;
use std::time::Duration;

use picloud_shared::name::Username;
use tracing::debug;

use crate::repo::RepoError;
use crate::repo::login_failures::{self, Failures};
use crate::service::error::ServiceError;
use crate::store::{Conn, Store};
use counted::{Counted, Network, Told};

/// Counts failures to sign in.
pub(crate) struct LoginThrottle {
    counted: Counted,
    /// Where others count, too.
    shared: Option<Store>,
}

/// Of whom failures are counted, by the names that all nodes give them.
struct Subjects {
    user: String,
    address: String,
}

impl Subjects {
    fn new(user: &Username, address: IpAddr) -> Self {
        let network = Network::from(address);
        Self { user: format!("{network} {user}"), address: network.to_string() }
    }

    async fn find(&self, conn: &mut Conn) -> Result<(Option<Told>, Option<Told>), RepoError> {
        let of_user = login_failures::find(conn, &self.user).await?;
        let of_address = login_failures::find(conn, &self.address).await?;
        Ok((of_user.and_then(told), of_address.and_then(told)))
    }
}

/// What all nodes have counted, unless it is to be forgotten.
fn told(Failures { failures, last_at, age_ms }: Failures) -> Option<Told> {
    let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
    (age < counted::MEMORY).then_some(Told { count: failures, stamp: last_at, age })
}

impl LoginThrottle {
    pub(crate) fn new(store: &Store) -> Self {
        Self { counted: Counted::default(), shared: (!store.is_sqlite()).then(|| store.clone()) }
    }

    /// Counts an attempt as failed, or tells how long to wait before there may be one.
    pub(crate) async fn admit(&self, user: &Username, address: IpAddr, now: Duration) -> Result<(), ServiceError> {
        // So that what is remembered began after zero.
        let now = now.saturating_add(counted::MEMORY);
        let throttled = |retry_after| ServiceError::Throttled { retry_after };
        let Some(store) = &self.shared else {
            return self.counted.admit(user, address, now).map_err(throttled);
        };
        let subjects = Subjects::new(user, address);
        // Whoever has to wait takes no turn of those that change something.
        self.counted.learn(user, address, subjects.find(&mut store.read().await?).await?, now);
        if let Some(wait) = self.counted.wait(user, address, now) {
            return Err(throttled(wait));
        }
        let mut tx = store.begin().await?;
        self.counted.learn(user, address, subjects.find(&mut tx).await?, now);
        self.counted.admit(user, address, now).map_err(throttled)?;
        let (of_user, of_address) = self.counted.counts(user, address);
        let stamps = (
            login_failures::set(&mut tx, &subjects.user, of_user).await?,
            login_failures::set(&mut tx, &subjects.address, of_address).await?,
        );
        tx.commit().await?;
        self.counted.stamp(user, address, stamps);
        Ok(())
    }

    /// Takes an admitted attempt back as a failure. Of the address only this one is forgiven: whoever has an account
    /// must not be able to guess at others' between two logins of their own.
    pub(crate) async fn succeeded(&self, user: &Username, address: IpAddr) {
        self.counted.succeeded(user, address);
        self.forgive(user, address, async |tx, subjects| login_failures::forget(tx, &subjects.user).await).await;
    }

    /// Takes an admitted attempt back that never came to be tried.
    pub(crate) async fn not_tried(&self, user: &Username, address: IpAddr) {
        self.counted.not_tried(user, address);
        self.forgive(user, address, async |tx, subjects| login_failures::forgive(tx, &subjects.user).await).await;
    }

    /// Forgives the address one, and the user so much, where all nodes count.
    async fn forgive(
        &self,
        user: &Username,
        address: IpAddr,
        of_user: impl AsyncFnOnce(&mut Conn, &Subjects) -> Result<(), RepoError>,
    ) {
        let Some(store) = &self.shared else { return };
        let subjects = Subjects::new(user, address);
        let forgiven = async {
            let mut tx = store.begin().await?;
            of_user(&mut tx, &subjects).await?;
            login_failures::forgive(&mut tx, &subjects.address).await?;
            tx.commit().await
        };
        if let Err(error) = forgiven.await {
            // It counts as a failure then, until it is forgotten.
            debug!(
                error = &error as &dyn std::error::Error,
                "an attempt to sign in counts as failed, since the store is away"
            );
        }
    }

    /// Forgets what no attempt waits for any more.
    pub(crate) async fn forget_old(store: &Store) -> Result<(), RepoError> {
        if store.is_sqlite() {
            return Ok(());
        }
        let mut tx = store.begin().await?;
        login_failures::forget_old(&mut tx, counted::MEMORY).await?;
        tx.commit().await
    }
}
