//! A service's own writes by RPC, outside transactions of the protocol: each is one local transaction.
//!
//! It runs in a task of its own, because the future of an RPC is dropped when its client goes away, and what is
//! dropped between BEGIN and COMMIT leaves the client and the connection in doubt. Such a write must lock its rows in
//! an order in which it can never wait in a circle with a batch: one row that batches touch, and that one before any
//! other that only such writes touch.
use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tonic::{Code, Status};

use crate::pool::in_time;
use crate::postgres::{Failure, classify};
use crate::{Pool, status};

/// The future of a write, on the connection that it borrows.
pub type Writing<'c, T, D> = Pin<Box<dyn Future<Output = Result<Result<T, D>, sqlx::Error>> + Send + 'c>>;

/// Runs `work` in one local transaction and commits it; what it denies is rolled back.
pub async fn run<T, D>(
    pool: &Pool,
    work: impl for<'c> FnOnce(&'c mut PgConnection) -> Writing<'c, T, D> + Send + 'static,
) -> Result<T, Status>
where
    T: Send + 'static,
    D: Into<Status> + Send + 'static,
{
    let pool = pool.clone();
    let written = tokio::spawn(async move {
        let connection = pool.acquire().await.map_err(|error| status::database(&error))?;
        let ended = in_time(connection, async |connection: &mut PgConnection| {
            let mut local = match connection.begin().await {
                Ok(local) => local,
                Err(error) => return Ok(Err(status::database(&error))),
            };
            Ok(match work(&mut local).await {
                Ok(Ok(answer)) => local.commit().await.map(|()| answer).map_err(|error| not_committed(&error)),
                Ok(Err(denied)) => {
                    // If this fails the connection is broken, which rolls back as well.
                    let _ = local.rollback().await;
                    Err(denied.into())
                }
                Err(error) => {
                    let _ = local.rollback().await;
                    Err(status::database(&error))
                }
            })
        });
        ended.await.unwrap_or_else(|error| Err(not_committed(&error)))
    });
    written.await.unwrap_or_else(|ended| {
        tracing::error!(error = %ended, "a write ended early");
        Err(status::error(Code::Internal, "INTERNAL", "the service's log says why", &BTreeMap::new()))
    })
}

fn not_committed(error: &sqlx::Error) -> Status {
    match classify(error) {
        Failure::Lost => status::unavailable(
            "OUTCOME_UNKNOWN",
            "the database was lost while committing: it may or may not be done; repeat this very call",
            &BTreeMap::new(),
            Duration::from_millis(200),
        ),
        Failure::Retry | Failure::Refused => status::database(error),
    }
}
