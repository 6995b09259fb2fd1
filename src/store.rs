//! Databases: opened by one process at a time, never replaced in silence, brought up to date in one piece.
//!
//! SQL stands here and nowhere else: [`directory`] is what discovery keeps, [`journal`] what a client keeps.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

pub mod directory;
pub mod journal;

/// How long SQLite waits for another process (a backup, say) that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How many prepared statements are kept. There are fewer different ones than this.
const STATEMENTS: usize = 64;

/// What a database is made of.
pub struct Schema {
    /// For people: "journal", "directory".
    pub what: &'static str,
    /// Stands in the file's header and tells it from every other SQLite file.
    pub application_id: i32,
    /// How many bytes a page of a new database has.
    pub page_size: u32,
    /// What leads from each version to the next, the first from nothing.
    pub migrations: &'static [&'static str],
}

/// Why something could not be read or saved.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("{} is in use by another process; close that one first", .0.display())]
    InUse(PathBuf),
    /// The file is there already.
    #[error("{} is there already and was left as it was; move it away first if it is to be replaced", .0.display())]
    Exists(PathBuf),
    /// The file is there, but is not what it should be. It was left as it was.
    #[error("{} is not a peerchat {what} or is damaged ({why}); it was left as it was: restore it from a backup, or move it away to start anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A later version of peerchat wrote the file.
    #[error("{} was written by a newer peerchat (format {found}, this one knows up to {known}); it was left as it was", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format's version in the file.
        found: i64,
        /// The latest format this program knows.
        known: usize,
    },
    /// The file or its directory can't be used.
    #[error("can't use {}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// SQLite failed: a full disk, a failing one.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The system has no random bytes.
    #[error("no random bytes from the system: {0}")]
    Random(#[from] getrandom::Error),
}

impl StoreError {
    /// Whether it is the content that is wrong, rather than the disk or its room: nothing that waits or
    /// tries again will mend it.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::Sqlite(
                    rusqlite::Error::FromSqlConversionFailure(..)
                        | rusqlite::Error::InvalidColumnType(..)
                        | rusqlite::Error::IntegralValueOutOfRange(..)
                )
        ) || matches!(
            self,
            Self::Sqlite(error) if matches!(
                error.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
            )
        )
    }
}

/// What a store's operations return.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An open database, locked against other processes until it is dropped.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
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
    ///
    /// # Errors
    /// See [`StoreError`]; a file that is refused is left as it was.
    pub fn open(path: &Path, schema: &Schema, fill: impl FnOnce(&Connection) -> Result<()>) -> Result<Self> {
        let failed = |source| StoreError::File { path: path.to_owned(), source };
        let lock = lock(path)?;
        let exists = path.try_exists().map_err(failed)?;
        if !exists {
            let log = beside(path, "-wal");
            if log.try_exists().map_err(failed)? {
                return Err(damaged(path, schema, format!("it is missing, but {} is there", log.display())));
            }
            create(path, schema, fill)?;
        }
        let connection = connect(path, schema)?;
        migrate(&connection, schema)?;
        Ok(Self { connection, _lock: Some(lock) })
    }

    /// A database in memory, which is gone with the process.
    ///
    /// # Errors
    /// If `fill` fails.
    pub fn in_memory(schema: &Schema, fill: impl FnOnce(&Connection) -> Result<()>) -> Result<Self> {
        let connection = Connection::open_in_memory()?;
        configure(&connection)?;
        migrate(&connection, schema)?;
        fill(&connection)?;
        Ok(Self { connection, _lock: None })
    }

    /// Starts a transaction.
    pub fn begin(&self) -> Result<()> {
        Ok(self.prepare_cached("BEGIN")?.execute([]).map(drop)?)
    }

    /// Ends the transaction: when this returns, all of it is on the disk.
    ///
    /// # Errors
    /// If the disk is full or fails. Nothing of the transaction counts then; call [`Self::rollback`].
    pub fn commit(&self) -> Result<()> {
        Ok(self.prepare_cached("COMMIT")?.execute([]).map(drop)?)
    }

    /// Forgets the transaction, if there is one.
    pub fn rollback(&self) {
        if !self.is_autocommit()
            && let Err(error) = self.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "rollback failed");
        }
        // A commit whose sync failed may stand in the log, whole, and would count again after a crash. The next
        // one that succeeds would overwrite it; until then, it is cut off.
        // An export that reads just then is not waited for.
        let cut = self.busy_timeout(Duration::ZERO).and_then(|()| {
            self.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
        });
        if !cut.as_ref().is_ok_and(|busy| !busy) {
            tracing::error!(?cut, "the log could not be cut");
        }
        if let Err(error) = self.busy_timeout(BUSY_TIMEOUT) {
            tracing::error!(%error, "the patience with other processes could not be set");
        }
    }
}

/// The lock is on a file of its own: closing any descriptor of a database file would drop SQLite's locks on it.
fn lock(path: &Path) -> Result<File> {
    let failed = |source| StoreError::File { path: path.to_owned(), source };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        create_directory(directory)
            .map_err(|source| StoreError::File { path: directory.to_owned(), source })?;
    }
    let file =
        private(OpenOptions::new().write(true).create(true), &beside(path, ".lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn create_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Opens a file that nobody else may read.
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
    migrate(&connection, schema)?;
    fill(&connection)?;
    connection.close().map_err(|(_, error)| error)?;
    put_in_place(&unfinished, path)
}

/// An empty file under a name that only the holder of a lock uses. SQLite gives the files beside it the same mode.
fn fresh(unfinished: &Path) -> Result<File> {
    let failed = |source| StoreError::File { path: unfinished.to_owned(), source };
    // Left by a process that was killed. It was never in use, and the lock keeps others away.
    remove_unfinished(unfinished).map_err(failed)?;
    private(OpenOptions::new().write(true).create_new(true), unfinished).map_err(failed)
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
    let failed = |source| StoreError::File { path: unfinished.to_owned(), source };
    File::open(unfinished).and_then(|file| file.sync_all()).map_err(failed)?;
    fs::rename(unfinished, path).map_err(failed)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// Opens a file that should be a whole database of this schema. Nothing is written before that is sure.
fn connect(path: &Path, schema: &Schema) -> Result<Connection> {
    let connection = open_checked(path, schema, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    configure(&connection).map_err(|error| unreadable(path, schema, error))?;
    Ok(connection)
}

fn unreadable(path: &Path, schema: &Schema, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            damaged(path, schema, error.to_string())
        }
        _ => error.into(),
    }
}

/// The same, and as yet nothing at all is written.
fn open_checked(path: &Path, schema: &Schema, access: OpenFlags) -> Result<Connection> {
    let wrong = |why: String| damaged(path, schema, why);
    let reads = |error| unreadable(path, schema, error);
    let length = fs::metadata(path)
        .and_then(|file| if file.is_file() { Ok(file.len()) } else { Err(io::Error::other("not a file")) })
        .map_err(|source| StoreError::File { path: path.to_owned(), source })?;
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
    if !usize::try_from(found).is_ok_and(|found| found <= schema.migrations.len()) {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: schema.migrations.len() });
    }
    Ok(connection)
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
    // Else a statement with a join is compiled anew whenever the statement cache has cleared its bindings.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn migrate(connection: &Connection, schema: &Schema) -> Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or_default();
    for (step, sql) in schema.migrations.iter().enumerate().skip(done) {
        // The version is part of the transaction: a migration is done and counted, or neither.
        let next = step + 1;
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {sql}; PRAGMA user_version = {next}; COMMIT"))?;
    }
    Ok(())
}

/// A column that holds text which parses.
fn parsed<T: std::str::FromStr>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// The same for a column that may be null.
fn parsed_option<T: std::str::FromStr>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<T>>
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
        migrations: &["CREATE TABLE a (b INTEGER) STRICT"],
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
    fn nobody_else_may_read_it() {
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
    fn a_later_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
        assert!(matches!(open(&path), Err(StoreError::Newer { found: 2, known: 1, .. })));
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
