//! `json::parse` and `json::stringify`.

use std::sync::LazyLock;

use rhai::{Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Module, NativeCallContext, Shared};

use crate::json::{self, SizeLimits, WriteError};
use crate::limits::charge_bytes;

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    let mut module = Module::new();
    FuncRegistration::new("parse").set_into_module(&mut module, parse);
    FuncRegistration::new("stringify").set_into_module(&mut module, stringify);
    module.build_index();
    module.into()
});

/// The module `json`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

fn parse(call: NativeCallContext, text: &str) -> Result<Dynamic, Box<EvalAltResult>> {
    charge_bytes(text.len())?;
    json::read(text.as_bytes(), SizeLimits::of(call.engine())).map_err(|error| error.thrown(call.call_position()))
}

fn stringify(call: NativeCallContext, value: Dynamic) -> Result<ImmutableString, Box<EvalAltResult>> {
    let bytes = json::write(&value, call.engine().max_string_size()).map_err(|error| match error {
        WriteError::TooLong => EvalAltResult::ErrorDataTooLarge("Length of string".to_owned(), call.call_position()),
        other => EvalAltResult::ErrorRuntime(other.to_string().into(), call.call_position()),
    })?;
    let text = String::from_utf8(bytes).expect("serde_json writes UTF-8");
    Ok(text.into())
}
