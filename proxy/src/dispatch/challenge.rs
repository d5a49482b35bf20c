//! What plain HTTP does beside redirecting: pages for authorities (RFC 8555, 8.3), and hosts that wait for a certificate.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use picloud_shared::domain_pattern::Host;

use super::Gateway;
use crate::admin_hosts::HostKind;
use crate::answer::Answer;
use crate::client::Sender;
use crate::http::RequestTarget;

/// Where authorities look.
const CHALLENGES: &str = "/.well-known/acme-challenge/";

impl Gateway {
    /// The page of a pending challenge of that host. All else there is the app's.
    pub(super) fn challenge(&self, target: &RequestTarget<'_>, method: &Method) -> Option<Answer> {
        let token = target.path.raw().strip_prefix(CHALLENGES)?;
        let page = self.parts.certificates.page(target.host.as_str(), token)?;
        if method != Method::GET && method != Method::HEAD {
            return Some(Answer::method_not_allowed(HeaderValue::from_static("GET, HEAD")));
        }
        let text = bytes::Bytes::copy_from_slice(page.as_bytes());
        let answer = Answer { body: text, ..Answer::text(StatusCode::OK, "") };
        Some(answer.with(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")))
    }

    /// Whether the operator lets the host be answered by plain HTTP, since there is no certificate for it yet. The
    /// dashboard's never are: passwords go there.
    pub(super) fn waits_for_its_certificate(&self, sender: Sender, host: &Host<'_>) -> bool {
        self.parts.plain_http_until_certificate
            && self.parts.admin_hosts.kind_of(host, sender.is_local) == HostKind::App
            && self.parts.certificates.find(host.as_str()).is_none()
    }
}
