//! `hmac::*`: keyed digests (RFC 2104) as lower-case hex or as a blob.

use std::sync::LazyLock;

use hmac::{Hmac, KeyInit, Mac};
use rhai::{Blob, Dynamic, FuncRegistration, ImmutableString, Module, NativeCallContext, Shared};
use sha2::{Sha256, Sha512};

use super::hex;
use super::native::{self, Fallible, blob, fits_string, with_bytes};

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        set(module, "sha256", digest::<Hmac<Sha256>>);
        set(module, "sha512", digest::<Hmac<Sha512>>);
    })
});

/// The module `hmac`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

type Keyed = fn(&[u8], &[u8]) -> Vec<u8>;

fn digest<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

fn set(module: &mut Module, name: &'static str, keyed: Keyed) {
    FuncRegistration::new(name).set_into_module(
        module,
        move |call: NativeCallContext, key: Dynamic, data: Dynamic| -> Fallible<ImmutableString> {
            let bytes = run(&call, name, keyed, &key, &data)?;
            fits_string(&call, 2 * bytes.len())?;
            Ok(hex::text(&bytes))
        },
    );
    let name = format!("{name}_bytes");
    FuncRegistration::new(&name).set_into_module(
        module,
        move |call: NativeCallContext, key: Dynamic, data: Dynamic| -> Fallible<Blob> {
            blob(&call, &run(&call, &name, keyed, &key, &data)?)
        },
    );
}

fn run(call: &NativeCallContext, name: &str, keyed: Keyed, key: &Dynamic, data: &Dynamic) -> Fallible<Vec<u8>> {
    with_bytes(call, key, &format!("hmac::{name}: key"), |key| {
        with_bytes(call, data, &format!("hmac::{name}: data"), |data| Ok(keyed(key, data)))
    })
}
