//! One order, step by step (RFC 8555, 7.4). After each step what is needed to go on is in the store, so that an order that a
//! crash broke off is taken up where it was.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Error, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use picloud_shared::certificate::{Challenge, ChallengeKind, Issued, TxtRecord, read_facts, topmost_issuer};
use picloud_shared::domain_pattern::{DomainPattern, Host};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use sha2::{Digest, Sha256};

use super::account::Session;
use super::authority::Authority;
use super::failure::{Failure, is_of_kind, patiently, tells_of_validation, wait_until, words};
use super::round::Work;
use crate::tls::Certificate;

fn challenge_type(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        ChallengeKind::Dns01 => ChallengeType::Dns01,
    }
}

fn identifier(name: &DomainPattern) -> Identifier {
    Identifier::Dns(name.shape_key())
}

/// Whether the authority has given it up. It may say why before it says so.
fn has_failed(order: &mut Order) -> bool {
    let state = order.state();
    state.status == OrderStatus::Invalid || state.error.is_some()
}

impl Work {
    /// Gets a certificate by the order under way, or by a new one.
    pub(super) async fn obtain(&mut self, session: &Session, authority: &Authority) -> Result<Issued, Failure> {
        let mut order = self.place(session, authority).await?;
        match self.complete(&mut order, session).await {
            Ok(chain) => {
                let chain = preferred_chain(chain, session, authority).await;
                self.check(chain, authority)
            }
            Err(Failure::Unkept(error)) => Err(error.into()),
            Err(_) if has_failed(&mut order) => Err(self.why_invalid(&mut order, session).await),
            Err(failure) => Err(failure),
        }
    }

    /// Does what is left of an order, to the chain that it leads to.
    async fn complete(&mut self, order: &mut Order, session: &Session) -> Result<String, Failure> {
        let failed = |error| Failure::of(error, &session.wire);
        let policy = RetryPolicy::new().backoff(1.5).timeout(self.shared.settings.timing.order);
        if order.state().status == OrderStatus::Pending {
            self.answer(order, session).await?;
            patiently!(order.poll_ready(&policy)).map_err(failed)?;
        }
        let csr = match order.state().status {
            OrderStatus::Ready => Some(self.signing_request()?),
            _ => None,
        };
        if !self.progress().finalized {
            // Whether it is heard will not be known where it breaks off.
            self.progress().finalized = true;
            self.save().await?;
        }
        if let Some(csr) = csr {
            patiently!(order.finalize_csr(&csr)).map_err(failed)?;
        }
        match patiently!(order.poll_certificate(&policy)) {
            Err(Error::Timeout(next)) if order.state().status == OrderStatus::Processing => {
                Err(Failure::Issuing { retry_after: wait_until(next) })
            }
            done => done.map_err(failed),
        }
    }

    /// The order under way, or a new one.
    async fn place(&mut self, session: &Session, authority: &Authority) -> Result<Order, Failure> {
        let failed = |error| Failure::of(error, &session.wire);
        if let Some(url) = self.progress().url.clone() {
            return match patiently!(session.account.order(url.clone())) {
                Ok(mut order) => match has_failed(&mut order) {
                    true => Err(self.why_invalid(&mut order, session).await),
                    false => Ok(order),
                },
                // Expired, or lost there.
                Err(error @ Error::Api(_)) => Err(match failed(error) {
                    Failure::Refused { reason, .. } => Failure::Forgotten(reason),
                    failure => failure,
                }),
                Err(error) => Err(failed(error)),
            };
        }
        let identifiers: Vec<Identifier> = self.record.names.iter().map(identifier).collect();
        let mut wanted = NewOrder::new(&identifiers);
        if let Some(profile) = &authority.profile {
            wanted = wanted.profile(profile);
        }
        let replaced = self.replaced(authority);
        let order = match replaced {
            None => patiently!(session.account.new_order(&wanted)),
            Some(replaced) => {
                let replacing = NewOrder::new(&identifiers).replaces(replaced);
                let replacing = match &authority.profile {
                    Some(profile) => replacing.profile(profile),
                    None => replacing,
                };
                // That it replaces another only helps; an authority that does not take it takes the order without.
                match patiently!(session.account.new_order(&replacing)) {
                    Err(Error::Api(problem))
                        if is_of_kind(&problem, "alreadyReplaced") || is_of_kind(&problem, "malformed") =>
                    {
                        patiently!(session.account.new_order(&wanted))
                    }
                    done => done,
                }
            }
        };
        let order = order.map_err(failed)?;
        self.progress().url = Some(order.url().to_owned());
        self.save().await?;
        Ok(order)
    }

    /// What the authority knows the certificate by that is to be replaced, if it is its own and it keeps such books.
    fn replaced(&self, authority: &Authority) -> Option<CertificateIdentifier<'static>> {
        self.record.renewal.as_ref()?.window?;
        let facts = self.record.facts.as_ref()?;
        let (key, serial) = facts.renewal_id.as_deref()?.split_once('.')?;
        (facts.authority.as_deref() == Some(authority.directory.as_str())).then(|| CertificateIdentifier {
            authority_key_identifier: key.to_owned().into(),
            serial: serial.to_owned().into(),
        })
    }

    /// Has every node answer the challenges, and then has the authority look.
    async fn answer(&mut self, order: &mut Order, session: &Session) -> Result<(), Failure> {
        let failed = |error| Failure::of(error, &session.wire);
        let kind = self.progress().challenge;
        // A nonce that is refused half-way loses one; what was fetched before is there the next time.
        let challenges = patiently!(self.pending(order, kind)).map_err(failed)??;
        if kind == ChallengeKind::Dns01 {
            self.set_records(&challenges).await?;
        } else {
            let revision = self.shared.store.set_challenges(self.record.id, &challenges).await?;
            self.shared.until_answered(revision).await?;
        }
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(failed)?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            if let Some(mut challenge) = authorization.challenge(challenge_type(kind))
                && challenge.status == ChallengeStatus::Pending
            {
                patiently!(challenge.set_ready()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The challenges of that kind that are still to be answered.
    async fn pending(&self, order: &mut Order, kind: ChallengeKind) -> Result<Result<Vec<Challenge>, Failure>, Error> {
        let mut pending = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let name = authorization.identifier().identifier.authorized(false).to_string();
            match authorization.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => continue,
                _ => return Ok(Err(Failure::Validation(format!("the authority is done with {name} already")))),
            }
            let Some(challenge) = authorization.challenge(challenge_type(kind)) else {
                return Ok(Err(Failure::Validation(format!("the authority offers no {kind} for {name}"))));
            };
            pending.push(Challenge {
                certificate: self.record.id,
                kind,
                name,
                token: challenge.token.clone(),
                key_authorization: challenge.key_authorization().as_str().to_owned(),
            });
        }
        Ok(Ok(pending))
    }

    /// Sets the records that show names to be ours: the digest of each key authorization (RFC 8555, 8.4).
    async fn set_records(&mut self, challenges: &[Challenge]) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        let Some(provider) = &shared.settings.dns else {
            return Err(Failure::Validation("no way to set a DNS record is configured ([acme.dns])".to_owned()));
        };
        for challenge in challenges {
            let value = URL_SAFE_NO_PAD.encode(Sha256::digest(challenge.key_authorization.as_bytes()));
            let record = TxtRecord { name: shared.dns.place_of_proof(&challenge.name).await, value };
            if !self.progress().records.contains(&record) {
                // Before it is set, so that whoever goes on after a crash takes it away.
                self.progress().records.push(record.clone());
                self.save().await?;
            }
            provider.set(&shared.dns, &record).await.map_err(Failure::Validation)?;
        }
        Ok(())
    }

    /// What the authority says of the names that it could not validate.
    async fn why_invalid(&self, order: &mut Order, session: &Session) -> Failure {
        let mut reasons = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let Ok(mut authorization) = authorization else { continue };
            if patiently!(authorization.refresh()).is_err() {
                continue;
            }
            reasons.extend(authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref()).map(words));
        }
        let error = order.state().error.as_ref();
        if reasons.is_empty() && error.is_some_and(tells_of_validation) {
            // The authorizations could not be read, but the order tells enough.
            reasons.extend(error.map(words));
        }
        if reasons.is_empty() {
            // No name was at fault.
            let reason = error.map_or_else(|| "the authority gave the order up without saying why".to_owned(), words);
            return Failure::Refused { reason, retry_after: session.wire.seen().retry_after };
        }
        Failure::Validation(reasons.join("; "))
    }

    /// The request to sign: names and key alone.
    fn signing_request(&mut self) -> Result<Vec<u8>, Failure> {
        let broken = |error: rcgen::Error| Failure::refused(format!("no request could be made: {error}"));
        let names: Vec<String> = self.record.names.iter().map(DomainPattern::shape_key).collect();
        let mut params = CertificateParams::new(names).map_err(broken)?;
        params.distinguished_name = DistinguishedName::new();
        let key = KeyPair::from_pem(self.progress().key.reveal()).map_err(broken)?;
        Ok(params.serialize_request(&key).map_err(broken)?.der().to_vec())
    }

    /// Nothing is served that does not fit the key and every name.
    fn check(&mut self, chain: String, authority: &Authority) -> Result<Issued, Failure> {
        let key = self.progress().key.clone();
        let unusable =
            |reason: String| Failure::refused(format!("the authority gave a certificate of no use: {reason}"));
        let provider = self.shared.certificates.provider();
        let certificate =
            Certificate::from_pem(&chain, key.reveal(), &provider).map_err(|error| unusable(error.to_string()))?;
        for name in &self.record.names {
            let host = match name {
                DomainPattern::Exact(host) => Some(host.clone()),
                DomainPattern::Wildcard { parent, .. } => {
                    Host::parse(&format!("any.{parent}")).ok().map(Host::into_owned)
                }
            };
            if !host.is_some_and(|host| certificate.covers(&host)) {
                return Err(unusable(format!("it is not for {}", name.shape_key())));
            }
        }
        let facts =
            read_facts(&chain, Some(authority.directory.as_str())).map_err(|error| unusable(error.to_string()))?;
        Ok(Issued { chain, key, facts })
    }
}

/// The chain that leads to the root which the operator prefers, of those that the authority has; else the usual one.
async fn preferred_chain(usual: String, session: &Session, authority: &Authority) -> String {
    let Some(preferred) = &authority.preferred_chain else { return usual };
    let leads_there = |chain: &str| topmost_issuer(chain).as_deref() == Some(preferred);
    if leads_there(&usual) {
        return usual;
    }
    let alternates = std::mem::take(&mut session.wire.seen().alternates);
    for address in alternates {
        session.wire.seen().chain = None;
        // The library reads no chain but an order's own. Asked for this address as for an order, it fetches what is there,
        // signed as it must be, and fails to read it as an order; the chain is seen on the wire.
        let _ = patiently!(session.account.order(address.clone()));
        let seen = session.wire.seen().chain.take();
        if let Some(chain) = seen.filter(|chain| leads_there(chain)) {
            return chain;
        }
    }
    tracing::warn!(preferred, "the authority has no chain that leads to the preferred root; the usual one is taken");
    usual
}
