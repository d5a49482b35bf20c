//! Deployments beside each other and beside other changes.

use picloud_manager::repo::config::{self, Part};
use picloud_manager::repo::scripts;
use picloud_manager::store::Store;
use picloud_shared::id::{AppId, ScriptId};
use serde_json::json;

use super::{changes, deploy, document, module, script, shop};
use crate::world::{World, id};

async fn of_deployments_at_once_each_is_whole(store: &Store) {
    let world = World::start(store).await;
    let (owner, _) = shop(&world).await;
    let version = |n: usize| {
        let source = format!("import \"lib\" as l; `{n} ${{l::n()}}`");
        document(&[script("page", &source, &["/"]), module("lib", &format!("fn n() {{ {n} }}"))])
    };
    let deployments = (0..6).map(|n| {
        let (owner, document) = (owner.clone(), version(n));
        async move { deploy(&owner, "shop", &document).await }
    });
    for answer in futures_util::future::join_all(deployments).await {
        match answer.status.as_u16() {
            200 => {}
            _ => drop(answer.problem(503, "overloaded")),
        }
    }
    let answer = world.fetch("GET", "http://shop.example.com/").await;
    let (page, lib) = answer.split_once(' ').unwrap();
    assert_eq!(page, lib, "no mixture");
}

async fn a_deployment_that_others_overtake_is_planned_anew_and_at_last_refused(store: &Store) {
    let world = World::start(store).await;
    let (owner, app) = shop(&world).await;
    let app: AppId = id(&app).parse().unwrap();
    deploy(&owner, "shop", &document(&[script("page", "`old`", &["/"])])).await.is(200);
    let page: ScriptId = id(&owner.get("/scripts?app=shop").await.is(200)["items"][0]).parse().unwrap();
    let new = document(&[script("page", "`new`", &["/"])]);

    let mut turn = store.begin().await.unwrap();
    let deployment = tokio::spawn({
        let (owner, new) = (owner.clone(), new.clone());
        async move { deploy(&owner, "shop", &new).await }
    });
    let mut changed = 0;
    while !deployment.is_finished() {
        changed += 1;
        let change = async {
            let mut meta = scripts::find_meta(&mut turn, page).await.unwrap().unwrap();
            meta.description = format!("Changed {changed} times.");
            assert!(scripts::update(&mut turn, &meta).await.unwrap());
            config::bump(&mut turn, app, Part::Script(page)).await.unwrap();
            turn.commit().await.unwrap();
        };
        // The next change stands in line before this one ends: whenever it is the deployment's turn, something has changed since
        // it was planned.
        let (next, ()) = tokio::join!(store.begin(), change);
        turn = next.unwrap();
    }
    drop(turn);
    let refused = deployment.await.unwrap().problem(503, "overloaded");
    assert!(refused["detail"].as_str().unwrap().contains("others keep changing"), "{refused}");
    let kept = owner.get(&format!("/scripts/{page}")).await.is(200);
    assert_eq!((&kept["source"], &kept["version"]), (&json!("`old`"), &json!(1)), "nothing is done by an old plan");
    let done = deploy(&owner, "shop", &new).await.is(200);
    assert_eq!(changes(&done), ["update script page"]);
    let kept = owner.get(&format!("/scripts/{page}")).await.is(200);
    assert_eq!((&kept["source"], &kept["description"]), (&json!("`new`"), &json!("")), "as it was to be");
    assert_eq!(world.fetch("GET", "http://shop.example.com/").await, "new");
}

on_both! {
    of_deployments_at_once_each_is_whole,
    a_deployment_that_others_overtake_is_planned_anew_and_at_last_refused,
}
