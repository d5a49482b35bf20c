//! What of certificates is sealed, and for which place each.

use picloud_shared::certificate::{CertificateRecord, InternalAuthority, OrderProgress, PrivateKey, StoreFailure};
use picloud_shared::id::{AppId, CertificateId};

use super::Certificates;
use crate::repo::certificates::accounts::InternalAuthorityRow;
use crate::secret::seal::{Place, Unopenable};

pub(super) const ORDER: &str = "certificates.order";
pub(super) const KEY: &str = "certificates.key";
pub(super) const ACCOUNT: &str = "acme_accounts.account";
pub(super) const ROOT_KEY: Place<'static> = Place { table: "internal_authority.root_key", app: "", name: "root" };
pub(super) const INTERMEDIATE_KEY: Place<'static> =
    Place { table: "internal_authority.intermediate_key", app: "", name: "intermediate" };

fn unopenable(what: &str) -> impl Fn(Unopenable) -> StoreFailure {
    move |error| StoreFailure(format!("{what}: {error}"))
}

impl Certificates {
    pub(super) fn seal_order(&self, record: &CertificateRecord, order: &OrderProgress) -> Vec<u8> {
        let text = serde_json::to_vec(order).expect("an order is made of plain values, which JSON can hold");
        let (app, name) = (app_text(record.app), record.id.to_string());
        self.sealer.seal(Place { table: ORDER, app: &app, name: &name }, &text)
    }

    pub(super) fn open_order(&self, id: CertificateId, app: Option<AppId>, sealed: &[u8]) -> Option<OrderProgress> {
        let (app, name) = (app_text(app), id.to_string());
        let opened = self.sealer.open(Place { table: ORDER, app: &app, name: &name }, sealed);
        let order = opened.ok().and_then(|text| serde_json::from_slice(&text).ok());
        if order.is_none() {
            tracing::warn!(certificate_id = %id, "the order under way cannot be read, and is given up");
        }
        order
    }

    pub(super) fn seal_key(&self, id: CertificateId, app: Option<AppId>, key: &PrivateKey) -> Vec<u8> {
        let (app, name) = (app_text(app), id.to_string());
        self.sealer.seal(Place { table: KEY, app: &app, name: &name }, key.reveal().as_bytes())
    }

    pub(super) fn open_key(
        &self,
        id: CertificateId,
        app: Option<AppId>,
        sealed: &[u8],
    ) -> Result<PrivateKey, StoreFailure> {
        let (app, name) = (app_text(app), id.to_string());
        self.open_pem(Place { table: KEY, app: &app, name: &name }, "the key of a certificate", sealed)
    }

    pub(super) fn seal_account(&self, directory: &str, account: &str) -> Vec<u8> {
        self.sealer.seal(Place { table: ACCOUNT, app: "", name: directory }, account.as_bytes())
    }

    pub(super) fn open_account(&self, directory: &str, sealed: &[u8]) -> Result<String, StoreFailure> {
        let place = Place { table: ACCOUNT, app: "", name: directory };
        let text = self.sealer.open(place, sealed).map_err(unopenable("an account with an authority"))?;
        String::from_utf8(text).map_err(|_| StoreFailure("an account with an authority is no text".to_owned()))
    }

    pub(super) fn seal_authority(&self, authority: &InternalAuthority) -> InternalAuthorityRow {
        InternalAuthorityRow {
            root: authority.root.clone(),
            root_key_sealed: self.sealer.seal(ROOT_KEY, authority.root_key.reveal().as_bytes()),
            intermediate: authority.intermediate.clone(),
            intermediate_key_sealed: self.sealer.seal(INTERMEDIATE_KEY, authority.intermediate_key.reveal().as_bytes()),
            intermediate_not_after: authority.intermediate_not_after,
        }
    }

    pub(super) fn open_authority(&self, row: InternalAuthorityRow) -> Result<InternalAuthority, StoreFailure> {
        let what = "a key of the internal authority";
        Ok(InternalAuthority {
            root: row.root,
            root_key: self.open_pem(ROOT_KEY, what, &row.root_key_sealed)?,
            intermediate: row.intermediate,
            intermediate_key: self.open_pem(INTERMEDIATE_KEY, what, &row.intermediate_key_sealed)?,
            intermediate_not_after: row.intermediate_not_after,
        })
    }

    fn open_pem(&self, place: Place<'_>, what: &str, sealed: &[u8]) -> Result<PrivateKey, StoreFailure> {
        let text = self.sealer.open(place, sealed).map_err(unopenable(what))?;
        String::from_utf8(text).map(PrivateKey::new).map_err(|_| StoreFailure(format!("{what} is no text")))
    }
}

pub(super) fn app_text(app: Option<AppId>) -> String {
    app.map(|app| app.to_string()).unwrap_or_default()
}
