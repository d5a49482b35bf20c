//! The preflight: before an authority is asked, what it would find is looked at from here, and told in plain words.
//!
//! What would surely fail fails here, and costs no order. What cannot be told from here is told as doubtful: many routers do not
//! lead a machine back to itself by its public address.

mod reach;

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use picloud_shared::address::{Links, is_public};
use picloud_shared::certificate::{CertificateSource, ChallengeKind, Check, Finding, Preflight, Verdict};
use picloud_shared::domain_pattern::{DomainPattern, Host};

use super::AcmeSettings;
use super::agent::{Agent, Shared};
use super::authority::Authority;
use super::dns::{Dns, Unanswered};
use super::names::source_of;
use super::wire::{Wire, away};

#[async_trait]
impl Preflight for Agent {
    async fn preflight(&self, name: &DomainPattern) -> Vec<Finding> {
        look(&self.shared, name).await
    }
}

fn finding(check: Check, verdict: Verdict, detail: impl Into<String>) -> Finding {
    Finding { check, verdict, detail: detail.into() }
}

/// What stands in the way of an order, if something surely does.
pub(super) fn obstacle(findings: &[Finding]) -> Option<String> {
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Failed);
    let texts: Vec<&str> = failed.map(|finding| finding.detail.as_str()).collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

/// Looks at everything that an authority would.
pub(super) async fn look(shared: &Shared, name: &DomainPattern) -> Vec<Finding> {
    if source_of(name) == CertificateSource::Internal {
        let text = format!(
            "No public authority signs for {}; the instance's own does, whose root devices must be told to trust.",
            name.shape_key()
        );
        return vec![finding(Check::Name, Verdict::Passed, text)];
    }
    let (base, is_wildcard) = match name {
        DomainPattern::Exact(host) => (host.as_str(), false),
        DomainPattern::Wildcard { parent, .. } => (parent.as_str(), true),
    };
    let mut findings = vec![caa(shared, base, is_wildcard).await];
    let can = |kind| shared.challenges.contains(&kind);
    if is_wildcard {
        findings.push(match can(ChallengeKind::Dns01) {
            true => finding(Check::Dns, Verdict::Passed, "The DNS record that a wildcard needs can be set."),
            false => finding(
                Check::Dns,
                Verdict::Failed,
                "A wildcard is shown to be yours by a DNS record alone, and no way to set one is configured: see [acme.dns].",
            ),
        });
        return findings;
    }
    let addresses = match shared.dns.addresses(base).await {
        Ok(addresses) => addresses,
        Err(unanswered) => {
            findings.insert(0, unresolved(can(ChallengeKind::Dns01), base, unanswered));
            return findings;
        }
    };
    let links = links();
    let anywhere = has_own_authority(&shared.settings) || can(ChallengeKind::Dns01);
    findings.insert(0, resolved(anywhere, base, &addresses, &links));
    let is_asked =
        |address: &IpAddr| has_own_authority(&shared.settings) || standing(address, &links) == Standing::Public;
    let asked: Vec<IpAddr> = addresses.into_iter().filter(is_asked).collect();
    if asked.is_empty() {
        return findings;
    }
    let ways = reach::look(shared, base, &asked, can(ChallengeKind::Http01), can(ChallengeKind::TlsAlpn01)).await;
    // One way is enough, and by DNS nobody needs to get here at all.
    let is_enough = can(ChallengeKind::Dns01) || ways.iter().any(|way| way.verdict == Verdict::Passed);
    findings.extend(ways.into_iter().map(|way| match way.verdict {
        Verdict::Failed if is_enough => Finding { verdict: Verdict::Doubtful, ..way },
        _ => way,
    }));
    findings
}

/// Where a name leads, with its addresses. None of them is connected to, so that it is no matter whether this instance runs. An instance
/// without authorities is content with a name that leads anywhere.
pub async fn where_leads(settings: &AcmeSettings, name: &Host<'static>) -> (Finding, Vec<IpAddr>) {
    let text = name.as_str();
    if source_of(&DomainPattern::Exact(name.clone())) == CertificateSource::Internal {
        let found = format!("{text} is a name of a home network, which the public DNS does not tell of.");
        return (finding(Check::Resolution, Verdict::Passed, found), Vec::new());
    }
    let by_record = settings.dns.is_some();
    let asked = match Dns::new(settings.resolver) {
        Ok(dns) => dns.addresses(text).await,
        Err(error) => Err(Unanswered::Failed(error)),
    };
    match asked {
        Ok(addresses) => {
            let anywhere = settings.authorities.is_empty() || has_own_authority(settings) || by_record;
            (resolved(anywhere, text, &addresses, &links()), addresses)
        }
        Err(unanswered) => (unresolved(by_record, text, unanswered), Vec::new()),
    }
}

/// The links of this machine, as far as they can be told.
fn links() -> Links {
    Links::gather(|file| Ok(fs::read_to_string(file).unwrap_or_default())).unwrap_or_default()
}

/// A name that leads nowhere. Where it can be shown to be ours `by_record`, it need not.
fn unresolved(by_record: bool, name: &str, unanswered: Unanswered) -> Finding {
    match unanswered {
        Unanswered::None if by_record => finding(
            Check::Resolution,
            Verdict::Doubtful,
            format!("{name} leads nowhere yet: it has no A or AAAA record."),
        ),
        Unanswered::None => finding(
            Check::Resolution,
            Verdict::Failed,
            format!(
                "{name} leads nowhere: make an A record (or AAAA, for IPv6) for it at your DNS provider, with your public address."
            ),
        ),
        Unanswered::Failed(reason) => finding(
            Check::Resolution,
            Verdict::Doubtful,
            format!("Where {name} leads cannot be told, since the DNS server did not answer: {reason}."),
        ),
    }
}

/// Who can reach an address. Who claims a name chooses where it leads, and must not learn by it what answers on this machine and in
/// its network: none but public ones are connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Public,
    /// It may be reached from everywhere, and is another machine's of this network.
    Neighbour,
    Private,
}

fn standing(address: &IpAddr, links: &Links) -> Standing {
    match address.to_canonical() {
        address if !is_public(&address) => Standing::Private,
        IpAddr::V6(six) if links.have(six) => Standing::Neighbour,
        _ => Standing::Public,
    }
}

/// Whether an authority may be in this network itself, and find what nobody else does.
fn has_own_authority(settings: &AcmeSettings) -> bool {
    settings.authorities.iter().any(|authority| !authority.trust.is_public())
}

/// What there is to say of a name's addresses. Where they may be `anywhere`, as no authority of the public goes there, nothing.
fn resolved(anywhere: bool, name: &str, addresses: &[IpAddr], links: &Links) -> Finding {
    let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if anywhere {
        return finding(Check::Resolution, Verdict::Passed, format!("{name} leads to {list}."));
    }
    let of = |sought| {
        let found = addresses.iter().filter(|address| standing(address, links) == sought).map(ToString::to_string);
        found.collect::<Vec<_>>().join(", ")
    };
    let (private, neighbours) = (of(Standing::Private), of(Standing::Neighbour));
    if !private.is_empty() {
        let text = format!(
            "{name} leads to {private}, which nobody outside of your network can reach: its record must have your public address."
        );
        return finding(Check::Resolution, Verdict::Failed, text);
    }
    if !neighbours.is_empty() {
        let text = format!(
            "{name} leads to {neighbours}, another machine of this network: what answers there is not looked at. Its record must have \
             the address of this machine, unless that one hands requests on to it."
        );
        return finding(Check::Resolution, Verdict::Doubtful, text);
    }
    finding(Check::Resolution, Verdict::Passed, format!("{name} leads to {list}."))
}

/// Whether the name's owner lets one of the authorities sign (RFC 8659).
async fn caa(shared: &Shared, name: &str, is_wildcard: bool) -> Finding {
    let records = match shared.dns.caa(name).await {
        Ok(records) => records,
        Err(Unanswered::None) => {
            return finding(Check::Caa, Verdict::Passed, "No CAA record restricts which authority may sign.");
        }
        Err(Unanswered::Failed(reason)) => {
            let text = format!(
                "Whether a CAA record forbids it cannot be told, since the DNS server did not answer: {reason}."
            );
            return finding(Check::Caa, Verdict::Doubtful, text);
        }
    };
    let Some(allowed) = issuers(&records, is_wildcard) else {
        return finding(Check::Caa, Verdict::Passed, "The CAA records do not restrict which authority may sign.");
    };
    let (mut identities, mut all_tell) = (Vec::new(), true);
    for authority in &shared.settings.authorities {
        let told = identities_of(shared, authority).await;
        all_tell &= !told.is_empty();
        identities.extend(told);
    }
    let list = if allowed.is_empty() { "nobody".to_owned() } else { allowed.join(", ") };
    if identities.iter().any(|identity| allowed.contains(identity)) {
        return finding(Check::Caa, Verdict::Passed, format!("A CAA record lets {list} sign."));
    }
    if !all_tell || identities.is_empty() {
        let text = format!("CAA records let {list} sign for {name}; whether that is your authority cannot be told.");
        return finding(Check::Caa, Verdict::Doubtful, text);
    }
    let text = format!(
        "CAA records let {list} sign for {name}, and not {}: add a record `0 issue \"{}\"` at your DNS provider, or remove those.",
        identities.join(", "),
        identities[0]
    );
    finding(Check::Caa, Verdict::Failed, text)
}

/// By which names CAA records let an authority sign; none where it does not tell, or is left alone.
async fn identities_of(shared: &Shared, authority: &Authority) -> Vec<String> {
    if shared.pauses.is_away(&authority.directory, shared.clock.now()) {
        return Vec::new();
    }
    let wire = Wire::new(&authority.trust, Arc::clone(&shared.clock));
    let identities = wire.caa_identities(&authority.directory).await;
    let seen = wire.seen();
    if let Some(wait) = away(seen.refusal, seen.retry_after) {
        shared.pauses.note(&authority.directory, None, shared.clock.now(), wait);
    }
    identities
}

/// Who may sign, by the records that count; `None` where none restricts it.
fn issuers(records: &[(String, String)], is_wildcard: bool) -> Option<Vec<String>> {
    let of_tag = |tag: &str| {
        let values = records.iter().filter(|(found, _)| found == tag).map(|(_, value)| value);
        values.map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()).collect::<Vec<_>>()
    };
    let (issue, issuewild) = (of_tag("issue"), of_tag("issuewild"));
    let counting = if is_wildcard && !issuewild.is_empty() { issuewild } else { issue };
    (!counting.is_empty()).then(|| counting.into_iter().filter(|issuer| !issuer.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_link_of_this_machine_is_a_neighbours_and_loopback_is_none() {
        let none = Links::default();
        for (address, expected) in [
            ("2606:2800:220:1::1", Standing::Public),
            ("::ffff:93.184.216.34", Standing::Public),
            ("fe80::1", Standing::Private),
            ("fd00::1", Standing::Private),
            ("::1", Standing::Private),
        ] {
            assert_eq!(standing(&address.parse().unwrap(), &none), expected, "{address}");
        }
        let links = Links::of_ipv6(
            "26062800022000010000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 \
             00000100 00000001 00000000 00000001 eth0\n",
        );
        assert_eq!(standing(&"2606:2800:220:1::1".parse().unwrap(), &links), Standing::Neighbour);
        assert_eq!(standing(&"2606:2800:220:2::1".parse().unwrap(), &links), Standing::Public);
    }

    #[test]
    fn records_say_who_may_sign_and_wildcards_have_their_own() {
        let records = |list: &[(&str, &str)]| {
            list.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        let some = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect::<Vec<_>>());
        for (list, exact, wildcard) in [
            (records(&[("iodef", "mailto:a@example.com")]), None, None),
            (
                records(&[("issue", "LetsEncrypt.org; validationmethods=dns-01")]),
                some(&["letsencrypt.org"]),
                some(&["letsencrypt.org"]),
            ),
            (records(&[("issue", ";")]), some(&[]), some(&[])),
            (records(&[("issue", "a.test"), ("issuewild", "b.test")]), some(&["a.test"]), some(&["b.test"])),
            (records(&[("issuewild", ";")]), None, some(&[])),
        ] {
            assert_eq!(issuers(&list, false), exact, "{list:?}");
            assert_eq!(issuers(&list, true), wildcard, "{list:?}");
        }
    }
}
