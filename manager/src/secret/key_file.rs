//! The instance's secret key: one file beside the database, from which each purpose gets a key of its own.
//!
//! Whoever has a copy of the database alone can read no secret in it and forge no audit row. The store keeps the key's
//! fingerprint, so that a start with another key, or with none, is refused before anything is read or written by it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use sha2::Sha256;

use crate::hex::hex;
use crate::repo::{RepoError, config};
use crate::store::{Conn, Store};

/// Longer than any key file; what goes on beyond is none.
const MAX_FILE_BYTES: u64 = 4096;
/// Links that lead on to one another: as many as Linux follows.
const MOST_LINKS: usize = 40;
/// Bytes of the fingerprint: enough to tell keys apart, and it tells nothing of them.
const FINGERPRINT_BYTES: usize = 16;

/// The instance's secret key: 32 random bytes. It has neither `Debug` nor `Display`.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

/// What a key is derived for. A key of one purpose says nothing about that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The chain of the audit log.
    AuditChain,
    /// The private keys of certificates and of accounts with certificate authorities.
    CertificateKeys,
    /// The secrets of apps.
    AppSecrets,
    /// What tells the bodies of calls apart whose answers are kept.
    CallBodies,
    /// The key pair by which nodes know each other.
    Nodes,
    /// The seal over a backup.
    Backups,
}

impl Purpose {
    /// What HKDF is told. It never changes: what was made by the key could not be read any more.
    const fn info(self) -> &'static str {
        match self {
            Self::AuditChain => "picloud audit chain 1",
            Self::CertificateKeys => "picloud certificate keys 1",
            Self::AppSecrets => "picloud app secrets 1",
            Self::CallBodies => "picloud call bodies 1",
            Self::Nodes => "picloud nodes 1",
            Self::Backups => "picloud backups 1",
        }
    }
}

/// A key for one purpose. It has neither `Debug` nor `Display`.
pub struct DerivedKey([u8; 32]);

impl DerivedKey {
    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Why the secret key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The store was made with a key that is not there.
    #[error(
        "the key file {} is not there, and this store was made with one: put it back, or name its place by \
         PICLOUD_SECRET_KEY_FILE; every node of an instance needs a copy of it",
        .0.display()
    )]
    Missing(PathBuf),
    /// The store has another key.
    #[error(
        "the key in {} is not this store's: where it was replaced (picloud admin rotate-key), copy the file from the node that \
         did so; else put the one in its place that the store was made with, or name its place by PICLOUD_SECRET_KEY_FILE",
        .0.display()
    )]
    Other(PathBuf),
    /// The file holds no key.
    #[error("{} holds no key: a key file is one line of 43 characters of URL-safe base64", .0.display())]
    Malformed(PathBuf),
    /// Everybody on this machine can read the key.
    #[error("{} can be read by everybody on this machine (mode {mode:03o}): chmod 600 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file cannot be read or made.
    #[error("the key file {} cannot be used: {source}", path.display())]
    Files {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A link leads to no file.
    #[error(
        "{} is a link to {}, which is not there: put the key back there, or mount what it is on; no key is made in its place",
        link.display(), target.display()
    )]
    DanglingLink {
        /// The link.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// The file is mounted by itself, so that no other can take its place.
    #[error(
        "{} is mounted by itself, as a container's secret is, so that no new key can take its place and stay: mount the directory \
         that it is in, or a copy of the file in one that stays, and do this again",
        .0.display()
    )]
    Mounted(PathBuf),
    /// The store has taken a new key, whose file cannot replace the old one.
    #[error("the store has the key in {} now, but that file cannot replace {}: {source}; do so by hand", next.display(), path.display())]
    NotInPlace {
        /// Where the key is.
        next: PathBuf,
        /// Where it should be.
        path: PathBuf,
        /// Why it is not.
        source: io::Error,
    },
    /// The store does not say which key it was made with.
    #[error("the store does not tell which key it was made with")]
    Store(#[from] RepoError),
}

impl SecretKey {
    /// A fresh key from the operating system's seeded generator.
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// A key of these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for who seals it.
    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key that the store was made with. A store that has none yet takes the one in the file, and where there is no
    /// file makes one that nobody else may read.
    ///
    /// # Errors
    /// A file that is absent, of another store, exposed or unreadable; a store that does not answer.
    pub async fn open(store: &Store, path: &Path) -> Result<Self, KeyFileError> {
        let known = config::key_fingerprint(&mut store.read().await?).await?;
        if let Some(fingerprint) = known {
            return Self::matching(path, &fingerprint);
        }
        // Nodes that start at once on an empty store go through here one after the other.
        let mut tx = store.begin().await?;
        if let Some(fingerprint) = config::key_fingerprint(&mut tx).await? {
            return Self::matching(path, &fingerprint);
        }
        let key = match Self::read(path)? {
            Some(key) => key,
            None => Self::make(path).map_err(|source| KeyFileError::Files { path: path.to_owned(), source })?,
        };
        config::set_key_fingerprint(&mut tx, &key.fingerprint()).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// The key of that fingerprint in that file, or beside it where it is about to replace the one there.
    ///
    /// # Errors
    /// It is not there, or cannot be used.
    pub(crate) fn matching(path: &Path, fingerprint: &str) -> Result<Self, KeyFileError> {
        let (key, is_next) = Self::found(path, fingerprint)?;
        // The key was being replaced, and the store has taken the new one.
        if is_next && let Err(error) = key.put_in_place(path) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the key is used from where it is");
        }
        Ok(key)
    }

    /// The same key, and all is left as it is: for whom the fingerprint is not the store's, or not theirs to act on.
    ///
    /// # Errors
    /// As [`SecretKey::matching`].
    pub(crate) fn find(path: &Path, fingerprint: &str) -> Result<Self, KeyFileError> {
        Self::found(path, fingerprint).map(|(key, _)| key)
    }

    /// The key of that fingerprint, and whether it stands beside the file.
    fn found(path: &Path, fingerprint: &str) -> Result<(Self, bool), KeyFileError> {
        let is_it = |key: &Self| key.fingerprint() == fingerprint;
        let refused = match Self::read(path) {
            Ok(Some(key)) if is_it(&key) => return Ok((key, false)),
            Ok(Some(_)) => KeyFileError::Other(path.to_owned()),
            Ok(None) => KeyFileError::Missing(path.to_owned()),
            // What is of no use keeps no key beside it from being found.
            Err(error) => error,
        };
        let key = Self::read(&path_of_next(path, fingerprint))?.filter(is_it).ok_or(refused)?;
        Ok((key, true))
    }

    /// Looks whether the key in a file is the one of that fingerprint, and leaves all as it is.
    ///
    /// # Errors
    /// As [`SecretKey::open`].
    pub(crate) fn look(path: &Path, fingerprint: &str) -> Result<(), KeyFileError> {
        match Self::read(path)? {
            Some(key) if key.fingerprint() == fingerprint => Ok(()),
            // It is being replaced, and the next start finishes that.
            _ if matches!(Self::read(&path_of_next(path, fingerprint)), Ok(Some(_))) => Ok(()),
            Some(_) => Err(KeyFileError::Other(path.to_owned())),
            None => Err(KeyFileError::Missing(path.to_owned())),
        }
    }

    /// A fresh key in a file of its own beside that of the present one, with the same owner and permissions. It counts once
    /// the store has its fingerprint: then [`SecretKey::open`] finds it there.
    ///
    /// # Errors
    /// The file cannot be made, or could not take the place of the present one.
    pub(crate) fn make_next(path: &Path) -> Result<Self, KeyFileError> {
        let key = Self::generate();
        key.stand_by(path)?;
        Ok(key)
    }

    /// Puts this key beside the present one, if there is one, as [`SecretKey::make_next`] does with a fresh one.
    ///
    /// # Errors
    /// As [`SecretKey::make_next`].
    pub(crate) fn stand_by(&self, path: &Path) -> Result<(), KeyFileError> {
        if is_mounted(path) {
            return Err(KeyFileError::Mounted(path.to_owned()));
        }
        let next = path_of_next(path, &self.fingerprint());
        let write = || -> io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir_of(path))?;
            // Whoever runs the command may be root, who does not serve: the owner of the directory is taken for who does.
            let like = fs::metadata(path).or_else(|_| fs::metadata(dir_of(path)))?;
            self.write(&next, Some(&like))
        };
        write().map_err(|source| KeyFileError::Files { path: next.clone(), source })
    }

    /// Keeps the key that is in the file under another name beside it, once another replaces it.
    ///
    /// # Errors
    /// It cannot be.
    pub(crate) fn keep_aside(path: &Path, word: &str) -> Result<PathBuf, KeyFileError> {
        let (file, kept) = (followed(path), path.with_added_extension(word));
        match fs::hard_link(&file, &kept) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                Err(KeyFileError::Files { path: kept, source })
            }
            _ => Ok(kept),
        }
    }

    /// Has this key, made by [`SecretKey::make_next`] and taken by the store, replace the one before.
    ///
    /// # Errors
    /// The file cannot be replaced; the key goes on to be found where it is.
    pub(crate) fn put_in_place(&self, path: &Path) -> Result<(), KeyFileError> {
        let next = path_of_next(path, &self.fingerprint());
        match fs::rename(&next, followed(path)).and_then(|()| sync_dir(&next)) {
            // Another process was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !next.exists() => Ok(()),
            Err(source) => Err(KeyFileError::NotInPlace { next, path: path.to_owned(), source }),
            Ok(()) => Ok(()),
        }
    }

    /// Forgets a key that was made to be the next and that no store has taken.
    pub(crate) fn discard_next(&self, path: &Path) {
        // It is of no use to anybody where it stays.
        let _ = fs::remove_file(path_of_next(path, &self.fingerprint()));
    }

    /// The key in a file; `None` where there is no file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, KeyFileError> {
        let failed = |source| KeyFileError::Files { path: path.to_owned(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let target = followed(path);
                if target == path {
                    return Ok(None);
                }
                return Err(KeyFileError::DanglingLink { link: path.to_owned(), target });
            }
            opened => opened.map_err(failed)?,
        };
        let metadata = file.metadata().map_err(failed)?;
        let mode = metadata.permissions().mode() & 0o777;
        // A group may be let in on purpose: it is how containers are given secrets.
        if mode & 0o007 != 0 {
            return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
        }
        let text = io::read_to_string(io::Read::take(file, MAX_FILE_BYTES)).map_err(failed)?;
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end()).ok();
        let key = bytes.and_then(|bytes| bytes.try_into().ok()).map(Self);
        key.map(Some).ok_or_else(|| KeyFileError::Malformed(path.to_owned()))
    }

    /// Makes the first key.
    fn make(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir_of(path))?;
        let key = Self::generate();
        key.write(path, None)?;
        Ok(key)
    }

    /// Writes the file whole or not at all, for its owner only or for whom another is, and sees to it that it outlives a power
    /// cut: without it the store is lost.
    fn write(&self, path: &Path, like: Option<&fs::Metadata>) -> io::Result<()> {
        let unfinished = path.with_added_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        // An attempt that was cut short may have left it with other permissions.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        if let Some(like) = like {
            // Whoever runs the command may be root, who does not serve.
            fchown(&file, Some(like.uid()), Some(like.gid()))?;
            if like.is_file() {
                file.set_permissions(fs::Permissions::from_mode(like.permissions().mode() & 0o660))?;
            }
        }
        writeln!(file, "{}", URL_SAFE_NO_PAD.encode(self.0))?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        sync_dir(path)
    }

    /// The key for a purpose (HKDF-SHA256, RFC 5869).
    pub fn derive(&self, purpose: Purpose) -> DerivedKey {
        DerivedKey(self.expand(purpose.info()))
    }

    /// Whether a text is as fingerprints are.
    pub(crate) fn is_fingerprint(text: &str) -> bool {
        text.len() == 2 * FINGERPRINT_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// What tells this key from others, in hexadecimal; it may be shown.
    pub fn fingerprint(&self) -> String {
        let bytes: [u8; FINGERPRINT_BYTES] = self.expand("picloud key fingerprint 1");
        hex(&bytes)
    }

    fn expand<const BYTES: usize>(&self, info: &str) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        let hkdf = Hkdf::<Sha256>::new(None, &self.0);
        hkdf.expand(info.as_bytes(), &mut out).expect("HKDF gives up to 8,160 bytes");
        out
    }
}

/// Where a key stands until it replaces the one in `path`. The name tells it from any other that was to do so.
fn path_of_next(path: &Path, fingerprint: &str) -> PathBuf {
    followed(path).with_added_extension(fingerprint)
}

/// The file itself, where a link leads to it, be it there or not: that is what is replaced, and the link goes on to lead there.
fn followed(path: &Path) -> PathBuf {
    let mut file = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&file) else { break };
        file = dir_of(&file).join(target);
    }
    file
}

/// Whether something is mounted right there, which cannot be replaced (`EBUSY`). A kernel before 5.8 does not tell.
fn is_mounted(path: &Path) -> bool {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::empty());
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(dir_of(path))?.sync_all()
}

/// That the store still has the key of this fingerprint, or has noted none: in a unit of work it stays so until the end.
///
/// # Errors
/// [`RepoError::KeyReplaced`].
pub(crate) async fn require(conn: &mut Conn, fingerprint: &str) -> Result<(), RepoError> {
    match config::key_fingerprint(conn).await? {
        Some(known) if known != fingerprint => Err(RepoError::KeyReplaced),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
