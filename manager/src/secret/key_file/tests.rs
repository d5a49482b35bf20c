//! What becomes of a key file that is there, is not, or is another one.

use super::*;

#[test]
fn each_purpose_has_a_key_of_its_own_that_never_changes() {
    let key = SecretKey([7; 32]);
    let hex = |purpose| hex(key.derive(purpose).as_bytes());
    assert_eq!(hex(Purpose::AuditChain), "18d2c50d1a1ffc7bd713b70afc241972e7409b8e4191433540269c3daa4660bc");
    assert_eq!(hex(Purpose::CertificateKeys), "8d72f4eec73d964f934d63c940da1fac2b745c8bae3e5140edf49256064b0f14");
    assert_eq!(hex(Purpose::AppSecrets), "d6566b547a7414de3a106d211d74714e3ea76e2873c52083023ca7888ae8543d");
    assert_eq!(hex(Purpose::CallBodies), "929ada5a864da0fe8854dea908c01dcfd6feb58df71c8fe4417a9baecefe1198");
    assert_eq!(key.fingerprint(), "47c8307d47b2a7da5c8c92f688a9bbf8");
}

#[test]
fn a_made_file_is_for_its_owner_only_and_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/secret.key");
    let made = SecretKey::make(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
    assert!(SecretKey::read(&path).unwrap().is_some_and(|read| read.0 == made.0));
}

#[test]
fn the_next_key_is_for_whom_the_present_one_is_and_takes_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret.key");
    let present = SecretKey::make(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let next = SecretKey::make_next(&path).unwrap();
    assert!(SecretKey::matching(&path, &present.fingerprint()).is_ok(), "it counts for nothing yet");
    next.put_in_place(&path).unwrap();
    assert!(SecretKey::read(&path).unwrap().is_some_and(|read| read.0 == next.0));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    next.put_in_place(&path).unwrap();
    assert!(matches!(SecretKey::matching(&path, &present.fingerprint()), Err(KeyFileError::Other(_))));
}

#[test]
fn a_key_that_cannot_take_its_place_is_used_from_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret.key");
    SecretKey::make(&path).unwrap();
    let next = SecretKey::make_next(&path).unwrap();
    // As a file is that a container mounts: it can be read and not replaced. A directory cannot be replaced either.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let refused = next.put_in_place(&path).unwrap_err();
    assert!(refused.to_string().contains(&next.fingerprint()), "{refused}");
    assert!(path_of_next(&path, &next.fingerprint()).exists());
    let found = SecretKey::matching(&path, &next.fingerprint()).unwrap();
    assert_eq!(found.0, next.0);
    assert!(SecretKey::matching(&path, "another").is_err());
}

#[test]
fn where_a_link_leads_to_the_key_the_link_stays_and_the_key_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("kept/secret.key"), dir.path().join("secret.key"));
    SecretKey::make(&file).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let next = SecretKey::make_next(&link).unwrap();
    assert!(SecretKey::matching(&link, "another").is_err());
    // As after a power cut between the store's word and the file's.
    assert!(SecretKey::matching(&link, &next.fingerprint()).is_ok_and(|found| found.0 == next.0));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    for path in [&file, &link] {
        assert!(SecretKey::read(path).unwrap().is_some_and(|read| read.0 == next.0));
    }
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn a_link_that_leads_nowhere_is_told_with_its_target_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (file, middle, link) =
        (dir.path().join("usb/secret.key"), dir.path().join("middle"), dir.path().join("secret.key"));
    std::os::unix::fs::symlink("usb/secret.key", &middle).unwrap();
    std::os::unix::fs::symlink(&middle, &link).unwrap();
    let refused = SecretKey::read(&link).map(drop).unwrap_err();
    let words = refused.to_string();
    assert!(words.contains(link.to_str().unwrap()) && words.contains(file.to_str().unwrap()), "{words}");
    assert!(matches!(SecretKey::matching(&link, "any"), Err(KeyFileError::DanglingLink { .. })));
    let made = SecretKey::make(&file).unwrap();
    assert!(SecretKey::read(&link).unwrap().is_some_and(|read| read.0 == made.0), "once it is back, all is well");
}

#[test]
fn what_is_mounted_by_itself_is_known_before_a_key_is_made_for_its_place() {
    // A directory that is mounted on every Linux stands for a file that is mounted in a container.
    let refused = SecretKey::make_next(Path::new("/proc")).map(drop).unwrap_err();
    assert!(matches!(refused, KeyFileError::Mounted(_)), "{refused}");
    assert!(!is_mounted(tempfile::tempdir().unwrap().path()));
}

#[test]
fn what_holds_no_key_or_is_open_to_all_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret.key");
    assert!(SecretKey::read(&path).unwrap().is_none());
    for text in ["", "short", &"A".repeat(42), &"A".repeat(5000), &format!("{0}\n{0}", "A".repeat(43))] {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(SecretKey::read(&path), Err(KeyFileError::Malformed(_))), "{text}");
    }
    fs::write(&path, "A".repeat(43)).unwrap();
    assert!(SecretKey::read(&path).is_ok());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = SecretKey::read(&path).map(drop).unwrap_err();
    assert!(refused.to_string().contains("mode 644"), "{refused}");
}
