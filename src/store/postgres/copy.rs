//! From one machine to many: what a [`Directory`] keeps goes into a ledger in PostgreSQL.
