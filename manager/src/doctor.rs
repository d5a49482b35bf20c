//! What `picloud doctor` finds of the store and of its key, and what of the store others look further into. It changes nothing.

mod backups;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use picloud_shared::certificate::CertificateRecord;
use picloud_shared::clock::Clock;
use picloud_shared::doctor::{Check, quoted};
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::node::NodeRole;
use picloud_shared::version;

use crate::repo::nodes::{Node, SeenNode};
use crate::repo::{self, RepoError, certificates, config, domains, nodes};
use crate::secret::key_file::{KeyFileError, SecretKey};
pub use crate::store::look::served_by;
use crate::store::look::{FileHealth, ServerFacts, sqlite_health};
use crate::store::{DatabaseConfig, Store, StoreError};

const DATABASE: &str = "database";
const KEY: &str = "key";
const CLOCK: &str = "clock";
const NODES: &str = "nodes";

/// Certificates and claims that are looked at.
const MOST: u32 = 1_000;
/// Bytes that are carried over from beside a file long before there are so many, unless something holds them there.
const LARGE_WAL: u64 = 256 * 1024 * 1024;
/// The oldest PostgreSQL that PiCloud is tested with.
const OLDEST_POSTGRES: i32 = 140_000;
/// A database that takes longer to answer makes each call of a script that keeps something wait for it.
const SLOW_MS: u128 = 20;
/// What clocks may differ by before leases and times of rows mean different things.
const CLOCKS_DIFFER_MS: u64 = 2_000;

/// What the store tells.
#[derive(Debug, Default)]
pub struct Looked {
    /// What was found.
    pub checks: Vec<Check>,
    /// What apps claim.
    pub claims: Vec<DomainPattern>,
    /// The certificates that there are.
    pub certificates: Vec<CertificateRecord>,
    /// Where full nodes that live answer edge nodes: host and port of each; `None` where that was not to be learned.
    pub full_nodes: Option<Vec<String>>,
}

/// Looks at the store, at the key that belongs to it, and at how backups are doing, of which this node takes one so often, if any.
pub async fn look(
    database: &DatabaseConfig,
    key_file: &Path,
    backup_every: Option<Duration>,
    clock: &dyn Clock,
) -> Looked {
    let mut looked = Looked::default();
    if let DatabaseConfig::Sqlite { dir } = database
        && dir.join("main.db").exists()
    {
        looked.checks.extend(sqlite_health(dir).await.iter().map(of_file));
    }
    match Store::open_to_look(database).await {
        Ok(store) => {
            if let Err(error) = of_store(&store, key_file, backup_every, clock, &mut looked).await {
                looked.checks.push(unanswered(database, &error));
            }
            store.close().await;
        }
        Err(StoreError::NoInstance(place)) if is_hidden(database) => {
            let fix = "run this as the user that serves: sudo -u picloud picloud doctor";
            let found = format!("whether there is an instance in {place} is not this user's to see");
            looked.checks.push(Check::warning(DATABASE, found, fix));
        }
        Err(StoreError::NoInstance(place)) => {
            let fix = "start it: sudo systemctl start picloud; where yours is elsewhere, name its place by data_dir or database_url";
            looked.checks.push(Check::warning(DATABASE, format!("there is no instance in {place} yet"), fix));
        }
        Err(StoreError::Repo(error)) => looked.checks.push(unanswered(database, &error)),
        Err(error) => looked.checks.push(Check::wrong(DATABASE, error.to_string(), "mend what it names")),
    }
    looked
}

/// Whether this user may not see the files.
fn is_hidden(database: &DatabaseConfig) -> bool {
    let DatabaseConfig::Sqlite { dir } = database else { return false };
    std::fs::metadata(dir.join("main.db")).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

fn unanswered(database: &DatabaseConfig, error: &RepoError) -> Check {
    match database {
        DatabaseConfig::Postgres { url } => {
            let fix = "start PostgreSQL (sudo systemctl start postgresql), and look at database_url, its user and its password";
            Check::wrong(DATABASE, format!("{url} cannot be used: {}", with_causes(error)), fix)
        }
        DatabaseConfig::Sqlite { dir } => {
            let fix = format!(
                "run this as the user that serves (sudo -u picloud picloud doctor), and look at the files in {}",
                dir.display()
            );
            let found = format!("the files in {} cannot be read: {}", dir.display(), with_causes(error));
            Check::wrong(DATABASE, found, fix)
        }
    }
}

/// What failed, and what led to it: which of all that may be wrong with a database it is.
fn with_causes(error: &RepoError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let found = error.to_string();
        if !text.ends_with(&found) {
            text = format!("{text}: {found}");
        }
        cause = error.source();
    }
    text
}

async fn of_store(
    store: &Store,
    key_file: &Path,
    backup_every: Option<Duration>,
    clock: &dyn Clock,
    looked: &mut Looked,
) -> Result<(), RepoError> {
    if let Some(facts) = store.server_facts(|| clock.now()).await? {
        looked.checks.extend(of_server(&facts));
    }
    let (applied, known) = (store.applied_schema().await?, store.schema_version());
    looked.checks.push(of_schema(applied, known));
    let mut conn = store.read().await?;
    looked.checks.push(of_key(config::key_fingerprint(&mut conn).await?, key_file));
    if applied != Some(known) {
        // Its tables may be others than those that are asked.
        return Ok(());
    }
    let scheduled = repo::backups::get(&mut conn).await?;
    looked.checks.extend(backups::of_schedule(&scheduled, backup_every, clock.now()));
    let claims = domains::list_all(&mut conn, MOST).await?;
    looked.claims = claims.into_iter().filter_map(Result::ok).map(|claim| claim.pattern).collect();
    let records = certificates::list(&mut conn, MOST, None).await?;
    looked.certificates = records.into_iter().filter_map(Result::ok).collect();
    if !store.is_sqlite() {
        let nodes: Vec<_> = nodes::list(&mut conn).await?.into_iter().filter_map(Result::ok).collect();
        looked.checks.extend(of_nodes(&nodes));
        let full = nodes.into_iter().filter(|seen| seen.is_live && seen.node.role == NodeRole::Full);
        looked.full_nodes = Some(full.filter_map(|seen| seen.node.address).collect());
    }
    Ok(())
}

fn of_nodes(nodes: &[SeenNode]) -> Vec<Check> {
    let live = |role| nodes.iter().filter(|seen| seen.is_live && seen.node.role == role).count();
    let found = format!("{} full and {} edge nodes live", live(NodeRole::Full), live(NodeRole::Edge));
    let of = |SeenNode { node, is_live }: &SeenNode| {
        let Node { name, role, product, wire, last_seen_at, .. } = node;
        match is_live {
            false => Some(Check::warning(
                NODES,
                format!("the {role} node {name} has said nothing since {last_seen_at}"),
                "start it again; where it is gone for good, it is forgotten a day after that",
            )),
            true if *wire != version::WIRE => Some(Check::wrong(
                NODES,
                format!(
                    "the {role} node {name} ({product}) speaks version {wire} to others, and this binary speaks {}: it does not start beside it",
                    version::WIRE
                ),
                "have all nodes run releases that speak the same (picloud --version)",
            )),
            true => None,
        }
    };
    [Check::ok(NODES, found)].into_iter().chain(nodes.iter().filter_map(of)).collect()
}

fn of_schema(applied: Option<i64>, known: i64) -> Check {
    match applied {
        Some(applied) if applied == known => {
            Check::ok(DATABASE, format!("the schema is {known}, which this binary knows"))
        }
        Some(applied) if applied > known => Check::wrong(
            DATABASE,
            format!("the schema is {applied}, and this binary knows schemas up to {known}: it was made by a newer one"),
            "install the newer picloud again: sudo apt install picloud",
        ),
        applied => Check::warning(
            DATABASE,
            format!(
                "the schema is {}, and this binary's is {known}",
                applied.map_or("none yet".to_owned(), |one| one.to_string())
            ),
            "the next start brings it up to date; to do so now: picloud migrate",
        ),
    }
}

fn of_key(fingerprint: Option<String>, path: &Path) -> Check {
    let Some(fingerprint) = fingerprint else {
        return Check::ok(KEY, "the store has no key yet: the first start makes one");
    };
    match SecretKey::look(path, &fingerprint) {
        Ok(()) => Check::ok(KEY, format!("{} is the key of this store, {fingerprint}", path.display())),
        Err(error) => {
            let fix = match &error {
                KeyFileError::Exposed { path, .. } => format!("chmod 600 {}", quoted(path)),
                KeyFileError::Missing(_) | KeyFileError::Other(_) => {
                    "put the file back from a backup (picloud restore), or name its place by secret_key_file".to_owned()
                }
                KeyFileError::DanglingLink { target, .. } => format!("mount what {} is on", target.display()),
                // Whoever owns the folder may have made it, to be given what it leads to.
                _ if path.is_symlink() => "let the user that serves read what it leads to".to_owned(),
                _ => format!("let the user that serves read it: chown picloud: {0} && chmod 600 {0}", quoted(path)),
            };
            Check::wrong(KEY, error.to_string(), fix)
        }
    }
}

fn of_file(health: &FileHealth) -> Check {
    let FileHealth { name, path, bytes, wal_bytes, checked } = health;
    let place = path.display();
    let size = format!("{name}.db ({})", kib(*bytes));
    match checked {
        Err(wrong) => {
            let fix = format!("stop PiCloud, keep a copy of {place}, and restore a backup (picloud restore FILE)");
            Check::wrong(DATABASE, format!("{size} is damaged, or cannot be read: {wrong}"), fix)
        }
        Ok(_) if *wal_bytes > LARGE_WAL => Check::warning(
            DATABASE,
            format!("{size} has {} beside it that wait to be carried over", kib(*wal_bytes)),
            "something reads for very long; restart PiCloud: sudo systemctl restart picloud",
        ),
        Ok(true) => {
            Check::ok(DATABASE, format!("{size} is whole, with {} beside it to be carried over", kib(*wal_bytes)))
        }
        Ok(false) => {
            Check::ok(DATABASE, format!("{size} is too large to be read through here; nothing wrong was found in 20 s"))
        }
    }
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}

fn of_server(facts: &ServerFacts) -> Vec<Check> {
    let ServerFacts { version_number, version, max_connections, connections, of_a_node, is_standby, latency, ahead_ms } =
        facts;
    let mut checks = vec![match *version_number < OLDEST_POSTGRES {
        true => Check::warning(
            DATABASE,
            format!("PostgreSQL is {version}, older than PiCloud is tested with"),
            "upgrade it to 14 or later",
        ),
        false => Check::ok(DATABASE, format!("PostgreSQL is {version}")),
    }];
    if *is_standby {
        let fix = "name the server that takes writes in database_url";
        checks.push(Check::wrong(DATABASE, "the server follows another one, and takes no writes", fix));
    }
    let room = format!("{connections} of {max_connections} connections are taken, and a node opens up to {of_a_node}");
    checks.push(match *max_connections < of_a_node + 10 || *connections + 3 >= *max_connections {
        true => Check::warning(
            DATABASE,
            room,
            format!("raise max_connections in postgresql.conf: {} for each node", of_a_node + 10),
        ),
        false => Check::ok(DATABASE, room),
    });
    let answers = format!("it answers in {} us", latency.as_micros());
    checks.push(match latency.as_millis() > SLOW_MS {
        true => Check::warning(DATABASE, answers, "put it nearer: what scripts keep waits for it at each call"),
        false => Check::ok(DATABASE, answers),
    });
    let differ = format!("this machine's clock and the database's differ by {} ms", ahead_ms.unsigned_abs());
    checks.push(match ahead_ms.unsigned_abs() > CLOCKS_DIFFER_MS {
        true => Check::wrong(CLOCK, differ, "set both by the network: sudo timedatectl set-ntp true"),
        false => Check::ok(CLOCK, differ),
    });
    checks
}

/// The files of the store in a directory, those beside them too. Links lead elsewhere, and are left out.
///
/// # Errors
/// The directory cannot be read.
pub fn files_of(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir)?.filter_map(Result::ok);
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use picloud_shared::clock::Timestamp;
    use picloud_shared::doctor::CheckState;
    use picloud_shared::id::NodeId;

    use super::*;

    #[test]
    fn a_server_that_is_short_of_something_is_told_of_with_what_to_do() {
        let well = ServerFacts {
            version_number: 170_002,
            version: "17.2".to_owned(),
            max_connections: 100,
            connections: 7,
            of_a_node: 26,
            is_standby: false,
            latency: Duration::from_micros(300),
            ahead_ms: -40,
        };
        let worst = |facts: &ServerFacts| of_server(facts).into_iter().max_by_key(|check| check.state).unwrap();
        assert_eq!(worst(&well).state, CheckState::Ok);
        for (facts, state, word) in [
            (ServerFacts { version_number: 120_001, ..well.clone() }, CheckState::Warning, "older"),
            (ServerFacts { is_standby: true, ..well.clone() }, CheckState::Wrong, "takes no writes"),
            (ServerFacts { max_connections: 30, ..well.clone() }, CheckState::Warning, "connections"),
            (ServerFacts { connections: 98, ..well.clone() }, CheckState::Warning, "connections"),
            (ServerFacts { latency: Duration::from_millis(80), ..well.clone() }, CheckState::Warning, "answers"),
            (ServerFacts { ahead_ms: -60_000, ..well.clone() }, CheckState::Wrong, "clock"),
        ] {
            let found = worst(&facts);
            assert!(found.state == state && found.found.contains(word) && found.fix.is_some(), "{found:?}");
        }
    }

    #[test]
    fn nodes_that_are_dead_or_speak_otherwise_are_told() {
        let node = |name: &str, wire, is_live| {
            let at = Timestamp::from_millis(0);
            let node = Node {
                id: NodeId::generate(at),
                name: name.to_owned(),
                role: NodeRole::Edge,
                product: "9.9.9".to_owned(),
                wire,
                schema_version: 1,
                address: None,
                snapshot_version: 1,
                started_at: at,
                last_seen_at: at,
            };
            SeenNode { node, is_live }
        };
        let (well, dead, other) =
            (node("a", version::WIRE, true), node("b", version::WIRE, false), node("c", version::WIRE + 1, true));
        let found = of_nodes(&[well.clone(), dead, other]);
        let states: Vec<_> = found.iter().map(|check| check.state).collect();
        assert_eq!(states, [CheckState::Ok, CheckState::Warning, CheckState::Wrong], "{found:?}");
        assert!(found[0].found.contains("0 full and 2 edge") && found[2].found.contains("node c"), "{found:?}");
        assert_eq!(of_nodes(&[well]).len(), 1);
    }

    #[test]
    fn a_schema_is_known_or_told_which_way_it_differs() {
        for (applied, state) in [
            (Some(16), CheckState::Ok),
            (Some(17), CheckState::Wrong),
            (Some(15), CheckState::Warning),
            (None, CheckState::Warning),
        ] {
            assert_eq!(of_schema(applied, 16).state, state, "{applied:?}");
        }
    }
}
