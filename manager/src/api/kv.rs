//! `apps/{app}/kv`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::StatusCode;
use picloud_shared::clock::Timestamp;
use picloud_shared::kv::{KvEntry, KvKey, KvKind, KvPlace, KvQuery, KvValue, KvWrite, MAX_TTL, ValueTooLong};
use picloud_shared::name::{CollectionName, InvalidCollectionName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::extract::{Body, Caller, Path, Query, app_ref, page_size, present};
use crate::api::openapi::problems;
use crate::api::precondition::{IfMatch, etag};
use crate::api::problem::{ApiError, FieldError};
use crate::api::{ApiState, cursor};
use crate::service::kv::{Holdings, revision};

pub(crate) fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(list_kv_collections)).routes(routes!(list_kv_entries)).routes(routes!(
        get_kv_entry,
        set_kv_entry,
        delete_kv_entry
    ))
}

/// The lists, as their cursors name them.
const COLLECTIONS: &str = "kv";
const ENTRIES: &str = "kv entries";

/// A collection of an app, with what it holds.
#[derive(Serialize, ToSchema)]
struct KvCollectionView {
    name: String,
    /// Entries, those among them that have expired and are not removed yet.
    keys: u64,
    /// Bytes of their keys and values.
    bytes: u64,
}

/// What an app keeps by `kv`.
#[derive(Serialize, ToSchema)]
struct KvCollectionList {
    items: Vec<KvCollectionView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
    /// Entries of all collections.
    keys: u64,
    /// Bytes of all collections.
    bytes: u64,
    /// Entries that the app may have.
    max_keys: u64,
    /// Bytes that the app may have.
    max_bytes: u64,
}

/// An entry. It has either a `value` or a `blob`.
#[derive(Serialize, ToSchema)]
struct KvEntryView {
    key: String,
    /// The value where it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    value: Option<Value>,
    /// The value where it is bytes, as base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    blob: Option<String>,
    /// Bytes of the value as it is stored.
    bytes: u64,
    /// From when on it is gone; null for never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl TryFrom<&KvEntry> for KvEntryView {
    type Error = ApiError;

    fn try_from(entry: &KvEntry) -> Result<Self, ApiError> {
        let bytes = entry.value.bytes();
        let (value, blob) = match entry.value.kind() {
            KvKind::Json => (Some(read_json(bytes)?), None),
            KvKind::Blob => (None, Some(BASE64.encode(bytes))),
        };
        let KvEntry { key, expires_at, updated_at, .. } = entry;
        let (expires_at, updated_at) = (*expires_at, *updated_at);
        Ok(Self { key: key.to_string(), value, blob, bytes: bytes.len() as u64, expires_at, updated_at })
    }
}

/// Scripts write one level more than serde_json reads by itself.
fn read_json(bytes: &[u8]) -> Result<Value, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    json.disable_recursion_limit();
    Value::deserialize(&mut json).map_err(|error| ApiError::internal(format!("a stored value is not JSON: {error}")))
}

#[derive(Serialize, ToSchema)]
struct KvEntryList {
    items: Vec<KvEntryView>,
    /// The `cursor` of the next page, if there is one.
    next_cursor: Option<String>,
}

/// What an entry is to be: either a `value` or a `blob`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetKvEntry {
    /// Any JSON value, of at most 256 KiB.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Value, required = false)]
    value: Option<Value>,
    /// Bytes as base64, at most 256 KiB of them.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false)]
    blob: Option<String>,
    /// Seconds after which it is gone; for ever where it is absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 315_360_000)]
    ttl: Option<u64>,
}

impl SetKvEntry {
    fn write(self) -> Result<KvWrite, ApiError> {
        let invalid = |field: &str, detail: String| ApiError::invalid(vec![FieldError::new(field, detail)]);
        let too_long = |field: &'static str| move |error: ValueTooLong| invalid(field, error.to_string());
        let value = match (self.value, self.blob) {
            (Some(value), None) => KvValue::of_json(value).map_err(too_long("value"))?,
            (None, Some(blob)) => {
                let bytes = BASE64.decode(blob).map_err(|_| invalid("blob", "it is not base64".to_owned()))?;
                KvValue::new(KvKind::Blob, bytes).map_err(too_long("blob"))?
            }
            _ => return Err(invalid("value", "there must be either a value or a blob".to_owned())),
        };
        let longest = MAX_TTL.as_secs();
        match self.ttl {
            Some(ttl) if !(1..=longest).contains(&ttl) => {
                Err(invalid("ttl", format!("it is from 1 to {longest} seconds")))
            }
            ttl => Ok(KvWrite::Set { value, ttl: ttl.map(Duration::from_secs) }),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CollectionQuery {
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
struct EntryQuery {
    /// What the keys begin with.
    #[serde(default)]
    #[param(required = false)]
    prefix: String,
    /// Entries on the page: 50 if absent, 200 at most, and fewer where more would come to over 192 KiB.
    #[serde(default)]
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
}

impl EntryQuery {
    fn of(self, collection: CollectionName) -> Result<KvQuery, ApiError> {
        if self.prefix.contains('\0') {
            return Err(ApiError::invalid(vec![FieldError::new("prefix", "no key has a NUL")]));
        }
        let after = cursor::read(ENTRIES, self.cursor)?;
        Ok(KvQuery { collection, prefix: self.prefix, after, limit: page_size(self.limit)?.get() })
    }
}

problems! {
    ListProblems { "404": "`not_found`", "422": "`invalid`" }
    GetProblems { "404": "`not_found`" }
    SetProblems {
        "404": "`not_found`",
        "412": "`precondition_failed`",
        "422": "`invalid`, `quota_exceeded` (with `limit` and `ceiling`)",
    }
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

fn place(collection_name: &str, key: &str) -> Result<KvPlace, ApiError> {
    let key = key.parse::<KvKey>().map_err(|_| ApiError::not_found("entry"))?;
    Ok(KvPlace { collection: collection(collection_name)?, key })
}

/// List the collections of an app, with what they hold.
#[utoipa::path(get, path = "/apps/{app}/kv", tag = "data",
    params(("app" = String, Path, description = "The app's id or slug."), CollectionQuery),
    responses((status = 200, description = "A page of collections, by name.", body = KvCollectionList), ListProblems))]
async fn list_kv_collections(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(CollectionQuery { limit, cursor }): Query<CollectionQuery>,
) -> Result<Json<KvCollectionList>, ApiError> {
    let after = cursor::read(COLLECTIONS, cursor)?;
    let held = state.services.kv.holdings(&actor, &app_ref(&app)?, page_size(limit)?, after).await?;
    let Holdings { usage, quota, collections } = held;
    let view = |collection: crate::repo::kv::KvCollection| {
        let (keys, bytes) = (collection.usage.keys, collection.usage.bytes);
        KvCollectionView { name: collection.name.to_string(), keys, bytes }
    };
    Ok(Json(KvCollectionList {
        items: collections.items.into_iter().map(view).collect(),
        next_cursor: collections.next.map(|name| cursor::write(COLLECTIONS, name.as_str())),
        keys: usage.keys,
        bytes: usage.bytes,
        max_keys: quota.keys,
        max_bytes: quota.bytes,
    }))
}

/// List the entries of a collection.
#[utoipa::path(get, path = "/apps/{app}/kv/{collection}", tag = "data",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("collection" = String, Path, description = "The collection's name; `default` for what scripts keep in none."),
        EntryQuery,
    ),
    responses((status = 200, description = "A page of entries, by the bytes of their keys.", body = KvEntryList),
        ListProblems))]
async fn list_kv_entries(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name)): Path<(String, String)>,
    Query(query): Query<EntryQuery>,
) -> Result<Json<KvEntryList>, ApiError> {
    let page = state.services.kv.list(&actor, &app_ref(&app)?, &query.of(collection(&name)?)?).await?;
    let items = page.entries.iter().map(KvEntryView::try_from).collect::<Result<_, _>>()?;
    Ok(Json(KvEntryList { items, next_cursor: page.next.map(|key| cursor::write(ENTRIES, key.as_str())) }))
}

/// Get an entry.
#[utoipa::path(get, path = "/apps/{app}/kv/{collection}/{entry}", tag = "data",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("collection" = String, Path, description = "The collection's name."),
        ("entry" = String, Path, description = "The entry's key, percent-encoded."),
    ),
    responses((status = 200, description = "The entry.", body = KvEntryView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), GetProblems))]
async fn get_kv_entry(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name, key)): Path<(String, String, String)>,
) -> Result<impl IntoResponse, ApiError> {
    let entry = state.services.kv.get(&actor, &app_ref(&app)?, &place(&name, &key)?).await?;
    Ok((etag(&revision(&entry)), Json(KvEntryView::try_from(&entry)?)))
}

/// Set an entry, whether it is there or not.
#[utoipa::path(put, path = "/apps/{app}/kv/{collection}/{entry}", tag = "data", request_body = SetKvEntry,
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("collection" = String, Path, description = "The collection's name."),
        ("entry" = String, Path, description = "The entry's key, percent-encoded."),
        IfMatch,
    ),
    responses((status = 200, description = "The entry as it is now.", body = KvEntryView,
        headers(("etag" = String, description = "What `If-Match` of a change takes."))), SetProblems))]
async fn set_kv_entry(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name, key)): Path<(String, String, String)>,
    IfMatch(precondition): IfMatch,
    Body(body): Body<SetKvEntry>,
) -> Result<impl IntoResponse, ApiError> {
    let (app, place, write) = (app_ref(&app)?, place(&name, &key)?, body.write()?);
    let entry = state.services.kv.write(&actor, &app, place, write, &precondition).await?;
    let entry = entry.ok_or_else(|| ApiError::internal("an entry that was set is not there"))?;
    Ok((etag(&revision(&entry)), Json(KvEntryView::try_from(&entry)?)))
}

/// Delete an entry.
#[utoipa::path(delete, path = "/apps/{app}/kv/{collection}/{entry}", tag = "data",
    params(
        ("app" = String, Path, description = "The app's id or slug."),
        ("collection" = String, Path, description = "The collection's name."),
        ("entry" = String, Path, description = "The entry's key, percent-encoded."),
        IfMatch,
    ),
    responses((status = 204, description = "The entry is gone."), DeleteProblems))]
async fn delete_kv_entry(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, name, key)): Path<(String, String, String)>,
    IfMatch(precondition): IfMatch,
) -> Result<StatusCode, ApiError> {
    let (app, place) = (app_ref(&app)?, place(&name, &key)?);
    state.services.kv.write(&actor, &app, place, KvWrite::Delete, &precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}
