//! The values that a template reads: found by a path each time, since a shared one can only be borrowed under its lock.

use rhai::{Dynamic, ImmutableString};

use crate::sdk::native::{cut, short};

/// One step into a value.
#[derive(Debug, Clone, Copy)]
pub enum Key<'k> {
    /// A field of a map, or an element of an array where it is a number.
    Field(&'k str),
    /// An element of an array.
    Index(usize),
}

/// Hands over the value that the keys lead to: `()` where the last one leads nowhere.
///
/// # Errors
/// A key leads into a value that has no fields.
pub fn with<T>(value: &Dynamic, keys: &[Key<'_>], take: impl FnOnce(&Dynamic) -> T) -> Result<T, String> {
    if value.is_shared() {
        let Some(inner) = value.read_lock::<Dynamic>() else {
            return Err("a value that is being changed cannot be read".to_owned());
        };
        return with(&inner, keys, take);
    }
    let Some((key, rest)) = keys.split_first() else {
        return Ok(take(value));
    };
    if value.is_map()
        && let (Ok(map), Key::Field(field)) = (value.as_map_ref(), key)
    {
        return match map.get(*field) {
            Some(value) => with(value, rest, take),
            None => nowhere(rest, take),
        };
    }
    let index = match key {
        Key::Index(index) => Some(*index),
        Key::Field(field) => field.parse().ok(),
    };
    if value.is_array()
        && let (Ok(array), Some(index)) = (value.as_array_ref(), index)
    {
        return match array.get(index) {
            Some(value) => with(value, rest, take),
            None => nowhere(rest, take),
        };
    }
    Err(no_field(value, keys))
}

/// What a key gives that leads nowhere: `()`, which no further key leads into.
fn nowhere<T>(rest: &[Key<'_>], take: impl FnOnce(&Dynamic) -> T) -> Result<T, String> {
    match rest.first() {
        None => Ok(take(&Dynamic::UNIT)),
        Some(_) => Err(no_field(&Dynamic::UNIT, rest)),
    }
}

fn no_field(value: &Dynamic, keys: &[Key<'_>]) -> String {
    let field = match keys.first() {
        Some(Key::Field(field)) => format!("{:?}", cut(field)),
        Some(Key::Index(index)) => index.to_string(),
        None => String::new(),
    };
    match value.is_unit() {
        true => format!("there is no {field} in (): ask for what should hold it first, as in {{% if a and a.b %}}"),
        false => format!("there is no {field} in a value of type {}", short(value.type_name())),
    }
}

/// What can be compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    Unit,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(ImmutableString),
}

impl Scalar {
    /// The value, where it is one of these.
    pub fn of(value: &Dynamic) -> Option<Self> {
        if value.is_unit() {
            Some(Self::Unit)
        } else if let Ok(flag) = value.as_bool() {
            Some(Self::Bool(flag))
        } else if let Ok(number) = value.as_int() {
            Some(Self::Int(number))
        } else if let Ok(number) = value.as_float() {
            Some(Self::Float(number))
        } else if let Ok(character) = value.as_char() {
            Some(Self::Text(character.to_string().into()))
        } else {
            value.as_immutable_string_ref().ok().map(|text| Self::Text(text.clone()))
        }
    }

    /// Whether they are the same, whole numbers and others by their value.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(number), Self::Float(float)) | (Self::Float(float), Self::Int(number)) => {
                *number as f64 == *float
            }
            _ => self == other,
        }
    }
}

/// Whether a value counts as true: all but `()`, `false`, zero, and what is empty.
pub fn is_true(value: &Dynamic) -> bool {
    if let Ok(map) = value.as_map_ref() {
        return !map.is_empty();
    }
    if let Ok(array) = value.as_array_ref() {
        return !array.is_empty();
    }
    if let Ok(blob) = value.as_blob_ref() {
        return !blob.is_empty();
    }
    match Scalar::of(value) {
        None => true,
        Some(Scalar::Unit) => false,
        Some(Scalar::Bool(flag)) => flag,
        Some(Scalar::Int(number)) => number != 0,
        Some(Scalar::Float(number)) => number != 0.0,
        Some(Scalar::Text(text)) => !text.is_empty(),
    }
}
