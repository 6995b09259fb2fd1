-- What a client keeps: its account, its contacts, what was said. Times are milliseconds since 1970,
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

-- What the columns mean stands in contacts.rs.
CREATE TABLE contact (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    key        BLOB UNIQUE CHECK (length(key) = 32),
    offered    BLOB CHECK (length(offered) = 32),
    verified   BLOB CHECK (length(verified) = 32),
    request    INTEGER NOT NULL DEFAULT 0 CHECK (request BETWEEN 0 AND 4),
    blocked    INTEGER NOT NULL DEFAULT 0 CHECK (blocked IN (0, 1)),
    standing   INTEGER NOT NULL CHECK (standing IN (0, 1, 2, 3)),
    told_at    INTEGER,
    version    INTEGER NOT NULL DEFAULT 0,
    reached    TEXT,
    told       TEXT,
    seen       INTEGER,
    delivered  INTEGER NOT NULL DEFAULT 0,
    base       INTEGER NOT NULL DEFAULT 0,
    lost_after INTEGER NOT NULL DEFAULT 0,
    lost_to    INTEGER NOT NULL DEFAULT 0,
    shown      INTEGER NOT NULL DEFAULT 0,
    read       INTEGER NOT NULL DEFAULT 0,
    -- Of the bodies of what was said, on both sides, as far as it is in segments.
    bytes      INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The starts of this client that wrote something.
CREATE TABLE epoch (
    id     INTEGER PRIMARY KEY,
    value  INTEGER NOT NULL UNIQUE,
    -- Every seq from here to the next row's was written in it.
    first  INTEGER NOT NULL
) STRICT;

-- What was said stands in the order of the journal and not by contact: all new messages are appended in one place,
-- where each contact's would end on a page of its own. There are no foreign keys: each would be looked up for
-- every message, and a contact who is removed takes along what was said.
CREATE TABLE sent (
    seq      INTEGER PRIMARY KEY,
    contact  INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    written  INTEGER NOT NULL,
    body     BLOB NOT NULL,
    -- The seq of the message that this one repeats, because the contact has lost it.
    repeats  INTEGER
) STRICT;

CREATE TABLE received (
    seq      INTEGER PRIMARY KEY,
    contact  INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    written  INTEGER NOT NULL,
    arrived  INTEGER NOT NULL,
    body     BLOB NOT NULL,
    -- How long a body was that was not kept; null if it was.
    length   INTEGER
) STRICT;

-- How far each contact's messages are committed here, per start of theirs.
CREATE TABLE cursor (
    contact  INTEGER NOT NULL REFERENCES contact (id),
    epoch    INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    -- The seq of the last message of that epoch: which epoch is the most recent.
    seq      INTEGER NOT NULL,
    PRIMARY KEY (contact, epoch)
) STRICT, WITHOUT ROWID;

-- What each contact has sent and does not send by itself again, because it takes it for delivered: of the start `epoch`,
-- what comes after `after`, up to `up_to`. It was in this journal once.
CREATE TABLE missing (
    contact  INTEGER NOT NULL REFERENCES contact (id),
    epoch    INTEGER NOT NULL,
    after    INTEGER NOT NULL,
    up_to    INTEGER NOT NULL,
    PRIMARY KEY (contact, epoch, up_to)
) STRICT, WITHOUT ROWID;

-- Where one contact's messages stand: `count` of ours (1) or theirs (0) from `first` to `last`, and what else is
-- between those is with others. What is above `sealed.up_to` is in no segment yet.
CREATE TABLE segment (
    contact  INTEGER NOT NULL,
    ours     INTEGER NOT NULL CHECK (ours IN (0, 1)),
    last     INTEGER NOT NULL,
    first    INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    PRIMARY KEY (contact, ours, last)
) STRICT, WITHOUT ROWID;

CREATE TABLE sealed (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    up_to    INTEGER NOT NULL,
    -- The words of everything up to here are in `search`; the rest follows when there is time.
    indexed  INTEGER NOT NULL
) STRICT;
INSERT INTO sealed VALUES (1, 0, 0);

-- The words of what was said, by the seq of the message, which is the row's number here. The text itself is not
-- kept a second time. `owner` is the contact's id as a word: it finds the messages of one contact as fast as all.
CREATE VIRTUAL TABLE search USING fts5 (
    owner, body, contact UNINDEXED,
    content = '', contentless_delete = 1, contentless_unindexed = 1
);
