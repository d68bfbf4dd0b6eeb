//! Readings that no crash of the database takes back.
//!
//! Decisions are committed lazily: others see them before they are on disk, and a crash may lose them. They come again then,
//! but other movements may have come before them. Whoever is told of a movement by its sequence must not hear of another one
//! under the same.
use std::time::Duration;

use participant::Pool;
use sqlx::{Error, PgConnection};
use tokio::time::sleep;

/// How often, and how long between, it looks whether the next flush has come by itself, as under load it does.
const LOOKS: u32 = 4;
const BETWEEN: Duration = Duration::from_millis(3);

/// Reads, and answers once all that was read is durable. All of it on one connection: another one might lead to a
/// database that has lost it meanwhile, and would not tell.
pub async fn read<T>(
    pool: &Pool,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<Vec<T>, Error>,
) -> Result<Vec<T>, Error> {
    pool.run(async |connection: &mut PgConnection| {
        let found = work(&mut *connection).await?;
        if !found.is_empty() {
            flushed(connection).await?;
        }
        Ok(found)
    })
    .await
}

/// Returns once all that this connection could have read is flushed.
async fn flushed(connection: &mut PgConnection) -> Result<(), Error> {
    let until: String =
        sqlx::query_scalar("SELECT pg_current_wal_insert_lsn()::text").fetch_one(&mut *connection).await?;
    for _ in 0..LOOKS {
        let is_flushed: bool = sqlx::query_scalar("SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn")
            .bind(&until)
            .fetch_one(&mut *connection)
            .await?;
        if is_flushed {
            return Ok(());
        }
        sleep(BETWEEN).await;
    }
    // Nobody else writes: an empty message of its own is a local transaction whose COMMIT is forced.
    sqlx::query("SELECT pg_logical_emit_message(true, 'assent', '')").execute(connection).await.map(drop)
}
