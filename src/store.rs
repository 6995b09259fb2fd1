//! Databases: opened by one process at a time, and never replaced in silence.
//!
//! SQL stands here and nowhere else: [`directory`] is what discovery keeps, [`journal`] what a client keeps.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Params, Row, TransactionState};

use crate::transport::noise::Keypair;
use zeroize::Zeroizing;

pub mod directory;
mod error;
pub mod journal;
mod place;
pub mod postgres;
pub mod space;

pub use error::{Result, StoreError};
use place::Place;

/// How long SQLite waits for another process (a backup, say) that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How many prepared statements are kept. There are fewer different ones than this.
const STATEMENTS: usize = 64;

pub struct Schema {
    /// As errors call it.
    pub what: &'static str,
    /// Stands in the file's header and tells it from every other SQLite file.
    pub application_id: i32,
    /// In bytes, of a new database.
    pub page_size: u32,
    /// Stands in the file's header. A file of another format is refused, so a change of `tables` raises it.
    pub format: i64,
    pub tables: &'static str,
    /// Earlier formats, and what makes a database of each one of this.
    pub older: &'static [(i64, &'static str)],
}

/// An open database, locked against other processes until it is dropped.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    /// None in memory.
    place: Option<Place>,
    _lock: Option<File>,
}

impl Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Database {
    /// Opens the database at `path`. If there is none, it is made, filled by `fill`, and only then
    /// put at `path`: a file that is there is whole, and one that is not whole is an error.
    /// A file that is refused is left as it was.
    pub fn open(path: &Path, schema: &Schema, fill: impl FnOnce(&Connection) -> Result<()>) -> Result<Self> {
        let lock = lock(path)?;
        let exists = path.try_exists().map_err(unusable(path))?;
        if !exists {
            let log = beside(path, "-wal");
            if log.try_exists().map_err(unusable(path))? {
                return Err(damaged(path, schema, format!("it is missing, but {} is there", log.display())));
            }
            create(path, schema, fill)?;
        }
        let file = Place::open(path).map_err(unusable(path))?;
        let connection = open_converted(path, schema)?;
        configure(&connection).map_err(|error| unreadable(path, schema, error))?;
        // With the first read SQLite makes the log.
        connection
            .pragma_query_value(None, "schema_version", |_| Ok(()))
            .map_err(|error| unreadable(path, schema, error))?;
        let place = Place::new(schema.what, path, file).map_err(unusable(path))?;
        Ok(Self { connection, place: Some(place), _lock: Some(lock) })
    }

    pub fn in_memory(schema: &Schema, fill: impl FnOnce(&Connection) -> Result<()>) -> Result<Self> {
        let connection = Connection::open_in_memory()?;
        configure(&connection)?;
        add_tables(&connection, schema)?;
        fill(&connection)?;
        Ok(Self { connection, place: None, _lock: None })
    }

    /// Changes something.
    fn run(&self, sql: &str, params: impl Params) -> Result<()> {
        Ok(self.prepare_cached(sql)?.execute(params).map(drop)?)
    }

    /// Reads one row; an error if there is none.
    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.prepare_cached(sql)?.query_row(params, read)
    }

    /// Reads every row.
    fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        Ok(self.prepare_cached(sql)?.query_map(params, read)?.collect::<Result<_, _>>()?)
    }

    /// # Errors
    /// [`StoreError::Lost`] if another program has written to the files.
    pub fn begin(&self) -> Result<()> {
        self.place.as_ref().map_or(Ok(()), Place::check_content)?;
        self.run("BEGIN", [])
    }

    /// Ends the transaction: when this returns, all of it is on the disk. If it fails, nothing of it counts; call
    /// [`Self::rollback`].
    ///
    /// # Errors
    /// [`StoreError::Lost`] if something was written and the files have been removed or replaced.
    pub fn commit(&self) -> Result<()> {
        let written = self.transaction_state::<&str>(None)? == TransactionState::Write;
        self.run("COMMIT", [])?;
        self.place.as_ref().filter(|_| written).map_or(Ok(()), Place::check_names)
    }

    /// Forgets the transaction, if there is one.
    pub fn rollback(&self) {
        if !self.is_autocommit()
            && let Err(error) = self.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "rollback failed");
        }
        if self.place.as_ref().is_some_and(Place::is_lost) {
            return;
        }
        // A commit whose sync failed may stand in the log, whole, and would count again after a crash. The next
        // one that succeeds would overwrite it; until then, it is cut off.
        // An export that reads just then is not waited for.
        let cut = self
            .busy_timeout(Duration::ZERO)
            .and_then(|()| self.one("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0)));
        if !cut.as_ref().is_ok_and(|busy| !busy) {
            tracing::error!(?cut, "the log could not be cut");
        }
        if let Err(error) = self.busy_timeout(BUSY_TIMEOUT) {
            tracing::error!(%error, "the patience with other processes could not be set");
        }
        // If it can't be noted, the next commit finds out why.
        if let Some(place) = &self.place {
            let _ = place.note();
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // At its end SQLite would remove the log by its name, which may be that of another database by now.
        if let Some(place) = &self.place
            && (place.is_lost() || place.check_content().and_then(|()| place.check_names()).is_err())
            && let Err(error) = self.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        {
            tracing::error!(%error, "what is left of the log can't be left alone");
        }
    }
}

/// The lock is on a file of its own: closing any descriptor of a database file would drop SQLite's locks on it.
fn lock(path: &Path) -> Result<File> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        create_directory(directory).map_err(unusable(directory))?;
    }
    let file = private(OpenOptions::new().write(true).create(true), &beside(path, ".lock"))
        .map_err(unusable(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(unusable(path)(source)),
    }
}

fn create_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Opens a file that other users may not read.
fn private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path)
}

/// The file beside `path` whose name is longer by `suffix`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes a whole database under another name and then puts it in its place.
fn create(path: &Path, schema: &Schema, fill: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
    let unfinished = beside(path, ".new");
    fresh(&unfinished)?;
    let connection = Connection::open_with_flags(
        &unfinished,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "page_size", schema.page_size)?;
    connection.pragma_update(None, "application_id", schema.application_id)?;
    add_tables(&connection, schema)?;
    // SQLite gives its memory back as it is. With room for so few pages, one that holds a secret gives way to others
    // when all are read at the end, and is overwritten by them.
    connection.pragma_update(None, "cache_size", 1)?;
    fill(&connection)?;
    connection.query_row("PRAGMA integrity_check", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)?;
    put_in_place(&unfinished, path)
}

/// An empty file under a name that only the holder of a lock uses. SQLite gives the files beside it the same mode.
fn fresh(unfinished: &Path) -> Result<File> {
    // Left by a process that was killed. It was never in use, and the lock keeps others away.
    remove_unfinished(unfinished).map_err(unusable(unfinished))?;
    private(OpenOptions::new().write(true).create_new(true), unfinished).map_err(unusable(unfinished))
}

fn remove_unfinished(unfinished: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        match fs::remove_file(beside(unfinished, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Gives a whole database its name, for good when this returns.
fn put_in_place(unfinished: &Path, path: &Path) -> Result<()> {
    File::open(unfinished).and_then(|file| file.sync_all()).map_err(unusable(unfinished))?;
    fs::rename(unfinished, path).map_err(unusable(unfinished))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(unusable(unfinished))
}

fn unreadable(path: &Path, schema: &Schema, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            damaged(path, schema, error.to_string())
        }
        _ => error.into(),
    }
}

/// Opens a file that should be a whole database of this schema. Nothing is written.
fn open_checked(path: &Path, schema: &Schema, access: OpenFlags) -> Result<Connection> {
    let wrong = |why: String| damaged(path, schema, why);
    let reads = |error| unreadable(path, schema, error);
    let length = fs::metadata(path)
        .and_then(|file| if file.is_file() { Ok(file.len()) } else { Err(io::Error::other("not a file")) })
        .map_err(unusable(path))?;
    if length == 0 {
        return Err(wrong("it is empty".into()));
    }
    let connection =
        Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(reads)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(reads);
    let application_id = number("application_id")?;
    if application_id != i64::from(schema.application_id) {
        return Err(wrong("it is another program's database".into()));
    }
    let found = number("user_version")?;
    let known = schema.format;
    if found != known {
        let version = if found < known { "an older" } else { "a newer" };
        return Err(StoreError::OtherVersion { path: path.to_owned(), version, found, known });
    }
    Ok(connection)
}

/// The same, and a file of an earlier format becomes one of this, at once or not at all.
fn open_converted(path: &Path, schema: &Schema) -> Result<Connection> {
    let access = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let (found, convert) = match open_checked(path, schema, access) {
        Err(StoreError::OtherVersion { found, path, version, known }) => {
            let older = schema.older.iter().find(|(format, _)| *format == found);
            let Some((format, convert)) = older else {
                return Err(StoreError::OtherVersion { found, path, version, known });
            };
            (*format, convert)
        }
        opened => return opened,
    };
    let connection = open_checked(path, &Schema { format: found, ..*schema }, access)?;
    let format = schema.format;
    tracing::info!(path = %path.display(), found, format, "a database of an earlier format is converted");
    // Tables are made anew to which others refer.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection
        .execute_batch(&format!("BEGIN IMMEDIATE; {convert}; PRAGMA user_version = {format}; COMMIT"))?;
    drop(connection);
    open_checked(path, schema, access)
}

fn unusable(path: &Path) -> impl Fn(io::Error) -> StoreError {
    |source| StoreError::File { path: path.to_owned(), source }
}

fn damaged(path: &Path, schema: &Schema, why: String) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), what: schema.what, why }
}

/// How many KiB of pages SQLite keeps, at most. Each contact's messages end on a page of their own, and with its default
/// of 2,000 those of two hundred contacts were read again and again within one transaction.
const CACHE: i64 = 16 * 1024;

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // In WAL mode only FULL makes a commit survive a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -CACHE)?;
    // What is removed is overwritten where the page is written anyway.
    connection.pragma_update(None, "secure_delete", "FAST")?;
    // Else a statement with a join is compiled anew whenever the statement cache has cleared its bindings.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn add_tables(connection: &Connection, Schema { tables, format, .. }: &Schema) -> Result<()> {
    Ok(connection.execute_batch(&format!("BEGIN; {tables}; PRAGMA user_version = {format}; COMMIT"))?)
}

/// A column that holds text which parses.
fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// The key pair whose seed stands in the only row of a table, in the column `secret`.
fn keypair(database: &Database, table: &str) -> rusqlite::Result<Keypair> {
    // Straight from the page: the result of a query has a copy of its own, which SQLite gives back as it is.
    let mut seed = Zeroizing::new([0; 32]);
    let read = database.blob_open("main", table, "secret", 1, true)?.read_exact(seed.as_mut());
    read.ok().and_then(|()| Keypair::from_secret(&seed)).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, "no secret key".into())
    })
}

/// Adds the only row of a table by a statement that leaves zeros in the column `secret`, where the seed of a key pair is
/// written: all of it, or nothing.
fn insert_with_secret(
    connection: &Connection,
    (table, insert): (&str, &str),
    params: impl Params,
    keypair: &Keypair,
) -> Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute(insert, params)?;
    // Straight into the page: of what is bound to a statement SQLite has a copy, which it gives back as it is.
    let mut blob = transaction.blob_open("main", table, "secret", 1, false)?;
    blob.write_at(keypair.secret(), 0)?;
    blob.close()?;
    Ok(transaction.commit()?)
}

/// The same as [`parsed`] for a column that may be null.
fn parsed_option<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    if row.get_ref(column)? == rusqlite::types::ValueRef::Null {
        Ok(None)
    } else {
        parsed(row, column).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: Schema = Schema {
        what: "test",
        application_id: 0x7465_7374,
        page_size: 4096,
        format: 3,
        tables: "CREATE TABLE a (b INTEGER) STRICT",
        older: &[],
    };

    fn open(path: &Path) -> Result<Database> {
        Database::open(path, &SCHEMA, |connection| {
            connection.execute("INSERT INTO a VALUES (1)", [])?;
            Ok(())
        })
    }

    #[test]
    fn is_made_once_and_then_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deeper/x.db");
        for round in 0..3 {
            let database = open(&path).unwrap();
            let rows: i64 = database.query_row("SELECT count(*) FROM a", [], |row| row.get(0)).unwrap();
            assert_eq!(rows, 1, "round {round}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn other_users_may_not_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deeper/x.db");
        let database = open(&path).unwrap();
        database.execute("INSERT INTO a VALUES (2)", []).unwrap();
        for file in ["x.db", "x.db-wal", "x.db-shm", "x.db.lock"] {
            let mode = fs::metadata(path.with_file_name(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn is_open_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        let first = open(&path).unwrap();
        assert!(matches!(open(&path), Err(StoreError::InUse(_))));
        drop(first);
        open(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_not_ours_is_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        let foreign = directory.path().join("foreign.db");
        Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        let half = {
            let whole = directory.path().join("whole.db");
            drop(open(&whole).unwrap());
            let bytes = fs::read(whole).unwrap();
            bytes[..bytes.len() / 2].to_vec()
        };
        let mut garbled = half.clone();
        garbled[0] ^= 1;
        for content in
            [vec![], b"not a database, only some text".to_vec(), fs::read(foreign).unwrap(), garbled]
        {
            fs::write(&path, &content).unwrap();
            assert!(matches!(open(&path), Err(StoreError::Damaged { .. })));
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        fs::remove_file(&path).unwrap();
        fs::write(beside(&path, "-wal"), "what is left of it").unwrap();
        assert!(matches!(open(&path), Err(StoreError::Damaged { .. })));
        assert!(!path.exists());
    }

    #[test]
    fn a_file_of_another_version_is_refused_and_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        for (format, version) in [(0, "an older"), (2, "an older"), (4, "a newer"), (-1, "an older")] {
            _ = fs::remove_file(&path);
            open(&path).unwrap().pragma_update(None, "user_version", format).unwrap();
            let before = fs::read(&path).unwrap();
            let error = open(&path).unwrap_err();
            assert!(matches!(error, StoreError::OtherVersion { found, .. } if found == format));
            let says = format!("{} was written by {version} version of peerchat", path.display());
            assert!(error.to_string().starts_with(&says), "{error}");
            assert_eq!(fs::read(&path).unwrap(), before);
        }
    }

    #[test]
    fn what_was_not_committed_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        let database = open(&path).unwrap();
        database.begin().unwrap();
        database.execute("INSERT INTO a VALUES (2)", []).unwrap();
        database.rollback();
        database.rollback();
        database.begin().unwrap();
        database.execute("INSERT INTO a VALUES (3)", []).unwrap();
        database.commit().unwrap();
        let sum: i64 = database.query_row("SELECT sum(b) FROM a", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 4);
    }
}
