//! Charts of executions, and how large the instance is.

use std::time::Duration;

use picloud_manager::repo::role::{AppRole, InstanceRole};
use picloud_manager::store::Store;
use picloud_shared::gauges::{DiskSpace, Durations, NodeSample, ProcessUse, RequestCounts, place_of};
use serde_json::{Value, json};

use crate::world::{World, id};

/// The points of a chart with something in them: when, how many, how many of these failed.
fn points(chart: &Value) -> Vec<(&str, u64, u64)> {
    let points = chart["points"].as_array().unwrap().iter().filter(|point| point["count"] != 0);
    points
        .map(|point| {
            (point["at"].as_str().unwrap(), point["count"].as_u64().unwrap(), point["error"].as_u64().unwrap())
        })
        .collect()
}

async fn a_chart_counts_every_execution_minute_by_minute(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.example.com").await;
    let good = owner.make_endpoint(&app, "good", "1").await;
    let bad = owner.make_endpoint(&app, "bad", "throw 1").await;
    owner.make_route(&good, "/good").await;
    owner.make_route(&bad, "/bad").await;
    // The clock of the world begins at a whole hour: 2027-01-15T08:00.
    for (url, count) in [("/good", 3), ("/bad", 1)] {
        for _ in 0..count {
            world.fetch("GET", &format!("http://shop.example.com{url}")).await;
        }
    }
    world.fetch("GET", "http://localhost/").await;
    world.clock.advance(Duration::from_secs(90));
    world.fetch("GET", "http://shop.example.com/good").await;
    world.clock.advance(Duration::from_secs(60 * 60));
    world.fetch("GET", "http://shop.example.com/bad").await;
    let chart = async |query: &str| owner.get(&format!("/apps/shop/stats{query}")).await.is(200);
    let by_minute = chart("?resolution=minute&since=2027-01-15T08:00:00Z").await;
    let [first, second, third] = ["2027-01-15T08:00:00.000Z", "2027-01-15T08:01:00.000Z", "2027-01-15T09:01:00.000Z"];
    assert_eq!(points(&by_minute), [(first, 4, 1), (second, 1, 0), (third, 1, 1)]);
    assert_eq!(by_minute["points"].as_array().unwrap().len(), 62, "without gaps, up to this very minute");
    let by_hour = chart("").await;
    let nine = "2027-01-15T09:00:00.000Z";
    assert_eq!((by_hour["resolution"].as_str(), points(&by_hour)), (Some("hour"), vec![(first, 5, 1), (nine, 1, 1)]));
    assert_eq!(by_hour["points"].as_array().unwrap().len(), 24);
    let day = chart("?resolution=day").await;
    assert_eq!(points(&day), [("2027-01-15T00:00:00.000Z", 6, 2)]);
    let of_script = chart(&format!("?resolution=day&script_id={}", id(&bad))).await;
    assert_eq!(points(&of_script), [("2027-01-15T00:00:00.000Z", 2, 2)]);
    let before = chart("?resolution=hour&until=2027-01-15T09:00:00Z").await;
    assert_eq!(points(&before), [(first, 5, 1)]);
    let whole = owner.get("/stats?resolution=day").await.is(200);
    assert_eq!(points(&whole["executions"]), [("2027-01-15T00:00:00.000Z", 7, 2)]);
}

async fn what_no_chart_can_be_is_refused_by_field(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let other = owner.make_app("blog").await;
    let foreign = owner.make_endpoint(&other, "page", "1").await;
    owner.make_endpoint(&app, "page", "1").await;
    for (query, field) in [
        ("resolution=week", "resolution"),
        ("since=yesterday", "since"),
        ("until=2027-01-01T00:00:00Z&since=2027-01-01T00:00:00Z", "until"),
        ("until=2026-01-01T00:00:00Z&since=2027-01-01T00:00:00Z", "until"),
        ("resolution=minute&since=2027-01-01T00:00:00Z", "since"),
        ("since=0001-01-01T00:00:00Z", "since"),
        ("until=10000-01-01T00:00:00Z", "until"),
        (&format!("script_id={}", id(&foreign)), "script_id"),
        ("script_id=x", "script_id"),
        ("limit=1", "limit"),
    ] {
        let answer = owner.get(&format!("/apps/shop/stats?{query}")).await;
        assert_eq!(answer.invalid_fields(), [field], "{query}");
    }
    let at_the_end_of_time = owner.get("/apps/shop/stats?until=9999-12-30T00:00:00Z").await.is(200);
    assert_eq!(at_the_end_of_time["points"].as_array().unwrap().len(), 24);
    assert_eq!(owner.get("/stats?resolution=week").await.invalid_fields(), ["resolution"]);
    let logs = format!("/apps/shop/logs?script_id={}", id(&foreign));
    assert_eq!(owner.get(&logs).await.invalid_fields(), ["script_id"]);
}

async fn the_log_of_an_app_is_read_script_by_script(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    owner.make_domain(&app, "shop.example.com").await;
    let [one, two] = [owner.make_endpoint(&app, "one", "1").await, owner.make_endpoint(&app, "two", "2").await];
    owner.make_route(&one, "/one").await;
    owner.make_route(&two, "/two").await;
    for url in ["/one", "/two", "/two"] {
        world.fetch("GET", &format!("http://shop.example.com{url}")).await;
    }
    let of_two = owner.get(&format!("/apps/shop/logs?script_id={}", id(&two))).await.is(200);
    assert_eq!(of_two["total"], 2);
    assert!(of_two["items"].as_array().unwrap().iter().all(|row| row["script_id"] == two["id"]), "{of_two}");
}

async fn the_instance_tells_its_sizes_to_those_who_run_it(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let admin = world.user("adam", InstanceRole::Admin).await;
    let app = owner.make_app("shop").await;
    owner.make_endpoint(&app, "page", "1").await;
    let member = world.member("mia", &app, AppRole::AppAdmin).await;
    world.fetch("GET", "http://localhost/").await;
    let stats = admin.get("/stats").await.is(200);
    let counts = ["apps", "domains", "scripts", "routes", "users"].map(|name| stats[name].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 2, 1, 3]);
    assert_eq!(stats["store"], if store.is_sqlite() { "sqlite" } else { "postgres" });
    assert!(stats["store_bytes"].as_u64().unwrap() > 10_000);
    assert_eq!((&stats["log"]["records"], &stats["log"]["dropped"]), (&json!(1), &json!(0)));
    member.get("/stats").await.problem(403, "forbidden");
    member.get("/apps/shop/stats").await.is(200);
    member.get("/apps/default/stats").await.problem(404, "not_found");
}

/// What a node has done and taken.
fn taken(good: u64, server_error: u64, took: &[Duration], written: u64, free: u64) -> NodeSample {
    let mut durations = Durations::default();
    for took in took {
        durations.0[place_of(*took)] += 1;
    }
    let process = ProcessUse {
        resident_bytes: 50 << 20,
        virtual_bytes: 1 << 30,
        threads: 12,
        cpu: Duration::from_secs(1),
        open_files: Some(40),
        max_open_files: Some(1024),
        written_bytes: Some(written),
    };
    NodeSample {
        requests: RequestCounts { good, server_error, ..RequestCounts::default() },
        durations,
        log_lines_dropped: 0,
        process: Some(process),
        disk: Some(DiskSpace { free, size: 100 << 30 }),
    }
}

async fn a_node_tells_what_it_does_and_takes_to_those_who_run_the_instance(store: &Store) {
    let world = World::start(store).await;
    let (owner, admin) = (world.owner().await, world.user("adam", InstanceRole::Admin).await);
    let app = owner.make_app("shop").await;
    let member = world.member("mia", &app, AppRole::AppAdmin).await;
    member.get("/stats/node").await.problem(403, "forbidden");
    assert_eq!(owner.get("/stats/node?resolution=week").await.invalid_fields(), ["resolution"]);
    assert_eq!(owner.get("/stats/node?since=2027-01-15T08:00:00Z").await.invalid_fields(), ["since"]);

    let [fast, slow] = [Duration::from_micros(90), Duration::from_millis(30)];
    *world.gauges.0.lock().unwrap() = taken(10, 0, &[fast; 10], 4096, 2 << 30);
    let first = admin.get("/stats/node?resolution=minute").await.is(200);
    assert_eq!((&first["disk"]["is_low"], &first["process"]["threads"]), (&json!(false), &json!(12)));
    world.clock.advance(Duration::from_secs(60));
    *world.gauges.0.lock().unwrap() = taken(14, 6, &[&[fast; 10][..], &[slow; 10]].concat(), 12_288, 1 << 20);
    let later = admin.get("/stats/node?resolution=minute").await.is(200);
    assert_eq!((&later["disk"]["is_low"], &later["disk"]["low_below_bytes"]), (&json!(true), &json!(1 << 30)));
    assert_eq!((&later["written"]["bytes"], &later["written"]["since"]), (&json!(12_288), &first["since"]));
    let point = later["points"].as_array().unwrap().last().unwrap();
    assert_eq!((&point["requests"], &point["server_errors"]), (&json!(10), &json!(6)), "{point}");
    assert_eq!((&point["written_bytes"], &point["disk_free_bytes"]), (&json!(8192), &json!(1 << 20)), "{point}");
    for percentile in ["p50_us", "p99_us"] {
        assert!((25_000..=35_000).contains(&point[percentile].as_u64().unwrap()), "{point}");
    }
    let by_day = admin.get("/stats/node?resolution=day").await.is(200);
    assert_eq!(by_day["points"][0]["requests"], 20);
}

on_both! {
    a_chart_counts_every_execution_minute_by_minute,
    what_no_chart_can_be_is_refused_by_field,
    the_log_of_an_app_is_read_script_by_script,
    the_instance_tells_its_sizes_to_those_who_run_it,
    a_node_tells_what_it_does_and_takes_to_those_who_run_the_instance,
}
