//! The inventory on a real Postgres.
