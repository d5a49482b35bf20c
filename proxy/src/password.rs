//! Passwords that commands are given on standard input: only where `--password-stdin` says that there is one, for what is there
//! otherwise is somebody else's, such as the rest of a script that a shell reads.

use std::io::{self, BufRead};

use anyhow::{Context, bail};

/// Longer than any password; whatever is piped in beyond it is no password.
const MAX_BYTES: u64 = 4096;

/// The password on standard input: its first line, without the end of it.
///
/// # Errors
/// It cannot be read, is no text, or is too long to be a password.
pub fn read() -> anyhow::Result<String> {
    first_line(io::stdin().lock())
}

fn first_line(input: impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    let bytes = input.take(MAX_BYTES + 1).read_line(&mut line).context("cannot read the password")?;
    if bytes as u64 > MAX_BYTES {
        bail!("the first line on standard input has more than {MAX_BYTES} bytes, and is no password");
    }
    let password = line.strip_suffix('\n').unwrap_or(&line);
    Ok(password.strip_suffix('\r').unwrap_or(password).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line() {
        let read = |input: &str| first_line(input.as_bytes()).map_err(|error| error.to_string());
        for input in ["secret", "secret\n", "secret\r\n", "secret\nuser: ada\nurl: cloud.example.com\n"] {
            assert_eq!(read(input), Ok("secret".to_owned()), "{input:?}");
        }
        assert_eq!(read(" a b \n"), Ok(" a b ".to_owned()), "blanks are part of it");
        assert_eq!(read(""), Ok(String::new()));
        let longest = "a".repeat(4096);
        assert_eq!(read(&longest), Ok(longest.clone()));
        assert!(read(&format!("{longest}b")).is_err_and(|said| said.contains("more than 4096 bytes")));
        assert!(first_line(&b"\xff\n"[..]).is_err());
    }
}
