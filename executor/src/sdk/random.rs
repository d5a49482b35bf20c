//! `random::*`: from a generator that is good enough for secrets (ChaCha, seeded by the system).

use std::sync::LazyLock;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};
use rhai::{Array, Blob, Dynamic, FuncRegistration, Module, NativeCallContext, Shared};

use super::native::{self, Fallible, fits_array, thrown};
use crate::limits::charge_bytes;

/// What moving one value costs in bytes of work.
const BYTES_AN_ELEMENT: usize = size_of::<Dynamic>();

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        let fresh = |name: &str| FuncRegistration::new(name).with_volatility(true);
        fresh("float").set_into_module(module, rand::random::<f64>);
        fresh("int").set_into_module(module, int);
        fresh("bytes").set_into_module(module, bytes);
        // Both only read the array, which is borrowed rather than copied where it is a variable.
        fresh("choice").with_purity(true).set_into_module(module, choice);
        fresh("shuffle").with_purity(true).set_into_module(module, shuffle);
    })
});

/// The module `random`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

/// Both ends included, each as likely as any other.
fn int(call: NativeCallContext, from: i64, to: i64) -> Fallible<i64> {
    if from > to {
        return Err(thrown(&call, format!("random::int: from must not be over to, but {from} is over {to}")));
    }
    Ok(rand::rng().random_range(from..=to))
}

fn bytes(call: NativeCallContext, count: i64) -> Fallible<Blob> {
    let count = usize::try_from(count)
        .map_err(|_| thrown(&call, format!("random::bytes: count is zero or more, not {count}")))?;
    fits_array(&call, count)?;
    charge_bytes(count)?;
    let mut bytes = vec![0; count];
    rand::rng().fill_bytes(&mut bytes);
    Ok(bytes)
}

fn choice(call: NativeCallContext, array: &mut Array) -> Fallible<Dynamic> {
    array.choose(&mut rand::rng()).cloned().ok_or_else(|| thrown(&call, "random::choice: array must not be empty"))
}

/// A copy in another order, each as likely as any other.
fn shuffle(_call: NativeCallContext, array: &mut Array) -> Fallible<Array> {
    charge_bytes(array.len().saturating_mul(BYTES_AN_ELEMENT))?;
    let mut copy = array.clone();
    copy.shuffle(&mut rand::rng());
    Ok(copy)
}
