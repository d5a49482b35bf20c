//! Where certificates are kept: what the data plane asks of the store, which alone knows how keys are sealed.

use std::time::Duration;

use async_trait::async_trait;

use super::record::{Attempt, CertificateRecord, CertificateSource, Challenge, Issued, OrderProgress, PrivateKey};
use crate::clock::Timestamp;
use crate::domain_pattern::DomainPattern;
use crate::id::{AppId, CertificateId, LeaseId, NodeId};

/// The store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("the store of certificates failed: {0}")]
pub struct StoreFailure(pub String);

/// The lease is somebody else's by now, or the certificate is not wanted any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate is worked on elsewhere by now, or not wanted any more")]
pub struct LostLease;

/// Why what was done under a lease is not kept.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The lease is gone.
    #[error(transparent)]
    Lost(#[from] LostLease),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

/// A certificate that nobody else works on for a while.
#[derive(Debug)]
pub struct Leased {
    /// What every save is made under.
    pub lease: LeaseId,
    /// The certificate.
    pub record: CertificateRecord,
    /// The order that was under way.
    pub order: Option<OrderProgress>,
}

/// How many attempts there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptLimits {
    /// Failed validations of one name within an hour.
    pub failed_validations_an_hour: u64,
    /// First certificates of one app within a day.
    pub new_orders_a_day: u64,
}

/// Whether an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may, and has begun.
    Admitted,
    /// The name failed too often within an hour; from then on it may again.
    TooManyFailedValidations(Timestamp),
    /// The app had too many first certificates within a day; from then on it may again.
    TooManyNewOrders(Timestamp),
}

/// A name that is claimed and that no certificate is managed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmanaged {
    /// The claim's shape.
    pub name: DomainPattern,
    /// Whose claim it is.
    pub app: AppId,
}

/// A certificate to serve.
#[derive(Debug)]
pub struct Served {
    /// Which one.
    pub id: CertificateId,
    /// Where it comes from.
    pub source: CertificateSource,
    /// At which revision its chain changed last.
    pub revision: u64,
    /// What to serve.
    pub issued: Issued,
}

/// The authority of names that no public one signs for.
#[derive(Debug, Clone)]
pub struct InternalAuthority {
    /// The root in PEM.
    pub root: String,
    /// Its key.
    pub root_key: PrivateKey,
    /// The intermediate in PEM.
    pub intermediate: String,
    /// Its key.
    pub intermediate_key: PrivateKey,
    /// Until when the intermediate is good.
    pub intermediate_not_after: Timestamp,
}

/// Where certificates are kept. Every method fails when the store does not answer, and then changes nothing.
#[async_trait]
pub trait CertificateStore: Send + Sync + 'static {
    /// Up to `limit` claimed names that no certificate is managed for.
    async fn unmanaged(&self, limit: u32) -> Result<Vec<Unmanaged>, StoreFailure>;

    /// Manages a certificate for a name from now on, unless one is managed already.
    async fn manage(
        &self,
        name: &DomainPattern,
        app: Option<AppId>,
        source: CertificateSource,
        due: Option<Timestamp>,
    ) -> Result<(), StoreFailure>;

    /// Removes managed certificates that nobody needs any more: their names are no longer claimed, nor among `kept`, and
    /// no claimed host is served by them alone. One that never was a claim's may be among what another node keeps, where there
    /// are others: it stays until it has ended, or has come to nothing for eight days. Gives for each that it
    /// removed the order that was under way, if there was one that can be read.
    async fn retire_unclaimed(&self, kept: &[String]) -> Result<Vec<Option<OrderProgress>>, StoreFailure>;

    /// The certificates that are due by `now`, of those that are claimed or among `kept`, in the order in which they should have
    /// their turn: renewals and admin hosts first.
    async fn due(&self, now: Timestamp, kept: &[String], limit: u32) -> Result<Vec<CertificateId>, StoreFailure>;

    /// Has the turn come of what was scheduled by a clock that stood later than `now`, and was set back since. Tells how many.
    async fn reschedule(&self, now: Timestamp) -> Result<u64, StoreFailure>;

    /// When the next one is due; `None` where none ever will be.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreFailure>;

    /// Takes a certificate for a time, unless somebody has it.
    async fn lease(&self, id: CertificateId, span: Duration) -> Result<Option<Leased>, StoreFailure>;

    /// Keeps a lease for another span.
    async fn prolong(&self, id: CertificateId, lease: LeaseId, span: Duration) -> Result<(), SaveError>;

    /// Writes state, schedule and order down.
    async fn save(
        &self,
        lease: LeaseId,
        record: &CertificateRecord,
        order: Option<&OrderProgress>,
    ) -> Result<(), SaveError>;

    /// Keeps what was issued, and has every node serve it, with state and schedule. With that the order has ended, as the
    /// attempt that it was, and its challenges are answered no more.
    async fn keep(
        &self,
        lease: LeaseId,
        record: &CertificateRecord,
        issued: &Issued,
        attempt: Option<&Attempt>,
    ) -> Result<(), SaveError>;

    /// Gives a lease back.
    async fn release(&self, id: CertificateId, lease: LeaseId) -> Result<(), StoreFailure>;

    /// Begins an attempt, unless there were too many of its kind already. Whatever attempt of the certificate was under way has
    /// ended, since there is one at a time.
    async fn begin_attempt(&self, attempt: &Attempt, limits: &AttemptLimits) -> Result<Admission, StoreFailure>;

    /// Writes down how an attempt ended.
    async fn end_attempt(&self, attempt: &Attempt) -> Result<(), StoreFailure>;

    /// Writes down that whatever attempt of the certificate was under way failed then, and why.
    async fn fail_running_attempts(&self, id: CertificateId, error: &str, at: Timestamp) -> Result<(), StoreFailure>;

    /// The account with an authority, as it was saved.
    async fn account(&self, directory: &str) -> Result<Option<String>, StoreFailure>;

    /// Keeps an account, unless another node was quicker or `replace` says that the one there is of no use. Gives the one
    /// that counts.
    async fn save_account(&self, directory: &str, account: &str, replace: bool) -> Result<String, StoreFailure>;

    /// Has every node answer these challenges of the certificate, and no others of it. Gives the revision at which a node
    /// does.
    async fn set_challenges(&self, id: CertificateId, challenges: &[Challenge]) -> Result<u64, StoreFailure>;

    /// All challenges that are to be answered.
    async fn challenges(&self) -> Result<Vec<Challenge>, StoreFailure>;

    /// The newest revision of what is served and answered.
    async fn revision(&self) -> Result<u64, StoreFailure>;

    /// Which certificates are to be served, each with the revision of its chain.
    async fn served_revisions(&self) -> Result<Vec<(CertificateId, u64)>, StoreFailure>;

    /// A certificate to serve; `None` where there is none to serve by now.
    async fn served(&self, id: CertificateId) -> Result<Option<Served>, StoreFailure>;

    /// Tells that this node serves and answers by that revision.
    async fn acknowledge(&self, node: NodeId, revision: u64, now: Timestamp) -> Result<(), StoreFailure>;

    /// How many other nodes, of those seen since then, are behind that revision.
    async fn nodes_behind(&self, node: NodeId, revision: u64, since: Timestamp) -> Result<u64, StoreFailure>;

    /// The internal authority, once there is one.
    async fn internal_authority(&self) -> Result<Option<InternalAuthority>, StoreFailure>;

    /// Keeps the internal authority in place of one whose intermediate ended then, or of none, unless another node was
    /// quicker. Gives the one that counts.
    async fn save_internal_authority(
        &self,
        authority: &InternalAuthority,
        in_place_of: Option<Timestamp>,
    ) -> Result<InternalAuthority, StoreFailure>;

    /// Whether other nodes may use the same store.
    fn is_shared(&self) -> bool;

    /// Ends whenever something may have changed that this process or another node did.
    async fn changed(&self);
}
