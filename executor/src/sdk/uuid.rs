//! `uuid::*`: identifiers of RFC 9562, in lower case with hyphens.

use std::sync::LazyLock;

use rhai::{FuncRegistration, ImmutableString, Module, NativeCallContext, Shared};
use uuid::{Builder, Uuid};

use super::native::{self, Fallible, fits_string, thrown};
use super::time;

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        let fresh = |name: &str| FuncRegistration::new(name).with_volatility(true);
        fresh("v4").set_into_module(module, |call: NativeCallContext| {
            written(&call, Builder::from_random_bytes(rand::random()).into_uuid())
        });
        fresh("v7").set_into_module(module, v7);
    })
});

/// The module `uuid`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

/// Sorts by the millisecond of its making; within one, the order is random.
fn v7(call: NativeCallContext) -> Fallible<ImmutableString> {
    let millis = u64::try_from(time::clock_millis())
        .map_err(|_| thrown(&call, "uuid::v7: the clock of the machine stands before 1970"))?;
    written(&call, Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid())
}

fn written(call: &NativeCallContext, id: Uuid) -> Fallible<ImmutableString> {
    fits_string(call, uuid::fmt::Hyphenated::LENGTH)?;
    Ok((&*id.hyphenated().encode_lower(&mut Uuid::encode_buffer())).into())
}
