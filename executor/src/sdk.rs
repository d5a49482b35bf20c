//! What scripts can call beside Rhai's standard functions, one module for each name in `sdk/`.

mod base64;
mod bounded;
mod cookie;
mod crypto;
mod docs;
mod env;
mod hash;
mod hex;
mod hmac;
mod html;
mod http;
mod invoke;
mod json;
mod kv;
mod log;
mod native;
mod password;
mod port;
mod queue;
mod random;
mod regex;
mod respond;
mod secrets;
mod settings;
mod template;
mod time;
mod url;
mod uuid;

pub use self::http::HttpResponse;
pub use docs::Documents;
pub use kv::Collection;
pub use log::logging;
pub use port::reaching;
pub use respond::Response;
pub use settings::{given, reading};

use rhai::{Engine, Module};

use crate::context::{AppInfo, Context, EventInfo, Request, ScriptInfo};

/// Registers what goes into the global namespace of all engines.
pub fn register(module: &mut Module, max_response_bytes: usize) {
    bounded::register(module);
    respond::register(module, max_response_bytes);
    log::register(module);
    http::register(module);
    kv::register(module);
    docs::register(module);
    invoke::register(module);
}

/// Registers the named modules, callbacks and type names, which belong to each engine.
pub fn register_into(engine: &mut Engine) {
    engine
        .register_type_with_name::<Context>("Context")
        .register_type_with_name::<Request>("Request")
        .register_type_with_name::<EventInfo>("Event")
        .register_type_with_name::<AppInfo>("App")
        .register_type_with_name::<ScriptInfo>("Script")
        .register_type_with_name::<Response>("Response")
        .register_type_with_name::<Collection>("Collection")
        .register_type_with_name::<HttpResponse>("HttpResponse")
        .register_type_with_name::<Documents>("Documents")
        .register_static_module("log", log::module())
        .register_static_module("json", json::module())
        .register_static_module("http", http::module())
        .register_static_module("kv", kv::module())
        .register_static_module("env", env::module())
        .register_static_module("secrets", secrets::module())
        .register_static_module("queue", queue::module())
        .register_static_module("docs", docs::module())
        .register_static_module("base64", base64::module())
        .register_static_module("hex", hex::module())
        .register_static_module("url", url::module())
        .register_static_module("hash", hash::module())
        .register_static_module("hmac", hmac::module())
        .register_static_module("crypto", crypto::module())
        .register_static_module("password", password::module())
        .register_static_module("uuid", uuid::module())
        .register_static_module("random", random::module())
        .register_static_module("time", time::module())
        .register_static_module("regex", regex::module())
        .register_static_module("html", html::module())
        .register_static_module("template", template::module());
    log::catch_print(engine);
}
