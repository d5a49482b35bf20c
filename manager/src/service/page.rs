//! Lists in pages: how many, and after which. A row that cannot be read is left out with a warning, and counts as one
//! of its page all the same.

use uuid::Uuid;

use crate::repo::{Listed, Named};

/// Things on a page where the caller does not say.
const DEFAULT_LIMIT: u32 = 50;
/// Things on a page at most.
const MAX_LIMIT: u32 = 200;

/// The size of a page, from 1 to 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageSize(u32);

impl PageSize {
    /// What was asked for, within bounds; `None` for zero, which asks for nothing.
    pub(crate) fn new(asked: Option<u32>) -> Option<Self> {
        match asked {
            Some(0) => None,
            asked => Some(Self(asked.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT))),
        }
    }

    /// How many things.
    pub(crate) fn get(self) -> u32 {
        self.0
    }

    /// One more than fits, to see whether there is a next page.
    pub(crate) fn plus_one(self) -> u32 {
        self.0 + 1
    }
}

/// A page, and where the next one begins.
#[derive(Debug)]
pub(crate) struct Page<T, C> {
    pub items: Vec<T>,
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// Cuts what was read with [`PageSize::plus_one`].
    pub(crate) fn cut(mut items: Vec<T>, size: PageSize, cursor_of: impl FnOnce(&T) -> C) -> Self {
        let fits = size.0 as usize;
        let more = items.len() > fits;
        items.truncate(fits);
        let next = if more { items.last().map(cursor_of) } else { None };
        Self { items, next }
    }
}

impl<T, C> Page<T, C> {
    /// Cuts rows, of which some may be unreadable; `kind` names them in the log.
    pub(crate) fn of_rows(
        kind: &'static str,
        rows: Vec<Listed<T>>,
        size: PageSize,
        id_of: impl FnOnce(&T) -> Uuid,
        cursor: impl FnOnce(Uuid) -> C,
    ) -> Self {
        let page = Page::cut(rows, size, |row| match row {
            Ok(row) => id_of(row),
            Err(unreadable) => unreadable.id,
        });
        Self { items: readable(kind, page.items), next: page.next.map(cursor) }
    }
}

impl<T> Page<T, String> {
    /// The same for rows by name.
    pub(crate) fn of_named(kind: &'static str, rows: Vec<Named<T>>, size: PageSize) -> Self {
        let page = Page::cut(rows, size, |last| last.name.clone());
        Self { items: readable(kind, page.items.into_iter().map(|named| named.row).collect()), next: page.next }
    }
}

/// The rows that can be read; the others are named in the log.
pub(crate) fn readable<T>(kind: &'static str, rows: Vec<Listed<T>>) -> Vec<T> {
    let warn = |row: Listed<T>| row.inspect_err(|error| tracing::warn!("a {kind} is left out of a list: {error}")).ok();
    rows.into_iter().filter_map(warn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_default_to_50_and_stop_at_200() {
        let size = |asked| PageSize::new(asked).map(|size| size.0);
        assert_eq!([size(None), size(Some(1)), size(Some(999)), size(Some(0))], [Some(50), Some(1), Some(200), None]);
    }

    #[test]
    fn only_a_page_with_more_behind_it_has_a_cursor() {
        let size = PageSize::new(Some(2)).unwrap();
        let page = Page::cut(vec![1, 2, 3], size, |last| *last);
        assert_eq!((page.items, page.next), (vec![1, 2], Some(2)));
        assert_eq!(Page::cut(vec![1, 2], size, |last| *last).next, None);
    }
}
