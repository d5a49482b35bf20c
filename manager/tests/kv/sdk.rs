//! What each call gives and throws: the contract of the SDK's module `kv`.

use std::time::{Duration, Instant};

use picloud_executor::port::{KvStore, PortCaller};
use picloud_manager::kv::KvQuota;
use picloud_shared::execution::Outcome;
use picloud_shared::kv::{KvKind, KvPlace, KvValue, KvWrite};
use serde_json::{Value, json};

use crate::stage::{Stage, app, given, on_both};
use crate::test_store::TestStore;
use crate::world::{World, config, limits, publish, publish_endpoints};

on_both! {
    fn each_call_gives_what_it_says(stage: &Stage) {
        for (source, expected) in [
            (r#"kv::get("none")"#, Value::Null),
            (r#"[kv::get("none", 7), kv::has("none")]"#, json!([7, false])),
            (r#"kv::set("a", #{ b: [1, 2.5, "x", true, ()] }); kv::get("a")"#, json!({ "b": [1, 2.5, "x", true, null] })),
            (r#"kv::set("a", ()); [kv::get("a"), kv::get("a", 7), kv::has("a")]"#, json!([null, null, true])),
            (r#"kv::set("a", blob(3, 65)); let b = kv::get("a"); [type_of(b), b.len(), b[0]]"#, json!(["blob", 3, 65])),
            (r#"kv::set("a", "ä\u0000"); kv::get("a").len()"#, json!(2)),
            (r#"kv::set("a", 1); kv::set("a", 2); kv::get("a")"#, json!(2)),
            (r#"kv::set("a", 1); [kv::delete("a"), kv::delete("a"), kv::has("a")]"#, json!([true, false, false])),
            (r#"[kv::incr("n", 5), kv::incr("n", -7), kv::get("n")]"#, json!([5, -2, -2])),
            (r#"[kv::cas("a", (), 1), kv::cas("a", (), 2), kv::cas("a", 1, 3), kv::get("a")]"#, json!([true, false, true, 3])),
            (r#"kv::set("a", #{ x: 1, y: [2] }); kv::cas("a", #{ y: [2], x: 1 }, 9)"#, json!(true)),
            (r#"kv::set("a", 1.0); [kv::cas("a", 1, 2), kv::cas("a", kv::get("a"), 2)]"#, json!([false, true])),
            (r#"kv::set("a", blob(2, 1)); kv::cas("a", blob(2, 1), 2)"#, json!(true)),
            // What is read first is not changed by what is done to it.
            (r#"kv::set("a", [1]); let x = kv::get("a"); x.push(2); kv::get("a")"#, json!([1])),
            (r#"let k = "k"; k.pad(512, "k"); kv::set(k, 1); kv::get(k)"#, json!(1)),
        ] {
            assert_eq!(stage.gives(source), expected, "{source}");
        }
    }

    fn what_is_invoked_keeps_what_the_app_keeps(stage: &Stage) {
        let app = publish_endpoints(&[
            ("main", "kv::set(\"a\", 1); [invoke(\"add\", 2).body, kv::get(\"a\")]", limits()),
            ("add", "kv::incr(\"a\", ctx.request.body)", limits()),
        ]);
        assert_eq!(given(&stage.call(&app, "main"), "main"), json!([3, 3]));
    }

    fn collections_are_apart_and_default_is_that_of_the_functions(stage: &Stage) {
        let source = r#"
            let users = kv::collection("users");
            users.set("a", 1);
            users.incr("n", 2);
            kv::set("a", 3);
            [
                users.get("a"), users.get("b", 9), users.has("n"), users.cas("a", 1, 4), users.get("a"),
                kv::get("a"), kv::has("n"), kv::collection("default").get("a"), users.delete("a"), users.has("a"),
                users.list().items,
            ]
        "#;
        let expected = json!([1, 9, true, true, 4, 3, false, 3, true, false, [{ "key": "n", "value": 2 }]]);
        assert_eq!(stage.gives(source), expected);
    }

    fn lists_go_by_bytes_in_pages_within_a_prefix(stage: &Stage) {
        let source = r#"
            for key in ["b", "a/2", "a/10", "a", "é", "a/é", "a0", "B"] { kv::set(key, 1); }
            let keys = |page| page.items.map(|item| item.key);
            let first = kv::list(#{ prefix: "a", limit: 3 });
            let rest = kv::list(#{ prefix: "a", limit: 3, cursor: first.cursor });
            let all = kv::list();
            [
                keys.call(first), keys.call(rest), rest.cursor, keys.call(all), all.cursor,
                keys.call(kv::list(#{ prefix: "z" })), keys.call(kv::list(#{ cursor: "a/é" })),
                keys.call(kv::list(#{ cursor: () , limit: 8 })).len(),
            ]
        "#;
        assert_eq!(stage.gives(source), json!([
            ["a", "a/10", "a/2"], ["a/é", "a0"], null, ["B", "a", "a/10", "a/2", "a/é", "a0", "b", "é"], null,
            [], ["a0", "b", "é"], 8,
        ]));
    }

    fn a_page_ends_by_its_bytes_and_goes_on_after_them(stage: &Stage) {
        // Five values of 80 KB and one of 200 KB: a page has 192 KiB, or one that is larger.
        let source = r#"
            let big = ""; big.pad(80000, "x");
            for n in 0..5 { kv::set("k" + n, big); }
            big.pad(200000, "x");
            kv::set("k5", big);
            let lengths = [];
            let cursor = ();
            for n in 0..9 {
                let page = kv::list(#{ cursor: cursor });
                lengths.push(page.items.len());
                cursor = page.cursor;
                if cursor == () { break; }
            }
            lengths
        "#;
        assert_eq!(stage.gives(source), json!([2, 2, 1, 1]));
    }

    fn a_list_leads_past_what_is_too_large_for_the_script(stage: &Stage) {
        let source = r#"
            let found = [];
            let cursor = ();
            loop {
                let page = kv::list(#{ cursor: cursor });
                for item in page.items {
                    let value = item.value;
                    found.push([item.key, if type_of(value) == "array" { value.len() } else { value }, item.too_large]);
                }
                cursor = page.cursor;
                if cursor == () { break; }
            }
            found
        "#;
        let shop = app(&[("main", source)]);
        let caller = PortCaller { app: shop.0.app().id, deadline: Instant::now() + Duration::from_secs(60), event_depth: 0 };
        // One more than an array and a blob may have, and twice as many as fit together.
        let array = |count: usize| KvValue::of_json(json!(vec![0; count])).unwrap();
        let blob = KvValue::new(KvKind::Blob, vec![0; 10_001]).unwrap();
        for (key, value) in [("a", 1.into()), ("b", array(10_001)), ("c", blob), ("d", array(9_000)), ("e", array(9_000))] {
            let place = KvPlace { collection: "default".parse().unwrap(), key: key.parse().unwrap() };
            stage.kv.write(&caller, place, KvWrite::Set { value, ttl: None }).unwrap();
        }
        let listed = given(&stage.call(&shop, "main"), source);
        assert_eq!(listed, json!([
            ["a", 1, null], ["b", null, true], ["c", null, true], ["d", 9_000, null], ["e", 9_000, null],
        ]));
    }

    fn what_cannot_be_done_is_thrown_with_a_code_and_a_message(stage: &Stage) {
        for (call, code, message) in [
            (r#"kv::get("")"#, "invalid", "kv::get: a key is 1 to 512 bytes"),
            (r#"let k = "k"; k.pad(513, "k"); kv::set(k, 1)"#, "invalid", "kv::set: a key is"),
            ("kv::set(\"a\\x00\", 1)", "invalid", "without NUL"),
            (r#"kv::collection("Users")"#, "invalid", "a collection's name is"),
            (r#"kv::set("a", || 1)"#, "invalid", "a function cannot be written"),
            (r#"kv::set("a", timestamp())"#, "invalid", "timestamp cannot be written"),
            (r#"kv::set("a", 0.0 / 0.0)"#, "invalid", "NaN cannot be written"),
            (r#"kv::set("a", 1.0 / 0.0)"#, "invalid", "inf cannot be written"),
            (r#"kv::set("a", [ctx])"#, "invalid", "Context cannot be written"),
            (r#"let s = ""; s.pad(262143, "x"); kv::set("a", s)"#, "invalid", "at most 262144 bytes"),
            (r#"kv::set("a", 1, #{ ttl: 0 })"#, "invalid", "ttl is an integer of seconds"),
            (r#"kv::set("a", 1, #{ ttl: 1.5 })"#, "invalid", "ttl is an integer of seconds"),
            (r#"kv::set("a", 1, #{ ttl: 315360001 })"#, "invalid", "ttl is an integer of seconds"),
            (r#"kv::set("a", 1, #{ tll: 1 })"#, "invalid", "no option tll"),
            (r#"kv::list(#{ limit: 0 })"#, "invalid", "limit is an integer from 1 to 500"),
            (r#"kv::list(#{ limit: 501 })"#, "invalid", "limit is an integer from 1 to 500"),
            (r#"kv::list(#{ prefix: 1 })"#, "invalid", "prefix is a string"),
            (r#"kv::list(#{ cursor: 1 })"#, "invalid", "cursor is what"),
            (r#"kv::list(#{ page: 1 })"#, "invalid", "no option page"),
            (r#"kv::set("a", "x"); kv::incr("a", 1)"#, "not_an_integer", "not an integer"),
            (r#"kv::set("a", 9223372036854775807); kv::incr("a", 1)"#, "overflow", "beyond 64 bits"),
        ] {
            let source = format!("try {{ {call}; }} catch (error) {{ return [error.code, error.message]; }}");
            let thrown = stage.gives(&source);
            assert_eq!(thrown[0], code, "{call}: {thrown}");
            assert!(thrown[1].as_str().unwrap().contains(message), "{call}: {thrown}");
        }
    }

    fn what_is_refused_changes_nothing(stage: &Stage) {
        let source = r#"
            kv::set("a", "x");
            try { kv::incr("a", 1); } catch { }
            try { kv::set("a", || 1); } catch { }
            [kv::get("a"), kv::cas("a", "y", 1), kv::get("a")]
        "#;
        assert_eq!(stage.gives(source), json!(["x", false, "x"]));
    }

    fn no_app_sees_what_another_keeps(stage: &Stage) {
        let source = r#"kv::incr("n", 1); kv::collection("c").incr("n", 1)"#;
        let (one, other) = (app(&[("main", source)]), app(&[("main", source)]));
        for expected in 1..=3 {
            assert_eq!(given(&stage.call(&one, "main"), source), json!(expected));
        }
        assert_eq!(given(&stage.call(&other, "main"), source), json!(1));
    }

    fn a_run_that_moves_to_a_worker_does_nothing_twice(stage: &Stage) {
        let source = r#"log::info("once"); let n = kv::incr("n", 1); log::info("twice"); n"#;
        let counting = app(&[("main", source)]);
        for expected in 1..=40 {
            let completion = stage.call(&counting, "main");
            assert_eq!(given(&completion, source), json!(expected));
            assert_eq!(completion.logs.len(), 2);
        }
    }

    fn modules_reach_the_store_of_the_app_that_runs(stage: &Stage) {
        let counter = r#"fn next(key) { kv::collection("counters").incr(key, 1) }"#;
        let source = r#"import "counter" as counter; [counter::next("a"), counter::next("a")]"#;
        let scripts = app(&[("main", source), ("counter", counter)]);
        assert_eq!(given(&stage.call(&scripts, "main"), source), json!([1, 2]));
    }
}

fn quota_is_kept(stage: &Stage) {
    let source = r#"
        let thrown = |work| { try { work.call(); "kept" } catch (error) { return error.code; } };
        let big = ""; big.pad(600, "x");
        [
            thrown.call(|| kv::set("a", 1)), thrown.call(|| kv::set("b", 1)), thrown.call(|| kv::set("c", 1)),
            thrown.call(|| kv::collection("other").set("c", 1)),
            thrown.call(|| kv::set("a", big)), thrown.call(|| kv::set("b", big)), thrown.call(|| kv::incr("z", 1)),
            kv::delete("a"), thrown.call(|| kv::set("b", big)), thrown.call(|| kv::cas("c", (), 1)), kv::get("b").len(),
        ]
    "#;
    let full = "quota_exceeded";
    let expected = json!(["kept", "kept", full, full, "kept", full, full, true, "kept", "kept", 600]);
    assert_eq!(stage.gives(source), expected);
    // Of each app.
    assert_eq!(stage.gives(source), expected);
}

const SMALL: KvQuota = KvQuota { keys: 2, bytes: 1_000 };

#[test]
fn what_is_over_the_quota_is_refused_and_room_that_is_made_is_used() {
    quota_is_kept(&Stage::with(TestStore::sqlite(), SMALL, config()));
    quota_is_kept(&Stage::with(TestStore::postgres(), SMALL, config()));
}

#[test]
fn where_there_is_no_store_a_call_throws_that_it_is_unavailable() {
    let world = World::new();
    let source = r#"try { kv::get("a") } catch (error) { return error.code; }"#;
    let published = publish(&[("main", source)], limits());
    for _ in 0..3 {
        assert_eq!(crate::world::text(&world.run(published.call("main"))), "unavailable");
    }
    let uncaught = world.eval(r#"kv::get("a")"#);
    assert_eq!(uncaught.outcome, Outcome::Error);
    let failure = uncaught.failure.unwrap();
    assert!(failure.message.contains("unavailable") && failure.line == Some(1), "{failure:?}");
}
