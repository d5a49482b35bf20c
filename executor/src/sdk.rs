//! What scripts can call beside Rhai's standard functions, one module for each name in `sdk/`.

mod cookie;
mod json;
mod log;
mod respond;

pub use log::logging;
pub use respond::Response;

use rhai::{Engine, Module};

use crate::context::{AppInfo, Context, Request, ScriptInfo};

/// Registers what goes into the global namespace of all engines.
pub fn register(module: &mut Module, max_response_bytes: usize) {
    respond::register(module, max_response_bytes);
    log::register(module);
}

/// Registers the named modules, callbacks and type names, which belong to each engine.
pub fn register_into(engine: &mut Engine) {
    engine
        .register_type_with_name::<Context>("Context")
        .register_type_with_name::<Request>("Request")
        .register_type_with_name::<AppInfo>("App")
        .register_type_with_name::<ScriptInfo>("Script")
        .register_type_with_name::<Response>("Response")
        .register_static_module("log", log::module())
        .register_static_module("json", json::module());
    log::catch_print(engine);
}
