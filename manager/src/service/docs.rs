//! The documents, as people look at them and change them, and the indexes of their collections. Scripts use them by themselves
//! (`crate::docs`).

use picloud_shared::docs::{
    DocPage, DocPlace, DocQuery, DocUsage, DocWrite, DocWritten, Document, DocumentBody, FieldPath,
};
use picloud_shared::id::AppId;
use picloud_shared::name::CollectionName;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::docs::{
    Audit, Demand, DocQuota, DocRefusal, Docs, IndexAudit, IndexDemand, IndexRefusal, SearchRefusal, Write,
};
use crate::repo::audit::AuditObject;
use crate::repo::docs::{DocCollection, DocIndex};
use crate::service::authorize::{Actor, AppRef, Capability};
use crate::service::change::{Author, Desk, Event, as_of_now};
use crate::service::error::ServiceError;
use crate::service::page::{Page, PageSize};
use crate::service::revision::{Precondition, Revision};

pub(crate) struct DocsService {
    desk: Desk,
    docs: Docs,
}

/// What an app keeps.
pub(crate) struct DocHoldings {
    pub usage: DocUsage,
    pub quota: DocQuota,
    pub collections: Page<DocCollection, CollectionName>,
}

pub(crate) fn revision(document: &Document) -> Revision {
    let body = Sha256::digest(document.body.text());
    Revision::of(&(document.id, body.as_slice()))
}

/// Of what they are; how far they are built changes by itself.
pub(crate) fn index_revision(fields: &[FieldPath]) -> Revision {
    Revision::of(&fields)
}

/// What the audit log tells of a document. Not its fields, which are the app's.
fn audited(collection: &CollectionName, document: &Document) -> Value {
    json!({ "collection": collection, "id": document.id, "bytes": document.body.text().len() })
}

impl DocsService {
    pub(crate) fn new(desk: Desk, docs: Docs) -> Self {
        Self { desk, docs }
    }

    /// What the app keeps, and a page of its collections by name.
    pub(crate) async fn holdings(
        &self,
        actor: &Actor,
        app: &AppRef,
        size: PageSize,
        after: Option<CollectionName>,
    ) -> Result<DocHoldings, ServiceError> {
        let app = self.access(actor, app).await?;
        let (usage, collections) = self.docs.collections(app, after, size.plus_one()).await?;
        let collections = Page::cut(collections, size, |last| last.name.clone());
        Ok(DocHoldings { usage, quota: self.docs.quota(), collections })
    }

    pub(crate) async fn find(&self, actor: &Actor, app: &AppRef, query: &DocQuery) -> Result<DocPage, ServiceError> {
        let app = self.access(actor, app).await?;
        let page = self.docs.search(app, query).await.map_err(|refusal| match refusal {
            SearchRefusal::Busy => ServiceError::SearchingBusy,
            SearchRefusal::TooLate => ServiceError::SearchTooLate,
            SearchRefusal::Store(error) => error.into(),
        })?;
        if page.gave_up { Err(ServiceError::TooManyScanned) } else { Ok(page) }
    }

    pub(crate) async fn get(&self, actor: &Actor, app: &AppRef, place: &DocPlace) -> Result<Document, ServiceError> {
        let app = self.access(actor, app).await?;
        self.docs.find(app, place).await?.ok_or(ServiceError::NotFound("document"))
    }

    /// Sets a document, whether it is there or not; the document as it is then.
    pub(crate) async fn set(
        &self,
        actor: &Actor,
        app: &AppRef,
        place: DocPlace,
        fields: Map<String, Value>,
        precondition: &Precondition,
    ) -> Result<Document, ServiceError> {
        // Searches begin after the one and end before the other.
        if place.id.as_uuid().is_nil() || place.id.as_uuid().is_max() {
            return Err(ServiceError::invalid("id", "a document's id is a UUID that is neither nil nor max"));
        }
        let body = DocumentBody::new(fields, place.id).map_err(|error| ServiceError::invalid("document", error))?;
        match self.write(actor, app, place, DocWrite::Put(body), precondition).await? {
            DocWritten::Is(document) => Ok(document),
            DocWritten::Deleted | DocWritten::Missing => Err(ServiceError::NotFound("document")),
        }
    }

    pub(crate) async fn delete(
        &self,
        actor: &Actor,
        app: &AppRef,
        place: DocPlace,
        precondition: &Precondition,
    ) -> Result<(), ServiceError> {
        self.write(actor, app, place, DocWrite::Delete, precondition).await.map(|_| ())
    }

    async fn write(
        &self,
        actor: &Actor,
        app: &AppRef,
        place: DocPlace,
        write: DocWrite,
        precondition: &Precondition,
    ) -> Result<DocWritten, ServiceError> {
        let (app, actor) = self.access_to_change(actor, app).await?;
        let must_be_there = write == DocWrite::Delete;
        let action = if must_be_there { "docs.delete" } else { "docs.set" };
        let precondition = precondition.clone();
        let demand: Demand = Box::new(move |document| match document {
            Some(document) => precondition.check_by(|| revision(document)).map_err(|_| DocRefusal::PreconditionFailed),
            None if must_be_there => Err(DocRefusal::NotFound),
            None => precondition.check_absent().map_err(|_| DocRefusal::PreconditionFailed),
        });
        let audit = Some(self.audit(&actor, app, &place.collection, action));
        let made = self.docs.write(Write { app, place, write, depth: 0, demand: Some(demand), audit }).await?;
        self.carry_audit().await;
        Ok(made?)
    }

    pub(crate) async fn indexes(
        &self,
        actor: &Actor,
        app: &AppRef,
        collection: &CollectionName,
    ) -> Result<Vec<DocIndex>, ServiceError> {
        let app = self.access(actor, app).await?;
        Ok(self.docs.indexes(app, collection).await?)
    }

    /// Has a collection have indexes of just these fields.
    pub(crate) async fn set_indexes(
        &self,
        actor: &Actor,
        app: &AppRef,
        collection: &CollectionName,
        fields: Vec<FieldPath>,
        precondition: &Precondition,
    ) -> Result<Vec<DocIndex>, ServiceError> {
        let (app, actor) = self.access_to_change(actor, app).await?;
        let precondition = precondition.clone();
        let demand: IndexDemand = Box::new(move |held| {
            precondition.check_by(|| index_revision(held)).map_err(|_| IndexRefusal::PreconditionFailed)
        });
        let (audited_store, author, of) = (self.desk.audited.clone(), Author::from(&actor), collection.clone());
        let audit: IndexAudit = Box::new(move |before, after| {
            let told = |fields: &[FieldPath]| Some(json!({ "collection": of, "fields": fields }));
            let event = Event::new("docs.set_indexes", AuditObject::DocumentIndexes).in_app(app);
            let event = Event { before: told(before), after: told(after), ..event };
            Some(audited_store.outbound(&author.entry(event, audited_store.clock.now())))
        });
        let set = self.docs.set_indexes(app, collection, fields, demand, audit).await?;
        self.carry_audit().await;
        Ok(set?)
    }

    /// The rows are kept beside the data; what fails now is done by housekeeping.
    async fn carry_audit(&self) {
        if let Err(error) = self.desk.carry_data_audit().await {
            warn!(error = &error as &dyn std::error::Error, "the audit log hears of a change of data later");
        }
    }

    fn audit(&self, actor: &Actor, app: AppId, collection: &CollectionName, action: &'static str) -> Audit {
        let (audited_store, author) = (self.desk.audited.clone(), Author::from(actor));
        let collection = collection.clone();
        Box::new(move |before, after| {
            let id = before.or(after).map(|document| document.id);
            let told = |document: Option<&Document>| document.map(|document| audited(&collection, document));
            let (before, after) = (told(before), told(after));
            let object = id.map_or(AuditObject::DocumentIndexes, AuditObject::Document);
            let event = Event { before, after, ..Event::new(action, object).in_app(app) };
            audited_store.outbound(&author.entry(event, audited_store.clock.now()))
        })
    }

    async fn access(&self, actor: &Actor, app: &AppRef) -> Result<AppId, ServiceError> {
        let access = actor.access(&mut self.desk.store.read().await?, app).await?;
        access.require(Capability::DataRead)?;
        Ok(access.app.id)
    }

    /// The same for a change, which is not in the control data's own unit of work: who makes it is looked at as they are now, and
    /// the node must have the store's key, by which the audit log is told.
    async fn access_to_change(&self, actor: &Actor, app: &AppRef) -> Result<(AppId, Actor), ServiceError> {
        let mut conn = self.desk.store.read().await?;
        let actor = as_of_now(&mut conn, actor, self.desk.clock.now()).await?;
        let access = actor.access(&mut conn, app).await?;
        access.require(Capability::DataWrite)?;
        self.desk.chain.require_key(&mut conn).await?;
        Ok((access.app.id, actor))
    }
}

impl From<DocRefusal> for ServiceError {
    fn from(refusal: DocRefusal) -> Self {
        match refusal {
            DocRefusal::TooManyDocuments { most } => Self::QuotaExceeded { limit: "docs_documents", most },
            DocRefusal::TooManyBytes { most } => Self::QuotaExceeded { limit: "docs_bytes", most },
            DocRefusal::PreconditionFailed => Self::PreconditionFailed,
            DocRefusal::NotFound => Self::NotFound("document"),
            DocRefusal::Events(refusal) => refusal.into(),
            DocRefusal::Invalid(error) => Self::invalid("document", error),
        }
    }
}

impl From<IndexRefusal> for ServiceError {
    fn from(refusal: IndexRefusal) -> Self {
        match refusal {
            IndexRefusal::PreconditionFailed => Self::PreconditionFailed,
            IndexRefusal::TooMany | IndexRefusal::TooManyOfApp => Self::invalid("fields", refusal),
        }
    }
}
