//! The body of a response, by the kind of the value.

use bytes::Bytes;
use rhai::Dynamic;

use crate::json::{self, WriteError};

/// The limit's name when a body is too long.
pub const LIMIT: &str = "max_response_bytes";

/// Why a body cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// It is over [`LIMIT`].
    TooLong,
    /// The value cannot be sent; the text is for the script's author.
    Unsupported(String),
}

/// A written body.
#[derive(Debug, Clone)]
pub struct Body {
    /// What is sent.
    pub bytes: Bytes,
    /// What it is, unless the script says otherwise; nothing where there is no body.
    pub content_type: Option<&'static str>,
}

/// A row of the table, as far as it decides the body.
#[derive(Debug, Clone, Copy)]
pub enum Row<'v> {
    /// No body.
    Empty,
    /// A string as it is.
    Text(&'v Dynamic),
    /// Bytes as they are.
    Blob(&'v Dynamic),
    /// Anything, as JSON.
    Json(&'v Dynamic),
}

impl<'v> Row<'v> {
    /// The row of a value; shared ones are read through.
    pub fn of(value: &'v Dynamic) -> Self {
        if value.is_unit() {
            Self::Empty
        } else if value.is_string() {
            Self::Text(value)
        } else if value.is_blob() {
            Self::Blob(value)
        } else {
            Self::Json(value)
        }
    }

    /// Writes at most `max_bytes`.
    ///
    /// # Errors
    /// A value that cannot be sent, or a body that is too long.
    pub fn write(self, max_bytes: usize) -> Result<Body, Error> {
        let busy = |_| Error::Unsupported("a value that is being changed cannot be read".to_owned());
        let capped = |bytes: &[u8]| match bytes.len() > max_bytes {
            true => Err(Error::TooLong),
            false => Ok(Bytes::copy_from_slice(bytes)),
        };
        let (bytes, content_type) = match self {
            Self::Empty => return Ok(Body { bytes: Bytes::new(), content_type: None }),
            Self::Text(value) => {
                (capped(value.as_immutable_string_ref().map_err(busy)?.as_bytes())?, "text/plain; charset=utf-8")
            }
            Self::Blob(value) => (capped(&value.as_blob_ref().map_err(busy)?)?, "application/octet-stream"),
            Self::Json(value) => (json::write(value, max_bytes).map(Bytes::from)?, "application/json"),
        };
        Ok(Body { bytes, content_type: Some(content_type) })
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::TooLong => Self::TooLong,
            other => Self::Unsupported(other.to_string()),
        }
    }
}
