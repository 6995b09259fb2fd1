-- What was said stands in the order of the journal and not by contact: new messages are appended, whoever they are
-- with, where each contact's would end on a page of its own. There are no foreign keys: each would be looked up for
-- every message, and who is removed takes along what was said.
CREATE TABLE sent3 (
    seq      INTEGER PRIMARY KEY,
    contact  INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    written  INTEGER NOT NULL,
    body     BLOB NOT NULL
) STRICT;
INSERT INTO sent3 SELECT seq, contact, epoch, kind, written, body FROM sent ORDER BY seq;
DROP TABLE sent;
ALTER TABLE sent3 RENAME TO sent;

CREATE TABLE received3 (
    seq      INTEGER PRIMARY KEY,
    contact  INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    written  INTEGER NOT NULL,
    arrived  INTEGER NOT NULL,
    body     BLOB NOT NULL
) STRICT;
INSERT INTO received3
    SELECT seq, contact, epoch, number, kind, written, arrived, body FROM received ORDER BY seq;
DROP TABLE received;
ALTER TABLE received3 RENAME TO received;

-- Where one contact's messages stand: `count` of ours (1) or theirs (0) from `first` to `last`, and what else is
-- between those is with others. What is above `filed.up_to` is in no part yet.
CREATE TABLE part (
    contact  INTEGER NOT NULL,
    ours     INTEGER NOT NULL CHECK (ours IN (0, 1)),
    last     INTEGER NOT NULL,
    first    INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    PRIMARY KEY (contact, ours, last)
) STRICT, WITHOUT ROWID;

CREATE TABLE filed (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    up_to    INTEGER NOT NULL,
    -- The words of everything up to here are in `search`; the rest follows when there is time.
    indexed  INTEGER NOT NULL
) STRICT;
INSERT INTO filed VALUES (1, 0, 0);

-- It was behind by contact. It follows anew, for it holds nothing that is not said in the tables above.
INSERT INTO search (search) VALUES ('delete-all');
ALTER TABLE contact DROP COLUMN indexed;
