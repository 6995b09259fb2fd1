ALTER TABLE part RENAME TO segment;
ALTER TABLE filed RENAME TO sealed;
