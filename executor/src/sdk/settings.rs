//! The settings and secrets that the run on this thread reads, and which of the secrets it was given. They stand in the snapshot, so
//! that reading one waits for nothing and an inline run may do it.

use std::cell::RefCell;
use std::sync::Arc;

use picloud_shared::name::{InvalidSettingName, SettingName};
use picloud_shared::secret::GivenSecrets;
use picloud_shared::snapshot::PublishedApp;
use rhai::{Dynamic, ImmutableString, NativeCallContext};

use super::native::{Fallible, fits_string};
use super::port::refused;
use crate::limits::{charge_copied, reserve_bytes};
use crate::memory::beside;

struct Reading {
    app: Arc<PublishedApp>,
    given: GivenSecrets,
}

thread_local! {
    static CURRENT: RefCell<Option<Reading>> = const { RefCell::new(None) };
}

/// Has what `run` runs on this thread read what is set for the app, and gives the secrets that it was given.
pub fn reading<T>(app: &Arc<PublishedApp>, run: impl FnOnce() -> T) -> (T, GivenSecrets) {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            CURRENT.take();
        }
    }
    CURRENT.set(Some(Reading { app: Arc::clone(app), given: GivenSecrets::default() }));
    let reset = Reset;
    let result = run();
    let given = CURRENT.take().map_or_else(GivenSecrets::default, |reading| reading.given);
    drop(reset);
    (result, given)
}

/// The secrets that the run on this thread was given so far, and those within it. What one of them was given it may have passed on
/// to any other.
pub fn given() -> GivenSecrets {
    CURRENT.with_borrow(|current| current.as_ref().map_or_else(GivenSecrets::default, |reading| reading.given.clone()))
}

/// A setting as the script gets it; nothing where there is none.
pub fn env(call: &NativeCallContext, name: &str) -> Fallible<Option<Dynamic>> {
    let found = CURRENT.with_borrow(|current| current.as_ref()?.app.env(name).cloned());
    match found {
        Some(value) => text(call, value.as_str()).map(Some),
        None => absent(call, "env::get", name),
    }
}

/// A secret as the script gets it, which is noted; nothing where there is none.
pub fn secret(call: &NativeCallContext, name: &str) -> Fallible<Option<Dynamic>> {
    let found = CURRENT.with_borrow_mut(|current| {
        let Reading { app, given } = current.as_mut()?;
        let (name, secret) = app.secrets().get(name)?;
        if let Some(value) = &secret.value {
            // The note outlives the run.
            beside(|| given.note(name, value));
        }
        Some(secret.value.clone())
    });
    match found {
        Some(Some(value)) => text(call, value.reveal()).map(Some),
        Some(None) => {
            let message = format!("secrets::get: the secret {name} cannot be read any more; it must be set again");
            Err(refused(call, "unreadable", &message))
        }
        None => absent(call, "secrets::get", name),
    }
}

/// What is a name and not set is absent; what is no name is a mistake.
fn absent(call: &NativeCallContext, function: &str, name: &str) -> Fallible<Option<Dynamic>> {
    match name.parse::<SettingName>() {
        Ok(_) => Ok(None),
        Err(error @ InvalidSettingName) => Err(refused(call, "invalid_name", &format!("{function}: {error}"))),
    }
}

fn text(call: &NativeCallContext, value: &str) -> Fallible<Dynamic> {
    fits_string(call, value.len())?;
    charge_copied(value.len())?;
    reserve_bytes(value.len())?;
    Ok(Dynamic::from(ImmutableString::from(value)))
}
