//! Cursors of lists that go by names or keys. To clients they are opaque, so that what a list goes by can change: the name of the list and
//! the last thing on the page, as URL-safe base64.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::api::problem::{ApiError, FieldError};

/// The cursor of the page of that list after this thing.
pub(crate) fn write(list: &'static str, last: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}:{last}"))
}

/// The thing after which the page begins, if a cursor was given.
pub(crate) fn read<T: FromStr>(list: &'static str, cursor: Option<String>) -> Result<Option<T>, ApiError> {
    let named = |cursor: String| {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        text.strip_prefix(list)?.strip_prefix(':')?.parse().ok()
    };
    let invalid =
        || ApiError::invalid(vec![FieldError::new("cursor", "it is not the next_cursor of a page of this list")]);
    cursor.map(|cursor| named(cursor).ok_or_else(invalid)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_on_in_its_own_list_alone() {
        let cursor = write("numbers", "7");
        let read = |list, cursor: &str| read::<u32>(list, Some(cursor.to_owned()));
        assert_eq!(read("numbers", &cursor).unwrap(), Some(7));
        for (list, cursor) in [
            ("number", cursor.as_str()),
            ("names", &cursor),
            ("numbers", ""),
            ("numbers", "7"),
            ("numbers", "nowhere"),
            ("numbers", &write("numbers", "seven")),
            ("numbers", &format!("{cursor}=")),
        ] {
            assert!(read(list, cursor).is_err(), "{list} {cursor}");
        }
        assert_eq!(super::read::<u32>("numbers", None).unwrap(), None);
    }
}
