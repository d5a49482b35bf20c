//! The store of certificates as the data plane sees it: leases, state, sealed keys, and hints between nodes. It decides
//! nothing about certificates, and never hands out a key unsealed but to who serves it or signs with it.

mod reseal;
mod sealed;

pub(crate) use reseal::reseal;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use picloud_shared::certificate::{
    Admission, Attempt, AttemptLimits, CertificateRecord, CertificateSource, CertificateStore, Challenge,
    InternalAuthority, Issued, Leased, LostLease, OrderProgress, SaveError, Served, StoreFailure, Unmanaged,
};
use picloud_shared::clock::{Clock, Timestamp};
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::id::{AppId, CertificateId, LeaseId, NodeId};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::repo::certificates::sealed::SealedCertificate;
use crate::repo::certificates::{self, accounts, attempts, nodes, served};
use crate::repo::{Listed, RepoError};
use crate::secret::key_file::{self, Purpose, SecretKey};
use crate::secret::seal::Sealer;
use crate::store::{Conn, Store, Tx};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an attempt is remembered.
const HISTORY: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How far the clocks of two nodes may differ. What was written later than that from now was written by a clock that stood
/// wrong and has been set back since.
const CLOCKS_DIFFER: Duration = HOUR;
/// A node that was not seen for so long has gone.
const FORGOTTEN: Duration = DAY;

/// The store of certificates.
pub struct Certificates {
    store: Store,
    clock: Arc<dyn Clock>,
    sealer: Sealer,
    /// Of the secret key that is sealed by.
    fingerprint: String,
    /// Whether it is known, and told, that the store has another by now.
    key_replaced: AtomicBool,
    changed: Arc<Notify>,
    listening: JoinHandle<()>,
}

impl Drop for Certificates {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Certificates {
    /// The certificates of a store that was made with this key. Must be called within the runtime.
    pub fn new(store: Store, clock: Arc<dyn Clock>, key: &SecretKey) -> Self {
        let changed = Arc::new(Notify::new());
        let (listened, wake) = (store.clone(), Arc::clone(&changed));
        let listening = tokio::spawn(async move { listened.listen(nodes::CHANNEL, || wake.notify_one()).await });
        let sealer = Sealer::new(&key.derive(Purpose::CertificateKeys));
        let key_replaced = AtomicBool::new(false);
        Self { store, clock, sealer, fingerprint: key.fingerprint(), key_replaced, changed, listening }
    }

    /// Begins what writes something sealed: nothing is to be sealed by a key that is the store's no more.
    async fn begin_sealing(&self) -> Result<Tx, RepoError> {
        let mut tx = self.store.begin().await?;
        key_file::require(&mut tx, &self.fingerprint).await?;
        Ok(tx)
    }

    /// Ends the leases of processes that are gone, where this one is the only that serves from the store: so that work which
    /// a crash broke off goes on at once.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn end_leases_of_the_dead(&self) -> Result<(), RepoError> {
        if !self.store.is_alone() {
            return Ok(());
        }
        let mut tx = self.store.begin().await?;
        certificates::end_all_leases(&mut tx).await?;
        tx.commit().await
    }

    /// Stores a certificate that somebody uploaded, within the change that it is part of.
    pub(crate) async fn insert_uploaded(
        &self,
        conn: &mut Conn,
        record: &CertificateRecord,
        issued: &Issued,
    ) -> Result<(), RepoError> {
        let key = self.seal_key(record.id, record.app, &issued.key);
        let revision = served::raise_revision(conn).await?;
        certificates::insert_uploaded(conn, record, issued, &key, revision).await
    }

    /// Tells whoever serves and orders, here and on other nodes, that there is something new.
    pub fn wake(&self) {
        self.changed.notify_one();
        if self.store.is_sqlite() {
            return;
        }
        let store = self.store.clone();
        // Beside what is done: a hint that is lost is made up for by a look every now and then.
        tokio::spawn(async move {
            let told = async { nodes::tell_other_nodes(&mut store.read().await?).await };
            if let Err(error) = told.await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "other nodes learn of certificates by asking"
                );
            }
        });
    }
}

impl From<RepoError> for StoreFailure {
    fn from(error: RepoError) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self(text)
    }
}

impl From<RepoError> for SaveError {
    fn from(error: RepoError) -> Self {
        Self::Store(error.into())
    }
}

#[async_trait]
impl CertificateStore for Certificates {
    async fn unmanaged(&self, limit: u32) -> Result<Vec<Unmanaged>, StoreFailure> {
        let claims = certificates::unmanaged(&mut self.store.read().await?, limit).await?;
        Ok(claims.into_iter().map(|claim| Unmanaged { name: claim.pattern, app: claim.app_id }).collect())
    }

    async fn manage(
        &self,
        name: &DomainPattern,
        app: Option<AppId>,
        source: CertificateSource,
        due: Option<Timestamp>,
    ) -> Result<(), StoreFailure> {
        let (now, mut tx) = (self.clock.now(), self.store.begin().await?);
        let id = CertificateId::generate(now);
        certificates::insert_managed(&mut tx, id, name, app, source, due, now).await?;
        Ok(tx.commit().await?)
    }

    async fn retire_unclaimed(&self, kept: &[String]) -> Result<Vec<Option<OrderProgress>>, StoreFailure> {
        let now = self.clock.now();
        let found = certificates::unclaimed(&mut self.store.read().await?, now, self.is_shared()).await?;
        // One that cannot be read stays, and keeps no other.
        let found = found.into_iter().filter_map(|row| readable(row, "a certificate that nobody needs stays"));
        let unclaimed: Vec<_> = found.filter(|found| !kept.contains(&found.name.shape_key())).collect();
        if unclaimed.is_empty() {
            return Ok(Vec::new());
        }
        let mut retired = Vec::new();
        let mut tx = self.store.begin().await?;
        for certificate in unclaimed {
            if !certificates::is_relied_on(&mut tx, &certificate.name, now).await? {
                retired.extend(certificates::delete_unleased(&mut tx, certificate.id).await?);
            }
        }
        if !retired.is_empty() {
            served::raise_revision(&mut tx).await?;
        }
        tx.commit().await?;
        self.wake();
        let order = |of: SealedCertificate| self.open_order(of.id, of.app_id, &of.order_sealed?);
        let retired = retired.into_iter();
        Ok(retired.map(|row| readable(row, "an order is given up with its claim").and_then(order)).collect())
    }

    async fn due(&self, now: Timestamp, kept: &[String], limit: u32) -> Result<Vec<CertificateId>, StoreFailure> {
        Ok(certificates::due(&mut self.store.read().await?, now, kept, limit).await?)
    }

    async fn reschedule(&self, now: Timestamp) -> Result<u64, StoreFailure> {
        let mut tx = self.store.begin().await?;
        let made_due = certificates::reschedule(&mut tx, now, now.plus(CLOCKS_DIFFER)).await?;
        tx.commit().await?;
        Ok(made_due)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreFailure> {
        Ok(certificates::next_due(&mut self.store.read().await?).await?)
    }

    async fn lease(&self, id: CertificateId, span: Duration) -> Result<Option<Leased>, StoreFailure> {
        let lease = LeaseId::generate(self.clock.now());
        let mut tx = self.begin_sealing().await?;
        let row = certificates::lease(&mut tx, id, lease, span).await?;
        tx.commit().await?;
        let Some(row) = row else { return Ok(None) };
        // An order that does not open is as good as none: another is placed.
        let CertificateRecord { id, app, .. } = row.record;
        let order = row.order_sealed.as_deref().and_then(|sealed| self.open_order(id, app, sealed));
        Ok(Some(Leased { lease, record: row.record, order }))
    }

    async fn prolong(&self, id: CertificateId, lease: LeaseId, span: Duration) -> Result<(), SaveError> {
        let mut tx = self.store.begin().await?;
        let stands = certificates::prolong(&mut tx, id, lease, span).await?;
        tx.commit().await?;
        if stands { Ok(()) } else { Err(LostLease.into()) }
    }

    async fn save(
        &self,
        lease: LeaseId,
        record: &CertificateRecord,
        order: Option<&OrderProgress>,
    ) -> Result<(), SaveError> {
        let order = order.map(|order| self.seal_order(record, order));
        let mut tx = self.begin_sealing().await?;
        if !certificates::save(&mut tx, lease, record, order.as_deref()).await? {
            return Err(LostLease.into());
        }
        Ok(tx.commit().await?)
    }

    async fn keep(
        &self,
        lease: LeaseId,
        record: &CertificateRecord,
        issued: &Issued,
        attempt: Option<&Attempt>,
    ) -> Result<(), SaveError> {
        let Issued { chain, key, facts } = issued;
        let key = self.seal_key(record.id, record.app, key);
        let mut tx = self.begin_sealing().await?;
        if !certificates::save(&mut tx, lease, record, None).await? {
            return Err(LostLease.into());
        }
        let revision = served::raise_revision(&mut tx).await?;
        served::set_served(&mut tx, record.id, chain, &key, facts, revision).await?;
        served::set_challenges(&mut tx, record.id, &[]).await?;
        if let Some(attempt) = attempt {
            attempts::note(&mut tx, attempt).await?;
        }
        tx.commit().await?;
        self.wake();
        Ok(())
    }

    async fn release(&self, id: CertificateId, lease: LeaseId) -> Result<(), StoreFailure> {
        let mut tx = self.store.begin().await?;
        certificates::release(&mut tx, id, lease).await?;
        Ok(tx.commit().await?)
    }

    async fn begin_attempt(&self, attempt: &Attempt, limits: &AttemptLimits) -> Result<Admission, StoreFailure> {
        let now = attempt.started_at;
        // Units of work follow one another over all nodes, so that the count holds until the attempt is among them.
        let mut tx = self.store.begin().await?;
        attempts::fail_running(&mut tx, attempt.certificate, "another attempt took its place", now).await?;
        let admission = admit(&mut tx, attempt, limits).await?;
        if admission == Admission::Admitted {
            attempts::note(&mut tx, attempt).await?;
            attempts::prune(&mut tx, now.minus(HISTORY)).await?;
        }
        tx.commit().await?;
        Ok(admission)
    }

    async fn end_attempt(&self, attempt: &Attempt) -> Result<(), StoreFailure> {
        let mut tx = self.store.begin().await?;
        attempts::note(&mut tx, attempt).await?;
        Ok(tx.commit().await?)
    }

    async fn fail_running_attempts(&self, id: CertificateId, error: &str, at: Timestamp) -> Result<(), StoreFailure> {
        let mut tx = self.store.begin().await?;
        attempts::fail_running(&mut tx, id, error, at).await?;
        Ok(tx.commit().await?)
    }

    async fn account(&self, directory: &str) -> Result<Option<String>, StoreFailure> {
        let mut read = self.store.read().await?;
        let Some(sealed) = accounts::find(&mut read, directory).await? else { return Ok(None) };
        match self.open_account(directory, &sealed) {
            Ok(account) => Ok(Some(account)),
            Err(error) => {
                // By a key that is the store's no more nothing opens, and nothing is wrong with it.
                key_file::require(&mut read, &self.fingerprint).await?;
                tracing::error!(directory, %error, "another account is made");
                // No account, so that whoever reads it replaces it.
                Ok(Some(String::new()))
            }
        }
    }

    async fn save_account(&self, directory: &str, account: &str, replace: bool) -> Result<String, StoreFailure> {
        let sealed = self.seal_account(directory, account);
        let mut tx = self.begin_sealing().await?;
        accounts::save(&mut tx, directory, &sealed, replace, self.clock.now()).await?;
        let counts = accounts::find(&mut tx, directory).await?;
        tx.commit().await?;
        counts.map_or_else(|| Ok(account.to_owned()), |sealed| self.open_account(directory, &sealed))
    }

    async fn set_challenges(&self, id: CertificateId, challenges: &[Challenge]) -> Result<u64, StoreFailure> {
        let mut tx = self.store.begin().await?;
        served::set_challenges(&mut tx, id, challenges).await?;
        let revision = served::raise_revision(&mut tx).await?;
        tx.commit().await?;
        self.wake();
        Ok(revision)
    }

    async fn challenges(&self) -> Result<Vec<Challenge>, StoreFailure> {
        Ok(served::challenges(&mut self.store.read().await?).await?)
    }

    async fn revision(&self) -> Result<u64, StoreFailure> {
        let mut conn = self.store.read().await?;
        // Asked for every second, this is where a node learns that it has the key no more.
        let required = key_file::require(&mut conn, &self.fingerprint).await;
        if matches!(required, Err(RepoError::KeyReplaced)) && !self.key_replaced.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the instance's secret key was replaced: this node goes on serving, and changes nothing, signs nobody in and renews \
                 nothing until it is started again with the new key file"
            );
        }
        required?;
        Ok(served::revision(&mut conn).await?)
    }

    async fn served_revisions(&self) -> Result<Vec<(CertificateId, u64)>, StoreFailure> {
        let rows = served::served_revisions(&mut self.store.read().await?).await?;
        Ok(rows.into_iter().map(|row| (row.id, row.served_revision)).collect())
    }

    async fn served(&self, id: CertificateId) -> Result<Option<Served>, StoreFailure> {
        let Some(row) = served::served(&mut self.store.read().await?, id).await? else { return Ok(None) };
        let key = self.open_key(row.id, row.app_id, &row.key_sealed)?;
        let issued = Issued { chain: row.chain, key, facts: row.facts };
        Ok(Some(Served { id: row.id, source: row.source, revision: row.served_revision, issued }))
    }

    async fn acknowledge(&self, node: NodeId, revision: u64, now: Timestamp) -> Result<(), StoreFailure> {
        let mut tx = self.store.begin().await?;
        nodes::acknowledge(&mut tx, node, revision, now, now.minus(FORGOTTEN)).await?;
        Ok(tx.commit().await?)
    }

    async fn nodes_behind(&self, node: NodeId, revision: u64, since: Timestamp) -> Result<u64, StoreFailure> {
        Ok(nodes::behind(&mut self.store.read().await?, node, revision, since).await?)
    }

    async fn internal_authority(&self) -> Result<Option<InternalAuthority>, StoreFailure> {
        let row = accounts::internal_authority(&mut self.store.read().await?).await?;
        row.map(|row| self.open_authority(row)).transpose()
    }

    async fn save_internal_authority(
        &self,
        authority: &InternalAuthority,
        in_place_of: Option<Timestamp>,
    ) -> Result<InternalAuthority, StoreFailure> {
        let row = self.seal_authority(authority);
        let mut tx = self.begin_sealing().await?;
        accounts::save_internal_authority(&mut tx, &row, in_place_of).await?;
        let counts = accounts::internal_authority(&mut tx).await?;
        tx.commit().await?;
        counts.map_or_else(|| Ok(authority.clone()), |row| self.open_authority(row))
    }

    fn is_shared(&self) -> bool {
        !self.store.is_sqlite()
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// A row, unless it cannot be read; then it is told what comes of that.
fn readable<T>(row: Listed<T>, otherwise: &str) -> Option<T> {
    row.inspect_err(|error| tracing::warn!(%error, "{otherwise}")).ok()
}

/// Whether there may be one more attempt.
async fn admit(conn: &mut Conn, attempt: &Attempt, limits: &AttemptLimits) -> Result<Admission, RepoError> {
    let (now, latest) = (attempt.started_at, attempt.started_at.plus(CLOCKS_DIFFER));
    let failed = attempts::failed_validations(conn, &attempt.name, now.minus(HOUR), latest).await?;
    if failed.count >= limits.failed_validations_an_hour {
        return Ok(Admission::TooManyFailedValidations(failed.first.unwrap_or(now).plus(HOUR)));
    }
    if let Some(app) = attempt.app.filter(|_| !attempt.is_renewal) {
        let ordered = attempts::new_orders(conn, app, now.minus(DAY), latest).await?;
        if ordered.count >= limits.new_orders_a_day {
            return Ok(Admission::TooManyNewOrders(ordered.first.unwrap_or(now).plus(DAY)));
        }
    }
    Ok(Admission::Admitted)
}
