//! From a request's head to who answers it: an app's script, the manager, or this program itself.

mod admin;
mod challenge;
mod execute_by_id;
mod run;
mod run_later;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use picloud_executor::Executor;
use picloud_shared::admin_hosts::is_admin_path;
use picloud_shared::clock::Clock;
use picloud_shared::domain_pattern::Host;
use picloud_shared::request::{RequestKeeper, Scheme};
use picloud_shared::snapshot::SnapshotCell;

use crate::access_log::AccessLogEntry;
use crate::admin_hosts::{AdminHosts, HostKind};
use crate::answer::Answer;
use crate::client::{Client, ListenerRole, Sender};
use crate::http::{ALLOWED_METHODS, Head, Refusal, RequestTarget, check_method, read_target};
use crate::io::{Exchange, Handler};
use crate::manager_link::ControlPlane;
use crate::metrics::{Destination, Metrics};
use crate::tls::Certificates;
use crate::trusted_proxies::TrustedProxies;

/// What the gateway joins.
pub struct GatewayParts {
    /// Where the published snapshot stands.
    pub snapshot: Arc<SnapshotCell>,
    /// What runs scripts.
    pub executor: Arc<Executor>,
    /// Where ids get their time from.
    pub clock: Arc<dyn Clock>,
    /// What keeps the requests whose callers do not wait.
    pub requests: Arc<dyn RequestKeeper>,
    /// What answers admin requests.
    pub control: Arc<dyn ControlPlane>,
    /// Which hosts are the dashboard's and the API's.
    pub admin_hosts: AdminHosts,
    /// The document of `GET /version`.
    pub version_document: Bytes,
    /// Whose word on a request's sender counts.
    pub trusted_proxies: TrustedProxies,
    /// Bytes of a request's body.
    pub body_limit: usize,
    /// Which certificates are shown, and which challenges are answered.
    pub certificates: Arc<Certificates>,
    /// Whether an app's host is answered by plain HTTP until there is a certificate for it.
    pub plain_http_until_certificate: bool,
    /// Whether each request leaves a line in the log.
    pub access_log: bool,
    /// What counts them.
    pub metrics: Arc<Metrics>,
}

/// Answers every request of every listener.
pub struct Gateway {
    parts: GatewayParts,
    store: admin::StoreProbe,
}

impl Gateway {
    /// A gateway of these parts.
    pub fn new(parts: GatewayParts) -> Self {
        Self { parts, store: admin::StoreProbe::default() }
    }

    /// Answers a request of the public; tells who did.
    async fn answer(&self, client: &Client, sender: Sender, head: Head, exchange: &mut Exchange<'_>) -> Destination {
        let (destination, answer) = match self.direction(client, sender, &head) {
            Ok(Direction::Answer(answer)) => (Destination::None, Some(answer)),
            // What is rare is boxed, so that it takes no room in the task of every request.
            Ok(Direction::Admin(place)) => (place.destination(), Box::pin(self.admin(*place, head, exchange)).await),
            Ok(Direction::Run(routed)) => {
                (Destination::App, Some(self.run_route(routed, sender, head, exchange).await))
            }
            Err(refusal) => {
                let _ = exchange.refuse(refusal).await;
                (Destination::None, None)
            }
        };
        // A client that left has nobody to tell.
        if let Some(answer) = answer {
            let _ = exchange.send(answer).await;
        }
        destination
    }

    /// Who answers, decided on the head alone.
    fn direction(&self, client: &Client, sender: Sender, head: &Head) -> Result<Direction, Refusal> {
        check_method(&head.method)?;
        let target = read_target(head)?;
        // RFC 9110, 7.4: a proxy that is trusted may ask on one connection for whatever its clients ask it for.
        if !sender.is_passed_on {
            client.check_scheme(target.scheme)?;
            client.check_host(&target.host)?;
        }
        if let Some(answer) = self.challenge(&target, &head.method) {
            return Ok(answer.into());
        }
        if let ListenerRole::RedirectToHttps { port } = client.role
            && sender.scheme == Scheme::Http
            && !self.waits_for_its_certificate(sender, &target.host)
        {
            return redirect_to_https(&target, port).map(Into::into);
        }
        if target.whole_server {
            return Ok(options(ALLOWED_METHODS).into());
        }
        let kind = self.parts.admin_hosts.kind_of(&target.host, sender.is_local);
        if kind != HostKind::App && is_admin_path(&target.path) {
            return Ok(Direction::Admin(Box::new(admin::Place::new(sender, kind, &target))));
        }
        Ok(match kind {
            HostKind::Admin => admin::elsewhere(&target.path, &head.method).into(),
            HostKind::Shared | HostKind::App => self.route(&target, &head.method),
        })
    }
}

/// Who answers a request.
enum Direction {
    /// Nobody else: this is the answer.
    Answer(Answer),
    /// The manager, or what stands beside it.
    Admin(Box<admin::Place>),
    /// An app's script.
    Run(run::Routed),
}

impl From<Answer> for Direction {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl Handler for Gateway {
    async fn handle(&self, client: &Arc<Client>, head: Head, exchange: &mut Exchange<'_>) {
        let sender = self.parts.trusted_proxies.sender(client, &head.headers);
        let entry = self.parts.access_log.then(|| AccessLogEntry::begin(&head, sender));
        if client.role == ListenerRole::Internal {
            let answer = Box::pin(self.internal(&head)).await;
            let _ = exchange.send(answer).await;
        } else {
            let begun = Instant::now();
            let destination = self.answer(client, sender, head, exchange).await;
            self.parts.metrics.request(destination, exchange.status(), begun.elapsed());
        }
        if let Some(entry) = entry {
            entry.end(exchange.status());
        }
    }
}

/// The answer to a plain OPTIONS.
fn options(allow: &str) -> Answer {
    let answer = Answer::empty(StatusCode::NO_CONTENT);
    match HeaderValue::from_str(allow) {
        Ok(allow) => answer.with(ALLOW, allow),
        Err(_) => answer,
    }
}

fn redirect_to_https(target: &RequestTarget<'_>, port: u16) -> Result<Answer, Refusal> {
    let (host, path) = (target.host.as_str(), target.path.raw());
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let query = target.query.map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::from_str(&format!("https://{host}{port}{path}{query}"));
    let location = location.map_err(|_| Refusal::InvalidTarget)?;
    Ok(Answer::redirect(StatusCode::PERMANENT_REDIRECT, location))
}

fn json(body: Bytes) -> Answer {
    Answer { body, ..Answer::text(StatusCode::OK, "") }.with(CONTENT_TYPE, HeaderValue::from_static("application/json"))
}

fn unknown_host(host: &Host<'_>) -> Answer {
    let detail = format!("No app is published at {}.", host.as_str());
    Answer::problem(StatusCode::NOT_FOUND, "unknown_host", &detail)
}
