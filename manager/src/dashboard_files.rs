//! The dashboard's files, as `npm run build` leaves them in `dashboard/build`, each also compressed. An optimised binary
//! holds them; any other reads them from there at each request, so that work on the dashboard builds no Rust. It knows what
//! each file is, and nothing of requests.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rust_embed::{Embed, EmbeddedFile};
use sha2::{Digest, Sha256};

use crate::hex::hex;

#[derive(Embed)]
#[folder = "../dashboard/build"]
#[allow_missing = true]
struct Build;

/// The page that every address of the dashboard gets; its scripts read the address.
const PAGE: &str = "index.html";

/// What lies below is named by its content, and never changes.
const IMMUTABLE: &str = "_app/immutable/";

/// A form that a file is kept in, by its name in HTTP (RFC 9110, 8.4.1) and the ending of its own file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coding {
    pub name: &'static str,
    ending: &'static str,
}

/// The smallest first.
pub(crate) const CODINGS: [Coding; 2] = [Coding { name: "br", ending: ".br" }, Coding { name: "gzip", ending: ".gz" }];

/// A file in one of its forms.
pub(crate) struct DashboardFile {
    pub bytes: Cow<'static, [u8]>,
    pub media_type: &'static str,
    pub coding: Option<Coding>,
    /// Names these very bytes.
    pub digest: String,
    pub is_immutable: bool,
}

/// Where the files come from.
#[derive(Clone, Copy)]
pub(crate) struct DashboardFiles(fn(&str) -> Option<EmbeddedFile>);

impl DashboardFiles {
    pub(crate) fn new() -> Self {
        Self(Build::get)
    }

    /// The file of this path below `/admin/`, in the first of its forms that is accepted, or else as it is.
    pub(crate) fn find(self, path: &str, accepts: impl Fn(&str) -> bool) -> Option<DashboardFile> {
        // Where files are read from disk, the system would follow such segments.
        if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return None;
        }
        let media_type = media_type(path)?;
        // A compressed form is kept only where it is smaller.
        let coded = CODINGS.into_iter().filter(|coding| accepts(coding.name));
        let mut coded = coded.filter_map(|coding| Some((self.0(&format!("{path}{}", coding.ending))?, Some(coding))));
        let (file, coding) = coded.next().or_else(|| Some((self.0(path)?, None)))?;
        let digest = hex(&file.metadata.sha256_hash());
        Some(DashboardFile { bytes: file.data, media_type, coding, digest, is_immutable: path.starts_with(IMMUTABLE) })
    }

    /// The page, in a form that is accepted; `None` in a build without the dashboard.
    pub(crate) fn page(self, accepts: impl Fn(&str) -> bool) -> Option<DashboardFile> {
        self.find(PAGE, accepts)
    }

    /// What a Content-Security-Policy calls the scripts that stand in the page itself: `'sha256-…'` of each.
    pub(crate) fn inline_scripts(self) -> Vec<String> {
        let page = self.0(PAGE).map(|file| file.data).unwrap_or_default();
        let page = String::from_utf8_lossy(&page);
        let scripts = page.split("<script").skip(1).filter_map(|rest| rest.split_once('>'));
        let inline = scripts.filter(|(attributes, _)| !attributes.contains("src="));
        let texts = inline.filter_map(|(_, rest)| rest.split_once("</script>"));
        texts.map(|(text, _)| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))).collect()
    }
}

/// What a file is, by its name's ending; `None` for what is not to be asked for, such as a compressed form by its own name.
fn media_type(path: &str) -> Option<&'static str> {
    let (_, ending) = path.rsplit_once('.')?;
    Some(match ending {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" => "application/json",
        "md" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[derive(Embed)]
    #[folder = "tests/dashboard"]
    struct Small;

    #[derive(Embed)]
    #[folder = "tests/no_dashboard"]
    #[allow_missing = true]
    struct Absent;

    /// A dashboard of three files.
    pub(crate) const SMALL: DashboardFiles = DashboardFiles(Small::get);
    /// A build without one.
    pub(crate) const ABSENT: DashboardFiles = DashboardFiles(Absent::get);

    const SCRIPT: &str = "_app/immutable/start.js";

    #[test]
    fn the_smallest_form_that_is_accepted_is_found() {
        let form = |accepted: &[&str]| {
            let file = SMALL.find(SCRIPT, |coding| accepted.contains(&coding)).unwrap();
            (file.coding.map(|coding| coding.name), String::from_utf8(file.bytes.into_owned()).unwrap())
        };
        assert_eq!(form(&["gzip", "br"]), (Some("br"), "as brotli\n".to_owned()));
        assert_eq!(form(&["gzip"]), (Some("gzip"), "as gzip\n".to_owned()));
        assert_eq!(form(&["zstd"]), (None, "start();\n".to_owned()));
        assert_eq!(SMALL.find("favicon.svg", |_| true).unwrap().coding, None, "it has no other form");
    }

    #[test]
    fn what_is_named_by_its_content_is_immutable() {
        assert!(SMALL.find(SCRIPT, |_| false).unwrap().is_immutable);
        assert!(!SMALL.page(|_| false).unwrap().is_immutable);
    }

    #[test]
    fn nothing_but_the_files_by_their_own_names_is_found() {
        for path in [
            "",
            "_app",
            "nothing.js",
            "_app/immutable/start.js.br",
            "../Cargo.toml",
            "../dashboard/index.html",
            "../../src/lib.rs",
            "/etc/passwd",
            "_app/../../tests/dashboard/favicon.svg",
        ] {
            assert!(SMALL.find(path, |_| false).is_none(), "{path}");
        }
    }

    #[test]
    fn scripts_of_the_page_are_named_by_their_digests_and_files_are_not() {
        // The digests are those of `printf %s TEXT | openssl dgst -sha256 -binary | base64`.
        assert_eq!(
            SMALL.inline_scripts(),
            [
                "'sha256-fDYmfWjvur9AxjhDbjHe6RvExc05MbXhhrbgz2vvy/A='",
                "'sha256-g0Qtcq42k5LfngamgpIFCT3vMS7tn6OlT+HpbdBqiPs='"
            ]
        );
        assert!(ABSENT.inline_scripts().is_empty() && ABSENT.page(|_| true).is_none());
    }
}
