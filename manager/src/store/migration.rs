//! The schema's history: one text for both databases, rendered for each when it is applied. Forward only.

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

use crate::repo::RepoError;
use crate::store::StoreError;

/// One step of the history.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Its number, the schema's version once it is applied.
    pub version: i64,
    /// What it is for.
    pub name: &'static str,
    /// Its text, with words in double braces and `-- file:` lines.
    pub text: &'static str,
}

/// All steps, in order. A step that was released never changes.
pub const HISTORY: &[Step] = &[
    Step { version: 1, name: "serve", text: include_str!("../../../migrations/0001_serve.sql") },
    Step {
        version: 2,
        name: "execution log indexes",
        text: include_str!("../../../migrations/0002_execution_log_indexes.sql"),
    },
    Step { version: 3, name: "record policy", text: include_str!("../../../migrations/0003_record_policy.sql") },
    Step { version: 4, name: "identity", text: include_str!("../../../migrations/0004_identity.sql") },
    Step { version: 5, name: "apps", text: include_str!("../../../migrations/0005_apps.sql") },
    Step { version: 6, name: "certificates", text: include_str!("../../../migrations/0006_certificates.sql") },
    Step { version: 7, name: "control plane", text: include_str!("../../../migrations/0007_control_plane.sql") },
    Step { version: 8, name: "kept answers", text: include_str!("../../../migrations/0008_kept_answers.sql") },
    Step { version: 9, name: "config stamp", text: include_str!("../../../migrations/0009_config_stamp.sql") },
    Step { version: 10, name: "kv", text: include_str!("../../../migrations/0010_kv.sql") },
    Step { version: 11, name: "env and secrets", text: include_str!("../../../migrations/0011_env_and_secrets.sql") },
    Step { version: 12, name: "events", text: include_str!("../../../migrations/0012_events.sql") },
    Step { version: 13, name: "triggers", text: include_str!("../../../migrations/0013_triggers.sql") },
    Step { version: 14, name: "cron", text: include_str!("../../../migrations/0014_cron.sql") },
    Step { version: 15, name: "docs", text: include_str!("../../../migrations/0015_docs.sql") },
    Step { version: 16, name: "async routes", text: include_str!("../../../migrations/0016_async_routes.sql") },
    Step { version: 17, name: "nodes", text: include_str!("../../../migrations/0017_nodes.sql") },
];

/// The number of the newest step: the fifth versioned surface.
pub fn newest_version(history: &[Step]) -> i64 {
    history.last().map_or(0, |step| step.version)
}

/// What a step is rendered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// SQLite's file of that name, `main` or `logs`.
    Sqlite(&'static str),
    /// The one PostgreSQL database.
    Postgres,
}

impl Target {
    fn has(self, file: &str) -> bool {
        match self {
            Self::Sqlite(own) => own == file,
            Self::Postgres => true,
        }
    }
}

const WORDS: &[(&str, &str, &str)] = &[
    ("{{uuid}}", "BLOB", "UUID"),
    ("{{json}}", "TEXT", "JSONB"),
    ("{{bytes}}", "BLOB", "BYTEA"),
    ("{{int}}", "INTEGER", "BIGINT"),
    ("{{serial}}", "INTEGER", "BIGINT GENERATED ALWAYS AS IDENTITY"),
    ("{{bool}}", "INTEGER", "BOOLEAN"),
    ("{{bytewise}}", "COLLATE BINARY", "COLLATE \"C\""),
    ("{{strict}}", "STRICT", ""),
    // Of a table that is all key: its rows are kept once, in the order of the key.
    ("{{keyed}}", "STRICT, WITHOUT ROWID", ""),
];

/// The text of a step as the target needs it.
pub fn render(text: &str, target: Target) -> String {
    let mut file = "";
    let mut rendered = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("-- file: ") {
            file = name.trim();
        } else if target.has(file) {
            rendered.push_str(line);
            rendered.push('\n');
        }
    }
    for (word, sqlite, postgres) in WORDS {
        rendered = rendered.replace(word, if target == Target::Postgres { postgres } else { sqlite });
    }
    rendered
}

/// Applies what is missing to the database behind `conn`.
///
/// # Errors
/// [`StoreError::NewerSchema`], [`StoreError::EditedMigration`], or the database's failure. The connection must be
/// closed then, since it may hold the migration lock.
pub(super) async fn apply<C: Migrate>(conn: &mut C, history: &[Step], target: Target) -> Result<(), StoreError> {
    let known = newest_version(history);
    if let Some(found) = applied_version(conn).await?.filter(|found| *found > known) {
        return Err(StoreError::NewerSchema { found, known });
    }
    let steps = history.iter().map(|step| {
        let sql = AssertSqlSafe(render(step.text, target)).into_sql_str();
        Migration::new(step.version, step.name.into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(steps.collect()).run_direct(None, conn, false).await.map_err(|error| match error {
        // Another node may have brought a newer schema since the look above.
        MigrateError::VersionMissing(found) => StoreError::NewerSchema { found, known },
        MigrateError::VersionMismatch(version) => StoreError::EditedMigration { version },
        error => StoreError::Repo(repo_error(error)),
    })
}

/// The newest step that was applied; `None` for an empty database.
pub(super) async fn applied_version<C: Migrate>(conn: &mut C) -> Result<Option<i64>, StoreError> {
    let table = &Migrator::DEFAULT.table_name;
    conn.ensure_migrations_table(table).await.map_err(repo_error)?;
    let applied = conn.list_applied_migrations(table).await.map_err(repo_error)?;
    Ok(applied.iter().map(|migration| migration.version).max())
}

pub(super) fn repo_error(error: MigrateError) -> RepoError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        error => RepoError::Failed(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "-- file: main\nCREATE TABLE a (id {{uuid}}) {{strict}};\n-- file: logs\nCREATE TABLE b (j {{json}});\n";

    #[test]
    fn each_sqlite_file_gets_its_own_part_and_postgres_gets_all() {
        assert_eq!(render(TEXT, Target::Sqlite("main")), "CREATE TABLE a (id BLOB) STRICT;\n");
        assert_eq!(render(TEXT, Target::Sqlite("logs")), "CREATE TABLE b (j TEXT);\n");
        assert_eq!(render(TEXT, Target::Postgres), "CREATE TABLE a (id UUID) ;\nCREATE TABLE b (j JSONB);\n");
    }

    #[test]
    fn the_history_is_in_order_and_leaves_no_word_unrendered() {
        assert!(HISTORY.is_sorted_by(|a, b| a.version < b.version));
        for step in HISTORY {
            for target in [Target::Sqlite("main"), Target::Sqlite("data"), Target::Sqlite("logs"), Target::Postgres] {
                let rendered = render(step.text, target);
                let sql = rendered.lines().filter(|line| !line.starts_with("--"));
                assert_eq!(sql.filter(|line| line.contains("{{")).count(), 0, "{target:?}");
            }
            let known = ["main", "data", "logs"];
            let marked = step.text.lines().filter_map(|line| line.strip_prefix("-- file: "));
            assert!(marked.clone().count() > 0 && marked.clone().all(|file| known.contains(&file)), "{}", step.name);
        }
    }
}
