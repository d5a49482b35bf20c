//! Who may read the data folder and the keys, and whose they are.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use picloud_manager::doctor::files_of;
use picloud_shared::doctor::{Check, quoted};

use crate::config::Config;

const ABOUT: &str = "permissions";
/// The rights of everybody but the owner, and of everybody who is not in the group either.
const OF_OTHERS: u32 = 0o077;
const OF_ALL: u32 = 0o007;

pub fn look(config: &Config) -> Vec<Check> {
    let mut checks = folder(&config.data_dir, &config.secret_key_file);
    checks.extend(config.certificates.iter().filter_map(|files| exposed_key(&files.key)));
    checks
}

fn mode(file: &Metadata) -> u32 {
    file.permissions().mode() & 0o777
}

fn folder(dir: &Path, secret_key: &Path) -> Vec<Check> {
    let place = dir.display();
    let found = match fs::metadata(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return vec![Check::ok(ABOUT, format!("{place} is not there yet: the first start makes it"))];
        }
        Err(error) => return vec![hidden(dir, &error)],
    };
    let files = match files_of(dir) {
        Ok(files) => files,
        Err(error) => return vec![hidden(dir, &error)],
    };
    let mut checks = Vec::new();
    if mode(&found) & OF_OTHERS != 0 {
        let text = format!("{place} can be entered by others (mode {:03o}), who may read what apps keep", mode(&found));
        checks.push(Check::wrong(ABOUT, text, format!("chmod 700 {}", quoted(dir))));
    }
    // The key has a check of its own: a group may be let in to it on purpose.
    let files = files.into_iter().filter(|file| file != secret_key);
    let files: Vec<_> = files.filter_map(|file| Some((fs::symlink_metadata(&file).ok()?, file))).collect();
    for (metadata, file) in files.iter().filter(|(metadata, _)| mode(metadata) & OF_OTHERS != 0) {
        let text = format!("{} can be read by others (mode {:03o})", file.display(), mode(metadata));
        checks.push(Check::wrong(ABOUT, text, format!("chmod 600 {}", quoted(file))));
    }
    let key = fs::metadata(secret_key).ok().map(|metadata| (metadata, secret_key.to_owned()));
    for (metadata, file) in files.iter().chain(&key).filter(|(metadata, _)| metadata.uid() != found.uid()) {
        let text = format!(
            "{} is the user's with the number {}, and the data folder is {}'s: one of both cannot be used",
            file.display(),
            metadata.uid(),
            found.uid()
        );
        // What a link leads to whoever owns the folder has chosen: no command gives that away.
        let fix = match file.is_symlink() {
            true => format!("let what it leads to be the user's with the number {}", found.uid()),
            false => format!("sudo chown -h {} {}", found.uid(), quoted(file)),
        };
        checks.push(Check::wrong(ABOUT, text, fix));
    }
    if checks.is_empty() {
        checks.push(Check::ok(ABOUT, format!("{place} and its {} files are their owner's alone", files.len())));
    }
    checks
}

fn hidden(dir: &Path, error: &io::Error) -> Check {
    let fix = "look again as the user that serves: sudo -u picloud picloud doctor";
    Check::warning(ABOUT, format!("{} cannot be looked into: {error}", dir.display()), fix)
}

/// What there is to say of a certificate's key that everybody may read.
fn exposed_key(key: &Path) -> Option<Check> {
    let found = fs::metadata(key).ok()?;
    (mode(&found) & OF_ALL != 0).then(|| {
        let text = format!("{} can be read by everybody on this machine (mode {:03o})", key.display(), mode(&found));
        Check::wrong(ABOUT, text, format!("chmod o= {}", quoted(key)))
    })
}

#[cfg(test)]
mod tests {
    use picloud_shared::doctor::CheckState;

    use super::*;

    #[test]
    fn what_others_may_read_is_told_file_by_file() {
        let dir = tempfile::tempdir().unwrap();
        let (db, key) = (dir.path().join("main.db"), dir.path().join("secret.key"));
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for path in [&db, &key] {
            fs::write(path, "").unwrap();
            set(path, 0o600);
        }
        set(dir.path(), 0o700);
        let states = || folder(dir.path(), &key).iter().map(|check| check.state).collect::<Vec<_>>();
        assert_eq!(states(), [CheckState::Ok]);
        set(&key, 0o640);
        assert_eq!(states(), [CheckState::Ok], "a group may be let in to the key");
        set(&db, 0o604);
        set(dir.path(), 0o755);
        let found = folder(dir.path(), &key);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[1].fix, Some(format!("chmod 600 {}", db.display())));
        assert_eq!(exposed_key(&key), None);
        set(&key, 0o644);
        assert!(exposed_key(&key).is_some());
        set(dir.path(), 0o700);
        set(&db, 0o600);
        // Of what is elsewhere nothing is told that one would do to it.
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("elsewhere")).unwrap();
        assert_eq!(states(), [CheckState::Ok]);
    }
}
