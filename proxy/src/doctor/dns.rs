//! The names: whether each host that is served leads here.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream;
use picloud_proxy::acme::{AcmeSettings, where_leads};
use picloud_shared::certificate::Verdict;
use picloud_shared::doctor::Check;
use picloud_shared::domain_pattern::{DomainPattern, Host};
use tokio::time::sleep;

use crate::config::Config;

const ABOUT: &str = "dns";
/// Names that are looked up, and how many at once.
const MOST: usize = 200;
const AT_ONCE: usize = 16;
/// How long all that takes at most: a server that does not answer is waited for with each name.
const WITHIN: Duration = Duration::from_secs(20);
/// Names that are well and told one by one.
const TOLD: usize = 12;

pub async fn look(config: &Config, claims: &[DomainPattern]) -> Vec<Check> {
    let dashboard =
        config.public_base_url.iter().map(|url| url.host().clone()).chain(config.admin_hosts.iter().cloned());
    let claimed = claims.iter().filter_map(|claim| match claim {
        DomainPattern::Exact(host) => Some(host.clone()),
        // What is below it is nobody's list.
        DomainPattern::Wildcard { .. } => None,
    });
    let hosts: Vec<Host<'static>> = dashboard.chain(claimed).filter(|host| !host.is_ip()).collect();
    let mut seen = BTreeSet::new();
    let hosts: Vec<Host<'static>> =
        hosts.into_iter().filter(|host| seen.insert(host.as_str().to_owned())).take(MOST).collect();
    let settings = config.acme.as_ref().map_or_else(AcmeSettings::none, |acme| acme.settings.clone());
    let mut asked: Vec<BoxFuture<'static, _>> = Vec::new();
    for host in hosts {
        let settings = settings.clone();
        asked.push(Box::pin(async move { where_leads(&settings, &host).await }));
    }
    let most = asked.len();
    let found: Vec<_> = stream::iter(asked).buffered(AT_ONCE).take_until(sleep(WITHIN)).collect().await;
    let (mut checks, mut well) = (Vec::new(), 0);
    if found.len() < most {
        let text = format!("{} names were not looked up: the DNS server answers too slowly", most - found.len());
        checks.push(Check::warning(ABOUT, text, "look at /etc/resolv.conf"));
    }
    for (finding, addresses) in found {
        checks.push(match finding.verdict {
            Verdict::Failed => Check::wrong(ABOUT, finding.detail, "set the record at your DNS provider"),
            Verdict::Doubtful => Check::warning(
                ABOUT,
                finding.detail,
                "look at /etc/resolv.conf, and at the record at your DNS provider",
            ),
            Verdict::Passed => {
                well += 1;
                if well > TOLD {
                    continue;
                }
                Check::ok(ABOUT, finding.detail + here(&addresses))
            }
        });
    }
    if well > TOLD {
        checks.push(Check::ok(ABOUT, format!("{} more names lead somewhere", well - TOLD)));
    }
    checks
}

/// What there is to say of addresses that a name leads to.
fn here(addresses: &[IpAddr]) -> &'static str {
    // Only an address of this machine can be bound.
    let is_here = |address: &IpAddr| UdpSocket::bind((*address, 0)).is_ok();
    match addresses.is_empty() || addresses.iter().any(is_here) {
        true => "",
        false => " No address of this machine is among them: the router in front must forward ports 80 and 443 to it.",
    }
}
