//! The ways of a search, and which of them is gone first: the rules, without a database.
//!
//! Each index whose field the filter narrows or the search sorts by is a way, and looking at all documents is one, or at those of some ids
//! where the filter narrows these. A way in the order that is
//! asked for may end as soon as a page is full; any other looks at all that it leads to. Which is the shorter is told by counting entries.
//! Where a way would look at too many documents the next one is gone, so that an index can end no search that would end without it.

use picloud_shared::docs::{DocPage, DocQuery, FieldPath, KeyRange, MAX_SCANNED, Scanned, SortKey};
use uuid::Uuid;

use crate::repo::docs::{DocIndex, IndexState};

/// What documents are looked up by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Those of the collection whose ids are between two: all, where these are the nil UUID and the max.
    Ids { after: Uuid, before: Uuid },
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
        let within = query.filter.range_of(&FieldPath::id());
        let (narrowed, source) = (within.is_some(), ids_within(&within.unwrap_or_else(KeyRange::all)));
        let mut ways = vec![Way { source, ordered: sorted.is_none(), narrowed, count: 0 }];
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

    /// Whether it must be told how many documents there are, and be given its counts: not where there is one way, in order.
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

    /// What is to be counted next, and up to how many. No more than the shortest way has so far, and one more than may be looked at.
    pub fn next_count(&mut self) -> Option<(Source, u32)> {
        if !self.is_open() {
            return None;
        }
        let most = u32::try_from(self.narrowest).unwrap_or(u32::MAX).min(MAX_SCANNED + 1);
        while let Some(way) = self.ways.get(self.counting) {
            if way.narrowed {
                return Some((way.source.clone(), most));
            }
            self.counting += 1;
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

/// The ids whose keys are in a range. Neither the nil UUID nor the max is a document's.
fn ids_within(range: &KeyRange) -> Source {
    let (from, to) = (first_id_from(&range.from), first_id_from(&range.to));
    Source::Ids { after: Uuid::from_u128(from.saturating_sub(1)), before: Uuid::from_u128(to) }
}

/// The least id whose key does not come before that one, or else the max: ids come in the order of their texts.
fn first_id_from(key: &SortKey) -> u128 {
    let comes_before = |id: u128| SortKey::of(Some(&Uuid::from_u128(id).to_string().into())) < *key;
    let (mut low, mut high) = (0, u128::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if comes_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
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
        let name = |source: Source| match source {
            Source::Ids { .. } => "ids",
            Source::Index { number, .. } => fields[number as usize],
        };
        while let Some((source, most)) = plan.next_count() {
            let name = name(source);
            let (_, count) = entries.iter().find(|(field, _)| *field == name).unwrap();
            plan.counted(most.min(*count));
        }
        plan.choose();
        std::iter::from_fn(|| plan.next_way()).map(|way| name(way.source)).collect()
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
    fn ids_that_the_filter_narrows_are_a_way_that_is_counted_as_an_index_is() {
        let id = json!({ "id": "0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a" });
        // By the ids alone there is one way still.
        assert_eq!(ways(&id, "id", 1 << 30, &[]), ["ids"]);
        assert_eq!(ways(&id, "c", 1 << 30, &[("ids", 1)]), ["ids"], "it is sorted, however many there are of others");
        assert_eq!(ways(&id, "x", 9_000, &[("ids", 1)]), ["ids", "x"]);
        let both = json!({ "a": 1, "id": { "$gt": "0190" } });
        assert_eq!(ways(&both, "id", 9_000, &[("ids", 5), ("a", 5)]), ["ids", "a"]);
        assert_eq!(ways(&both, "id", 9_000, &[("ids", 500), ("a", 5)]), ["a", "ids"]);
    }

    #[test]
    fn ids_are_between_those_that_the_filter_names() {
        let (nil, max) = (Uuid::nil().as_u128(), Uuid::max().as_u128());
        let one = "0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a";
        let is = one.parse::<Uuid>().unwrap().as_u128();
        let from = |digits: &str| u128::from_str_radix(&format!("{digits:0<32}"), 16).unwrap();
        for (filter, after, before) in [
            (json!({}), nil, max),
            (json!({ "a": 1, "id": { "$ne": one } }), nil, max),
            (json!({ "id": one }), is - 1, is + 1),
            (json!({ "id": { "$gt": one } }), is - 1, max),
            (json!({ "id": { "$lte": one } }), nil, is + 1),
            (json!({ "id": { "$gte": "0190", "$lt": "0191" } }), from("0190") - 1, from("0191")),
            (json!({ "id": { "$gte": "0190c6a2-" } }), from("0190c6a2") - 1, max),
            // What is no id, or of no id's form, stands where it would.
            (json!({ "id": one.to_uppercase() }), from("0190a") - 1, from("0190a")),
            (json!({ "id": "z" }), max - 1, max),
            (json!({ "id": { "$lt": "" } }), nil, nil),
            (json!({ "id": 7 }), nil, nil),
            (json!({ "id": null }), nil, nil),
        ] {
            let within = Filter::read(&filter).unwrap().range_of(&FieldPath::id()).unwrap_or_else(KeyRange::all);
            let expected = Source::Ids { after: Uuid::from_u128(after), before: Uuid::from_u128(before) };
            assert_eq!(ids_within(&within), expected, "{filter}");
        }
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
