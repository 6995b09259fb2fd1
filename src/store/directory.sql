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
    -- The IP that the client was seen to come from, and how the user meets strangers: 0 open, 1 ask, 2 all, 3 closed.
    observed    TEXT NOT NULL,
    strangers   INTEGER NOT NULL CHECK (strangers BETWEEN 0 AND 3),
    registered  INTEGER NOT NULL,
    seen        INTEGER NOT NULL
) STRICT;

-- Which users have both asked for the other, once a pair.
CREATE TABLE connections (
    a      INTEGER NOT NULL REFERENCES users (id),
    b      INTEGER NOT NULL REFERENCES users (id),
    since  INTEGER NOT NULL,
    PRIMARY KEY (a, b),
    CHECK (a < b)
) STRICT, WITHOUT ROWID;

-- Which users have asked for others, and have not been answered.
CREATE TABLE requests (
    asker   INTEGER NOT NULL REFERENCES users (id),
    target  INTEGER NOT NULL REFERENCES users (id),
    -- 1: the user asked; 0: only the client.
    typed   INTEGER NOT NULL CHECK (typed IN (0, 1)),
    asked   INTEGER NOT NULL,
    -- When the target was first told, if that has been.
    told    INTEGER,
    PRIMARY KEY (asker, target),
    CHECK (asker <> target)
) STRICT, WITHOUT ROWID;

-- Which users have dropped others.
CREATE TABLE refusals (
    refuser  INTEGER NOT NULL REFERENCES users (id),
    refused  INTEGER NOT NULL REFERENCES users (id),
    since    INTEGER NOT NULL,
    PRIMARY KEY (refuser, refused),
    CHECK (refuser <> refused)
) STRICT, WITHOUT ROWID;

-- The names that the operator has freed, each with the last key that it was taken from: that key can't take the
-- name again.
CREATE TABLE released (
    name  TEXT PRIMARY KEY,
    key   BLOB NOT NULL CHECK (length(key) = 32),
    freed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
