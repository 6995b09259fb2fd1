//! The whole journal as one file: copied while a client may be writing, and put in place where there is none.

use std::fs::File;
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use tempfile::NamedTempFile;

use super::super::{
    Database, Result, StoreError, add_tables, beside, damaged, fresh, lock, open_checked, open_converted,
    put_in_place, remove_unfinished, unusable,
};
use super::{Journal, SCHEMA};
use crate::protocol::{Name, PublicKey};

/// How many pages are copied before it is told how far that is.
const PAGES: i32 = 1024;

impl Journal {
    /// A copy of the journal of `name` at `path`, as it is at one moment. A client that has it open goes on meanwhile. It
    /// is not encrypted, and stands in a file beside the journal that has no name any more before anything is in it: so
    /// it is gone when it is closed, and when the process is killed. `progress` is told how many bytes are copied, of how
    /// many.
    pub fn copy(path: &Path, name: &Name, mut progress: impl FnMut(u64, u64)) -> Result<File> {
        let opened = open_checked(path, &SCHEMA, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let original = opened.map_err(|error| match error {
            StoreError::OtherVersion { path, found, known, .. }
                if SCHEMA.older.iter().any(|(format, _)| *format == found) =>
            {
                StoreError::Unconverted { path, found, known }
            }
            error => error,
        })?;
        // Until it is closed it reads what is there now, in however many steps.
        original.execute_batch("BEGIN")?;
        check_owner(&original, path, name)?;
        // Absolute, so that no name can be taken for a URI.
        let absolute = std::path::absolute(path).map_err(unusable(path))?;
        let directory = absolute.parent().unwrap_or(&absolute);
        let (file, unnamed) = NamedTempFile::new_in(directory).map_err(unusable(directory))?.into_parts();
        let access = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut target = Connection::open_with_flags(&unnamed, access)?;
        unnamed.close().map_err(unusable(directory))?;
        // A journal would stand beside it under its name, and nothing is to survive this process.
        target.pragma_update(None, "journal_mode", "OFF")?;
        target.pragma_update(None, "synchronous", "OFF")?;
        let page: u32 = original.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let backup = Backup::new(&original, &mut target)?;
        loop {
            let step = backup.step(PAGES)?;
            let at = backup.progress();
            let bytes = |pages: i32| u64::try_from(pages).unwrap_or_default() * u64::from(page);
            progress(bytes(at.pagecount.saturating_sub(at.remaining)), bytes(at.pagecount));
            match step {
                StepResult::Done => return Ok(file),
                StepResult::More => {}
                _ => return Err(StoreError::InUse(path.to_owned())),
            }
        }
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
    let connection = open_converted(path, &SCHEMA)?;
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

    use super::super::Standing;
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

    fn bytes(mut copy: File) -> Vec<u8> {
        let mut bytes = Vec::new();
        copy.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn copied(path: &Path) -> Result<File> {
        Journal::copy(path, &name("alice"), |_, _| {})
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
        let bob = journal.add_contact(&name("bob"), Standing::Contact).unwrap();
        let epoch = journal.add_epoch(7, 1).unwrap();
        journal.begin().unwrap();
        journal.add_sent(bob.id, 1, epoch, Kind::TEXT, 0, b"committed").unwrap();
        journal.commit().unwrap();
        journal.begin().unwrap();
        journal.add_sent(bob.id, 2, epoch, Kind::TEXT, 0, b"not yet").unwrap();
        let copy = copied(&path).unwrap();
        // The one who writes is not held up, and nothing of the copy can be seen.
        journal.commit().unwrap();
        let ours = ["", "-shm", "-wal", ".lock"].map(|suffix| format!("alice.journal{suffix}"));
        assert_eq!(files(directory.path()), ours);
        let copied = bytes(copy);

        let there = directory.path().join("deeper/alice.journal");
        assert_eq!(import(&there, &copied).unwrap(), key);
        assert_eq!(files(there.parent().unwrap()), ["alice.journal", "alice.journal.lock"]);
        let moved = Journal::open(&there, &name("alice")).unwrap();
        assert_eq!(moved.identity().unwrap().1.public(), key);
        assert_eq!(moved.contacts().unwrap(), [bob]);
        assert_eq!(moved.last_seq().unwrap(), 1);
    }

    #[test]
    fn a_long_copy_tells_how_far_it_is_and_is_of_one_moment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.journal");
        let journal = Journal::open(&path, &name("alice")).unwrap();
        let bob = journal.add_contact(&name("bob"), Standing::Contact).unwrap();
        let epoch = journal.add_epoch(7, 1).unwrap();
        let say = |seq| {
            journal.begin().unwrap();
            journal.add_sent(bob.id, seq, epoch, Kind::TEXT, 0, &[b'x'; 30_000]).unwrap();
            journal.commit().unwrap();
        };
        (1..=500).for_each(say);
        let (mut steps, mut last) = (Vec::new(), 500);
        let copy = Journal::copy(&path, &name("alice"), |done, of| {
            steps.push((done, of));
            // The client goes on, and what it says is not in the copy.
            (last + 1..last + 50).for_each(say);
            last += 50;
        });
        let (done, of) = *steps.last().unwrap();
        assert!(steps.len() >= 4 && done == of && of > 500 * 30_000, "{steps:?}");
        assert!(steps.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 == of), "{steps:?}");
        let there = directory.path().join("deeper/alice.journal");
        import(&there, &bytes(copy.unwrap())).unwrap();
        assert_eq!(Journal::open(&there, &name("alice")).unwrap().last_seq().unwrap(), 500);
    }

    #[test]
    fn a_copy_holds_nothing_that_was_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.journal");
        let journal = Journal::open(&path, &name("alice")).unwrap();
        let [bob, carol] =
            ["bob", "carol"].map(|it| journal.add_contact(&name(it), Standing::Contact).unwrap());
        let epoch = journal.add_epoch(7, 1).unwrap();
        let texts = [(bob.id, "the removed one, "), (carol.id, "the other one, ")];
        journal.begin().unwrap();
        for seq in 1..200 {
            for (number, (contact, text)) in (0..).zip(texts) {
                let text = text.repeat(usize::try_from(seq).unwrap());
                journal.add_sent(contact, 2 * seq + number, epoch, Kind::TEXT, 0, text.as_bytes()).unwrap();
            }
        }
        journal.commit().unwrap();
        let held = |journal: File| {
            let bytes = bytes(journal);
            texts.map(|(_, text)| bytes.windows(text.len()).filter(|it| *it == text.as_bytes()).count())
        };
        assert!(held(copied(&path).unwrap()).iter().all(|count| *count > 10_000));
        journal.begin().unwrap();
        journal.remove_contact(bob.id).unwrap();
        journal.commit().unwrap();
        let [removed, other] = held(copied(&path).unwrap());
        assert!(removed == 0 && other > 10_000, "{removed} {other}");
    }

    #[test]
    fn only_the_journal_of_the_user_is_copied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.journal");
        drop(Journal::open(&path, &name("alice")).unwrap());
        assert!(matches!(Journal::copy(&path, &name("bob"), |_, _| {}), Err(StoreError::Damaged { .. })));
        let nowhere = directory.path().join("carol.journal");
        assert!(matches!(Journal::copy(&nowhere, &name("carol"), |_, _| {}), Err(StoreError::File { .. })));
    }

    #[test]
    fn what_is_not_a_whole_journal_of_the_user_is_not_put_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.journal");
        let whole = |prepare: &dyn Fn(&Connection)| {
            let original = directory.path().join("original");
            let journal = Journal::open(&original, &name("alice")).unwrap();
            for number in 0..200 {
                journal.add_contact(&name(&format!("user{number}")), Standing::Contact).unwrap();
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
