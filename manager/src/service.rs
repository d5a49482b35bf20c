//! The services: each decides who may do a thing and whether the rules allow it, and does it in one unit of work with
//! its audit row. They see neither HTTP nor SQL.

pub(crate) mod api_key;
pub(crate) mod app;
pub(crate) mod app_limit;
pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod authorize;
pub(crate) mod certificate;
pub(crate) mod change;
pub(crate) mod credential;
pub(crate) mod data_change;
pub(crate) mod dead_letter;
pub(crate) mod deployment;
pub(crate) mod docs;
pub(crate) mod domain;
pub(crate) mod env;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod execution;
pub(crate) mod idempotency;
pub(crate) mod invoke;
pub(crate) mod kv;
pub(crate) mod last_use;
pub(crate) mod login_throttle;
pub(crate) mod member;
pub(crate) mod node;
pub(crate) mod page;
pub(crate) mod password;
pub(crate) mod revision;
pub(crate) mod route;
pub(crate) mod route_check;
pub(crate) mod route_url;
pub(crate) mod script;
pub(crate) mod script_check;
pub(crate) mod script_version;
pub(crate) mod secret;
pub(crate) mod settings;
pub(crate) mod setup;
pub(crate) mod stats;
pub(crate) mod tail;
pub(crate) mod trigger;
pub(crate) mod user;

use api_key::ApiKeyService;
use app::AppService;
use audit::AuditService;
use auth::AuthService;
use certificate::CertificateService;
use dead_letter::DeadLetterService;
use deployment::DeploymentService;
use docs::DocsService;
use domain::DomainService;
use env::EnvService;
use event::EventService;
use execution::ExecutionService;
use idempotency::IdempotencyService;
use invoke::InvokeService;
use kv::KvService;
use member::MemberService;
use node::NodeService;
use route::RouteService;
use script::ScriptService;
use secret::SecretService;
use settings::SettingsService;
use stats::StatsService;
use tail::TailService;
use trigger::TriggerService;
use user::UserService;

/// One of each service; what a handler picks its own from.
pub(crate) struct Services {
    pub auth: AuthService,
    pub certificates: CertificateService,
    pub users: UserService,
    pub api_keys: ApiKeyService,
    pub apps: AppService,
    pub members: MemberService,
    pub deployments: DeploymentService,
    pub domains: DomainService,
    pub scripts: ScriptService,
    pub routes: RouteService,
    pub triggers: TriggerService,
    pub events: EventService,
    pub dead_letters: DeadLetterService,
    pub executions: ExecutionService,
    pub tails: TailService,
    pub stats: StatsService,
    pub settings: SettingsService,
    pub nodes: NodeService,
    pub invoke: InvokeService,
    pub kv: KvService,
    pub env: EnvService,
    pub secrets: SecretService,
    pub docs: DocsService,
    pub audit: AuditService,
    pub idempotency: IdempotencyService,
}
