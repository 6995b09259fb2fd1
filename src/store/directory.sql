-- What discovery keeps. Times are milliseconds since 1970, addresses are text as IP:PORT or [IP]:PORT.

CREATE TABLE server (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    secret  BLOB NOT NULL CHECK (length(secret) = 32)
) STRICT;

CREATE TABLE users (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    key         BLOB NOT NULL UNIQUE CHECK (length(key) = 32),
    address     TEXT NOT NULL,
    registered  INTEGER NOT NULL,
    seen        INTEGER NOT NULL
) STRICT;

-- Which users have been linked, once a pair.
CREATE TABLE connections (
    a      INTEGER NOT NULL REFERENCES users (id),
    b      INTEGER NOT NULL REFERENCES users (id),
    since  INTEGER NOT NULL,
    PRIMARY KEY (a, b),
    CHECK (a < b)
) STRICT, WITHOUT ROWID;

-- Which users have asked for others, and are not yet linked.
CREATE TABLE requests (
    asker   INTEGER NOT NULL REFERENCES users (id),
    target  INTEGER NOT NULL REFERENCES users (id),
    asked   INTEGER NOT NULL,
    PRIMARY KEY (asker, target),
    CHECK (asker <> target)
) STRICT, WITHOUT ROWID;

-- The names that the operator has freed, each with the last key that it was taken from: that key can't take the
-- name again.
CREATE TABLE released (
    name  TEXT PRIMARY KEY,
    key   BLOB NOT NULL CHECK (length(key) = 32),
    freed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
