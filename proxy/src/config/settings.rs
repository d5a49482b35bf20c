//! Every setting, once: the same names make the flags, the environment variables and the keys of the file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use picloud_manager::http_client::{HttpAllow, InvalidHttpAllow};
use picloud_proxy::http::ProxyHeader;
use picloud_proxy::trusted_proxies::TrustedNet;
use picloud_shared::node::NodeRole;
use picloud_shared::script::{LimitPolicy, Limits};
use serde::{Deserialize, Deserializer, de};

use super::acme::AcmeFile;
use super::bounds::{DAY_MS, within};

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident: $Type:ty = $env:literal;)+) => {
        /// What was set in one place: the command line with the environment, or the file.
        #[derive(Debug, Clone, Default, clap::Args, Deserialize)]
        #[serde(default)]
        pub struct Settings {
            $($(#[doc = $doc])+
            #[arg(long, env = $env, global = true, hide_env_values = true)]
            pub $name: Option<$Type>,)+
            /// Certificates.
            #[arg(skip)]
            pub tls: TlsSettings,
            /// Limits of scripts.
            #[arg(skip)]
            pub limits: LimitSettings,
            /// Automatic certificates.
            #[arg(skip)]
            pub acme: AcmeFile,
        }

        impl Settings {
            /// The keys of the file that are flags too.
            pub const FLAT_KEYS: &'static [&'static str] = &[$(stringify!($name)),+];

            /// The environment variables of those flags.
            pub const VARIABLES: &'static [&'static str] = &[$($env),+];

            /// These settings, and where they are silent those.
            pub fn or(self, other: Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)+ tls: other.tls, limits: other.limits, acme: other.acme }
            }
        }
    };
}

settings! {
    /// Directory of the store's files
    data_dir: PathBuf = "PICLOUD_DATA_DIR";
    /// File of the key that secrets are encrypted with; made at the first start
    secret_key_file: PathBuf = "PICLOUD_SECRET_KEY_FILE";
    /// Addresses for plain HTTP, such as 0.0.0.0:80, separated by commas
    http: Addresses = "PICLOUD_HTTP";
    /// Addresses for HTTPS, such as 0.0.0.0:443, separated by commas
    https: Addresses = "PICLOUD_HTTPS";
    /// Addresses for health probes and metrics, such as 127.0.0.1:9180; "none" for no such listener
    internal: Addresses = "PICLOUD_INTERNAL";
    /// PEM file of a certificate chain, for a single certificate
    tls_chain: PathBuf = "PICLOUD_TLS_CHAIN";
    /// PEM file of that certificate's key
    tls_key: PathBuf = "PICLOUD_TLS_KEY";
    /// Whether plain HTTP only redirects to HTTPS; on when HTTPS is served, but for --dev
    redirect_to_https: bool = "PICLOUD_REDIRECT_TO_HTTPS";
    /// Whether certificates are obtained for claimed hosts and for the dashboard's; on where public_base_url is https
    automatic_certificates: bool = "PICLOUD_AUTOMATIC_CERTIFICATES";
    /// Directory of the certificate authority; that of Let's Encrypt without it
    acme_directory: String = "PICLOUD_ACME_DIRECTORY";
    /// PEM file of a root to trust that authority by
    acme_root: PathBuf = "PICLOUD_ACME_ROOT";
    /// Where the authority may write to
    acme_email: String = "PICLOUD_ACME_EMAIL";
    /// PostgreSQL database, as postgres://user:password@host:port/database; SQLite files without it
    database_url: String = "PICLOUD_DATABASE_URL";
    /// What this node does: full, or edge for one that hands the API and the dashboard on to a full one
    node_role: NodeRole = "PICLOUD_NODE_ROLE";
    /// Where a full node answers edge nodes, such as :9181; not at all without it
    node_listen: NodeAddress = "PICLOUD_NODE_LISTEN";
    /// By which host and port edge nodes reach that; the machine's name without it
    node_address: String = "PICLOUD_NODE_ADDRESS";
    /// The address of the dashboard as browsers see it
    public_base_url: String = "PICLOUD_PUBLIC_BASE_URL";
    /// More hosts of the dashboard and the API, separated by commas
    admin_hosts: Names = "PICLOUD_ADMIN_HOSTS";
    /// Proxies in front whose word on the client counts: addresses and networks, separated by commas
    trusted_proxies: Networks = "PICLOUD_TRUSTED_PROXIES";
    /// By which header they tell: x-forwarded-for, with x-forwarded-proto, or forwarded
    proxy_header: ProxyHeader = "PICLOUD_PROXY_HEADER";
    /// Hours after which an unused session ends
    session_ttl_hours: u64 = "PICLOUD_SESSION_TTL_HOURS";
    /// Bytes of a request's body
    max_request_body_bytes: usize = "PICLOUD_MAX_REQUEST_BODY_BYTES";
    /// Bytes of a request's head
    max_request_head_bytes: usize = "PICLOUD_MAX_REQUEST_HEAD_BYTES";
    /// Milliseconds for a request's head to arrive
    request_head_timeout_ms: u64 = "PICLOUD_REQUEST_HEAD_TIMEOUT_MS";
    /// Milliseconds for a request's body to arrive
    request_body_timeout_ms: u64 = "PICLOUD_REQUEST_BODY_TIMEOUT_MS";
    /// Milliseconds that a connection may stay idle between requests
    idle_timeout_ms: u64 = "PICLOUD_IDLE_TIMEOUT_MS";
    /// Connections at once
    max_connections: usize = "PICLOUD_MAX_CONNECTIONS";
    /// Connections of one client at once, of an IPv4 address or an IPv6 /64
    max_connections_per_client: usize = "PICLOUD_MAX_CONNECTIONS_PER_CLIENT";
    /// Milliseconds that requests in flight get to finish at shutdown
    shutdown_grace_ms: u64 = "PICLOUD_SHUTDOWN_GRACE_MS";
    /// Milliseconds that a new binary gets until it serves at an upgrade
    upgrade_timeout_ms: u64 = "PICLOUD_UPGRADE_TIMEOUT_MS";
    /// Threads that run long scripts
    executor_workers: usize = "PICLOUD_EXECUTOR_WORKERS";
    /// Executions of one app at once
    executor_app_concurrency: usize = "PICLOUD_EXECUTOR_APP_CONCURRENCY";
    /// Executions of all apps that may wait for a thread
    executor_queue_capacity: usize = "PICLOUD_EXECUTOR_QUEUE_CAPACITY";
    /// Bytes of compiled scripts that are kept
    executor_program_cache_bytes: usize = "PICLOUD_EXECUTOR_PROGRAM_CACHE_BYTES";
    /// Bytes of memory that one execution may take at once
    executor_memory_bytes: usize = "PICLOUD_EXECUTOR_MEMORY_BYTES";
    /// Bytes of one script's answer
    max_response_bytes: usize = "PICLOUD_MAX_RESPONSE_BYTES";
    /// Keys that one app may keep by kv
    kv_max_keys: u64 = "PICLOUD_KV_MAX_KEYS";
    /// Bytes that one app may keep by kv
    kv_max_bytes: u64 = "PICLOUD_KV_MAX_BYTES";
    /// What scripts may reach by http beside public addresses: networks, addresses, host:port, separated by commas
    script_http_allow: HttpAllowed = "PICLOUD_SCRIPT_HTTP_ALLOW";
    /// Events that one app may have waiting, with its dead letters
    events_max: u64 = "PICLOUD_EVENTS_MAX";
    /// Bytes of their payloads
    events_max_bytes: u64 = "PICLOUD_EVENTS_MAX_BYTES";
    /// For how long events are lent to the node that handles them, in milliseconds, unless it says that it still does
    event_lease_ms: u64 = "PICLOUD_EVENT_LEASE_MS";
    /// Documents that one app may keep by docs
    docs_max_documents: u64 = "PICLOUD_DOCS_MAX_DOCUMENTS";
    /// Bytes that one app may keep by docs, with their indexes
    docs_max_bytes: u64 = "PICLOUD_DOCS_MAX_BYTES";
    /// Successful executions recorded for each second; more are sampled
    log_successes_per_second: u32 = "PICLOUD_LOG_SUCCESSES_PER_SECOND";
    /// Successful executions recorded at once after a quiet time
    log_success_burst: u32 = "PICLOUD_LOG_SUCCESS_BURST";
    /// Days after which an execution's record is deleted
    log_max_age_days: u64 = "PICLOUD_LOG_MAX_AGE_DAYS";
    /// Bytes that the records of executions may take
    log_max_bytes: u64 = "PICLOUD_LOG_MAX_BYTES";
    /// Directory of backups that are taken by themselves
    backup_dir: PathBuf = "PICLOUD_BACKUP_DIR";
    /// Hours between them; none are taken without it
    backup_every_hours: u64 = "PICLOUD_BACKUP_EVERY_HOURS";
    /// How many of them are kept
    backup_keep: usize = "PICLOUD_BACKUP_KEEP";
    /// Whether each request leaves a line in the program's log
    access_log: bool = "PICLOUD_ACCESS_LOG";
    /// What the program logs, such as info or picloud_proxy=debug,info
    log_filter: String = "PICLOUD_LOG_FILTER";
    /// How it logs: text or json; text on a terminal
    log_format: LogFormat = "PICLOUD_LOG_FORMAT";
}

/// The `tls` table of the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TlsSettings {
    /// The certificates, chosen among by server name; the first is shown to clients that name none.
    pub certificates: Vec<CertificateSettings>,
}

/// One certificate of the file.
#[derive(Debug, Clone, Deserialize)]
pub struct CertificateSettings {
    /// PEM file of the chain.
    pub chain: PathBuf,
    /// PEM file of the key.
    pub key: PathBuf,
}

/// The `limits` table of the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LimitSettings {
    /// What a script gets that asks for nothing.
    pub defaults: Knobs,
    /// The most that a script may ask for.
    pub ceilings: Knobs,
}

macro_rules! knobs {
    ($($name:ident),+) => {
        /// The limits of scripts.
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(default)]
        pub struct Knobs {
            $(pub $name: Option<u64>,)+
            pub timeout_ms: Option<u64>,
        }

        impl Knobs {
            const KEYS: &'static [&'static str] = &[$(stringify!($name),)+ "timeout_ms"];

            fn over(&self, mut limits: Limits) -> Limits {
                $(if let Some(value) = self.$name { limits.$name = value; })+
                if let Some(millis) = self.timeout_ms {
                    limits.timeout = std::time::Duration::from_millis(millis);
                }
                limits
            }
        }

        /// Every limit by its key.
        pub fn knobs_of(limits: &Limits) -> impl Iterator<Item = (&'static str, u64)> {
            let timeout_ms = u64::try_from(limits.timeout.as_millis()).unwrap_or(u64::MAX);
            [$((stringify!($name), limits.$name),)+ ("timeout_ms", timeout_ms)].into_iter()
        }
    };
}

knobs!(max_operations, max_string_size, max_array_size, max_map_size, max_call_levels, max_expr_depth);

/// The most that an operator may allow. Calls and expressions nest on a worker's stack of 256 MiB: 256 times 256 levels of some
/// 2 KiB each (in a debug build) take half of it, and an overflow would end the process. Sizes are such that no single step of a script takes a multiple of its
/// memory; the rest is beyond all sense.
const MOST: Limits = Limits {
    max_operations: 1_000_000_000_000,
    max_string_size: 16 * 1024 * 1024,
    max_array_size: 1_000_000,
    max_map_size: 200_000,
    max_call_levels: 256,
    max_expr_depth: 256,
    timeout: std::time::Duration::from_millis(DAY_MS),
};

impl LimitSettings {
    /// The product's limits with these in their place.
    ///
    /// # Errors
    /// The first limit that is zero, or over what bounds it.
    pub fn policy(&self) -> anyhow::Result<LimitPolicy> {
        let product = LimitPolicy::default();
        let policy = LimitPolicy {
            defaults: self.defaults.over(product.defaults),
            ceilings: self.ceilings.over(product.ceilings),
        };
        check("ceilings", &policy.ceilings, &MOST)?;
        check("defaults", &policy.defaults, &policy.ceilings)?;
        Ok(policy)
    }
}

fn check(table: &str, limits: &Limits, most: &Limits) -> anyhow::Result<()> {
    for ((knob, value), (_, most)) in knobs_of(limits).zip(knobs_of(most)) {
        within(&format!("limits.{table}.{knob}"), Some(value), value, 1..=most)?;
    }
    Ok(())
}

/// Every key that the file may hold, tables with dots.
pub fn known_keys() -> Vec<String> {
    let mut keys: Vec<String> = Settings::FLAT_KEYS.iter().map(|key| (*key).to_owned()).collect();
    keys.extend(
        ["tls", "tls.certificates", "tls.certificates.chain", "tls.certificates.key", "limits"].map(str::to_owned),
    );
    keys.push("acme".to_owned());
    keys.extend(AcmeFile::KEYS.iter().map(|key| format!("acme.{key}")));
    for table in ["limits.defaults", "limits.ceilings"] {
        keys.push(table.to_owned());
        keys.extend(Knobs::KEYS.iter().map(|key| format!("{table}.{key}")));
    }
    keys
}

/// Addresses to listen on, written with commas or, in the file, as a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(pub Vec<SocketAddr>);

/// The one address that edge nodes are answered at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeAddress(pub SocketAddr);

/// Names, written likewise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

/// Addresses and networks of proxies, written likewise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks(pub Vec<TrustedNet>);

/// What scripts may reach, written likewise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAllowed(pub HttpAllow);

/// How the program logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// A value that its setting does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

impl FromStr for Addresses {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if text == "none" || text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let parse = |part: &str| {
            let part = part.trim();
            // `:80` is every address of the machine, IPv4 included.
            let full = if part.starts_with(':') { format!("[::]{part}") } else { part.to_owned() };
            full.parse().map_err(|_| InvalidValue(format!("{part} is no address such as 127.0.0.1:8080 or :80")))
        };
        text.split(',').map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for NodeAddress {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let Addresses(addresses) = text.parse()?;
        match addresses[..] {
            [address] => Ok(Self(address)),
            _ => Err(InvalidValue("edge nodes are answered at one address, such as :9181".to_owned())),
        }
    }
}

impl FromStr for Names {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Ok(Self(text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()))
    }
}

impl FromStr for Networks {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let parse = |net: String| net.parse().map_err(|error| InvalidValue(format!("{net}: {error}")));
        let Names(nets) = text.parse()?;
        nets.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for HttpAllowed {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        text.parse().map(Self).map_err(|error: InvalidHttpAllow| InvalidValue(error.to_string()))
    }
}

impl FromStr for LogFormat {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(InvalidValue("the log's format is text or json".to_owned())),
        }
    }
}

/// A text or a list of texts.
#[derive(Deserialize)]
#[serde(untagged, expecting = "it is a text or a list of texts")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

macro_rules! deserialize_from_text {
    ($($Name:ident),+) => {$(
        impl<'de> Deserialize<'de> for $Name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = match OneOrMany::deserialize(deserializer)? {
                    OneOrMany::One(text) => text,
                    OneOrMany::Many(texts) => texts.join(","),
                };
                text.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

deserialize_from_text!(Addresses, NodeAddress, Names, Networks, HttpAllowed, LogFormat);
