//! The settings file: read, and searched for keys that mean nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::no_setting;
use super::settings::{Settings, known_keys};

/// Where the file is looked for when nobody says where.
const DEFAULT_PATH: &str = "/etc/picloud/picloud.toml";

/// A settings file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidFile {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or a value is not of its kind.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// 1-based.
        line: usize,
        /// 1-based, in characters.
        column: usize,
        /// Why.
        message: String,
    },
    /// It holds keys that mean nothing.
    #[error("{}:{text}", path.display())]
    UnknownKeys {
        /// The file.
        path: PathBuf,
        /// One line for each key.
        text: String,
    },
}

/// Reads the settings file. Without a path the usual place is tried, where absence is fine.
///
/// # Errors
/// A file that was named and is absent; one that cannot be read, parsed or understood.
pub fn read(path: Option<&Path>) -> Result<Settings, InvalidFile> {
    let usual = Path::new(DEFAULT_PATH);
    let chosen = path.unwrap_or(usual);
    match std::fs::read_to_string(chosen) {
        Ok(text) => parse(chosen, &text),
        Err(error) if path.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
        Err(source) => Err(InvalidFile::Unreadable { path: chosen.to_owned(), source }),
    }
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Settings, InvalidFile> {
    // The error's own text quotes the line, which may hold a password.
    let malformed = |error: toml::de::Error| {
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        InvalidFile::Malformed {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: error.message().to_owned(),
        }
    };
    let table: toml::Table = text.parse().map_err(malformed)?;
    let unknown = unknown_keys(&table);
    if !unknown.is_empty() {
        return Err(InvalidFile::UnknownKeys { path: path.to_owned(), text: unknown });
    }
    toml::from_str(text).map_err(malformed)
}

fn unknown_keys(table: &toml::Table) -> String {
    let known = known_keys();
    let mut found = Vec::new();
    collect_keys(table, "", &mut found);
    let mut text = String::new();
    for key in found.iter().filter(|key| !known.contains(key)) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {}", no_setting(key, known.iter().map(String::as_str)));
    }
    text
}

fn collect_keys(table: &toml::Table, prefix: &str, found: &mut Vec<String>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => collect_keys(inner, &path, found),
            toml::Value::Array(items) => {
                items.iter().filter_map(toml::Value::as_table).for_each(|inner| collect_keys(inner, &path, found));
            }
            _ => {}
        }
        found.push(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_is_read() {
        let text = r#"
            http = ["127.0.0.1:80", ":8080"]
            https = "127.0.0.1:443"
            internal = "none"
            admin_hosts = ["a.example.com", "b.example.com"]
            session_ttl_hours = 12
            log_format = "json"
            [[tls.certificates]]
            chain = "a.pem"
            key = "a.key"
            [limits.ceilings]
            max_operations = 9000000
        "#;
        let settings = parse(Path::new("picloud.toml"), text).unwrap();
        let addresses = settings.http.unwrap().0;
        assert_eq!(addresses, ["127.0.0.1:80".parse().unwrap(), "[::]:8080".parse().unwrap()]);
        assert_eq!(settings.internal.unwrap().0, []);
        assert_eq!(settings.admin_hosts.unwrap().0, ["a.example.com", "b.example.com"]);
        assert_eq!(settings.tls.certificates[0].key, Path::new("a.key"));
        assert_eq!(settings.limits.policy().unwrap().ceilings.max_operations, 9_000_000);
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_nearest() {
        let text =
            "htp = \":80\"\n[limits.ceilings]\nmax_operation = 1\n[[tls.certificates]]\nchian = \"a\"\nkey = \"b\"";
        let error = parse(Path::new("picloud.toml"), text).unwrap_err().to_string();
        assert!(error.contains("no setting htp; the nearest is http"), "{error}");
        assert!(
            error.contains("limits.ceilings.max_operation; the nearest is limits.ceilings.max_operations"),
            "{error}"
        );
        assert!(error.contains("tls.certificates.chian; the nearest is tls.certificates.chain"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_an_error_with_its_place() {
        for bad in [
            "http = 80",
            "http = \"localhost\"",
            "trusted_proxies = [\"10.0.0.1\", \"::/0\"]",
            "session_ttl_hours = \"a day\"",
            "log_format = \"xml\"",
            "http",
        ] {
            let error = parse(Path::new("picloud.toml"), bad).unwrap_err();
            assert!(matches!(error, InvalidFile::Malformed { .. }), "{bad}: {error}");
            assert!(!error.to_string().contains("untagged"), "words of the program's own: {error}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_place_and_never_quoted() {
        let url = "postgres://ada:hunter2@db/cloud";
        for (bad, place) in [
            (format!("access_log = true\ndatabase_url = {url}"), "p:2:"),
            (format!("database_url = \"{url}"), "p:1:"),
            (format!("database_url = '{url}' # \nhttp = 80"), "p:2:8: "),
            (format!("database_url = '{url}' 'and more'"), "p:1:"),
            (format!("database_url = ['{url}']"), "p:1:16: "),
            (format!("database_url = '{url}'\ndatabase_url = '{url}'"), "p:2:1: "),
            (format!("database_url = '{url}'\n\n  'hunter2'"), "p:3:"),
        ] {
            let error = parse(Path::new("p"), &bad).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(said.starts_with(place), "{bad}: {said}");
            assert!(!said.contains("hunter2"), "{bad}: {said}");
        }
    }

    #[test]
    fn a_default_over_its_ceiling_is_named() {
        let settings = parse(Path::new("p"), "[limits.defaults]\nmax_map_size = 30000").unwrap();
        let error = settings.limits.policy().unwrap_err().to_string();
        assert_eq!(error, "limits.defaults.max_map_size is 30000; it must be from 1 to 20000");
    }

    #[test]
    fn only_a_file_that_was_named_must_exist() {
        assert!(matches!(read(Some(Path::new("/nonexistent/p.toml"))), Err(InvalidFile::Unreadable { .. })));
    }
}
