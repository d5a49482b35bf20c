//! Which server is asked, and whether it is this machine.

use anyhow::Context;
use reqwest::Url;

use crate::remote::output::plain;

/// The address of the dashboard, which browsers show with the path of one of its pages, or of the server that it is on.
pub fn parse_server(text: &str) -> anyhow::Result<Url> {
    let url = text.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let plain_address = |url: &Url| {
        url.username().is_empty()
            && url.password().is_none()
            && (matches!(url.path(), "/" | "/admin") || url.path().starts_with("/admin/"))
            && url.query().is_none()
            && url.fragment().is_none()
    };
    let mut url = url.filter(plain_address).with_context(|| {
        // Somebody may have put a password in.
        let shown = if text.contains('@') { "what was given".to_owned() } else { plain(text) };
        format!(
            "--server, or PICLOUD_SERVER, is {shown}: it must be the dashboard's address, such as https://cloud.example.com \
             or http://127.0.0.1:8080, without a user or another path"
        )
    })?;
    url.set_path("/");
    Ok(url)
}

pub fn is_this_machine(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_matches(['[', ']']);
            host.ends_with(".localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_origin() {
        for (good, read) in [
            ("https://cloud.example.com", "https://cloud.example.com/"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
            ("http://127.0.0.1:8080/admin/", "http://127.0.0.1:8080/"),
            ("http://[::1]:80/admin", "http://[::1]/"),
            ("https://cloud.example.com/admin/apps/shop/settings", "https://cloud.example.com/"),
        ] {
            assert_eq!(parse_server(good).unwrap().as_str(), read, "{good}");
        }
        for bad in [
            "127.0.0.1:8080",
            "cloud.example.com",
            "ftp://a",
            "https://a/b",
            "https://a/admins",
            "https://a/admin/../b",
            "https://a/?b",
            "https://a/#b",
            "",
        ] {
            let error = parse_server(bad).expect_err(bad).to_string();
            assert!(error.contains(&format!("PICLOUD_SERVER, is {bad}: ")), "{error}");
        }
        for bad in ["https://ada:secret@a", "https://ada:secret@a/b", "ada:secret@a"] {
            let error = parse_server(bad).expect_err(bad).to_string();
            assert!(error.contains("PICLOUD_SERVER") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn only_loopback_is_this_machine() {
        for (url, here) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://admin.localhost", true),
            ("http://192.168.1.4", false),
            ("http://localhost.example.com", false),
            ("http://notlocalhost", false),
        ] {
            assert_eq!(is_this_machine(&url.parse().unwrap()), here, "{url}");
        }
    }
}
