//! The nodes of an instance: who is told of, who may join, and what they count together.

use std::time::Duration;

use picloud_manager::StartError;
use serde_json::{Value, json};

use crate::test_store::TestStore;
use crate::world::{OWNER, PASSWORD, World, config, id};

/// A row as another node writes it, live from now on for so many milliseconds.
fn other_node(name: &str, wire: u32, live_ms: i64, is_postgres: bool) -> String {
    let (id, now) = match is_postgres {
        true => ("gen_random_uuid()", "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint"),
        false => ("randomblob(16)", "0"),
    };
    format!(
        "INSERT INTO nodes (id, name, role, product, wire, schema_version, address, snapshot_version, started_at, last_seen_at, \
         live_until) VALUES ({id}, '{name}', 'edge', '9.9.9', {wire}, 1, NULL, 7, 0, 0, {now} + ({live_ms}))"
    )
}

fn names(list: &Value) -> Vec<&str> {
    list["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect()
}

async fn each_node_is_told_with_what_it_serves_and_whether_it_lives(test: &TestStore) {
    let world = World::start(&test.store).await;
    let owner = world.owner().await;
    owner.make_app("shop").await;
    let list = owner.get("/nodes").await.is(200);
    let [own] = &list["nodes"].as_array().unwrap()[..] else { panic!("{list}") };
    assert_eq!(
        (&own["name"], &own["role"], &own["is_live"], &own["is_this"]),
        (&json!("pi"), &json!("full"), &json!(true), &json!(true))
    );
    assert_eq!(own["snapshot_version"], json!(world.snapshot.load().version()));
    assert!(id(own).parse::<uuid::Uuid>().is_ok());

    let is_postgres = test.sqlite_dir().is_none();
    for (name, live_ms) in [("live", 1_000_000), ("dead", -1)] {
        test.tamper(&other_node(name, 1, live_ms, is_postgres)).await;
    }
    let list = owner.get("/nodes").await.is(200);
    let live = |name: &str| {
        list["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name).unwrap()["is_live"] == true
    };
    assert_eq!((live("pi"), live("live"), live("dead")), (true, is_postgres, false), "{list}");
    // The next one to start forgets those that have been dead for a day, and what its machine ran before; of SQLite's, which are
    // alone, all others.
    for (name, live_ms) in [("long dead", -86_500_000), ("pi", -1)] {
        test.tamper(&other_node(name, 1, live_ms, is_postgres)).await;
    }
    let next = World::start(&test.store).await;
    let list = next.owner().await.get("/nodes").await.is(200);
    let (mut names, expected) = (names(&list), if is_postgres { vec!["dead", "live", "pi", "pi"] } else { vec!["pi"] });
    names.sort_unstable();
    assert_eq!(names, expected);
}

async fn a_node_that_speaks_otherwise_than_a_live_one_does_not_start(test: &TestStore) {
    let is_postgres = test.sqlite_dir().is_none();
    test.tamper(&other_node("old", 99, 1_000_000, is_postgres)).await;
    let refused = World::try_start_with(&test.store, config()).await.err();
    if !is_postgres {
        assert!(refused.is_none(), "another one on SQLite has ended");
        return;
    }
    let refused = refused.unwrap();
    assert!(matches!(refused, StartError::Join(_)), "{refused:?}");
    let said = refused.to_string();
    assert!(said.contains("node old") && said.contains("version 99") && said.contains("9.9.9"), "{said}");
    test.tamper("UPDATE nodes SET live_until = live_until - 1000001").await;
    World::start(&test.store).await;
}

async fn failures_to_sign_in_count_at_all_nodes_together(test: &TestStore) {
    if test.sqlite_dir().is_some() {
        return;
    }
    let (here, there) = (World::start(&test.store).await, World::start(&test.store).await);
    let sign_in = async |world: &World, password: &str| {
        let body = json!({ "username": OWNER, "password": password });
        world.stranger().post("/auth/login", body).await
    };
    for guess in 0..5 {
        let world = if guess % 2 == 0 { &here } else { &there };
        sign_in(world, "a wrong password").await.problem(401, "wrong_credentials");
    }
    for world in [&here, &there] {
        sign_in(world, PASSWORD).await.problem(429, "throttled");
    }
    there.clock.advance(Duration::from_secs(1));
    sign_in(&there, PASSWORD).await.is(200);
    // Who signed in at one is forgiven at the other.
    sign_in(&here, PASSWORD).await.is(200);
}

on_both! {
    damaged: each_node_is_told_with_what_it_serves_and_whether_it_lives,
    a_node_that_speaks_otherwise_than_a_live_one_does_not_start,
    failures_to_sign_in_count_at_all_nodes_together,
}
