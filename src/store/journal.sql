-- What a client keeps: who it is, whom it knows, what was said. Times are milliseconds since 1970,
-- addresses are text as IP:PORT or [IP]:PORT, and a 64-bit epoch stands as the signed integer of the same bits.
--
-- `seq` counts everything said, in and out, through the whole journal: it is the order in which a
-- conversation is shown, and the number under which a message of ours goes out.

CREATE TABLE identity (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    name    TEXT NOT NULL,
    secret  BLOB NOT NULL CHECK (length(secret) = 32)
) STRICT;

-- The discovery servers met so far, with the key pinned for each.
CREATE TABLE rendezvous (
    endpoint    TEXT PRIMARY KEY,
    key         BLOB NOT NULL CHECK (length(key) = 32),
    registered  INTEGER NOT NULL DEFAULT 0 CHECK (registered IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE contact (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    -- The pinned key; unknown until discovery has answered the request.
    key        BLOB UNIQUE CHECK (length(key) = 32),
    -- Another key that discovery has named since, until the user decides.
    offered    BLOB CHECK (length(offered) = 32),
    -- 0: nothing asked; 1: a request that discovery has not yet confirmed; 2: one that it keeps.
    request    INTEGER NOT NULL CHECK (request IN (0, 1, 2)),
    blocked    INTEGER NOT NULL DEFAULT 0 CHECK (blocked IN (0, 1)),
    -- Where the last link reached them, and where discovery last said that they are.
    reached    TEXT,
    told       TEXT,
    -- All of ours up to this seq has been delivered.
    delivered  INTEGER NOT NULL DEFAULT 0,
    -- Nothing of ours up to this seq is sent again, whatever they say: it went to an earlier key, or, if that is
    -- beyond what is delivered and no key is known, there is no such user and it is to be given back.
    base       INTEGER NOT NULL DEFAULT 0,
    -- All of theirs up to this seq has been shown.
    shown      INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The starts of this client that wrote something.
CREATE TABLE epoch (
    id     INTEGER PRIMARY KEY,
    value  INTEGER NOT NULL UNIQUE,
    -- Every seq from here to the next row's was written in it.
    first  INTEGER NOT NULL
) STRICT;

CREATE TABLE sent (
    contact  INTEGER NOT NULL REFERENCES contact (id),
    seq      INTEGER NOT NULL,
    epoch    INTEGER NOT NULL REFERENCES epoch (id),
    kind     INTEGER NOT NULL,
    written  INTEGER NOT NULL,
    body     BLOB NOT NULL,
    PRIMARY KEY (contact, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE received (
    contact  INTEGER NOT NULL REFERENCES contact (id),
    seq      INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    written  INTEGER NOT NULL,
    arrived  INTEGER NOT NULL,
    body     BLOB NOT NULL,
    PRIMARY KEY (contact, seq)
) STRICT, WITHOUT ROWID;

-- How far each contact's messages are committed here, per start of theirs.
CREATE TABLE cursor (
    contact  INTEGER NOT NULL REFERENCES contact (id),
    epoch    INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    -- The seq of the last message of that epoch: which epoch is the most recent.
    seq      INTEGER NOT NULL,
    PRIMARY KEY (contact, epoch)
) STRICT, WITHOUT ROWID;
