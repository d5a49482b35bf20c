//! The redirect of a call that names an app by a slug of before.

use http::header::{HeaderValue, LOCATION};
use http::{StatusCode, Uri};
use picloud_shared::name::AppSlug;

use axum::response::{IntoResponse, Response};

/// What a handler says of an app that has another slug now. The address that it was called by is known further out.
#[derive(Debug, Clone)]
pub(crate) struct MovedTo(pub AppSlug);

impl IntoResponse for MovedTo {
    fn into_response(self) -> Response {
        let mut response = StatusCode::PERMANENT_REDIRECT.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Adds the new address to an answer that wants one.
pub(crate) fn add_location(response: &mut Response, called: &Uri) {
    if let Some(MovedTo(slug)) = response.extensions().get() {
        let location = HeaderValue::from_str(&renamed(called, slug));
        response.headers_mut().insert(LOCATION, location.expect("an address and a slug are visible ASCII"));
    }
}

/// The address with the slug in place of what names the app: the segment after `apps`, or the parameter `app`.
fn renamed(called: &Uri, slug: &AppSlug) -> String {
    let (mut address, mut after_apps) = (String::new(), false);
    for segment in called.path().split('/').skip(1) {
        address.push('/');
        address.push_str(if after_apps { slug.as_str() } else { segment });
        after_apps = !after_apps && segment == "apps";
    }
    let parameters = called.query().into_iter().flat_map(|query| query.split('&'));
    for (at, parameter) in parameters.enumerate() {
        address.push(if at == 0 { '?' } else { '&' });
        match parameter.strip_prefix("app=") {
            Some(_) => address.extend(["app=", slug.as_str()]),
            None => address.push_str(parameter),
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_the_app_is_another() {
        for (called, expected) in [
            ("/api/v1/admin/apps/old", "/api/v1/admin/apps/new"),
            ("/api/v1/admin/apps/old/logs?limit=1&cursor=x", "/api/v1/admin/apps/new/logs?limit=1&cursor=x"),
            ("/api/v1/admin/apps/apps/apps", "/api/v1/admin/apps/new/apps"),
            ("/api/v1/admin/scripts?app=old&limit=1", "/api/v1/admin/scripts?app=new&limit=1"),
            ("/api/v1/admin/scripts?limit=1&app=old", "/api/v1/admin/scripts?limit=1&app=new"),
        ] {
            assert_eq!(renamed(&called.parse().unwrap(), &"new".parse().unwrap()), expected);
        }
    }
}
