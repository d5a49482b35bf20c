//! `sort` and `order`. Comparing two strings can take as long as they are, and Rhai's own goes on when the script's comparer
//! throws or must stop.

use std::any::TypeId;
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rhai::{Array, Dynamic, EvalAltResult, FnPtr, ImmutableString, Module, NativeCallContext, Position};

use super::{Fallible, changing, function};
use crate::limits::{charge_bytes, charge_copied};

pub fn register(module: &mut Module) {
    type Call<'a> = NativeCallContext<'a>;
    for name in ["sort", "sort_by"] {
        changing(name).set_into_module(module, |call: Call, array: &mut Array, comparer: FnPtr| {
            sort_by(array, |x, y| by_script(&call, &comparer, x, y))
        });
    }
    for name in ["order", "order_by"] {
        function(name).set_into_module(module, |call: Call, array: &mut Array, comparer: FnPtr| {
            ordered(array, |array| sort_by(array, |x, y| by_script(&call, &comparer, x, y)))
        });
    }
    changing("sort").set_into_module(module, |array: &mut Array| natural(array, |order| order));
    changing("sort_desc").set_into_module(module, |array: &mut Array| natural(array, Ordering::reverse));
    function("order")
        .set_into_module(module, |array: &mut Array| ordered(array, |array| natural(array, |order| order)));
    function("order_desc")
        .set_into_module(module, |array: &mut Array| ordered(array, |array| natural(array, Ordering::reverse)));
}

fn ordered(array: &Array, sort: impl FnOnce(&mut Array) -> Fallible<()>) -> Fallible<Array> {
    let mut copy = array.clone();
    sort(&mut copy)?;
    Ok(copy)
}

/// Sorts, and gives the first error of the comparison; from then on nothing is compared any more.
fn sort_by(array: &mut Array, mut compare: impl FnMut(&Dynamic, &Dynamic) -> Fallible<Ordering>) -> Fallible<()> {
    let mut failed = None;
    let sorted = catch_unwind(AssertUnwindSafe(|| {
        array.sort_by(|x, y| {
            if failed.is_some() {
                return Ordering::Equal;
            }
            compare(x, y).unwrap_or_else(|error| {
                failed = Some(error);
                Ordering::Equal
            })
        });
    }));
    match (failed, sorted) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        // The standard library panics at an order that contradicts itself.
        (None, Err(panic)) if panic.is::<&str>() || panic.is::<String>() => {
            Err(EvalAltResult::ErrorRuntime("error in comparer for sorting".into(), Position::NONE).into())
        }
        (None, Err(panic)) => resume_unwind(panic),
    }
}

/// The script's answer: a number, or whether the first comes first. Anything else leaves them in the order of their types.
fn by_script(call: &NativeCallContext<'_>, comparer: &FnPtr, x: &Dynamic, y: &Dynamic) -> Fallible<Ordering> {
    let answer = comparer.call_raw(call, None, [x.clone(), y.clone()])?;
    if let Ok(number) = answer.as_int() {
        return Ok(number.cmp(&0));
    }
    Ok(match answer.as_bool() {
        Ok(true) => Ordering::Less,
        Ok(false) => Ordering::Greater,
        Err(_) => x.type_id().cmp(&y.type_id()),
    })
}

fn natural(array: &mut Array, direction: fn(Ordering) -> Ordering) -> Fallible<()> {
    let Some(kind) = array.first().map(Dynamic::type_id) else {
        return Ok(());
    };
    if array.len() == 1 || kind == TypeId::of::<()>() {
        return Ok(());
    }
    if array.iter().any(|item| item.type_id() != kind) {
        return Err(unsortable("elements of different types cannot be sorted".to_owned()));
    }
    let compare: fn(&Dynamic, &Dynamic) -> Option<Ordering> = if kind == TypeId::of::<i64>() {
        |x, y| x.as_int().ok()?.partial_cmp(&y.as_int().ok()?)
    } else if kind == TypeId::of::<f64>() {
        |x, y| x.as_float().ok()?.partial_cmp(&y.as_float().ok()?)
    } else if kind == TypeId::of::<char>() {
        |x, y| x.as_char().ok()?.partial_cmp(&y.as_char().ok()?)
    } else if kind == TypeId::of::<bool>() {
        |x, y| x.as_bool().ok()?.partial_cmp(&y.as_bool().ok()?)
    } else if kind == TypeId::of::<ImmutableString>() {
        return sort_by(array, |x, y| Ok(direction(strings(x, y)?)));
    } else {
        return Err(unsortable(format!("elements of {} cannot be sorted", array[0].type_name())));
    };
    // Some twenty comparisons an element at most, of which each takes nanoseconds.
    charge_bytes(array.len().saturating_mul(8))?;
    sort_by(array, |x, y| Ok(direction(compare(x, y).unwrap_or(Ordering::Equal))))
}

fn strings(x: &Dynamic, y: &Dynamic) -> Fallible<Ordering> {
    let (Ok(x), Ok(y)) = (x.as_immutable_string_ref(), y.as_immutable_string_ref()) else {
        return Ok(Ordering::Equal);
    };
    charge_copied(x.len().min(y.len()))?;
    Ok(x.as_str().cmp(y.as_str()))
}

fn unsortable(why: String) -> Box<EvalAltResult> {
    EvalAltResult::ErrorFunctionNotFound(why, Position::NONE).into()
}
