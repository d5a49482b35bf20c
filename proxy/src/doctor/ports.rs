//! The ports: free, or PiCloud's own; and the right to low ones.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

use picloud_shared::doctor::Check;

use crate::config::Listen;

const ABOUT: &str = "ports";
/// Where Linux tells of sockets, by family.
const SOCKETS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// The state of a socket that listens.
const LISTENING: &str = "0A";
/// Where units are that give a service its right to low ports.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// What was found, and by whom ports are served, where that is PiCloud.
pub struct Listeners {
    pub checks: Vec<Check>,
    pub served_by: Option<u32>,
    /// Whether some are taken by a process that this user may not see.
    pub is_hidden: bool,
}

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    Process {
        pid: u32,
        name: String,
    },
    /// Whose process this user may not see.
    Unseen,
}

pub fn look(listen: &Listen, node_listen: Option<SocketAddr>) -> Listeners {
    let tables: Vec<String> = SOCKETS.iter().filter_map(|table| fs::read_to_string(table).ok()).collect();
    let sockets: Vec<(SocketAddr, u64)> = tables.iter().flat_map(|table| listening(table)).collect();
    let settings = [("http", &listen.http), ("https", &listen.https), ("internal", &listen.internal)];
    let mut found = Listeners { checks: Vec::new(), served_by: None, is_hidden: false };
    let public = settings.into_iter().flat_map(|(name, all)| all.iter().map(move |one| (name, *one)));
    for (setting, address) in public.chain(node_listen.map(|address| ("node_listen", address))) {
        if address.port() == 0 {
            continue;
        }
        let inodes: Vec<u64> =
            sockets.iter().filter(|(held, _)| clash(*held, address)).map(|(_, inode)| *inode).collect();
        let check = match inodes.is_empty() {
            true => free(setting, address, listen),
            false => {
                let holders = holders(&inodes);
                let ours = holders.iter().find_map(|holder| match holder {
                    Holder::Process { pid, name } if name == "picloud" => Some(*pid),
                    _ => None,
                });
                found.served_by = found.served_by.or(ours);
                found.is_hidden |= holders.contains(&Holder::Unseen);
                taken(setting, address, ours, &holders)
            }
        };
        found.checks.push(check);
    }
    found
}

fn taken(setting: &str, address: SocketAddr, ours: Option<u32>, holders: &[Holder]) -> Check {
    if let Some(pid) = ours {
        return Check::ok(ABOUT, format!("{address} is served by PiCloud, process {pid}"));
    }
    match holders.first() {
        Some(Holder::Process { pid: 1, .. }) => {
            Check::ok(ABOUT, format!("{address} is held by systemd, for the service of a socket unit"))
        }
        Some(Holder::Process { pid, name }) => Check::wrong(
            ABOUT,
            format!("{address} is taken by {name}, process {pid}"),
            format!("stop it (systemctl status {pid} tells its service), or set {setting} to another address"),
        ),
        Some(Holder::Unseen) | None => Check::warning(
            ABOUT,
            format!("{address} is taken, by whom this user may not see"),
            "look again as root: sudo picloud doctor",
        ),
    }
}

/// Whether an address that nobody has can be had.
fn free(setting: &str, address: SocketAddr, listen: &Listen) -> Check {
    let error = match TcpListener::bind(address) {
        Ok(_) => return Check::ok(ABOUT, format!("{address} is free, and can be listened on")),
        Err(error) => error,
    };
    let found = format!("{address} cannot be listened on: {error}");
    match error.kind() {
        ErrorKind::PermissionDenied if unit_may() => {
            Check::ok(ABOUT, format!("{address} is free; this user may not listen on it, and the unit of systemd may"))
        }
        ErrorKind::PermissionDenied => {
            let fix = format!(
                "sudo setcap cap_net_bind_service=+ep $(command -v picloud), AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, or \
                 set {setting} to a port from 1024 on"
            );
            match listen.by_default {
                true => Check::warning(ABOUT, format!("{found}; 127.0.0.1:8080 is served instead"), fix),
                false => Check::wrong(ABOUT, found, fix),
            }
        }
        ErrorKind::AddrNotAvailable => Check::wrong(
            ABOUT,
            format!("{address} is no address of this machine"),
            format!("set {setting} to one that it has (ip address), or to 0.0.0.0:{}", address.port()),
        ),
        ErrorKind::AddrInUse => {
            Check::wrong(ABOUT, found, format!("stop who has it (sudo ss -ltnp), or set {setting} to another address"))
        }
        _ if address.is_ipv6() => {
            Check::wrong(ABOUT, found, format!("IPv6 may be off: set {setting} to 0.0.0.0:{}", address.port()))
        }
        _ => Check::wrong(ABOUT, found, format!("set {setting} to another address")),
    }
}

/// Whether a unit is installed that gives its service the right to low ports, or the ports themselves.
fn unit_may() -> bool {
    UNITS.iter().map(Path::new).any(|dir| {
        let unit = fs::read_to_string(dir.join("picloud.service")).unwrap_or_default();
        unit.contains("CAP_NET_BIND_SERVICE") || dir.join("picloud.socket").exists()
    })
}

/// Whether who has one of them keeps others from the other.
fn clash(held: SocketAddr, wanted: SocketAddr) -> bool {
    let (one, other) = (held.ip().to_canonical(), wanted.ip().to_canonical());
    held.port() == wanted.port() && (one == other || one.is_unspecified() || other.is_unspecified())
}

/// The sockets of a table that listen, with their inodes.
fn listening(table: &str) -> Vec<(SocketAddr, u64)> {
    let of = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, LISTENING, _, _, _, _, _, inode, ..] = fields[..] else { return None };
        Some((address(local)?, inode.parse().ok()?))
    };
    table.lines().filter_map(of).collect()
}

/// An address as the kernel writes it: words of the memory of this machine, in hexadecimal.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Who has these sockets, as far as this user may see.
fn holders(inodes: &[u64]) -> Vec<Holder> {
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<Holder> = processes
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
        .filter(|(_, process)| {
            let files = fs::read_dir(process.join("fd")).into_iter().flatten().filter_map(Result::ok);
            let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
            links.any(|link| wanted.iter().any(|wanted| link.as_os_str() == wanted.as_str()))
        })
        .map(|(pid, process)| {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            Holder::Process { pid, name: called(&name) }
        })
        .collect();
    if found.is_empty() {
        found.push(Holder::Unseen);
    }
    found
}

/// What a process calls itself, which is its user's to choose: as far as it is a name.
fn called(name: &str) -> String {
    name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn sockets_that_listen_are_read_off_the_tables_of_the_kernel() {
        let four = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0\n   \
            1: 0100007F:1F91 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0 20 4 30 10 -1\n";
        assert_eq!(listening(four), [("127.0.0.1:8080".parse().unwrap(), 4711)]);
        let six =
            "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 99 1\n";
        assert_eq!(listening(six), [("[::1]:80".parse().unwrap(), 99)]);
        assert!(listening("nonsense\n0: ZZ:1 0:0 0A 0 0 0 0 0 1\n").is_empty());
    }

    #[test]
    fn what_a_process_calls_itself_ends_up_in_no_command_and_moves_no_cursor() {
        let evil = Holder::Process { pid: 7, name: called("\u{1b}[2J$(reboot) ;x\n") };
        let check = taken("http", "127.0.0.1:80".parse().unwrap(), None, &[evil]);
        let fix = check.fix.unwrap();
        assert!(check.found.contains("by 2Jrebootx, process 7") && !fix.contains("reboot"), "{} {fix}", check.found);
    }

    #[test]
    fn who_listens_on_all_addresses_has_the_port_of_each() {
        for (held, wanted, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "0.0.0.0:80", true),
            ("127.0.0.1:80", "[::]:80", true),
            ("127.0.0.2:80", "127.0.0.1:80", false),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "0.0.0.0:81", false),
        ] {
            assert_eq!(clash(held.parse().unwrap(), wanted.parse().unwrap()), expected, "{held} {wanted}");
        }
    }

    #[test]
    fn a_port_of_this_process_is_found_with_its_holder() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let listen =
            Listen { http: vec![address], https: vec![], internal: vec![], redirect: false, by_default: false };
        let check = &look(&listen, None).checks[0];
        let expected = format!("process {}", std::process::id());
        assert!(
            check.found.contains(&expected) && check.fix.as_ref().is_some_and(|fix| fix.contains("set http")),
            "{check:?}"
        );
        drop(held);
        assert!(look(&listen, None).checks[0].found.contains("is free"));
    }
}
