//! The dashboard's address.

use anyhow::bail;
use picloud_shared::domain_pattern::Host;

/// The dashboard's address: scheme and authority, nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicBaseUrl {
    text: String,
    host: Host<'static>,
}

impl PublicBaseUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// Anything but `http://host` or `https://host`, with an optional port and a slash.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        let authority = trimmed.strip_prefix("https://").or_else(|| trimmed.strip_prefix("http://"));
        let host = authority.and_then(|authority| Host::parse_authority(authority).ok());
        let Some(host) = host else {
            // What was written is not shown: somebody may have put a password in.
            bail!("public_base_url is not an address such as https://pi.example.com, without a path or a user");
        };
        Ok(Self { text: trimmed.to_owned(), host: host.into_owned() })
    }

    /// The address without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its host.
    pub fn host(&self) -> &Host<'static> {
        &self.host
    }
}
