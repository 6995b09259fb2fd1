-- From format 1 to 2: ids of nodes are drawn at random, and nodes say which kinds of changes they read.

DROP SEQUENCE node_ids;

ALTER TABLE ledger ADD COLUMN least integer NOT NULL DEFAULT 2;
ALTER TABLE ledger ALTER COLUMN least DROP DEFAULT;

ALTER TABLE nodes ADD COLUMN reads integer NOT NULL DEFAULT 14;
