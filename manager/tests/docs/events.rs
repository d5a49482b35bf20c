//! The events that changes of documents make for those that listen: with the change, or not at all.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use picloud_executor::Input;
use picloud_executor::port::{DocStore, PortCaller, PortError};
use picloud_manager::docs::{DocQuota, Docs};
use picloud_manager::events::EventQuota;
use picloud_shared::docs::{DocPlace, DocWrite, DocWritten, DocumentBody};
use picloud_shared::event::{Event, EventOp, EventPayload, EventSource};
use picloud_shared::id::{DocumentId, EventId};
use picloud_shared::trigger::{EventOps, TriggerSource};
use serde_json::{Value, json};
use sqlx::Executor;
use uuid::Uuid;

use crate::listening;
use crate::stage::{Stage, app, on_both};
use crate::world::{NOW, Published};

/// A trigger: its number, collection and ops.
type Listener = (u128, &'static str, &'static [&'static str]);

/// An app of that script, published with such triggers.
fn listening(stage: &Stage, source: &str, listeners: &[Listener]) -> Published {
    let source_of = |(number, collection, ops): &Listener| {
        let ops = EventOps::of_words(ops, EventOps::OF_DOCS).unwrap();
        (*number, TriggerSource::Docs { collection: collection.parse().unwrap(), ops })
    };
    listening::listening(&stage.snapshot, app(&[("main", source)]), listeners.iter().map(source_of).collect())
}

/// Each event in its order: the trigger's number, the op, the depth and the payload.
fn heard(stage: &Stage) -> Vec<(u128, String, i64, Value)> {
    stage.runtime.block_on(listening::heard(&stage.test))
}

/// The same as `1 insert c/7`, where the id of the document ends with 7.
fn lines(stage: &Stage) -> Vec<String> {
    let line = |(number, op, _, told): (u128, String, i64, Value)| {
        let id: Uuid = told["id"].as_str().unwrap().parse().unwrap();
        format!("{number} {op} {}/{}", told["collection"].as_str().unwrap(), id.as_u128())
    };
    heard(stage).into_iter().map(line).collect()
}

/// What is counted of an app's documents, which have no indexes, and of its events, is what is there.
fn the_accounts_are_right(stage: &Stage) {
    let documents =
        ("documents", "SELECT COUNT(*) FROM docs_documents", "SUM(octet_length(body) + 64)", "docs_documents");
    for (account, (count, counted, sum, of)) in
        [("docs_apps", documents), ("event_apps", ("events", "SELECT COUNT(*) FROM events", "SUM(bytes)", "events"))]
    {
        let wrong = format!("{account} WHERE {count} <> ({counted}) OR bytes <> (SELECT COALESCE({sum}, 0) FROM {of})");
        assert_eq!(stage.runtime.block_on(stage.test.count_of_data(&wrong)), 0, "{account}");
    }
}

fn caller(app: &Published) -> PortCaller {
    PortCaller { app: app.0.app().id, deadline: Instant::now() + Duration::from_secs(60), event_depth: 0 }
}

fn place(id: u128) -> DocPlace {
    DocPlace { collection: "c".parse().unwrap(), id: DocumentId::from_uuid(Uuid::from_u128(id)) }
}

fn body(n: u128) -> DocumentBody {
    let fields = json!({ "n": u64::try_from(n).unwrap() });
    DocumentBody::new(fields.as_object().unwrap().clone(), place(n).id).unwrap()
}

fn put(id: u128) -> DocWrite {
    DocWrite::Put(body(id))
}

fn patch(fields: Value) -> DocWrite {
    let Value::Object(fields) = fields else { panic!("{fields}") };
    DocWrite::Patch(fields)
}

fn is_full<T: std::fmt::Debug>(result: &Result<T, PortError>) -> bool {
    matches!(result, Err(PortError::Refused { code: "queue_full", .. }))
}

fn is_there(docs: &Docs, app: &Published, id: u128) -> bool {
    docs.get(&caller(app), &place(id)).unwrap().is_some()
}

const ALL: &[&str] = &["insert", "update", "delete"];

on_both! {
    fn each_change_makes_one_event_for_each_trigger_that_it_is_for(stage: &Stage) {
        let source = r#"
            let c = docs::collection("c");
            let id = c.insert(#{ a: 1, b: #{ x: [1.5] } });
            c.update(id, #{ a: () });
            c.replace(id, #{ z: "ä" });
            c.update(id, #{});
            c.delete(id);
            let missed = [c.update(id, #{ a: 1 }), c.replace(id, #{}), c.delete(id)];
            let other = docs::collection("d").insert(#{});
            docs::collection("e").insert(#{});
            [id, other, missed]
        "#;
        let listeners: [Listener; 4] = [(1, "c", ALL), (2, "c", &["delete"]), (3, "d", &["insert"]), (100, "c", ALL)];
        let shop = listening(stage, source, &listeners);
        let given = stage.call(&shop, "main");
        assert_eq!(given[2], json!([null, null, false]));
        let of = |number: u128, op: &str, told: Value| (number, op.to_owned(), 0, told);
        let gone = json!({ "collection": "c", "id": given[0] });
        let is = |document: Value| json!({ "collection": "c", "id": given[0], "document": document });
        assert_eq!(heard(stage), [
            of(1, "insert", is(json!({ "a": 1, "b": { "x": [1.5] } }))),
            of(1, "update", is(json!({ "b": { "x": [1.5] } }))),
            of(1, "update", is(json!({ "z": "ä" }))),
            of(1, "update", is(json!({ "z": "ä" }))),
            of(1, "delete", gone.clone()),
            of(2, "delete", gone),
            of(3, "insert", json!({ "collection": "d", "id": given[1], "document": {} })),
        ]);
        the_accounts_are_right(stage);
    }

    fn what_an_event_causes_stands_one_deeper(stage: &Stage) {
        let shop = listening(stage, r#"docs::collection("c").insert(#{})"#, &[(1, "c", ALL)]);
        let event = Event {
            id: EventId::generate(NOW),
            source: EventSource::Docs,
            op: EventOp::Insert,
            created_at: NOW,
            attempt: 1,
            depth: 3,
            payload: EventPayload::default(),
        };
        let mut run = shop.call("main");
        run.input = Input::Events(Arc::from([event]));
        let completion = stage.run(run);
        assert!(completion.failure.is_none(), "{:?}", completion.failure);
        assert_eq!(heard(stage)[0].2, 4);
    }

    fn a_change_whose_event_has_no_room_is_not_made(stage: &Stage) {
        let shop = listening(stage, "1", &[(1, "c", ALL), (2, "c", &["insert"])]);
        let docs = stage.under_events(EventQuota { events: 3, bytes: 1 << 20 });
        let write = |id: u128, write| docs.write(&caller(&shop), place(id), write);
        write(1, put(1)).unwrap();
        // Two events, and room for one: neither is made.
        assert!(is_full(&write(2, put(2))));
        write(1, patch(json!({ "m": 1 }))).unwrap();
        for change in [put(1), DocWrite::Replace(body(1)), patch(json!({ "n": () })), DocWrite::Delete] {
            assert!(is_full(&write(1, change.clone())), "{change:?}");
        }
        // There is nothing to be told of these.
        for change in [DocWrite::Replace(body(2)), patch(json!({})), DocWrite::Delete] {
            assert_eq!(write(2, change), Ok(DocWritten::Missing));
        }
        docs.write(&caller(&shop), DocPlace { collection: "d".parse().unwrap(), ..place(1) }, DocWrite::Delete).unwrap();
        assert_eq!(lines(stage), ["1 insert c/1", "2 insert c/1", "1 update c/1"]);
        let there = docs.get(&caller(&shop), &place(1)).unwrap().unwrap();
        assert_eq!(there.body.text(), r#"{"m":1,"n":1}"#);
        assert!(!is_there(&docs, &shop, 2));
        let few_bytes = stage.under_events(EventQuota { events: 10, bytes: 10 });
        assert!(is_full(&few_bytes.write(&caller(&shop), place(2), put(2))));
        the_accounts_are_right(stage);
    }

    fn a_change_for_which_the_app_has_no_room_is_told_to_nobody(stage: &Stage) {
        let shop = listening(stage, "1", &[(1, "c", ALL)]);
        let one = stage.again(DocQuota { documents: 1, bytes: 1 << 20 });
        one.write(&caller(&shop), place(1), put(1)).unwrap();
        assert!(matches!(one.write(&caller(&shop), place(2), put(2)), Err(PortError::Refused { code: "quota_exceeded", .. })));
        assert_eq!(lines(stage), ["1 insert c/1"]);
        the_accounts_are_right(stage);
    }

    fn a_transaction_that_fails_keeps_neither_the_change_nor_its_event(stage: &Stage) {
        let shop = listening(stage, "1", &[(1, "c", ALL)]);
        let is_file = stage.test.sqlite_dir().is_some();
        let tamper = |sqlite: &str, postgres: &str| {
            stage.runtime.block_on(stage.test.tamper_with_data(if is_file { sqlite } else { postgres }));
        };
        let write = |collection: &str, id: u128, write| {
            let place = DocPlace { collection: collection.parse().unwrap(), ..place(id) };
            stage.docs.write(&caller(&shop), place, write)
        };
        write("c", 1, put(1)).unwrap();
        let before = lines(stage);
        tamper(
            "CREATE TRIGGER never BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END",
            "ALTER TABLE events ADD CONSTRAINT never CHECK (op = 'insert' AND payload LIKE '%000001\"%')",
        );
        for (id, change) in [(2, put(2)), (1, put(1)), (1, DocWrite::Delete)] {
            assert!(write("c", id, change).is_err());
        }
        assert!(is_there(&stage.docs, &shop, 1) && !is_there(&stage.docs, &shop, 2));
        write("d", 3, put(3)).unwrap();
        tamper("DROP TRIGGER never", "ALTER TABLE events DROP CONSTRAINT never");
        tamper(
            "CREATE TRIGGER never BEFORE INSERT ON docs_documents BEGIN SELECT RAISE(ABORT, 'no'); END",
            "ALTER TABLE docs_documents ADD CONSTRAINT never CHECK (body <> '{\"n\":2}')",
        );
        assert!(write("c", 2, put(2)).is_err());
        assert_eq!(lines(stage), before);
        tamper("DROP TRIGGER never", "ALTER TABLE docs_documents DROP CONSTRAINT never");
        write("c", 2, put(2)).unwrap();
        assert_eq!(lines(stage), ["1 insert c/1", "1 insert c/2"]);
    }

    fn of_many_writes_at_once_as_many_are_made_as_there_is_room_for_their_events(stage: &Stage) {
        let shop = listening(stage, "1", &[(1, "c", ALL)]);
        let docs = stage.under_events(EventQuota { events: 50, bytes: 1 << 20 });
        let write = |number: u128| docs.write(&caller(&shop), place(number), put(number));
        let ends: Vec<_> = thread::scope(|scope| {
            let write = &write;
            let writers = (0..16).map(|writer| scope.spawn(move || (0..8).map(|n| write(writer * 8 + n + 1)).collect::<Vec<_>>()));
            let writers: Vec<_> = writers.collect();
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
        });
        assert_eq!((ends.iter().filter(|end| end.is_ok()).count(), ends.iter().filter(|end| is_full(end)).count()), (50, 78));
        let mut told = lines(stage);
        told.sort_unstable();
        let there = (1..=128).filter(|number| ends[number - 1].is_ok()).map(|number| format!("1 insert c/{number}"));
        let mut there: Vec<_> = there.collect();
        there.sort_unstable();
        assert_eq!(told, there);
        the_accounts_are_right(stage);
    }
}

/// On PostgreSQL, where it can be told that somebody waits.
#[test]
fn who_waits_to_write_hears_of_a_trigger_that_was_set_up_meanwhile() {
    let stage = Stage::postgres();
    let shop = app(&[("main", "1")]);
    let caller = caller(&shop);
    stage.docs.write(&caller, place(1), put(1)).unwrap();
    let mut other = stage.runtime.block_on(stage.test.pg_connection());
    stage.runtime.block_on(other.execute("BEGIN; SELECT * FROM docs_apps FOR UPDATE")).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| stage.docs.write(&caller, place(2), put(2)).unwrap());
        let waiting = async { stage.test.until_somebody_waits_for_a_lock().await };
        stage.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), waiting).await }).unwrap();
        let ops = EventOps::all(EventOps::OF_DOCS);
        let source = TriggerSource::Docs { collection: "c".parse().unwrap(), ops };
        listening::listening(&stage.snapshot, shop, vec![(1, source)]);
        stage.runtime.block_on(other.execute("ROLLBACK")).unwrap();
        writer.join().unwrap();
    });
    assert_eq!(lines(&stage), ["1 insert c/2"]);
}
