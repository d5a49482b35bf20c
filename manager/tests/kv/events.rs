//! The events that changes of entries make for those that listen: with the change, or not at all.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use picloud_executor::Input;
use picloud_executor::port::{EventQueue, KvStore, PortCaller, PortError};
use picloud_manager::events::EventQuota;
use picloud_manager::kv::Kv;
use picloud_shared::event::{Event, EventOp, EventPayload, EventSource, QueueMessage};
use picloud_shared::id::EventId;
use picloud_shared::kv::{KvPlace, KvWrite};
use picloud_shared::trigger::{EventOps, TriggerSource};
use serde_json::{Value, json};

use crate::listening;
use crate::stage::{Stage, app, given, on_both};
use crate::upkeep::{read, the_account_is_right};
use crate::world::{NOW, Published};

const EVENTS: &str = "SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM events WHERE ended_at IS NULL";
const ACCOUNT: &str = "SELECT COALESCE(SUM(events), 0), COALESCE(SUM(bytes), 0) FROM event_apps";

/// A trigger: its number, collection, prefix and ops.
type Listener = (u128, &'static str, &'static str, &'static [&'static str]);

/// An app of that script, published with such triggers.
fn listening(stage: &Stage, source: &str, listeners: &[Listener]) -> Published {
    let source_of = |(number, collection, prefix, ops): &Listener| {
        let (collection, prefix) = (collection.parse().unwrap(), prefix.parse().unwrap());
        (*number, TriggerSource::Kv { collection, prefix, ops: EventOps::of_words(ops, EventOps::OF_KV).unwrap() })
    };
    listening::listening(&stage.snapshot, app(&[("main", source)]), listeners.iter().map(source_of).collect())
}

/// Each event in its order: the trigger's number, the op, the depth and the payload.
fn heard(stage: &Stage) -> Vec<(u128, String, i64, Value)> {
    stage.runtime.block_on(listening::heard(&stage.test))
}

/// The same without the depth, as `1 set default/key`.
fn lines(stage: &Stage) -> Vec<String> {
    let line = |(number, op, _, told): (u128, String, i64, Value)| {
        format!("{number} {op} {}/{}", told["collection"].as_str().unwrap(), told["key"].as_str().unwrap())
    };
    heard(stage).into_iter().map(line).collect()
}

fn the_accounts_are_right(stage: &Stage) {
    the_account_is_right(stage);
    assert_eq!(read(stage, ACCOUNT), read(stage, EVENTS));
}

fn caller(app: &Published) -> PortCaller {
    PortCaller { app: app.0.app().id, deadline: Instant::now() + Duration::from_secs(60), event_depth: 0 }
}

fn place(key: &str) -> KvPlace {
    KvPlace { collection: "default".parse().unwrap(), key: key.parse().unwrap() }
}

fn set(ttl: Option<u64>) -> KvWrite {
    KvWrite::Set { value: 1.into(), ttl: ttl.map(Duration::from_secs) }
}

fn is_full<T: std::fmt::Debug>(result: &Result<T, PortError>) -> bool {
    matches!(result, Err(PortError::Refused { code: "queue_full", .. }))
}

const ALL: &[&str] = &["set", "delete", "expire"];

on_both! {
    fn each_change_makes_one_event_for_each_trigger_that_it_is_for(stage: &Stage) {
        let source = r#"
            kv::set("a/1", #{ n: 1 }, #{ ttl: 60 });
            kv::set("a/1", #{ n: 1 });
            kv::incr("a/n", 2);
            let hit = kv::cas("a/n", 2, 3);
            let missed = kv::cas("a/n", 2, 4);
            kv::delete("a/n");
            kv::delete("a/n");
            kv::set("b", 1);
            kv::collection("other").set("a/1", 1);
            [hit, missed]
        "#;
        let listeners: [Listener; 4] = [
            (1, "default", "a/", ALL),
            (2, "default", "", &["delete"]),
            (3, "other", "", &["set"]),
            (100, "default", "", ALL),
        ];
        let shop = listening(stage, source, &listeners);
        assert_eq!(given(&stage.call(&shop, "main"), source), json!([true, false]));
        let of = |number: u128, op: &str, told: Value| (number, op.to_owned(), 0, told);
        let set = |key: &str, value: Value| json!({ "collection": "default", "key": key, "value": value, "expires_at": null });
        let mut first = set("a/1", json!({ "n": 1 }));
        first["expires_at"] = json!(NOW.plus(Duration::from_secs(60)));
        let gone = json!({ "collection": "default", "key": "a/n" });
        let mut other = set("a/1", json!(1));
        other["collection"] = json!("other");
        assert_eq!(heard(stage), [
            of(1, "set", first),
            of(1, "set", set("a/1", json!({ "n": 1 }))),
            of(1, "set", set("a/n", json!(2))),
            of(1, "set", set("a/n", json!(3))),
            of(1, "delete", gone.clone()),
            of(2, "delete", gone),
            of(3, "set", other),
        ]);
        the_accounts_are_right(stage);
    }

    fn what_an_event_causes_stands_one_deeper(stage: &Stage) {
        let shop = listening(stage, r#"kv::set("a", 1)"#, &[(1, "default", "", ALL)]);
        let event = Event {
            id: EventId::generate(NOW),
            source: EventSource::Kv,
            op: EventOp::Set,
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

    fn an_entry_whose_time_is_over_is_told_of_once_whoever_comes_upon_it(stage: &Stage) {
        let shop = listening(stage, "1", &[(1, "default", "", ALL)]);
        let write = |key: &str, write| stage.kv.write(&caller(&shop), place(key), write).unwrap();
        for key in ["deleted", "read", "replaced", "swept"] {
            write(key, set(Some(60)));
        }
        write("left", set(Some(61)));
        stage.clock.advance(Duration::from_secs(60));
        assert_eq!(stage.kv.get(&caller(&shop), &place("read")).unwrap(), None);
        let before = lines(stage).len();
        write("replaced", set(None));
        write("deleted", KvWrite::Delete);
        write("deleted", KvWrite::Delete);
        let sweep = || stage.runtime.block_on(stage.kv.sweep()).unwrap();
        assert_eq!((sweep(), sweep()), (2, 0));
        let mut after = lines(stage).split_off(before);
        let mut swept = after.split_off(3);
        assert_eq!(after, ["1 expire default/replaced", "1 set default/replaced", "1 expire default/deleted"]);
        swept.sort_unstable();
        assert_eq!(swept, ["1 expire default/read", "1 expire default/swept"]);
        assert_eq!(heard(stage).last().unwrap().3["value"], Value::Null);
        the_accounts_are_right(stage);
    }

    fn two_nodes_that_sweep_at_once_tell_of_each_entry_once(stage: &Stage) {
        let shop = listening(stage, "1", &[(1, "default", "", &["expire"]), (2, "default", "1", &["expire"])]);
        for number in 0..250 {
            stage.kv.write(&caller(&shop), place(&number.to_string()), set(Some(1))).unwrap();
        }
        assert_eq!(lines(stage), [""; 0]);
        stage.clock.advance(Duration::from_secs(1));
        let other = stage.under(picloud_manager::kv::KvQuota::default());
        let sweep = |kv: &Kv| stage.runtime.block_on(kv.sweep()).unwrap();
        let swept = thread::scope(|scope| {
            let (one, two) = (scope.spawn(|| sweep(&stage.kv)), scope.spawn(|| sweep(&other)));
            one.join().unwrap() + two.join().unwrap()
        });
        assert_eq!(swept, 250);
        let mut lines = lines(stage);
        lines.sort_unstable();
        let keys = || (0..250).map(|number: u32| number.to_string());
        let second = keys().filter(|key| key.starts_with('1')).map(|key| format!("2 expire default/{key}"));
        let mut expected: Vec<_> = keys().map(|key| format!("1 expire default/{key}")).chain(second).collect();
        expected.sort_unstable();
        assert_eq!(lines, expected);
        the_accounts_are_right(stage);
    }

    fn a_change_whose_event_has_no_room_is_not_made(stage: &Stage) {
        let shop = listening(stage, "1", &[(1, "default", "a/", ALL), (2, "default", "a/both", ALL)]);
        let kv = stage.under_events(EventQuota { events: 2, bytes: 1 << 20 });
        let write = |key: &str, write| kv.write(&caller(&shop), place(key), write);
        write("a/1", set(None)).unwrap();
        // Two events, and room for one: neither is made.
        assert!(is_full(&write("a/both", set(None))));
        write("a/2", set(None)).unwrap();
        for (key, change) in [("a/3", set(None)), ("a/1", KvWrite::Delete), ("a/2", KvWrite::Increment(1))] {
            assert!(is_full(&write(key, change)), "{key}");
        }
        // Nobody is told of these.
        write("b", set(None)).unwrap();
        write("a/3", KvWrite::Delete).unwrap();
        write("a/3", KvWrite::Swap { expected: Some(7.into()), value: 8.into() }).unwrap();
        assert_eq!(lines(stage), ["1 set default/a/1", "1 set default/a/2"]);
        let there = ["a/1", "a/2", "a/3", "a/both", "b"].map(|key| kv.get(&caller(&shop), &place(key)).unwrap().is_some());
        assert_eq!(there, [true, true, false, false, true]);
        assert_eq!(kv.get(&caller(&shop), &place("a/2")).unwrap(), Some(1.into()));
        let few_bytes = stage.under_events(EventQuota { events: 10, bytes: 10 });
        assert!(is_full(&few_bytes.write(&caller(&shop), place("a/4"), set(None))));
        the_accounts_are_right(stage);
    }

    fn what_has_expired_stays_where_there_is_no_room_for_its_event_and_holds_up_no_other_app(stage: &Stage) {
        let (shop, quiet) = (listening(stage, "1", &[(1, "default", "", &["expire"])]), listening(stage, "1", &[]));
        for app in [&shop, &quiet] {
            for key in ["1", "2", "3"] {
                stage.kv.write(&caller(app), place(key), set(Some(1))).unwrap();
            }
        }
        stage.clock.advance(Duration::from_secs(1));
        let full = stage.under_events(EventQuota { events: 1, bytes: 1 << 20 });
        let sweep = |kv: &Kv| stage.runtime.block_on(kv.sweep()).unwrap();
        assert_eq!((sweep(&full), sweep(&full)), (4, 0));
        assert_eq!(lines(stage).len(), 1);
        assert_eq!(full.get(&caller(&shop), &place("3")).unwrap(), None);
        the_accounts_are_right(stage);
        assert_eq!((sweep(&stage.kv), lines(stage).len()), (2, 3));
        the_accounts_are_right(stage);
    }

    fn what_has_waited_for_room_for_its_event_for_an_hour_goes_without_it(stage: &Stage) {
        let shop = listening(stage, "1", &[(1, "default", "", &["expire"])]);
        for (key, ttl) in [("1", 1), ("2", 2), ("3", 3), ("late", 3_000)] {
            stage.kv.write(&caller(&shop), place(key), set(Some(ttl))).unwrap();
        }
        let full = stage.under_events(EventQuota { events: 1, bytes: 1 << 20 });
        let sweep = |kv: &Kv| stage.runtime.block_on(kv.sweep()).unwrap();
        stage.clock.advance(Duration::from_secs(3_599));
        assert_eq!((sweep(&full), sweep(&full)), (1, 0), "one is told of, and the others wait");
        stage.clock.advance(Duration::from_secs(3));
        assert_eq!((sweep(&full), lines(stage).len()), (1, 1), "the second has waited for an hour");
        stage.clock.advance(Duration::from_secs(1));
        assert_eq!((sweep(&full), lines(stage).len()), (1, 1), "and now the third");
        the_accounts_are_right(stage);
        assert_eq!((sweep(&stage.kv), lines(stage).len()), (1, 2), "where there is room, the last one is told of");
        the_accounts_are_right(stage);
    }

    fn what_has_expired_is_told_of_where_it_gives_way_to_what_needs_its_room(stage: &Stage) {
        let shop = listening(stage, "1", &[(1, "default", "old", &["expire"]), (2, "default", "new", &["set"])]);
        let low = stage.under(picloud_manager::kv::KvQuota { keys: 3, bytes: 1 << 20 });
        for key in ["old/1", "old/2", "x"] {
            low.write(&caller(&shop), place(key), set(Some(1))).unwrap();
        }
        stage.clock.advance(Duration::from_secs(1));
        low.write(&caller(&shop), place("new"), set(None)).unwrap();
        let mut lines = lines(stage);
        assert_eq!(lines.pop().as_deref(), Some("2 set default/new"));
        lines.sort_unstable();
        assert_eq!(lines, ["1 expire default/old/1", "1 expire default/old/2"]);
        the_accounts_are_right(stage);
    }

    fn a_transaction_that_fails_keeps_neither_the_change_nor_its_event(stage: &Stage) {
        let shop = listening(stage, "1", &[(1, "default", "a", ALL)]);
        let is_file = stage.test.sqlite_dir().is_some();
        let tamper = |sqlite: &str, postgres: &str| {
            stage.runtime.block_on(stage.test.tamper_with_data(if is_file { sqlite } else { postgres }));
        };
        let write = |key: &str| stage.kv.write(&caller(&shop), place(key), set(None));
        tamper(
            "CREATE TRIGGER never BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END",
            "ALTER TABLE events ADD CONSTRAINT never CHECK (source <> 'kv')",
        );
        assert!(write("a").is_err());
        assert_eq!(stage.kv.get(&caller(&shop), &place("a")).unwrap(), None);
        write("b").unwrap();
        tamper("DROP TRIGGER never", "ALTER TABLE events DROP CONSTRAINT never");
        tamper(
            "CREATE TRIGGER never BEFORE INSERT ON kv_entries BEGIN SELECT RAISE(ABORT, 'no'); END",
            "ALTER TABLE kv_entries ADD CONSTRAINT never CHECK (key <> 'a')",
        );
        assert!(write("a").is_err());
        assert_eq!(lines(stage), [""; 0]);
        tamper("DROP TRIGGER never", "ALTER TABLE kv_entries DROP CONSTRAINT never");
        write("a").unwrap();
        assert_eq!(lines(stage), ["1 set default/a"]);
        the_accounts_are_right(stage);
    }

    fn of_many_writes_at_once_each_is_told_of_in_the_order_in_which_they_were_made(stage: &Stage) {
        let shop = listening(stage, "1", &[(1, "default", "sum", &["set"])]);
        let caller = caller(&shop);
        let write = |writer: usize| {
            for number in 0..20 {
                match number % 4 {
                    // Not an integer: refused, whatever else is in its transaction.
                    0 => assert!(stage.kv.write(&caller, place("text"), KvWrite::Increment(1)).is_err()),
                    // What the app has of events changes by others, too.
                    1 => {
                        let (payload, delay) = (EventPayload::default(), Duration::ZERO);
                        let queue = "mail".parse().unwrap();
                        stage.events.send(&caller, QueueMessage { queue, payload, delay, dedup_key: None }).unwrap();
                    }
                    2 => drop(stage.kv.write(&caller, place(&format!("{writer}")), set(None)).unwrap()),
                    _ => drop(stage.kv.write(&caller, place("sum"), KvWrite::Increment(1)).unwrap()),
                }
            }
        };
        let text = KvWrite::Set { value: picloud_shared::kv::KvValue::of_json("x".into()).unwrap(), ttl: None };
        stage.kv.write(&caller, place("text"), text).unwrap();
        thread::scope(|scope| {
            for writer in 0..16 {
                scope.spawn(move || write(writer));
            }
        });
        let sums: Vec<_> = heard(stage).into_iter().map(|(.., told)| told["value"].as_i64().unwrap()).collect();
        assert_eq!(sums, (1..=16 * 5).collect::<Vec<_>>());
        the_accounts_are_right(stage);
    }

    fn of_many_writes_at_once_as_many_are_made_as_there_is_room_for_their_events(stage: &Stage) {
        let shop = listening(stage, "1", &[(1, "default", "", &["set"])]);
        let kv = stage.under_events(EventQuota { events: 50, bytes: 1 << 20 });
        let write = |number: usize| kv.write(&caller(&shop), place(&number.to_string()), set(None));
        let ends: Vec<_> = thread::scope(|scope| {
            let write = &write;
            let writers = (0..16).map(|writer| scope.spawn(move || (0..8).map(|n| write(writer * 8 + n)).collect::<Vec<_>>()));
            let writers: Vec<_> = writers.collect();
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
        });
        assert_eq!((ends.iter().filter(|end| end.is_ok()).count(), ends.iter().filter(|end| is_full(end)).count()), (50, 78));
        let mut told = lines(stage);
        told.sort_unstable();
        let there = (0..128).filter(|number| ends[*number].is_ok()).map(|number| format!("1 set default/{number}"));
        let mut there: Vec<_> = there.collect();
        there.sort_unstable();
        assert_eq!(told, there);
        the_accounts_are_right(stage);
    }
}
