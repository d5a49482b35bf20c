//! `secrets::get`: the app's secrets, which are taken out of what is kept of the run.

use std::sync::LazyLock;

use rhai::{Dynamic, FuncRegistration, ImmutableString, Module, NativeCallContext, Shared};

use super::native;
use super::settings::secret;

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        // Volatile, since a program is compiled once and what is set changes.
        let get = || FuncRegistration::new("get").with_volatility(true);
        get().set_into_module(module, |call: NativeCallContext, name: ImmutableString| {
            secret(&call, &name).map(|found| found.unwrap_or(Dynamic::UNIT))
        });
        get().set_into_module(module, |call: NativeCallContext, name: ImmutableString, default: Dynamic| {
            secret(&call, &name).map(|found| found.unwrap_or(default))
        });
    })
});

/// The module `secrets`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}
