//! A search finds what looking at each document would, whatever indexes there are. What that is, is worked out here by itself.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use picloud_executor::port::{DocStore, PortCaller};
use picloud_manager::docs::Docs;
use picloud_shared::docs::{DocPlace, DocQuery, DocWrite, DocumentBody, Filter};
use picloud_shared::id::{AppId, DocumentId};
use serde_json::{Value, json};

use crate::stage::{Stage, app, on_both};

/// Documents whose values repeat, are of all kinds, and sometimes not there. Gives each with its id.
const INSERT: &str = r#"
    let c = docs::collection("c");
    let values = [1, 2, 2.0, 3, "a", "b", "ab", (), true, [1]];
    let all = [];
    for n in 0..80 {
        let d = #{ n: n, a: values[n * 7 % 10], b: #{ c: n % 5 } };
        if n % 9 == 0 { d.remove("a"); }
        d.id = c.insert(d);
        all.push(d);
    }
    all
"#;

/// All that a filter finds, page by page.
const FIND: &str = r#"
    let c = docs::collection("c");
    let asked = ctx.request.body;
    let all = [];
    let cursor = ();
    loop {
        let page = c.find(asked.filter, #{ sort: asked.sort, limit: asked.limit, cursor: cursor });
        if page.items.len() > asked.limit { throw "too many"; }
        all += page.items;
        cursor = page.cursor;
        if cursor == () { break; }
        if page.items.is_empty() { throw "an empty page leads on"; }
    }
    all.map(|d| d.id)
"#;

const ASK: &str = r#"invoke("find", ctx.request.body).body"#;

fn ask(stage: &Stage, app: &crate::world::Published, asked: &Value) -> Vec<Value> {
    let request = crate::world::request("POST", "https://shop.example.com/");
    let request = crate::world::with_body(request, "application/json", asked.to_string());
    let found = crate::stage::given(&stage.run(app.call_with("ask", request)), "ask");
    found.as_array().unwrap().clone()
}

/// The value at a path, null where there is none.
fn at(document: &Value, path: &str) -> Value {
    path.split('.').try_fold(document, |value, name| value.get(name)).cloned().unwrap_or(Value::Null)
}

/// The order of all values: by kind, then by what they are.
fn order(a: &Value, b: &Value) -> Ordering {
    let kind = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(false) => 1,
        Value::Bool(true) => 2,
        Value::Number(_) => 3,
        Value::String(_) => 4,
        Value::Array(_) => 5,
        Value::Object(_) => 6,
    };
    kind(a).cmp(&kind(b)).then_with(|| match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().unwrap().total_cmp(&b.as_f64().unwrap()),
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        _ => Ordering::Equal,
    })
}

/// Whether a value is as a condition says. Of arrays and maps there are only such as are written alike.
fn holds(document: &Value, path: &str, condition: &Value) -> bool {
    let value = at(document, path);
    let same = |other: &Value| match (&value, other) {
        (Value::Number(_), Value::Number(_)) => order(&value, other).is_eq(),
        _ => value == *other,
    };
    let Some(operators) = condition.as_object() else { return same(condition) };
    operators.iter().all(|(operator, operand)| {
        let compared = (value.is_number() && operand.is_number() || value.is_string() && operand.is_string())
            .then(|| order(&value, operand));
        match operator.as_str() {
            "$ne" => !same(operand),
            "$gt" => compared.is_some_and(Ordering::is_gt),
            "$gte" => compared.is_some_and(Ordering::is_ge),
            "$lt" => compared.is_some_and(Ordering::is_lt),
            "$lte" => compared.is_some_and(Ordering::is_le),
            "$in" => operand.as_array().unwrap().iter().any(same),
            // No path of these filters leads through a map that is not there.
            "$exists" => (document.get(path).is_some()) == operand.as_bool().unwrap(),
            other => panic!("{other}"),
        }
    })
}

/// What a filter finds in which order, by looking at all of them.
fn expected(documents: &[Value], filter: &Value, sort: &Value) -> Vec<Value> {
    let matches = |document: &&Value| filter.as_object().unwrap().iter().all(|(path, c)| holds(document, path, c));
    let mut found: Vec<&Value> = documents.iter().filter(matches).collect();
    let sort = sort.as_str().unwrap_or("id");
    let path = sort.trim_start_matches('-');
    let id = |document: &Value| document["id"].as_str().unwrap().to_owned();
    found.sort_by(|a, b| order(&at(a, path), &at(b, path)).then_with(|| id(a).cmp(&id(b))));
    if sort.starts_with('-') {
        found.reverse();
    }
    found.into_iter().map(|document| document["id"].clone()).collect()
}

/// A document that is put past scripts, whose number is its id.
fn put(docs: &Docs, app: AppId, n: u128, fields: &Value) {
    let id = DocumentId::from_uuid(uuid::Uuid::from_u128(n));
    let body = DocumentBody::new(fields.as_object().unwrap().clone(), id).unwrap();
    let place = DocPlace { collection: "c".parse().unwrap(), id };
    docs.write(&caller(app), place, DocWrite::Put(body)).unwrap();
}

fn caller(app: AppId) -> PortCaller {
    PortCaller { app, deadline: Instant::now() + Duration::from_secs(60), event_depth: 0 }
}

fn query(filter: &Value, sort: &str, limit: u32) -> DocQuery {
    let (collection, filter) = ("c".parse().unwrap(), Filter::read(filter).unwrap());
    DocQuery { collection, filter, sort: sort.parse().unwrap(), after: None, limit }
}

on_both! {
    fn a_search_finds_the_same_with_every_index_and_in_every_order(stage: &Stage) {
        let app = app(&[("insert", INSERT), ("find", FIND), ("ask", ASK)]);
        let inserted = stage.call(&app, "insert");
        let documents = inserted.as_array().unwrap();
        let mut ids: Vec<_> = documents.iter().map(|document| document["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        let filters = [
            json!({}),
            json!({ "a": 2 }),
            json!({ "a": null }),
            json!({ "a": { "$gt": 1 } }),
            json!({ "a": { "$gte": "a", "$lt": "b" } }),
            json!({ "a": { "$in": [1, "b", null] } }),
            json!({ "a": [1] }),
            json!({ "a": { "$ne": 2 }, "b.c": 3 }),
            json!({ "a": 2, "b.c": { "$lte": 2 } }),
            json!({ "a": { "$exists": false } }),
            json!({ "n": { "$gt": 70 }, "b.c": 1 }),
            json!({ "missing": 1 }),
            json!({ "id": ids[7] }),
            json!({ "id": { "$gt": ids[40] }, "n": { "$exists": true } }),
            json!({ "id": { "$gte": ids[10], "$lt": ids[20] } }),
            json!({ "id": { "$in": [ids[3], ids[60], "none"] } }),
            json!({ "id": { "$ne": ids[0], "$lte": ids[79] } }),
        ];
        let counts = filters.each_ref().map(|filter| expected(documents, filter, &Value::Null).len());
        assert_eq!(counts, [80, 14, 17, 21, 14, 31, 7, 9, 7, 9, 2, 0, 1, 39, 10, 2, 79]);
        for indexes in [&[][..], &["a"], &["b.c"], &["a", "b.c", "n"], &["missing"]] {
            stage.index(app.0.app().id, "c", indexes);
            for filter in &filters {
                for sort in [json!(null), json!("-id"), json!("a"), json!("-a"), json!("b.c"), json!("-n")] {
                    for limit in [3, 50] {
                        let asked = json!({ "filter": filter, "sort": sort, "limit": limit });
                        assert_eq!(ask(stage, &app, &asked), expected(documents, filter, &sort), "{asked} {indexes:?}");
                    }
                }
            }
        }
    }

    fn strings_that_differ_only_far_behind_are_told_apart_by_what_they_are(stage: &Stage) {
        let insert = r#"let c = docs::collection("c"); let s = ""; s.pad(300, "x");
            for n in 0..6 { c.insert(#{ s: s + n, n: n }); } ()"#;
        let read = r#"let c = docs::collection("c"); let s = ""; s.pad(300, "x");
            [c.find(#{ s: s + "3" }).items.map(|d| d.n), c.find(#{ s: #{ "$gt": s + "3" } }).items.map(|d| d.n), c.find(#{}, #{ sort: "s", limit: 4 }).items.len()]"#;
        let app = app(&[("insert", insert), ("read", read)]);
        stage.call(&app, "insert");
        for _ in 0..2 {
            let given = stage.call(&app, "read");
            assert_eq!((&given[0], given[1].as_array().unwrap().len(), &given[2]), (&json!([3]), 2, &json!(4)));
            stage.index(app.0.app().id, "c", &["s"]);
        }
    }

    fn a_page_ends_by_its_bytes_and_the_next_goes_on(stage: &Stage) {
        let source = r#"
            let c = docs::collection("c"); let s = ""; s.pad(80000, "x");
            for n in 0..5 { c.insert(#{ n: n, s: s }); }
            let seen = []; let sizes = [];
            for sort in [(), "n", "-n"] {
                let cursor = ();
                loop { let page = c.find(#{}, #{ sort: sort, cursor: cursor }); sizes.push(page.items.len()); seen += page.items.map(|d| d.n); cursor = page.cursor; if cursor == () { break; } }
            }
            [seen.len(), sizes]
        "#;
        assert_eq!(stage.gives(source), json!([15, [2, 2, 1, 2, 2, 1, 2, 2, 1]]));
    }

    fn a_small_document_behind_a_large_one_waits_for_its_page(stage: &Stage) {
        // In the order of `n` they are large, large, small; looked at in that of their ids, the small one comes before it is known that it is third.
        let source = r#"
            let c = docs::collection("c"); let s = ""; s.pad(120000, "x");
            c.insert(#{ n: 3 }); c.insert(#{ n: 1, s: s }); c.insert(#{ n: 2, s: s }); c.insert(#{ n: 4 });
            let pages = []; let cursor = ();
            loop { let page = c.find(#{}, #{ sort: "n", cursor: cursor }); pages.push(page.items.map(|d| d.n)); cursor = page.cursor; if cursor == () { break; } }
            pages
        "#;
        assert_eq!(stage.gives(source), json!([[1], [2, 3, 4]]));
    }

    fn an_index_of_a_field_that_must_be_equal_ends_no_search_that_ends_without_it(stage: &Stage) {
        let id = app(&[("main", "1")]).0.app().id;
        let long = "x".repeat(250_000);
        // All that have the value are more than a search may look at, and by the order the first of them are at hand.
        for n in 1..=140 {
            put(&stage.docs, id, n, &json!({ "a": 1, "x": n as u64, "long": long }));
        }
        for n in 141..=400 {
            put(&stage.docs, id, n, &json!({ "a": 2, "x": n as u64 }));
        }
        let (filter, caller) = (json!({ "a": 1 }), caller(id));
        stage.index(id, "c", &["x"]);
        let found = stage.docs.find(&caller, &query(&filter, "x", 100)).unwrap();
        assert_eq!((found.documents.len(), found.more, found.gave_up), (1, true, false));
        stage.index(id, "c", &["a", "x"]);
        let again = stage.docs.find(&caller, &query(&filter, "x", 100)).unwrap();
        assert_eq!((again.documents, again.more, again.gave_up), (found.documents, true, false));
        assert!(again.scanned.documents > 100, "the shorter way was gone first: {:?}", again.scanned);
        // And where the index alone leads to few, it is taken before the order.
        let few = stage.docs.find(&caller, &query(&json!({ "a": 3 }), "x", 100)).unwrap();
        assert_eq!((few.documents.len(), few.scanned.documents, few.gave_up), (0, 0, false));
    }

    fn a_filter_of_ids_has_a_search_look_at_these_alone(stage: &Stage) {
        let id = app(&[("main", "1")]).0.app().id;
        for n in 1..=300 {
            put(&stage.docs, id, n, &json!({ "n": n as u64 }));
        }
        let text = |n: u128| uuid::Uuid::from_u128(n).to_string();
        for (filter, sort, found, scanned) in [
            (json!({ "id": text(7) }), "id", 1, 1),
            (json!({ "id": text(7) }), "-n", 1, 1),
            (json!({ "id": text(7), "n": 8 }), "n", 0, 1),
            // Keys tell where a value is, and not whether it is greater.
            (json!({ "id": { "$gt": text(290) } }), "-n", 10, 11),
            (json!({ "id": { "$gte": text(100), "$lte": text(109) } }), "-id", 10, 10),
            (json!({ "id": { "$in": [text(5), text(8)] } }), "id", 2, 4),
            (json!({ "id": text(301) }), "id", 0, 0),
            (json!({ "id": "7" }), "n", 0, 0),
        ] {
            for indexes in [&[][..], &["n"]] {
                stage.index(id, "c", indexes);
                let page = stage.docs.find(&caller(id), &query(&filter, sort, 100)).unwrap();
                assert_eq!((page.documents.len(), page.scanned.documents), (found, scanned), "{filter} {sort} {indexes:?}");
            }
        }
        // From a place on, which may lie outside.
        for (sort, place, found) in [("id", 1, 10), ("id", 105, 4), ("id", 200, 0), ("-id", 200, 10), ("-id", 103, 3)] {
            let filter = json!({ "id": { "$gte": text(100), "$lte": text(109) } });
            let after = Some(format!(".{}", text(place)).parse().unwrap());
            let page = stage.docs.find(&caller(id), &DocQuery { after, ..query(&filter, sort, 100) }).unwrap();
            assert_eq!((page.documents.len(), page.scanned.documents), (found, u32::try_from(found).unwrap()), "{sort} {place}");
        }
    }

    fn a_search_sees_one_moment(stage: &Stage) {
        let id = app(&[("main", "1")]).0.app().id;
        // The first and the last that are looked at, several readings apart.
        let (first, last) = (1, 1_000);
        for n in first..=last {
            put(&stage.docs, id, n, &json!({ "v": if n == first || n == last { json!(0) } else { json!("x") } }));
        }
        let docs = &stage.docs;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for v in 1..=100_u64 {
                    put(docs, id, first, &json!({ "v": v }));
                    put(docs, id, last, &json!({ "v": v }));
                }
            });
            while !writer.is_finished() {
                let page = docs.find(&caller(id), &query(&json!({ "v": { "$gte": 0 } }), "id", 10)).unwrap();
                let v: Vec<u64> = page
                    .documents
                    .iter()
                    .map(|document| serde_json::from_str::<Value>(&document.text).unwrap()["v"].as_u64().unwrap())
                    .collect();
                assert!(v.len() == 2 && v[1] <= v[0] && v[0] <= v[1] + 1, "the last is ahead of the first: {v:?}");
            }
            writer.join().unwrap();
        });
    }

    fn a_search_of_people_ends_in_time(stage: &Stage) {
        let id = app(&[("main", "1")]).0.app().id;
        for n in 1..=300 {
            put(&stage.docs, id, n, &json!({ "n": n as u64 }));
        }
        let search = |patience: Duration| {
            let docs = stage.docs.clone();
            stage.runtime.block_on(async move { docs.search_for(id, &query(&json!({ "n": 0 }), "id", 10), patience).await.unwrap() })
        };
        assert!(search(Duration::ZERO).is_none());
        assert_eq!(search(Duration::from_secs(60)).unwrap().scanned.documents, 300);
    }
}
