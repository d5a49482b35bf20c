//! Every call of the OpenAPI document by every role, in one table: who gets through, and which scopes a key needs for it.
//!
//! A call that is missing here fails the test, and so does one that is gone from the document.

use std::collections::{BTreeMap, BTreeSet};

use picloud_manager::repo::role::{AppRole, InstanceRole};
use picloud_manager::repo::scope::Scope;
use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::world::{Answer, Client, OWNER, PASSWORD, World, id};

/// Who makes the calls: two roles on the instance, three in the app, an app_admin of another app, and a stranger.
const CALLERS: [&str; 7] = ["olive", "admin", "app-admin", "editor", "viewer", "outsider", "nobody"];

/// What a key needs.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    /// All of them.
    Scopes(&'static [Scope]),
    /// A key will not do.
    Session,
    /// Any key will do.
    Nothing,
    /// Not even a credential.
    Open,
}

use Needs::{Nothing, Open, Scopes, Session};
use Scope as S;

/// A call, what each of the callers gets, and what a key needs. `y`: past authorization, `f`: 403 forbidden, `n`: 404 not
/// found, `u`: 401.
const TABLE: &[(&str, &str, Needs)] = &[
    ("log_in", "yyyyyyy", Open),
    // Without the link nobody sets up anything.
    ("set_up", "uuuuuuu", Open),
    ("log_out", "yyyyyyu", Session),
    ("me", "yyyyyyu", Nothing),
    ("update_me", "yyyyyyu", Session),
    ("change_password", "yyyyyyu", Session),
    ("list_sessions", "yyyyyyu", Session),
    ("revoke_session", "yyyyyyu", Session),
    ("list_api_keys", "yyyyyyu", Session),
    ("create_api_key", "yyyyyyu", Session),
    ("revoke_api_key", "yyyyyyu", Session),
    ("list_users", "yyffffu", Scopes(&[S::UsersWrite])),
    ("create_user", "yyffffu", Session),
    ("get_user", "yyffffu", Scopes(&[S::UsersWrite])),
    ("update_user", "yyffffu", Scopes(&[S::UsersWrite])),
    ("delete_user", "yyffffu", Scopes(&[S::UsersWrite])),
    ("reset_password", "yyffffu", Session),
    ("list_audit", "yyffffu", Scopes(&[S::InstanceRead])),
    ("list_certificates", "yyffffu", Scopes(&[S::InstanceRead])),
    ("get_certificate", "yyffffu", Scopes(&[S::InstanceRead])),
    ("preflight_certificate", "yyffffu", Scopes(&[S::InstanceRead])),
    ("upload_certificate", "yfffffu", Scopes(&[S::InstanceWrite])),
    ("renew_certificate", "yfffffu", Scopes(&[S::InstanceWrite])),
    ("delete_certificate", "yfffffu", Scopes(&[S::InstanceWrite])),
    ("list_apps", "yyyyyyu", Scopes(&[S::AppsRead])),
    ("create_app", "yyffffu", Scopes(&[S::AppsWrite])),
    ("check_slug", "yyffffu", Scopes(&[S::AppsWrite])),
    ("get_app", "yyyyynu", Scopes(&[S::AppsRead])),
    ("update_app", "yfyffnu", Scopes(&[S::AppsWrite])),
    ("delete_app", "yfyffnu", Scopes(&[S::AppsWrite])),
    ("export_app", "yyyyynu", Scopes(&[S::AppsRead, S::ScriptsRead])),
    ("deploy_app", "yyyyfnu", Scopes(&[S::ScriptsRead, S::ScriptsWrite])),
    ("import_app", "yyffffu", Scopes(&[S::AppsWrite])),
    ("list_members", "yfyffnu", Scopes(&[S::MembersWrite])),
    ("add_member", "yfyffnu", Scopes(&[S::MembersWrite])),
    ("update_member", "yfyffnu", Scopes(&[S::MembersWrite])),
    ("remove_member", "yfyffnu", Scopes(&[S::MembersWrite])),
    ("list_domains", "yyyyynu", Scopes(&[S::AppsRead])),
    ("claim_domain", "yyyffnu", Scopes(&[S::AppsWrite])),
    ("release_domain", "yyyffnu", Scopes(&[S::AppsWrite])),
    ("list_scripts", "yyyyynu", Scopes(&[S::ScriptsRead])),
    ("create_script", "yyyyfnu", Scopes(&[S::ScriptsWrite])),
    ("check_script", "yyyyfnu", Scopes(&[S::ScriptsWrite])),
    ("get_script", "yyyyynu", Scopes(&[S::ScriptsRead])),
    ("update_script", "yyyyfnu", Scopes(&[S::ScriptsWrite])),
    ("delete_script", "yyyyfnu", Scopes(&[S::ScriptsWrite])),
    ("invoke_script", "yyyyfnu", Scopes(&[S::ScriptsExecute])),
    ("list_versions", "yyyyynu", Scopes(&[S::ScriptsRead])),
    ("get_version", "yyyyynu", Scopes(&[S::ScriptsRead])),
    ("restore_version", "yyyyfnu", Scopes(&[S::ScriptsWrite])),
    ("list_routes_of_script", "yyyyynu", Scopes(&[S::ScriptsRead])),
    ("list_routes_of_app", "yyyyynu", Scopes(&[S::ScriptsRead])),
    ("create_route", "yyyyfnu", Scopes(&[S::ScriptsWrite])),
    ("get_route", "yyyyynu", Scopes(&[S::ScriptsRead])),
    ("update_route", "yyyyfnu", Scopes(&[S::ScriptsWrite])),
    ("delete_route", "yyyyfnu", Scopes(&[S::ScriptsWrite])),
    ("check_route", "yyyyynu", Scopes(&[S::ScriptsRead])),
    // To who may not see the app, its host is one that nobody claims.
    ("match_request", "yyyyyyu", Nothing),
    ("list_executions_of_script", "yyyyynu", Scopes(&[S::LogsRead])),
    ("list_executions_of_app", "yyyyynu", Scopes(&[S::LogsRead])),
    ("watch_executions", "yyyyynu", Scopes(&[S::LogsRead])),
    ("app_stats", "yyyyynu", Scopes(&[S::LogsRead])),
    ("get_settings", "yyffffu", Scopes(&[S::InstanceRead])),
    ("update_settings", "yfffffu", Scopes(&[S::InstanceWrite])),
    ("get_limits", "yyyyyyu", Nothing),
    ("instance_stats", "yyffffu", Scopes(&[S::InstanceRead])),
];

/// Each call of the document: its method, and its path below the API's root.
fn operations() -> BTreeMap<String, (String, String)> {
    let document: Value = serde_json::from_str(&picloud_manager::openapi_json()).unwrap();
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, call) in item.as_object().unwrap() {
            let path = path.strip_prefix("/api/v1/admin").unwrap().to_owned();
            operations.insert(call["operationId"].as_str().unwrap().to_owned(), (method.to_uppercase(), path));
        }
    }
    operations
}

#[test]
fn every_call_has_its_row_and_every_row_its_call() {
    let documented: BTreeSet<String> = operations().into_keys().collect();
    let expected: BTreeSet<String> = TABLE.iter().map(|(operation, ..)| (*operation).to_owned()).collect();
    assert_eq!(documented, expected);
    assert_eq!(expected.len(), TABLE.len(), "a call has two rows");
}

/// An app with one of everything, and a user who is no caller.
struct Target {
    slug: String,
    app: Value,
    script: Value,
    route: Value,
    domain: Value,
    user: Value,
    certificate: Value,
}

struct Stage {
    world: World,
    owner: Client,
    callers: Vec<(&'static str, Client)>,
    operations: BTreeMap<String, (String, String)>,
    targets: u32,
}

impl Stage {
    async fn set(store: &Store) -> Self {
        let world = World::start(store).await;
        let owner = world.owner().await;
        let elsewhere = owner.make_app("elsewhere").await;
        let mut callers = Vec::new();
        for name in CALLERS {
            let client = match name {
                OWNER => owner.clone(),
                "nobody" => world.stranger(),
                "outsider" => world.member(name, &elsewhere, AppRole::AppAdmin).await,
                "admin" => world.user(name, InstanceRole::Admin).await,
                _ => world.user(name, InstanceRole::Member).await,
            };
            callers.push((name, client));
        }
        world.user("joiner", InstanceRole::Member).await;
        Self { world, owner, callers, operations: operations(), targets: 0 }
    }

    async fn target(&mut self) -> Target {
        self.targets += 1;
        let slug = format!("target-{}", self.targets);
        let owner = &self.owner;
        let app = owner.make_app(&slug).await;
        let members = [("app-admin", AppRole::AppAdmin), ("editor", AppRole::Editor), ("viewer", AppRole::Viewer)];
        for (name, role) in members {
            self.world.join(name, &app, role).await;
        }
        let domain = owner.make_domain(&app, &format!("{slug}.localhost")).await;
        let script = owner.make_endpoint(&app, "page", "1").await;
        let route = owner.make_route(&script, "/").await;
        let victim = json!({ "username": format!("victim-{}", self.targets), "instance_role": "member" });
        let user = owner.post("/admins", victim).await.is(201);
        let member = json!({ "user_id": id(&user), "role": "viewer" });
        owner.post(&format!("/apps/{slug}/members"), member).await.is(201);
        let certificate = owner.post("/certificates", uploadable(&slug)).await.is(201);
        Target { slug, app, script, route, domain, user, certificate }
    }

    /// Makes a call on the target. What it names of the caller's own is made by `own`.
    async fn make(&self, operation: &str, client: &Client, own: Option<&Client>, target: &Target) -> Answer {
        let (method, template) = self.operations[operation].clone();
        let mut path = self.address(&template, target);
        if let Some(own) = own.filter(|_| path.contains("{key}")) {
            let key = own.post("/api-keys", json!({ "name": "own", "scopes": ["apps:read"] })).await.is(201);
            path = path.replace("{key}", id(&key));
        }
        if let Some(own) = own.filter(|_| path.contains("{session}")) {
            let sessions = own.get("/auth/me/sessions").await.is(200)["items"].clone();
            // The newest but for the one that asks.
            let other = sessions.as_array().unwrap().iter().find(|session| session["is_current"] == false).unwrap();
            path = path.replace("{session}", id(other));
        }
        path = path.replace("{key}", id(&target.app)).replace("{session}", id(&target.app));
        self.send(operation, client, &method, path, target).await
    }

    /// Makes a call on the target, and on that key and session of the caller's own.
    async fn make_with(&self, operation: &str, client: &Client, own: &(String, String), target: &Target) -> Answer {
        let (method, template) = self.operations[operation].clone();
        let path = self.address(&template, target).replace("{key}", &own.0).replace("{session}", &own.1);
        self.send(operation, client, &method, path, target).await
    }

    fn address(&self, template: &str, target: &Target) -> String {
        template
            .replace("{app}", &target.slug)
            .replace("{script}", id(&target.script))
            .replace("{route}", id(&target.route))
            .replace("{domain}", id(&target.domain))
            .replace("{certificate}", id(&target.certificate))
            .replace("{user}", id(&target.user))
            .replace("{version}", "1")
    }

    async fn send(&self, operation: &str, client: &Client, method: &str, mut path: String, target: &Target) -> Answer {
        if operation == "list_scripts" {
            path = format!("{path}?app={}", target.slug);
        }
        if operation == "delete_app" {
            path = format!("{path}?force=true");
        }
        match method {
            "GET" => client.get(&path).await,
            "DELETE" => client.delete(&path).await,
            "POST" => client.post(&path, self.body(operation, target)).await,
            "PUT" => client.send_json("PUT", &path, self.body(operation, target).to_string()).await,
            _ => client.patch(&path, self.body(operation, target)).await,
        }
    }

    fn body(&self, operation: &str, target: &Target) -> Value {
        let app_id = id(&target.app);
        let pattern = json!({ "host_kind": "any", "path_kind": "exact", "path": "/new", "method": "GET" });
        let unused = format!("new-{}-{}", operation.replace('_', "-"), self.targets);
        match operation {
            "log_in" => json!({ "username": OWNER, "password": PASSWORD }),
            "set_up" => json!({ "token": "x", "username": "eve", "password": PASSWORD }),
            "change_password" => json!({ "current_password": "wrong", "new_password": "another quiet phrase" }),
            "create_user" => json!({ "username": unused, "instance_role": "member" }),
            "update_me" | "update_user" => json!({ "email": format!("{unused}@example.com") }),
            "create_api_key" => json!({ "name": "ci", "scopes": ["apps:read"] }),
            "upload_certificate" => uploadable(&target.slug),
            "preflight_certificate" => json!({ "name": format!("{}.example.com", target.slug) }),
            "deploy_app" => {
                let route = json!({ "host_kind": "any", "path_kind": "exact", "path": "/", "method": "GET" });
                let page = json!({ "name": "page", "kind": "endpoint", "source": "1", "routes": [route] });
                json!({ "format": 1, "scripts": [page] })
            }
            "import_app" => json!({ "format": 1, "app": { "slug": unused, "name": "New" }, "scripts": [] }),
            "update_settings" => json!({ "execute_access": "restricted" }),
            "create_app" => json!({ "slug": unused, "name": "New" }),
            "check_slug" => json!({ "slug": unused }),
            "update_app" => json!({ "name": "New" }),
            "add_member" => json!({ "username": "joiner", "role": "viewer" }),
            "update_member" => json!({ "role": "editor" }),
            "claim_domain" => json!({ "pattern": format!("new.{}.localhost", target.slug) }),
            "create_script" => json!({ "app_id": app_id, "name": "new", "kind": "endpoint", "source": "1" }),
            "check_script" => json!({ "app_id": app_id, "kind": "endpoint", "source": "1" }),
            "update_script" => json!({ "description": "new" }),
            "create_route" => pattern,
            "update_route" => json!({ "method": "POST" }),
            "check_route" => json!({ "app_id": app_id, "route": pattern }),
            "match_request" => json!({ "url": format!("http://{}.localhost/", target.slug), "method": "GET" }),
            _ => json!({}),
        }
    }
}

/// A certificate and its key.
fn uploadable(slug: &str) -> Value {
    let made = rcgen::generate_simple_self_signed([format!("{slug}.example.com")]).unwrap();
    json!({ "chain": made.cert.pem(), "key": made.signing_key.serialize_pem() })
}

fn verdict(answer: &Answer) -> char {
    match answer.status.as_u16() {
        401 => 'u',
        403 => 'f',
        404 => 'n',
        status => {
            assert!(status < 500, "{}", answer.text());
            'y'
        }
    }
}

fn code(answer: &Answer) -> String {
    let document: Value = serde_json::from_slice(&answer.bytes).unwrap_or_default();
    document["code"].as_str().unwrap_or_default().to_owned()
}

async fn each_caller_gets_what_the_table_says(store: &Store) {
    let mut stage = Stage::set(store).await;
    let mut target = stage.target().await;
    for (operation, expected, _) in TABLE {
        for (place, (name, client)) in stage.callers.clone().into_iter().enumerate() {
            // Some calls end a session, or want one to end.
            let client = match (name, *operation) {
                ("nobody", _) => client,
                (_, "log_out") => stage.world.log_in(name).await,
                (_, "revoke_session") => {
                    stage.world.log_in(name).await;
                    stage.world.log_in(name).await
                }
                _ => client,
            };
            let own = (name != "nobody").then_some(&client);
            let answer = stage.make(operation, &client, own, &target).await;
            let found = verdict(&answer);
            let wanted = expected.chars().nth(place).unwrap();
            assert_eq!(found, wanted, "{operation} by {name}: {}", answer.text());
            assert!(found != 'f' || code(&answer) == "forbidden", "{operation} by {name}: {}", answer.text());
            if found == 'y' && stage.operations[*operation].0 == "DELETE" {
                target = stage.target().await;
            }
        }
    }
}

async fn each_key_gets_what_its_scopes_and_its_app_say(store: &Store) {
    let mut stage = Stage::set(store).await;
    let elsewhere = stage.owner.get("/apps/elsewhere").await.is(200);
    let mut keys = BTreeMap::new();
    let mut key = async |scopes: Vec<Scope>, app: Option<&Value>| -> Client {
        let place = (scopes.clone(), app.is_some());
        if let Some(known) = keys.get(&place) {
            return Client::clone(known);
        }
        let body = json!({ "name": "test", "scopes": scopes, "app_id": app.map(id) });
        let made = stage.owner.post("/api-keys", body).await.is(201);
        let client = stage.world.stranger().bearer(made["key"].as_str().unwrap());
        keys.insert(place, client.clone());
        client
    };
    let within_apps: Vec<Scope> = Scope::ALL.iter().copied().filter(|scope| !scope.is_beyond_apps()).collect();
    let mut cases = Vec::new();
    for (operation, expected, needs) in TABLE {
        let outsider = expected.chars().nth(5).unwrap();
        match needs {
            Scopes(scopes) => {
                for scope in *scopes {
                    let rest = Scope::ALL.iter().copied().filter(|other| other != scope).collect();
                    cases.push((*operation, key(rest, None).await, 'f', "insufficient_scope"));
                }
                cases.push((*operation, key(within_apps.clone(), Some(&elsewhere)).await, outsider, "forbidden"));
                cases.push((*operation, key(scopes.to_vec(), None).await, 'y', ""));
            }
            Session => cases.push((*operation, key(Scope::ALL.to_vec(), None).await, 'f', "session_required")),
            Nothing => cases.push((*operation, key(vec![S::DataRead], None).await, 'y', "")),
            Open => {}
        }
    }
    let mut target = stage.target().await;
    for (operation, client, wanted, wanted_code) in cases {
        let answer = stage.make(operation, &client, None, &target).await;
        let found = verdict(&answer);
        assert_eq!(found, wanted, "{operation}: {}", answer.text());
        assert!(found != 'f' || code(&answer) == wanted_code, "{operation}: {}", answer.text());
        if found == 'y' && stage.operations[operation].0 == "DELETE" {
            target = stage.target().await;
        }
    }
}

/// Calls that ask, though by POST.
const ASKING: [&str; 6] =
    ["check_slug", "check_script", "check_route", "match_request", "invoke_script", "preflight_certificate"];

#[test]
fn where_the_store_cannot_be_written_each_change_is_503_and_each_question_is_answered() {
    crate::run(async || {
        let test = crate::test_store::TestStore::sqlite().await;
        let mut stage = Stage::set(&test.store).await;
        let target = stage.target().await;
        let own = stage.owner.post("/api-keys", json!({ "name": "own", "scopes": ["apps:read"] })).await.is(201);
        let script = format!("/scripts/{}", id(&target.script));
        stage.owner.patch(&script, json!({ "source": "2" })).await.is(200);
        stage.world.owner().await;
        let sessions = stage.owner.get("/auth/me/sessions").await.is(200)["items"].clone();
        let other = sessions.as_array().unwrap().iter().find(|session| session["is_current"] == false).unwrap();
        // The one connection that writes: SQLite says of it what it says of a disk that is full or read-only.
        test.store.begin().await.unwrap().execute_unchecked("PRAGMA query_only = on").await.unwrap();
        for (operation, _, needs) in TABLE {
            let is_change = stage.operations[*operation].0 != "GET" && !ASKING.contains(operation);
            // Without a link the store is not asked for more than whether there is one; a wrong password changes nothing.
            if ["set_up", "change_password"].contains(operation) {
                continue;
            }
            let caller = if *needs == Open { stage.world.stranger() } else { stage.owner.clone() };
            let path = (id(&own).to_owned(), id(other).to_owned());
            let answer = stage.make_with(operation, &caller, &path, &target).await;
            match is_change {
                true => drop(answer.problem(503, "store_unavailable")),
                false => assert_eq!(answer.status, 200, "{operation}: {}", answer.text()),
            }
        }
    });
}

on_both! {
    each_caller_gets_what_the_table_says,
    each_key_gets_what_its_scopes_and_its_app_say,
}
