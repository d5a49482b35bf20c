//! The paths of admin hosts: what this program answers itself, and what goes to the manager.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use picloud_shared::app::MAX_DOCUMENT_BYTES;
use picloud_shared::gauges::{DiskSpace, NodeGauges};
use picloud_shared::path_pattern::RequestPath;
use picloud_shared::request::AdminPeer;
use picloud_shared::version;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::run::RequestPlace;
use super::{Gateway, GatewayParts, json, options};
use crate::admin_hosts::HostKind;
use crate::answer::{Answer, ProblemMembers};
use crate::client::Sender;
use crate::http::{Head, Refusal, RequestTarget, read_target};
use crate::io::Exchange;
use crate::manager_link::{AdminRequest, ControlPlane, StoreHealth, admin_peer, forward};
use crate::metrics::{self, Destination, Sample};

/// What a resource of this program's own takes.
const READ_ONLY: &str = "GET, HEAD, OPTIONS";
/// A store that answers later than this is as good as away, for a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// What there is to do where the store has another key.
const KEY_REPLACED: &str =
    "the instance's secret key was replaced: give this node the new key file, and start it again";
/// What there is to say of a disk with little room.
const DISK_NEARLY_FULL: &str = "the disk of the data folder is nearly full: picloud doctor tells what to do";
/// Suffixes that the public DNS has no names in, so that no stranger's page has one: those of mDNS, of home networks and of
/// private ones.
const OF_LOCAL_NETWORKS: [&str; 5] = [".local", ".lan", ".localdomain", ".home.arpa", ".internal"];
/// How long what a probe found is told to others: whoever asks more often learns nothing, and costs the store nothing.
const PROBE_LIFETIME: Duration = Duration::from_secs(1);

/// An admin request's place, owned.
pub(super) struct Place {
    pub(super) sender: Sender,
    pub(super) peer: AdminPeer,
    pub(super) request: RequestPlace,
    resource: Resource,
    path_and_query: String,
}

/// What an admin path names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Resource {
    Health,
    Readiness,
    Version,
    Execute(Box<str>),
    Manager,
    /// The manager as well, which takes whole apps here.
    ManagerDocument,
    OtherApiVersion,
}

/// How the store is, asked by one at a time.
#[derive(Debug, Default)]
pub(super) struct StoreProbe {
    last: Mutex<Option<Probed>>,
}

/// What a probe found.
#[derive(Debug, Clone, Copy)]
struct Probed {
    at: Instant,
    health: StoreHealth,
    took: Duration,
}

impl StoreProbe {
    async fn health(&self, control: &dyn ControlPlane) -> Probed {
        let mut last = self.last.lock().await;
        if let Some(probed) = *last
            && probed.at.elapsed() < PROBE_LIFETIME
        {
            return probed;
        }
        let begun = Instant::now();
        let asked = tokio::time::timeout(PROBE_TIMEOUT, control.store_health()).await;
        let health = asked.unwrap_or(StoreHealth::Unreachable);
        let probed = Probed { at: Instant::now(), health, took: begun.elapsed() };
        *last = Some(probed);
        probed
    }
}

#[derive(Serialize)]
struct Readiness {
    snapshot_version: u64,
    store: StoreHealth,
    /// What works still, and somebody should look at.
    warnings: Vec<String>,
}

/// What an admin path names, compared decoded, as routes are.
fn resource(path: &RequestPath<'_>) -> Resource {
    let mut segments = [""; 7];
    let mut count = 0;
    for (place, segment) in segments.iter_mut().zip(path.segments()) {
        *place = segment;
        count += 1;
    }
    match segments[..count] {
        ["healthz"] => Resource::Health,
        ["readyz"] => Resource::Readiness,
        ["version"] => Resource::Version,
        ["api", "v1", "execute", id] => Resource::Execute(id.into()),
        ["api", "v1", "admin", "apps:import"] | ["api", "v1", "admin", "apps", _, "deployment"] => {
            Resource::ManagerDocument
        }
        ["api", "v1", ..] | ["admin", ..] => Resource::Manager,
        _ => Resource::OtherApiVersion,
    }
}

/// What an admin host says to paths that are neither the dashboard's nor the API's.
pub(super) fn elsewhere(path: &RequestPath<'_>, method: &Method) -> Answer {
    match path.raw() {
        "/" if method == Method::GET || method == Method::HEAD => {
            Answer::redirect(StatusCode::FOUND, HeaderValue::from_static("/admin/"))
        }
        _ => Answer::problem(
            StatusCode::NOT_FOUND,
            "not_found",
            "This host serves the dashboard under /admin/ and the API under /api/v1/.",
        ),
    }
}

impl Place {
    pub(super) fn new(sender: Sender, kind: HostKind, target: &RequestTarget<'_>) -> Self {
        let cookies_count = kind == HostKind::Admin;
        let mut path_and_query = target.path.raw().to_owned();
        if let Some(query) = target.query {
            path_and_query.push('?');
            path_and_query.push_str(query);
        }
        Self {
            sender,
            peer: admin_peer(sender, target.authority, cookies_count),
            request: RequestPlace::new(target),
            resource: resource(&target.path),
            path_and_query,
        }
    }

    /// Who answers it: a script that is run by its id is an app's, as by a route.
    pub(super) fn destination(&self) -> Destination {
        match self.resource {
            Resource::Execute(_) => Destination::App,
            _ => Destination::Admin,
        }
    }
}

impl Gateway {
    /// Answers an admin path; `None` when the manager has.
    pub(super) async fn admin(&self, place: Place, head: Head, exchange: &mut Exchange<'_>) -> Option<Answer> {
        match place.resource.clone() {
            Resource::Health => Some(read_only(&head.method, health)),
            Resource::Readiness => Some(self.readiness(&head.method, false).await),
            Resource::Version => Some(read_only(&head.method, || json(self.parts.version_document.clone()))),
            Resource::OtherApiVersion => Some(other_api_version()),
            Resource::Execute(id) => Some(self.execute_by_id(&id, place, head, exchange).await),
            resource @ (Resource::Manager | Resource::ManagerDocument) => {
                let is_document = resource == Resource::ManagerDocument;
                let most = if is_document { MAX_DOCUMENT_BYTES } else { 0 };
                let request = AdminRequest {
                    method: head.method,
                    path_and_query: place.path_and_query,
                    headers: head.headers,
                    peer: place.peer,
                    body_limit: self.parts.body_limit.max(most),
                };
                forward(&self.parts.control, request, exchange).await
            }
        }
    }

    /// The listener for probes and for Prometheus, which call it by an address or by a name that no stranger has.
    pub(super) async fn internal(&self, head: &Head) -> Answer {
        if !self.is_own_host(head) {
            let detail =
                "This listener answers to addresses, to names of a local network and to the dashboard's hosts.";
            return Answer::problem(StatusCode::MISDIRECTED_REQUEST, "misdirected_request", detail);
        }
        match head.target().split('?').next() {
            Some("/healthz") => read_only(&head.method, health),
            Some("/readyz") => self.readiness(&head.method, true).await,
            Some("/metrics") => self.metrics(&head.method).await,
            _ => {
                let detail = "This listener serves /healthz, /readyz and /metrics.";
                Answer::problem(StatusCode::NOT_FOUND, "not_found", detail)
            }
        }
    }

    /// Whether a request names a host that leads here by right. A browser that is shown a page of a stranger's host, whose name then
    /// leads to this machine, would hand that page what only this machine is to read. No browser leaves the host out.
    fn is_own_host(&self, head: &Head) -> bool {
        match read_target(head) {
            Ok(RequestTarget { host, .. }) => {
                host.is_ip()
                    || is_of_local_network(host.as_str())
                    || self.parts.admin_hosts.configured().contains(&host)
            }
            Err(refusal) => refusal == Refusal::MissingHost,
        }
    }

    /// What Prometheus is told. It names apps and hosts, so that it is told to this machine alone; and it is told whatever state
    /// the store is in.
    async fn metrics(&self, method: &Method) -> Answer {
        if method != Method::GET && method != Method::HEAD {
            return read_only(method, health);
        }
        let GatewayParts { control, certificates, executor, snapshot, metrics, .. } = &self.parts;
        let probed = self.store.health(&**control).await;
        let by_state = tokio::time::timeout(PROBE_TIMEOUT, control.certificates_by_state());
        let sample = Sample {
            load: executor.load(),
            records_dropped: control.records_dropped(),
            app_data: control.app_data(),
            nodes: control.live_nodes(),
            backups: control.backups(),
            now: self.parts.clock.now(),
            store: probed.health,
            store_probe: probed.took,
            // Who is known not to answer is not waited for.
            certificates: match probed.health {
                StoreHealth::Unreachable => None,
                _ => by_state.await.ok().and_then(Result::ok),
            },
            ends: certificates.ends(),
            ending_soon: certificates.ending(self.parts.clock.now()).len(),
        };
        let page = metrics.page(&snapshot.load(), sample).into();
        let answer = Answer { body: page, ..Answer::text(StatusCode::OK, "") };
        answer.with(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE))
    }

    /// Ready means that endpoints are answered, which the snapshot alone decides; the store's state is told beside it.
    /// Which hosts there are, and what the operator is to do, is told to this machine alone.
    async fn readiness(&self, method: &Method, names_hosts: bool) -> Answer {
        if method != Method::GET && method != Method::HEAD {
            return read_only(method, health);
        }
        let store = self.store.health(&*self.parts.control).await.health;
        let snapshot_version = self.parts.snapshot.load().version();
        let ending = self.parts.certificates.ending(self.parts.clock.now());
        let mut warnings = match names_hosts {
            true => ending.iter().map(|(name, ends)| format!("the certificate for {name} ends at {ends}")).collect(),
            false if ending.is_empty() => Vec::new(),
            false => vec![format!("certificates that end soon: {}", ending.len())],
        };
        if names_hosts && store == StoreHealth::KeyReplaced {
            warnings.insert(0, KEY_REPLACED.to_owned());
        }
        if names_hosts && self.parts.metrics.sample().disk.is_some_and(DiskSpace::is_low) {
            warnings.push(DISK_NEARLY_FULL.to_owned());
        }
        Answer::json(StatusCode::OK, &Readiness { snapshot_version, store, warnings })
    }
}

/// Whether the name is one that only a local network gives, such as `localhost`, a container's or `raspberrypi.local`.
fn is_of_local_network(name: &str) -> bool {
    !name.contains('.') || OF_LOCAL_NETWORKS.iter().any(|suffix| name.ends_with(suffix))
}

fn health() -> Answer {
    Answer::text(StatusCode::OK, "ok")
}

fn read_only(method: &Method, answer: impl FnOnce() -> Answer) -> Answer {
    match *method {
        Method::GET | Method::HEAD => answer(),
        Method::OPTIONS => options(READ_ONLY),
        _ => Answer::method_not_allowed(HeaderValue::from_static(READ_ONLY)),
    }
}

fn other_api_version() -> Answer {
    let members = ProblemMembers { supported_version: Some(version::API), ..ProblemMembers::default() };
    let detail = format!("This server speaks version {0} of the API, under /api/v{0}/.", version::API);
    Answer::problem_with(StatusCode::NOT_FOUND, "unsupported_api_version", &detail, members)
}
