//! From a configuration to a program at work, and from a signal to its end. A straight line: open, bind, publish,
//! serve, drain.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use picloud_executor::Executor;
use picloud_manager::execution_writer::{ExecutionWriter, LogPolicy};
use picloud_manager::store::Store;
use picloud_manager::users::any_user;
use picloud_manager::{FirstOwner, Manager, ManagerConfig, Parts};
use picloud_proxy::admin_hosts::AdminHosts;
use picloud_proxy::client::ListenerRole;
use picloud_proxy::dispatch::{Gateway, GatewayParts};
use picloud_proxy::io::{Listener, Server};
use picloud_proxy::tls::Certificates;
use picloud_shared::clock::{Clock, SystemClock};
use picloud_shared::name::Username;
use picloud_shared::snapshot::SnapshotCell;
use picloud_shared::version;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, ExecutionLogSettings, Listen, LogFormat, LogSettings, PublicBaseUrl, first_owner};
use crate::control::InProcess;

/// Serves until a signal ends it.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    start_logging(&config.log)?;
    let mut signals = Signals::new()?;
    let certificates = load_certificates(&config)?;
    let server = bind(&config.listen)?;
    let listeners: Vec<Listener> = server.listeners().copied().collect();
    let base_url = base_url(&config, &listeners, certificates.as_deref())?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Store::open(&config.database).await?;
    let schema = store.schema_version();
    let policy = log_policy(&store, &config.execution_log);
    let execution_log = ExecutionWriter::start(store.clone(), Arc::clone(&clock), policy);
    let executor = Executor::start(config.executor.clone(), Arc::clone(&clock), execution_log.sink())
        .context("cannot start the executor's threads")?;
    let (executor, snapshot) = (Arc::new(executor), Arc::new(SnapshotCell::default()));
    let admin_hosts = AdminHosts::new(config.admin_hosts.iter().cloned().chain([base_url.host().clone()]));
    let first_owner = if any_user(&store).await? { None } else { parse_first_owner()? };
    let first_name = first_owner.as_ref().map(|owner| owner.username.clone());
    let manager = Manager::start(
        ManagerConfig {
            public_base_url: base_url.as_str().to_owned(),
            admin_hosts: admin_hosts.configured().to_vec(),
            session_ttl: config.session_ttl,
            limits: config.limits,
            first_owner,
            max_request_body_bytes: config.body_limit,
        },
        Parts {
            store: store.clone(),
            clock: Arc::clone(&clock),
            snapshot: Arc::clone(&snapshot),
            executor: Arc::clone(&executor),
            execution_log: execution_log.clone(),
        },
    )
    .await
    .context("cannot start the manager")?;
    let manager = Arc::new(manager);

    let gateway = Gateway::new(GatewayParts {
        snapshot,
        executor: Arc::clone(&executor),
        clock,
        control: Arc::new(InProcess::new(Arc::clone(&manager))),
        admin_hosts,
        version_document: version_document(schema, &base_url)?,
        body_limit: config.body_limit,
        access_log: config.log.access,
    });
    let running = server.start(gateway, config.io.clone(), certificates.clone())?;
    announce(&listeners, &base_url, manager.setup_link().as_deref(), first_name.as_ref());

    signals.until_stop(certificates.as_deref()).await;
    tracing::info!(grace_ms = config.shutdown_grace.as_millis() as u64, "draining");
    let finish = async {
        let all_answered = running.drain(config.shutdown_grace).await;
        if !all_answered {
            tracing::warn!("some requests were cut off at the end of the grace");
        }
        // What was cut off may run on by itself, within its own limits; its record is wanted all the same.
        let _ = tokio::time::timeout(config.shutdown_grace, executor.drain()).await;
        // Requests that were cut off hold the manager still; it ends with the process then.
        if let Some(manager) = Arc::into_inner(manager) {
            manager.shutdown().await;
        }
        execution_log.shutdown().await;
        store.close().await;
    };
    tokio::select! {
        () = finish => {}
        () = signals.stop() => tracing::warn!("ended at once by a second signal"),
    }
    Ok(())
}

/// What `config check` looks at beyond the settings themselves.
pub fn check(config: &Config) -> anyhow::Result<()> {
    EnvFilter::try_new(&config.log.filter).context("log_filter")?;
    load_certificates(config)?;
    parse_first_owner()?;
    Ok(())
}

fn start_logging(settings: &LogSettings) -> anyhow::Result<()> {
    // What Pingora calls an error is, on a public port, any client that goes wrong. What PostgreSQL notices is that what
    // a start makes where it is not there is there.
    let directives = format!("{},pingora_core=off,sqlx::postgres::notice=warn", settings.filter);
    let filter = EnvFilter::try_new(directives).context("log_filter")?;
    let format = settings.format.unwrap_or(if io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json });
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn load_certificates(config: &Config) -> anyhow::Result<Option<Arc<Certificates>>> {
    if config.certificates.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(Certificates::load(config.certificates.clone())?)))
}

/// Takes the addresses; without the right to the usual ones, those of `--dev`.
fn bind(listen: &Listen) -> anyhow::Result<Server> {
    match Server::bind(&listeners(listen)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && listen.by_default => {
            tracing::warn!(%error, "serving plain HTTP on a high port instead");
            Ok(Server::bind(&listeners(&listen.fallback()))?)
        }
        bound => Ok(bound?),
    }
}

fn listeners(listen: &Listen) -> Vec<Listener> {
    let of = |addresses: &[SocketAddr], role, tls| {
        addresses.iter().map(move |&address| Listener { address, role, tls }).collect::<Vec<_>>()
    };
    let http_role = match listen.https.first() {
        Some(https) if listen.redirect => ListenerRole::RedirectToHttps { port: https.port() },
        _ => ListenerRole::Public,
    };
    let mut all = of(&listen.http, http_role, false);
    all.extend(of(&listen.https, ListenerRole::Public, true));
    all.extend(of(&listen.internal, ListenerRole::Internal, false));
    all
}

/// The dashboard's address: as set, else the first certificate's name, else this machine.
fn base_url(
    config: &Config,
    listeners: &[Listener],
    certificates: Option<&Certificates>,
) -> anyhow::Result<PublicBaseUrl> {
    if let Some(url) = &config.public_base_url {
        return Ok(url.clone());
    }
    let port_of =
        |tls| listeners.iter().find(|l| l.tls == tls && l.role != ListenerRole::Internal).map(|l| l.address.port());
    let name = certificates.and_then(|certificates| {
        let first = certificates.find(None)?;
        first.names().iter().find(|name| !name.starts_with("*.") && &***name != "localhost").map(ToString::to_string)
    });
    let text = match (name, port_of(true), port_of(false)) {
        (Some(name), Some(443), _) => format!("https://{name}"),
        (Some(name), Some(port), _) => format!("https://{name}:{port}"),
        (_, _, Some(80)) => "http://127.0.0.1".to_owned(),
        (_, _, Some(port)) => format!("http://127.0.0.1:{port}"),
        (_, Some(port), None) => format!("https://127.0.0.1:{port}"),
        (_, None, None) => "http://127.0.0.1".to_owned(),
    };
    PublicBaseUrl::parse(&text)
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

/// Tells where the program can be reached: first one line for each listener, in a form for machines, then for people.
fn announce(
    listeners: &[Listener],
    base_url: &PublicBaseUrl,
    setup_link: Option<&str>,
    first_owner: Option<&Username>,
) {
    let mut lines = String::new();
    for listener in listeners {
        let scheme = if listener.tls { "https" } else { "http" };
        let internal = if listener.role == ListenerRole::Internal { " internal" } else { "" };
        lines += &format!("listening {scheme}://{}{internal}\n", listener.address);
    }
    let plain = listeners.iter().find(|listener| listener.role == ListenerRole::Public && !listener.tls);
    if let Some(plain) = plain.filter(|listener| listener.address.ip().is_loopback()) {
        lines += &format!("\nHello World:  http://localhost:{}/\n", plain.address.port());
    }
    lines += &format!("Dashboard:    {}/admin/\n", base_url.as_str());
    match (setup_link, first_owner) {
        (Some(link), _) => lines += &format!("First of all: {link}\n              makes you the owner; valid once\n"),
        (None, Some(username)) => {
            lines += &format!("Sign in:      as {username}, with the password of PICLOUD_ADMIN_PASSWORD\n")
        }
        (None, None) => lines += "Sign in:      with your user name and password\n",
    }
    // Standard output that nobody reads is no reason not to serve.
    let mut out = io::stdout().lock();
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the signal to stop; until then reads certificates again when asked to.
    async fn until_stop(&mut self, certificates: Option<&Certificates>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => reload(certificates),
            }
        }
    }
}

fn reload(certificates: Option<&Certificates>) {
    match certificates.map(Certificates::reload) {
        None => tracing::info!("there is nothing to read again"),
        Some(Ok(())) => tracing::info!("certificates were read again"),
        Some(Err(error)) => tracing::error!(%error, "certificates stay as they were"),
    }
}
