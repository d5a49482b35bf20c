//! From a configuration to a program at work, and from a signal to its end. A straight line: open, bind, publish,
//! serve, drain; or, at a hand-over, beside another process for as long as the one takes to drain.

mod go_between;
mod hand_over;
mod inheritance;
mod listening;
mod logging;
mod open_files;
mod origin;
mod predecessor;
mod service_manager;
mod signals;
mod sockets;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use picloud_executor::port::Ports;
use picloud_executor::{Executor, give_memory_back};
use picloud_manager::backup::BackupPlan;
use picloud_manager::certificate_store::Certificates as CertificateStore;
use picloud_manager::docs::Docs;
use picloud_manager::events::Events;
use picloud_manager::execution_writer::{ExecutionWriter, LogPolicy};
use picloud_manager::http_client::{OutgoingHttp, SystemDns};
use picloud_manager::kv::Kv;
use picloud_manager::secret::key_file::{self, SecretKey};
use picloud_manager::store::Store;
use picloud_manager::users::any_user;
use picloud_manager::{FirstOwner, Manager, ManagerConfig, NodeConfig, Parts, PublishTiming};
use picloud_proxy::acme::{AcmeSettings, Agent, AgentParts, RunningAgent};
use picloud_proxy::admin_hosts::AdminHosts;
use picloud_proxy::dispatch::{Gateway, GatewayParts};
use picloud_proxy::io::{IoLimits, Listener, RunningServer};
use picloud_proxy::manager_link::{ControlPlane, NodeIdentity, NodeListener, RemoteManager, RunningNodeListener};
use picloud_proxy::metrics::{Metrics, NodeFacts};
use picloud_proxy::tls::Certificates;
use picloud_shared::certificate::ChallengeKind;
use picloud_shared::clock::{Clock, SystemClock};
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::node::NodeRole;
use picloud_shared::snapshot::{Snapshot, SnapshotCell};
use picloud_shared::version;
use serde::Serialize;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::{Config, ExecutionLogSettings, PublicBaseUrl, first_owner};
use crate::control::InProcess;
use hand_over::{Program, Successor};
use predecessor::{Predecessor, Stage};
use service_manager::ServiceManager;
use signals::{Signals, Wish};
use sockets::{Label, Purpose};

pub use hand_over::version_of;
pub use origin::Origin;

/// What writing the log and closing the store may take beyond the grace: a database that does not answer must not keep a
/// process that is to end. Nothing that was acknowledged waits for it.
const CLOSING: Duration = Duration::from_secs(5);

/// How long giving back the certificates that are being ordered may take. The watchdog of systemd, which a process that handed over
/// does not speak to any more, waits for the other one for at least 15 s.
const LEAVING: Duration = Duration::from_secs(10);

/// Serves until a signal ends it, or another process goes on.
pub async fn serve(config: Config, origin: Origin) -> anyhow::Result<()> {
    let (_flushed_when_dropped, log_lines_dropped) = logging::start(&config.log)?;
    let node = NodeFacts { started: SystemClock.now(), data_dir: config.data_dir.clone(), log_lines_dropped };
    let metrics = Arc::new(Metrics::of(node));
    let mut signals = Signals::new()?;
    // A database that does not answer, or a long migration, must not keep a signal waiting: both can be left at any moment.
    let node = tokio::select! {
        started = Node::start(config, metrics, origin) => started?,
        () = signals.stop() => {
            tracing::info!("ended by a signal before it had started");
            return Ok(());
        }
    };
    let successor = node.serve(&mut signals).await;
    let next = successor.as_ref().map(Successor::reload);
    let pass_on = || next.iter().for_each(|reload| reload());
    tokio::select! {
        biased;
        () = node.drain(successor) => {}
        () = signals.stop_or_reload(pass_on) => tracing::warn!("ended at once by a second signal"),
    }
    Ok(())
}

/// What `config check` looks at beyond the settings themselves. Tells what is usable but worth knowing.
pub fn check(config: &Config) -> anyhow::Result<Vec<String>> {
    logging::filter(&config.log)?;
    let certificates = Certificates::load(config.certificates.clone())?;
    listening::base_url(config, &listening::listeners(&config.listen))?;
    parse_first_owner()?;
    Ok(listening::uncovered_dashboard(config, &certificates).into_iter().collect())
}

/// All parts at work.
struct Node {
    server: RunningServer,
    for_edges: Option<RunningNodeListener>,
    certificates: Arc<Certificates>,
    agent: RunningAgent,
    executor: Arc<Executor>,
    manager: Arc<Manager>,
    execution_log: ExecutionWriter,
    store: Store,
    grace: Duration,
    /// How another process is started in the place of this one, and what it gets.
    program: Program,
    sockets: Vec<(Label, TcpListener)>,
    upgrade_timeout: Duration,
    predecessor: Option<Predecessor>,
    service: Arc<ServiceManager>,
}

impl Node {
    async fn start(config: Config, metrics: Arc<Metrics>, origin: Origin) -> anyhow::Result<Self> {
        let Origin { program, sockets: given, predecessor, service, lock } = origin;
        let io = IoLimits { max_connections: open_files::raise(config.io.max_connections)?, ..config.io.clone() };
        let certificates = Arc::new(Certificates::load(config.certificates.clone())?);
        // Before anything is bound or opened: without an address of the dashboard there is no start.
        listening::base_url(&config, &listening::listeners(&config.listen))?;
        if let Some(oddity) = listening::uncovered_dashboard(&config, &certificates) {
            tracing::warn!("{oddity}");
        }
        let server = listening::bind(&config.listen, &given)?;
        let listeners: Vec<Listener> = server.listeners().copied().collect();
        let labelled = |(listener, socket): (Listener, TcpListener)| {
            let of_systemd = given.is_of_systemd(listener.address);
            (Label { purpose: Some(Purpose::of(&listener)), of_systemd }, socket)
        };
        let mut sockets: Vec<_> = server.sockets()?.into_iter().map(labelled).collect();
        let base_url = listening::base_url(&config, &listeners)?;
        let (machine, role) = (machine_name(), config.node.role);
        let bind = |address| {
            let listening = given.take_for_nodes(address).map_or_else(|| NodeListener::bind(address), NodeListener::of);
            listening.with_context(|| format!("node_listen {address}"))
        };
        let for_edges = config.node.listen.map(bind).transpose()?;
        if let Some(listener) = &for_edges {
            sockets.push((Label { purpose: Some(Purpose::Nodes), of_systemd: false }, listener.socket()?));
        }
        let listened_on = listeners.iter().map(|listener| listener.address);
        let listened_on: Vec<_> = listened_on.chain(for_edges.as_ref().map(NodeListener::address)).collect();
        given.close_others(&listened_on)?;
        let node_address = for_edges.as_ref().map(|listener| config.node.reached_by(listener.address(), &machine));

        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::open_to_serve(&config.database, &config.data_dir, lock).await?;
        // Before anything else is read: with another key than the store's, what comes next would be wrong.
        let secret_key = SecretKey::open(&store, &config.secret_key_file).await?;
        let identity = NodeIdentity::new(secret_key.derive(key_file::Purpose::Nodes).as_bytes(), version::WIRE)?;
        let schema = store.schema_version();
        let policy = log_policy(&store, &config.execution_log);
        let execution_log = ExecutionWriter::start(store.clone(), Arc::clone(&clock), policy);
        let sink = metrics.counting(execution_log.sink());
        let snapshot = Arc::new(SnapshotCell::default());
        let http = OutgoingHttp::new(config.script_http_allow.clone(), Arc::new(SystemDns::new()), Vec::new());
        let events = Events::new(store.clone(), Arc::clone(&clock), config.event_quota, config.event_lease);
        let shown = || Arc::clone(&snapshot);
        let kv = Kv::new(store.clone(), Arc::clone(&clock), config.kv_quota, events.clone(), shown());
        let docs = Docs::new(store.clone(), Arc::clone(&clock), config.docs_quota, events.clone(), shown());
        let ports = Ports {
            kv: Some(Arc::new(kv.clone())),
            docs: Some(Arc::new(docs.clone())),
            http: Some(Arc::new(http)),
            queues: Some(Arc::new(events.clone())),
        };
        let executor = Executor::start(config.executor.clone(), Arc::clone(&clock), sink, ports)
            .context("cannot start the executor's threads")?;
        let executor = Arc::new(executor);
        let admin_hosts = AdminHosts::new(config.admin_hosts.iter().cloned().chain([base_url.host().clone()]));
        let first_owner = if role == NodeRole::Edge || any_user(&store).await? { None } else { parse_first_owner()? };
        let first_name = first_owner.as_ref().map(|owner| owner.username.clone());
        let automatic_certificates = config.acme.is_some();
        // An edge node serves certificates and answers challenges, and orders none.
        let acme = config.acme.filter(|_| role == NodeRole::Full);
        let settings = acme.map_or_else(AcmeSettings::none, |acme| acme.settings);
        let certificate_store = Arc::new(CertificateStore::new(store.clone(), Arc::clone(&clock), &secret_key));
        certificate_store.end_leases_of_the_dead().await?;
        let mut challenges = listening::challenges(&listeners);
        challenges.extend(settings.dns.is_some().then_some(ChallengeKind::Dns01));
        let agent = Agent::new(AgentParts {
            store: Arc::clone(&certificate_store) as _,
            clock: Arc::clone(&clock),
            snapshot: Arc::clone(&snapshot),
            certificates: Arc::clone(&certificates),
            admin_hosts: admin_hosts.configured().to_vec(),
            challenges,
            settings,
            metrics: Arc::clone(&metrics),
        });
        let agent = agent.map_err(anyhow::Error::msg).context("the settings of the DNS cannot be read")?;
        let manager = Manager::start(
            ManagerConfig {
                node: NodeConfig { name: machine, role, address: node_address },
                public_base_url: base_url.as_str().to_owned(),
                admin_hosts: admin_hosts.configured().to_vec(),
                session_ttl: config.session_ttl,
                limits: config.limits,
                first_owner,
                max_request_body_bytes: config.body_limit,
                automatic_certificates,
                publish_timing: PublishTiming::default(),
                backups: config.backups.map(|backups| BackupPlan {
                    dir: backups.dir,
                    every: backups.every,
                    keep: backups.keep,
                    database: config.database,
                    secret_key_file: config.secret_key_file,
                }),
            },
            Parts {
                store: store.clone(),
                secret_key,
                clock: Arc::clone(&clock),
                snapshot: Arc::clone(&snapshot),
                executor: Arc::clone(&executor),
                execution_log: execution_log.clone(),
                kv,
                docs,
                events: events.clone(),
                certificates: certificate_store,
                preflight: Arc::new(agent.clone()),
                gauges: Arc::clone(&metrics) as _,
            },
        )
        .await
        .context("cannot start the manager")?;
        let manager = Arc::new(manager);
        warn_of_hidden_sites(&admin_hosts, &snapshot.load());

        // What there is to serve is served from the first connection on.
        let ours = predecessor.clone();
        let agent = agent.start(async move {
            if let Some(predecessor) = ours {
                predecessor.reaches(Stage::Ours).await;
            }
        });
        let agent = agent.await;

        let control: Arc<dyn ControlPlane> = Arc::new(match role {
            NodeRole::Full => InProcess::new(Arc::clone(&manager)),
            NodeRole::Edge => {
                let full_nodes = Arc::new(manager.full_nodes());
                InProcess::of_edge(Arc::clone(&manager), RemoteManager::new(&identity, full_nodes))
            }
        });
        let for_edges = for_edges.map(|listener| listener.start(&identity, Arc::clone(&control)));
        let gateway = Gateway::new(GatewayParts {
            snapshot,
            executor: Arc::clone(&executor),
            clock,
            requests: Arc::new(events),
            control,
            admin_hosts,
            version_document: version_document(schema, &base_url)?,
            trusted_proxies: config.trusted_proxies,
            body_limit: config.body_limit,
            certificates: Arc::clone(&certificates),
            plain_http_until_certificate: config.plain_http_until_certificate,
            access_log: config.log.access,
            metrics,
        });
        if predecessor.is_some() {
            // What that process acknowledged until now is served by this one's first answer.
            manager.catch_up().await;
        }
        let server = server.start(gateway, io, Some(Arc::clone(&certificates)))?;
        // What only the start needed is twice what the rest holds.
        give_memory_back();
        listening::announce(&listeners, &base_url, manager.setup_link().as_deref(), first_name.as_ref());
        if let Some(predecessor) = &predecessor {
            predecessor.tell_serving(&store)?;
        }
        let node = Self {
            server,
            for_edges,
            certificates,
            agent,
            executor,
            manager,
            execution_log,
            store,
            grace: config.shutdown_grace,
            program,
            sockets,
            upgrade_timeout: config.upgrade_timeout,
            predecessor,
            service: Arc::new(service),
        };
        tokio::spawn(node.tell_and_be_watched());
        Ok(node)
    }

    /// Tells others that this process serves, once it is the one that does, and systemd from then on that it is well.
    fn tell_and_be_watched(&self) -> impl Future<Output = ()> + Send + 'static {
        let (predecessor, store) = (self.predecessor.clone(), self.store.clone());
        let (service, binary) = (Arc::clone(&self.service), self.program.binary.clone());
        async move {
            if let Some(predecessor) = predecessor {
                predecessor.reaches(Stage::Ours).await;
            }
            if let Some(Err(error)) = store.serve_lock().map(|lock| lock.note_serving(&binary)) {
                tracing::warn!(%error, "who serves cannot be written down: `picloud upgrade` will not find this process");
            }
            service.ready();
            service.keep_watched().await;
        }
    }

    /// Serves until it is to stop, or until another process does, which is given then.
    async fn serve(&self, signals: &mut Signals) -> Option<Successor> {
        loop {
            match signals.next().await {
                Wish::Stop => return None,
                Wish::Reload => self.reload(),
                Wish::HandOver => {
                    let handed = tokio::select! {
                        handed = self.hand_over() => handed,
                        () = signals.stop() => return None,
                    };
                    match handed {
                        Ok(successor) => return Some(successor),
                        Err(error) => self.go_on(&crate::explain(&error)),
                    }
                }
            }
        }
    }

    fn reload(&self) {
        self.service.reloading();
        match self.certificates.reload() {
            Ok(()) => tracing::info!("certificates were read again"),
            Err(error) => tracing::error!(%error, "certificates stay as they were"),
        }
        self.service.ready();
    }

    /// Hands over to the binary that stands in this one's place.
    async fn hand_over(&self) -> anyhow::Result<Successor> {
        tracing::info!(binary = %self.program.binary.display(), "handing over");
        let end = Instant::now() + self.upgrade_timeout;
        if let Some(predecessor) = &self.predecessor {
            // Two that serve one store know of each other, and a third would not know of the first.
            let ended = timeout_at(end, predecessor.reaches(Stage::Alone)).await;
            ended.context("the process before this one still finishes what it began")?;
        }
        // Not before: in whose company this process still is when it may wait no longer, it stays.
        self.store.set_in_company(true);
        let sockets: Vec<_> = self.sockets.iter().map(|(label, socket)| (*label, socket)).collect();
        let within = end.saturating_duration_since(Instant::now());
        let handed = self.program.hand_over(&sockets, self.store.serve_lock(), within).await;
        if handed.is_err() {
            self.store.set_in_company(false);
        }
        handed
    }

    /// Goes on after a hand-over that failed.
    fn go_on(&self, reason: &str) {
        tracing::error!(reason, "the hand-over failed; this process goes on serving");
        if let Some(Err(error)) = self.store.serve_lock().map(|lock| lock.note_failure(reason)) {
            tracing::warn!(%error, "why the hand-over failed cannot be written down for `picloud upgrade`");
        }
    }

    /// Lets requests in flight finish, within one grace for all of it, and writes down what there is to write. Whoever has not
    /// been accepted yet is the successor's, where there is one.
    async fn drain(self, mut successor: Option<Successor>) {
        match &successor {
            Some(successor) => {
                self.server.leave_queue(self.grace);
                self.service.hand_over_to(successor.pid);
                tracing::info!(pid = successor.pid, "handed over to a process that serves");
            }
            None => self.service.stopping(),
        }
        drop(self.sockets);
        tracing::info!(grace_ms = u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX), "draining");
        let end = Instant::now() + self.grace;
        self.manager.end_streams();
        self.manager.stop_triggers();
        let (server, listener, grace) = (self.server, self.for_edges, self.grace);
        let for_edges = async move {
            if let Some(listener) = listener {
                listener.drain(grace).await;
            }
        };
        // Others may go on with certificates at once, and in any case soon: until then systemd hears nothing of the successor.
        let leave_certificates = async {
            let _ = timeout(LEAVING, self.agent.shutdown()).await;
            if let Some(successor) = &mut successor {
                successor.tell_yours().await;
            }
        };
        // What is left of a service when its main process has ended, systemd ends at once: also what the one before still finishes.
        let before = async {
            if let Some(predecessor) = &self.predecessor {
                let _ = timeout_at(end, predecessor.reaches(Stage::Alone)).await;
            }
        };
        let (is_drained, (), (), ()) = tokio::join!(server.drain(grace), for_edges, leave_certificates, before);
        if !is_drained {
            tracing::warn!("some requests were cut off at the end of the grace");
        }
        // A run whose client has left goes on by itself; its record is wanted all the same, if it ends in time.
        if timeout_at(end, self.executor.drain()).await.is_err() {
            tracing::warn!("some executions were cut off at the end of the grace; they leave no record");
        }
        let (manager, execution_log, store) = (self.manager, self.execution_log, self.store);
        let closing = async {
            // Requests that were cut off hold the manager still; it ends with the process then.
            if let Some(manager) = Arc::into_inner(manager) {
                manager.shutdown().await;
            }
            execution_log.shutdown().await;
            store.close().await;
        };
        if timeout_at(end.max(Instant::now() + CLOSING), closing).await.is_err() {
            tracing::warn!("the store does not answer; the last execution records may be lost");
        }
    }
}

/// An admin host that was set after an app had claimed it takes the app's site away. (A wildcard is claimed for all hosts
/// that are nobody's, so there it is no surprise.)
fn warn_of_hidden_sites(admin_hosts: &AdminHosts, snapshot: &Snapshot) {
    for host in admin_hosts.configured() {
        let claim = DomainPattern::Exact(host.clone());
        let app = snapshot.find_host(host).map(|found| found.app).filter(|app| app.claims().contains(&claim));
        if let Some(app) = app {
            let (host, app) = (host.as_str(), app.app().slug.as_str());
            tracing::warn!(
                host,
                app,
                "the app's site is not served: its host is one of public_base_url and admin_hosts"
            );
        }
    }
}

/// The name of this machine, or of this container.
fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn log_policy(store: &Store, settings: &ExecutionLogSettings) -> LogPolicy {
    let mut policy = LogPolicy::for_store(store);
    let successes = &mut policy.successes;
    successes.per_second = settings.successes_per_second.unwrap_or(successes.per_second);
    successes.burst = settings.success_burst.unwrap_or(successes.burst);
    policy.max_age = settings.max_age.unwrap_or(policy.max_age);
    policy.max_bytes = settings.max_bytes.unwrap_or(policy.max_bytes);
    policy
}

fn parse_first_owner() -> anyhow::Result<Option<FirstOwner>> {
    let Some((username, password)) = first_owner()? else {
        return Ok(None);
    };
    let username = username.parse().context("PICLOUD_ADMIN_USERNAME")?;
    let password = password.parse().context("PICLOUD_ADMIN_PASSWORD")?;
    Ok(Some(FirstOwner { username, password }))
}

/// The five versioned surfaces, as `GET /version` tells them.
#[derive(Serialize)]
struct VersionDocument<'a> {
    product: &'a str,
    sdk: &'a str,
    api: u32,
    schema: i64,
    wire: u32,
    public_base_url: &'a str,
}

fn version_document(schema: i64, base_url: &PublicBaseUrl) -> anyhow::Result<bytes::Bytes> {
    let document = VersionDocument {
        product: version::PRODUCT,
        sdk: version::SDK,
        api: version::API,
        schema,
        wire: version::WIRE,
        public_base_url: base_url.as_str(),
    };
    Ok(serde_json::to_vec(&document)?.into())
}
