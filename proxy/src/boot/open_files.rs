//! How many files the process may have open, and so how many connections it can hold. Only the process that serves can tell: a
//! shell, in which the settings are looked at, has limits of its own.

use anyhow::bail;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors for all that is no connection of a client: the store's files and connections, listeners, the runtime, and
/// what scripts will reach outside. Without them a full house of clients would leave no file for an admin's write.
const KEPT_BACK: u64 = 256;

/// Allows the process as many as it may have, since the usual 1,024 stem from programs that use `select`; how many
/// connections there is room for.
///
/// # Errors
/// There is room for none.
pub fn raise(max_connections: usize) -> anyhow::Result<usize> {
    let mut limit = getrlimit(Resource::Nofile);
    let was = limit.current;
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
        limit.current = was;
    }
    let connections = connections(max_connections, limit.current)?;
    match connections < max_connections {
        true => tracing::warn!(
            "max_connections is {max_connections}, but the limit of open files leaves room for {connections}: raise that limit \
             (LimitNOFILE of systemd, ulimit -n of a shell) or lower max_connections"
        ),
        false => tracing::info!(open_files = limit.current, connections, "limits"),
    }
    Ok(connections)
}

/// How many of these connections there is room for.
///
/// # Errors
/// There is room for none.
fn connections(max_connections: usize, open_files: Option<u64>) -> anyhow::Result<usize> {
    let Some(open_files) = open_files else {
        return Ok(max_connections);
    };
    match open_files.saturating_sub(KEPT_BACK) {
        0 => bail!(
            "only {open_files} files may be open, and {KEPT_BACK} are needed beside connections: raise the limit \
             (LimitNOFILE of systemd, ulimit -n of a shell)"
        ),
        room => Ok(usize::try_from(room).unwrap_or(usize::MAX).min(max_connections)),
    }
}

#[cfg(test)]
mod tests {
    use super::connections;

    #[test]
    fn connections_leave_room_for_other_files() {
        for (open_files, room) in [(None, 20_000), (Some(1_000_000), 20_000), (Some(1_024), 768), (Some(257), 1)] {
            assert_eq!(connections(20_000, open_files).unwrap(), room, "{open_files:?}");
        }
        assert!(connections(20_000, Some(256)).unwrap_err().to_string().contains("only 256 files"));
    }
}
