//! Indexes are built and dropped piece by piece, kept up by every write, and counted.

use std::time::{Duration, Instant};

use picloud_executor::port::{DocStore, PortCaller};
use picloud_manager::docs::{DocQuota, Docs};
use picloud_shared::docs::{DocQuery, Filter, Sort};
use picloud_shared::id::AppId;
use serde_json::json;

use crate::stage::{Stage, app, on_both};

const INSERT: &str = r#"
    let c = docs::collection("c");
    for n in 0..1200 { c.insert(#{ n: n % 100, s: "x" }); }
    ()
"#;

/// How many documents a search by `n` looked at, and found.
fn looked_at(stage: &Stage, app: AppId) -> (u32, usize) {
    let query = DocQuery {
        collection: "c".parse().unwrap(),
        filter: Filter::read(&json!({ "n": 7 })).unwrap(),
        sort: Sort::default(),
        after: None,
        limit: 100,
    };
    let caller = PortCaller { app, deadline: Instant::now() + Duration::from_secs(30), event_depth: 0 };
    let page = stage.docs.find(&caller, &query).unwrap();
    (page.scanned.documents, page.documents.len())
}

/// What the app's account has beside its documents, which are as many as it says: the entries of indexes.
fn entry_bytes(stage: &Stage, app: AppId) -> i64 {
    let caller = PortCaller { app, deadline: Instant::now() + Duration::from_secs(30), event_depth: 0 };
    let (mut bytes, mut documents) = (0, 0);
    let collection = "c".parse().unwrap();
    let mut query = DocQuery { collection, filter: Filter::default(), sort: Sort::default(), after: None, limit: 200 };
    loop {
        let page = stage.docs.find(&caller, &query).unwrap();
        documents += page.documents.len() as u64;
        bytes += page.documents.iter().map(|document| document.text.len() as u64 + 64).sum::<u64>();
        query.after = page.next().cloned();
        if query.after.is_none() {
            break;
        }
    }
    let usage = stage.runtime.block_on(stage.docs.usage(app)).unwrap();
    assert_eq!(usage.documents, documents);
    usage.bytes as i64 - bytes as i64
}

fn declare(stage: &Stage, docs: &Docs, app: AppId, fields: &[&str]) {
    let fields = fields.iter().map(|field| field.parse().unwrap()).collect();
    stage.runtime.block_on(docs.declare_indexes(app, &"c".parse().unwrap(), fields)).unwrap();
}

fn declared(stage: &Stage, app: AppId) -> Vec<(i64, String, &'static str)> {
    stage.runtime.block_on(stage.docs.declared(app, &"c".parse().unwrap())).unwrap()
}

on_both! {
    fn a_search_by_an_index_looks_at_what_it_finds_and_a_dropped_one_leaves_nothing(stage: &Stage) {
        let change = r#"
            let c = docs::collection("c");
            let found = c.find(#{ n: 7 }, #{ limit: 4 }).items;
            c.update(found[0].id, #{ n: 8 }); c.replace(found[1].id, #{ m: 1 }); c.delete(found[2].id);
            c.insert(#{ n: 7 });
            ()
        "#;
        let app = app(&[("insert", INSERT), ("change", change)]);
        let id = app.0.app().id;
        stage.call(&app, "insert");
        assert_eq!(looked_at(stage, id), (1200, 12));
        stage.index(id, "c", &["n", "s"]);
        assert_eq!(looked_at(stage, id), (12, 12));
        // Writes keep it up.
        stage.call(&app, "change");
        assert_eq!(looked_at(stage, id), (10, 10));
        stage.index(id, "c", &["s"]);
        assert_eq!(looked_at(stage, id), (1200, 10));
        // What is left is as if there had been none.
        stage.index(id, "c", &[]);
        assert_eq!(entry_bytes(stage, id), 0);
        assert_eq!(stage.runtime.block_on(stage.docs.usage(id)).unwrap().documents, 1200);
    }

    fn writes_amid_a_build_are_counted_once(stage: &Stage) {
        // Of values of different lengths, at both ends: what is built already, and what is not.
        let change = r#"
            let c = docs::collection("c");
            for sort in ["id", "-id"] {
                let found = c.find(#{}, #{ sort: sort, limit: 6 }).items;
                c.update(found[0].id, #{ s: "longer" }); c.update(found[1].id, #{ s: () }); c.replace(found[2].id, #{ n: 1 });
                c.delete(found[3].id); c.delete(found[4].id); c.update(found[5].id, #{ n: 2 });
            }
            c.insert(#{ s: "new" });
            ()
        "#;
        let app = app(&[("insert", INSERT), ("change", change)]);
        let id = app.0.app().id;
        stage.call(&app, "insert");
        declare(stage, &stage.docs, id, &["s"]);
        for _ in 0..2 {
            let (is_more, failure) = stage.runtime.block_on(stage.docs.take_turns()).unwrap();
            assert!(is_more && failure.is_none());
            stage.call(&app, "change");
        }
        stage.runtime.block_on(stage.docs.finish_indexes()).unwrap();
        assert_eq!(declared(stage, id), [(1, "s".to_owned(), "ready")]);
        // Twice two at each end went and one came; an entry is 64 bytes and those of its value.
        let caller = PortCaller { app: id, deadline: Instant::now() + Duration::from_secs(30), event_depth: 0 };
        let count = |filter: serde_json::Value| {
            let filter = Filter::read(&filter).unwrap();
            let query = DocQuery { collection: "c".parse().unwrap(), filter, sort: Sort::default(), after: None, limit: 200 };
            stage.docs.find(&caller, &query).unwrap().documents.len() as i64
        };
        let (longer, new, none) = (count(json!({ "s": "longer" })), count(json!({ "s": "new" })), count(json!({ "s": null })));
        assert!(longer > 0 && none > 0);
        let plain = 1194 - longer - new - none;
        assert_eq!(entry_bytes(stage, id), 1194 * 64 + longer * 7 + new * 4 + none + plain * 2);
        stage.index(id, "c", &[]);
        assert_eq!((entry_bytes(stage, id), declared(stage, id)), (0, vec![]));
    }

    fn an_index_for_which_there_is_no_room_is_taken_back_and_can_be_asked_for_again(stage: &Stage) {
        let app = app(&[("insert", INSERT)]);
        let id = app.0.app().id;
        stage.call(&app, "insert");
        let before = stage.runtime.block_on(stage.docs.usage(id)).unwrap();
        // Two pieces fit, and the third does not.
        let narrow = stage.again(DocQuota { bytes: before.bytes + 1_100 * 66, ..DocQuota::default() });
        declare(stage, &narrow, id, &["s"]);
        stage.runtime.block_on(narrow.finish_indexes()).unwrap();
        assert_eq!(declared(stage, id), [(1, "s".to_owned(), "no_room")]);
        assert_eq!(stage.runtime.block_on(stage.docs.usage(id)).unwrap(), before);
        // It is neither kept up nor used, and declaring it as it is builds it where there is room.
        stage.call(&app, "insert");
        assert_eq!(entry_bytes(stage, id), 0);
        stage.index(id, "c", &["s"]);
        assert_eq!(declared(stage, id), [(1, "s".to_owned(), "ready")]);
        assert_eq!(entry_bytes(stage, id), 2400 * 66);
        // What there is no room for can be taken back as well.
        declare(stage, &narrow, id, &["s", "n"]);
        stage.runtime.block_on(narrow.finish_indexes()).unwrap();
        assert_eq!(declared(stage, id)[1], (2, "n".to_owned(), "no_room"));
        stage.index(id, "c", &["s"]);
        assert_eq!(declared(stage, id).len(), 1);
    }

    fn the_number_of_an_index_never_comes_again(stage: &Stage) {
        let id = app(&[("main", "1")]).0.app().id;
        stage.index(id, "c", &["a", "b"]);
        stage.index(id, "c", &[]);
        stage.index(id, "c", &["a"]);
        assert_eq!(declared(stage, id), [(3, "a".to_owned(), "ready")]);
    }

    fn an_index_that_cannot_be_built_keeps_no_other_waiting(stage: &Stage) {
        let app = app(&[("insert", INSERT)]);
        let id = app.0.app().id;
        stage.call(&app, "insert");
        // The first of all indexes, of a document that nobody can read.
        let bad = "INSERT INTO docs_documents (app_id, collection, id, updated_at, body) VALUES (";
        let (app_id, document) = match stage.test.sqlite_dir() {
            Some(_) => ("x'00000000000000000000000000000001'", "x'00000000000000000000000000000002'"),
            None => ("'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'"),
        };
        stage.runtime.block_on(stage.test.tamper_with_data(&format!("{bad}{app_id}, 'c', {document}, 1, 'no JSON')")));
        declare(stage, &stage.docs, AppId::from_uuid(uuid::Uuid::from_u128(1)), &["n"]);
        declare(stage, &stage.docs, id, &["n"]);
        assert!(stage.runtime.block_on(stage.docs.finish_indexes()).is_err());
        assert_eq!(declared(stage, id), [(1, "n".to_owned(), "ready")]);
        assert_eq!(looked_at(stage, id), (12, 12));
    }

    fn another_process_finishes_what_one_began_and_no_search_uses_it_before(stage: &Stage) {
        let app = app(&[("insert", INSERT)]);
        let id = app.0.app().id;
        stage.call(&app, "insert");
        stage.runtime.block_on(stage.docs.declare_indexes(id, &"c".parse().unwrap(), vec!["n".parse().unwrap()])).unwrap();
        assert_eq!(looked_at(stage, id).1, 12);
        assert_eq!(looked_at(stage, id).0, 1200);
        let other = stage.again(DocQuota::default());
        stage.runtime.block_on(other.finish_indexes()).unwrap();
        assert_eq!(looked_at(stage, id), (12, 12));
    }

    fn entries_of_indexes_count_against_the_quota(stage: &Stage) {
        let app = app(&[("insert", INSERT)]);
        let id = app.0.app().id;
        stage.call(&app, "insert");
        let before = stage.runtime.block_on(stage.docs.usage(id)).unwrap();
        stage.index(id, "c", &["s"]);
        let after = stage.runtime.block_on(stage.docs.usage(id)).unwrap();
        assert_eq!(after.bytes - before.bytes, 1200 * (64 + 2));
    }
}
