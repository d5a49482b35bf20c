//! What a certificate says of itself, for people and for the schedule of renewals.

use std::fmt::Write as _;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};
use x509_parser::time::ASN1Time;

use super::record::CertificateFacts;
use crate::clock::Timestamp;

/// A text that begins with no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it does not begin with a certificate in PEM that can be read: {0}")]
pub struct UnreadableCertificate(String);

/// What the first certificate of a chain says of itself. The chain's order and its signatures are not looked at.
///
/// # Errors
/// The text does not begin with a certificate.
pub fn read_facts(chain: &str, authority: Option<&str>) -> Result<CertificateFacts, UnreadableCertificate> {
    let unreadable = |error: &dyn std::fmt::Display| UnreadableCertificate(error.to_string());
    let leaf = certificates(chain).next().ok_or_else(|| unreadable(&"there is none"))?;
    let leaf = leaf.map_err(|error| unreadable(&error))?;
    let parsed = leaf.parse_x509().map_err(|error| unreadable(&error))?;
    let alternative = parsed.subject_alternative_name().map_err(|error| unreadable(&error))?;
    let names = alternative.iter().flat_map(|names| names.value.general_names.iter());
    Ok(CertificateFacts {
        names: names.filter_map(name_text).collect(),
        issuer: issuer(&parsed),
        serial: parsed.raw_serial().iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        }),
        not_before: moment(parsed.validity().not_before),
        not_after: moment(parsed.validity().not_after),
        renewal_id: renewal_id(&parsed),
        authority: authority.map(str::to_owned),
    })
}

/// From when and until when a certificate in DER is good; `None` where it is none.
pub fn validity_of(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some((moment(parsed.validity().not_before), moment(parsed.validity().not_after)))
}

/// The IP addresses that a certificate in DER is for.
pub fn addresses_of(certificate: &[u8]) -> Vec<IpAddr> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let alternative = parsed.subject_alternative_name().ok().flatten();
    alternative.iter().flat_map(|names| &names.value.general_names).filter_map(address).collect()
}

fn moment(time: ASN1Time) -> Timestamp {
    Timestamp::from_millis(time.timestamp().saturating_mul(1000))
}

/// The common name of the last certificate's issuer: by what people call a root.
pub fn topmost_issuer(chain: &str) -> Option<String> {
    let last = certificates(chain).last()?.ok()?;
    let parsed = last.parse_x509().ok()?;
    Some(issuer(&parsed))
}

/// The place, from 1, of the first certificate in a chain that the one behind it did not issue, as far as their names tell
/// (RFC 5280, 6.1); `None` where each did.
pub fn broken_link(chain: &str) -> Option<usize> {
    let certificates: Vec<Pem> = certificates(chain).map_while(Result::ok).collect();
    let parsed: Vec<X509Certificate<'_>> = certificates.iter().map_while(|one| one.parse_x509().ok()).collect();
    let is_broken = |pair: &[X509Certificate<'_>]| pair[0].issuer().as_raw() != pair[1].subject().as_raw();
    parsed.windows(2).position(is_broken).map(|at| at + 1)
}

/// The certificates of a text; it may hold other things, such as a key.
fn certificates(text: &str) -> impl Iterator<Item = Result<Pem, x509_parser::error::PEMError>> {
    let all = Pem::iter_from_buffer(text.as_bytes());
    all.filter(|one| one.as_ref().map_or(true, |pem| pem.label == "CERTIFICATE"))
}

/// The identifiers of the authority's key and of the certificate (RFC 9773, 4.1).
fn renewal_id(certificate: &X509Certificate<'_>) -> Option<String> {
    let key = certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref(),
        _ => None,
    })?;
    Some(format!("{}.{}", URL_SAFE_NO_PAD.encode(key.0), URL_SAFE_NO_PAD.encode(certificate.raw_serial())))
}

fn issuer(certificate: &X509Certificate<'_>) -> String {
    let issuer = certificate.issuer();
    let common_name = issuer.iter_common_name().next().and_then(|name| name.as_str().ok());
    common_name.map_or_else(|| issuer.to_string(), str::to_owned)
}

fn name_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        name => address(name).map(|address| address.to_string()),
    }
}

fn address(name: &GeneralName<'_>) -> Option<IpAddr> {
    let GeneralName::IPAddress(bytes) = *name else { return None };
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_dates_and_issuer_are_read() {
        let names = ["shop.example.com", "*.example.com", "192.168.1.2", "fd00::1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
        let facts = read_facts(&made.cert.pem(), Some("https://ca.test/dir")).unwrap();
        assert_eq!(facts.names, names);
        assert_eq!(addresses_of(made.cert.der()), ["192.168.1.2", "fd00::1"].map(|one| one.parse::<IpAddr>().unwrap()));
        assert_eq!(facts.issuer, "rcgen self signed cert");
        assert!(facts.not_before < facts.not_after && !facts.serial.is_empty());
        assert_eq!(facts.renewal_id, None, "a self-signed one has no authority that it could name");
        assert_eq!(topmost_issuer(&made.cert.pem()).as_deref(), Some("rcgen self signed cert"));
    }

    /// The example of RFC 9773, 4.1.
    const RFC_9773: &str = "-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDIjAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
";

    #[test]
    fn a_certificate_is_known_for_renewal_as_the_rfc_writes_it() {
        let facts = read_facts(RFC_9773, None).unwrap();
        assert_eq!(facts.renewal_id.as_deref(), Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyI"));
    }

    #[test]
    fn what_is_no_certificate_is_told() {
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(read_facts(text, None).is_err(), "{text:?}");
        }
    }
}
