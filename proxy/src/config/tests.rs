use super::listen::{ANY_HTTP, ANY_HTTPS, DEV_HTTP, INTERNAL};
use super::settings::Addresses;
use super::*;

fn settings() -> Settings {
    Settings::default()
}

#[test]
fn dev_listens_on_loopback_only_and_keeps_its_data_here() {
    let config = Config::resolve(settings(), true).unwrap();
    assert_eq!(config.listen.http, [DEV_HTTP]);
    assert!(config.listen.https.is_empty() && config.listen.internal.is_empty() && !config.listen.redirect);
    assert_eq!(config.data_dir, Path::new("./picloud-data"));
}

#[test]
fn a_certificate_turns_https_on_and_plain_http_into_a_redirect() {
    let with = Settings { tls_chain: Some("c".into()), tls_key: Some("k".into()), ..settings() };
    let config = Config::resolve(with, false).unwrap();
    assert_eq!((config.listen.http, config.listen.https), (vec![ANY_HTTP], vec![ANY_HTTPS]));
    assert!(config.listen.redirect && config.listen.by_default);
    assert_eq!(config.listen.internal, [INTERNAL]);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let none = || Some(Addresses(Vec::new()));
    let https = Some(Addresses(vec![ANY_HTTPS]));
    assert!(Config::resolve(Settings { https, ..settings() }, false).is_err());
    assert!(Config::resolve(Settings { http: none(), https: none(), ..settings() }, false).is_err());
    assert!(Config::resolve(Settings { tls_key: Some("k".into()), ..settings() }, false).is_err());
    assert!(Config::resolve(Settings { session_ttl_hours: Some(0), ..settings() }, false).is_err());
    for url in ["pi.example.com", "ftp://pi", "https://pi/admin", "https://user@pi", "https://"] {
        let settings = Settings { public_base_url: Some(url.to_owned()), ..settings() };
        assert!(Config::resolve(settings, false).is_err(), "{url}");
    }
}

#[test]
fn a_response_has_16_mib_at_most() {
    let resolved = |bytes: usize| {
        let settings = file::parse(Path::new("picloud.toml"), &format!("max_response_bytes = {bytes}")).unwrap();
        Config::resolve(settings, false).map(|config| config.executor.max_response_bytes)
    };
    assert_eq!(resolved(16 * 1024 * 1024).unwrap(), 16 * 1024 * 1024);
    assert!(resolved(16 * 1024 * 1024 + 1).is_err());
}

#[test]
fn a_number_that_makes_no_sense_is_refused_by_name() {
    let zero_or_huge = [
        "session_ttl_hours",
        "max_request_body_bytes",
        "max_request_head_bytes",
        "request_head_timeout_ms",
        "request_body_timeout_ms",
        "idle_timeout_ms",
        "upgrade_timeout_ms",
        "max_connections",
        "max_connections_per_client",
        "executor_workers",
        "executor_app_concurrency",
        "executor_queue_capacity",
        "executor_program_cache_bytes",
        "executor_memory_bytes",
        "max_response_bytes",
        "kv_max_keys",
        "kv_max_bytes",
        "events_max",
        "events_max_bytes",
        "event_lease_ms",
        "docs_max_documents",
        "docs_max_bytes",
        "log_max_age_days",
        "limits.defaults.max_operations",
        "limits.ceilings.max_operations",
        "limits.ceilings.max_call_levels",
        "limits.ceilings.max_expr_depth",
        "limits.ceilings.timeout_ms",
    ];
    let huge = i64::MAX;
    let zeros = zero_or_huge.iter().chain(&["log_max_bytes"]).map(|key| (*key, 0));
    for (key, value) in zeros.chain(zero_or_huge.map(|key| (key, huge))).chain([("shutdown_grace_ms", huge)]) {
        let settings = file::parse(Path::new("picloud.toml"), &format!("{key} = {value}")).unwrap();
        let error = Config::resolve(settings, false).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{key} is {value}; it must be from ")), "{key} = {value}: {error}");
    }
    for fine in ["shutdown_grace_ms = 0", "log_successes_per_second = 0", "log_success_burst = 0"] {
        let settings = file::parse(Path::new("picloud.toml"), fine).unwrap();
        assert!(Config::resolve(settings, false).is_ok(), "{fine}");
    }
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let flags = Settings { session_ttl_hours: Some(1), ..settings() };
    let file = Settings { session_ttl_hours: Some(2), max_connections: Some(3), ..settings() };
    let config = Config::resolve(flags.or(file), true).unwrap();
    assert_eq!((config.session_ttl.as_secs(), config.io.max_connections), (3600, 3));
}

#[test]
fn what_is_shown_is_the_file_of_the_same_configuration() {
    let text = r#"
        data_dir = "/srv/cloud"
        secret_key_file = "/srv/keys/cloud.key"
        http = [":81", "127.0.0.1:82"]
        https = ":444"
        internal = "none"
        redirect_to_https = true
        automatic_certificates = true
        acme_email = "ada@example.com"
        database_url = "postgres://ada@db:5432/cloud"
        node_role = "full"
        node_listen = ":9181"
        node_address = "node-1.lan:9181"
        public_base_url = "https://pi.example.com"
        admin_hosts = "a.example.com"
        trusted_proxies = ["10.0.0.0/8", "fd00::1"]
        proxy_header = "forwarded"
        session_ttl_hours = 2
        max_request_body_bytes = 3000
        max_request_head_bytes = 4000
        request_head_timeout_ms = 500
        request_body_timeout_ms = 600
        idle_timeout_ms = 700
        max_connections = 8
        max_connections_per_client = 8
        shutdown_grace_ms = 9
        upgrade_timeout_ms = 950
        executor_workers = 10
        executor_app_concurrency = 11
        executor_queue_capacity = 12
        executor_program_cache_bytes = 13000000
        executor_memory_bytes = 13500000
        max_response_bytes = 14000
        kv_max_keys = 15
        kv_max_bytes = 16000
        events_max = 17
        events_max_bytes = 17000
        event_lease_ms = 18000
        docs_max_documents = 19
        docs_max_bytes = 19000
        log_successes_per_second = 15
        log_success_burst = 16
        log_max_age_days = 17
        script_http_allow = "192.168.7.0/24, nas.lan:8080"
        log_max_bytes = 18000000
        backup_dir = "/mnt/usb"
        backup_every_hours = 24
        backup_keep = 3
        access_log = true
        log_filter = "debug"
        log_format = "json"
        [[tls.certificates]]
        chain = "a.pem"
        key = "a.key"
        [acme]
        plain_http_until_certificate = true
        outside_http_port = 5002
        resolver = "127.0.0.1:8053"
        [acme.dns]
        hook = "/usr/local/bin/dns-hook"
        [[acme.authorities]]
        directory = "https://ca.test/dir"
        staging = "https://ca.test/practice"
        profile = "shortlived"
        preferred_chain = "Root X1"
        [limits.defaults]
        max_operations = 19
        [limits.ceilings]
        timeout_ms = 60000
    "#;
    let shown = |text: &str| {
        let settings = file::parse(Path::new("picloud.toml"), text).unwrap();
        Config::resolve(settings, false).unwrap().to_string()
    };
    let first = shown(text);
    assert_eq!(shown(&first), first);
    for line in text.lines().filter_map(|line| line.trim().split_once(" = ")) {
        assert!(first.contains(line.0), "{} is missing in {first}", line.0);
    }
    let unshown = |key: &&&str| !text.contains(&format!("{key} = "));
    let unshown: Vec<_> = Settings::FLAT_KEYS.iter().filter(unshown).collect();
    assert_eq!(
        unshown,
        [&"tls_chain", &"tls_key", &"acme_directory", &"acme_root"],
        "shown as a certificate and an authority"
    );
    for kept in ["max_operations = 19", "timeout_ms = 60000", "log_max_age_days = 17", "log_format = \"json\""] {
        assert!(first.contains(kept), "{kept} in {first}");
    }
}

#[test]
fn an_unknown_variable_is_an_error_that_names_the_nearest() {
    let refused = |name: &str| refuse_unknown([name.to_owned()].into_iter()).map_err(|error| error.to_string());
    for fine in ["PICLOUD_HTTP", "PICLOUD_DEV", "PICLOUD_CONFIG", "PICLOUD_ADMIN_PASSWORD", "PATH", "HTTP"] {
        assert_eq!(refused(fine), Ok(()));
    }
    let error = refused("PICLOUD_DATABASE_URI").unwrap_err();
    assert_eq!(error, "there is no setting PICLOUD_DATABASE_URI; the nearest is PICLOUD_DATABASE_URL");
    for unlike in ["PICLOUD_NOSUCH", "PICLOUD_", "PICLOUD_COLOUR"] {
        assert_eq!(refused(unlike), Err(format!("there is no setting {unlike}")));
    }
}

#[test]
fn what_is_shown_holds_no_password() {
    let database_url = Some("postgres://ada:hunter2@db/cloud".to_owned());
    let config = Config::resolve(Settings { database_url, ..settings() }, true).unwrap();
    let shown = format!("{config} {config:?}");
    assert!(shown.contains("ada@db") && !shown.contains("hunter2"), "{shown}");
}
