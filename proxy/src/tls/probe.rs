//! A page and a handshake that only this program knows: by them it finds out whether a name leads here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::distr::{Alphanumeric, SampleString};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use super::challenge::handshake;

/// All that are open.
#[derive(Debug, Default, Clone)]
pub(super) struct Probes(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    /// What pages say, by their tokens.
    pages: HashMap<Box<str>, Arc<str>>,
    /// What handshakes show, by the names that they are for, each with the token of its probe.
    handshakes: HashMap<Box<str>, (Box<str>, Arc<CertifiedKey>)>,
}

/// What is answered for as long as this lives.
#[derive(Debug)]
pub struct Probe {
    probes: Probes,
    name: Box<str>,
    token: Box<str>,
    path: String,
    text: Arc<str>,
    certificate: Option<CertificateDer<'static>>,
}

impl Probes {
    fn lock(&self) -> MutexGuard<'_, Open> {
        // The maps are whole after every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, name: &str, provider: &CryptoProvider) -> Probe {
        let drawn = || Alphanumeric.sample_string(&mut rand::rng(), 32);
        let (token, text): (Box<str>, Arc<str>) = (drawn().into(), drawn().into());
        let shown = handshake(name, &text, provider).ok().map(Arc::new);
        let certificate = shown.as_ref().and_then(|key| key.cert.first().cloned());
        let mut open = self.lock();
        open.pages.insert(token.clone(), Arc::clone(&text));
        if let Some(shown) = shown {
            open.handshakes.insert(name.into(), (token.clone(), shown));
        }
        drop(open);
        let path = format!("/.well-known/acme-challenge/{token}");
        Probe { probes: self.clone(), name: name.into(), token, path, text, certificate }
    }

    pub(super) fn page(&self, token: &str) -> Option<Arc<str>> {
        self.lock().pages.get(token).cloned()
    }

    pub(super) fn handshake(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.lock().handshakes.get(name).map(|(_, shown)| Arc::clone(shown))
    }
}

impl Probe {
    /// Where the page is, on every host.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What it says.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What a handshake of the challenge's protocol shows for the name.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let mut open = self.probes.lock();
        open.pages.remove(&self.token);
        // Another probe of the name may have taken the place.
        if open.handshakes.get(&self.name).is_some_and(|(token, _)| *token == self.token) {
            open.handshakes.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_is_there_for_as_long_as_its_probe() {
        let (probes, provider) = (Probes::default(), rustls::crypto::ring::default_provider());
        let first = probes.open("a.example.com", &provider);
        let token = first.path().rsplit('/').next().unwrap().to_owned();
        assert_eq!(probes.page(&token).as_deref(), Some(first.text()));
        assert_eq!(probes.page("other"), None);
        let second = probes.open("a.example.com", &provider);
        drop(first);
        assert_eq!(probes.page(&token), None);
        let shown = probes.handshake("a.example.com").unwrap();
        assert_eq!(shown.cert.first(), second.certificate(), "the newer one's");
        assert!(probes.handshake("b.example.com").is_none());
        drop(second);
        assert!(probes.handshake("a.example.com").is_none());
    }
}
