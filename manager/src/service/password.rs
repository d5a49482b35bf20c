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
    /// What is stored is no hash that this program makes.
    Unreadable,
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

    /// Verifies a password. Without a hash, or with one that cannot be read, it takes the same time, so that nobody
    /// learns from the clock who has an account.
    pub(crate) async fn verify(
        &self,
        password: TypedPassword,
        hash: Option<PasswordHash>,
    ) -> Result<Verdict, ServiceError> {
        let nobody = self.nobody.clone();
        let against_nobody = move |password: &TypedPassword| verify_now(password, &nobody);
        self.run(move || match hash.map(|hash| verify_now(&password, &hash)) {
            None => {
                against_nobody(&password);
                Verdict::Wrong
            }
            Some(Verdict::Unreadable) => {
                against_nobody(&password);
                Verdict::Unreadable
            }
            Some(verdict) => verdict,
        })
        .await
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
    let stored = Phc::new(hash.as_phc()).ok().filter(|stored| stored.hash.is_some());
    let Some((stored, params)) = stored.and_then(|stored| Some((stored.clone(), bearable(&stored)?))) else {
        return Verdict::Unreadable;
    };
    if argon2().verify_password(password.reveal(), &stored).is_err() {
        return Verdict::Wrong;
    }
    let (memory, passes, _) = PARAMS;
    if params.m_cost() >= memory && params.t_cost() >= passes { Verdict::Right } else { Verdict::RightButWeak }
}

/// The parameters of a stored hash, if it is Argon2's and they are such that this program or a later one would choose: a
/// row that was tampered with must not take all memory, or all day.
fn bearable(stored: &Phc<'_>) -> Option<Params> {
    Algorithm::try_from(stored.algorithm).ok()?;
    let (memory, passes, lanes) = PARAMS;
    let most = [(memory, 16), (passes, 16), (lanes, 16)].map(|(ours, times)| ours * times);
    let params = Params::try_from(stored).ok()?;
    let theirs = [params.m_cost(), params.t_cost(), params.p_cost()];
    theirs.iter().zip(most).all(|(theirs, most)| *theirs <= most).then_some(params)
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
    async fn what_is_no_hash_or_asks_for_too_much_is_unreadable_and_takes_as_long() {
        let slot = PasswordSlot::new();
        let good = hash_now(&"once enough".parse().unwrap_or_else(|_| NewPassword::generate()));
        let huge = good.as_phc().replace("m=19456", "m=4194304");
        let endless = good.as_phc().replace("t=2", "t=4000000000");
        let other = good.as_phc().replace("$argon2id$v=19$m=19456,t=2,p=1$", "$scrypt$ln=15,r=8,p=1$");
        let cut = good.as_phc().rsplit_once('$').unwrap().0.to_owned();
        assert!([&huge, &endless, &other, &cut].iter().all(|text| **text != good.as_phc()));
        for text in ["", "$argon2id$", "plain", &huge, &endless, &other, &cut] {
            let hash = PasswordHash::from_phc(text.to_owned());
            // The work is that of a verification: this one would be over in a microsecond without it.
            let began = std::time::Instant::now();
            assert_eq!(slot.verify(typed("x"), Some(hash)).await.unwrap(), Verdict::Unreadable, "{text}");
            assert!(began.elapsed() > std::time::Duration::from_millis(1), "{text}");
        }
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
