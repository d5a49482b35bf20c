//! Scripts that would have the store work for them without end.

use std::time::{Duration, Instant};

use picloud_executor::port::{DocStore, PortCaller};
use picloud_shared::docs::{DocPlace, DocWrite, DocWritten, DocumentBody};
use picloud_shared::execution::Outcome;
use picloud_shared::id::{AppId, DocumentId};
use picloud_shared::script::Limits;
use serde_json::json;
use uuid::Uuid;

use crate::stage::{Stage, app, given, on_both};
use crate::world::{endless, limits, publish};

/// Puts so many documents into a collection past scripts, each of which would be a commit.
fn fill(stage: &Stage, app: AppId, documents: u32) {
    let (app, random, numbers, alias) = match stage.test.sqlite_dir() {
        Some(_) => (
            format!("x'{}'", app.as_uuid().simple()),
            "randomblob(16)",
            format!(
                "(WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {documents}) SELECT n FROM s)"
            ),
            "",
        ),
        None => (format!("'{app}'"), "gen_random_uuid()", format!("generate_series(1, {documents})"), "AS s (n)"),
    };
    for sql in [
        format!(
            "INSERT INTO docs_documents (app_id, collection, id, updated_at, body) SELECT {app}, 'c', {random}, 1, '{{\"n\":' || (n % 1000) || '}}' FROM {numbers} {alias}"
        ),
        format!("INSERT INTO docs_apps (app_id, documents, bytes) VALUES ({app}, {documents}, {documents} * 74)"),
        format!(
            "INSERT INTO docs_collections (app_id, collection, documents, bytes) VALUES ({app}, 'c', {documents}, {documents} * 74)"
        ),
    ] {
        stage.runtime.block_on(stage.test.tamper_with_data(&sql));
    }
}

on_both! {
    fn a_loop_of_calls_ends_by_its_limits_whatever_it_catches(stage: &Stage) {
        let few = Limits { max_operations: 200_000, timeout: Duration::from_secs(60), ..limits() };
        for call in [
            "c.insert(#{ a: 1 })", "c.find(#{ a: 1 })", "c.get(\"x\"); c.get(uuid::v7())", "c.update(uuid::v7(), #{})", "c.find(#{ a: #{ \"$x\": 1 } })",
        ] {
            let source = format!("let c = docs::collection(\"c\"); loop {{ try {{ {call} }} catch {{ }} }}");
            let completion = stage.run(publish(&[("main", &source)], few).call("main"));
            assert_eq!(completion.outcome, Outcome::BudgetExceeded, "{call}");
        }
        let source = "let c = docs::collection(\"c\"); loop { try { c.insert(#{}); } catch { } }";
        let completion = stage.run(publish(&[("main", source)], endless(Duration::from_millis(150))).call("main"));
        assert_eq!(completion.outcome, Outcome::Timeout);
        assert!(completion.duration < Duration::from_secs(5), "{:?}", completion.duration);
    }

    fn what_a_search_looks_at_counts_against_its_run(stage: &Stage) {
        let search = "docs::collection(\"c\").find(#{ n: -1 }).items.len()";
        let app = app(&[("search", search), ("many", "for n in 0..60 { docs::collection(\"c\").find(#{ n: -1 }); } 1")]);
        fill(stage, app.0.app().id, 1_000);
        assert_eq!(stage.call(&app, "search"), json!(0));
        let completion = stage.run(app.call("many"));
        assert_eq!(completion.failure.unwrap().limit.as_deref(), Some("max_operations"));
    }

    fn a_large_document_is_found_within_the_memory_of_its_run(stage: &Stage) {
        // Each is 256 KiB, and 20 of them are more than a run may hold here.
        let source = r#"
            let c = docs::collection("c"); let s = ""; s.pad(250000, "x");
            for n in 0..20 { c.insert(#{ n: n, s: s }); }
            let seen = 0; let cursor = ();
            loop { let page = c.find(#{}, #{ sort: "-n", cursor: cursor }); seen += page.items.len(); cursor = page.cursor; if cursor == () { break; } }
            seen
        "#;
        let completion = stage.run(publish(&[("main", source)], endless(Duration::from_secs(60))).call("main"));
        assert_eq!(given(&completion, source), json!(20));
        assert!(completion.peak_memory < 8 << 20, "{}", completion.peak_memory);
    }

    fn a_search_that_would_look_at_too_many_is_refused_and_tells_of_indexes(stage: &Stage) {
        let search = r#"try { docs::collection("c").find(#{ n: -1 }) } catch (e) { return [e.code, e.message]; }"#;
        let sorted = r#"try { docs::collection("c").find(#{}, #{ sort: "n" }) } catch (e) { return e.code; }"#;
        let found = r#"docs::collection("c").find(#{ n: 5 }, #{ limit: 200 }).items.len()"#;
        let app = app(&[
            ("search", search),
            ("sorted", sorted),
            ("first", "docs::collection(\"c\").find().items.len()"),
            ("found", found),
        ]);
        fill(stage, app.0.app().id, 11_000);
        let refused = stage.call(&app, "search");
        assert_eq!(refused[0], "too_many_scanned");
        assert!(refused[1].as_str().unwrap().contains("declare an index"), "{refused}");
        assert_eq!(stage.call(&app, "sorted"), json!("too_many_scanned"));
        assert_eq!(stage.call(&app, "first"), json!(50), "a page that is full looks no further");
        stage.index(app.0.app().id, "c", &["n"]);
        assert_eq!(stage.call(&app, "found"), json!(11));
        assert_eq!(stage.call(&app, "sorted")["items"].as_array().unwrap().len(), 50);
    }

    fn what_is_damaged_is_not_read_but_can_be_replaced_and_deleted_with_its_entries(stage: &Stage) {
        let app = AppId::generate(crate::world::NOW);
        let caller = PortCaller { app, deadline: Instant::now() + Duration::from_secs(60), event_depth: 0 };
        let place = |id: u128| DocPlace { collection: "c".parse().unwrap(), id: DocumentId::from_uuid(Uuid::from_u128(id)) };
        let body = |n: u32| DocumentBody::new(json!({ "n": n }).as_object().unwrap().clone(), place(1).id).unwrap();
        let write = |id: u128, write| stage.docs.write(&caller, place(id), write);
        stage.index(app, "c", &["n", "m"]);
        for id in 1..=5 {
            write(id, DocWrite::Put(body(7))).unwrap();
        }
        let damage = "UPDATE docs_documents SET body = 'no JSON' WHERE body = '{\"n\":7}'";
        stage.runtime.block_on(stage.test.tamper_with_data(damage));
        if stage.test.sqlite_dir().is_some() {
            // What PostgreSQL would not take: no text at all.
            let damage = "UPDATE docs_documents SET body = CAST(X'7B226EFF3A377D' AS TEXT) WHERE id = X'00000000000000000000000000000005'";
            stage.runtime.block_on(stage.test.tamper_with_data(damage));
        }
        assert!(stage.docs.get(&caller, &place(5)).is_err());
        assert_eq!(write(5, DocWrite::Delete), Ok(DocWritten::Deleted));
        assert!(stage.docs.get(&caller, &place(1)).is_err());
        assert!(write(1, DocWrite::Patch(body(8).fields().clone())).is_err(), "it is changed by what it was");
        assert_eq!(write(1, DocWrite::Delete), Ok(DocWritten::Deleted));
        assert_eq!(write(1, DocWrite::Delete), Ok(DocWritten::Missing));
        for (id, change) in [(2, DocWrite::Replace(body(7))), (3, DocWrite::Put(body(8)))] {
            assert!(matches!(write(id, change), Ok(DocWritten::Is(_))));
        }
        write(4, DocWrite::Delete).unwrap();
        let count = |of: &str| stage.runtime.block_on(stage.test.count_of_data(of));
        assert_eq!((count("docs_documents"), count("docs_entries")), (2, 4));
        let right = "docs_apps WHERE documents = 2 AND bytes = (SELECT SUM(octet_length(body) + 64) FROM docs_documents) \
            + (SELECT SUM(octet_length(value) + 64) FROM docs_entries)";
        assert_eq!(count(right), 1);
    }
}
