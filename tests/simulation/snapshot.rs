//! A copy of everything in a database: a backup, and what a disk held at some moment.

use rusqlite::Connection;
use rusqlite::types::Value;

/// See the module.
#[derive(Clone)]
pub struct Snapshot(Vec<(String, Vec<Vec<Value>>)>);

impl Snapshot {
    /// Copies what is committed.
    pub fn take(database: &Connection) -> Self {
        // What is only an index is made anew.
        let mut tables = database
            .prepare_cached(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'search*' ORDER BY rowid",
            )
            .unwrap();
        let names: Vec<String> =
            tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let copy = |name: String| {
            let mut all = database.prepare_cached(&format!("SELECT * FROM {name}")).unwrap();
            let width = all.column_count();
            let rows = all
                .query_map([], |row| (0..width).map(|column| row.get(column)).collect())
                .unwrap()
                .map(Result::unwrap)
                .collect();
            (name, rows)
        };
        Self(names.into_iter().map(copy).collect())
    }

    /// Makes `database`, which has the same tables, hold this and nothing else.
    pub fn restore(&self, database: &Connection) {
        database.execute_batch("BEGIN; PRAGMA defer_foreign_keys = ON").unwrap();
        for (name, rows) in &self.0 {
            database.execute(&format!("DELETE FROM {name}"), []).unwrap();
            let Some(width) = rows.first().map(Vec::len) else {
                continue;
            };
            let places = vec!["?"; width].join(", ");
            let mut insert =
                database.prepare_cached(&format!("INSERT INTO {name} VALUES ({places})")).unwrap();
            for row in rows {
                insert.execute(rusqlite::params_from_iter(row)).unwrap();
            }
        }
        if database.table_exists(None, "search").unwrap() {
            database
                .execute_batch(
                    "INSERT INTO search (search) VALUES ('delete-all'); UPDATE sealed SET indexed = 0",
                )
                .unwrap();
        }
        database.execute_batch("COMMIT").unwrap();
    }
}
