//! Password hashing in a slot of its own: at most two at once (19 MiB each matter on a Pi) and a bounded queue behind
//! them, off the threads that answer requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::{PasswordHash as Phc, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::repo::users::PasswordHash;
use crate::secret::{NewPassword, TypedPassword};
use crate::service::error::ServiceError;

/// KiB of memory, passes and lanes: OWASP's second choice, which a Pi bears.
const PARAMS: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Passwords that are hashed at once.
const AT_ONCE: usize = 2;
/// Passwords that may wait or be hashed; more are turned away at once.
const WAITING: usize = 32;

/// Hashes and verifies passwords.
#[derive(Clone)]
pub(crate) struct PasswordSlot {
    permits: Arc<Semaphore>,
    present: Arc<AtomicUsize>,
    nobody: PasswordHash,
}

/// What a verification found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wrong,
    Right,
    /// Right, but hashed with weaker parameters than today's.
    RightButWeak,
}

/// One who waits or works; leaves when dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl PasswordSlot {
    /// A slot, with the hash of a password that nobody has.
    pub(crate) fn new() -> Self {
        let nobody = hash_now(&NewPassword::generate());
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)), present: Arc::default(), nobody }
    }

    /// Hashes a password for the store.
    pub(crate) async fn hash(&self, password: NewPassword) -> Result<PasswordHash, ServiceError> {
        self.run(move || hash_now(&password)).await
    }

    /// Verifies a password. Without a hash it takes the same time and finds it wrong, so that nobody learns from the
    /// clock who has an account.
    pub(crate) async fn verify(
        &self,
        password: TypedPassword,
        hash: Option<PasswordHash>,
    ) -> Result<Verdict, ServiceError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        let verdict = self.run(move || verify_now(&password, &hash)).await?;
        Ok(if known { verdict } else { Verdict::Wrong })
    }

    /// Runs the work in the slot. The permit goes with the work: a caller that left does not free the slot early.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ServiceError> {
        let place = Place(Arc::clone(&self.present));
        if place.0.fetch_add(1, Ordering::AcqRel) >= WAITING {
            return Err(ServiceError::HashingBusy);
        }
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let done = tokio::task::spawn_blocking(move || {
            let _held = (permit, place);
            work()
        });
        done.await.map_err(|_| ServiceError::HashingBusy)
    }
}

fn argon2() -> Argon2<'static> {
    let (memory, passes, lanes) = PARAMS;
    let params = Params::new(memory, passes, lanes, None).expect("the parameters are constants within Argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Hashes on the calling thread, for start-up and the command line.
pub(crate) fn hash_now(password: &NewPassword) -> PasswordHash {
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).expect("16 bytes make a valid salt");
    let hash = argon2()
        .hash_password(password.as_typed().reveal(), &salt)
        .expect("a password of at most 1 KiB and a valid salt can be hashed");
    PasswordHash::from_phc(hash.to_string())
}

fn verify_now(password: &TypedPassword, hash: &PasswordHash) -> Verdict {
    let Ok(stored) = Phc::new(hash.as_phc()) else {
        return Verdict::Wrong;
    };
    if argon2().verify_password(password.reveal(), &stored).is_err() {
        return Verdict::Wrong;
    }
    let (memory, passes, _) = PARAMS;
    match Params::try_from(&stored) {
        Ok(params) if params.m_cost() >= memory && params.t_cost() >= passes => Verdict::Right,
        _ => Verdict::RightButWeak,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn typed(text: &str) -> TypedPassword {
        text.to_owned().try_into().unwrap()
    }

    #[tokio::test]
    async fn a_hash_verifies_its_password_and_no_other() {
        let slot = PasswordSlot::new();
        let hash = slot.hash("a long pass phrase".parse().unwrap()).await.unwrap();
        assert!(hash.as_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(slot.verify(typed("a long pass phrase"), Some(hash.clone())).await.unwrap(), Verdict::Right);
        assert_eq!(slot.verify(typed("a long pass phrasE"), Some(hash)).await.unwrap(), Verdict::Wrong);
        assert_eq!(slot.verify(typed("a long pass phrase"), None).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn a_hash_of_weaker_parameters_is_right_but_weak() {
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8 * 1024, 1, 1, None).unwrap());
        let salt = SaltString::encode_b64(&[7; 16]).unwrap();
        let hash = PasswordHash::from_phc(weak.hash_password(b"once enough", &salt).unwrap().to_string());
        assert_eq!(PasswordSlot::new().verify(typed("once enough"), Some(hash)).await.unwrap(), Verdict::RightButWeak);
    }

    #[tokio::test]
    async fn a_full_queue_turns_away_at_once_and_empties_again() {
        let slot = PasswordSlot::new();
        let held = slot.permits.acquire_many(AT_ONCE as u32).await.unwrap();
        let mut waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(slot.verify(typed("x"), None))).collect();
        for one in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none());
        }
        assert!(matches!(slot.verify(typed("x"), None).await, Err(ServiceError::HashingBusy)));
        drop(waiting);
        drop(held);
        assert_eq!(slot.verify(typed("x"), None).await.unwrap(), Verdict::Wrong);
    }
}
