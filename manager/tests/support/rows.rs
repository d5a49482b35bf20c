//! Rows to put into a store: valid ones, of which a test changes what it is about.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use picloud_manager::repo::Listed;
use picloud_manager::repo::apps::{self, App};
use picloud_manager::repo::domains::Domain;
use picloud_manager::repo::role::InstanceRole;
use picloud_manager::repo::routes::StoredRoute;
use picloud_manager::repo::scripts::{self, Script, ScriptMeta};
use picloud_manager::repo::users::{self, PasswordHash, User};
use picloud_manager::store::Store;
use picloud_shared::clock::Timestamp;
use picloud_shared::id::{AppId, DomainId, RouteId, ScriptId, UserId};
use picloud_shared::path_pattern::{PathKind, PathPattern};
use picloud_shared::route::{HostSelector, Route, RouteMethod, RoutePattern};
use picloud_shared::script::{ExecuteAccess, Sandbox, ScriptKind};

/// The moment of all rows.
pub const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_123);

/// A user of that name.
pub fn user(username: &str) -> User {
    User {
        id: UserId::generate(NOW),
        username: username.parse().unwrap(),
        email: Some("ada@example.com".parse().unwrap()),
        instance_role: InstanceRole::Member,
        is_active: true,
        created_at: NOW,
        updated_at: NOW,
        last_login_at: None,
    }
}

/// An app of that slug.
pub fn app(slug: &str) -> App {
    App {
        id: AppId::generate(NOW),
        slug: slug.parse().unwrap(),
        name: "A name — with ünïcode".parse().unwrap(),
        redacted_headers: vec!["x-token".to_owned()].try_into().unwrap(),
        record_bodies: false,
        hsts_max_age_s: Some(3_600_i64.try_into().unwrap()),
        created_at: NOW,
        updated_at: NOW,
    }
}

/// A claim of that pattern.
pub fn domain(app_id: AppId, pattern: &str) -> Domain {
    Domain { id: DomainId::generate(NOW), app_id, pattern: pattern.parse().unwrap(), created_at: NOW }
}

/// An endpoint of that name.
pub fn script(app_id: AppId, name: &str) -> Script {
    let meta = ScriptMeta {
        id: ScriptId::generate(NOW),
        app_id,
        name: name.parse().unwrap(),
        kind: ScriptKind::Endpoint,
        description: "What it does".to_owned(),
        version: 1,
        imports: vec!["lib".parse().unwrap()],
        timeout_ms: Some(1_000),
        sandbox: Sandbox { max_operations: Some(7), ..Sandbox::default() },
        execute_access: ExecuteAccess::Open,
        created_at: NOW,
        updated_at: NOW,
    };
    Script { meta, source: "\"Hello\" // ünïcode".parse().unwrap() }
}

/// A route of any host, exact path and method GET.
pub fn route(app_id: AppId, script_id: ScriptId, path: &str) -> StoredRoute {
    let path = PathPattern::parse(PathKind::Exact, path).unwrap();
    let pattern = RoutePattern { host: HostSelector::Any, path, method: RouteMethod::Get };
    StoredRoute {
        route: Route { id: RouteId::generate(NOW), app_id, script_id, pattern, is_async: false },
        created_at: NOW,
    }
}

/// The rows of a list, each of which can be read.
pub fn all<T>(rows: Vec<Listed<T>>) -> Vec<T> {
    rows.into_iter().map(Result::unwrap).collect()
}

/// A stored user.
pub async fn add_user(store: &Store, username: &str) -> User {
    let user = user(username);
    let mut tx = store.begin().await.unwrap();
    users::insert(&mut tx, &user, &PasswordHash::from_phc("$argon2id$".to_owned())).await.unwrap();
    tx.commit().await.unwrap();
    user
}

/// A stored app.
pub async fn add_app(store: &Store, slug: &str) -> App {
    let app = app(slug);
    let mut tx = store.begin().await.unwrap();
    apps::insert(&mut tx, &app).await.unwrap();
    tx.commit().await.unwrap();
    app
}

/// A stored endpoint.
pub async fn add_script(store: &Store, app_id: AppId, name: &str) -> Script {
    let script = script(app_id, name);
    let mut tx = store.begin().await.unwrap();
    scripts::insert(&mut tx, &script, None).await.unwrap();
    tx.commit().await.unwrap();
    script
}
