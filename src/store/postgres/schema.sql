-- What discoveries on several machines share. Times are milliseconds since 1970, unless they are of a type of their own;
-- addresses are text as IP:PORT or [IP]:PORT. Text is compared byte by byte: a new version of the system's collations
-- then breaks no index.

CREATE TABLE ledger (
    is_only       boolean PRIMARY KEY CHECK (is_only),
    format        integer NOT NULL,
    secret        bytea NOT NULL CHECK (octet_length(secret) = 32),
    -- The highest id that an account has ever had.
    last_user_id  bigint NOT NULL,
    -- The oldest format whose discovery may still use this schema.
    least         integer NOT NULL
);

CREATE TABLE users (
    id          bigint PRIMARY KEY,
    name        text COLLATE "C" NOT NULL UNIQUE,
    key         bytea NOT NULL UNIQUE CHECK (octet_length(key) = 32),
    address     text COLLATE "C" NOT NULL,
    -- The IP that the client was seen to come from, and how the user meets strangers: 0 open, 1 ask, 2 all, 3 closed.
    observed    text COLLATE "C" NOT NULL,
    strangers   smallint NOT NULL CHECK (strangers BETWEEN 0 AND 3),
    registered  bigint NOT NULL,
    seen        bigint NOT NULL
);

-- Which users have both asked for the other, once a pair.
CREATE TABLE connections (
    a      bigint NOT NULL REFERENCES users (id),
    b      bigint NOT NULL REFERENCES users (id),
    since  bigint NOT NULL,
    PRIMARY KEY (a, b),
    CHECK (a < b)
);

-- Which users have asked for others, and have not been answered.
CREATE TABLE requests (
    asker   bigint NOT NULL REFERENCES users (id),
    target  bigint NOT NULL REFERENCES users (id),
    -- Whether the user asked, and not only the client.
    typed   boolean NOT NULL,
    asked   bigint NOT NULL,
    -- When the target was first told, if that has been.
    told    bigint,
    PRIMARY KEY (asker, target),
    CHECK (asker <> target)
);

-- Which users have dropped others.
CREATE TABLE refusals (
    refuser  bigint NOT NULL REFERENCES users (id),
    refused  bigint NOT NULL REFERENCES users (id),
    since    bigint NOT NULL,
    PRIMARY KEY (refuser, refused),
    CHECK (refuser <> refused)
);

-- A release reads these. It holds up all nodes, so it must not read whole tables.
CREATE INDEX ON connections (b);
CREATE INDEX ON requests (target);
CREATE INDEX ON refusals (refused);

-- The names that the operator has freed, each with the last key that it was taken from.
CREATE TABLE released (
    name   text COLLATE "C" PRIMARY KEY,
    key    bytea NOT NULL CHECK (octet_length(key) = 32),
    freed  bigint NOT NULL
);

-- Ids fit into four bytes: half of the key of the advisory lock that is a node's lease.
CREATE TABLE nodes (
    id       bigint PRIMARY KEY,
    name     text COLLATE "C" NOT NULL,
    address  text COLLATE "C" NOT NULL,
    lost     boolean NOT NULL,
    -- The node counts it up as long as it is alive.
    beat     bigint NOT NULL,
    -- The highest number of a kind of change that the node understands. One that is older than this column says nothing.
    reads    integer NOT NULL DEFAULT 14
);

-- The session of each user that is online. What only nodes read is one column.
CREATE TABLE sessions (
    user_id   bigint PRIMARY KEY,
    node      bigint NOT NULL,
    session   bigint NOT NULL,
    presence  bytea NOT NULL
);

-- The keys of which users say, for a session, that they share a room with them.
CREATE TABLE mates (
    user_id  bigint,
    key      bytea CHECK (octet_length(key) = 32),
    PRIMARY KEY (user_id, key)
);

-- What the nodes have changed, for the other nodes: the last 10 minutes, and the last one always. Each turn names the
-- one before.
CREATE TABLE turns (
    n        bigint PRIMARY KEY,
    id       bytea NOT NULL CHECK (octet_length(id) = 16),
    after    bytea NOT NULL CHECK (octet_length(after) = 16),
    node     bigint NOT NULL,
    at       timestamptz NOT NULL,
    changes  bytea NOT NULL
);
