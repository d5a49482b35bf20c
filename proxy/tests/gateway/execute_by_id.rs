//! Scripts that are run by their id on a host of the dashboard, and what callers see of how a run failed.

use std::time::Duration;

use picloud_shared::script::{ExecuteAccess, LimitPolicy, Limits};

use super::support::gateway::{TestApp, TestGateway, on_large_stacks};
use super::{ask, ask_with, code};

#[test]
fn a_failed_script_tells_the_public_nothing_of_why() {
    on_large_stacks(async {
        let mut app = TestApp::new("shop", &["shop.test"]);
        app.route("GET", "/throw", "throw \"secret reason\"");
        app.route("GET", "/unknown", "nothing_of_the_kind()");
        let quick = Limits {
            timeout: Duration::from_millis(50),
            max_operations: 50_000_000,
            ..LimitPolicy::default().defaults
        };
        let slow = app.script_with("slow", "loop {}", ExecuteAccess::Open, quick);
        let few = Limits { max_operations: 1_000, ..LimitPolicy::default().defaults };
        let costly = app.script_with("costly", "loop {}", ExecuteAccess::Open, few);
        let thrower = app.script("thrower", "\n throw \"secret reason\"");
        let gateway = TestGateway::start(vec![app.publish()]);
        for path in ["/throw", "/unknown"] {
            let answer = ask(&gateway, "GET", "shop.test", path).await;
            assert_eq!((answer.status, code(&answer).as_str()), (500, "script_error"));
            assert!(!answer.body.contains("secret") && !answer.body.contains("nothing_of"), "{}", answer.body);
            assert!(answer.header("x-execution-id").is_some());
        }
        for (id, status, expected) in
            [(slow, 504, "script_timeout"), (costly, 507, "script_budget_exceeded"), (thrower, 500, "script_error")]
        {
            let path = format!("/api/v1/execute/{id}");
            let public = ask(&gateway, "GET", "pi.test", &path).await;
            assert_eq!((public.status, code(&public).as_str()), (status, expected));
            assert!(!public.body.contains("\"message\"") && !public.body.contains("\"limit\""), "{}", public.body);
            let bad = ask_with(&gateway, "GET", "pi.test", &path, "authorization: Bearer bad\r\n", "").await;
            assert!(!bad.body.contains("\"message\""), "{}", bad.body);
            let invoker = ask_with(&gateway, "GET", "pi.test", &path, "authorization: Bearer good\r\n", "").await;
            assert!(invoker.body.contains("\"message\""), "{}", invoker.body);
            if id == thrower {
                assert!(
                    invoker.body.contains("secret reason") && invoker.body.contains("\"line\":2"),
                    "{}",
                    invoker.body
                );
            }
        }
    });
}

#[test]
fn execute_by_id_cannot_touch_the_dashboards_origin() {
    on_large_stacks(async {
        let mut app = TestApp::new("shop", &["shop.test"]);
        let open = app.script("open", r#"
            respond(200, [ctx.request.headers.contains("cookie"), ctx.request.headers.contains("authorization"), ctx.request.method, ctx.request.query.q, ctx.request.text])
                .header("set-cookie", "picloud=stolen").header("clear-site-data", "*").header("service-worker-allowed", "/")
                .header("www-authenticate", "Basic realm=\"PiCloud\"").header("set-login", "logged-out").header("accept-ch", "Sec-CH-UA-Model")
                .header("strict-transport-security", "max-age=1").header("content-security-policy", "default-src 'none'").header("x-own", "kept")
        "#);
        let module = app.module("lib", "fn f() { 1 }");
        let gateway = TestGateway::start(vec![app.publish()]);
        let headers = "cookie: picloud=s3cret\r\nauthorization: Bearer s3cret\r\n";
        let answer =
            ask_with(&gateway, "PUT", "pi.test", &format!("/api/v1/execute/{open}?q=1"), headers, "body").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "[false,false,\"PUT\",\"1\",\"body\"]"));
        for gone in [
            "set-cookie",
            "clear-site-data",
            "service-worker-allowed",
            "strict-transport-security",
            "www-authenticate",
            "set-login",
            "accept-ch",
        ] {
            assert_eq!(answer.header(gone), None, "{gone}");
        }
        let policies: Vec<_> = answer.headers("content-security-policy").collect();
        assert_eq!(policies, ["default-src 'none'", "sandbox"]);
        assert_eq!((answer.header("x-content-type-options"), answer.header("x-own")), (Some("nosniff"), Some("kept")));

        for missing in [module.to_string(), "0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a".to_owned(), "no-id".to_owned()] {
            let answer = ask(&gateway, "GET", "pi.test", &format!("/api/v1/execute/{missing}")).await;
            assert_eq!((answer.status, code(&answer).as_str()), (404, "not_found"));
        }
        let elsewhere = ask(&gateway, "GET", "shop.test", &format!("/api/v1/execute/{open}")).await;
        assert_eq!(code(&elsewhere), "no_route");
    });
}

#[test]
fn a_restricted_script_runs_for_those_who_may_invoke_it() {
    on_large_stacks(async {
        let mut app = TestApp::new("shop", &["shop.test"]);
        let id = app.script_with("r", "\"ran\"", ExecuteAccess::Restricted, LimitPolicy::default().defaults);
        let broken = app.script_with("b", "throw 1", ExecuteAccess::Restricted, LimitPolicy::default().defaults);
        let gateway = TestGateway::start(vec![app.publish()]);
        let path = format!("/api/v1/execute/{id}");
        let nobody = ask(&gateway, "GET", "pi.test", &path).await;
        assert_eq!((nobody.status, code(&nobody).as_str()), (401, "unauthenticated"));
        assert_eq!(nobody.header("www-authenticate"), Some("Bearer"));
        let stranger = ask_with(&gateway, "GET", "pi.test", &path, "authorization: Bearer bad\r\n", "").await;
        assert_eq!((stranger.status, code(&stranger).as_str()), (404, "not_found"));
        assert!(gateway.records.take().is_empty());
        let invoker = ask_with(&gateway, "GET", "pi.test", &path, "authorization: Bearer good\r\n", "").await;
        assert_eq!((invoker.status, invoker.body.as_str()), (200, "ran"));
        gateway.take_authorizations();
        let broken = format!("/api/v1/execute/{broken}");
        let failed = ask_with(&gateway, "GET", "pi.test", &broken, "authorization: Bearer good\r\n", "").await;
        assert!(failed.status == 500 && failed.body.contains("\"message\""), "{}", failed.body);
        assert_eq!(gateway.take_authorizations(), 1, "who may invoke it is asked once");
        gateway.cut_store();
        let later = ask_with(&gateway, "GET", "pi.test", &path, "authorization: Bearer good\r\n", "").await;
        assert_eq!((later.status, code(&later).as_str()), (503, "store_unavailable"));
        assert!(later.header("retry-after").is_some());
    });
}
