//! The JSON of routes: reading a pattern field by field, and showing a route.

use picloud_shared::clock::Timestamp;
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::id::{AppId, RouteId, ScriptId};
use picloud_shared::path_pattern::{PathKind, PathPattern};
use picloud_shared::route::{HostSelector, Route, RouteMethod, RoutePattern};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::extract::present;
use crate::api::schema;
use crate::service::error::InvalidField;
use crate::service::route::WantedRoute;
use crate::service::route_url::LocatedRoute;

/// A route.
#[derive(Serialize, ToSchema)]
pub(crate) struct RouteView {
    #[schema(value_type = Uuid)]
    pub id: RouteId,
    #[schema(value_type = Uuid)]
    pub app_id: AppId,
    #[schema(value_type = Uuid)]
    pub script_id: ScriptId,
    #[schema(value_type = schema::HostKind)]
    pub host_kind: HostKind,
    /// The host of a strict route, `*.` and the parent of a wildcard one; null for any.
    pub host: Option<String>,
    #[schema(value_type = schema::PathKind)]
    pub path_kind: PathKind,
    pub path: String,
    #[schema(value_type = schema::RouteMethod)]
    pub method: RouteMethod,
    /// Whether callers are answered at once with 202 and the id of an event, and the script runs later.
    #[serde(rename = "async")]
    pub is_async: bool,
    /// An address that the route answers at; null while the app claims no domain.
    pub url: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<LocatedRoute> for RouteView {
    fn from(LocatedRoute { stored, url }: LocatedRoute) -> Self {
        let route = stored.route;
        let RoutePattern { host, path, method } = &route.pattern;
        Self {
            id: route.id,
            app_id: route.app_id,
            script_id: route.script_id,
            host_kind: HostKind::of(host),
            host: host_text(host),
            path_kind: path.kind(),
            path: path.as_str().to_owned(),
            method: *method,
            is_async: route.is_async,
            url,
            created_at: stored.created_at,
        }
    }
}

impl RouteView {
    pub(crate) fn all(routes: Vec<LocatedRoute>) -> Vec<Self> {
        routes.into_iter().map(Self::from).collect()
    }
}

/// Which hosts of its app a route answers on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HostKind {
    Any,
    Strict,
    Wildcard,
}

impl HostKind {
    pub(crate) fn of(selector: &HostSelector) -> Self {
        match selector {
            HostSelector::Any => Self::Any,
            HostSelector::Strict(_) => Self::Strict,
            HostSelector::Wildcard(_) => Self::Wildcard,
        }
    }
}

pub(crate) fn host_text(selector: &HostSelector) -> Option<String> {
    match selector {
        HostSelector::Any => None,
        selector => Some(selector.shape_key()),
    }
}

/// Which requests a route is to take.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatternBody {
    #[schema(value_type = schema::HostKind)]
    pub host_kind: HostKind,
    /// A host for strict, such as `shop.example.com`; a wildcard for wildcard, such as `*.example.com`; absent for any.
    pub host: Option<String>,
    #[schema(value_type = schema::PathKind)]
    pub path_kind: PathKind,
    /// `/a/b`; for param `/users/:id`; for prefix `/files/*`.
    pub path: String,
    #[schema(value_type = schema::RouteMethod)]
    pub method: RouteMethod,
    /// Whether callers are answered at once with 202 and the id of an event, and the script runs later. Absent, they wait for it.
    #[serde(rename = "async", default)]
    pub is_async: bool,
}

/// Changes of a route; what is absent stays.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatternPatch {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = schema::HostKind, required = false)]
    pub host_kind: Option<HostKind>,
    /// Null for any host.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub host: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = schema::PathKind, required = false)]
    pub path_kind: Option<PathKind>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false)]
    pub path: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = schema::RouteMethod, required = false)]
    pub method: Option<RouteMethod>,
    #[serde(rename = "async", default, deserialize_with = "present")]
    #[schema(value_type = bool, required = false)]
    pub is_async: Option<bool>,
    /// Another endpoint of the same app.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Uuid, required = false)]
    pub script_id: Option<ScriptId>,
}

impl PatternBody {
    /// Reads what is wanted, or says of each field what is wrong.
    pub(crate) fn parse(&self) -> Result<WantedRoute, Vec<InvalidField>> {
        let host = parse_host(self.host_kind, self.host.as_deref()).map_err(|detail| invalid("host", detail));
        let path = PathPattern::parse(self.path_kind, &self.path).map_err(|error| invalid("path", error));
        match (host, path) {
            (Ok(host), Ok(path)) => {
                let pattern = RoutePattern { host, path, method: self.method };
                Ok(WantedRoute { pattern, is_async: self.is_async })
            }
            (host, path) => Err(host.err().into_iter().chain(path.err()).collect()),
        }
    }
}

impl PatternPatch {
    /// The whole route that it would be. Another kind of host drops the old host.
    pub(crate) fn onto(&self, route: &Route) -> PatternBody {
        let old = &route.pattern;
        let old_kind = HostKind::of(&old.host);
        let host_kind = self.host_kind.unwrap_or(old_kind);
        let kept_host = if host_kind == old_kind { host_text(&old.host) } else { None };
        PatternBody {
            host_kind,
            host: self.host.clone().unwrap_or(kept_host),
            path_kind: self.path_kind.unwrap_or(old.path.kind()),
            path: self.path.clone().unwrap_or_else(|| old.path.as_str().to_owned()),
            method: self.method.unwrap_or(old.method),
            is_async: self.is_async.unwrap_or(route.is_async),
        }
    }
}

fn invalid(field: &str, detail: impl ToString) -> InvalidField {
    InvalidField { field: field.to_owned(), detail: detail.to_string() }
}

fn parse_host(kind: HostKind, host: Option<&str>) -> Result<HostSelector, String> {
    match (kind, host) {
        (HostKind::Any, None) => Ok(HostSelector::Any),
        (HostKind::Any, Some(_)) => Err("a route for any host names none; leave it out".to_owned()),
        (_, None) => Err("a strict or wildcard route names its host".to_owned()),
        // A route's host is spelled as a claim is: without a port.
        (kind, Some(text)) => match (kind, text.parse().map_err(|error| format!("{error}"))?) {
            (HostKind::Strict, DomainPattern::Exact(host)) => Ok(HostSelector::Strict(host)),
            (HostKind::Wildcard, DomainPattern::Wildcard { parent, .. }) => Ok(HostSelector::Wildcard(parent)),
            (HostKind::Strict, _) => Err("a strict route names one host, such as shop.example.com".to_owned()),
            _ => Err("a wildcard route names a wildcard, such as *.example.com".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn body(host_kind: HostKind, host: Option<&str>, path_kind: PathKind, path: &str) -> PatternBody {
        let (host, path) = (host.map(str::to_owned), path.to_owned());
        PatternBody { host_kind, host, path_kind, path, method: RouteMethod::Get, is_async: true }
    }

    #[test]
    fn each_wrong_field_is_named() {
        let fields = |body: PatternBody| -> Vec<String> {
            body.parse().err().into_iter().flatten().map(|error| error.field).collect()
        };
        assert_eq!(fields(body(HostKind::Any, None, PathKind::Exact, "/a")), Vec::<String>::new());
        assert_eq!(fields(body(HostKind::Any, Some("a.example"), PathKind::Prefix, "/a")), ["host", "path"]);
        assert_eq!(fields(body(HostKind::Strict, None, PathKind::Exact, "/a")), ["host"]);
        assert_eq!(fields(body(HostKind::Strict, Some("*.a.example"), PathKind::Exact, "/a")), ["host"]);
        assert_eq!(fields(body(HostKind::Strict, Some("a.example:80"), PathKind::Exact, "/a")), ["host"]);
        assert_eq!(fields(body(HostKind::Wildcard, Some("a.example"), PathKind::Exact, "/a")), ["host"]);
        assert_eq!(fields(body(HostKind::Wildcard, Some("*.a.example"), PathKind::Exact, "a")), ["path"]);
    }

    #[test]
    fn a_patch_keeps_what_it_does_not_name_and_drops_the_host_of_another_kind() {
        let WantedRoute { pattern, is_async } =
            body(HostKind::Strict, Some("a.example"), PathKind::Exact, "/a").parse().unwrap();
        let (id, app_id, script_id) = (Uuid::nil(), AppId::from_uuid(Uuid::nil()), ScriptId::from_uuid(Uuid::nil()));
        let old = Route { id: RouteId::from_uuid(id), app_id, script_id, pattern, is_async };
        let blank = PatternPatch {
            host_kind: None,
            host: None,
            path_kind: None,
            path: None,
            method: None,
            is_async: None,
            script_id: None,
        };
        let wanted = |patch: &PatternPatch| patch.onto(&old).parse().unwrap();
        assert_eq!(wanted(&blank), WantedRoute { pattern: old.pattern.clone(), is_async: true });
        let waiting = PatternPatch { is_async: Some(false), ..blank.clone() };
        assert_eq!(wanted(&waiting), WantedRoute { pattern: old.pattern.clone(), is_async: false });
        let any = PatternPatch { host_kind: Some(HostKind::Any), ..blank.clone() };
        let pattern = RoutePattern { host: HostSelector::Any, ..old.pattern.clone() };
        assert_eq!(wanted(&any), WantedRoute { pattern, is_async: true });
        let wildcard = PatternPatch { host_kind: Some(HostKind::Wildcard), ..blank };
        assert!(wildcard.onto(&old).parse().is_err());
    }
}
