//! The ways of a search, and which of them is gone first: the rules, without a database.
//!
//! Each index whose field the filter narrows or the search sorts by is a way, and looking at all documents is one. A way in the order that is
//! asked for may end as soon as a page is full; any other looks at all that it leads to. Which is the shorter is told by counting entries.
//! Where a way would look at too many documents the next one is gone, so that an index can end no search that would end without it.

use picloud_shared::docs::{DocPage, DocQuery, KeyRange, MAX_SCANNED, Scanned};

use crate::repo::docs::{DocIndex, IndexState};

/// What documents are looked up by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// All of the collection, by their ids.
    Ids,
    /// Those of an index within a range.
    Index { number: i64, range: KeyRange },
}

/// How documents can be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub source: Source,
    /// Whether they come in the order that is asked for.
    pub ordered: bool,
    /// Whether the filter narrows it.
    narrowed: bool,
    /// Documents that it leads to, at least.
    count: u64,
}

impl Way {
    /// Whether it is gone downwards.
    pub fn descends(&self, query: &DocQuery) -> bool {
        self.ordered && query.sort.descending
    }

    /// How many documents will have to be looked at for a page, if those that are found are spread evenly.
    fn estimate(&self, limit: u32, narrowest: u64) -> u64 {
        let page = u64::from(limit).saturating_add(1).saturating_mul(self.count) / narrowest.max(1);
        if self.ordered { page.min(self.count) } else { self.count }
    }
}

/// The ways of one search.
pub(super) struct Plan<'q> {
    query: &'q DocQuery,
    /// Those that are still to be gone, the next one last.
    ways: Vec<Way>,
    /// The way that is to be counted next.
    counting: usize,
    /// The least that any way leads to, as far as is known.
    narrowest: u64,
    scanned: Scanned,
}

impl<'q> Plan<'q> {
    pub fn new(query: &'q DocQuery, indexes: &[DocIndex]) -> Self {
        let sorted = query.sort.field.as_ref();
        let mut ways = vec![Way { source: Source::Ids, ordered: sorted.is_none(), narrowed: false, count: 0 }];
        for index in indexes.iter().filter(|index| index.state == IndexState::Ready) {
            let range = query.filter.range_of(&index.field);
            let sorts = sorted == Some(&index.field);
            if !sorts && range.is_none() {
                continue;
            }
            ways.push(Way {
                ordered: sorts || (sorted.is_none() && query.filter.pins(&index.field)),
                narrowed: range.is_some(),
                source: Source::Index { number: index.number, range: range.unwrap_or_else(KeyRange::all) },
                count: 0,
            });
        }
        Self { query, ways, counting: 0, narrowest: 0, scanned: Scanned::default() }
    }

    /// Whether it must be told how many documents there are, and be given its counts.
    pub fn is_open(&self) -> bool {
        self.ways.len() > 1 || self.ways.iter().any(|way| !way.ordered)
    }

    /// Hears how many documents the collection has.
    pub fn hear(&mut self, documents: u64) {
        self.narrowest = documents;
        for way in &mut self.ways {
            way.count = documents;
        }
    }

    /// What is to be counted next: the entries of which index, in which range, and up to how many. No more than the shortest way has so
    /// far, and one more than may be looked at.
    pub fn next_count(&mut self) -> Option<(i64, KeyRange, u32)> {
        let most = u32::try_from(self.narrowest).unwrap_or(u32::MAX).min(MAX_SCANNED + 1);
        while let Some(way) = self.ways.get(self.counting) {
            match &way.source {
                Source::Index { number, range } if way.narrowed => return Some((*number, range.clone(), most)),
                _ => self.counting += 1,
            }
        }
        None
    }

    /// Hears how many entries there were.
    pub fn counted(&mut self, entries: u32) {
        self.scanned.entries = self.scanned.entries.saturating_add(entries);
        if let Some(way) = self.ways.get_mut(self.counting) {
            way.count = u64::from(entries);
        }
        self.narrowest = self.narrowest.min(u64::from(entries));
        self.counting += 1;
    }

    /// Puts the ways in order, without those that would certainly be too long.
    pub fn choose(&mut self) {
        let (limit, narrowest) = (self.query.limit, self.narrowest);
        self.ways.retain(|way| way.ordered || way.count <= u64::from(MAX_SCANNED));
        self.ways.sort_by_key(|way| (way.estimate(limit, narrowest), !way.ordered));
        self.ways.reverse();
    }

    /// The way to go next.
    pub fn next_way(&mut self) -> Option<Way> {
        self.ways.pop()
    }

    /// Hears what a way came to; the page, unless another way is to be gone.
    pub fn went(&mut self, page: DocPage) -> Option<DocPage> {
        self.scanned.documents = self.scanned.documents.saturating_add(page.scanned.documents);
        self.scanned.bytes = self.scanned.bytes.saturating_add(page.scanned.bytes);
        (!page.gave_up).then_some(DocPage { scanned: self.scanned, ..page })
    }

    /// What it comes to where no way is left.
    pub fn give_up(self) -> DocPage {
        DocPage { gave_up: true, scanned: self.scanned, ..DocPage::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picloud_shared::docs::Filter;
    use serde_json::{Value, json};
    use uuid::Uuid;

    /// The ways in the order in which they are gone, by the fields of their indexes: of a collection of so many documents with indexes of
    /// `a`, `b` and `x`, of which so many have entries in the range that is asked for.
    fn ways(filter: &Value, sort: &str, documents: u64, entries: &[(&str, u32)]) -> Vec<&'static str> {
        let fields = ["a", "b", "x"];
        let index = |(number, field): (i64, &str)| DocIndex {
            number,
            field: field.parse().unwrap(),
            state: IndexState::Ready,
            built_to: Uuid::nil(),
        };
        let mut indexes: Vec<_> = (0..).zip(fields).map(index).collect();
        indexes.push(DocIndex { state: IndexState::Building, ..index((3, "a")) });
        let query = DocQuery {
            collection: "c".parse().unwrap(),
            filter: Filter::read(filter).unwrap(),
            sort: sort.parse().unwrap(),
            after: None,
            limit: 49,
        };
        let mut plan = Plan::new(&query, &indexes);
        if plan.is_open() {
            plan.hear(documents);
        }
        while let Some((number, _, most)) = plan.next_count() {
            let (_, count) = entries.iter().find(|(field, _)| *field == fields[number as usize]).unwrap();
            plan.counted(most.min(*count));
        }
        plan.choose();
        let name = |way: Way| match way.source {
            Source::Ids => "ids",
            Source::Index { number, .. } => fields[number as usize],
        };
        std::iter::from_fn(|| plan.next_way()).map(name).collect()
    }

    #[test]
    fn the_shortest_way_is_gone_first_and_others_stay_for_when_it_is_too_long() {
        let equal = json!({ "a": 1 });
        // By the ids alone there is one way, of which nothing has to be known.
        assert_eq!(ways(&json!({}), "id", 0, &[]), ["ids"]);
        assert_eq!(ways(&json!({ "c": 1 }), "-id", 0, &[]), ["ids"]);
        // What the filter narrows is no longer than all.
        assert_eq!(ways(&equal, "id", 1_000, &[("a", 12)]), ["a", "ids"]);
        assert_eq!(ways(&json!({ "a": 1, "b": 2 }), "id", 1_000, &[("a", 500), ("b", 3)]), ["b", "a", "ids"]);
        // Few with the value: they are sorted. Many: the first of the order are as likely to have it.
        assert_eq!(ways(&equal, "x", 9_000, &[("a", 12)]), ["a", "x", "ids"]);
        assert_eq!(ways(&equal, "x", 9_000, &[("a", 4_000)]), ["x", "a", "ids"]);
        assert_eq!(ways(&json!({}), "-x", 9_000, &[]), ["x", "ids"]);
    }

    #[test]
    fn a_way_is_left_out_only_where_it_is_certainly_too_long() {
        let many = u64::from(MAX_SCANNED) + 1;
        assert_eq!(ways(&json!({}), "c", many, &[]), [] as [&str; 0]);
        assert_eq!(ways(&json!({}), "c", many - 1, &[]), ["ids"]);
        assert_eq!(ways(&json!({ "a": 1 }), "x", many * 2, &[("a", MAX_SCANNED + 5)]), ["x"]);
        // An order may end soon however much there is, and what was counted no further than the shortest may be short.
        let both = json!({ "a": { "$gt": 1 }, "b": { "$gt": 1 } });
        assert_eq!(ways(&both, "x", many * 2, &[("a", 10), ("b", MAX_SCANNED + 5)]), ["a", "b", "x"]);
    }
}
