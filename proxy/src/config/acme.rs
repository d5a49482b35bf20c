//! Certificates by themselves: whether, from which authorities, and as whom.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use picloud_proxy::acme::{
    AcmeSettings, Authority, AuthorityTrust, DnsProvider, DnsUpdate, ExternalAccount, LetsEncrypt, OutsidePorts,
    Timing, TsigKey,
};
use picloud_shared::clock::SystemClock;
use picloud_shared::name::Email;
use serde::Deserialize;

use super::bounds::within;
use super::settings::Settings;

/// Authorities give their keys with padding and without.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The `acme` table of the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct AcmeFile {
    /// The authorities, each tried when those before it fail.
    pub authorities: Vec<AuthorityFile>,
    /// Whether a host is answered by plain HTTP until there is a certificate for it.
    pub plain_http_until_certificate: Option<bool>,
    /// The DNS server that names are looked up at.
    pub resolver: Option<SocketAddr>,
    /// The port that authorities look at for HTTP.
    pub outside_http_port: Option<u16>,
    /// The port that authorities look at for HTTPS.
    pub outside_https_port: Option<u16>,
    /// By what TXT records are set.
    pub dns: Option<DnsFile>,
}

/// By what TXT records are set: a hook, or dynamic updates.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DnsFile {
    /// The program.
    pub hook: Option<PathBuf>,
    /// The zone's primary server.
    pub server: Option<SocketAddr>,
    /// The zone.
    pub zone: Option<String>,
    /// What the key is called there.
    pub key_name: Option<String>,
    /// What it signs by.
    pub key_algorithm: Option<String>,
    /// File of the key in base64.
    pub key_file: Option<PathBuf>,
}

/// One authority of the file.
#[derive(Debug, Clone, Deserialize)]
pub struct AuthorityFile {
    /// Its directory.
    pub directory: String,
    /// The directory of its practice ground.
    #[serde(default)]
    pub staging: Option<String>,
    /// PEM file of a root to trust it by, beside those that browsers trust.
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// Which kind of certificate to ask for.
    #[serde(default)]
    pub profile: Option<String>,
    /// The root that its chains should lead to.
    #[serde(default)]
    pub preferred_chain: Option<String>,
    /// The id of the key that it knows its customer by.
    #[serde(default)]
    pub eab_kid: Option<String>,
    /// File of that key in base64url.
    #[serde(default)]
    pub eab_key_file: Option<PathBuf>,
}

impl AuthorityFile {
    fn at(directory: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            staging: None,
            root: None,
            profile: None,
            preferred_chain: None,
            eab_kid: None,
            eab_key_file: None,
        }
    }
}

impl AcmeFile {
    pub const KEYS: [&'static str; 19] = [
        "plain_http_until_certificate",
        "resolver",
        "outside_http_port",
        "outside_https_port",
        "dns",
        "dns.hook",
        "dns.server",
        "dns.zone",
        "dns.key_name",
        "dns.key_algorithm",
        "dns.key_file",
        "authorities",
        "authorities.directory",
        "authorities.staging",
        "authorities.root",
        "authorities.profile",
        "authorities.preferred_chain",
        "authorities.eab_kid",
        "authorities.eab_key_file",
    ];
}

/// Whether certificates are obtained: as set, else where the dashboard is to be reached by HTTPS and it is not said that
/// somebody else serves that.
pub fn is_wanted(settings: &Settings, dev: bool) -> bool {
    let https = settings.https.as_ref().map(|addresses| !addresses.0.is_empty());
    let by_default = || {
        let url_is_https = settings.public_base_url.as_deref().is_some_and(|url| url.starts_with("https:"));
        !dev && url_is_https && https.unwrap_or(settings.http.is_none())
    };
    settings.automatic_certificates.unwrap_or_else(by_default)
}

/// How certificates are obtained: as the file would say it, and as the parts want it.
#[derive(Debug)]
pub struct Acme {
    /// The authorities of the settings.
    pub authorities: Vec<AuthorityFile>,
    /// Where an authority may write to.
    pub email: Option<Email>,
    /// The rest of the file's table.
    pub file: AcmeFile,
    /// What the agent is told.
    pub settings: AcmeSettings,
}

/// What the settings come to, where certificates are wanted.
///
/// # Errors
/// The first setting that cannot be used.
pub fn resolve(settings: &Settings, dev: bool) -> anyhow::Result<Option<Acme>> {
    if !is_wanted(settings, dev) {
        return Ok(None);
    }
    let email = settings.acme_email.as_deref().map(str::parse::<Email>).transpose().context("acme_email")?;
    let one = |directory: &str| AuthorityFile { root: settings.acme_root.clone(), ..AuthorityFile::at(directory) };
    let files = match (&settings.acme.authorities[..], settings.acme_directory.as_deref()) {
        (_, None) if settings.acme_root.is_some() => bail!("acme_root is the root of acme_directory, which is not set"),
        ([], None) => {
            let staging = Some(LetsEncrypt::Staging.url().to_owned());
            vec![AuthorityFile { staging, ..AuthorityFile::at(LetsEncrypt::Production.url()) }]
        }
        ([], Some(directory)) => vec![one(directory)],
        (_, Some(_)) => bail!("acme_directory and [[acme.authorities]] both name an authority; keep one of them"),
        (listed, None) => listed.to_vec(),
    };
    let read = |file: &AuthorityFile| authority(file).with_context(|| format!("the authority {}", file.directory));
    let authorities = files.iter().map(read).collect::<anyhow::Result<_>>()?;
    let contact = email.as_ref().map(|email| format!("mailto:{}", email.as_str()));
    let file = &settings.acme;
    let usual = OutsidePorts::default();
    let port = |name, setting, default| within(name, setting, default, 1..=u16::MAX);
    let outside = OutsidePorts {
        http: port("acme.outside_http_port", file.outside_http_port, usual.http)?,
        https: port("acme.outside_https_port", file.outside_https_port, usual.https)?,
    };
    let dns = file.dns.as_ref().map(dns_provider).transpose().context("acme.dns")?;
    let resolver = file.resolver;
    let acme = AcmeSettings { authorities, contact, dns, resolver, outside, timing: Timing::default() };
    Ok(Some(Acme { authorities: files, email, file: file.clone(), settings: acme }))
}

fn authority(file: &AuthorityFile) -> anyhow::Result<Authority> {
    let external_account = match (&file.eab_kid, &file.eab_key_file) {
        (None, None) => None,
        (Some(id), Some(path)) => {
            let text = read(path)?;
            let text = std::str::from_utf8(&text).unwrap_or_default().trim();
            let key = BASE64URL.decode(text).ok().filter(|key| !key.is_empty());
            let Some(key) = key else { bail!("eab_key_file: {} holds no key in base64url", path.display()) };
            Some(ExternalAccount { id: id.clone(), key })
        }
        _ => bail!("eab_kid and eab_key_file belong together; only one of them is set"),
    };
    let root = file.root.as_deref().map(read).transpose()?;
    let trust = AuthorityTrust::new(root.as_deref());
    let trust =
        trust.map_err(|error| anyhow::anyhow!("root: {}: {error}", file.root.clone().unwrap_or_default().display()));
    Ok(Authority {
        directory: file.directory.parse()?,
        staging: file.staging.as_deref().map(str::parse).transpose().context("staging")?,
        trust: trust?,
        external_account,
        profile: file.profile.clone(),
        preferred_chain: file.preferred_chain.clone(),
    })
}

fn dns_provider(file: &DnsFile) -> anyhow::Result<DnsProvider> {
    let Some(server) = file.server else {
        return match &file.hook {
            Some(hook) if hook.is_absolute() => Ok(DnsProvider::Hook(hook.clone())),
            Some(hook) => bail!("hook: {} must be the whole path of a program", hook.display()),
            None => bail!("set hook to a program, or server, key_name and key_file for dynamic updates"),
        };
    };
    if file.hook.is_some() {
        bail!("hook and server both set records; keep one of them");
    }
    let (Some(name), Some(path)) = (&file.key_name, &file.key_file) else {
        bail!("server needs key_name and key_file");
    };
    let text = read(path)?;
    let text = std::str::from_utf8(&text).unwrap_or_default().trim();
    let key = STANDARD.decode(text).ok().filter(|key| !key.is_empty());
    let Some(key) = key else { bail!("key_file: {} holds no key in base64", path.display()) };
    let algorithm = file.key_algorithm.as_deref().unwrap_or("hmac-sha256");
    let key = TsigKey::new(name, algorithm, key).map_err(anyhow::Error::msg)?;
    Ok(DnsProvider::Update(DnsUpdate { server, zone: file.zone.clone(), key, clock: Arc::new(SystemClock) }))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::settings::Addresses;
    use super::*;

    fn wanted(url: Option<&str>, http: Option<&str>, https: Option<&str>) -> bool {
        let addresses = |text: Option<&str>| text.map(|text| text.parse::<Addresses>().unwrap());
        let settings = Settings {
            public_base_url: url.map(str::to_owned),
            http: addresses(http),
            https: addresses(https),
            ..Settings::default()
        };
        is_wanted(&settings, false)
    }

    #[test]
    fn certificates_are_obtained_where_the_dashboard_is_to_be_reached_by_https_from_here() {
        let url = Some("https://pi.example.com");
        assert!(wanted(url, None, None) && wanted(url, None, Some(":443")) && wanted(url, Some(":80"), Some(":443")));
        assert!(!wanted(None, None, None) && !wanted(Some("http://pi.example.com"), None, None));
        assert!(!wanted(url, Some(":80"), None) && !wanted(url, None, Some("none")), "somebody in front serves HTTPS");
        let settings = Settings { public_base_url: url.map(str::to_owned), ..Settings::default() };
        assert!(!is_wanted(&settings, true), "not with --dev");
        assert!(!is_wanted(&Settings { automatic_certificates: Some(false), ..settings }, false));
        assert!(is_wanted(&Settings { automatic_certificates: Some(true), ..Settings::default() }, true));
    }

    #[test]
    fn an_authority_that_cannot_be_used_is_told_by_its_setting() {
        let base = AuthorityFile::at("https://ca.test/dir");
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            Some(dir.path().join(name))
        };
        assert!(authority(&base).is_ok());
        for (bad, told) in [
            (AuthorityFile { directory: "http://ca.test/dir".to_owned(), ..base.clone() }, "is an address"),
            (AuthorityFile { staging: Some("ca".to_owned()), ..base.clone() }, "staging"),
            (AuthorityFile { root: Some("/nonexistent/root".into()), ..base.clone() }, "/nonexistent/root"),
            (AuthorityFile { root: path("root", "no PEM"), ..base.clone() }, "holds no certificate"),
            (AuthorityFile { eab_kid: Some("kid".to_owned()), ..base.clone() }, "belong together"),
            (
                AuthorityFile { eab_kid: Some("kid".to_owned()), eab_key_file: path("key", "!"), ..base.clone() },
                "no key in base64url",
            ),
        ] {
            let error = format!("{:#}", authority(&bad).unwrap_err());
            assert!(error.contains(told), "{bad:?}: {error}");
        }
        for key in ["c2VjcmV0\n", "c2VjcmV0cw==", "c2VjcmV0cw"] {
            let file =
                AuthorityFile { eab_kid: Some("kid".to_owned()), eab_key_file: path("good", key), ..base.clone() };
            assert!(authority(&file).is_ok(), "{key:?}");
        }
    }

    #[test]
    fn a_way_to_set_records_is_whole_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        std::fs::write(&key, "c2VjcmV0IGtleQ==\n").unwrap();
        let update = DnsFile {
            server: Some("127.0.0.1:53".parse().unwrap()),
            key_name: Some("picloud".to_owned()),
            key_file: Some(key.clone()),
            ..DnsFile::default()
        };
        let hook = DnsFile { hook: Some("/usr/local/bin/hook".into()), ..DnsFile::default() };
        assert!(dns_provider(&update).is_ok() && dns_provider(&hook).is_ok());
        std::fs::write(dir.path().join("bad"), "!").unwrap();
        for (bad, told) in [
            (DnsFile::default(), "set hook"),
            (DnsFile { hook: Some("hook".into()), ..DnsFile::default() }, "whole path"),
            (DnsFile { hook: hook.hook.clone(), ..update.clone() }, "keep one of them"),
            (DnsFile { key_file: None, ..update.clone() }, "needs key_name and key_file"),
            (DnsFile { key_file: Some(dir.path().join("bad")), ..update.clone() }, "no key in base64"),
            (DnsFile { key_algorithm: Some("hmac-md5".to_owned()), ..update.clone() }, "hmac-sha256"),
        ] {
            let error = format!("{:#}", dns_provider(&bad).unwrap_err());
            assert!(error.contains(told), "{bad:?}: {error}");
        }
    }
}
