-- All of theirs up to this seq has been looked at. What an earlier version has shown counts as looked at.
ALTER TABLE contact ADD COLUMN read INTEGER NOT NULL DEFAULT 0;
UPDATE contact SET read = shown;

-- When this client last knew that they were there: linked, or online as discovery says. Null: never.
ALTER TABLE contact ADD COLUMN seen INTEGER;

-- The key that the user has compared with them.
ALTER TABLE contact ADD COLUMN verified BLOB CHECK (length(verified) = 32);

-- The words of what was said, by the seq of the message, which is the row's number here. The text itself is not
-- kept a second time. `owner` is the contact's id as a word: it finds one contact's messages as fast as anybody's.
CREATE VIRTUAL TABLE search USING fts5 (
    owner, body, contact UNINDEXED,
    content = '', contentless_delete = 1, contentless_unindexed = 1
);

-- The words of everything said with a contact up to this seq are in `search`; the rest follows when there is time.
ALTER TABLE contact ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0;
