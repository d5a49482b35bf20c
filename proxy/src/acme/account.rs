//! The account with an authority: made at the first order, kept sealed in the store, and made anew when the authority does
//! not know it any more.

use std::sync::Arc;

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use picloud_shared::certificate::CertificateStore;
use picloud_shared::clock::Clock;

use super::authority::Authority;
use super::failure::Failure;
use super::wire::Wire;

/// An account that requests can be signed by, and the connections that they go through.
pub(super) struct Session {
    pub(super) account: Account,
    pub(super) wire: Wire,
}

/// What opening an account takes.
pub(super) struct Accounts<'a> {
    pub(super) store: &'a dyn CertificateStore,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) contact: Option<&'a str>,
}

impl Accounts<'_> {
    /// The account with the authority; the first one if there is none yet.
    pub(super) async fn open(&self, authority: &Authority) -> Result<Session, Failure> {
        match self.store.account(authority.directory.as_str()).await? {
            Some(saved) => self.restore(authority, &saved).await,
            None => self.create(authority, false).await,
        }
    }

    /// Another account in place of one that the authority refuses. The refused one stays if there is no other to be had.
    pub(super) async fn replace(&self, authority: &Authority) -> Result<Session, Failure> {
        tracing::warn!(authority = %authority.directory, "the authority refuses the account; another is made");
        self.create(authority, true).await
    }

    async fn restore(&self, authority: &Authority, saved: &str) -> Result<Session, Failure> {
        let wire = Wire::new(&authority.trust, Arc::clone(self.clock));
        let credentials: AccountCredentials =
            serde_json::from_str(saved).map_err(|error| Failure::AccountGone(error.to_string()))?;
        let builder = Account::builder_with_http(Box::new(wire.clone()));
        let account = builder.from_credentials(credentials).await;
        let account = account.map_err(|error| Failure::of(error, &wire))?;
        Ok(Session { account, wire })
    }

    async fn create(&self, authority: &Authority, replace: bool) -> Result<Session, Failure> {
        let wire = Wire::new(&authority.trust, Arc::clone(self.clock));
        let contact: Vec<&str> = self.contact.into_iter().collect();
        let wanted = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let external = authority.external_account.as_ref().map(ExternalAccountKey::from);
        let directory = authority.directory.as_str();
        let created = super::failure::patiently!(Account::builder_with_http(Box::new(wire.clone())).create(
            &wanted,
            directory.to_owned(),
            external.as_ref()
        ));
        let (_, credentials) = created.map_err(|error| Failure::of(error, &wire))?;
        let text = serde_json::to_string(&credentials).map_err(|error| Failure::refused(error.to_string()))?;
        // Another node may have been quicker; then its account is used.
        let saved = self.store.save_account(directory, &text, replace).await?;
        self.restore(authority, &saved).await
    }
}
