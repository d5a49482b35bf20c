//! Every call of the OpenAPI document by every role, in one table: who gets through, and which scopes a key needs for it.
//!
//! A call that is missing here fails the test, and so does one that is gone from the document.

use std::collections::{BTreeMap, BTreeSet};

use picloud_manager::repo::scope::Scope;
use picloud_manager::store::Store;
use serde_json::{Value, json};

use crate::stage::{Stage, operations, other_session};
use crate::world::{Answer, Client, id};

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
    ("list_nodes", "yyffffu", Scopes(&[S::InstanceRead])),
    ("list_certificates", "yyffffu", Scopes(&[S::InstanceRead])),
    ("get_certificate", "yyffffu", Scopes(&[S::InstanceRead])),
    ("get_internal_root", "yyyyyyu", Nothing),
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
    ("get_member", "yfyffnu", Scopes(&[S::MembersWrite])),
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
    ("list_triggers", "yyyyynu", Scopes(&[S::AppsRead])),
    ("create_trigger", "yyyyfnu", Scopes(&[S::TriggersWrite])),
    ("get_trigger", "yyyyynu", Scopes(&[S::AppsRead])),
    ("update_trigger", "yyyyfnu", Scopes(&[S::TriggersWrite])),
    ("delete_trigger", "yyyyfnu", Scopes(&[S::TriggersWrite])),
    ("fire_trigger", "yyyyfnu", Scopes(&[S::TriggersWrite])),
    ("list_events", "yyyyynu", Scopes(&[S::DataRead])),
    ("get_event", "yyyyynu", Scopes(&[S::DataRead])),
    ("list_queues", "yyyyynu", Scopes(&[S::DataRead])),
    ("list_messages", "yyyyynu", Scopes(&[S::DataRead])),
    ("send_message", "yyyyfnu", Scopes(&[S::DataWrite])),
    ("delete_message", "yyyyfnu", Scopes(&[S::DataWrite])),
    ("list_dead_letters", "yyyyynu", Scopes(&[S::DataRead])),
    ("count_dead_letters", "yyyyynu", Scopes(&[S::AppsRead])),
    ("get_dead_letter", "yyyyynu", Scopes(&[S::DataRead])),
    ("replay_dead_letter", "yyyyfnu", Scopes(&[S::TriggersWrite])),
    ("resolve_dead_letter", "yyyyfnu", Scopes(&[S::TriggersWrite])),
    ("replay_dead_letters", "yyyyfnu", Scopes(&[S::TriggersWrite])),
    ("resolve_dead_letters", "yyyyfnu", Scopes(&[S::TriggersWrite])),
    // To who may not see the app, its host is one that nobody claims.
    ("match_request", "yyyyyyu", Nothing),
    ("list_executions_of_script", "yyyyynu", Scopes(&[S::LogsRead])),
    ("list_executions_of_app", "yyyyynu", Scopes(&[S::LogsRead])),
    ("watch_executions", "yyyyynu", Scopes(&[S::LogsRead])),
    ("app_stats", "yyyyynu", Scopes(&[S::LogsRead])),
    ("list_kv_collections", "yyyyynu", Scopes(&[S::DataRead])),
    ("list_kv_entries", "yyyyynu", Scopes(&[S::DataRead])),
    ("get_kv_entry", "yyyyynu", Scopes(&[S::DataRead])),
    ("set_kv_entry", "yyyyfnu", Scopes(&[S::DataWrite])),
    ("delete_kv_entry", "yyyyfnu", Scopes(&[S::DataWrite])),
    ("list_env", "yyyyynu", Scopes(&[S::DataRead])),
    ("get_env", "yyyyynu", Scopes(&[S::DataRead])),
    ("set_env", "yyyyfnu", Scopes(&[S::DataWrite])),
    ("delete_env", "yyyyfnu", Scopes(&[S::DataWrite])),
    ("list_secrets", "yyyyynu", Scopes(&[S::DataRead])),
    ("get_secret", "yyyyynu", Scopes(&[S::DataRead])),
    ("set_secret", "yfyffnu", Scopes(&[S::DataWrite])),
    ("delete_secret", "yfyffnu", Scopes(&[S::DataWrite])),
    ("list_document_collections", "yyyyynu", Scopes(&[S::DataRead])),
    ("find_documents", "yyyyynu", Scopes(&[S::DataRead])),
    ("get_document", "yyyyynu", Scopes(&[S::DataRead])),
    ("set_document", "yyyyfnu", Scopes(&[S::DataWrite])),
    ("delete_document", "yyyyfnu", Scopes(&[S::DataWrite])),
    ("get_document_indexes", "yyyyynu", Scopes(&[S::DataRead])),
    ("set_document_indexes", "yyyyfnu", Scopes(&[S::DataWrite])),
    ("get_settings", "yyffffu", Scopes(&[S::InstanceRead])),
    ("update_settings", "yfffffu", Scopes(&[S::InstanceWrite])),
    ("get_limits", "yyyyyyu", Nothing),
    ("instance_stats", "yyffffu", Scopes(&[S::InstanceRead])),
    ("node_stats", "yyffffu", Scopes(&[S::InstanceRead])),
];

#[test]
fn every_call_has_its_row_and_every_row_its_call() {
    let documented: BTreeSet<String> = operations().into_keys().collect();
    let expected: BTreeSet<String> = TABLE.iter().map(|(operation, ..)| (*operation).to_owned()).collect();
    assert_eq!(documented, expected);
    assert_eq!(expected.len(), TABLE.len(), "a call has two rows");
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
                cases.push((
                    *operation,
                    key(within_apps.clone(), Some(&elsewhere)).await,
                    outsider,
                    "key_bound_to_app",
                ));
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

/// Calls that change what apps keep, which is not the control data.
pub const OF_DATA: [&str; 12] = [
    "set_kv_entry",
    "delete_kv_entry",
    "set_document",
    "delete_document",
    "set_document_indexes",
    "send_message",
    "delete_message",
    "fire_trigger",
    "replay_dead_letter",
    "resolve_dead_letter",
    "replay_dead_letters",
    "resolve_dead_letters",
];

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
        let other = other_session(&stage.owner).await;
        // The one connection that writes: SQLite says of it what it says of a disk that is full or read-only.
        test.store.begin().await.unwrap().execute_unchecked("PRAGMA query_only = on").await.unwrap();
        for (operation, _, needs) in TABLE {
            let is_change = stage.operations[*operation].0 != "GET" && !ASKING.contains(operation);
            // Without a link the store is not asked for more than whether there is one; a wrong password changes nothing.
            // What apps keep is in a file of its own, and has tests of its own (`kv.rs`, `docs.rs`, `events.rs`).
            if ["set_up", "change_password"].contains(operation) || OF_DATA.contains(operation) {
                continue;
            }
            let caller = if *needs == Open { stage.world.stranger() } else { stage.owner.clone() };
            let answer = stage.call(operation, &target).of(id(&own), id(&other)).by(&caller).await;
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
