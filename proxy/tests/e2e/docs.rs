//! What scripts keep as documents, through the gateway of the real program.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::cloud::{TestCloud, on_both_databases};

/// Inserts what is posted, and finds the totals of a customer, the greatest first.
const ORDERS: &str = r#"
    let orders = docs::collection("orders");
    if ctx.request.method == "POST" { return orders.insert(ctx.request.body); }
    let customer = ctx.request.query.customer;
    orders.find(#{ customer: customer }, #{ sort: "-total" }).items.map(|order| order.total)
"#;

on_both_databases! {
    async fn a_published_script_inserts_documents_and_the_next_request_finds_them(database: Database) {
        let mut cloud = TestCloud::start(database).await;
        let script = cloud.publish(ORDERS).await;
        cloud.route(&script, "exact", "/", "POST").await;
        let client = reqwest::Client::new();
        for (customer, total) in [("ada", 5), ("alan", 7), ("ada", 12)] {
            let request = client.post(format!("http://{}/", cloud.address("http"))).header("host", "shop.test");
            let request = request.header("content-type", "application/json");
            let answer = request.body(json!({ "customer": customer, "total": total }).to_string()).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let id = answer.text().await.unwrap();
            let kept = cloud.must(Method::GET, &format!("apps/shop/docs/orders/{id}"), None).await;
            assert_eq!(kept["document"], json!({ "customer": customer, "total": total }));
        }
        let found = async |cloud: &TestCloud| cloud.visit("shop.test", "/?customer=ada").await;
        assert_eq!(found(&cloud).await, (200, "[12,5]".to_owned()));
        // And by an index, which the program builds by itself, and which is there after a kill.
        let indexes = "apps/shop/docs/orders/indexes";
        cloud.must(Method::PUT, indexes, Some(json!({ "fields": ["customer"] }))).await;
        let since = Instant::now();
        while cloud.must(Method::GET, indexes, None).await["indexes"][0]["state"] != "ready" {
            assert!(since.elapsed() < Duration::from_secs(60), "the index is not built");
        }
        assert_eq!(found(&cloud).await, (200, "[12,5]".to_owned()));
        cloud.signal("-KILL");
        assert!(!cloud.ended().success());
        cloud.restart();
        assert_eq!(found(&cloud).await, (200, "[12,5]".to_owned()));
        let held = cloud.must(Method::GET, "apps/shop/docs", None).await;
        assert_eq!((&held["documents"], &held["items"][0]["name"]), (&json!(3), &json!("orders")));
    }
}
