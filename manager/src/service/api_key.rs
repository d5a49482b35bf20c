//! API keys: minted and revoked by their owners, who must be signed in for that.

use std::collections::BTreeSet;

use picloud_shared::clock::Timestamp;
use picloud_shared::id::{ApiKeyId, AppId};
use picloud_shared::name::KeyName;
use serde_json::{Value, json};

use crate::repo::api_keys::{self, ApiKey};
use crate::repo::audit::AuditObject;
use crate::repo::scope::Scope;
use crate::repo::sessions::TokenHash;
use crate::secret::api_key::ApiKeyToken;
use crate::service::authorize::{Actor, AppRef};
use crate::service::change::{Desk, Event};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize};

/// Keys of one user; more are not looked through by anybody.
const KEYS_OF_A_USER: u64 = 100;

pub(crate) struct ApiKeyService {
    desk: Desk,
}

/// What a new key is to be.
pub(crate) struct NewApiKey {
    pub name: KeyName,
    pub scopes: Vec<Scope>,
    pub app_id: Option<AppId>,
    pub expires_at: Option<Timestamp>,
}

fn audited(key: &ApiKey) -> Value {
    let ApiKey { name, scopes, app_id, expires_at, .. } = key;
    json!({ "name": name, "scopes": scopes, "app_id": app_id, "expires_at": expires_at })
}

impl ApiKeyService {
    pub(crate) fn new(desk: Desk) -> Self {
        Self { desk }
    }

    /// The caller's keys, the newest first.
    pub(crate) async fn list(
        &self,
        actor: &Actor,
        size: PageSize,
        before: Option<ApiKeyId>,
    ) -> Result<Page<ApiKey, ApiKeyId>, ServiceError> {
        actor.session()?;
        let mut conn = self.desk.store.read().await?;
        let found = api_keys::list_of_user(&mut conn, actor.user.id, size.plus_one(), before).await?;
        Ok(Page::of_rows("api_key", found, size, |key| key.id.as_uuid(), ApiKeyId::from_uuid))
    }

    /// Makes a key; its text is told this once.
    pub(crate) async fn create(&self, actor: &Actor, new: NewApiKey) -> Result<(ApiKey, ApiKeyToken), ServiceError> {
        actor.session()?;
        let (mut change, actor) = self.desk.begin(actor).await?;
        let NewApiKey { name, scopes, app_id, expires_at } = new;
        let scopes: BTreeSet<Scope> = scopes.into_iter().collect();
        if scopes.is_empty() {
            return Err(ServiceError::invalid("scopes", "a key needs at least one scope"));
        }
        if let Some(app) = app_id {
            if let Some(scope) = scopes.iter().find(|scope| scope.is_beyond_apps()) {
                return Err(ServiceError::invalid("scopes", format!("a key of one app cannot have {scope}")));
            }
            match actor.access(&mut change, &AppRef::Id(app)).await {
                Err(ServiceError::NotFound(_)) => return Err(ServiceError::invalid("app_id", "there is no such app")),
                access => drop(access?),
            }
        }
        if expires_at.is_some_and(|end| end <= change.at) {
            return Err(ServiceError::invalid("expires_at", "this time has passed"));
        }
        if api_keys::count_of_user(&mut change, actor.user.id).await? >= KEYS_OF_A_USER {
            return Err(ServiceError::TooManyKeys { most: KEYS_OF_A_USER });
        }
        let (id, at) = (ApiKeyId::generate(change.at), change.at);
        let token = ApiKeyToken::generate(id);
        let key = ApiKey {
            id,
            user_id: actor.user.id,
            name,
            scopes: scopes.into_iter().collect(),
            app_id,
            created_at: at,
            expires_at,
            last_used_at: None,
        };
        api_keys::insert(&mut change, &key, &TokenHash::new(token.hash())).await?;
        change.record(Event::new("api_key.create", AuditObject::ApiKey(id)).after(audited(&key)));
        change.commit().await?;
        Ok((key, token))
    }

    /// Revokes one of the caller's keys.
    pub(crate) async fn revoke(&self, actor: &Actor, id: ApiKeyId) -> Result<(), ServiceError> {
        actor.session()?;
        let (mut change, actor) = self.desk.begin(actor).await?;
        if !api_keys::delete(&mut change, actor.user.id, id).await? {
            return Err(ServiceError::NotFound("API key"));
        }
        change.record(Event::new("api_key.delete", AuditObject::ApiKey(id)));
        change.commit().await
    }
}
