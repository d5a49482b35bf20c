//! Sockets that listen already when the program starts: systemd's, and those of the process that hands over to this one.

use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::{Context, bail};
use listenfd::ListenFd;
use picloud_proxy::client::ListenerRole;
use picloud_proxy::io::Listener;
use serde::{Deserialize, Serialize};

use crate::config::environment::SystemdSockets;
use crate::config::{Addresses, Settings};

/// What a listener is for, as the settings and systemd's units name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Plain HTTP.
    Http,
    /// HTTPS.
    Https,
    /// Probes.
    Internal,
    /// What edge nodes ask, which systemd has no socket for.
    Nodes,
}

/// What is known of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// What it is for, where somebody has said so.
    pub purpose: Option<Purpose>,
    /// Whether it is systemd's: then it is used, wherever the settings would have this program listen.
    pub of_systemd: bool,
}

/// Sockets that listen already.
#[derive(Debug, Default)]
pub struct Sockets(Vec<(Label, SocketAddr, TcpListener)>);

impl Purpose {
    /// That of a listener.
    pub fn of(listener: &Listener) -> Self {
        match (listener.role, listener.tls) {
            (ListenerRole::Internal, _) => Self::Internal,
            (_, true) => Self::Https,
            (_, false) => Self::Http,
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            "internal" => Some(Self::Internal),
            _ => None,
        }
    }
}

impl Sockets {
    /// Those of systemd, by the names that its units give them. No process that is started later has them.
    ///
    /// # Errors
    /// One that is no TCP socket which listens.
    pub fn of_systemd(SystemdSockets { names }: SystemdSockets) -> anyhow::Result<Self> {
        let mut given = ListenFd::from_env();
        let mut sockets = Self::default();
        for at in 0..given.len() {
            let name = names.get(at).map_or("", String::as_str);
            let told = || format!("the socket {name} of systemd cannot be used");
            let Some(socket) = given.take_tcp_listener(at).with_context(told)? else { continue };
            sockets.add(Label { purpose: Purpose::named(name), of_systemd: true }, socket).with_context(told)?;
        }
        Ok(sockets)
    }

    /// Adds one.
    ///
    /// # Errors
    /// It has no address, or does not listen.
    pub fn add(&mut self, label: Label, socket: TcpListener) -> anyhow::Result<()> {
        if !rustix::net::sockopt::socket_acceptconn(&socket)? {
            bail!("it does not listen");
        }
        let address = socket.local_addr()?;
        self.0.push((label, address, socket));
        Ok(())
    }

    /// Has the settings say what systemd says by name.
    pub fn settle(&self, settings: &mut Settings) {
        for (purpose, setting) in [
            (Purpose::Http, &mut settings.http),
            (Purpose::Https, &mut settings.https),
            (Purpose::Internal, &mut settings.internal),
        ] {
            let named = |label: &Label| label.of_systemd && label.purpose == Some(purpose);
            let addresses: Vec<SocketAddr> =
                self.0.iter().filter(|(label, ..)| named(label)).map(|(_, address, _)| *address).collect();
            if !addresses.is_empty() {
                *setting = Some(Addresses(addresses));
            }
        }
    }

    /// A way to take each of them once.
    pub fn take(&self) -> impl FnMut(&Listener) -> Option<TcpListener> {
        let mut left: Vec<&(Label, SocketAddr, TcpListener)> = self.0.iter().collect();
        move |listener| {
            let purpose = Purpose::of(listener);
            // The very address, or else one that is as good where it is known what it is for.
            let exactly = left.iter().position(|(label, address, _)| {
                label.purpose.is_none_or(|of| of == purpose) && *address == listener.address
            });
            let nearly = || {
                left.iter().position(|(label, address, _)| {
                    label.purpose == Some(purpose) && is_as_good(*address, listener.address)
                })
            };
            let at = exactly.or_else(nearly)?;
            let (_, _, socket) = left.remove(at);
            socket.try_clone().ok()
        }
    }

    /// One that edge nodes reach by that address.
    pub fn take_for_nodes(&self, wanted: SocketAddr) -> Option<TcpListener> {
        let is_wanted = |label: &Label, address| label.purpose == Some(Purpose::Nodes) && is_as_good(address, wanted);
        let (_, _, socket) = self.0.iter().find(|(label, address, _)| is_wanted(label, *address))?;
        socket.try_clone().ok()
    }

    /// Whether a socket of that address is systemd's.
    pub fn is_of_systemd(&self, address: SocketAddr) -> bool {
        self.0.iter().any(|(label, of, _)| label.of_systemd && *of == address)
    }

    /// Lets go of what is listened on at none of these addresses. What waits at one of the process before this is let down, as the settings have it.
    ///
    /// # Errors
    /// One is systemd's: it would let connections in for nobody.
    pub fn close_others(self, listened_on: &[SocketAddr]) -> anyhow::Result<()> {
        for (label, address, _) in self.0 {
            if listened_on.contains(&address) {
                continue;
            }
            if label.of_systemd {
                bail!(
                    "systemd gives a socket for {address}, which is none of http, https and internal: name it by FileDescriptorName, or \
                     have a setting say that address"
                );
            }
            tracing::info!(%address, "nobody listens there any more");
        }
        Ok(())
    }
}

/// Whether a socket is one that the settings ask for by another address: a port 0 is any, and where there is no IPv6 all addresses are those of IPv4.
fn is_as_good(given: SocketAddr, wanted: SocketAddr) -> bool {
    let is_any = |address: SocketAddr| address.ip().is_unspecified();
    let same_ip = given.ip() == wanted.ip()
        || is_any(given) && is_any(wanted) && matches!((given.ip(), wanted.ip()), (IpAddr::V4(_), IpAddr::V6(_)));
    same_ip && (given.port() == wanted.port() || wanted.port() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_socket_is_as_good_where_the_settings_mean_it_by_another_address() {
        for (given, wanted, good) in [
            ("127.0.0.1:41234", "127.0.0.1:0", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.2:80", "127.0.0.1:0", false),
            ("0.0.0.0:80", "[::]:80", true),
            ("[::]:80", "0.0.0.0:80", false),
            ("0.0.0.0:80", "[::]:81", false),
        ] {
            assert_eq!(is_as_good(address(given), address(wanted)), good, "{given} {wanted}");
        }
    }

    #[test]
    fn each_socket_is_taken_once_and_by_what_it_is_for() {
        let mut sockets = Sockets::default();
        let purposes = [Some(Purpose::Internal), Some(Purpose::Http), Some(Purpose::Http), None, Some(Purpose::Nodes)];
        for purpose in purposes {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            sockets.add(Label { purpose, of_systemd: purpose.is_none() }, socket).unwrap();
        }
        let unnamed = sockets.0[3].1;
        let of = |address| Listener { address, role: ListenerRole::Public, tls: false };
        let mut take = sockets.take();
        assert_eq!(take(&of(unnamed)).unwrap().local_addr().unwrap(), unnamed);
        let any = address("127.0.0.1:0");
        let mut taken: Vec<SocketAddr> = Vec::new();
        while let Some(socket) = take(&of(any)) {
            taken.push(socket.local_addr().unwrap());
        }
        assert_eq!(taken, [sockets.0[1].1, sockets.0[2].1], "neither another's nor one without a name");
        let nodes = sockets.take_for_nodes(any).unwrap();
        assert_eq!(nodes.local_addr().unwrap(), sockets.0[4].1);
        assert!(sockets.take_for_nodes(taken[0]).is_none());
        drop(take);
        assert!(sockets.close_others(&taken[..1]).unwrap_err().to_string().contains(&unnamed.to_string()));
    }
}
