//! Reads the file of a backup, and believes nothing of it that is not sealed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::DeflateDecoder;
use hmac::Mac;
use sha2::{Digest, Sha256};

use crate::backup::BackupError;
use crate::backup::manifest::{Manifest, Part, seal};
use crate::hex::hex;
use crate::repo::tables::Table;
use crate::secret::key_file::SecretKey;
use crate::store::copy::{Batch, CopyError, MOST_VALUE_BYTES, Row, Source, Value};

use super::{BEGIN, BYTES, END, INT, MOST_MANIFEST_BYTES, NULL, SEAL_BYTES, TEXT, TRAILER_BYTES};

/// A backup that is read. Its rows may be read once its seal is proved.
pub(in crate::backup) struct BackupReader {
    path: PathBuf,
    file: File,
    manifest: Manifest,
    text: Vec<u8>,
    seal: [u8; SEAL_BYTES],
}

impl BackupReader {
    /// Reads what a backup says of itself.
    ///
    /// # Errors
    /// It is none, it was cut short, or it is of a newer version.
    pub(in crate::backup) fn open(path: &Path) -> Result<Self, BackupError> {
        let failed = |source| BackupError::File { path: path.to_owned(), source };
        let no_backup = || BackupError::NoBackup(path.to_owned());
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let least = (BEGIN.len() + TRAILER_BYTES) as u64;
        if !metadata.is_file() || metadata.len() < least {
            return Err(no_backup());
        }
        let mut begin = [0; BEGIN.len()];
        file.read_exact(&mut begin).map_err(failed)?;
        let trailer_at = metadata.len() - TRAILER_BYTES as u64;
        let mut trailer = [0; TRAILER_BYTES];
        file.seek(SeekFrom::Start(trailer_at)).and_then(|_| file.read_exact(&mut trailer)).map_err(failed)?;
        let (length, rest) = trailer.split_first_chunk::<8>().ok_or_else(no_backup)?;
        let (seal, end) = rest.split_first_chunk::<SEAL_BYTES>().ok_or_else(no_backup)?;
        let length = u64::from_be_bytes(*length);
        if begin != *BEGIN || end != END || length > MOST_MANIFEST_BYTES.min(trailer_at - BEGIN.len() as u64) {
            return Err(no_backup());
        }
        let manifest_at = trailer_at - length;
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(manifest_at)).map_err(failed)?;
        (&file).take(length).read_to_end(&mut text).map_err(failed)?;
        let manifest = Manifest::from_bytes(&text)?;
        let parts = manifest.parts.iter().try_fold(BEGIN.len() as u64, |sum, part| sum.checked_add(part.bytes));
        if parts != Some(manifest_at) {
            return Err(BackupError::Damaged("its tables are not as long as they were".to_owned()));
        }
        Ok(Self { path: path.to_owned(), file, manifest, text, seal: *seal })
    }

    /// What it says of itself.
    pub(in crate::backup) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// That every byte of it is as who has that key wrote it.
    ///
    /// # Errors
    /// It is not.
    pub(in crate::backup) fn prove(&mut self, key: &SecretKey) -> Result<(), BackupError> {
        if seal(key, &self.text).verify_slice(&self.seal).is_err() {
            return Err(BackupError::Damaged("its seal is broken".to_owned()));
        }
        let failed = |source| BackupError::File { path: self.path.clone(), source };
        let mut file = BufReader::new(&self.file);
        file.seek(SeekFrom::Start(BEGIN.len() as u64)).map_err(failed)?;
        for part in &self.manifest.parts {
            let mut digest = Digesting(Sha256::new());
            io::copy(&mut (&mut file).take(part.bytes), &mut digest).map_err(failed)?;
            if hex(&digest.0.finalize()) != part.sha256 {
                return Err(BackupError::Damaged(format!("the table {} was changed", part.table)));
            }
        }
        Ok(())
    }

    /// The part of a table, and where it begins.
    fn part(&self, table: &Table) -> Option<(&Part, u64)> {
        let mut at = BEGIN.len() as u64;
        for part in &self.manifest.parts {
            if part.table == table.name {
                return Some((part, at));
            }
            at += part.bytes;
        }
        None
    }
}

struct Digesting(Sha256);

impl io::Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for BackupReader {
    async fn columns(&mut self, table: &Table) -> Result<Option<Vec<String>>, CopyError> {
        Ok(self.part(table).map(|(part, _)| part.columns.clone()))
    }

    async fn count(&mut self, table: &Table) -> Result<u64, CopyError> {
        Ok(self.part(table).map_or(0, |(part, _)| part.rows))
    }

    async fn read(
        &mut self,
        table: &Table,
        columns: &[String],
        mut sink: impl AsyncFnMut(Vec<Row>) -> Result<(), CopyError>,
    ) -> Result<(), CopyError> {
        let failed = |source| CopyError::File { path: self.path.clone(), source };
        let Some((part, at)) = self.part(table) else { return Ok(()) };
        if part.columns != columns {
            return Err(CopyError::Damaged(format!("the table {} has other columns", table.name)));
        }
        (&self.file).seek(SeekFrom::Start(at)).map_err(failed)?;
        let packed = BufReader::new((&self.file).take(part.bytes));
        let mut rows = BufReader::new(DeflateDecoder::new(packed));
        let mut batch = Batch::default();
        while !rows.fill_buf().map_err(failed)?.is_empty() {
            batch.push(columns.iter().map(|_| decode(&mut rows)).collect::<io::Result<_>>().map_err(failed)?);
            if batch.is_full() {
                sink(batch.take()).await?;
            }
        }
        if !batch.is_empty() {
            sink(batch.take()).await?;
        }
        Ok(())
    }
}

fn decode(rows: &mut impl Read) -> io::Result<Value> {
    fn array<const BYTES: usize>(rows: &mut impl Read) -> io::Result<[u8; BYTES]> {
        let mut bytes = [0; BYTES];
        rows.read_exact(&mut bytes)?;
        Ok(bytes)
    }
    fn long(rows: &mut impl Read) -> io::Result<Vec<u8>> {
        let length = u32::from_be_bytes(array(rows)?);
        if length as usize > MOST_VALUE_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // It takes no more memory than there are bytes.
        let mut bytes = Vec::new();
        rows.take(length.into()).read_to_end(&mut bytes)?;
        if bytes.len() == length as usize { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
    match array::<1>(rows)? {
        [NULL] => Ok(Value::Null),
        [INT] => Ok(Value::Int(i64::from_be_bytes(array(rows)?))),
        [TEXT] => String::from_utf8(long(rows)?).map(Value::Text).map_err(|_| io::ErrorKind::InvalidData.into()),
        [BYTES] => long(rows).map(Value::Bytes),
        [_] => Err(io::ErrorKind::InvalidData.into()),
    }
}
