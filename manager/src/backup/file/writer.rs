//! Writes the file of a backup.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use hmac::Mac;
use rustix::fs::OFlags;
use rustix::process::geteuid;
use sha2::{Digest, Sha256};

use crate::backup::BackupError;
use crate::backup::manifest::{Manifest, Part, seal};
use crate::hex::hex;
use crate::repo::tables::Table;
use crate::secret::key_file::SecretKey;
use crate::store::copy::{CopyError, MOST_VALUE_BYTES, Row, Tally, Target, Value};

use super::{BEGIN, BYTES, END, INT, NULL, TEXT};

/// A file on its way: `FILE.partial`, until it is whole. Dropped before, it is removed.
pub(in crate::backup) struct BackupWriter {
    file: PathBuf,
    partial: PathBuf,
    /// Where the rows of a table go between its beginning and its end.
    part: Option<DeflateEncoder<Counted>>,
    /// The file, while no table is written.
    out: Option<BufWriter<File>>,
    parts: Vec<Part>,
    is_whole: bool,
}

/// What of the file is one table.
struct Counted {
    out: BufWriter<File>,
    bytes: u64,
    digest: Sha256,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl BackupWriter {
    /// Makes the file, for its owner only.
    pub(in crate::backup) fn begin(path: &Path) -> Result<Self, BackupError> {
        let exists = || fs::symlink_metadata(path).is_ok();
        if exists() {
            return Err(BackupError::Exists(path.to_owned()));
        }
        let partial = path.with_added_extension("partial");
        let failed = |source| BackupError::File { path: partial.clone(), source };
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
        let file = match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => take_over(&partial)?,
            made => made.map_err(failed)?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::BeingWritten(partial)),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // Another may have been about to end it.
        if exists() {
            return Err(BackupError::Exists(path.to_owned()));
        }
        // What one before left that was cut short.
        file.set_len(0).map_err(failed)?;
        let mut out = BufWriter::new(file);
        out.write_all(BEGIN).map_err(failed)?;
        let file = path.to_owned();
        Ok(Self { file, partial, part: None, out: Some(out), parts: Vec::new(), is_whole: false })
    }

    /// Writes what the backup says of itself, seals it, and has all of it on the disk under its name.
    pub(in crate::backup) fn finish(
        mut self,
        mut manifest: Manifest,
        key: &SecretKey,
    ) -> Result<(Manifest, u64), BackupError> {
        manifest.parts = std::mem::take(&mut self.parts);
        let text = manifest.to_bytes();
        let write = |out: Option<BufWriter<File>>| -> io::Result<u64> {
            let mut out = out.ok_or(io::ErrorKind::BrokenPipe)?;
            out.write_all(&text)?;
            out.write_all(&(text.len() as u64).to_be_bytes())?;
            out.write_all(&seal(key, &text).finalize().into_bytes())?;
            out.write_all(END)?;
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            let bytes = file.metadata()?.len();
            fs::rename(&self.partial, &self.file)?;
            let dir = self.file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(dir)?.sync_all()?;
            Ok(bytes)
        };
        let out = self.out.take();
        let written = write(out);
        self.is_whole = written.is_ok();
        let bytes = written.map_err(|source| BackupError::File { path: self.partial.clone(), source })?;
        Ok((manifest, bytes))
    }

    fn failed(&self, source: io::Error) -> CopyError {
        CopyError::File { path: self.partial.clone(), source }
    }
}

/// A file that a backup has left that was cut short. In a directory that others write to, it may be theirs, and they would read along, or
/// a way to a file that is none of it.
fn take_over(partial: &Path) -> Result<File, BackupError> {
    let failed = |source| BackupError::File { path: partial.to_owned(), source };
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let file = OpenOptions::new().write(true).custom_flags(flags).open(partial).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() || found.nlink() != 1 || found.uid() != geteuid().as_raw() {
        return Err(BackupError::InTheWay(partial.to_owned()));
    }
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(file)
}

impl Target for BackupWriter {
    async fn begin(&mut self, _table: &Table, _columns: &[String]) -> Result<(), CopyError> {
        let Some(out) = self.out.take() else { return Err(self.failed(io::ErrorKind::BrokenPipe.into())) };
        let counted = Counted { out, bytes: 0, digest: Sha256::new() };
        self.part = Some(DeflateEncoder::new(counted, Compression::fast()));
        Ok(())
    }

    async fn write(&mut self, table: &Table, _columns: &[String], rows: &[Row]) -> Result<(), CopyError> {
        let mut bytes = Vec::new();
        for value in rows.iter().flatten() {
            if !encode(value, &mut bytes) {
                return Err(CopyError::Damaged(format!("a value of {} is too large", table.name)));
            }
        }
        let written = self.part.as_mut().ok_or(io::ErrorKind::BrokenPipe.into());
        written.and_then(|part| part.write_all(&bytes)).map_err(|source| self.failed(source))
    }

    async fn end(&mut self, table: &Table, columns: &[String], tally: &Tally) -> Result<(), CopyError> {
        let ended = self.part.take().ok_or(io::ErrorKind::BrokenPipe.into()).and_then(DeflateEncoder::finish);
        let Counted { out, bytes, digest } = ended.map_err(|source| self.failed(source))?;
        self.out = Some(out);
        self.parts.push(Part {
            table: table.name.to_owned(),
            columns: columns.to_vec(),
            rows: tally.rows(),
            digest: tally.digest(),
            bytes,
            sha256: hex(&digest.finalize()),
        });
        Ok(())
    }
}

fn encode(value: &Value, out: &mut Vec<u8>) -> bool {
    let mut long = |kind: u8, bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= MOST_VALUE_BYTES);
        let Some(length) = length else { return false };
        out.push(kind);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(bytes);
        true
    };
    match value {
        Value::Text(text) => long(TEXT, text.as_bytes()),
        Value::Bytes(bytes) => long(BYTES, bytes),
        Value::Null => {
            out.push(NULL);
            true
        }
        Value::Int(number) => {
            out.push(INT);
            out.extend_from_slice(&number.to_be_bytes());
            true
        }
    }
}

impl Drop for BackupWriter {
    fn drop(&mut self) {
        if !self.is_whole {
            // It is of no use to anybody where it stays.
            let _ = fs::remove_file(&self.partial);
        }
    }
}
