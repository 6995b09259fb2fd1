//! The whole journal as one file: copied while a client may be writing, and put in place where there is none.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};

use super::super::{
    Database, Result, StoreError, add_tables, beside, damaged, fresh, lock, open_checked, put_in_place,
    remove_unfinished, unusable,
};
use super::{Journal, SCHEMA};
use crate::protocol::{Name, PublicKey};

/// A copy of a journal as it was at one moment, in one file beside it. It is not encrypted, other users may not read it,
/// and it is gone when this is dropped; if the process is killed, the next copy takes it away.
#[derive(Debug)]
pub struct Copy {
    path: PathBuf,
    /// Keeps other copies away.
    _lock: File,
}

impl Copy {
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = remove_unfinished(&self.path) {
            tracing::error!(%error, path = %self.path.display(), "a copy of the journal can't be removed");
        }
    }
}

impl Journal {
    /// Copies the journal of `name` at `path`. A client that has it open goes on meanwhile.
    /// If it fails, nothing is left behind.
    pub fn copy(path: &Path, name: &Name) -> Result<Copy> {
        let original = open_checked(path, &SCHEMA, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        check_owner(&original, path, name)?;
        let place = beside(path, ".copy");
        let copy = Copy { _lock: lock(&place)?, path: place };
        fresh(&copy.path)?;
        // Absolute, so that no name can be taken for a URI.
        let absolute = std::path::absolute(&copy.path).map_err(unusable(&copy.path))?;
        let target = ToSqlOutput::Borrowed(ValueRef::Text(absolute.as_os_str().as_encoded_bytes()));
        original.execute("VACUUM INTO ?1", [target])?;
        Ok(copy)
    }

    /// Puts a journal of `name` at `path`, where there is none: what `fill` writes, once it has been found to be whole.
    /// If it fails, everything is as it was.
    pub fn import<E: From<StoreError>>(
        path: &Path,
        name: &Name,
        fill: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<PublicKey, E> {
        let _lock = lock(path)?;
        for suffix in ["", "-wal"] {
            let there = beside(path, suffix);
            if there.try_exists().map_err(unusable(&there))? {
                return Err(StoreError::Exists(there).into());
            }
        }
        let unfinished = beside(path, ".new");
        let mut file = fresh(&unfinished)?;
        let filled = fill(&mut file).and_then(|()| {
            let key = check(&unfinished, name)?;
            put_in_place(&unfinished, path)?;
            Ok(key)
        });
        if filled.is_err()
            && let Err(error) = remove_unfinished(&unfinished)
        {
            tracing::error!(%error, path = %unfinished.display(), "an unfinished journal can't be removed");
        }
        filled
    }
}

/// Finds out whether the file is a whole journal of `name`, and whose key it holds.
fn check(path: &Path, name: &Name) -> Result<PublicKey> {
    let wrong = |why| damaged(path, &SCHEMA, why);
    let connection = open_checked(path, &SCHEMA, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let found = |error: StoreError| if error.is_damage() { wrong(error.to_string()) } else { error };
    let sqlite = |error: rusqlite::Error| found(error.into());
    let intact: String =
        connection.pragma_query_value(None, "integrity_check", |row| row.get(0)).map_err(sqlite)?;
    if intact != "ok" {
        return Err(wrong(intact));
    }
    if connection.prepare("PRAGMA foreign_key_check")?.exists([]).map_err(sqlite)? {
        return Err(wrong("it refers to contacts that it does not hold".into()));
    }
    let expected = Connection::open_in_memory()?;
    add_tables(&expected, &SCHEMA)?;
    if columns(&connection).map_err(sqlite)? != columns(&expected)? {
        return Err(wrong("its tables are not those of a journal".into()));
    }
    check_owner(&connection, path, name)?;
    let journal = Journal(Database { connection, place: None, _lock: None });
    let (_, keypair) = journal.identity().map_err(found)?;
    Ok(keypair.public())
}

/// Everything that the database consists of, by name.
fn columns(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(
        "SELECT schema.type || ' ' || schema.name || ' ' || coalesce(info.name, '')
         FROM sqlite_schema AS schema LEFT JOIN pragma_table_info(schema.name) AS info
         WHERE schema.name NOT LIKE 'sqlite%' ORDER BY 1",
    )?;
    let columns = statement.query_map([], |row| row.get(0))?;
    columns.collect()
}

/// Whether it is the journal of `name`.
pub(super) fn check_owner(connection: &Connection, path: &Path, name: &Name) -> Result<()> {
    let wrong = |why| damaged(path, &SCHEMA, why);
    let owner: String = connection.query_row("SELECT name FROM identity", [], |row| row.get(0)).map_err(
        |error| match error {
            rusqlite::Error::QueryReturnedNoRows => wrong("it holds no identity".into()),
            other => other.into(),
        },
    )?;
    if owner != name.as_str() {
        return Err(wrong(format!("it belongs to {}", owner.escape_debug())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};

    use super::*;
    use crate::protocol::peer::Kind;
    use crate::transport::noise::Keypair;

    fn name(name: &str) -> Name {
        name.parse().unwrap()
    }

    fn files(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn bytes(copy: &Copy) -> Vec<u8> {
        let mut bytes = Vec::new();
        copy.open().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn import(path: &Path, bytes: &[u8]) -> Result<PublicKey> {
        Journal::import(path, &name("alice"), |file| {
            file.write_all(bytes).unwrap();
            Ok(())
        })
    }

    #[test]
    fn a_copy_of_an_open_journal_is_whole_and_opens_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.journal");
        let journal = Journal::open(&path, &name("alice")).unwrap();
        let key = journal.identity().unwrap().1.public();
        let bob = journal.add_contact(&name("bob"), crate::store::journal::Standing::Contact).unwrap();
        let epoch = journal.add_epoch(7, 1).unwrap();
        journal.begin().unwrap();
        journal.add_sent(bob.id, 1, epoch, Kind::TEXT, 0, b"committed").unwrap();
        journal.commit().unwrap();
        journal.begin().unwrap();
        journal.add_sent(bob.id, 2, epoch, Kind::TEXT, 0, b"not yet").unwrap();
        let copy = Journal::copy(&path, &name("alice")).unwrap();
        // The one who writes is not held up, and a second copy has to wait.
        journal.commit().unwrap();
        assert!(matches!(Journal::copy(&path, &name("alice")), Err(StoreError::InUse(_))));
        let copied = bytes(&copy);
        drop(copy);
        assert!(!files(directory.path()).iter().any(|file| file.ends_with(".copy")));

        let there = directory.path().join("deeper/alice.journal");
        assert_eq!(import(&there, &copied).unwrap(), key);
        assert_eq!(files(there.parent().unwrap()), ["alice.journal", "alice.journal.lock"]);
        let moved = Journal::open(&there, &name("alice")).unwrap();
        assert_eq!(moved.identity().unwrap().1.public(), key);
        assert_eq!(moved.contacts().unwrap(), [bob]);
        assert_eq!(moved.last_seq().unwrap(), 1);
    }

    #[test]
    fn a_copy_left_by_a_killed_process_is_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.journal");
        drop(Journal::open(&path, &name("alice")).unwrap());
        fs::write(beside(&path, ".copy"), "half").unwrap();
        fs::write(beside(&path, ".copy-journal"), "half").unwrap();
        let copied = bytes(&Journal::copy(&path, &name("alice")).unwrap());
        assert!(copied.starts_with(b"SQLite format 3"));
        assert!(
            !files(directory.path()).iter().any(|file| file.contains(".copy") && !file.ends_with(".lock"))
        );
        assert!(matches!(Journal::copy(&path, &name("bob")), Err(StoreError::Damaged { .. })));
        let nowhere = directory.path().join("carol.journal");
        assert!(matches!(Journal::copy(&nowhere, &name("carol")), Err(StoreError::File { .. })));
    }

    #[test]
    fn what_is_not_a_whole_journal_of_the_user_is_not_put_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.journal");
        let whole = |prepare: &dyn Fn(&Connection)| {
            let original = directory.path().join("original");
            let journal = Journal::open(&original, &name("alice")).unwrap();
            for number in 0..200 {
                journal
                    .add_contact(&name(&format!("user{number}")), crate::store::journal::Standing::Contact)
                    .unwrap();
            }
            prepare(&journal);
            drop(journal);
            let bytes = fs::read(&original).unwrap();
            fs::remove_file(original).unwrap();
            bytes
        };
        let good = whole(&|_| {});
        let mut torn = good.clone();
        let middle = torn.len() / 2;
        torn[middle..].fill(0x55);
        let foreign = {
            let other = directory.path().join("other");
            drop(Journal::open(&other, &name("mallory")).unwrap());
            fs::read(other).unwrap()
        };
        let sql = |sql: &'static str| whole(&move |connection| connection.execute_batch(sql).unwrap());
        for (bytes, expected) in [
            (vec![], "it is empty"),
            (b"not a database".to_vec(), "not a database"),
            (good[..good.len() / 2].to_vec(), "malformed"),
            (torn, ""),
            (foreign, "belongs to mallory"),
            (sql("DELETE FROM identity"), "no identity"),
            (sql("DROP TABLE received"), "tables"),
            (sql("CREATE TRIGGER t AFTER INSERT ON sent BEGIN DELETE FROM contact; END"), "tables"),
            (sql("PRAGMA foreign_keys = 0; INSERT INTO cursor VALUES (999, 1, 1, 1)"), "refers"),
        ] {
            let error = import(&path, &bytes).expect_err(expected);
            assert!(matches!(error, StoreError::Damaged { .. }), "{expected}: {error:?}");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!files(directory.path()).iter().any(|file| file.starts_with("alice.journal.new")));
            assert!(!path.exists());
        }
        for (other, expected) in
            [(sql("PRAGMA user_version = 1000"), "a newer"), (sql("PRAGMA user_version = 4"), "an older")]
        {
            let error = import(&path, &other).expect_err(expected);
            assert!(matches!(error, StoreError::OtherVersion { version, .. } if version == expected));
            assert!(!path.exists());
        }

        import(&path, &good).unwrap();
        assert!(matches!(import(&path, &good), Err(StoreError::Exists(_))));
        let journal = Journal::open(&path, &name("alice")).unwrap();
        assert!(matches!(import(&path, &good), Err(StoreError::InUse(_))));
        assert_ne!(journal.identity().unwrap().1.public(), Keypair::generate().unwrap().public());
    }
}
