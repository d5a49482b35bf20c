//! The sandbox of the unit that systemd runs PiCloud by, as the running process has it.

use std::fs;
use std::path::Path;

use picloud_shared::doctor::Check;

const ABOUT: &str = "unit";
/// The right to listen on low ports (linux/capability.h), the one that a service of this kind needs.
const NET_BIND_SERVICE: u64 = 1 << 10;
const FIX: &str =
    "install the unit of the package (deploy/systemd), and remove what weakens it: sudo systemctl revert picloud";

pub fn look(serving: Option<u32>, is_hidden: bool) -> Vec<Check> {
    let Some(pid) = serving else {
        return vec![match is_hidden {
            true => Check::warning(
                ABOUT,
                "whether PiCloud runs is not this user's to see",
                "look again as root: sudo picloud doctor",
            ),
            false => Check::ok(ABOUT, "PiCloud does not run, so that no unit is to be seen at work"),
        }];
    };
    let process = Path::new("/proc").join(pid.to_string());
    let (group, status) = (fs::read_to_string(process.join("cgroup")), fs::read_to_string(process.join("status")));
    let (Ok(group), Ok(status)) = (group, status) else { return Vec::new() };
    if !group.lines().any(|line| line.trim_end().ends_with(".service")) {
        return vec![Check::ok(
            ABOUT,
            format!("process {pid} runs by no unit of systemd: its user alone keeps it in bounds"),
        )];
    }
    of_status(&status)
}

/// What `/proc/PID/status` tells of what a process may not do.
fn of_status(status: &str) -> Vec<Check> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let user = field("Uid").and_then(|users| users.split_whitespace().nth(1));
    let beyond = field("CapBnd").and_then(|set| u64::from_str_radix(set, 16).ok()).map(|set| set & !NET_BIND_SERVICE);
    let weak = [
        (user == Some("0"), "it runs as root (User=picloud)"),
        (field("NoNewPrivs") != Some("1"), "what it starts may gain rights (NoNewPrivileges=yes)"),
        (field("Seccomp") != Some("2"), "it may make every call of the system (SystemCallFilter=@system-service)"),
        (beyond != Some(0), "it could be given rights beyond low ports (CapabilityBoundingSet=CAP_NET_BIND_SERVICE)"),
    ];
    let weak: Vec<Check> =
        weak.into_iter().filter(|(is_so, _)| *is_so).map(|(_, text)| Check::warning(ABOUT, text, FIX)).collect();
    if weak.is_empty() { vec![Check::ok(ABOUT, "the service runs with few rights, and can gain none")] } else { weak }
}

#[cfg(test)]
mod tests {
    use picloud_shared::doctor::CheckState;

    use super::*;

    #[test]
    fn a_sandbox_is_told_by_what_it_lacks() {
        let tight =
            "Name:\tpicloud\nUid:\t997\t997\t997\t997\nCapBnd:\t0000000000000400\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let found = of_status(tight);
        assert!(found.len() == 1 && found[0].state == CheckState::Ok, "{found:?}");
        for (from, to, word) in [
            ("997\t997\t997", "0\t0\t0", "root"),
            ("0000000000000400", "000001ffffffffff", "CapabilityBoundingSet"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivileges"),
            ("Seccomp:\t2", "Seccomp:\t0", "SystemCallFilter"),
        ] {
            let found = of_status(&tight.replace(from, to));
            assert!(found.len() == 1 && found[0].found.contains(word) && found[0].fix.is_some(), "{found:?}");
        }
        assert_eq!(of_status("").len(), 3, "what is not told is not taken for well");
    }
}
