//! The chain of the audit log: each row carries a seal (HMAC-SHA256) over itself and the seal before, made with a key that
//! whoever has the database alone does not have. So no row can be changed, removed, put in or put elsewhere unseen.
//!
//! The end of the chain is sealed on its own, with its place, so that rows cut off the end are missed. What no seal can
//! tell is a database that was put back as a whole to an earlier state; for that, note the end and ask for it later.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use crate::hex::hex;
use crate::repo::RepoError;
use crate::repo::audit::{self, AuditEntry, AuditHead, SEAL_BYTES, SealedEntry};
use crate::secret::key_file::{self, DerivedKey, Purpose, SecretKey};
use crate::store::{Conn, Store};

/// Rows that are looked at, or written, in one go.
const BATCH: u32 = 500;

/// Seals rows.
pub struct AuditChain {
    key: DerivedKey,
    /// Of the secret key that the other one comes from.
    fingerprint: String,
}

/// A way through the chain from its beginning, on which each row proves to be as it was written.
struct Walk<'c> {
    chain: &'c AuditChain,
    last: u64,
    seal: Vec<u8>,
}

/// What a look at the whole chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many rows it has.
    pub rows: u64,
    /// Its end, as it may be noted: the place of the last row and its seal, in hexadecimal.
    pub end: String,
}

/// Why the audit log is not what was written.
#[derive(Debug, thiserror::Error)]
pub enum AuditViolation {
    /// Rows between two others are gone.
    #[error("row {0} of the audit log is missing")]
    Missing(u64),
    /// A row is not as it was written, or not where.
    #[error("row {0} of the audit log was changed, or written by other means than PiCloud's")]
    Changed(u64),
    /// The last rows are gone, or the note of the end was changed.
    #[error("the audit log does not end where it should: its last row is {found}, and row {expected} was written last")]
    End {
        /// The last row that is there.
        found: u64,
        /// The last row that was written, as far as the note of the end can be trusted.
        expected: u64,
    },
    /// The note of the end was changed, or is gone.
    #[error("the note of the audit log's end was changed")]
    HeadChanged,
    /// Rows were put in without a place.
    #[error("{0} rows of the audit log stand in no chain: they were written by other means than PiCloud's")]
    Unchained(u64),
    /// The end that was asked for is not in the chain.
    #[error("the audit log does not hold the row and seal {0}: it was put back to an earlier state, or changed")]
    NotThere(String),
    /// A row cannot be read, or the store does not answer.
    #[error("the audit log cannot be read")]
    Store(#[from] RepoError),
}

impl AuditChain {
    /// The chain of the instance that has this key.
    pub fn new(key: &SecretKey) -> Self {
        Self { key: key.derive(Purpose::AuditChain), fingerprint: key.fingerprint() }
    }

    /// That the store still has the key of this chain.
    ///
    /// # Errors
    /// [`RepoError::KeyReplaced`].
    pub(crate) async fn require_key(&self, conn: &mut Conn) -> Result<(), RepoError> {
        key_file::require(conn, &self.fingerprint).await
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes()).expect("HMAC takes keys of any length");
        parts.iter().for_each(|part| mac.update(part));
        mac
    }

    /// The seal over a row and the one before it. A seal has a fixed length, so that the parts cannot be cut elsewhere.
    fn seal_row(&self, previous: &[u8], seq: u64, entry: &AuditEntry) -> Hmac<Sha256> {
        self.mac(&[b"row", previous, &encode(seq, entry)])
    }

    fn seal_head(&self, seq: u64, seal: &[u8]) -> Hmac<Sha256> {
        self.mac(&[b"end", &seq.to_be_bytes(), seal])
    }

    /// Adds rows, within the unit of work of the change that they tell of. Changes follow one another, and so do the places.
    ///
    /// # Errors
    /// As [`audit::insert`], and [`RepoError::KeyReplaced`].
    pub(crate) async fn append(&self, conn: &mut Conn, entries: Vec<AuditEntry>) -> Result<(), RepoError> {
        if entries.is_empty() {
            return Ok(());
        }
        let (mut seq, mut seal) = match audit::head(conn).await? {
            Some(head) => {
                if !self.has_sealed(&head) {
                    // By another key, which is the store's now; or by somebody else, whom a verification will tell of.
                    self.require_key(conn).await?;
                }
                (head.seq, head.seal)
            }
            None => (0, vec![0; SEAL_BYTES]),
        };
        let sealed = entries.into_iter().map(|entry| {
            seq += 1;
            seal = tag(self.seal_row(&seal, seq, &entry));
            SealedEntry { seq, seal: seal.clone(), entry }
        });
        for rows in sealed.collect::<Vec<_>>().chunks(BATCH as usize) {
            audit::insert(conn, rows).await?;
        }
        self.end_at(conn, seq, seal).await
    }

    /// Seals every row anew that was sealed by another key, once it has proved to be as it was written. Gives the end.
    pub(crate) async fn take_over(&self, conn: &mut Conn, from: &Self) -> Result<Verified, AuditViolation> {
        let mut walk = Walk::new(from);
        let mut seal = vec![0; SEAL_BYTES];
        loop {
            let rows = walk.next(conn).await?;
            if rows.is_empty() {
                break;
            }
            let mut seals = Vec::with_capacity(rows.len());
            for row in rows {
                seal = tag(self.seal_row(&seal, row.seq, &row.entry));
                seals.push((row.seq, seal.clone()));
            }
            audit::set_seals(conn, &seals).await?;
        }
        let rows = walk.end(conn).await?.rows;
        if rows > 0 {
            self.end_at(conn, rows, seal.clone()).await?;
        }
        Ok(Verified { rows, end: end(rows, &seal) })
    }

    /// Looks at every row, and at the end. `noted` is an end that the operator noted earlier, which must be there.
    ///
    /// # Errors
    /// The first thing that is not as it was written; a store that does not answer.
    pub async fn verify(&self, store: &Store, noted: Option<&str>) -> Result<Verified, AuditViolation> {
        // At one moment: rows that come meanwhile belong to the next look.
        let mut read = store.begin_read().await?;
        let mut walk = Walk::new(self);
        let mut found = noted.is_none();
        loop {
            let rows = walk.next(&mut read).await?;
            if rows.is_empty() {
                break;
            }
            found |= noted.is_some_and(|noted| rows.iter().any(|row| noted == end(row.seq, &row.seal)));
        }
        let verified = walk.end(&mut read).await?;
        match noted {
            Some(noted) if !found => Err(AuditViolation::NotThere(noted.to_owned())),
            _ => Ok(verified),
        }
    }

    /// The seal over a row that is on its way to the chain, by which it is told from one that somebody else put there.
    pub(crate) fn seal_outbound(&self, entry: &str) -> Vec<u8> {
        tag(self.mac(&[b"outbound", entry.as_bytes()]))
    }

    /// Whether that seal is over that row.
    pub(crate) fn is_outbound(&self, entry: &str, seal: &[u8]) -> bool {
        self.mac(&[b"outbound", entry.as_bytes()]).verify_slice(seal).is_ok()
    }

    fn has_sealed(&self, head: &AuditHead) -> bool {
        self.seal_head(head.seq, &head.seal).verify_slice(&head.head_seal).is_ok()
    }

    /// Notes that the chain ends with that row.
    async fn end_at(&self, conn: &mut Conn, seq: u64, seal: Vec<u8>) -> Result<(), RepoError> {
        let head_seal = tag(self.seal_head(seq, &seal));
        audit::set_head(conn, &AuditHead { seq, seal, head_seal }).await
    }
}

impl<'c> Walk<'c> {
    fn new(chain: &'c AuditChain) -> Self {
        Self { chain, last: 0, seal: vec![0; SEAL_BYTES] }
    }

    /// The next rows; none after the last.
    async fn next(&mut self, conn: &mut Conn) -> Result<Vec<SealedEntry>, AuditViolation> {
        let rows = audit::list_chain(conn, self.last, BATCH).await?;
        for row in &rows {
            if row.seq != self.last + 1 {
                return Err(AuditViolation::Missing(self.last + 1));
            }
            let expected = self.chain.seal_row(&self.seal, row.seq, &row.entry);
            if expected.verify_slice(&row.seal).is_err() {
                return Err(AuditViolation::Changed(row.seq));
            }
            (self.last, self.seal) = (row.seq, row.seal.clone());
        }
        Ok(rows)
    }

    /// Looks at the end, after the last row.
    async fn end(self, conn: &mut Conn) -> Result<Verified, AuditViolation> {
        match audit::head(conn).await? {
            None if self.last == 0 => {}
            Some(head) if self.chain.has_sealed(&head) => {
                if head.seq != self.last || head.seal != self.seal {
                    return Err(AuditViolation::End { found: self.last, expected: head.seq });
                }
            }
            _ => return Err(AuditViolation::HeadChanged),
        }
        let unchained = audit::count_unchained(conn).await?;
        if unchained > 0 {
            return Err(AuditViolation::Unchained(unchained));
        }
        Ok(Verified { rows: self.last, end: end(self.last, &self.seal) })
    }
}

fn tag(mac: Hmac<Sha256>) -> Vec<u8> {
    mac.finalize().into_bytes().to_vec()
}

/// An end as operators note it.
fn end(seq: u64, seal: &[u8]) -> String {
    format!("{seq}:{}", hex(seal))
}

/// The bytes of a row that are sealed. `serde_json` keeps members in order, whatever order a database gives them back in.
fn encode(seq: u64, entry: &AuditEntry) -> Vec<u8> {
    let AuditEntry {
        id,
        at,
        user_id,
        username,
        key_id,
        action,
        object_kind,
        object_id,
        app_id,
        remote_ip,
        before,
        after,
    } = entry;
    let fields = json!([
        seq,
        id,
        at.as_millis(),
        user_id,
        username,
        key_id,
        action,
        object_kind,
        object_id,
        app_id,
        remote_ip,
        before,
        after,
    ]);
    serde_json::to_vec(&fields).expect("values of JSON are JSON")
}
