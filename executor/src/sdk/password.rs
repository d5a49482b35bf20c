//! `password::*`: Argon2id (RFC 9106), one hash at a time in the whole process, for which apps take turns.
//!
//! A hash takes 19 MiB and some 30 ms, on a Pi more. It is made on a thread of its own, so its memory is not the run's and
//! stands outside the run's cap: there is never more of it than one hash needs.

use std::sync::LazyLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use argon2::password_hash::{self, PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use rhai::{FuncRegistration, ImmutableString, Module, NativeCallContext, Shared};

use super::native::{self, Fallible, fits_string, thrown};
use crate::limits::{app, charge_bytes, deadline, leave_inline, time_out};
use crate::memory::beside;
use crate::pool::{Length, Pool, PoolSize};

/// KiB of memory, passes and lanes: OWASP's second choice, which a Pi bears.
const PARAMS: (u32, u32, u32) = (19 * 1024, 2, 1);
/// What a hash that is verified may ask for, since it comes from the script: up to 64 MiB, what others choose by default,
/// and 7 times the work of ours.
const MAX_KIB: u32 = 64 * 1024;
const MAX_KIB_PASSES: u64 = 256 * 1024;
const MAX_LANES: u32 = 4;
/// Bytes of a hash in its text form: ours has 97.
const MAX_HASH_BYTES: usize = 256;
/// The work of one hash, told in bytes as other work is: 100,000 operations, so that a run within the default limit makes
/// a score of them. One that is verified is charged by what it asks for.
const WORK_BYTES: usize = 800_000;
/// What a verification costs at least: two threads wait for each other.
const MIN_WORK_BYTES: usize = 4_000;
/// Argon2 has its memory on the heap.
const STACK_BYTES: usize = 1024 * 1024;
/// What ours asks for: its memory in each pass.
const KIB_PASSES: u64 = PARAMS.0 as u64 * PARAMS.1 as u64;

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        FuncRegistration::new("hash").with_volatility(true).set_into_module(module, hash);
        FuncRegistration::new("verify").with_volatility(true).set_into_module(module, verify);
    })
});

/// The module `password`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

/// The slot: a thread that takes jobs, one of each app in turn. Each run waits for the one that it has there, so there are no more
/// than workers.
static SLOT: LazyLock<Option<Pool>> = LazyLock::new(|| {
    let size =
        PoolSize { threads: 1, spares: 0, lane: usize::MAX, waiting: usize::MAX, stack_bytes: STACK_BYTES, nice: 0 };
    let slot = Pool::start("picloud-password", size);
    slot.inspect_err(|error| tracing::error!(%error, "no thread for passwords")).ok()
});

/// Does work in the slot and waits for it until the run's deadline.
fn in_slot<T: Send + 'static>(call: &NativeCallContext, work: impl FnOnce() -> T + Send + 'static) -> Fallible<T> {
    let broken = || thrown(call, "password: there is no thread to hash on; try again");
    let (Some(slot), Some(app), Some(deadline)) = (&*SLOT, app(), deadline()) else {
        return Err(broken());
    };
    let (done, result) = mpsc::sync_channel(1);
    let job = move || {
        // Nobody waiting any more means that it began just before the deadline.
        let _ = done.send(work());
    };
    let timeout = deadline.saturating_duration_since(Instant::now());
    let ticket = slot.submit(app, Length::Long, timeout, job).map_err(|_| broken())?;
    result.recv_timeout(timeout).map_err(|error| match error {
        RecvTimeoutError::Timeout => {
            // It would only keep the others waiting.
            slot.withdraw(ticket);
            time_out()
        }
        RecvTimeoutError::Disconnected => broken(),
    })
}

/// A copy for the slot. What crosses to it and back is freed on another thread than made it, so it is all made beside the run: neither what
/// it holds nor what it leaves.
fn copied(text: &str) -> String {
    beside(|| text.to_owned())
}

fn hash(call: NativeCallContext, password: ImmutableString) -> Fallible<ImmutableString> {
    leave_inline()?;
    charge_bytes(WORK_BYTES + password.len())?;
    let password = copied(&password);
    let hashed = beside(|| {
        in_slot(&call, move || {
            let (memory, passes, lanes) = PARAMS;
            let params = Params::new(memory, passes, lanes, None).map_err(password_hash::Error::from)?;
            let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>())?;
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon2.hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string())
        })
    })?;
    let hash = hashed.map_err(|error| thrown(&call, format!("password::hash: {error}")))?;
    fits_string(&call, hash.len())?;
    let made = ImmutableString::from(&*hash);
    beside(|| drop(hash));
    Ok(made)
}

fn verify(call: NativeCallContext, password: ImmutableString, hash: ImmutableString) -> Fallible<bool> {
    let asked = check(&hash).map_err(|why| thrown(&call, format!("password::verify: {why}")))?;
    leave_inline()?;
    let work = usize::try_from(asked * WORK_BYTES as u64 / KIB_PASSES).unwrap_or(usize::MAX);
    charge_bytes(work.max(MIN_WORK_BYTES) + password.len())?;
    let (password, hash) = (copied(&password), copied(&hash));
    let verified = beside(|| {
        in_slot(&call, move || {
            let hash = PasswordHash::new(&hash)?;
            Argon2::default().verify_password(password.as_bytes(), &hash)
        })
    })?;
    match verified {
        Ok(()) => Ok(true),
        Err(password_hash::Error::Password) => Ok(false),
        Err(error) => Err(thrown(&call, format!("password::verify: hash cannot be verified: {error}"))),
    }
}

/// What a hash of Argon2 asks for, its memory in KiB in each pass, if that is no more than it may.
fn check(hash: &str) -> Result<u64, String> {
    let unknown = || "hash is not one that password::hash made, such as $argon2id$v=19$m=19456,t=2,p=1$...".to_owned();
    if hash.len() > MAX_HASH_BYTES {
        return Err(unknown());
    }
    let parsed = PasswordHash::new(hash).map_err(|_| unknown())?;
    if Algorithm::try_from(parsed.algorithm).is_err() || parsed.hash.is_none() || parsed.salt.is_none() {
        return Err(unknown());
    }
    let params = Params::try_from(&parsed).map_err(|_| unknown())?;
    let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    let kib_passes = u64::from(memory) * u64::from(passes);
    if memory > MAX_KIB || kib_passes > MAX_KIB_PASSES || lanes > MAX_LANES {
        return Err(format!(
            "hash asks for more than {MAX_KIB} KiB (m), {MAX_LANES} lanes (p) or {MAX_KIB_PASSES} KiB in all passes (m times t)"
        ));
    }
    Ok(kib_passes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_asks_for_no_more_than_it_may() {
        let hash = |head: &str| format!("${head}$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b+dWRWJTmaaVObG");
        for (head, asked) in [
            ("argon2id$v=19$m=19456,t=2,p=1", KIB_PASSES),
            ("argon2id$v=19$m=65536,t=4,p=1", 256 * 1024),
            ("argon2id$v=19$m=65536,t=3,p=4", 192 * 1024),
            ("argon2i$v=16$m=64,t=3,p=1", 192),
        ] {
            assert_eq!(check(&hash(head)), Ok(asked), "{head}");
        }
        for head in [
            "argon2id$v=19$m=65537,t=1,p=1",
            "argon2id$v=19$m=4294967295,t=1,p=1",
            "argon2id$v=19$m=64,t=4294967295,p=1",
            "argon2id$v=19$m=65536,t=5,p=1",
            "argon2id$v=19$m=65536,t=1,p=8",
            "argon2id$v=19$m=7,t=1,p=1",
            "pbkdf2-sha256$i=4294967295",
        ] {
            assert!(check(&hash(head)).is_err(), "{head}");
        }
        for text in ["", "$", "$argon2id$v=19$m=19456,t=2,p=1", "$2b$12$abcdefghijklmnopqrstuv", &"$a".repeat(1_000)] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
