//! The entries of the key-value store, as people look at them and change them. Scripts do so by themselves (`crate::kv`).

use picloud_shared::id::AppId;
use picloud_shared::kv::{KvEntry, KvPage, KvPlace, KvQuery, KvUsage, KvWrite};
use picloud_shared::name::CollectionName;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::kv::{Audit, Demand, Kv, KvQuota, KvRefusal, Write};
use crate::repo::audit::AuditObject;
use crate::repo::kv::KvCollection;
use crate::service::authorize::{Actor, AppRef, Capability};
use crate::service::change::{Author, Desk, Event};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize};
use crate::service::revision::{Precondition, Revision};

pub(crate) struct KvService {
    desk: Desk,
    kv: Kv,
}

/// What an app keeps.
pub(crate) struct Holdings {
    pub usage: KvUsage,
    pub quota: KvQuota,
    pub collections: Page<KvCollection, CollectionName>,
}

pub(crate) fn revision(entry: &KvEntry) -> Revision {
    // As JSON its bytes would be so many numbers.
    let value = Sha256::digest(entry.value.bytes());
    Revision::of(&(&entry.key, entry.value.kind(), value.as_slice(), entry.expires_at))
}

/// What the audit log tells of an entry. Not its value, which is the app's.
fn audited(collection: &CollectionName, entry: &KvEntry) -> Value {
    json!({
        "collection": collection,
        "key": entry.key,
        "kind": entry.value.kind(),
        "bytes": entry.value.bytes().len(),
        "expires_at": entry.expires_at,
    })
}

impl KvService {
    pub(crate) fn new(desk: Desk, kv: Kv) -> Self {
        Self { desk, kv }
    }

    /// What the app keeps, and a page of its collections by name.
    pub(crate) async fn holdings(
        &self,
        actor: &Actor,
        app: &AppRef,
        size: PageSize,
        after: Option<CollectionName>,
    ) -> Result<Holdings, ServiceError> {
        let app = self.desk.access(actor, app, Capability::DataRead).await?;
        let (usage, collections) = self.kv.collections(app, after, size.plus_one()).await?;
        let collections = Page::cut(collections, size, |last| last.name.clone());
        Ok(Holdings { usage, quota: self.kv.quota(), collections })
    }

    pub(crate) async fn list(&self, actor: &Actor, app: &AppRef, query: &KvQuery) -> Result<KvPage, ServiceError> {
        let app = self.desk.access(actor, app, Capability::DataRead).await?;
        Ok(self.kv.list(app, query).await?)
    }

    pub(crate) async fn get(&self, actor: &Actor, app: &AppRef, place: &KvPlace) -> Result<KvEntry, ServiceError> {
        let app = self.desk.access(actor, app, Capability::DataRead).await?;
        self.kv.find(app, place).await?.ok_or(ServiceError::NotFound("entry"))
    }

    /// Sets or deletes an entry; the entry as it is then, if it is there.
    pub(crate) async fn write(
        &self,
        actor: &Actor,
        app: &AppRef,
        place: KvPlace,
        write: KvWrite,
        precondition: &Precondition,
    ) -> Result<Option<KvEntry>, ServiceError> {
        let (app, actor) = self.desk.access_to_change(actor, app, Capability::DataWrite).await?;
        let must_be_there = write == KvWrite::Delete;
        let action = if must_be_there { "kv.delete" } else { "kv.set" };
        let precondition = precondition.clone();
        let demand: Demand = Box::new(move |entry| match entry {
            Some(entry) => precondition.check_by(|| revision(entry)).map_err(|_| KvRefusal::PreconditionFailed),
            None if must_be_there => Err(KvRefusal::NotFound),
            None => precondition.check_absent().map_err(|_| KvRefusal::PreconditionFailed),
        });
        let audit = Some(self.audit(&actor, app, &place.collection, action));
        let made = self.kv.write(Write { app, place, write, depth: 0, demand: Some(demand), audit }).await?;
        let (_, entry) = made?;
        self.desk.tell_of_data().await;
        Ok(entry)
    }

    fn audit(&self, actor: &Actor, app: AppId, collection: &CollectionName, action: &'static str) -> Audit {
        let (desk, author) = (self.desk.clone(), Author::from(actor));
        let collection = collection.clone();
        Box::new(move |before, after| {
            let told = |entry: Option<&KvEntry>| entry.map(|entry| audited(&collection, entry));
            let (before, after) = (told(before), told(after));
            let event = Event { before, after, ..Event::new(action, AuditObject::KvEntry).in_app(app) };
            desk.outbound_of(&author, event)
        })
    }
}

impl From<KvRefusal> for ServiceError {
    fn from(refusal: KvRefusal) -> Self {
        match refusal {
            KvRefusal::TooManyKeys { most } => Self::QuotaExceeded { limit: "kv_keys", most },
            KvRefusal::TooManyBytes { most } => Self::QuotaExceeded { limit: "kv_bytes", most },
            KvRefusal::PreconditionFailed => Self::PreconditionFailed,
            KvRefusal::NotFound => Self::NotFound("entry"),
            KvRefusal::Events(refusal) => refusal.into(),
            // Only scripts count.
            KvRefusal::NotAnInteger | KvRefusal::Overflow => Self::invalid("value", refusal),
        }
    }
}
