//! All tables of the schema, for who copies a whole store. A test holds the list against both databases.

/// In which of SQLite's files a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFile {
    /// The control data.
    Main,
    /// The apps' data.
    Data,
    /// The execution log.
    Logs,
}

/// One table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its file on SQLite.
    pub file: TableFile,
    /// Its columns of JSON, whose text a database may write in other words.
    pub json: &'static [&'static str],
}

impl TableFile {
    /// The file's name, without `.db`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Data => "data",
            Self::Logs => "logs",
        }
    }
}

const fn table(file: TableFile, name: &'static str, json: &'static [&'static str]) -> Table {
    Table { name, file, json }
}

const fn main(name: &'static str, json: &'static [&'static str]) -> Table {
    table(TableFile::Main, name, json)
}

const fn data(name: &'static str) -> Table {
    table(TableFile::Data, name, &[])
}

/// Every table, each after those that it refers to.
pub const TABLES: &[Table] = &[
    main("users", &[]),
    main("sessions", &[]),
    main("setup_tokens", &[]),
    main("apps", &["redacted_headers"]),
    main("slug_history", &[]),
    main("app_members", &[]),
    main("domains", &[]),
    main("scripts", &["imports", "sandbox"]),
    main("script_versions", &[]),
    main("routes", &[]),
    main("triggers", &["config"]),
    main("app_env", &[]),
    main("app_secrets", &[]),
    main("api_keys", &["scopes"]),
    main("idempotency_keys", &["demands"]),
    main("deleted_apps", &[]),
    main("certificates", &["names", "renewal", "facts"]),
    main("certificate_attempts", &[]),
    main("certificate_nodes", &[]),
    main("certificate_revision", &[]),
    main("acme_accounts", &[]),
    main("acme_challenges", &[]),
    main("internal_authority", &[]),
    main("audit_log", &["before", "after"]),
    main("audit_head", &[]),
    main("config_version", &[]),
    main("config_changes", &[]),
    main("instance", &["value"]),
    main("nodes", &[]),
    main("login_failures", &[]),
    data("kv_entries"),
    data("kv_apps"),
    data("kv_collections"),
    data("docs_documents"),
    data("docs_indexes"),
    data("docs_entries"),
    data("docs_apps"),
    data("docs_collections"),
    data("events"),
    data("event_attempts"),
    data("event_apps"),
    data("event_lanes"),
    data("dead_letters"),
    data("cron_triggers"),
    data("cron_clock"),
    data("data_audit"),
    table(TableFile::Logs, "executions", &["request", "response", "error", "logs"]),
    table(TableFile::Logs, "execution_counters", &[]),
];
