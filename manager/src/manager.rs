//! The manager as the binary sees it: started once, asked for its router, shut down at the end.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use picloud_executor::Executor;
use picloud_shared::admin_hosts::AdminHosts;
use picloud_shared::app_data::AppData;
use picloud_shared::backups::Backups;
use picloud_shared::certificate::{CertificateState, Preflight};
use picloud_shared::clock::Clock;
use picloud_shared::domain_pattern::Host;
use picloud_shared::gauges::NodeGauges;
use picloud_shared::id::ScriptId;
use picloud_shared::name::Username;
use picloud_shared::node::NodeRole;
use picloud_shared::request::AdminPeer;
use picloud_shared::script::LimitPolicy;
use picloud_shared::snapshot::SnapshotCell;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use crate::api::{self, ApiState};
use crate::app_secrets::AppSecrets;
use crate::backup::{BackupPlan, Schedule};
use crate::certificate_store::Certificates;
use crate::data_watch::DataWatch;
use crate::docs::Docs;
use crate::events::Events;
use crate::execution_writer::ExecutionWriter;
use crate::gauge_watch::GaugeWatch;
use crate::housekeeping::Housekeeping;
use crate::kv::Kv;
use crate::nodes::{JoinError, NodeConfig, Nodes};
use crate::publish::{PublishTiming, Publisher};
use crate::purge::{Data, Purge};
use crate::repo::{RepoError, certificates};
use crate::secret::NewPassword;
use crate::secret::key_file::{self, SecretKey};
use crate::seed::seed;
use crate::service::Services;
use crate::service::api_key::ApiKeyService;
use crate::service::app::AppService;
use crate::service::audit::AuditService;
use crate::service::auth::AuthService;
use crate::service::authorize::Capability;
use crate::service::certificate::CertificateService;
use crate::service::change::{AuditedStore, Desk};
use crate::service::credential::Proof;
use crate::service::dead_letter::DeadLetterService;
use crate::service::deployment::DeploymentService;
use crate::service::docs::DocsService;
use crate::service::domain::DomainService;
use crate::service::env::EnvService;
use crate::service::error::ServiceError;
use crate::service::event::EventService;
use crate::service::execution::ExecutionService;
use crate::service::idempotency::IdempotencyService;
use crate::service::invoke::InvokeService;
use crate::service::kv::KvService;
use crate::service::last_use::LastUse;
use crate::service::login_throttle::LoginThrottle;
use crate::service::member::MemberService;
use crate::service::node::NodeService;
use crate::service::password::PasswordSlot;
use crate::service::route::RouteService;
use crate::service::route_url::{InvalidBaseUrl, UrlStyle};
use crate::service::script::{ScriptService, find_meta};
use crate::service::script_check::Checker;
use crate::service::secret::SecretService;
use crate::service::settings::SettingsService;
use crate::service::setup::prepare_first_owner;
use crate::service::stats::StatsService;
use crate::service::tail::TailService;
use crate::service::trigger::TriggerService;
use crate::service::user::UserService;
use crate::store::Store;
use crate::trigger::Dispatcher;
use crate::trigger::cron::CronTicks;

/// The operator's settings of the manager.
pub struct ManagerConfig {
    /// What this node is.
    pub node: NodeConfig,
    /// Where people reach this instance, such as `https://pi.example.com`.
    pub public_base_url: String,
    /// Further hosts of the admin API; that of the base URL and those of loopback are among them anyway.
    pub admin_hosts: Vec<Host<'static>>,
    /// How long a session lives without use.
    pub session_ttl: Duration,
    /// Defaults and ceilings of scripts' limits.
    pub limits: LimitPolicy,
    /// Who becomes the first owner where there is no user yet.
    pub first_owner: Option<FirstOwner>,
    /// Bytes of the longest body of an admin call.
    pub max_request_body_bytes: usize,
    /// Whether the data plane gets certificates by itself.
    pub automatic_certificates: bool,
    /// How long publishing waits for what.
    pub publish_timing: PublishTiming,
    /// Backups that are taken by themselves, if any are.
    pub backups: Option<BackupPlan>,
}

/// The first owner, from the environment.
pub struct FirstOwner {
    /// The name.
    pub username: Username,
    /// The password.
    pub password: NewPassword,
}

/// What the manager works on; the binary makes these and shares them with the data plane.
pub struct Parts {
    /// The store.
    pub store: Store,
    /// The key that the store was made with.
    pub secret_key: SecretKey,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where the snapshot is published to.
    pub snapshot: Arc<SnapshotCell>,
    /// What checks and runs scripts.
    pub executor: Arc<Executor>,
    /// What writes execution records.
    pub execution_log: ExecutionWriter,
    /// What scripts keep by key.
    pub kv: Kv,
    /// What triggers handle.
    pub events: Events,
    /// What scripts keep as documents.
    pub docs: Docs,
    /// Where certificates are kept.
    pub certificates: Arc<Certificates>,
    /// Who looks whether a certificate could be had.
    pub preflight: Arc<dyn Preflight>,
    /// Who can tell how this node is.
    pub gauges: Arc<dyn NodeGauges>,
}

/// Why the manager cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The base URL is not one.
    #[error(transparent)]
    BaseUrl(#[from] InvalidBaseUrl),
    /// The first owner's password is no password.
    #[error("the first owner's password must not merely repeat the username")]
    FirstOwnerPassword,
    /// The other nodes do not let it.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<ServiceError> for StartError {
    fn from(error: ServiceError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<RepoError> for StartError {
    fn from(error: RepoError) -> Self {
        Self::Store(Box::new(error))
    }
}

/// The store did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the store is unavailable")]
pub struct StoreUnavailable;

/// The control plane of one node.
pub struct Manager {
    store: Store,
    state: ApiState,
    setup_link: Option<String>,
    /// Of the secret key that this process has.
    key_fingerprint: String,
    nodes: Nodes,
    last_use: LastUse,
    execution_log: ExecutionWriter,
    dispatcher: Dispatcher,
    publisher: Publisher,
    app_data: watch::Receiver<Arc<AppData>>,
    backups: Option<watch::Receiver<Backups>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Manager {
    /// Makes the first owner or a set-up link where there is no user, seeds a fresh instance, publishes the first
    /// snapshot, and starts the background tasks. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A bad setting, or a store that fails.
    pub async fn start(config: ManagerConfig, parts: Parts) -> Result<Manager, StartError> {
        let Parts {
            store,
            secret_key,
            clock,
            snapshot,
            executor,
            execution_log,
            kv,
            docs,
            events,
            certificates,
            preflight,
            gauges,
        } = parts;
        let (role, is_full) = (config.node.role, config.node.role == NodeRole::Full);
        let nodes = Nodes::join(store.clone(), Arc::clone(&clock), Arc::clone(&snapshot), config.node).await?;
        let audited = AuditedStore::new(store.clone(), Arc::clone(&clock), &secret_key);
        let key_fingerprint = secret_key.fingerprint();
        let (urls, base_host) = UrlStyle::of(&config.public_base_url)?;
        let first = if is_full { prepare_first_owner(&audited, config.first_owner).await? } else { None };
        let (setup_token, kept_link) = first.unzip();
        let base_url: Arc<str> = config.public_base_url.trim_end_matches('/').into();
        let setup_link = setup_token.map(|token| format!("{base_url}/admin/setup#token={}", token.reveal()));
        if let Some(link) = &setup_link {
            info!(link, "there is no user yet: whoever opens the link becomes the owner");
        }
        if is_full {
            seed(&audited).await?;
        }
        let secrets = AppSecrets::new(&secret_key);
        let (publisher, publishing) = Publisher::start(
            store.clone(),
            Arc::clone(&snapshot),
            Arc::clone(&executor),
            config.limits,
            secrets.clone(),
            config.publish_timing,
        )
        .await?;
        let beating = tokio::spawn(nodes.clone().keep_beating());
        let last_use = LastUse::new(store.clone());
        let noting = tokio::spawn(last_use.clone().keep_writing());
        let housekeeping = Housekeeping {
            role,
            store: store.clone(),
            audited: audited.clone(),
            clock: Arc::clone(&clock),
            snapshot: Arc::clone(&snapshot),
            last_use: last_use.clone(),
            execution_log: execution_log.clone(),
            setup_link: kept_link,
        };
        let housekeeping = tokio::spawn(housekeeping.run());
        let follower = execution_log.follower(config.limits.ceilings.timeout);
        let data = Data { kv: kv.clone(), docs: docs.clone(), events: events.clone() };
        let purge = Purge::new(store.clone(), Arc::clone(&clock), execution_log.clone(), data);
        let dispatcher =
            Dispatcher::new(events.clone(), Arc::clone(&snapshot), Arc::clone(&executor), Arc::clone(&clock));
        let dispatching =
            [tokio::spawn(dispatcher.clone().dispatch()), tokio::spawn(dispatcher.clone().keep_reaping())];
        // What concerns the instance as a whole is left to nodes that have its API.
        let upkeep = match role {
            NodeRole::Full => vec![
                tokio::spawn(follower.clone().follow()),
                tokio::spawn(docs.clone().keep_indexing()),
                tokio::spawn(purge.clone().keep_purging()),
                tokio::spawn(kv.clone().keep_sweeping()),
                tokio::spawn(events.clone().keep_sweeping()),
                tokio::spawn(dispatcher.clone().keep_ending()),
            ],
            NodeRole::Edge => Vec::new(),
        };
        let ticks = CronTicks::new(events.clone(), Arc::clone(&snapshot), Arc::clone(&clock));
        let ticking = tokio::spawn(ticks.keep_ticking());
        let data_watch =
            DataWatch::new(store.clone(), Arc::clone(&clock), Arc::clone(&snapshot), (&kv, &docs, &events));
        let app_data = data_watch.found();
        let watching = tokio::spawn(data_watch.keep_watching());
        let schedule =
            config.backups.filter(|_| is_full).map(|plan| Schedule::new(plan, store.clone(), Arc::clone(&clock)));
        let backups = schedule.as_ref().map(Schedule::told);
        let taking_backups = schedule.map(|schedule| tokio::spawn(schedule.keep_taking()));

        let gauges = GaugeWatch::new(gauges, execution_log.clone(), Arc::clone(&clock));
        let gauging = tokio::spawn(gauges.clone().keep_watching());

        let desk = Desk { audited: audited.clone(), publisher: publisher.clone() };
        let (passwords, throttle) = (PasswordSlot::new(), Arc::new(LoginThrottle::new(&store)));
        let checker = Checker::new(Arc::clone(&executor), config.limits);
        let admin_hosts = AdminHosts::new(config.admin_hosts.into_iter().chain([base_host]));
        let services = Services {
            auth: AuthService::new(
                audited.clone(),
                config.session_ttl,
                last_use.clone(),
                passwords.clone(),
                Arc::clone(&throttle),
            ),
            certificates: CertificateService::new(desk.clone(), certificates, preflight),
            users: UserService::new(desk.clone(), passwords, throttle),
            api_keys: ApiKeyService::new(desk.clone()),
            apps: AppService::new(desk.clone(), purge.clone()),
            members: MemberService::new(desk.clone()),
            audit: AuditService::new(audited.clone()),
            idempotency: IdempotencyService::new(desk.clone(), &secret_key),
            deployments: DeploymentService::new(desk.clone(), checker.clone()),
            domains: DomainService::new(desk.clone(), admin_hosts.clone(), urls.clone()),
            scripts: ScriptService::new(desk.clone(), checker.clone(), urls.clone(), Arc::clone(&snapshot)),
            routes: RouteService::new(desk.clone(), urls, Arc::clone(&snapshot), admin_hosts),
            triggers: TriggerService::new(desk.clone(), checker.clone()),
            events: EventService::new(desk.clone(), events.clone()),
            dead_letters: DeadLetterService::new(desk.clone(), events),
            executions: ExecutionService::new(store.clone(), execution_log.clone()),
            tails: TailService::new(audited.clone(), last_use.clone(), follower),
            settings: SettingsService::new(desk.clone(), config.limits),
            nodes: NodeService::new(nodes.clone()),
            stats: StatsService::new(audited.clone(), execution_log.clone(), gauges),
            kv: KvService::new(desk.clone(), kv),
            env: EnvService::new(desk.clone()),
            docs: DocsService::new(desk.clone(), docs),
            secrets: SecretService::new(desk, secrets),
            invoke: InvokeService::new(store.clone(), clock, snapshot, executor, checker),
        };
        let state = ApiState {
            services: Arc::new(services),
            public_base_url: base_url,
            max_request_body_bytes: config.max_request_body_bytes,
            automatic_certificates: config.automatic_certificates,
        };
        let tasks = publishing
            .into_iter()
            .chain([beating, noting, housekeeping, ticking, watching])
            .chain(upkeep)
            .chain(dispatching)
            .chain([gauging])
            .chain(taking_backups)
            .collect();
        Ok(Manager {
            store,
            state,
            setup_link,
            key_fingerprint,
            nodes,
            last_use,
            execution_log,
            dispatcher,
            publisher,
            app_data,
            backups,
            tasks,
        })
    }

    /// What the handlers of the API are given.
    pub(crate) fn api_state(&self) -> &ApiState {
        &self.state
    }

    /// Where the first owner is made, if there was no user at this start. The link serves once, and no longer than this node
    /// lives, or where there are several, half an hour longer.
    pub fn setup_link(&self) -> Option<String> {
        self.setup_link.clone()
    }

    /// Whether whoever sent these headers may run the script by its id.
    ///
    /// # Errors
    /// When the store cannot tell.
    pub async fn may_invoke(
        &self,
        headers: &HeaderMap,
        peer: &AdminPeer,
        script: ScriptId,
    ) -> Result<bool, StoreUnavailable> {
        // A run may change something whatever its method, so that a cookie needs its Origin.
        let Ok(proof) = api::credential(headers, peer, &Method::POST) else {
            return Ok(false);
        };
        match self.find_invoker(&proof, peer, script).await {
            Ok(allowed) => Ok(allowed),
            Err(ServiceError::Store(error)) => {
                warn!(error = &error as &dyn std::error::Error, "who runs a restricted script cannot be told");
                Err(StoreUnavailable)
            }
            Err(_) => Ok(false),
        }
    }

    async fn find_invoker(&self, proof: &Proof, peer: &AdminPeer, script: ScriptId) -> Result<bool, ServiceError> {
        let actor = self.state.services.auth.authenticate(proof, peer.remote_ip).await?;
        let (_, access) = find_meta(&mut self.store.read().await?, &actor, script).await?;
        Ok(access.allows(Capability::ScriptInvoke))
    }

    /// Whether the store answers.
    pub async fn store_reachable(&self) -> bool {
        self.store.is_reachable().await
    }

    /// Whether the store is known to have another secret key than this process, which changes nothing then.
    pub async fn key_replaced(&self) -> bool {
        let required = async { key_file::require(&mut self.store.read().await?, &self.key_fingerprint).await };
        matches!(required.await, Err(RepoError::KeyReplaced))
    }

    /// Whether writes to the store succeed, as far as is known.
    pub async fn store_writable(&self) -> bool {
        self.store.is_writable().await
    }

    /// How many certificates there are in each state that some are in.
    ///
    /// # Errors
    /// When the store cannot tell.
    pub async fn certificates_by_state(&self) -> Result<Vec<(CertificateState, u64)>, StoreUnavailable> {
        let counted = async { certificates::count_by_state(&mut self.store.read().await?).await }.await;
        counted.map_err(|error: RepoError| {
            debug!(error = &error as &dyn std::error::Error, "certificates cannot be counted");
            StoreUnavailable
        })
    }

    /// Executions of this node whose record was lost, since too many waited or the store was away.
    pub fn records_dropped(&self) -> u64 {
        self.execution_log.dropped()
    }

    /// What apps keep, as it was in the last minute.
    pub fn app_data(&self) -> Arc<AppData> {
        Arc::clone(&self.app_data.borrow())
    }

    /// How many nodes of each role live, as they were seen last.
    pub fn live_nodes(&self) -> Vec<(NodeRole, usize)> {
        let seen = self.nodes.seen().borrow().clone();
        let live = |role| seen.iter().filter(|seen| seen.is_live && seen.node.role == role).count();
        [NodeRole::Full, NodeRole::Edge].map(|role| (role, live(role))).to_vec()
    }

    /// Where the full nodes answer edge nodes that live, as they were seen last.
    pub fn full_nodes(&self) -> impl Fn() -> Vec<String> + Send + Sync + use<> {
        let seen = self.nodes.seen();
        move || {
            let seen = seen.borrow().clone();
            let full = seen.iter().filter(|seen| seen.is_live && seen.node.role == NodeRole::Full);
            full.filter_map(|seen| seen.node.address.clone()).collect()
        }
    }

    /// How backups are doing that are taken by a schedule.
    pub fn backups(&self) -> Backups {
        self.backups.as_ref().map_or_else(Backups::default, |told| *told.borrow())
    }

    /// The number of the store's newest migration.
    pub fn schema_version(&self) -> i64 {
        self.store.schema_version()
    }

    /// Publishes what another process has changed until now.
    pub async fn catch_up(&self) {
        // What cannot be read now is published as soon as it can be.
        let _ = self.publisher.publish(0).await;
    }

    /// Ends the answers that never end by themselves, so that others can come to their end.
    pub fn end_streams(&self) {
        self.state.services.tails.end();
    }

    /// Has triggers begin nothing any more; what they began goes on.
    pub fn stop_triggers(&self) {
        self.dispatcher.stop();
    }

    /// Ends the background tasks. The store and the execution log stay open: the data plane still writes to them.
    pub async fn shutdown(self) {
        self.dispatcher.stop();
        self.dispatcher.ended().await;
        for task in self.tasks {
            task.abort();
            // Aborted on purpose: there is nothing to learn from how it ended.
            let _ = task.await;
        }
        if let Err(error) = self.last_use.write().await {
            debug!(error = &error as &dyn std::error::Error, "the last uses of sessions are not written");
        }
        self.nodes.leave().await;
    }
}
