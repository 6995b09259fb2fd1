-- All of theirs up to this seq has been looked at. What an earlier version has shown counts as looked at.
ALTER TABLE contact ADD COLUMN read INTEGER NOT NULL DEFAULT 0;
UPDATE contact SET read = shown;

-- When this client last knew that they were there: linked, or online as discovery says. Null: never.
ALTER TABLE contact ADD COLUMN seen INTEGER;

-- The key that the user has compared with them.
ALTER TABLE contact ADD COLUMN verified BLOB CHECK (length(verified) = 32);
