//! The main job: from a fresh start to a published endpoint and its execution record.

use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Home, OWNER, TestCloud, on_both_databases, text};

on_both_databases! {
    async fn an_operator_gets_from_nothing_to_a_published_endpoint(database: Database) {
        let mut cloud = TestCloud::start_with(Home::new(database), |_| {});
        let port = cloud.address("http").port();
        for localhost in ["localhost".to_owned(), format!("LOCALHOST.:{port}")] {
            assert_eq!(cloud.visit(&localhost, "/").await, (200, "Hello World\n".to_owned()), "{localhost}");
        }

        let link = cloud.announced("First of all:").expect("a set-up link").to_owned();
        let token = link.split_once("#token=").expect("a token").1;
        let owner = json!({"token": token, "username": OWNER.0, "password": OWNER.1});
        let session = cloud.must(Method::POST, "auth/setup", Some(owner.clone())).await;
        let (again, problem) = cloud.api(Method::POST, "auth/setup", Some(owner)).await;
        assert!((400..500).contains(&again), "the link is valid once: {again} {problem}");
        cloud.use_session(&session);

        let app = cloud.app("shop", "shop.test").await;
        let (status, problem) = cloud.visit("shop.test", "/greet/ada").await;
        assert_eq!((status, code(&problem)), (404, json!("no_route")));
        let script = cloud.script(&app, "greet", "endpoint", "#{hello: ctx.request.params.name}").await;
        cloud.route(&script, "param", "/greet/:name", "GET").await;
        let greeting = r#"{"hello":"Gräfin"}"#.to_owned();
        assert_eq!(cloud.visit("shop.test", "/greet/Gr%C3%A4fin").await, (200, greeting), "the very next request");
        cloud.edit(&script, "`edited`").await;
        assert_eq!(cloud.visit("shop.test", "/greet/ada").await, (200, "edited".to_owned()), "the very next request");

        let logs = cloud.must(Method::GET, &format!("scripts/{script}/logs"), None).await;
        let versions = [&logs["items"][0]["version"], &logs["items"][1]["version"]];
        assert_eq!((&logs["total"], versions), (&json!(2), [&json!(2), &json!(1)]));
    }

    async fn every_execution_leaves_its_record_with_log_lines(database: Database) {
        let cloud = TestCloud::start(database).await;
        let source = r#"
            log::info("asked", #{by: ctx.request.query.by});
            if ctx.request.query.by == "nobody" { throw "nobody asked" }
            "answered"
        "#;
        let script = cloud.publish(source).await;
        cloud.route(&script, "exact", "/ask", "ANY").await;
        let good = cloud.request(Method::POST, "shop.test", "/ask?by=ada").body("why?").send().await.unwrap();
        let execution = good.headers()["x-execution-id"].to_str().unwrap().to_owned();
        assert_eq!(good.text().await.unwrap(), "answered");
        let (status, problem) = cloud.visit("shop.test", "/ask?by=nobody").await;
        assert_eq!((status, code(&problem)), (500, json!("script_error")));
        assert!(!problem.contains("nobody asked"), "the public learns no more than that it failed: {problem}");

        let logs = cloud.must(Method::GET, &format!("scripts/{script}/logs"), None).await;
        assert_eq!(logs["total"], 2);
        let [bad, good] = [&logs["items"][0], &logs["items"][1]];
        assert_eq!(good["execution_id"], execution.as_str());
        assert_eq!(good["outcome"], "success");
        assert_eq!(good["status"], 200);
        assert_eq!(good["request"]["method"], "POST");
        assert_eq!(good["logs"][0]["message"], "asked");
        assert_eq!(good["logs"][0]["data"], json!({"by": "ada"}));
        assert_eq!(bad["outcome"], "error");
        assert_eq!(bad["status"], 500);
        assert!(text(&bad["error"]["message"]).contains("nobody asked"), "{bad}");
    }

    async fn a_deleted_claim_stops_answering_and_can_be_claimed_by_another_app(database: Database) {
        let cloud = TestCloud::start(database).await;
        cloud.publish("ctx.app.slug").await;
        assert_eq!(cloud.visit("shop.test", "/").await.1, "shop");

        let other = json!({"slug": "other", "name": "other"});
        let other = text(&cloud.must(Method::POST, "apps", Some(other)).await["id"]);
        let claim = Some(json!({"pattern": "shop.test"}));
        let (status, problem) = cloud.api(Method::POST, "apps/other/domains", claim.clone()).await;
        assert_eq!((status, &problem["code"]), (409, &json!("domain_claimed")));

        let domains = cloud.must(Method::GET, "apps/shop/domains", None).await;
        let domain = text(&domains["items"][0]["id"]);
        cloud.must(Method::DELETE, &format!("apps/shop/domains/{domain}"), None).await;
        let (status, problem) = cloud.visit("shop.test", "/").await;
        assert_eq!((status, code(&problem)), (404, json!("unknown_host")));

        cloud.must(Method::POST, "apps/other/domains", claim).await;
        let script = cloud.script(&other, "who", "endpoint", "ctx.app.slug").await;
        cloud.route(&script, "prefix", "/*", "ANY").await;
        assert_eq!(cloud.visit("shop.test", "/x").await.1, "other");
    }
}

/// The code of a problem document.
fn code(problem: &str) -> Value {
    let problem: Value = serde_json::from_str(problem).unwrap_or_else(|_| panic!("no problem document: {problem}"));
    problem["code"].clone()
}
