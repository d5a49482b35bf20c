//! `apps/{app}/docs`.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use picloud_shared::clock::Timestamp;
use picloud_shared::docs::{
    DocPlace, DocQuery, Document, FieldPath, Filter, FoundDocument, InvalidField, MAX_INDEXES, Sort,
};
use picloud_shared::id::DocumentId;
use picloud_shared::name::{CollectionName, InvalidCollectionName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::extract::{Body, Caller, Path, Query, app_ref, page_size};
use crate::api::openapi::problems;
use crate::api::precondition::{IfMatch, etag};
use crate::api::problem::{ApiError, FieldError};
use crate::api::{ApiState, cursor};
use crate::repo::RepoError;
use crate::repo::docs::{DocCollection, DocIndex, IndexState};
use crate::service::docs::{DocHoldings, index_revision, revision};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(list_document_collections))
        .routes(routes!(find_documents))
        .routes(routes!(get_document_indexes, set_document_indexes))
        .routes(routes!(get_document, set_document, delete_document))
}

/// The lists, as their cursors name them.
const COLLECTIONS: &str = "docs";
const DOCUMENTS: &str = "documents";

/// A collection of documents, with what it holds.
#[derive(Serialize, ToSchema)]
struct DocumentCollectionView {
    name: String,
    documents: u64,
    /// Bytes of its documents and of their entries in indexes.
    bytes: u64,
}

/// What an app keeps by `docs`.
#[derive(Serialize, ToSchema)]
struct DocumentCollectionList {
    items: Vec<DocumentCollectionView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
    /// Documents of all collections.
    documents: u64,
    /// Bytes of all collections.
    bytes: u64,
    /// Documents that the app may have.
    max_documents: u64,
    /// Bytes that the app may have.
    max_bytes: u64,
}

/// A document.
#[derive(Serialize, ToSchema)]
struct DocumentView {
    #[schema(value_type = String, format = Uuid)]
    id: DocumentId,
    /// Its fields.
    #[schema(value_type = BTreeMap<String, Value>)]
    document: Map<String, Value>,
    /// Bytes of its fields as they are stored.
    bytes: u64,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Document> for DocumentView {
    fn from(Document { id, body, updated_at }: Document) -> Self {
        Self { id, bytes: body.text().len() as u64, document: body.fields().clone(), updated_at }
    }
}

impl DocumentView {
    fn found(FoundDocument { place, text, updated_at }: FoundDocument) -> Result<Self, RepoError> {
        let document = serde_json::from_str(&text)
            .map_err(|error| RepoError::Corrupt { column: "body".to_owned(), source: error.into() })?;
        Ok(Self { id: place.id, bytes: text.len() as u64, document, updated_at })
    }
}

#[derive(Serialize, ToSchema)]
struct DocumentList {
    items: Vec<DocumentView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
    /// How many documents were looked at.
    scanned: u32,
}

/// What a document is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetDocument {
    /// Its fields: at most 256 KiB and 10,000 values, 64 deep. A field `id` must be the document's own.
    #[schema(value_type = BTreeMap<String, Value>)]
    document: Map<String, Value>,
}

/// What can be done with an index.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum DocumentIndexState {
    /// It is being built, and searches do not use it yet.
    Building,
    /// Searches use it.
    Ready,
    /// It is being removed.
    Dropping,
    /// The app has no room for it, and searches do not use it. Setting the indexes again has it built again.
    NoRoom,
}

/// An index of a collection.
#[derive(Serialize, ToSchema)]
struct DocumentIndexView {
    field: String,
    state: DocumentIndexState,
}

/// The indexes of a collection.
#[derive(Serialize, ToSchema)]
struct DocumentIndexes {
    indexes: Vec<DocumentIndexView>,
}

impl DocumentIndexes {
    fn of(indexes: &[DocIndex]) -> impl IntoResponse + use<> {
        let live = indexes.iter().filter(|index| index.state != IndexState::Dropping);
        let mut fields: Vec<FieldPath> = live.map(|index| index.field.clone()).collect();
        fields.sort();
        let view = |index: &DocIndex| DocumentIndexView {
            field: index.field.to_string(),
            state: match index.state {
                IndexState::Building => DocumentIndexState::Building,
                IndexState::Ready => DocumentIndexState::Ready,
                IndexState::Dropping => DocumentIndexState::Dropping,
                IndexState::Clearing | IndexState::NoRoom => DocumentIndexState::NoRoom,
            },
        };
        (etag(&index_revision(&fields)), Json(Self { indexes: indexes.iter().map(view).collect() }))
    }
}

/// The fields that a collection is to have indexes of.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetDocumentIndexes {
    /// Paths of fields such as `customer.name`, at most 16. An index of a field that is not among them is removed.
    #[schema(max_items = 16)]
    fields: Vec<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DocumentCollectionQuery {
    /// Collections on the page: 50 if absent, 200 at most.
    #[serde(default)]
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DocumentQuery {
    /// What the documents must be like, as JSON: `{"status": "open", "total": {"$gte": 100}}`.
    #[serde(default)]
    filter: Option<String>,
    /// A field by which they are sorted, with `-` before it for the other way round; by their ids if absent.
    #[serde(default)]
    sort: Option<String>,
    /// Documents on the page: 50 if absent, 200 at most, and fewer where more would come to over 192 KiB.
    #[serde(default)]
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
}

impl DocumentQuery {
    fn of(self, collection: CollectionName) -> Result<DocQuery, ApiError> {
        let invalid = |field: &'static str, detail: String| ApiError::invalid(vec![FieldError::new(field, detail)]);
        let filter = match self.filter {
            None => Filter::default(),
            Some(text) => {
                let value: Value = read_filter(&text).map_err(|error| invalid("filter", error.to_string()))?;
                Filter::read(&value).map_err(|error| invalid("filter", error.to_string()))?
            }
        };
        let sort = self.sort.map(|sort| sort.parse::<Sort>());
        let sort = sort.transpose().map_err(|error| invalid("sort", error.to_string()))?.unwrap_or_default();
        let after = cursor::read(DOCUMENTS, self.cursor)?;
        Ok(DocQuery { collection, filter, sort, after, limit: page_size(self.limit)?.get() })
    }
}

/// How deep a filter nests is bounded by the length of an address and by this.
fn read_filter(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

problems! {
    ListProblems { "404": "`not_found`", "422": "`invalid`" }
    FindProblems { "404": "`not_found`", "422": "`invalid`, `too_many_scanned`" }
    GetProblems { "404": "`not_found`" }
    SetProblems {
        "404": "`not_found`",
        "412": "`precondition_failed`",
        "422": "`invalid`, `quota_exceeded` (with `limit` and `ceiling`)",
    }
    SetIndexesProblems { "404": "`not_found`", "412": "`precondition_failed`", "422": "`invalid`" }
    DeleteProblems {
        "404": "`not_found`",
        "412": "`precondition_failed`",
        "422": "`quota_exceeded` (with `limit` and `ceiling`): there is no room for the events that it makes",
    }
}

/// A collection in the address. What is no name names none.
fn collection(text: &str) -> Result<CollectionName, ApiError> {
    text.parse().map_err(|_: InvalidCollectionName| ApiError::not_found("collection"))
}

fn place(collection_name: &str, id: &str) -> Result<DocPlace, ApiError> {
    let id = id.parse().map_err(|_| ApiError::not_found("document"))?;
    Ok(DocPlace { collection: collection(collection_name)?, id })
}

/// List the collections of documents of an app, with what they hold.
#[utoipa::path(get, path = "/apps/{app}/docs", tag = "data",
    params(("app" = String, Path, description = "The app's id or slug."), DocumentCollectionQuery),
    responses((status = 200, description = "A page of collections, by name.", body = DocumentCollectionList), ListProblems))]
async fn list_document_collections(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(DocumentCollectionQuery { limit, cursor }): Query<DocumentCollectionQuery>,
) -> Result<Json<DocumentCollectionList>, ApiError> {
    let after = cursor::read(COLLECTIONS, cursor)?;
    let held = state.services.docs.holdings(&actor, &app_ref(&app)?, page_size(limit)?, after).await?;
    let DocHoldings { usage, quota, collections } = held;
    let view = |DocCollection { name, usage }: DocCollection| DocumentCollectionView {
        name: name.to_string(),
        documents: usage.documents,
        bytes: usage.bytes,
    };
    Ok(Json(DocumentCollectionList {
        items: collections.items.into_iter().map(view).collect(),
        next_cursor: collections.next.map(|name| cursor::write(COLLECTIONS, name.as_str())),
        documents: usage.documents,
        bytes: usage.bytes,
        max_documents: quota.documents,
        max_bytes: quota.bytes,
    }))
}

/// Find documents of a collection.
#[utoipa::path(get, path = "/apps/{app}/docs/{collection}", tag = "data",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("collection" = String, Path, description = "The collection's name."),
        DocumentQuery,
    ),
    responses((status = 200, description = "A page of documents.", body = DocumentList), FindProblems))]
async fn find_documents(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name)): Path<(String, String)>,
    Query(query): Query<DocumentQuery>,
) -> Result<Json<DocumentList>, ApiError> {
    let page = state.services.docs.find(&actor, &app_ref(&app)?, &query.of(collection(&name)?)?).await?;
    Ok(Json(DocumentList {
        next_cursor: page.next().map(|next| cursor::write(DOCUMENTS, &next.to_string())),
        scanned: page.scanned.documents,
        items: page.documents.into_iter().map(DocumentView::found).collect::<Result<_, _>>()?,
    }))
}

/// Get a document.
#[utoipa::path(get, path = "/apps/{app}/docs/{collection}/{document}", tag = "data",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("collection" = String, Path, description = "The collection's name."),
        ("document" = String, Path, description = "The document's id."),
    ),
    responses((status = 200, description = "The document.", body = DocumentView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), GetProblems))]
async fn get_document(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name, id)): Path<(String, String, String)>,
) -> Result<impl IntoResponse, ApiError> {
    let document = state.services.docs.get(&actor, &app_ref(&app)?, &place(&name, &id)?).await?;
    Ok((etag(&revision(&document)), Json(DocumentView::from(document))))
}

/// Set a document, whether it is there or not. A new one has the id that the client chose: a UUID other than nil and max, best of version 7,
/// by whose time documents are in order.
#[utoipa::path(put, path = "/apps/{app}/docs/{collection}/{document}", tag = "data", request_body = SetDocument,
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("collection" = String, Path, description = "The collection's name."),
        ("document" = String, Path, description = "The document's id."),
        IfMatch,
    ),
    responses((status = 200, description = "The document as it is now.", body = DocumentView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), SetProblems))]
async fn set_document(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name, id)): Path<(String, String, String)>,
    IfMatch(precondition): IfMatch,
    Body(SetDocument { document }): Body<SetDocument>,
) -> Result<impl IntoResponse, ApiError> {
    let (app, place) = (app_ref(&app)?, place(&name, &id)?);
    let document = state.services.docs.set(&actor, &app, place, document, &precondition).await?;
    Ok((etag(&revision(&document)), Json(DocumentView::from(document))))
}

/// Delete a document.
#[utoipa::path(delete, path = "/apps/{app}/docs/{collection}/{document}", tag = "data",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("collection" = String, Path, description = "The collection's name."),
        ("document" = String, Path, description = "The document's id."),
        IfMatch,
    ),
    responses((status = 204, description = "The document is gone."), DeleteProblems))]
async fn delete_document(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name, id)): Path<(String, String, String)>,
    IfMatch(precondition): IfMatch,
) -> Result<StatusCode, ApiError> {
    let (app, place) = (app_ref(&app)?, place(&name, &id)?);
    state.services.docs.delete(&actor, &app, place, &precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get the indexes of a collection.
#[utoipa::path(get, path = "/apps/{app}/docs/{collection}/indexes", tag = "data",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("collection" = String, Path, description = "The collection's name."),
    ),
    responses((status = 200, description = "The indexes, and how far they are.", body = DocumentIndexes,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), GetProblems))]
async fn get_document_indexes(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name)): Path<(String, String)>,
) -> Result<impl IntoResponse, ApiError> {
    let indexes = state.services.docs.indexes(&actor, &app_ref(&app)?, &collection(&name)?).await?;
    Ok(DocumentIndexes::of(&indexes))
}

/// Set the fields that a collection has indexes of. They are built and removed in the background.
#[utoipa::path(put, path = "/apps/{app}/docs/{collection}/indexes", tag = "data", request_body = SetDocumentIndexes,
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("collection" = String, Path, description = "The collection's name."),
        IfMatch,
    ),
    responses((status = 200, description = "The indexes, and how far they are.", body = DocumentIndexes,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), SetIndexesProblems))]
async fn set_document_indexes(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name)): Path<(String, String)>,
    IfMatch(precondition): IfMatch,
    Body(SetDocumentIndexes { fields }): Body<SetDocumentIndexes>,
) -> Result<impl IntoResponse, ApiError> {
    let invalid = |detail: String| ApiError::invalid(vec![FieldError::new("fields", detail)]);
    if fields.len() > MAX_INDEXES {
        return Err(invalid(format!("a collection has at most {MAX_INDEXES} indexes")));
    }
    let parse = |field: String| match field.parse::<FieldPath>() {
        Ok(field) if field.is_id() => Err(invalid("every collection is in the order of ids already".to_owned())),
        Ok(field) => Ok(field),
        Err(error @ InvalidField) => Err(invalid(error.to_string())),
    };
    let fields = fields.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let (app, name) = (app_ref(&app)?, collection(&name)?);
    let indexes = state.services.docs.set_indexes(&actor, &app, &name, fields, &precondition).await?;
    Ok(DocumentIndexes::of(&indexes))
}
