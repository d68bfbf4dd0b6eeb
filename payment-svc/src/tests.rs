//! The payments on a real Postgres.
