//! How services connect to their Postgres, and what its errors mean.
use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

use crate::Pool;

/// What an error means for the local transaction it happened in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The connection is gone. In COMMIT: the outcome is unknown; before it: nothing was written.
    Lost,
    /// Nothing was written, and the same may succeed now (deadlock, serialization, conflict with another writer).
    Retry,
    /// Nothing was written, and the same will fail again.
    Refused,
}

/// The error with which work asks to be run again, because it met another writer.
pub fn conflict() -> sqlx::Error {
    sqlx::Error::Protocol(CONFLICT.to_owned())
}

const CONFLICT: &str = "another writer was faster";

/// What an error means.
pub fn classify(error: &sqlx::Error) -> Failure {
    match error {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // Class 08: connection; 57P0x: the server is shutting down, crashed, or is not up yet; 53: out of resources;
            // 25P03: the session was ended because its transaction stood idle for too long.
            Some("25P03") => Failure::Lost,
            Some(code) if code.starts_with("08") || code.starts_with("57P") || code.starts_with("53") => Failure::Lost,
            Some("40001" | "40P01" | "55P03") => Failure::Retry,
            _ => Failure::Refused,
        },
        sqlx::Error::Protocol(message) if message == CONFLICT => Failure::Retry,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Failure::Lost,
        _ => Failure::Refused,
    }
}

/// Whether a lock was not to be had, or not in time.
pub fn is_lock_refused(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(database) if database.code().as_deref() == Some("55P03"))
}

/// How to connect: the URL, the service's name for pg_stat_activity, and guards for a writer's session.
///
/// The plan settings keep the plans of prepared statements from being made for the empty tables of a first start.
pub fn connect_options(database_url: &str, application_name: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(database_url)?
        .application_name(application_name)
        .log_statements(tracing::log::LevelFilter::Off)
        .options([
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("jit", "off"),
            // Forced means that COMMIT returned with this on; whatever the server's or the role's default is.
            ("synchronous_commit", "on"),
            ("statement_timeout", "30s"),
            ("lock_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "30s"),
        ]))
}

/// A pool for reads, which waits for the database to come up.
pub async fn connect_pool(
    database_url: &str,
    application_name: &str,
    max_connections: u32,
    wait: Duration,
) -> Result<Pool, sqlx::Error> {
    let options = connect_options(database_url, application_name)?;
    let give_up = Instant::now() + wait;
    loop {
        match Pool::connect(options.clone(), max_connections).await {
            Ok(pool) => return Ok(pool),
            Err(error) if Instant::now() < give_up && classify(&error) == Failure::Lost => {
                tracing::info!(%error, "waiting for Postgres");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Runs a crate's migrations. Each crate keeps its own table of them, so that a participant's log and the service's own
/// tables move forward apart.
pub async fn migrate(
    pool: &Pool,
    mut migrator: Migrator,
    table: &'static str,
) -> Result<(), sqlx::migrate::MigrateError> {
    migrator.dangerous_set_table_name(table);
    migrator.run(&**pool).await
}
