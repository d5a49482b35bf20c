//! SQLite's end of a copy: its three files, beside a process that serves them or alone.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::repo::RepoError;
use crate::repo::tables::{Table, TableFile};
use crate::store::copy::{Batch, CopyError, Row, Source, Tally, Target, Value, quoted, require_columns};
use crate::store::migration::{HISTORY, newest_version};
use crate::store::sqlite::SqliteFiles;
use crate::store::write_health::WriteHealth;
use crate::store::{StoreError, replacement};

/// How long is waited for another process that writes.
const BUSY: Duration = Duration::from_secs(30);

/// The files, in the order in which their moments are taken. What is told of in a file is looked for in one after it: records of
/// runs and events name apps and scripts, and a row on its way to the audit log is removed once it is there. So what is
/// in one of them finds in the next what it names, unless that was deleted meanwhile.
const FILES: [TableFile; 3] = [TableFile::Logs, TableFile::Data, TableFile::Main];

struct Files {
    dir: PathBuf,
    logs: Connection,
    data: Connection,
    main: Connection,
}

impl Files {
    fn open(dir: &Path, setup: &str) -> Result<Self, CopyError> {
        let open = |file: TableFile| {
            let path = dir.join(format!("{}.db", file.name()));
            // Readers, too, write to the file beside it that readers and writer share.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let open = || -> rusqlite::Result<Connection> {
                let conn = Connection::open_with_flags(&path, flags)?;
                conn.busy_timeout(BUSY)?;
                // A read error of an SD card under mmap would be a SIGBUS.
                conn.execute_batch("PRAGMA mmap_size = 0")?;
                conn.execute_batch(setup)?;
                Ok(conn)
            };
            open().map_err(RepoError::from)
        };
        let [logs, data, main] = FILES.map(open);
        Ok(Self { dir: dir.to_owned(), logs: logs?, data: data?, main: main? })
    }

    fn of(&self, table: &Table) -> &Connection {
        match table.file {
            TableFile::Main => &self.main,
            TableFile::Data => &self.data,
            TableFile::Logs => &self.logs,
        }
    }

    fn each(&self) -> [(&'static str, &Connection); 3] {
        [("main", &self.main), ("data", &self.data), ("logs", &self.logs)]
    }

    fn columns(&self, table: &Table) -> Result<Option<Vec<String>>, CopyError> {
        let conn = self.of(table);
        let list = || -> rusqlite::Result<Vec<String>> {
            let mut statement = conn.prepare("SELECT name FROM pragma_table_info($1)")?;
            statement.query_map([table.name], |row| row.get(0))?.collect()
        };
        let columns = list().map_err(CopyError::of(table))?;
        Ok((!columns.is_empty()).then_some(columns))
    }
}

/// The files at one moment each, some microseconds apart.
pub(crate) struct SqliteSource {
    files: Files,
    schema: i64,
}

impl SqliteSource {
    /// Takes the moment. Nothing is migrated.
    ///
    /// # Errors
    /// There is no store, or it is a newer version's.
    pub(crate) fn open(dir: &Path) -> Result<Self, CopyError> {
        if !SqliteFiles::are_there(dir) {
            return Err(StoreError::NoInstance(dir.display().to_string()).into());
        }
        // All three are of one store, whoever replaces it.
        let _in_place = replacement::finish_alone(dir)?;
        let files = Files::open(dir, "PRAGMA query_only = on")?;
        let mut schema = None;
        for conn in [&files.logs, &files.data, &files.main] {
            let version = || -> rusqlite::Result<i64> {
                conn.execute_batch("BEGIN")?;
                // The first look is what fixes the moment.
                conn.query_row("SELECT MAX(version) FROM _sqlx_migrations", (), |row| row.get(0))
            };
            let found = version().map_err(RepoError::from)?;
            if schema.is_some_and(|schema| schema != found) {
                return Err(CopyError::Damaged("the store is being migrated; try again".to_owned()));
            }
            schema = Some(found);
        }
        let (found, known) = (schema.unwrap_or_default(), newest_version(HISTORY));
        if found > known {
            return Err(StoreError::NewerSchema { found, known }.into());
        }
        Ok(Self { files, schema: found })
    }

    pub(crate) fn schema(&self) -> i64 {
        self.schema
    }

    fn has_data(&self) -> Result<bool, CopyError> {
        let has =
            "SELECT EXISTS (SELECT 1 FROM users) OR EXISTS (SELECT 1 FROM apps) OR EXISTS (SELECT 1 FROM instance)";
        Ok(self.files.main.query_row(has, (), |row| row.get(0)).map_err(RepoError::from)?)
    }
}

/// Whether anything but an empty schema is in that directory. What cannot be read may be somebody's only copy.
pub(crate) fn holds_data(dir: &Path) -> bool {
    SqliteFiles::are_there(dir) && SqliteSource::open(dir).and_then(|source| source.has_data()).unwrap_or(true)
}

impl Source for SqliteSource {
    async fn columns(&mut self, table: &Table) -> Result<Option<Vec<String>>, CopyError> {
        self.files.columns(table)
    }

    async fn count(&mut self, table: &Table) -> Result<u64, CopyError> {
        let count = format!("SELECT COUNT(*) FROM {}", table.name);
        let rows: i64 = self.files.of(table).query_row(&count, (), |row| row.get(0)).map_err(CopyError::of(table))?;
        Ok(rows.unsigned_abs())
    }

    async fn read(
        &mut self,
        table: &Table,
        columns: &[String],
        mut sink: impl AsyncFnMut(Vec<Row>) -> Result<(), CopyError>,
    ) -> Result<(), CopyError> {
        let of_table = CopyError::of::<rusqlite::Error>(table);
        let select = format!("SELECT {} FROM {}", quoted(columns), table.name);
        let mut statement = self.files.of(table).prepare(&select).map_err(&of_table)?;
        let mut rows = statement.raw_query();
        let mut batch = Batch::default();
        while let Some(row) = rows.next().map_err(&of_table)? {
            let mut values = Vec::with_capacity(columns.len());
            for (place, column) in columns.iter().enumerate() {
                let value = row.get_ref(place).map_err(&of_table)?;
                values.push(owned(value).ok_or_else(|| {
                    CopyError::Damaged(format!("the column {column} of the table {} cannot be read", table.name))
                })?);
            }
            batch.push(values);
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

fn owned(value: ValueRef<'_>) -> Option<Value> {
    Some(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Text(text) => Value::Text(std::str::from_utf8(text).ok()?.to_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        // There is no such column.
        ValueRef::Real(_) => return None,
    })
}

/// New files in a directory of their own, which count for nothing until they are finished: so nothing of them is kept safe on the way.
pub(crate) struct SqliteTarget {
    files: Files,
}

impl SqliteTarget {
    /// Makes the files with that schema.
    pub(crate) async fn make(dir: &Path, schema: i64) -> Result<Self, CopyError> {
        let until = HISTORY.iter().position(|step| step.version > schema).unwrap_or(HISTORY.len());
        let made = SqliteFiles::open(dir, &HISTORY[..until], &WriteHealth::default()).await?;
        made.close().await;
        // A reference may be to a row that comes later; all are looked at in the end.
        let setup = "PRAGMA foreign_keys = off; PRAGMA journal_mode = off; PRAGMA synchronous = off";
        Ok(Self { files: Files::open(dir, setup)? })
    }

    /// Has everything on the disk, once SQLite says that the files are sound.
    ///
    /// # Errors
    /// It says that they are not.
    pub(crate) fn finish(self) -> Result<(), CopyError> {
        let dir = self.files.dir.clone();
        for (name, conn) in self.files.each() {
            let look = || -> rusqlite::Result<(bool, String)> {
                let refers = conn.prepare("PRAGMA foreign_key_check")?.exists(())?;
                Ok((refers, conn.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))?))
            };
            let (refers, said) = look().map_err(RepoError::from)?;
            if refers {
                return Err(CopyError::Damaged(format!("rows of {name} refer to others that are not there")));
            }
            if said != "ok" {
                return Err(CopyError::Damaged(format!("{name}.db is not sound: {said}")));
            }
            // Closing it empties the log of changes.
            conn.execute_batch("PRAGMA journal_mode = wal").map_err(RepoError::from)?;
        }
        drop(self);
        for file in FILES {
            let path = dir.join(format!("{}.db", file.name()));
            File::open(&path).and_then(|file| file.sync_all()).map_err(|source| CopyError::File { path, source })?;
        }
        Ok(())
    }
}

impl Target for SqliteTarget {
    async fn begin(&mut self, table: &Table, columns: &[String]) -> Result<(), CopyError> {
        let own = self.files.columns(table)?.unwrap_or_default();
        require_columns(table, columns, &own)?;
        // A schema may begin with rows of its own.
        let begin = format!("BEGIN; DELETE FROM {}", table.name);
        self.files.of(table).execute_batch(&begin).map_err(CopyError::of(table))
    }

    async fn write(&mut self, table: &Table, columns: &[String], rows: &[Row]) -> Result<(), CopyError> {
        let places = vec!["?"; columns.len()].join(", ");
        let insert = format!("INSERT INTO {} ({}) VALUES ({places})", table.name, quoted(columns));
        let write = || -> rusqlite::Result<()> {
            let mut statement = self.files.of(table).prepare_cached(&insert)?;
            for row in rows {
                for (place, value) in (1..).zip(row) {
                    match value {
                        Value::Null => statement.raw_bind_parameter(place, rusqlite::types::Null)?,
                        Value::Int(number) => statement.raw_bind_parameter(place, number)?,
                        Value::Text(text) => statement.raw_bind_parameter(place, text)?,
                        Value::Bytes(bytes) => statement.raw_bind_parameter(place, bytes)?,
                    }
                }
                statement.raw_execute()?;
            }
            Ok(())
        };
        write().map_err(CopyError::of(table))
    }

    async fn end(&mut self, table: &Table, _columns: &[String], _tally: &Tally) -> Result<(), CopyError> {
        self.files.of(table).execute_batch("COMMIT").map_err(CopyError::of(table))
    }
}
