//! Writes that touch several SKUs: they wait for a lock only briefly, let go of all they have and try again.
use std::time::{Duration, Instant};

use participant::Pool;
use participant::own_write::{self, Writing};
use sqlx::PgConnection;
use tonic::{Code, Status};

use crate::domain::Denied;

/// How long a write that meets others is tried again.
const TRIED_FOR: Duration = Duration::from_secs(3);

/// Runs a write, again while it meets others.
pub async fn run_again<T, W>(pool: &Pool, make: impl Fn() -> W) -> Result<T, Status>
where
    T: Send + 'static,
    W: for<'c> FnOnce(&'c mut PgConnection) -> Writing<'c, T, Denied> + Send + 'static,
{
    let began = Instant::now();
    loop {
        match own_write::run(pool, make()).await {
            Err(failed) if failed.code() == Code::Unavailable && began.elapsed() < TRIED_FOR => {
                // What may have been written already is not for us to repeat.
                if super::wire::reason(&failed) != "DATABASE_UNAVAILABLE" {
                    return Err(failed);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            ended => return ended,
        }
    }
}
