//! What a fresh instance begins with, so that its first request gets an answer: the app `default` on `localhost` with a
//! Hello World. Made once, however many nodes start at once, and never again.

use picloud_shared::domain_pattern::{DomainPattern, InvalidDomainPattern};
use picloud_shared::id::{AppId, RouteId, ScriptId};
use picloud_shared::path_pattern::{PathKind, PathPattern};
use picloud_shared::route::{HostSelector, Route, RouteMethod, RoutePattern};
use picloud_shared::script::ScriptKind;

use crate::repo::apps;
use crate::repo::config::{self, InstanceFlag, Part};
use crate::repo::domains;
use crate::repo::scripts::Script;
use crate::service::app::{blank, insert_app};
use crate::service::change::{AuditedStore, Author, Change};
use crate::service::domain::{DEFAULT_APP_HOST, DEFAULT_APP_SLUG, insert_domain};
use crate::service::error::ServiceError;
use crate::service::route::insert_route;
use crate::service::script::{blank_meta, insert_script};

const HELLO_SOURCE: &str = include_str!("seed/hello.rhai");

/// Makes what is missing, unless it was made before.
pub(crate) async fn seed(audited: &AuditedStore) -> Result<(), ServiceError> {
    if config::flag(&mut audited.store.read().await?, InstanceFlag::Seeded).await? {
        return Ok(());
    }
    let mut change = audited.begin_as(Author::PLATFORM).await?;
    if !config::set_flag(&mut change, InstanceFlag::Seeded).await? {
        return Ok(());
    }
    let slug = DEFAULT_APP_SLUG.parse().expect("the default slug is a slug");
    let app_id = match apps::find_by_slug(&mut change, &slug).await? {
        Some(app) => app.id,
        None => {
            let app = blank(AppId::generate(change.at), slug, "Default".parse().expect("it is a name"), change.at);
            insert_app(&mut change, &app).await?;
            app.id
        }
    };
    claim_localhost(&mut change, app_id).await?;
    if apps::count_scripts(&mut change, app_id).await? == 0 {
        publish_hello(&mut change, app_id).await?;
    }
    change.commit_part(app_id, Part::App).await?;
    Ok(())
}

async fn claim_localhost(change: &mut Change, app_id: AppId) -> Result<(), ServiceError> {
    let localhost: Result<DomainPattern, InvalidDomainPattern> = DEFAULT_APP_HOST.parse();
    let localhost = localhost.expect("localhost is a host");
    if domains::find_by_shape(change, &localhost).await?.is_none() {
        insert_domain(change, app_id, localhost).await?;
    }
    Ok(())
}

async fn publish_hello(change: &mut Change, app_id: AppId) -> Result<(), ServiceError> {
    let id = ScriptId::generate(change.at);
    let name = "hello".parse().expect("it is a script's name");
    let source = HELLO_SOURCE.parse().expect("the source is short");
    let script = Script { meta: blank_meta(id, app_id, name, ScriptKind::Endpoint, change.at), source };
    insert_script(change, &script, None).await?;
    let path = PathPattern::parse(PathKind::Exact, "/").expect("/ is a path");
    let pattern = RoutePattern { host: HostSelector::Any, path, method: RouteMethod::Get };
    let route = Route { id: RouteId::generate(change.at), app_id, script_id: id, pattern, is_async: false };
    insert_route(change, route).await.map(drop)
}
