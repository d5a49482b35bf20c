//! `hash::*`: digests of a string's UTF-8 or a blob, as lower-case hex or as a blob.

use std::sync::LazyLock;

use md5::Md5;
use rhai::{Blob, Dynamic, FuncRegistration, ImmutableString, Module, NativeCallContext, Shared};
use sha2::{Digest, Sha256, Sha512};

use super::hex;
use super::native::{self, Fallible, blob, fits_string, with_bytes};

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        set(module, "sha256", |bytes| Sha256::digest(bytes).into());
        set(module, "sha512", |bytes| Sha512::digest(bytes).into());
        set(module, "md5", |bytes| Md5::digest(bytes).into());
        set(module, "blake3", |bytes| *blake3::hash(bytes).as_bytes());
    })
});

/// The module `hash`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

/// None of the four takes longer than the 10 ns a byte that it is charged, where the machine has no instructions for it, too.
fn set<const N: usize>(module: &mut Module, name: &'static str, digest: fn(&[u8]) -> [u8; N]) {
    let argument = format!("hash::{name}: data");
    FuncRegistration::new(name).set_into_module(
        module,
        move |call: NativeCallContext, data: Dynamic| -> Fallible<ImmutableString> {
            fits_string(&call, 2 * N)?;
            with_bytes(&call, &data, &argument, |bytes| Ok(hex::text(&digest(bytes))))
        },
    );
    let (name, argument) = (format!("{name}_bytes"), format!("hash::{name}_bytes: data"));
    FuncRegistration::new(name).set_into_module(
        module,
        move |call: NativeCallContext, data: Dynamic| -> Fallible<Blob> {
            with_bytes(&call, &data, &argument, |bytes| blob(&call, &digest(bytes)))
        },
    );
}
