//! The certificates: those of files, whether key and chain fit and how long they last; and those of the store, how they are.

use std::fs;

use picloud_proxy::tls::{Certificate, CertificateFiles};
use picloud_shared::certificate::{CertificateRecord, CertificateState, broken_link};
use picloud_shared::clock::Timestamp;
use picloud_shared::doctor::Check;
use picloud_shared::domain_pattern::DomainPattern;

use crate::config::Config;

const ABOUT: &str = "certificates";

pub fn look(config: &Config, records: &[CertificateRecord], now: Timestamp) -> Vec<Check> {
    let provider = rustls::crypto::ring::default_provider();
    let of_files = config.certificates.iter().flat_map(|files| match Certificate::read(files, &provider) {
        Ok(certificate) => of_file(files, &certificate, now),
        Err(error) => {
            let fix = "give tls_chain and tls_key files in PEM that belong together";
            vec![Check::wrong(ABOUT, error.to_string(), fix)]
        }
    });
    let mut checks: Vec<Check> = of_files.collect();
    let well = records.iter().filter(|record| is_well(record, now)).count();
    checks.extend(records.iter().filter(|record| !is_well(record, now)).map(|record| of_record(record, now)));
    if well > 0 {
        checks.push(Check::ok(ABOUT, format!("{well} certificates of names are good")));
    }
    checks
}

fn of_file(files: &CertificateFiles, certificate: &Certificate, now: Timestamp) -> Vec<Check> {
    let place = files.chain.display();
    let name = certificate.names().first().map_or("nobody", |name| &**name);
    let fix = "renew it and put the new files in its place, then: sudo systemctl reload picloud";
    let lasts = match (certificate.not_after(), certificate.ends_soon(now)) {
        (Some(ends), _) if ends <= now => Check::wrong(ABOUT, format!("{place}, for {name}, expired at {ends}"), fix),
        (_, Some(ends)) => Check::warning(ABOUT, format!("{place}, for {name}, expires at {ends}"), fix),
        (Some(ends), None) => Check::ok(ABOUT, format!("{place}, for {name}, is good until {ends}")),
        (None, None) => Check::ok(ABOUT, format!("{place} does not tell how long it is good")),
    };
    let broken = fs::read_to_string(&files.chain).ok().and_then(|chain| broken_link(&chain)).map(|at| {
        let fix =
            "put the certificate first and then those that signed it, each the one before (certbot's fullchain.pem)";
        Check::warning(ABOUT, format!("{place}: its certificate {at} was not signed by the one behind it"), fix)
    });
    [Some(lasts), broken].into_iter().flatten().collect()
}

fn ends(record: &CertificateRecord) -> Option<Timestamp> {
    record.facts.as_ref().map(|facts| facts.not_after)
}

fn is_well(record: &CertificateRecord, now: Timestamp) -> bool {
    record.state == CertificateState::Valid && ends(record).is_none_or(|ends| ends > now)
}

fn of_record(record: &CertificateRecord, now: Timestamp) -> Check {
    let name = record.name.as_ref().or(record.names.first()).map_or_else(String::new, DomainPattern::shape_key);
    let why = record.last_error.as_deref().map_or_else(String::new, |error| format!(": {error}"));
    let fix = format!("picloud certs show {name} tells why; once that is mended: picloud certs renew {name}");
    match ends(record) {
        Some(ends) if ends <= now => Check::wrong(ABOUT, format!("{name} expired at {ends}{why}"), fix),
        Some(ends) => Check::warning(ABOUT, format!("{name} is {}, and good until {ends}{why}", record.state), fix),
        None => Check::warning(ABOUT, format!("{name} has no certificate yet, and is {}{why}", record.state), fix),
    }
}
