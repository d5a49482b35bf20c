//! Where names lead to.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::Name;

/// Addresses that a name may have. Each is checked, so that none can be left out.
const MOST_ADDRESSES: usize = 64;
/// How long a server is waited for, and how often it is asked again.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;

/// What leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// The name has no address.
    None,
    /// Whether it has one cannot be told.
    Failed,
}

/// Looks up where a name leads to.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses of a name.
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved>;
}

/// The servers and the hosts file that this machine is set to ask.
pub struct SystemDns {
    resolver: Option<TokioResolver>,
}

impl SystemDns {
    /// Those of now. Where the system names none, no name leads anywhere. Must be called within a tokio runtime.
    pub fn new() -> Self {
        let built = TokioResolver::builder_tokio().and_then(|mut builder| {
            let options = builder.options_mut();
            // Answers that names of one app lead to would stand in memory beside those of all others; who is asked keeps them.
            options.cache_size = 0;
            options.timeout = ANSWERS_WITHIN;
            options.attempts = ATTEMPTS;
            builder.build()
        });
        let resolver = built.inspect_err(|error| {
            tracing::warn!(error = error as &dyn std::error::Error, "http: scripts can look no name up");
        });
        Self { resolver: resolver.ok() }
    }
}

impl Default for SystemDns {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Resolve for SystemDns {
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let resolver = self.resolver.as_ref().ok_or(Unresolved::Failed)?;
        let mut whole = Name::from_ascii(name).map_err(|_| Unresolved::None)?;
        // No domain of this network's own is tried behind it.
        whole.set_fqdn(true);
        match resolver.lookup_ip(whole).await {
            Ok(found) if found.iter().count() > MOST_ADDRESSES => Err(Unresolved::Failed),
            Ok(found) => Ok(found.iter().collect()),
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => Err(Unresolved::None),
            Err(_) => Err(Unresolved::Failed),
        }
    }
}
