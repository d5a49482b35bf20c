//! The configuration: flags over environment over file over defaults, parsed into the types that the parts want. The
//! only module that reads the environment.

mod acme;
mod bounds;
pub mod environment;
mod file;
mod listen;
mod machine;
mod node;
mod public_base_url;
mod settings;
mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use picloud_executor::ExecutorConfig;
use picloud_manager::docs::DocQuota;
use picloud_manager::events::EventQuota;
use picloud_manager::http_client::HttpAllow;
use picloud_manager::kv::KvQuota;
use picloud_manager::store::{DatabaseConfig, DatabaseUrl};
use picloud_proxy::io::IoLimits;
use picloud_proxy::tls::CertificateFiles;
use picloud_proxy::trusted_proxies::TrustedProxies;
use picloud_shared::domain_pattern::Host;
use picloud_shared::script::LimitPolicy;

pub use acme::Acme;
use bounds::{DAY_MS, GIB, KIB, MANY, MIB, millis, optional, within};
pub use listen::Listen;
use machine::MemorySizes;
pub use node::NodeSettings;
pub use public_base_url::PublicBaseUrl;
pub use settings::{Addresses, LogFormat, Settings};

/// The name and the password of the first owner.
const FIRST_OWNER: [&str; 2] = ["PICLOUD_ADMIN_USERNAME", "PICLOUD_ADMIN_PASSWORD"];
/// By how much scripts on workers give way to the threads that serve connections: these wait for no slice of theirs, and where all
/// cores serve, or something else takes them, a script has a third of its share still.
const WORKER_NICE: u8 = 5;
/// The API key of the commands that ask a running PiCloud.
const KEY: &str = "PICLOUD_KEY";
/// What the command line takes from the environment beside the settings. The later ones are of no use to a server, and do it
/// no harm.
const OTHER_VARIABLES: [&str; 10] = [
    "PICLOUD_CONFIG",
    "PICLOUD_DEV",
    environment::PREDECESSOR,
    environment::GO_BETWEEN,
    "PICLOUD_MOVE_TO",
    "PICLOUD_SERVER",
    KEY,
    "PICLOUD_KEY_FILE",
    "PICLOUD_CA_FILE",
    "PICLOUD_USERNAME",
];

/// How like a name must be to be the one that was meant: a letter or two are other, of 1 for all that are the same.
const NEAR: f64 = 0.8;

/// Everything that can be set, with its defaults filled in.
#[derive(Debug)]
pub struct Config {
    /// Where the store's files are.
    pub data_dir: PathBuf,
    /// Where the secret key is.
    pub secret_key_file: PathBuf,
    /// Where the store is.
    pub database: DatabaseConfig,
    /// Addresses of listeners.
    pub listen: Listen,
    /// Certificates, none for plain HTTP only.
    pub certificates: Vec<CertificateFiles>,
    /// How further ones are obtained, where they are.
    pub acme: Option<Acme>,
    /// Whether a host is answered by plain HTTP until there is a certificate for it.
    pub plain_http_until_certificate: bool,
    /// What this node is among others.
    pub node: NodeSettings,
    /// The dashboard's address, where it was set.
    pub public_base_url: Option<PublicBaseUrl>,
    /// More hosts of the dashboard.
    pub admin_hosts: Vec<Host<'static>>,
    /// Proxies in front whose word on the client counts.
    pub trusted_proxies: TrustedProxies,
    /// After which an unused session ends.
    pub session_ttl: Duration,
    /// Bytes of a request's body.
    pub body_limit: usize,
    /// What a client may take up.
    pub io: IoLimits,
    /// What requests in flight get at shutdown.
    pub shutdown_grace: Duration,
    /// What a new binary gets to come to serving at an upgrade.
    pub upgrade_timeout: Duration,
    /// Sizes of the executor.
    pub executor: ExecutorConfig,
    /// How much one app may keep by kv.
    pub kv_quota: KvQuota,
    /// What scripts may reach by http beside public addresses.
    pub script_http_allow: HttpAllow,
    /// How many events one app may have.
    pub event_quota: EventQuota,
    /// For how long events are lent to the node that handles them.
    pub event_lease: Duration,
    /// How much one app may keep by docs.
    pub docs_quota: DocQuota,
    /// Limits of scripts.
    pub limits: LimitPolicy,
    /// What is kept of executions, where it was set.
    pub execution_log: ExecutionLogSettings,
    /// Backups that are taken by themselves, where they are.
    pub backups: Option<BackupSettings>,
    /// What the program logs, and how.
    pub log: LogSettings,
}

/// What is kept of executions, where it was set.
#[derive(Debug, Clone, Default)]
pub struct ExecutionLogSettings {
    /// Successes for each second.
    pub successes_per_second: Option<u32>,
    /// Successes at once.
    pub success_burst: Option<u32>,
    /// The age of deletion.
    pub max_age: Option<Duration>,
    /// The size of deletion.
    pub max_bytes: Option<u64>,
}

/// Backups that are taken by themselves.
#[derive(Debug, Clone)]
pub struct BackupSettings {
    /// Where to.
    pub dir: PathBuf,
    /// How often.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
}

/// What the program logs, and how.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The filter.
    pub filter: String,
    /// The format, where it was set.
    pub format: Option<LogFormat>,
    /// Whether each request leaves a line.
    pub access: bool,
}

impl Config {
    /// Joins flags and environment with the file, and fills the defaults in.
    ///
    /// # Errors
    /// The first setting that cannot be used, in words for the operator.
    pub fn load(flags: Settings, file: Option<&Path>, dev: bool) -> anyhow::Result<Self> {
        refuse_unknown(environment_names())?;
        Self::resolve(flags.or(file::read(file)?), dev)
    }

    fn resolve(settings: Settings, dev: bool) -> anyhow::Result<Self> {
        let certificates = certificates(&settings)?;
        let acme = acme::resolve(&settings, dev)?;
        let node = NodeSettings::resolve(&settings)?;
        let listen = Listen::resolve(&settings, dev, !certificates.is_empty() || acme.is_some())?;
        let default_dir = if dev { "./picloud-data" } else { "/var/lib/picloud" };
        let data_dir = settings.data_dir.unwrap_or_else(|| default_dir.into());
        let database = match &settings.database_url {
            Some(url) => DatabaseConfig::Postgres { url: url.parse::<DatabaseUrl>().context("database_url")? },
            None => DatabaseConfig::Sqlite { dir: data_dir.clone() },
        };
        let host = |name: String| match Host::parse_authority(&name) {
            Ok(host) => Ok(host.into_owned()),
            Err(error) => bail!("admin_hosts: {name}: {error}"),
        };
        let body_limit = within("max_request_body_bytes", settings.max_request_body_bytes, 1024 * 1024, KIB..=GIB)?;
        let io = IoLimits::default();
        let log_max_age_days = optional("log_max_age_days", settings.log_max_age_days, 1..=36_500)?;
        let sizes = MemorySizes::of_this_machine();
        let backup_every = optional("backup_every_hours", settings.backup_every_hours, 1..=24 * 365)?;
        let backup_keep = within("backup_keep", settings.backup_keep, 7, 1..=10_000)?;
        let backups = match (settings.backup_dir, backup_every) {
            (Some(dir), Some(hours)) => {
                Some(BackupSettings { dir, every: Duration::from_secs(hours * 3600), keep: backup_keep })
            }
            (None, None) => None,
            _ => bail!("backup_dir and backup_every_hours belong together; only one of them is set"),
        };
        let secret_key_file = settings.secret_key_file.unwrap_or_else(|| data_dir.join("secret.key"));
        Ok(Self {
            data_dir,
            secret_key_file,
            database,
            listen,
            certificates,
            acme,
            node,
            plain_http_until_certificate: settings.acme.plain_http_until_certificate.unwrap_or(false),
            public_base_url: settings.public_base_url.as_deref().map(PublicBaseUrl::parse).transpose()?,
            admin_hosts: settings
                .admin_hosts
                .map_or_else(Vec::new, |names| names.0)
                .into_iter()
                .map(host)
                .collect::<Result<_, _>>()?,
            trusted_proxies: TrustedProxies::new(
                settings.trusted_proxies.map_or_else(Vec::new, |nets| nets.0),
                settings.proxy_header.unwrap_or_default(),
            ),
            session_ttl: Duration::from_secs(
                within("session_ttl_hours", settings.session_ttl_hours, 24, 1..=24 * 365)? * 3600,
            ),
            body_limit,
            io: IoLimits {
                head_bytes: within(
                    "max_request_head_bytes",
                    settings.max_request_head_bytes,
                    io.head_bytes,
                    KIB..=MIB,
                )?,
                head_timeout: millis("request_head_timeout_ms", settings.request_head_timeout_ms, io.head_timeout)?,
                body_timeout: millis("request_body_timeout_ms", settings.request_body_timeout_ms, io.body_timeout)?,
                idle_timeout: millis("idle_timeout_ms", settings.idle_timeout_ms, io.idle_timeout)?,
                max_connections: within("max_connections", settings.max_connections, io.max_connections, 1..=MANY)?,
                max_connections_per_client: optional(
                    "max_connections_per_client",
                    settings.max_connections_per_client,
                    1..=MANY,
                )?,
                // However large one body may be, some fit at once.
                body_memory_bytes: io.body_memory_bytes.max(body_limit.saturating_mul(4)),
                ..io
            },
            // None at all is a choice: whatever is in flight is cut off.
            shutdown_grace: Duration::from_millis(within(
                "shutdown_grace_ms",
                settings.shutdown_grace_ms,
                30_000,
                0..=DAY_MS,
            )?),
            upgrade_timeout: millis("upgrade_timeout_ms", settings.upgrade_timeout_ms, Duration::from_secs(60))?,
            executor: ExecutorConfig {
                // Each reserves 256 MiB of addresses for its stack.
                workers: within("executor_workers", settings.executor_workers, sizes.workers, 1..=1024)?,
                worker_nice: WORKER_NICE,
                app_concurrency: within("executor_app_concurrency", settings.executor_app_concurrency, 64, 1..=MANY)?,
                queue_capacity: within("executor_queue_capacity", settings.executor_queue_capacity, 256, 1..=MANY)?,
                program_cache_bytes: within(
                    "executor_program_cache_bytes",
                    settings.executor_program_cache_bytes,
                    64 * MIB,
                    MIB..=GIB,
                )?,
                memory_bytes: within(
                    "executor_memory_bytes",
                    settings.executor_memory_bytes,
                    sizes.execution,
                    MIB..=sizes.execution_ceiling,
                )?,
                total_memory_bytes: sizes.executions,
                inline_threads: std::thread::available_parallelism().map_or(2, usize::from),
                max_response_bytes: within("max_response_bytes", settings.max_response_bytes, 4 * MIB, KIB..=16 * MIB)?,
            },
            kv_quota: KvQuota {
                keys: within("kv_max_keys", settings.kv_max_keys, KvQuota::default().keys, 1..=1_000_000_000)?,
                bytes: within("kv_max_bytes", settings.kv_max_bytes, KvQuota::default().bytes, 1024..=1 << 50)?,
            },
            script_http_allow: settings.script_http_allow.map_or_else(HttpAllow::default, |allowed| allowed.0),
            event_quota: EventQuota {
                events: within("events_max", settings.events_max, EventQuota::default().events, 1..=1_000_000_000)?,
                bytes: within(
                    "events_max_bytes",
                    settings.events_max_bytes,
                    EventQuota::default().bytes,
                    1024..=1 << 50,
                )?,
            },
            event_lease: Duration::from_millis(within(
                "event_lease_ms",
                settings.event_lease_ms,
                20_000,
                1_000..=600_000,
            )?),
            docs_quota: DocQuota {
                documents: within(
                    "docs_max_documents",
                    settings.docs_max_documents,
                    DocQuota::default().documents,
                    1..=1_000_000_000,
                )?,
                bytes: within("docs_max_bytes", settings.docs_max_bytes, DocQuota::default().bytes, 1024..=1 << 50)?,
            },
            limits: settings.limits.policy()?,
            execution_log: ExecutionLogSettings {
                successes_per_second: settings.log_successes_per_second,
                success_burst: settings.log_success_burst,
                max_age: log_max_age_days.map(|days| Duration::from_secs(days * 86_400)),
                max_bytes: optional("log_max_bytes", settings.log_max_bytes, 1024 * 1024..=u64::MAX)?,
            },
            backups,
            log: LogSettings {
                filter: settings.log_filter.unwrap_or_else(|| "info".to_owned()),
                format: settings.log_format,
                access: settings.access_log.unwrap_or(false),
            },
        })
    }
}

fn certificates(settings: &Settings) -> anyhow::Result<Vec<CertificateFiles>> {
    let single = match (&settings.tls_chain, &settings.tls_key) {
        (Some(chain), Some(key)) => Some(CertificateFiles { chain: chain.clone(), key: key.clone() }),
        (None, None) => None,
        _ => bail!("tls_chain and tls_key belong together; only one of them is set"),
    };
    let listed = settings.tls.certificates.iter();
    let listed = listed.map(|files| CertificateFiles { chain: files.chain.clone(), key: files.key.clone() });
    Ok(single.into_iter().chain(listed).collect())
}

/// The name and password of the first owner, which only the environment gives: flags are seen by every process, and
/// files stay.
///
/// # Errors
/// Only one of the two is there.
#[expect(clippy::disallowed_methods, reason = "this is the one module that reads the environment")]
pub fn first_owner() -> anyhow::Result<Option<(String, String)>> {
    match FIRST_OWNER.map(|name| std::env::var(name).ok()) {
        [Some(username), Some(password)] => Ok(Some((username, password))),
        [None, None] => Ok(None),
        _ => bail!("{} and {} belong together; only one of them can be read", FIRST_OWNER[0], FIRST_OWNER[1]),
    }
}

/// The API key, which no flag gives for the same reason.
#[expect(clippy::disallowed_methods, reason = "this is the one module that reads the environment")]
pub fn api_key() -> Option<String> {
    std::env::var(KEY).ok().filter(|key| !key.is_empty())
}

fn environment_names() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

/// A setting that is misspelt would silently be its default.
fn refuse_unknown(mut names: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let known: Vec<&str> = Settings::VARIABLES.iter().chain(&OTHER_VARIABLES).chain(&FIRST_OWNER).copied().collect();
    match names.find(|name| name.starts_with("PICLOUD_") && !known.contains(&name.as_str())) {
        Some(name) => bail!(no_setting(&name, known.into_iter())),
        None => Ok(()),
    }
}

/// What there is to say of a setting that is none, with the known one that was meant as far as can be told.
fn no_setting<'k>(written: &str, known: impl Iterator<Item = &'k str>) -> String {
    // What they all begin with makes none like another.
    fn own(name: &str) -> &str {
        name.strip_prefix("PICLOUD_").unwrap_or(name)
    }
    let like = known.map(|name| (strsim::jaro_winkler(own(name), own(written)), name));
    let nearest = like.filter(|(likeness, _)| *likeness >= NEAR).max_by(|(a, _), (b, _)| a.total_cmp(b));
    let nearest = nearest.map_or(String::new(), |(_, name)| format!("; the nearest is {name}"));
    format!("there is no setting {written}{nearest}")
}

#[cfg(test)]
mod tests;
