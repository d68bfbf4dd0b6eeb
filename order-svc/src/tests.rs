//! The orders on a real Postgres.
