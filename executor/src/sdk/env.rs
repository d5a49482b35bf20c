//! `env::get`: the app's settings.

use std::sync::LazyLock;

use rhai::{Dynamic, FuncRegistration, ImmutableString, Module, NativeCallContext, Shared};

use super::native;
use super::settings::env;

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        // Volatile, since a program is compiled once and what is set changes.
        let get = || FuncRegistration::new("get").with_volatility(true);
        get().set_into_module(module, |call: NativeCallContext, name: ImmutableString| {
            env(&call, &name).map(|found| found.unwrap_or(Dynamic::UNIT))
        });
        get().set_into_module(module, |call: NativeCallContext, name: ImmutableString, default: Dynamic| {
            env(&call, &name).map(|found| found.unwrap_or(default))
        });
    })
});

/// The module `env`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}
