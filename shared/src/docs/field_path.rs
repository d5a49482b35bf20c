//! Where a value is within a document.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ID_FIELD, MAX_FIELD_BYTES};

/// Where a value is within a document: names of fields with dots between them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldPath(Box<str>);

/// A text that is no path of a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a field is 1 to {MAX_FIELD_BYTES} bytes of names with dots between them, without NUL, and none of the names begins with `$`"
)]
pub struct InvalidField;

impl FieldPath {
    /// The path's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value there.
    pub fn of<'d>(&self, document: &'d Map<String, Value>) -> Option<&'d Value> {
        let mut names = self.0.split('.');
        let first = document.get(names.next()?)?;
        names.try_fold(first, |value, name| value.as_object()?.get(name))
    }

    /// The document's own id.
    pub fn id() -> Self {
        Self(ID_FIELD.into())
    }

    /// Whether it is the document's own id.
    pub fn is_id(&self) -> bool {
        &*self.0 == ID_FIELD
    }
}

impl FromStr for FieldPath {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        let good = text.len() <= MAX_FIELD_BYTES
            && !text.contains('\0')
            && text.split('.').all(|name| !name.is_empty() && !name.starts_with('$'));
        if good { Ok(Self(text.into())) } else { Err(InvalidField) }
    }
}

impl TryFrom<String> for FieldPath {
    type Error = InvalidField;

    fn try_from(text: String) -> Result<Self, InvalidField> {
        text.parse()
    }
}

impl From<FieldPath> for String {
    fn from(path: FieldPath) -> Self {
        path.0.into()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
