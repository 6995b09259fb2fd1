-- What a client keeps of rooms. What was said in them has its place in the same order as direct messages: `seq`.

CREATE TABLE room (
    id      INTEGER PRIMARY KEY,
    key     BLOB NOT NULL UNIQUE CHECK (length(key) = 32),
    -- What it is called here: where two rooms have the same name, they are numbered.
    name    TEXT NOT NULL,
    number  INTEGER NOT NULL,
    -- The highest place in the room's order before which nothing can come any more, and the mark of the entry that says so.
    final   INTEGER NOT NULL DEFAULT 0,
    settled BLOB,
    shown   INTEGER NOT NULL DEFAULT 0,
    read    INTEGER NOT NULL DEFAULT 0,
    UNIQUE (name, number)
) STRICT;

-- Who is in: the owner's changes, whole, as they stand on the wire.
CREATE TABLE room_change (
    room  INTEGER NOT NULL,
    hash  BLOB NOT NULL CHECK (length(hash) = 32),
    body  BLOB NOT NULL,
    PRIMARY KEY (room, hash)
) STRICT, WITHOUT ROWID;

-- What each member has written in each start of its client. What the columns mean stands in rooms.rs.
CREATE TABLE room_chain (
    id      INTEGER PRIMARY KEY,
    room    INTEGER NOT NULL,
    author  BLOB NOT NULL CHECK (length(author) = 32),
    epoch   INTEGER NOT NULL,
    branch  INTEGER NOT NULL,
    base    INTEGER NOT NULL,
    base_hash BLOB NOT NULL CHECK (length(base_hash) = 32),
    number  INTEGER NOT NULL,
    hash    BLOB NOT NULL CHECK (length(hash) = 32),
    clock   INTEGER NOT NULL,
    place   INTEGER NOT NULL,
    granted BLOB NOT NULL CHECK (length(granted) = 32),
    cited   INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    ended   INTEGER NOT NULL CHECK (ended IN (0, 1)),
    UNIQUE (room, author, granted, epoch, branch)
) STRICT;

CREATE TABLE room_entry (
    seq      INTEGER PRIMARY KEY,
    room     INTEGER NOT NULL,
    chain    INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    clock    INTEGER NOT NULL,
    -- Where it stands in the room's order.
    place    INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    written  INTEGER NOT NULL,
    arrived  INTEGER NOT NULL,
    hash     BLOB NOT NULL,
    causes   BLOB,
    body     BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX room_entry_number ON room_entry (chain, number);
CREATE INDEX room_entry_place ON room_entry (room, place);
-- To find what came in after another, by the row's own number.
CREATE INDEX room_entry_seq ON room_entry (room);
CREATE INDEX room_entry_settle ON room_entry (room) WHERE kind = 5;
CREATE INDEX room_entry_join ON room_entry (room) WHERE kind = 2 AND length(body) > 0;

-- The signed entries of each chain, as many as are needed to check the others.
CREATE TABLE room_head (
    chain      INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    signature  BLOB NOT NULL CHECK (length(signature) = 64),
    PRIMARY KEY (chain, number)
) STRICT, WITHOUT ROWID;

-- How far each member has what the others wrote, whole, as it stands on the wire; as many as say something.
CREATE TABLE room_receipt (
    room     INTEGER NOT NULL,
    member   BLOB NOT NULL,
    epoch    INTEGER NOT NULL,
    counter  INTEGER NOT NULL,
    body     BLOB NOT NULL,
    PRIMARY KEY (room, member, epoch, counter)
) STRICT, WITHOUT ROWID;

-- That an author has broken the rules, one proof for each grant, whole, as it stands on the wire.
CREATE TABLE room_proof (
    room     INTEGER NOT NULL,
    author   BLOB NOT NULL,
    granted  BLOB NOT NULL,
    body     BLOB NOT NULL,
    PRIMARY KEY (room, author, granted)
) STRICT, WITHOUT ROWID;
