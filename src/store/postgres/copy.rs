//! From one machine to many: what a [`Directory`] keeps goes into a ledger in PostgreSQL.

use std::time::{Duration, Instant};

use rusqlite::Rows;
use rusqlite::types::{FromSqlError, ValueRef};
use tokio_postgres::types::ToSql;

use super::error::{PostgresError, Problem};
use super::link::Database;
use super::read::get;
use super::{Postgres, TURN_LOCK};
use crate::store::directory::Directory;
use crate::store::{self, StoreError};
use crate::transport::noise::Keypair;

/// For all of it. Ten million users take some minutes.
const COPY_WITHIN: Duration = Duration::from_secs(3600);
/// How many rows one statement writes.
const ROWS: usize = 5000;

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error(transparent)]
    From(#[from] StoreError),
    #[error(transparent)]
    To(#[from] PostgresError),
}

/// Copies the key and all rows, at once or not at all. Returns how many accounts there are.
///
/// # Errors
/// [`Problem::NotEmpty`] if there is anything in the ledger, also a node that has joined.
pub fn copy(from: &Directory, to: &mut Postgres) -> Result<i64, CopyError> {
    let keypair = from.keypair()?;
    let deadline = Instant::now() + COPY_WITHIN;
    match to.ask(deadline, async |database| copy_all(from, &keypair, database).await) {
        Ok(Ok(accounts)) => Ok(accounts),
        Ok(Err(error)) => {
            to.abandon();
            Err(error.into())
        }
        Err(problem) => Err(to.place.error(problem).into()),
    }
}

/// The inner errors are those of what is read.
async fn copy_all(
    from: &Directory,
    keypair: &Keypair,
    database: &Database,
) -> Result<store::Result<i64>, Problem> {
    let begin = format!(
        "BEGIN; SELECT pg_advisory_xact_lock({TURN_LOCK});
         SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
    );
    database.batch_execute(&begin).await?;
    let is_used = "
        SELECT EXISTS (SELECT FROM users) OR EXISTS (SELECT FROM released) OR EXISTS (SELECT FROM nodes)
            OR EXISTS (SELECT FROM turns WHERE n > 0)";
    if get(&database.query_one(is_used, &[]).await?, 0)? {
        return Err(Problem::NotEmpty);
    }
    for table in &TABLES {
        if let Err(error) = copy_table(table, from, database).await? {
            return Ok(Err(error));
        }
    }
    let finish = "
        UPDATE ledger SET secret = $1, last_user_id = (SELECT coalesce(max(id), 0) FROM users)
        RETURNING (SELECT count(*) FROM users)";
    let row = database.query_one(finish, &[&&keypair.secret()[..]]).await?;
    database.batch_execute("COMMIT").await?;
    get(&row, 0).map(Ok)
}

async fn copy_table(
    Table { read, write }: &Table,
    from: &Directory,
    database: &Database,
) -> Result<store::Result<()>, Problem> {
    let mut statement = match from.prepare(read) {
        Ok(statement) => statement,
        Err(error) => return Ok(Err(error.into())),
    };
    let mut rows = match statement.query([]) {
        Ok(rows) => rows,
        Err(error) => return Ok(Err(error.into())),
    };
    let write = database.prepared(write).await?;
    loop {
        let columns = match some(&mut rows) {
            Ok(columns) => columns,
            Err(error) => return Ok(Err(error.into())),
        };
        if columns.is_empty() {
            return Ok(Ok(()));
        }
        let parameters: Vec<_> = columns.iter().map(Column::parameter).collect();
        database.execute(&write, &parameters).await?;
    }
}

enum Column {
    Integers(Vec<Option<i64>>),
    Texts(Vec<String>),
    Blobs(Vec<Vec<u8>>),
}

impl Column {
    fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Integers(values) => values,
            Self::Texts(values) => values,
            Self::Blobs(values) => values,
        }
    }

    fn push(&mut self, value: ValueRef<'_>) -> Result<(), FromSqlError> {
        match self {
            Self::Integers(values) => values.push(value.as_i64_or_null()?),
            Self::Texts(values) => values.push(value.as_str()?.to_owned()),
            Self::Blobs(values) => values.push(value.as_blob()?.to_owned()),
        }
        Ok(())
    }
}

/// The next rows, column by column; no columns if there are no more rows.
fn some(rows: &mut Rows<'_>) -> rusqlite::Result<Vec<Column>> {
    let mut columns = Vec::new();
    for _ in 0..ROWS {
        let Some(row) = rows.next()? else { break };
        if columns.is_empty() {
            for index in 0..row.as_ref().column_count() {
                columns.push(match row.get_ref(index)? {
                    ValueRef::Text(_) => Column::Texts(Vec::new()),
                    ValueRef::Blob(_) => Column::Blobs(Vec::new()),
                    ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => Column::Integers(Vec::new()),
                });
            }
        }
        for (index, column) in columns.iter_mut().enumerate() {
            column.push(row.get_ref(index)?)?;
        }
    }
    Ok(columns)
}

/// How the rows of one table are read here, and written there.
struct Table {
    read: &'static str,
    write: &'static str,
}

const TABLES: [Table; 5] = [
    Table {
        read: "SELECT id, name, key, address, observed, strangers, registered, seen FROM users ORDER BY id",
        write: "INSERT INTO users (id, name, key, address, observed, strangers, registered, seen)
                SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::bigint[],
                                     $7::bigint[], $8::bigint[])",
    },
    Table {
        read: "SELECT a, b, since FROM connections ORDER BY a, b",
        write: "INSERT INTO connections (a, b, since) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])",
    },
    Table {
        read: "SELECT asker, target, typed, asked, told FROM requests ORDER BY asker, target",
        write: "INSERT INTO requests (asker, target, typed, asked, told)
                SELECT asker, target, typed <> 0, asked, told
                FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
                     AS it (asker, target, typed, asked, told)",
    },
    Table {
        read: "SELECT refuser, refused, since FROM refusals ORDER BY refuser, refused",
        write: "INSERT INTO refusals (refuser, refused, since)
                SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])",
    },
    Table {
        read: "SELECT name, key, freed FROM released ORDER BY name",
        write: "INSERT INTO released (name, key, freed) SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[])",
    },
];
