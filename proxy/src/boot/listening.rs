//! Where the program listens, and by which address the dashboard is reached.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::bail;
use picloud_proxy::client::ListenerRole;
use picloud_proxy::io::{Listener, Server};
use picloud_proxy::tls::Certificates;
use picloud_shared::certificate::ChallengeKind;
use picloud_shared::name::Username;

use super::sockets::Sockets;
use crate::config::{Config, Listen, PublicBaseUrl};

/// Takes the addresses, by the sockets that there are already where they are of these; without the right to the usual ones, those
/// of `--dev`.
pub fn bind(listen: &Listen, given: &Sockets) -> anyhow::Result<Server> {
    match Server::take_or_bind(&listeners(listen), given.take()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && listen.by_default => {
            tracing::warn!(%error, "serving plain HTTP on a high port instead");
            Ok(Server::take_or_bind(&listeners(&listen.fallback()), given.take())?)
        }
        bound => Ok(bound?),
    }
}

/// The listeners that are asked for. A port 0 is not known before they are bound.
pub fn listeners(listen: &Listen) -> Vec<Listener> {
    let of = |addresses: &[SocketAddr], role, tls| {
        addresses.iter().map(move |&address| Listener { address, role, tls }).collect::<Vec<_>>()
    };
    let http_role = match listen.https.first() {
        Some(https) if listen.redirect => ListenerRole::RedirectToHttps { port: https.port() },
        _ => ListenerRole::Public,
    };
    let mut all = of(&listen.http, http_role, false);
    all.extend(of(&listen.https, ListenerRole::Public, true));
    all.extend(of(&listen.internal, ListenerRole::Internal, false));
    all
}

/// How an authority can be shown that a name is ours: by each kind of listener that the public reaches.
pub fn challenges(listeners: &[Listener]) -> Vec<ChallengeKind> {
    let any = |tls| listeners.iter().any(|listener| listener.role != ListenerRole::Internal && listener.tls == tls);
    let kinds = [(ChallengeKind::Http01, any(false)), (ChallengeKind::TlsAlpn01, any(true))];
    kinds.into_iter().filter(|(_, can)| *can).map(|(kind, _)| kind).collect()
}

/// The dashboard's address: as set, else this machine by plain HTTP. A name of a certificate is no candidate, since it is as
/// likely to be an app's, and the host of the dashboard answers nothing else.
///
/// # Errors
/// It is not set, and no plain HTTP is served.
pub fn base_url(config: &Config, listeners: &[Listener]) -> anyhow::Result<PublicBaseUrl> {
    if let Some(url) = &config.public_base_url {
        return Ok(url.clone());
    }
    let is_here = |address: SocketAddr| address.ip().is_loopback() || address.ip().is_unspecified();
    let plain = || {
        let plain = listeners.iter().filter(|listener| listener.role == ListenerRole::Public && !listener.tls);
        plain.map(|listener| listener.address)
    };
    let Some(mut address) = plain().find(|address| is_here(*address)).or_else(|| plain().next()) else {
        bail!(
            "public_base_url must be set where nothing but redirects is served by plain HTTP: the dashboard's address, such as \
             https://pi.example.com, by a host that is one of a certificate's and no app's"
        );
    };
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let authority = address.to_string();
    let authority = if address.port() == 80 { authority.trim_end_matches(":80") } else { &authority };
    PublicBaseUrl::parse(&format!("http://{authority}"))
}

/// What there is to say where browsers will refuse the dashboard, as no certificate is for its host. Where HTTPS is served by
/// somebody else in front of this program, theirs counts.
pub fn uncovered_dashboard(config: &Config, certificates: &Certificates) -> Option<String> {
    let url = config.public_base_url.as_ref().filter(|url| url.as_str().starts_with("https:"))?;
    if config.listen.https.is_empty() || config.acme.is_some() {
        return None;
    }
    let host = url.host();
    // A client that asks for an address names no server.
    let shown = match host.ip() {
        Some(address) => certificates.find_by_address(address),
        None => certificates.find(host.as_str()),
    };
    if shown.is_some_and(|certificate| certificate.covers(host)) {
        return None;
    }
    Some(format!(
        "public_base_url is {}, and no certificate is shown there that is for {host}: browsers will refuse the dashboard",
        url.as_str()
    ))
}

/// Tells where the program can be reached: first one line for each listener, in a form for machines, then for people.
pub fn announce(
    listeners: &[Listener],
    base_url: &PublicBaseUrl,
    setup_link: Option<&str>,
    first_owner: Option<&Username>,
) {
    let mut lines = String::new();
    for listener in listeners {
        let scheme = if listener.tls { "https" } else { "http" };
        let internal = if listener.role == ListenerRole::Internal { " internal" } else { "" };
        lines += &format!("listening {scheme}://{}{internal}\n", listener.address);
    }
    let plain = listeners.iter().find(|listener| listener.role == ListenerRole::Public && !listener.tls);
    if let Some(plain) = plain.filter(|listener| listener.address.ip().is_loopback()) {
        lines += &format!("\nHello World:  http://localhost:{}/\n", plain.address.port());
    }
    lines += &format!("Dashboard:    {}/admin/\n", base_url.as_str());
    match (setup_link, first_owner) {
        (Some(link), _) => lines += &format!("First of all: {link}\n              makes you the owner; valid once\n"),
        (None, Some(username)) => {
            lines += &format!("Sign in:      as {username}, with the password of PICLOUD_ADMIN_PASSWORD\n")
        }
        (None, None) => lines += "Sign in:      with your user name and password\n",
    }
    // Standard output that nobody reads is no reason not to serve.
    let mut out = io::stdout().lock();
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}
