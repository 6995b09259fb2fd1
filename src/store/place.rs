//! Whether the files of an open database are still those that their names lead to.
//!
//! A file that was removed or replaced takes everything that is written to it, and SQLite doesn't look. So each
//! transaction looks for itself: when it begins at the content, which may have been overwritten in the same file, and once
//! something is committed at the names. What is not noticed: a copy from a moment since which the database has not
//! grown by a page, and a log that is overwritten with another one at least as long.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{StoreError, beside};

/// How many bytes at the start of the file SQLite's header has. They hold the number of pages and a counter that goes up
/// whenever that changes.
const HEADER: usize = 100;
/// The database, its log, and the file that is locked.
const SUFFIXES: [&str; 3] = ["", "-wal", ".lock"];

#[derive(Debug)]
pub(super) struct Place {
    what: &'static str,
    path: PathBuf,
    files: Vec<(PathBuf, FileId)>,
    /// Is to stay open for as long as SQLite has the database open: closing it drops SQLite's locks.
    file: File,
    content: Cell<Content>,
    lost: Cell<bool>,
}

type FileId = (u64, u64);

/// As only this program changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    header: [u8; HEADER],
    /// How long the log is. It grows, and is begun anew without becoming shorter.
    log: u64,
}

impl Place {
    /// Opens the database at `path` before SQLite does.
    pub fn open(path: &Path) -> io::Result<File> {
        // For writing too: where file systems are stacked, the file that is only read may be another one.
        OpenOptions::new().read(true).write(true).open(path)
    }

    /// The files of the database that SQLite has opened; `file` is what [`Self::open`] has.
    pub fn new(what: &'static str, path: &Path, file: File) -> io::Result<Self> {
        let ids = SUFFIXES.map(|suffix| {
            let path = beside(path, suffix);
            fs::metadata(&path).map(|it| (path, id(&it)))
        });
        let files = ids.into_iter().collect::<io::Result<_>>()?;
        let content = Cell::new(Content { header: [0; HEADER], log: 0 });
        let place = Self { what, path: path.to_owned(), files, file, content, lost: Cell::new(false) };
        place.note()?;
        Ok(place)
    }

    /// Notes what the files hold now that this program has changed them.
    pub fn note(&self) -> io::Result<()> {
        self.content.set(self.read()?);
        Ok(())
    }

    /// An error if another program has written to the files since they were noted.
    pub fn check_content(&self) -> Result<(), StoreError> {
        let noted = self.content.get();
        match self.read() {
            Ok(now) if now.header != noted.header => {
                Err(self.lose("another program has written to it".into()))
            }
            Ok(now) if now.log < noted.log => Err(self.lose("its -wal was cut".into())),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.lose("it was cut".into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.lose("its -wal is gone".into()))
            }
            Err(source) => Err(StoreError::File { path: self.path.clone(), source }),
        }
    }

    /// An error if the names do not lead to the files any more.
    pub fn check_names(&self) -> Result<(), StoreError> {
        for (path, noted) in &self.files {
            let name = path.file_name().unwrap_or_default().display();
            match fs::metadata(path) {
                Ok(found) if id(&found) == *noted => {}
                Ok(_) => return Err(self.lose(format!("{name} is another file now"))),
                Err(error) => return Err(self.lose(format!("{name}: {error}"))),
            }
        }
        self.note().map_err(|error| self.lose(error.to_string()))
    }

    /// Whether the files are known not to be this program's any more. Then it keeps its hands off them.
    pub fn is_lost(&self) -> bool {
        self.lost.get()
    }

    fn read(&self) -> io::Result<Content> {
        let mut header = [0; HEADER];
        self.file.read_exact_at(&mut header, 0)?;
        Ok(Content { header, log: fs::metadata(beside(&self.path, "-wal"))?.len() })
    }

    fn lose(&self, why: String) -> StoreError {
        self.lost.set(true);
        StoreError::Lost { path: self.path.clone(), what: self.what, why }
    }
}

fn id(file: &fs::Metadata) -> FileId {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::{Database, Schema};
    use super::*;

    const SCHEMA: Schema = Schema {
        what: "test",
        application_id: 0x7465_7374,
        page_size: 4096,
        format: 1,
        tables: "CREATE TABLE a (b BLOB) STRICT",
        older: &[],
    };

    fn open(path: &Path) -> Database {
        Database::open(path, &SCHEMA, |_| Ok(())).unwrap()
    }

    fn write(database: &Database) -> Result<(), StoreError> {
        database.begin()?;
        database.run("INSERT INTO a VALUES (zeroblob(100000))", [])?;
        database.commit()
    }

    #[test]
    fn checkpoints_and_programs_that_only_read_change_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        for round in 0..3 {
            let database = open(&path);
            for number in 0..100 {
                write(&database).unwrap();
                if number % 10 == 0 {
                    let other = Connection::open(&path).unwrap();
                    let rows: i64 = other.query_row("SELECT count(*) FROM a", [], |row| row.get(0)).unwrap();
                    assert_eq!(rows, round * 100 + number + 1);
                    let copy = directory.path().join(format!("copy{round}-{number}"));
                    other.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
                }
                if number % 30 == 0 {
                    database.begin().unwrap();
                    database.run("INSERT INTO a VALUES (zeroblob(1))", []).unwrap();
                    database.rollback();
                }
            }
        }
    }

    #[test]
    fn what_is_gone_stays_gone() {
        let directory = tempfile::tempdir().unwrap();
        let database = open(&directory.path().join("x.db"));
        write(&database).unwrap();
        drop(directory);
        assert!(matches!(write(&database), Err(StoreError::Lost { .. })));
        database.rollback();
        assert!(matches!(write(&database), Err(StoreError::Lost { .. })));
    }

    #[test]
    fn files_that_have_taken_its_place_are_left_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let (here, away) = (directory.path().join("here"), directory.path().join("away"));
        let path = here.join("x.db");
        let old = open(&path);
        write(&old).unwrap();
        fs::rename(&here, &away).unwrap();
        let new = open(&path);
        write(&new).unwrap();
        drop(old);
        assert!(beside(&path, "-wal").exists());

        let backup = directory.path().join("backup");
        drop(new);
        fs::copy(&path, &backup).unwrap();
        let database = open(&path);
        // Enough for a checkpoint: until then the file is the same as the copy.
        (0..50).for_each(|_| write(&database).unwrap());
        fs::write(&path, fs::read(&backup).unwrap()).unwrap();
        drop(database);
        assert!(fs::read(&path).unwrap() == fs::read(&backup).unwrap());
    }
}
