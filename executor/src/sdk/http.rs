//! `http::*`: calls of others' servers. What a script gives is checked and made into a request here; the port sends it.

mod request;
mod response;

pub use response::HttpResponse;

use std::sync::LazyLock;

use http::Method;
use rhai::{Dynamic, FuncRegistration, ImmutableString, Map, Module, NativeCallContext, Shared};

use self::request::Outline;
use super::native::{self, Fallible};
use super::port;
use crate::port::{HttpRequest, PortCaller, Ports};

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        let function = |name: &str| FuncRegistration::new(name).with_volatility(true);
        for (name, method) in [("get", Method::GET), ("delete", Method::DELETE)] {
            let with = method.clone();
            function(name).set_into_module(module, move |call: NativeCallContext, url: ImmutableString| {
                send(&call, Outline::of(&call, method.clone(), &url)?)
            });
            let short = move |call: NativeCallContext, url: ImmutableString, options: Map| {
                send(&call, Outline::of(&call, with.clone(), &url)?.with(&options)?)
            };
            function(name).set_into_module(module, short);
        }
        for (name, method) in [("post", Method::POST), ("put", Method::PUT), ("patch", Method::PATCH)] {
            let with = method.clone();
            let plain = move |call: NativeCallContext, url: ImmutableString, body: Dynamic| {
                send(&call, Outline::of(&call, method.clone(), &url)?.with_body(&body)?)
            };
            function(name).set_into_module(module, plain);
            let long = move |call: NativeCallContext, url: ImmutableString, body: Dynamic, options: Map| {
                send(&call, Outline::of(&call, with.clone(), &url)?.with_body(&body)?.with(&options)?)
            };
            function(name).set_into_module(module, long);
        }
        function("request")
            .set_into_module(module, |call: NativeCallContext, all: Map| send(&call, Outline::of_map(&call, &all)?));
    })
});

/// The module `http`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

/// Registers what a response can be asked.
pub fn register(module: &mut Module) {
    response::register(module);
}

fn send(call: &NativeCallContext, outline: Outline<'_, '_>) -> Fallible<HttpResponse> {
    let request: HttpRequest = outline.finish()?;
    let work = |ports: &Ports, caller: &PortCaller| Some(ports.http.as_deref()?.send(caller, &request));
    port::call(call, work, HttpResponse::of)
}
