//! `crypto::equals`: whether two secrets are the same, without telling by its time where they differ.

use std::sync::LazyLock;

use rhai::{Dynamic, FuncRegistration, Module, NativeCallContext, Shared};
use subtle::ConstantTimeEq;

use super::native::{self, Fallible, with_bytes};

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        FuncRegistration::new("equals").set_into_module(module, equals);
    })
});

/// The module `crypto`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

/// Different lengths are told at once: a length is no secret where digests and tokens are compared.
fn equals(call: NativeCallContext, a: Dynamic, b: Dynamic) -> Fallible<bool> {
    with_bytes(&call, &a, "crypto::equals: a", |a| {
        with_bytes(&call, &b, "crypto::equals: b", |b| Ok(a.ct_eq(b).into()))
    })
}
