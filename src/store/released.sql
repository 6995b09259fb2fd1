-- The names that the operator has freed, each with the last key that it was taken from: that key can't take the
-- name again.
CREATE TABLE released (
    name  TEXT PRIMARY KEY,
    key   BLOB NOT NULL CHECK (length(key) = 32),
    freed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
