//! One `set-cookie` line from a name, a value and options (RFC 6265, 4.1.1).

use std::fmt::Write;

use rhai::{Dynamic, Map};

/// Formats a cookie. It is for the whole host (`Path=/`), unreadable to the page's scripts (`HttpOnly`) and not sent with
/// other sites' requests (`SameSite=Lax`) unless the options say otherwise: `path`, `domain`, `max_age` in seconds,
/// `expires`, `secure`, `http_only`, `same_site`.
///
/// # Errors
/// A text for the script's author: characters that a cookie cannot hold, an unknown option, or one of the wrong type.
pub fn format(name: &str, value: &str, options: &Map) -> Result<String, String> {
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err("a cookie's name is letters, digits and any of !#$%&'*+-.^_`|~".to_owned());
    }
    if !value.bytes().all(is_cookie_octet) {
        return Err(
            "a cookie's value holds no spaces, quotes, commas, semicolons, backslashes, control characters or \
                    characters beyond ASCII; encode it first"
                .to_owned(),
        );
    }
    let (mut path, mut http_only, mut same_site, mut secure) = ("/".to_owned(), true, "Lax".to_owned(), false);
    let mut rest = String::new();
    for (option, given) in options {
        match option.as_str() {
            "path" => path = attribute(option, given)?,
            "domain" => push(&mut rest, "Domain", &attribute(option, given)?),
            "expires" => push(&mut rest, "Expires", &attribute(option, given)?),
            "max_age" => {
                let seconds = given.as_int().map_err(|_| "a cookie's max_age is an integer of seconds".to_owned())?;
                push(&mut rest, "Max-Age", &seconds.to_string());
            }
            "http_only" => http_only = flag(option, given)?,
            "secure" => secure = flag(option, given)?,
            "same_site" => same_site = site(&attribute(option, given)?)?.to_owned(),
            other => {
                let known = "path, domain, max_age, expires, secure, http_only and same_site";
                return Err(format!("a cookie has no option {other:?}; there are {known}"));
            }
        }
    }
    if same_site == "None" && !secure {
        return Err("a cookie with same_site \"none\" must also be secure, or browsers drop it".to_owned());
    }
    let mut line = format!("{name}={value}; Path={path}{rest}");
    line.push_str(if secure { "; Secure" } else { "" });
    line.push_str(if http_only { "; HttpOnly" } else { "" });
    push(&mut line, "SameSite", &same_site);
    Ok(line)
}

fn push(line: &mut String, attribute: &str, value: &str) {
    write!(line, "; {attribute}={value}").expect("writing into a String cannot fail");
}

fn attribute(option: &str, given: &Dynamic) -> Result<String, String> {
    let text = given.as_immutable_string_ref().map_err(|_| format!("a cookie's {option} is a string"))?;
    if text.bytes().any(|byte| byte == b';' || !(b' '..0x7f).contains(&byte)) {
        return Err(format!("a cookie's {option} holds no semicolons and no control characters"));
    }
    Ok(text.as_str().to_owned())
}

fn flag(option: &str, given: &Dynamic) -> Result<bool, String> {
    given.as_bool().map_err(|_| format!("a cookie's {option} is true or false"))
}

fn site(text: &str) -> Result<&'static str, String> {
    ["Strict", "Lax", "None"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(text))
        .ok_or_else(|| "a cookie's same_site is \"strict\", \"lax\" or \"none\"".to_owned())
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: impl IntoIterator<Item = (&'static str, Dynamic)>) -> Map {
        pairs.into_iter().map(|(key, value)| (key.into(), value)).collect()
    }

    #[test]
    fn a_cookie_is_for_the_whole_host_and_hidden_from_pages_unless_told_otherwise() {
        assert_eq!(format("a", "1", &Map::new()).unwrap(), "a=1; Path=/; HttpOnly; SameSite=Lax");
        let all = options([
            ("path", "/x".into()),
            ("domain", "example.com".into()),
            ("max_age", 60_i64.into()),
            ("http_only", false.into()),
            ("secure", true.into()),
            ("same_site", "none".into()),
        ]);
        let expected = "a=1; Path=/x; Domain=example.com; Max-Age=60; Secure; SameSite=None";
        assert_eq!(format("a", "1", &all).unwrap(), expected);
    }

    #[test]
    fn nothing_can_be_smuggled_into_the_line() {
        for (name, value) in [("", "1"), ("a b", "1"), ("a=b", "1"), ("ä", "1"), ("a", "1; Secure"), ("a", "1\r\nx: y")]
        {
            assert!(format(name, value, &Map::new()).is_err(), "{name} {value}");
        }
        for bad in [
            ("path", Dynamic::from("/; Domain=evil.example")),
            ("domain", "a\r\nb".into()),
            ("same_site", "maybe".into()),
            ("same_site", "none".into()),
            ("secure", 1_i64.into()),
            ("max_age", "60".into()),
            ("maxage", 60_i64.into()),
        ] {
            assert!(format("a", "1", &options([bad.clone()])).is_err(), "{bad:?}");
        }
    }
}
