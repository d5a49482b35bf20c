//! What each call gives and throws: the contract of the SDK's module `docs`.

use picloud_manager::docs::DocQuota;
use serde_json::{Value, json};

use crate::stage::{Stage, alone, app, on_both};
use crate::test_store::TestStore;
use crate::world::config;

on_both! {
    fn each_call_gives_what_it_says(stage: &Stage) {
        for (source, expected) in [
            (r#"let c = docs::collection("c"); let id = c.insert(#{ a: 1 }); let d = c.get(id); [d.a, d.id == id, id.len()]"#, json!([1, true, 36])),
            (r#"docs::collection("c").get("nothing")"#, Value::Null),
            (r#"docs::collection("c").get(uuid::v7())"#, Value::Null),
            (r#"let c = docs::collection("c"); let id = c.insert(#{ a: 1, b: #{ x: 1, y: 2 } });
                let d = c.update(id, #{ a: (), b: #{ y: 3 }, z: [1.5] }); let e = c.get(id); e.remove("id"); [d.b, e]"#,
                json!([{ "x": 1, "y": 3 }, { "b": { "x": 1, "y": 3 }, "z": [1.5] }])),
            (r#"let c = docs::collection("c"); [c.update(uuid::v7(), #{ a: 1 }), c.replace("x", #{}), c.delete("x"), c.find().items.len()]"#,
                json!([null, null, false, 0])),
            (r#"let c = docs::collection("c"); let id = c.insert(#{ a: 1, b: 2 }); let d = c.get(id); d.remove("a"); d.b = 3;
                let r = c.replace(id, d); r.remove("id"); [r, c.get(id).b, c.delete(id), c.delete(id), c.get(id)]"#,
                json!([{ "b": 3 }, 3, true, false, null])),
            (r#"let c = docs::collection("c"); let d = #{ a: [1] }; let id = c.insert(d); d.a.push(2); c.get(id).a"#, json!([1])),
            (r#"let c = docs::collection("c"); let id = c.insert(#{ n: 9223372036854775807, f: 1.0, t: "ä\u0000", b: blob(2, 65) }); let d = c.get(id);
                [d.n, type_of(d.f), d.t.len(), d.b]"#, json!([9_223_372_036_854_775_807_i64, "f64", 2, "QUE="])),
            (r#"let c = docs::collection("c"); c.insert(#{ n: 1 }); docs::collection("d").insert(#{ n: 2 }); c.find().items.map(|d| d.n)"#, json!([1])),
        ] {
            assert_eq!(stage.gives(source), expected, "{source}");
        }
    }

    fn documents_are_found_in_the_order_of_their_ids_and_in_pages(stage: &Stage) {
        let source = r#"
            let c = docs::collection("c");
            for n in 0..7 { c.insert(#{ n: n, even: n % 2 == 0 }); }
            let pages = [];
            let cursor = ();
            loop {
                let page = c.find(#{ even: true }, #{ limit: 3, cursor: cursor });
                pages.push(page.items.map(|d| d.n));
                cursor = page.cursor;
                if cursor == () { break; }
            }
            let last = c.find(#{}, #{ sort: "-id", limit: 2 });
            [pages, last.items.map(|d| d.n), c.find(#{}, #{ sort: "-id", limit: 9, cursor: last.cursor }).items.map(|d| d.n)]
        "#;
        let given = stage.gives(source);
        let mut evens: Vec<i64> = given[0].as_array().unwrap().iter().flat_map(|page| page.as_array().unwrap()).map(|n| n.as_i64().unwrap()).collect();
        assert_eq!(given[0].as_array().unwrap().iter().map(|page| page.as_array().unwrap().len()).collect::<Vec<_>>(), [3, 1]);
        evens.sort_unstable();
        assert_eq!(evens, [0, 2, 4, 6]);
        assert_eq!((given[1].as_array().unwrap().len(), given[2].as_array().unwrap().len()), (2, 5));
    }

    fn documents_are_sorted_by_a_field_with_an_index_or_without(stage: &Stage) {
        let insert = r#"let c = docs::collection("c");
            for v in [3, "b", 1.5, (), true, "a", -2, 10, [1], #{ x: 1 }, false, 3] { c.insert(#{ v: v }); }
            c.insert(#{ other: 1 }); ()"#;
        let read = r#"let c = docs::collection("c");
            let order = |sort| { let all = []; let cursor = ();
                loop { let page = c.find(#{}, #{ sort: sort, limit: 4, cursor: cursor }); all += page.items.map(|d| d.v); cursor = page.cursor; if cursor == () { return all; } } };
            [order.call("v"), order.call("-v"), c.find(#{ v: #{ "$gte": 1.5 } }, #{ sort: "-v" }).items.map(|d| d.v)]"#;
        let app = app(&[("insert", insert), ("read", read)]);
        stage.call(&app, "insert");
        let up = json!([null, null, false, true, -2, 1.5, 3, 3, 10, "a", "b", [1], { "x": 1 }]);
        let down: Vec<Value> = up.as_array().unwrap().iter().rev().cloned().collect();
        for _ in 0..2 {
            let given = stage.call(&app, "read");
            assert_eq!((&given[0], &given[1], &given[2]), (&up, &json!(down), &json!([10, 3, 3, 1.5])));
            stage.index(app.0.app().id, "c", &["v"]);
        }
    }

    fn what_cannot_be_done_is_thrown_with_a_code_and_a_message(stage: &Stage) {
        for (call, code, says) in [
            (r#"docs::collection("No")"#, "invalid", "docs::collection: "),
            (r#"c.insert(#{ id: "x" })"#, "invalid", "the document's own"),
            (r#"c.insert(#{ f: || 1 })"#, "invalid", "docs::insert: "),
            (r#"let s = ""; s.pad(200000, "\n"); c.insert(#{ a: s })"#, "invalid", "262144"),
            (r#"let a = []; a.pad(9990, 1); let b = #{}; for n in 0..20 { b["k" + n] = n; } c.insert(#{ a: a, b: b })"#, "invalid", "10000 values"),
            (r#"let d = #{}; for n in 0..70 { d = #{ d: d }; } c.insert(d)"#, "invalid", "64 deep"),
            (r#"let id = c.insert(#{}); c.update(id, #{ id: uuid::v7() })"#, "invalid", "the document's own"),
            (r#"c.find(#{ a: #{ "$near": 1 } })"#, "invalid", "no operator $near"),
            (r#"c.find(#{ a: #{ "$gt": () } })"#, "invalid", "compares numbers or strings"),
            (r#"c.find(#{ "a..b": 1 })"#, "invalid", "a field is"),
            (r#"c.find(#{}, #{ sort: "$x" })"#, "invalid", "a field is"),
            (r#"c.find(#{}, #{ sort: 1 })"#, "invalid", "sort is a field"),
            (r#"c.find(#{}, #{ cursor: "x" })"#, "invalid", "a cursor is what"),
            (r#"c.find(#{}, #{ limit: 0 })"#, "invalid", "limit is an integer from 1 to 200"),
            (r#"c.find(#{}, #{ skip: 1 })"#, "invalid", "there is no option skip"),
        ] {
            let source = format!("let c = docs::collection(\"c\"); try {{ {call} }} catch (e) {{ return [e.code, e.message]; }}");
            let given = stage.gives(&source);
            assert_eq!(given[0], code, "{call}: {given}");
            assert!(given[1].as_str().unwrap().contains(says), "{call}: {given}");
        }
    }

    fn no_app_sees_what_another_keeps(stage: &Stage) {
        let id = stage.gives(r#"docs::collection("c").insert(#{ a: 1 })"#);
        let source = format!(
            "let c = docs::collection(\"c\"); [c.get({id}), c.find().items.len(), c.update({id}, #{{}}), c.delete({id}), c.find(#{{ id: {id} }}).items.len()]"
        );
        assert_eq!(stage.gives(&source), json!([null, 0, null, false, 0]));
    }

    fn a_run_that_moves_to_a_worker_inserts_once(stage: &Stage) {
        let app = alone(r#"let c = docs::collection("c"); c.insert(#{}); c.find().items.len()"#);
        for n in 1..=3 {
            assert_eq!(stage.call(&app, "main"), json!(n));
        }
    }
}

#[test]
fn an_app_keeps_as_much_as_it_may_and_what_shrinks_fits_always() {
    for opening in [true, false] {
        let quota = DocQuota { documents: 3, bytes: 1_000 };
        let stage = match opening {
            true => Stage::with(TestStore::sqlite(), quota, config()),
            false => Stage::with(TestStore::postgres(), quota, config()),
        };
        let source = r#"
            let c = docs::collection("c");
            let codes = [];
            let ids = [];
            for n in 0..4 { try { ids.push(c.insert(#{ n: n })); } catch (e) { codes.push(e.code); codes.push(e.message); } }
            let long = "x"; for n in 0..10 { long += long; }
            try { c.update(ids[0], #{ long: long }); } catch (e) { codes.push(e.code); }
            c.update(ids[0], #{ n: () });
            c.delete(ids[1]);
            ids.push(c.insert(#{ n: 9 }));
            codes
        "#;
        let expected = json!(["quota_exceeded", "the app holds as many documents as it may: 3", "quota_exceeded"]);
        assert_eq!(stage.gives(source), expected);
    }
}
