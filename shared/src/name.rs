//! Names that people choose, each a type with one parser and an error that says what is allowed.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $Name:ident, $Invalid:ident, $message:literal, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $Name(Arc<str>);

        #[doc = concat!("A text that is not a valid [`", stringify!($Name), "`].")]
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[error($message)]
        pub struct $Invalid;

        impl $Name {
            /// The name's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $Name {
            type Err = $Invalid;

            fn from_str(text: &str) -> Result<Self, $Invalid> {
                let parse: fn(&str) -> Option<String> = $parse;
                parse(text).map(|name| Self(name.into())).ok_or($Invalid)
            }
        }

        impl TryFrom<String> for $Name {
            type Error = $Invalid;

            fn try_from(text: String) -> Result<Self, $Invalid> {
                text.parse()
            }
        }

        impl From<$Name> for String {
            fn from(name: $Name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Borrow<str> for $Name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// An app's short name in addresses: a DNS label.
    AppSlug, InvalidAppSlug,
    "a slug is 1 to 63 of a-z, 0-9 and -, and neither begins nor ends with -; a UUID is not a slug",
    |text| {
        let label = (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        // Addresses take an id or a slug in one place, so one must not pass for the other.
        (label && uuid::Uuid::parse_str(text).is_err()).then(|| text.to_owned())
    }
}

name! {
    /// What people call an app.
    AppName, InvalidAppName,
    "a name is 1 to 100 characters without control characters",
    display_text::<100>
}

name! {
    /// What a user calls an API key.
    KeyName, InvalidKeyName,
    "a key's name is 1 to 100 characters without control characters",
    display_text::<100>
}

name! {
    /// A script's name, unique within its app; modules are imported by it.
    ScriptName, InvalidScriptName,
    "a script's name is 1 to 63 of a-z, 0-9, _ and -, and begins with a letter or a digit",
    plain_name
}

name! {
    /// The name of a collection of an app's data.
    CollectionName, InvalidCollectionName,
    "a collection's name is 1 to 63 of a-z, 0-9, _ and -, and begins with a letter or a digit",
    plain_name
}

name! {
    /// The name of a setting or of a secret of an app, as those of environments are.
    SettingName, InvalidSettingName,
    "a name is 1 to 64 of A-Z, a-z, 0-9, _, . and -, and begins with a letter or _",
    |text| {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let rest = bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        (first && rest && text.len() <= 64).then(|| text.to_owned())
    }
}

name! {
    /// The name of a queue of an app's.
    QueueName, InvalidQueueName,
    "a queue's name is 1 to 63 of a-z, 0-9, _ and -, and begins with a letter or a digit",
    plain_name
}

name! {
    /// A user's name, folded to lower case.
    Username, InvalidUsername,
    "a username is 2 to 64 of a-z, 0-9, ., _ and -",
    |text| {
        let name = text.to_ascii_lowercase();
        let allowed = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        (allowed && (2..=64).contains(&name.len())).then_some(name)
    }
}

name! {
    /// An e-mail address. Only its outline is checked: whether mail arrives is known by sending some.
    Email, InvalidEmail,
    "an email has one @ with text before it and a domain after it, and at most 254 bytes",
    |text| {
        let (local, domain) = text.split_once('@')?;
        let outline = !local.is_empty()
            && !domain.is_empty()
            && !domain.contains('@')
            && text.len() <= 254
            && !text.chars().any(|c| c.is_whitespace() || c.is_control());
        outline.then(|| text.to_owned())
    }
}

fn plain_name(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    (first && rest && text.len() <= 63).then(|| text.to_owned())
}

fn display_text<const MAX: usize>(text: &str) -> Option<String> {
    let text = text.trim();
    let shown = !text.is_empty() && text.chars().count() <= MAX && !text.chars().any(char::is_control);
    shown.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_dns_labels_and_never_ids() {
        for good in ["a", "shop", "my-shop-2", &"x".repeat(63)] {
            assert!(good.parse::<AppSlug>().is_ok(), "{good}");
        }
        let uuid = "0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a";
        for bad in ["", "-a", "a-", "Shop", "a_b", "a.b", "é", uuid, &"x".repeat(64)] {
            assert!(bad.parse::<AppSlug>().is_err(), "{bad}");
        }
    }

    #[test]
    fn script_names_begin_with_a_letter_or_digit() {
        for good in ["a", "0", "hello_world-2"] {
            assert!(good.parse::<ScriptName>().is_ok(), "{good}");
        }
        for bad in ["", "_a", "-a", "A", "a/b", "a b", &"x".repeat(64)] {
            assert!(bad.parse::<ScriptName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_settings_begin_with_a_letter_or_an_underscore_and_keep_their_case() {
        for good in ["a", "_", "STRIPE_KEY", "smtp.host-2", &"x".repeat(64)] {
            assert_eq!(good.parse::<SettingName>().unwrap().as_str(), good);
        }
        for bad in ["", "1a", "-a", ".", "..", "a b", "a/b", "a\0", "é", &"x".repeat(65)] {
            assert!(bad.parse::<SettingName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn usernames_fold_case() {
        assert_eq!("Ada.L".parse::<Username>().unwrap().as_str(), "ada.l");
        for bad in ["a", "", "a b", "é", &"x".repeat(65)] {
            assert!(bad.parse::<Username>().is_err(), "{bad}");
        }
    }

    #[test]
    fn display_names_are_trimmed_and_hold_no_control_characters() {
        assert_eq!("  My shop ".parse::<AppName>().unwrap().as_str(), "My shop");
        for bad in ["", "   ", "a\nb", &"x".repeat(101)] {
            assert!(bad.parse::<AppName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn serde_goes_through_the_parser() {
        assert!(serde_json::from_str::<AppSlug>("\"Not A Slug\"").is_err());
        assert_eq!(serde_json::from_str::<AppSlug>("\"ok\"").unwrap().as_str(), "ok");
    }
}
