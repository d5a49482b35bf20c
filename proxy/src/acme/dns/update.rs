//! Dynamic updates (RFC 2136), signed by a key that is shared with the server (RFC 8945).

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, Query, ResponseCode, update_message};
use hickory_resolver::proto::rr::rdata::TXT;
use hickory_resolver::proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordSet, RecordType, TSigner};
use picloud_shared::certificate::TxtRecord;
use picloud_shared::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(15);
/// How long others may keep a record: it is gone within minutes.
const TTL: u32 = 60;
/// How far apart the clocks of both may be, in seconds (RFC 8945, 10).
const FUDGE: u16 = 300;

/// A key that is shared with the server. It has no `Debug` that would show it.
#[derive(Clone)]
pub struct TsigKey(TSigner);

/// A text that names no algorithm that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key's algorithm is hmac-sha256, hmac-sha384 or hmac-sha512")]
pub struct InvalidTsigAlgorithm;

impl TsigKey {
    /// A key of that name.
    ///
    /// # Errors
    /// A name or an algorithm that there is not.
    pub fn new(name: &str, algorithm: &str, key: Vec<u8>) -> Result<Self, String> {
        let algorithm = match algorithm {
            "hmac-sha256" => TsigAlgorithm::HmacSha256,
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            _ => return Err(InvalidTsigAlgorithm.to_string()),
        };
        let name = Name::from_str(name).map_err(|error| format!("{name} is no name of a key: {error}"))?;
        TSigner::new(key, algorithm, name, FUDGE).map(Self).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TsigKey({})", self.0.signer_name())
    }
}

/// Where updates are sent, and how they are signed.
#[derive(Clone)]
pub struct DnsUpdate {
    /// The zone's primary server.
    pub server: SocketAddr,
    /// The zone; asked for at the server where absent.
    pub zone: Option<String>,
    /// What the server knows us by.
    pub key: TsigKey,
    /// The time, which signatures carry.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for DnsUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DnsUpdate({})", self.server)
    }
}

impl DnsUpdate {
    /// Adds a record to those of its name, or takes it away from them.
    pub(super) async fn send(&self, record: &TxtRecord, set: bool) -> Result<(), String> {
        let failed = |reason: String| format!("the DNS server {} did not take the update: {reason}", self.server);
        timeout(DEADLINE, self.send_in_time(record, set))
            .await
            .unwrap_or_else(|_| Err(format!("it did not answer within {} s", DEADLINE.as_secs())))
            .map_err(failed)
    }

    async fn send_in_time(&self, record: &TxtRecord, set: bool) -> Result<(), String> {
        let text = |error: &dyn fmt::Display| error.to_string();
        let mut name = Name::from_str(&record.name).map_err(|error| text(&error))?;
        name.set_fqdn(true);
        let zone = self.zone(&name).await?;
        let mut records = RecordSet::with_ttl(name.clone(), RecordType::TXT, TTL);
        let data = RData::TXT(TXT::new(vec![record.value.clone()]));
        records.insert(Record::from_rdata(name, TTL, data), 0);
        let mut message = match set {
            true => update_message::append(records, zone, false, false),
            false => update_message::delete_by_rdata(records, zone, false),
        };
        let now = u64::try_from(self.clock.now().as_millis() / 1000).unwrap_or(0);
        let verifier = message.finalize(&self.key.0, now).map_err(|error| text(&error))?;
        let answer = self.ask(&message).await?;
        if let Some(mut verifier) = verifier {
            verifier.verify(&answer).map_err(|error| format!("its answer is not signed as it should be: {error}"))?;
        }
        match Message::from_vec(&answer).map_err(|error| text(&error))?.metadata.response_code {
            ResponseCode::NoError => Ok(()),
            code => Err(code.to_string()),
        }
    }

    /// The zone that holds the name: the nearest one above it that the server answers for.
    async fn zone(&self, name: &Name) -> Result<Name, String> {
        if let Some(zone) = &self.zone {
            let mut zone = Name::from_str(zone).map_err(|error| error.to_string())?;
            zone.set_fqdn(true);
            return Ok(zone);
        }
        let mut at = name.base_name();
        while !at.is_root() {
            let mut message = Message::query();
            message.add_query(Query::query(at.clone(), RecordType::SOA));
            let answer = Message::from_vec(&self.ask(&message).await?).map_err(|error| error.to_string())?;
            if answer.answers.iter().any(|record| record.record_type() == RecordType::SOA && record.name == at) {
                return Ok(at);
            }
            at = at.base_name();
        }
        Err(format!("it has no zone that holds {name}; set `zone`"))
    }

    /// By TCP, so that nothing is cut short.
    async fn ask(&self, message: &Message) -> Result<Vec<u8>, String> {
        let bytes = message.to_vec().map_err(|error| error.to_string())?;
        let length = u16::try_from(bytes.len()).map_err(|_| "the update is too long".to_owned())?;
        let asked = async {
            let mut stream = TcpStream::connect(self.server).await?;
            stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
            let length = stream.read_u16().await?;
            let mut answer = vec![0; usize::from(length)];
            stream.read_exact(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        asked.await.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_and_never_shown() {
        let key = TsigKey::new("picloud", "hmac-sha256", b"hunter2".to_vec()).unwrap();
        let shown = format!("{key:?}");
        assert!(shown.contains("picloud") && !shown.contains("hunter2"), "{shown}");
        assert!(TsigKey::new("picloud", "hmac-md5", Vec::new()).is_err());
        assert!(TsigKey::new("no..name", "hmac-sha256", Vec::new()).is_err());
    }
}
