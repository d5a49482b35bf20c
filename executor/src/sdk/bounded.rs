//! Standard functions of Rhai that in one call could take any amount of memory or time, or that swallow the errors of what they
//! call, made anew with the same names and meaning. They know the size of their result before they make it.
//!
//! All others do no more than copy or walk what they are given, and are contained by the limits on values and by the meter.

mod array;
mod chars;
mod sort;
mod split;
mod string;
mod text;

use rhai::{EvalAltResult, FuncRegistration, Module, NativeCallContext, Position};

type Fallible<T> = Result<T, Box<EvalAltResult>>;

/// Registers them in the module that is searched before the standard one.
pub fn register(module: &mut Module) {
    string::register(module);
    split::register(module);
    chars::register(module);
    text::register(module);
    array::register(module);
    sort::register(module);
}

fn function(name: &str) -> FuncRegistration {
    FuncRegistration::new(name).in_global_namespace()
}

/// One that changes the value it is called on, which must not be a constant.
fn changing(name: &str) -> FuncRegistration {
    function(name).with_purity(false)
}

/// In Rhai's own words, so that all ways over a limit look the same.
fn too_large(what: &str) -> Box<EvalAltResult> {
    EvalAltResult::ErrorDataTooLarge(what.to_owned(), Position::NONE).into()
}

fn check_string(call: &NativeCallContext<'_>, bytes: usize) -> Fallible<()> {
    if bytes > call.engine().max_string_size() { Err(too_large("Length of string")) } else { Ok(()) }
}

fn check_array(call: &NativeCallContext<'_>, elements: usize) -> Fallible<()> {
    if elements > call.engine().max_array_size() { Err(too_large("Size of array/BLOB")) } else { Ok(()) }
}
