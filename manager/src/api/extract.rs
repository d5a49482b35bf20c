//! Extractors: how a request's parts become types, and what each refuses.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use axum::body::Body as AxumBody;
use axum::extract::{FromRequest, FromRequestParts, Path as AxumPath, Request};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use picloud_shared::request::{AdminPeer, UnknownMethod, check_method};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::api::problem::{ApiError, FieldError};
use crate::api::wording::own_words;
use crate::api::{ApiState, credential};
use crate::service::authorize::{Actor, AppRef};
use crate::service::page::PageSize;

/// The sender of a request, as the proxy knows it.
pub(crate) struct Peer(pub AdminPeer);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let peer = parts.extensions.get::<AdminPeer>().cloned();
        peer.map(Self).ok_or_else(|| ApiError::internal("a request came without its AdminPeer"))
    }
}

/// Who makes the call. A call without this extractor is open to everybody.
pub(crate) struct Caller(pub Actor);

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        // Whoever came before may have asked already.
        if let Some(actor) = parts.extensions.get::<Actor>() {
            return Ok(Self(actor.clone()));
        }
        let Peer(peer) = Peer::from_request_parts(parts, state).await?;
        let proof = credential(&parts.headers, &peer, &parts.method)?;
        Ok(Self(state.services.auth.authenticate(&proof, peer.remote_ip).await?))
    }
}

/// The parameters of the address. One that is no id names nothing.
pub(crate) struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<ApiState> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        match AxumPath::<T>::from_request_parts(parts, state).await {
            Ok(AxumPath(value)) => Ok(Self(value)),
            Err(_) => Err(ApiError::not_found("thing")),
        }
    }
}

/// An app in the address, by id or slug. Never fails to be read: what is neither names no app.
pub(crate) fn app_ref(text: &str) -> Result<AppRef, ApiError> {
    let by_id = text.parse().map(AppRef::Id).ok();
    by_id.or_else(|| text.parse().map(AppRef::Slug).ok()).ok_or_else(|| ApiError::not_found("app"))
}

/// The query. Unknown and repeated parameters are refused.
pub(crate) struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(pairs).map(Self).map_err(|error| {
            let field = field_of(&error);
            ApiError::invalid(vec![FieldError::new(&field, own_words(&error.into_inner().to_string()))])
        })
    }
}

/// A method that requests may have.
pub(crate) fn parse_method(text: &str) -> Result<Method, FieldError> {
    let method = text.parse().map_err(|_| UnknownMethod).and_then(|method| check_method(&method).map(|()| method));
    method.map_err(|unknown| FieldError::new("method", unknown))
}

/// Which page of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Things on the page: 50 if absent, 200 at most.
    #[serde(default)]
    #[param(minimum = 1)]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub cursor: Option<Uuid>,
}

/// The size of the page that was asked for.
pub(crate) fn page_size(limit: Option<u32>) -> Result<PageSize, ApiError> {
    let detail = "a limit is 1 or more; above 200 it counts as 200";
    PageSize::new(limit).ok_or_else(|| ApiError::invalid(vec![FieldError::new("limit", detail)]))
}

/// A JSON body. Malformed JSON is 400, JSON of another shape 422 naming the field.
pub(crate) struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<ApiState> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        parse_body(read_json(request, state.max_request_body_bytes).await?).map(Self)
    }
}

/// A JSON body that the handler reads when it knows that the caller may send it, since it may be longer than most.
pub(crate) struct UnreadBody(Request);

impl<S: Sync> FromRequest<S> for UnreadBody {
    type Rejection = Infallible;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(request))
    }
}

impl UnreadBody {
    pub(crate) async fn read(self, max_bytes: usize) -> Result<Bytes, ApiError> {
        read_json(self.0, max_bytes).await
    }
}

async fn read_json(request: Request, max_bytes: usize) -> Result<Bytes, ApiError> {
    if !is_json(request.headers()) {
        return Err(ApiError::unsupported_media_type());
    }
    read_body(request.into_body(), max_bytes).await
}

/// The whole body.
pub(crate) async fn read_body(body: AxumBody, max_bytes: usize) -> Result<Bytes, ApiError> {
    let collected = Limited::new(body, max_bytes).collect().await;
    let collected = collected.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => ApiError::body_too_large(max_bytes),
        None => ApiError::malformed("the request's body could not be read to its end"),
    })?;
    Ok(collected.to_bytes())
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// What a body says. The bytes are given back before anything is done with it.
pub(crate) fn parse_body<T: DeserializeOwned>(body: Bytes) -> Result<T, ApiError> {
    parse_json(&body)
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, Object<T>>(&mut json) {
        Ok(Object(value)) => json.end().map(|()| value).map_err(malformed_json),
        Err(error) => Err(refusal(bytes, &error)),
    }
}

/// Why a body is refused: what is not JSON at all is malformed, even where its beginning is already of another shape.
fn refusal(bytes: &[u8], error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let Ok(text) = std::str::from_utf8(bytes) else { return ApiError::malformed("the body is not UTF-8") };
    // Looked at without being held: it may be long.
    match serde_json::from_str::<Anything>(text) {
        Err(error) => malformed_json(error),
        Ok(_) => {
            let detail = error.inner().to_string();
            ApiError::invalid(vec![FieldError::new(&field_of(error), own_words(&detail))])
        }
    }
}

/// JSON of any shape, looked at and let go; unlike what serde ignores, no deeper than JSON may be here.
struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Anything {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

fn malformed_json(error: serde_json::Error) -> ApiError {
    let (line, column) = (error.line(), error.column());
    let detail = match error.is_eof() {
        true => "the body ends where JSON would go on".to_owned(),
        false => format!("the body is not valid JSON from line {line}, column {column} on"),
    };
    ApiError::malformed(detail)
}

/// A struct that is written as a JSON object: serde alone would take an array too, its fields in order, which no client
/// means.
#[derive(Debug, Default)]
pub(crate) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

/// A field that may be absent, but not null unless `T` may be.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The field that an error is about: the path to it, or for an unknown or missing field that field itself. The body as a
/// whole is `body`.
fn field_of<E: std::fmt::Display>(error: &serde_path_to_error::Error<E>) -> String {
    let path = error.path().to_string();
    let parent = if path == "." { "" } else { path.as_str() };
    let message = error.inner().to_string();
    let named = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split_once('`').map(|(field, _)| field.to_owned()));
    match named {
        // The path ends in the unknown or repeated field already.
        Some(field) if parent.is_empty() || parent == field => field,
        Some(field) if parent.ends_with(&format!(".{field}")) => parent.to_owned(),
        Some(field) => format!("{parent}.{field}"),
        None if parent.is_empty() => "body".to_owned(),
        None => parent.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are looked at")]
    struct Outer {
        inner: Inner,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are looked at")]
    struct Inner {
        size: u32,
    }

    #[test]
    fn an_error_of_shape_names_its_field() {
        let table = [
            (r#"{"inner":{"size":-1}}"#, "inner.size"),
            (r#"{"inner":{"size":1,"sise":2}}"#, "inner.sise"),
            (r#"{"inner":{}}"#, "inner.size"),
            (r#"{"inner":{"size":1},"outer":1}"#, "outer"),
            (r#"{"inner":{"size":1},"inner":{"size":1}}"#, "inner"),
            ("{}", "inner"),
            ("7", "body"),
            (r#"[{"size":1}]"#, "body"),
        ];
        for (json, field) in table {
            let error = format!("{:?}", parse_json::<Outer>(json.as_bytes()).unwrap_err());
            assert!(
                error.contains("422") && error.contains(&format!("\"field\": String({field:?})")),
                "{json}: {error}"
            );
        }
    }

    #[test]
    fn text_that_is_not_json_is_malformed() {
        let deep = "[".repeat(100_000);
        for bad in ["", "{", "{\"inner\":}", "{} {}", "{\"inner\":{\"size\":1}} x", &deep] {
            let error = format!("{:?}", parse_json::<Outer>(bad.as_bytes()).unwrap_err());
            assert!(error.contains("400"), "{error}");
        }
        let error = format!("{:?}", parse_json::<serde_json::Value>(b"\"\xff\"").unwrap_err());
        assert!(error.contains("400"), "{error}");
    }
}
