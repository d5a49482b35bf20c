//! The addresses that people see of a route: where its app answers, spelled as the public base URL is.

use picloud_shared::domain_pattern::{DomainPattern, Host};
use picloud_shared::route::{HostSelector, Route};

use crate::repo::routes::StoredRoute;

/// The scheme and port that this instance is reached by.
#[derive(Debug, Clone)]
pub(crate) struct UrlStyle {
    scheme: String,
    /// `:8080`, or empty for the scheme's own port.
    port: String,
}

/// A base URL that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the public base URL is http or https, a host and an optional port, such as https://pi.example.com")]
pub struct InvalidBaseUrl;

/// A route with an address that it answers at, if its app claims any host.
#[derive(Debug, Clone)]
pub(crate) struct LocatedRoute {
    pub stored: StoredRoute,
    pub url: Option<String>,
}

impl UrlStyle {
    /// The style of a base URL, and its host.
    pub(crate) fn of(base_url: &str) -> Result<(Self, Host<'static>), InvalidBaseUrl> {
        let uri: http::Uri = base_url.parse().map_err(|_| InvalidBaseUrl)?;
        let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme)).ok_or(InvalidBaseUrl)?;
        let authority = uri.authority().ok_or(InvalidBaseUrl)?;
        let host = Host::parse_authority(authority.as_str()).map_err(|_| InvalidBaseUrl)?.into_owned();
        if uri.path() != "/" || uri.query().is_some() {
            return Err(InvalidBaseUrl);
        }
        let own_port = if scheme == "https" { 443 } else { 80 };
        let port = uri.port_u16().filter(|port| *port != own_port).map_or(String::new(), |port| format!(":{port}"));
        Ok((Self { scheme: scheme.to_owned(), port }, host))
    }

    /// A route's address: of its own host, else of the app's first exact claim, else of its first wildcard.
    pub(crate) fn url(&self, route: &Route, claims: &[DomainPattern]) -> Option<String> {
        let host = match &route.pattern.host {
            HostSelector::Any => {
                let exact = claims.iter().find(|claim| matches!(claim, DomainPattern::Exact(_)));
                exact.or(claims.first())?.shape_key()
            }
            selector => selector.shape_key(),
        };
        Some(format!("{}://{host}{}{}", self.scheme, self.port, route.pattern.path))
    }

    pub(crate) fn locate(&self, stored: StoredRoute, claims: &[DomainPattern]) -> LocatedRoute {
        LocatedRoute { url: self.url(&stored.route, claims), stored }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_a_scheme_a_host_and_an_optional_port() {
        let style = |url| UrlStyle::of(url).map(|(style, host)| (style.scheme, host.as_str().to_owned(), style.port));
        let is = |scheme: &str, host: &str, port: &str| Ok((scheme.to_owned(), host.to_owned(), port.to_owned()));
        assert_eq!(style("http://127.0.0.1:8080"), is("http", "127.0.0.1", ":8080"));
        assert_eq!(style("https://Pi.example.com/"), is("https", "pi.example.com", ""));
        assert_eq!(style("https://pi.example.com:443"), is("https", "pi.example.com", ""));
        for bad in ["", "pi.example.com", "ftp://pi.example.com", "https://pi.example.com/x", "https://a@b"] {
            assert_eq!(style(bad), Err(InvalidBaseUrl), "{bad}");
        }
    }
}
