-- What a journal of format 6 lacks: the rooms, which are added, and the standing of a member (3).

CREATE TABLE contact_7 (
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
    bytes      INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO contact_7 SELECT id, name, key, offered, verified, request, blocked, standing, told_at, version, reached, told, seen,
    delivered, base, lost_after, lost_to, shown, read, bytes FROM contact;
DROP TABLE contact;
ALTER TABLE contact_7 RENAME TO contact;
