//! `template::render`: HTML from a text with places for values.
//!
//! The language is a small part of Jinja's, and our own: it has values to print, conditions and loops, but nothing that makes
//! new values, so that a template can cost no more than what it prints (docs/decisions/0007-a-template-language-of-our-own.md).

mod parse;
mod render;
mod token;
mod value;

use std::sync::LazyLock;

use rhai::{Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Map, Module, NativeCallContext, Shared};

use super::native::{self, Fallible, thrown};
use crate::limits::charge_bytes;

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    native::module(|module| {
        FuncRegistration::new("render").set_into_module(module, render);
    })
});

/// The module `template`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

fn render(call: NativeCallContext, source: &str, values: Map) -> Fallible<ImmutableString> {
    charge_bytes(source.len())?;
    let steps = parse::steps(source)?.map_err(|wrong| wrong.thrown(&call))?;
    render::render(&call, &steps, &Dynamic::from_map(values))
}

/// What is wrong in a template, and in which line.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    line: usize,
    message: String,
}

impl Wrong {
    fn thrown(self, call: &NativeCallContext) -> Box<EvalAltResult> {
        thrown(call, format!("template::render: line {}: {}", self.line, self.message))
    }
}
