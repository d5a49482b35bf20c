//! `invoke`: a script runs another of its app within itself.

mod documented;
mod hostile;
mod limits;
mod records;

use picloud_executor::Completion;
use picloud_shared::script::{LimitPolicy, Limits};
use serde_json::{Value, json};

use crate::world::{Published, World, limits, publish_endpoints, text};

/// An app of endpoints, and of modules whose names begin so.
fn app(scripts: &[(&str, &str)]) -> Published {
    app_within(scripts, limits())
}

fn app_within(scripts: &[(&str, &str)], limits: Limits) -> Published {
    publish_endpoints(&scripts.iter().map(|(name, source)| (*name, *source, limits)).collect::<Vec<_>>())
}

fn json_of(completion: &Completion) -> Value {
    serde_json::from_str(text(completion)).unwrap_or_else(|_| text(completion).into())
}

/// What the first script gives.
fn gives(scripts: &[(&str, &str)]) -> Value {
    json_of(&World::new().run(app(scripts).call(scripts[0].0)))
}

#[test]
fn what_is_invoked_sees_a_request_with_the_payload_as_json() {
    let callee = r#"
        let r = ctx.request;
        #{ method: r.method, path: r.path, url: r.url, headers: r.headers, body: r.body, text: r.text, query: r.query,
           params: r.params, script: ctx.script.name, app: ctx.app.slug, ip: r.remote_ip }
    "#;
    let seen = gives(&[("main", "invoke(\"callee\", #{ a: [1, 2.5, \"x\", ()] }).body"), ("callee", callee)]);
    let expected = json!({
        "method": "POST", "path": "/", "url": "https://shop.example.com/", "headers": { "content-type": "application/json" },
        "body": { "a": [1, 2.5, "x", null] }, "text": "{\"a\":[1,2.5,\"x\",null]}", "query": {}, "params": {},
        "script": "callee", "app": "shop", "ip": "192.0.2.7",
    });
    assert_eq!(seen, expected);
    for (payload, expected) in
        [("\"text\"", json!("text")), ("7", json!(7)), ("()", Value::Null), ("false", json!(false))]
    {
        let main = format!("json(invoke(\"callee\", {payload}).body)");
        assert_eq!(gives(&[("main", &main), ("callee", "json(ctx.request.body)")]), expected, "{payload}");
    }
    assert_eq!(gives(&[("main", "json(invoke(\"callee\").body)"), ("callee", "ctx.request.text")]), json!("null"));
}

#[test]
fn what_is_invoked_has_an_execution_of_its_own_and_nothing_of_its_callers_variables() {
    let main = "let secret = 1; invoke(\"callee\").body != ctx.execution_id";
    assert_eq!(gives(&[("main", main), ("callee", "ctx.execution_id")]), json!(true));
    let main = "let secret = 1; try { invoke(\"callee\") } catch (e) { return e.message; }";
    let told = gives(&[("main", main), ("callee", "secret")]);
    assert_eq!(told, json!("the script \"callee\" failed: Variable not found: secret (line 1, column 1)"));
}

#[test]
fn an_answer_is_a_map_with_the_body_by_its_type() {
    for (callee, status, body) in [
        ("\"text\"", 200, json!("text")),
        ("html(\"<p>\")", 200, json!("<p>")),
        ("#{ a: [1] }", 200, json!({ "a": [1] })),
        ("json(\"text\")", 200, json!("text")),
        ("respond(404, #{ error: \"none\" })", 404, json!({ "error": "none" })),
        ("()", 204, Value::Null),
        ("blob(2, 65)", 200, json!("QUE=")),
        ("text(\"{\").header(\"content-type\", \"application/json\")", 200, json!("{")),
        ("respond(200, blob(1, 255)).header(\"content-type\", \"text/plain\")", 200, json!("/w==")),
        ("text(\"a=1\").header(\"content-type\", \"application/x-www-form-urlencoded\")", 200, json!("a=1")),
    ] {
        let main = "let r = invoke(\"callee\"); [r.status, r.body]";
        assert_eq!(gives(&[("main", main), ("callee", callee)]), json!([status, body]), "{callee}");
    }
    let headers = "respond(200, \"\").header(\"X-One\", \"1\").header(\"x-two\", [\"a\", \"b\"])";
    let expected = json!({ "content-type": "text/plain; charset=utf-8", "x-one": "1", "x-two": ["a", "b"] });
    assert_eq!(gives(&[("main", "invoke(\"callee\").headers"), ("callee", headers)]), expected);
}

#[test]
fn an_answer_can_be_returned_as_it_is() {
    let (world, page) = (World::new(), "html(\"<p>\").header(\"x-two\", [\"a\", \"b\"]).cookie(\"c\", \"1\")");
    let app = app(&[
        ("main", "invoke(\"page\")"),
        ("page", page),
        ("data", "respond(201, #{ a: 1 })"),
        ("two", "invoke(\"data\")"),
    ]);
    for (outer, inner) in [("main", "page"), ("two", "data")] {
        let (through, direct) =
            (world.run(app.call(outer)).response.unwrap(), world.run(app.call(inner)).response.unwrap());
        assert_eq!((through.status, through.headers, through.body), (direct.status, direct.headers, direct.body));
    }
}

#[test]
fn what_cannot_be_invoked_is_thrown_with_a_code() {
    let world = World::new();
    let app = app_within(
        &[
            (
                "main",
                "try { invoke(ctx.request.query.script, ctx.request.query.len()) } catch (e) { return [e.code, e.message]; }",
            ),
            ("module-m", "fn f() { 1 }"),
            ("function", "try { invoke(\"main\", || 1) } catch (e) { return [e.code, e.message]; }"),
            (
                "long",
                "let s = \"\"; s.pad(200000, \"x\"); try { invoke(\"main\", [s, s, s, s, s, s]) } catch (e) { return [e.code, e.message]; }",
            ),
        ],
        LimitPolicy::default().ceilings,
    );
    let called = |script: &str| {
        let request = crate::world::request("GET", &format!("https://shop.example.com/?script={script}"));
        json_of(&world.run(app.call_with("main", request)))
    };
    assert_eq!(called("gone"), json!(["not_found", "invoke: the app has no script \"gone\""]));
    assert_eq!(called(""), json!(["not_found", "invoke: the app has no script \"\""]));
    let module = "invoke: \"module-m\" is a module, which is imported and not invoked";
    assert_eq!(called("module-m"), json!(["invalid", module]));
    assert!(called(&"x".repeat(9_000)).to_string().len() < 200);
    assert_eq!(json_of(&world.run(app.call("function")))[0], "invalid");
    let long = json_of(&world.run(app.call("long")));
    assert_eq!(long, json!(["invalid", "invoke: a payload has at most 1048576 bytes as JSON"]));
    assert_eq!(world.records().iter().filter(|record| record.status != 200).count(), 0);
    assert_eq!(world.records().len(), 6, "what was not run has no record");
}

#[test]
fn a_script_of_another_app_is_not_there() {
    let world = World::new();
    let other = app(&[("secret", "\"theirs\"")]);
    assert_eq!(text(&world.run(other.call("secret"))), "theirs");
    let source = "try { invoke(\"secret\") } catch (e) { return e.code; }";
    assert_eq!(json_of(&world.eval(source)), json!("not_found"));
}

#[test]
fn each_run_has_its_own_modules_also_after_it_invoked_another() {
    let scripts = [
        (
            "main",
            "import \"module-a\" as a; let b = invoke(\"callee\").body; import \"module-c\" as c; a::x() + b + c::X",
        ),
        ("callee", "import \"module-b\" as b; invoke(\"plain\").body + b::X"),
        ("plain", "\"-\""),
        ("module-a", "fn x() { \"a\" }"),
        ("module-b", "export const X = \"b\";"),
        ("module-c", "export const X = \"c\";"),
    ];
    assert_eq!(gives(&scripts), json!("a-bc"));
}

#[test]
fn what_does_not_compile_is_an_error_of_the_one_that_is_invoked() {
    let main = "try { invoke(\"broken\") } catch (e) { return e.code + \": \" + e.message; }";
    let told = gives(&[("main", main), ("broken", "let x = ;")]);
    assert!(told.as_str().unwrap().starts_with("error: the script \"broken\" failed: "), "{told}");
}

#[test]
fn a_script_invokes_the_others_of_the_snapshot_that_it_began_with() {
    let world = World::new();
    let sources = |value| [("main", "invoke(\"callee\").body"), ("callee", value)];
    let before = app(&sources("\"before\""));
    let began = before.call("main");
    let after = before.0.with(picloud_shared::snapshot::AppChanges {
        scripts: vec![(
            before.script("callee").row.id,
            picloud_shared::snapshot::Now::Is(picloud_shared::snapshot::ScriptRow {
                source: "\"after\"".parse().unwrap(),
                ..before.script("callee").row.clone()
            }),
        )],
        ..Default::default()
    });
    let after = Published(std::sync::Arc::new(after.0));
    assert_eq!(text(&world.run(after.call("main"))), "after");
    assert_eq!(text(&world.run(began)), "before");
}
