//! The directory of backups that are taken by themselves: whether it is there, and whether who serves may write to it, in the unit's
//! sandbox too.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use picloud_shared::doctor::{Check, quoted};
use rustix::fs::StatVfsMountFlags;

const ABOUT: &str = "backup";

pub fn look(dir: &Path, secret_key: &Path, serving: Option<u32>) -> Option<Check> {
    let dir = std::path::absolute(dir).ok()?;
    let process = serving.map(|pid| Path::new("/proc").join(pid.to_string()));
    // The files as the running service has them, where this user may see that.
    let root = process.as_ref().map(|process| process.join("root")).filter(|root| root.join(".").is_dir());
    // Whoever serves, or owns the key that the server reads.
    let user = fs::metadata(process.as_deref().unwrap_or(secret_key));
    Some(of_dir(&dir, root.as_deref(), user.ok().map(|user| (user.uid(), user.gid()))))
}

fn of_dir(dir: &Path, root: Option<&Path>, user: Option<(u32, u32)>) -> Check {
    let seen = |path: &Path| match root {
        Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    };
    let place = dir.display();
    let (there, found) = match nearest(dir, seen) {
        Ok(nearest) => nearest,
        Err(error) => {
            let fix = "look again as root: sudo picloud doctor";
            return Check::warning(ABOUT, format!("{place} cannot be looked at: {error}"), fix);
        }
    };
    let owner = user.map_or("picloud".to_owned(), |(uid, _)| uid.to_string());
    if rustix::fs::statvfs(seen(&there)).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        let fix = format!(
            "if it is the unit that keeps it so: sudo systemctl edit picloud, with the lines [Service] and ReadWritePaths=-{place}, and restart \
             it; else have the disk mounted to be written to"
        );
        return Check::wrong(ABOUT, format!("{place} cannot be written to: there, all is read-only"), fix);
    }
    let may = user.is_none_or(|(uid, gid)| may_write(&found, uid, gid));
    match (there == dir, found.is_dir() && may) {
        (true, true) => Check::ok(ABOUT, format!("they go to {place}")),
        (false, true) => Check::ok(ABOUT, format!("they go to {place}, which is made for the first")),
        (true, false) => Check::wrong(
            ABOUT,
            format!("{place} is no folder that the user with the number {owner} may write to"),
            format!("sudo chown {owner} {}, or name another by backup_dir", quoted(dir)),
        ),
        (false, false) => Check::wrong(
            ABOUT,
            format!("{place} is not there, and the user with the number {owner} may not make it"),
            format!("mount what it is on, or make it: sudo install -d -m 700 -o {owner} {}", quoted(dir)),
        ),
    }
}

/// The path, or what is there of it.
fn nearest(path: &Path, seen: impl Fn(&Path) -> PathBuf) -> Result<(PathBuf, Metadata), std::io::Error> {
    for above in path.ancestors() {
        match fs::metadata(seen(above)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => return found.map(|found| (above.to_owned(), found)),
        }
    }
    Err(ErrorKind::NotFound.into())
}

/// Whether that user may make files in a folder, going by its mode. Root may.
fn may_write(folder: &Metadata, uid: u32, gid: u32) -> bool {
    let shift = match (folder.uid() == uid, folder.gid() == gid) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    uid == 0 || (folder.mode() >> shift) & 0o3 == 0o3
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use picloud_shared::doctor::CheckState;

    use super::*;

    #[test]
    fn a_folder_that_is_missing_or_not_the_services_is_told_with_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        let own = fs::metadata(home.path()).unwrap();
        let (me, other) = ((4711, own.gid() + 1), (4712, own.gid() + 1));
        let set = |mode| fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
        let (dir, file) = (home.path().join("to/be"), home.path().join("file"));
        fs::write(&file, "").unwrap();
        let state = |dir: &Path, user| of_dir(dir, None, Some(user)).state;
        set(0o777);
        assert_eq!((state(&dir, me), state(home.path(), other)), (CheckState::Ok, CheckState::Ok));
        assert_eq!(state(&file, (0, 0)), CheckState::Wrong, "root makes no folder of a file either");
        set(0o755);
        for (dir, word) in [(&*dir, "install -d -m 700 -o 4711"), (home.path(), "chown 4711")] {
            let found = of_dir(dir, None, Some(me));
            assert!(found.state == CheckState::Wrong && found.fix.as_ref().unwrap().contains(word), "{found:?}");
        }
        assert_eq!(state(home.path(), (own.uid(), own.gid())), CheckState::Ok);
        // As a process has it whose root is elsewhere.
        assert_eq!(of_dir(Path::new("/"), Some(home.path()), Some(me)).state, CheckState::Wrong);
        set(0o777);
        assert_eq!(of_dir(Path::new("/"), Some(home.path()), Some(me)).state, CheckState::Ok);
    }
}
