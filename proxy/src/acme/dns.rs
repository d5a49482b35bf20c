//! DNS: looking names up, and setting the TXT records of DNS-01 (RFC 8555, 8.4) by a hook or by dynamic updates (RFC 2136).

mod hook;
mod update;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use picloud_shared::certificate::TxtRecord;
use tokio::time::{Instant, sleep};

pub use update::{DnsUpdate, TsigKey};

/// How often it is looked for a record that was just set.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long it may take until a record that was set is seen. After that the authority looks all the same: it may see more.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// CNAMEs that are followed to where a record is to be set (an alias to a zone that may be written to).
const MOST_ALIASES: usize = 8;

/// By what TXT records are set.
#[derive(Debug, Clone)]
pub enum DnsProvider {
    /// By a program: `PROGRAM set NAME VALUE`, and `PROGRAM clear NAME VALUE`.
    Hook(PathBuf),
    /// By dynamic updates of the zone.
    Update(DnsUpdate),
}

/// What an address of the DNS was asked for, and did not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// There is none.
    None,
    /// It cannot be told.
    Failed(String),
}

/// Looks names up, past all caches of this machine.
#[derive(Clone)]
pub(super) struct Dns {
    resolver: TokioResolver,
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dns")
    }
}

impl Dns {
    /// By that server, or by those of this machine.
    pub(super) fn new(server: Option<SocketAddr>) -> Result<Self, String> {
        let builder = match server {
            None => TokioResolver::builder_tokio().map_err(|error| error.to_string())?,
            Some(server) => {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                let name_server = NameServerConfig::new(server.ip(), true, connections.into());
                let config = ResolverConfig::from_name_servers(vec![name_server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let mut builder = builder;
        let options = builder.options_mut();
        options.cache_size = 0;
        // Who asks from outside does not read this machine's file.
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = Duration::from_secs(3);
        options.attempts = 2;
        Ok(Self { resolver: builder.build().map_err(|error| error.to_string())? })
    }

    /// The addresses of a name.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Unanswered> {
        let (four, six) = tokio::join!(self.records(name, RecordType::A), self.records(name, RecordType::AAAA));
        let address = |data: RData| match data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        };
        let addresses: Vec<IpAddr> =
            [&four, &six].into_iter().flatten().flatten().cloned().filter_map(address).collect();
        if !addresses.is_empty() {
            return Ok(addresses);
        }
        match (four, six) {
            (Err(Unanswered::Failed(reason)), _) | (_, Err(Unanswered::Failed(reason))) => {
                Err(Unanswered::Failed(reason))
            }
            _ => Err(Unanswered::None),
        }
    }

    /// Who may sign for a name (RFC 8659): tags and values of the nearest records above it.
    pub(super) async fn caa(&self, name: &str) -> Result<Vec<(String, String)>, Unanswered> {
        let mut at = name;
        loop {
            match self.records(at, RecordType::CAA).await {
                Ok(records) => {
                    let records = records.into_iter().filter_map(|data| match data {
                        RData::CAA(caa) => {
                            Some((caa.tag.to_ascii_lowercase(), String::from_utf8_lossy(&caa.value).into_owned()))
                        }
                        _ => None,
                    });
                    return Ok(records.collect());
                }
                Err(Unanswered::None) => {}
                Err(failed) => return Err(failed),
            }
            let Some((_, parent)) = at.split_once('.') else { return Err(Unanswered::None) };
            at = parent;
        }
    }

    async fn texts(&self, name: &str) -> Vec<String> {
        let records = self.records(name, RecordType::TXT).await.unwrap_or_default();
        let text = |data: RData| match data {
            RData::TXT(text) => Some(text.txt_data.iter().map(|part| String::from_utf8_lossy(part)).collect()),
            _ => None,
        };
        records.into_iter().filter_map(text).collect()
    }

    /// Where the record that shows a name to be ours is to be set: beside it, or where an alias leads from there.
    pub(super) async fn place_of_proof(&self, name: &str) -> String {
        let mut at = format!("_acme-challenge.{name}");
        for _ in 0..MOST_ALIASES {
            let records = self.records(&at, RecordType::CNAME).await.unwrap_or_default();
            let alias = records.into_iter().find_map(|data| match data {
                RData::CNAME(alias) => Some(alias.0.to_ascii().trim_end_matches('.').to_owned()),
                _ => None,
            });
            match alias {
                Some(alias) => at = alias,
                None => break,
            }
        }
        at
    }

    async fn records(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, Unanswered> {
        // The dot keeps the search domains of this machine out.
        match self.resolver.lookup(format!("{name}."), kind).await {
            Ok(found) => {
                let of_kind = found.answers().iter().filter(|record| record.record_type() == kind);
                let data: Vec<RData> = of_kind.map(|record| record.data.clone()).collect();
                if data.is_empty() { Err(Unanswered::None) } else { Ok(data) }
            }
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => Err(Unanswered::None),
            Err(error) => Err(Unanswered::Failed(words(&error))),
        }
    }
}

fn words(error: &NetError) -> String {
    error.to_string()
}

impl DnsProvider {
    /// Sets a record, and returns once it is seen.
    pub(super) async fn set(&self, dns: &Dns, record: &TxtRecord) -> Result<(), String> {
        self.change(record, true).await?;
        let deadline = Instant::now() + SEEN_WITHIN;
        while !dns.texts(&record.name).await.contains(&record.value) {
            if Instant::now() >= deadline {
                tracing::warn!(
                    name = record.name,
                    "the record that was set is not seen; the authority is let look all the same"
                );
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Takes a record away.
    pub(super) async fn clear(&self, record: &TxtRecord) -> Result<(), String> {
        self.change(record, false).await
    }

    async fn change(&self, record: &TxtRecord, set: bool) -> Result<(), String> {
        match self {
            Self::Hook(program) => hook::run(program, record, set).await,
            Self::Update(update) => update.send(record, set).await,
        }
    }
}
