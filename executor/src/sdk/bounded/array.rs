//! `pad` and `dedup` of arrays.

use rhai::{Array, Dynamic, EvalAltResult, FnPtr, Module, NativeCallContext};

use super::{Fallible, changing, check_array};
use crate::limits::{charge_copied, reserve_bytes};
use crate::memory::measured;

pub fn register(module: &mut Module) {
    changing("pad").set_into_module(module, pad);
    changing("dedup").set_into_module(module, |call: NativeCallContext, array: &mut Array| {
        dedup(array, |kept, next| call.call_native_fn_raw("==", true, &mut [&mut kept.clone(), &mut next.clone()]))
    });
    changing("dedup").set_into_module(module, |call: NativeCallContext, array: &mut Array, same: FnPtr| {
        dedup(array, |kept, next| same.call_raw(&call, None, [kept.clone(), next.clone()]))
    });
}

/// Rhai's own counts neither what a closure holds nor values of other types.
fn pad(call: NativeCallContext, array: &mut Array, len: i64, item: Dynamic) -> Fallible<()> {
    let Some(missing) = usize::try_from(len).ok().and_then(|len| len.checked_sub(array.len())) else {
        return Ok(());
    };
    check_array(&call, array.len().saturating_add(missing))?;
    let (copy, bytes) = measured(|| item.clone());
    drop(copy);
    let bytes = bytes.saturating_add(size_of::<Dynamic>()).saturating_mul(missing);
    charge_copied(bytes)?;
    reserve_bytes(bytes)?;
    array.resize(array.len() + missing, item);
    Ok(())
}

/// Drops each element that is the same as the one kept before it. What cannot be compared is not the same; any other error
/// ends it, where Rhai's own goes on.
fn dedup(array: &mut Array, mut same: impl FnMut(&Dynamic, &Dynamic) -> Fallible<Dynamic>) -> Fallible<()> {
    let mut failed = None;
    array.dedup_by(|next, kept| {
        if failed.is_some() {
            return false;
        }
        match same(kept, next) {
            Ok(answer) => answer.as_bool().unwrap_or(false),
            Err(error) => {
                if !matches!(*error, EvalAltResult::ErrorFunctionNotFound(..)) {
                    failed = Some(error);
                }
                false
            }
        }
    });
    failed.map_or(Ok(()), Err)
}
