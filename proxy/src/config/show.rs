//! The configuration as `config show` prints it: a file that would give it again, without secrets.

use std::fmt;
use std::net::SocketAddr;

use picloud_manager::store::DatabaseConfig;
use picloud_shared::domain_pattern::Host;

use super::acme::{AcmeFile, AuthorityFile};
use super::{Config, ExecutionLogSettings, LogFormat, LogSettings, settings};

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |addresses: &[SocketAddr]| format!("{:?}", addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
        writeln!(f, "data_dir = {:?}", self.data_dir)?;
        writeln!(f, "secret_key_file = {:?}", self.secret_key_file)?;
        match &self.database {
            DatabaseConfig::Postgres { url } => writeln!(f, "database_url = \"{url}\" # its password is not shown")?,
            DatabaseConfig::Sqlite { .. } => writeln!(f, "# database_url is not set: SQLite files in data_dir")?,
        }
        writeln!(f, "http = {}", list(&self.listen.http))?;
        writeln!(f, "https = {}", list(&self.listen.https))?;
        writeln!(f, "internal = {}", list(&self.listen.internal))?;
        writeln!(f, "redirect_to_https = {}", self.listen.redirect)?;
        writeln!(f, "automatic_certificates = {}", self.acme.is_some())?;
        if let Some(email) = self.acme.as_ref().and_then(|acme| acme.email.as_ref()) {
            writeln!(f, "acme_email = {:?}", email.as_str())?;
        }
        writeln!(f, "node_role = \"{}\"", self.node.role)?;
        if let Some(listen) = self.node.listen {
            writeln!(f, "node_listen = \"{listen}\"")?;
        }
        if let Some(address) = &self.node.address {
            writeln!(f, "node_address = {address:?}")?;
        }
        if let Some(url) = &self.public_base_url {
            writeln!(f, "public_base_url = {:?}", url.as_str())?;
        }
        writeln!(f, "admin_hosts = {:?}", self.admin_hosts.iter().map(Host::as_str).collect::<Vec<_>>())?;
        let trusted: Vec<String> = self.trusted_proxies.nets().iter().map(ToString::to_string).collect();
        writeln!(f, "trusted_proxies = {trusted:?}")?;
        writeln!(f, "proxy_header = {:?}", self.trusted_proxies.header().as_str())?;
        writeln!(f, "session_ttl_hours = {}", self.session_ttl.as_secs() / 3600)?;
        writeln!(f, "max_request_body_bytes = {}", self.body_limit)?;
        writeln!(f, "max_request_head_bytes = {}", self.io.head_bytes)?;
        writeln!(f, "request_head_timeout_ms = {}", self.io.head_timeout.as_millis())?;
        writeln!(f, "request_body_timeout_ms = {}", self.io.body_timeout.as_millis())?;
        writeln!(f, "idle_timeout_ms = {}", self.io.idle_timeout.as_millis())?;
        writeln!(f, "max_connections = {}", self.io.max_connections)?;
        match self.io.max_connections_per_client {
            Some(connections) => writeln!(f, "max_connections_per_client = {connections}")?,
            None => writeln!(f, "# max_connections_per_client is not set: three times as many as are free")?,
        }
        writeln!(f, "shutdown_grace_ms = {}", self.shutdown_grace.as_millis())?;
        writeln!(f, "upgrade_timeout_ms = {}", self.upgrade_timeout.as_millis())?;
        writeln!(f, "executor_workers = {}", self.executor.workers)?;
        writeln!(f, "executor_app_concurrency = {}", self.executor.app_concurrency)?;
        writeln!(f, "executor_queue_capacity = {}", self.executor.queue_capacity)?;
        writeln!(f, "executor_program_cache_bytes = {}", self.executor.program_cache_bytes)?;
        writeln!(f, "executor_memory_bytes = {}", self.executor.memory_bytes)?;
        writeln!(f, "max_response_bytes = {}", self.executor.max_response_bytes)?;
        writeln!(f, "kv_max_keys = {}", self.kv_quota.keys)?;
        writeln!(f, "kv_max_bytes = {}", self.kv_quota.bytes)?;
        writeln!(f, "script_http_allow = {:?}", self.script_http_allow.to_string())?;
        writeln!(f, "events_max = {}", self.event_quota.events)?;
        writeln!(f, "events_max_bytes = {}", self.event_quota.bytes)?;
        writeln!(f, "event_lease_ms = {}", self.event_lease.as_millis())?;
        writeln!(f, "docs_max_documents = {}", self.docs_quota.documents)?;
        writeln!(f, "docs_max_bytes = {}", self.docs_quota.bytes)?;
        self.execution_log.fmt(f)?;
        match &self.backups {
            Some(backups) => {
                writeln!(f, "backup_dir = {:?}", backups.dir)?;
                writeln!(f, "backup_every_hours = {}", backups.every.as_secs() / 3600)?;
                writeln!(f, "backup_keep = {}", backups.keep)?;
            }
            None => writeln!(f, "# backup_every_hours is not set: no backups are taken by themselves")?,
        }
        self.log.fmt(f)?;
        for files in &self.certificates {
            write!(f, "\n[[tls.certificates]]\nchain = {:?}\nkey = {:?}\n", files.chain, files.key)?;
        }
        writeln!(f, "\n[acme]\nplain_http_until_certificate = {}", self.plain_http_until_certificate)?;
        if let Some(acme) = &self.acme {
            acme.file.fmt(f)?;
        }
        for authority in self.acme.iter().flat_map(|acme| &acme.authorities) {
            authority.fmt(f)?;
        }
        for (name, limits) in [("defaults", &self.limits.defaults), ("ceilings", &self.limits.ceilings)] {
            writeln!(f, "\n[limits.{name}]")?;
            for (knob, value) in settings::knobs_of(limits) {
                writeln!(f, "{knob} = {value}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for AcmeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = [("outside_http_port", self.outside_http_port), ("outside_https_port", self.outside_https_port)];
        for (name, port) in ports {
            if let Some(port) = port {
                writeln!(f, "{name} = {port}")?;
            }
        }
        if let Some(resolver) = self.resolver {
            writeln!(f, "resolver = \"{resolver}\"")?;
        }
        let Some(dns) = &self.dns else { return Ok(()) };
        writeln!(f, "\n[acme.dns]")?;
        let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
        for (name, value) in [
            ("hook", path(&dns.hook)),
            ("server", dns.server.map(|server| server.to_string())),
            ("zone", dns.zone.clone()),
            ("key_name", dns.key_name.clone()),
            ("key_algorithm", dns.key_algorithm.clone()),
            ("key_file", path(&dns.key_file)),
        ] {
            if let Some(value) = value {
                writeln!(f, "{name} = {value:?}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for AuthorityFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n[[acme.authorities]]\ndirectory = {:?}", self.directory)?;
        let paths = [("root", &self.root), ("eab_key_file", &self.eab_key_file)];
        let paths = paths.map(|(name, path)| (name, path.as_ref().map(|path| path.display().to_string())));
        let texts = [
            ("staging", self.staging.clone()),
            ("profile", self.profile.clone()),
            ("preferred_chain", self.preferred_chain.clone()),
            ("eab_kid", self.eab_kid.clone()),
        ];
        for (name, value) in texts.into_iter().chain(paths) {
            if let Some(value) = value {
                writeln!(f, "{name} = {value:?}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for ExecutionLogSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = [
            ("log_successes_per_second", self.successes_per_second.map(u64::from)),
            ("log_success_burst", self.success_burst.map(u64::from)),
            ("log_max_age_days", self.max_age.map(|age| age.as_secs() / 86_400)),
            ("log_max_bytes", self.max_bytes),
        ];
        for (name, value) in values {
            match value {
                Some(value) => writeln!(f, "{name} = {value}")?,
                None => writeln!(f, "# {name} is not set: it depends on the store")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for LogSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "access_log = {}", self.access)?;
        writeln!(f, "log_filter = {:?}", self.filter)?;
        match self.format {
            Some(LogFormat::Text) => writeln!(f, "log_format = \"text\""),
            Some(LogFormat::Json) => writeln!(f, "log_format = \"json\""),
            None => writeln!(f, "# log_format is not set: text on a terminal, else json"),
        }
    }
}
