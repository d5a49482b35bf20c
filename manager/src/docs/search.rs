//! One way of a search: which documents are looked at, in which order, and which of them are found. It asks for what is to be read
//! next and is handed it one by one, and knows no database.

use std::collections::BTreeMap;

use picloud_shared::clock::Timestamp;
use picloud_shared::docs::{
    DocCursor, DocPage, DocQuery, Document, FoundDocument, MAX_SCANNED, MAX_SCANNED_BYTES, PAGE_BYTES, Scanned, SortKey,
};
use uuid::Uuid;

use super::plan::{Source, Way};
use crate::repo::docs::Scan;

/// Documents that are read at once where each reading is a round trip.
const BATCH: u32 = 256;

/// A search that is under way. It holds the texts of a page, 512 KiB at most, and what was read of one document.
pub(super) struct Search<'q> {
    query: &'q DocQuery,
    way: Way,
    position: Position,
    kept: BTreeMap<DocCursor, Kept>,
    kept_bytes: usize,
    /// The first place that is beyond the page, as far as is known.
    cut: Option<DocCursor>,
    scanned: Scanned,
}

struct Kept {
    text: String,
    updated_at: Timestamp,
}

/// After which place of the source the next documents come.
struct Position {
    key: SortKey,
    id: Uuid,
}

impl<'q> Search<'q> {
    pub fn new(query: &'q DocQuery, way: Way) -> Self {
        let position = begin(query, &way);
        Self { query, way, position, kept: BTreeMap::new(), kept_bytes: 0, cut: None, scanned: Scanned::default() }
    }

    /// What is to be read next: of which place, whether downwards, and how many at once. Nothing once the search is over.
    pub fn next(&self) -> Option<(Scan, bool, u32)> {
        if self.is_over() {
            return None;
        }
        let descending = self.way.descends(self.query);
        let scan = match &self.way.source {
            Source::Ids { after, before } => {
                Scan::Ids { after: self.position.id, end: if descending { *after } else { *before } }
            }
            Source::Index { number, range } => Scan::Index {
                number: *number,
                after: (self.position.key.clone(), self.position.id),
                end: if descending { range.from.clone() } else { range.to.clone() },
            },
        };
        // The first page may be full soon.
        let few = self.way.ordered && self.scanned.documents == 0;
        Some((scan, descending, if few { self.query.limit.saturating_add(1).clamp(16, BATCH) } else { BATCH }))
    }

    /// Looks at a document that was read; whether it should be handed another.
    pub fn take(&mut self, key: SortKey, document: Document) -> bool {
        self.position = Position { key, id: document.id.as_uuid() };
        self.scanned.documents += 1;
        self.scanned.bytes += document.body.text().len();
        if !self.gave_up() && self.query.filter.matches(&document) {
            self.keep(document);
        }
        !self.is_over()
    }

    fn keep(&mut self, document: Document) {
        let place = self.query.place_of(&document);
        let comes_first = |a: &DocCursor, b: &DocCursor| if self.query.sort.descending { a > b } else { a < b };
        let is_after = self.query.after.as_ref().is_none_or(|after| comes_first(after, &place));
        let is_within = self.cut.as_ref().is_none_or(|cut| comes_first(&place, cut));
        if !is_after || !is_within {
            return;
        }
        let kept = Kept { updated_at: document.updated_at, text: document.body.into_text() };
        self.kept_bytes += kept.text.len();
        self.kept.insert(place, kept);
        while self.kept.len() > self.query.limit as usize || (self.kept.len() > 1 && self.kept_bytes > PAGE_BYTES) {
            let last = if self.query.sort.descending { self.kept.pop_first() } else { self.kept.pop_last() };
            let Some((place, kept)) = last else { return };
            self.kept_bytes -= kept.text.len();
            self.cut = Some(place);
        }
    }

    fn gave_up(&self) -> bool {
        self.scanned.documents > MAX_SCANNED || self.scanned.bytes > MAX_SCANNED_BYTES
    }

    /// Whether nothing else has to be looked at, or may be.
    fn is_over(&self) -> bool {
        self.gave_up() || (self.way.ordered && self.cut.is_some())
    }

    /// The page.
    pub fn end(self) -> DocPage {
        let (gave_up, more) = (self.gave_up(), self.cut.is_some());
        if gave_up {
            return DocPage { scanned: self.scanned, gave_up, ..DocPage::default() };
        }
        let found = |(place, Kept { text, updated_at })| FoundDocument { place, text, updated_at };
        let mut documents: Vec<_> = self.kept.into_iter().map(found).collect();
        if self.query.sort.descending {
            documents.reverse();
        }
        DocPage { documents, more, scanned: self.scanned, gave_up }
    }
}

/// Where the way begins, or goes on after the place from which on documents are asked for.
fn begin(query: &DocQuery, way: &Way) -> Position {
    let first = |key: &SortKey| Position { key: key.clone(), id: Uuid::nil() };
    let descending = way.descends(query);
    // What is not in order is gone through from its beginning.
    match (&way.source, query.after.as_ref().filter(|_| way.ordered)) {
        (Source::Ids { after, before }, place) => {
            let (begin, place) = (if descending { before } else { after }, place.map(|place| place.id.as_uuid()));
            let further = |place: Uuid| if descending { place.min(*begin) } else { place.max(*begin) };
            Position { key: SortKey::none(), id: place.map_or(*begin, further) }
        }
        (Source::Index { range, .. }, None) => first(if descending { &range.to } else { &range.from }),
        // Within one value.
        (Source::Index { range, .. }, Some(after)) if query.sort.field.is_none() => {
            Position { key: range.from.clone(), id: after.id.as_uuid() }
        }
        (Source::Index { range, .. }, Some(after)) => match descending {
            false if after.key < range.from => first(&range.from),
            true if after.key >= range.to => first(&range.to),
            _ => Position { key: after.key.clone(), id: after.id.as_uuid() },
        },
    }
}
