//! Which hosts and paths are the dashboard's and the API's: what the data plane goes by, and what `routes:match` tells.

use crate::domain_pattern::Host;
use crate::path_pattern::RequestPath;

/// The name by which the default app and the API are both reached from this machine.
const SHARED: &str = "localhost";
const LOOPBACK: [&str; 2] = ["127.0.0.1", "[::1]"];

/// What a host is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    /// The dashboard and the API, and nothing else.
    Admin,
    /// `localhost` asked from this machine: admin paths win, all others are the default app's. Scripts' pages share
    /// this origin, so a cookie proves nothing here.
    Shared,
    /// An app's, if any app claims it.
    App,
}

/// The hosts of the dashboard and the API.
#[derive(Debug, Clone, Default)]
pub struct AdminHosts(Vec<Host<'static>>);

impl AdminHosts {
    /// The configured hosts; those of loopback count without being listed. `localhost` stays shared even when listed.
    pub fn new(hosts: impl IntoIterator<Item = Host<'static>>) -> Self {
        Self(hosts.into_iter().filter(|host| host.as_str() != SHARED).collect())
    }

    /// The configured hosts.
    pub fn configured(&self) -> &[Host<'static>] {
        &self.0
    }

    /// What a host is for when asked from there.
    pub fn kind_of(&self, host: &Host<'_>, peer_is_loopback: bool) -> HostKind {
        let name = host.as_str();
        if self.0.iter().any(|admin| admin.as_str() == name) || (peer_is_loopback && LOOPBACK.contains(&name)) {
            HostKind::Admin
        } else if peer_is_loopback && name == SHARED {
            HostKind::Shared
        } else {
            HostKind::App
        }
    }
}

/// Whether the path is the dashboard's, the API's or a probe's, compared decoded, as routes are. On a host that is not an
/// app's alone these win over routes.
pub fn is_admin_path(path: &RequestPath<'_>) -> bool {
    let mut segments = path.segments().iter().map(|segment| &**segment);
    matches!(
        (segments.next(), segments.next()),
        (Some("healthz" | "readyz" | "version"), None) | (Some("api" | "admin"), _)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Host<'static> {
        Host::parse_authority(name).unwrap().into_owned()
    }

    #[test]
    fn admin_paths_are_whole_names_under_the_root() {
        let is_admin = |path: &str| is_admin_path(&RequestPath::parse(path).unwrap());
        for path in [
            "/healthz",
            "/readyz",
            "/version",
            "/api",
            "/api/v2/x",
            "/api/v1/admin/apps",
            "/admin",
            "/admin/",
            "/%61dmin/x",
        ] {
            assert!(is_admin(path), "{path}");
        }
        for path in ["/", "/healthz/", "/version/x", "/apis", "/x/admin", "/administrator", "//admin"] {
            assert!(!is_admin(path), "{path}");
        }
    }

    #[test]
    fn loopback_names_are_admin_hosts_for_loopback_peers_only() {
        let hosts = AdminHosts::new([host("pi.example.com"), host("localhost")]);
        for (name, here, there) in [
            ("pi.example.com", HostKind::Admin, HostKind::Admin),
            ("127.0.0.1", HostKind::Admin, HostKind::App),
            ("[::1]", HostKind::Admin, HostKind::App),
            ("localhost", HostKind::Shared, HostKind::App),
            ("shop.example.com", HostKind::App, HostKind::App),
            ("x.localhost", HostKind::App, HostKind::App),
        ] {
            assert_eq!(hosts.kind_of(&host(name), true), here, "{name} from here");
            assert_eq!(hosts.kind_of(&host(name), false), there, "{name} from elsewhere");
        }
    }
}
