//! Connections for reads, and for writes outside batches, none of which waits forever: a database that vanished without a
//! word, or whose connections something on the way has forgotten, answers no more than one that thinks.
use std::ops::{AsyncFnOnce, Deref};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection, Describe, Either, Error, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a connection is waited for.
const ACQUIRED_WITHIN: Duration = Duration::from_secs(3);
/// How long an idle connection may take to show that it still leads to the database. Another one is taken otherwise.
const PROVEN_WITHIN: Duration = Duration::from_secs(1);
/// How long a statement may take, and getting a connection for it: longer than whoever asked for it waits.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// How long a local transaction of several statements may take, the waiting for locks included.
const ENDED_WITHIN: Duration = Duration::from_secs(15);

/// A pool; clones share it.
#[derive(Debug, Clone)]
pub struct Pool(PgPool);

impl Pool {
    /// A pool of so many connections; connects once, to see whether it can.
    pub async fn connect(options: PgConnectOptions, max_connections: u32) -> Result<Self, Error> {
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRED_WITHIN)
            // The library's own tests wait for a silent connection as long as it is silent, and keep its place.
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(prove(connection)))
            .after_release(|connection, _| Box::pin(prove(connection)));
        Ok(Pool(pool.connect_with(options).await?))
    }

    /// Runs several statements on one connection, in time: see [`in_time`].
    pub async fn run<T>(&self, work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>) -> Result<T, Error> {
        in_time(self.0.acquire().await?, work).await
    }
}

/// Runs several statements on a connection of a pool. It is closed if they don't end in time, which rolls them back unless they were
/// being committed.
pub async fn in_time<T>(
    mut connection: PoolConnection<Postgres>,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
) -> Result<T, Error> {
    let Ok(done) = timeout(ENDED_WITHIN, work(&mut connection)).await else {
        let _ = connection.detach().close_hard().await;
        return Err(silent(ENDED_WITHIN));
    };
    done
}

impl From<PgPool> for Pool {
    fn from(pool: PgPool) -> Self {
        Pool(pool)
    }
}

impl Deref for Pool {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.0
    }
}

impl<'p> Executor<'p> for &'_ Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let until = Instant::now() + ANSWERED_WITHIN;
        let next = move |mut rows: BoxStream<'e, _>| async move {
            match timeout_at(until, rows.next()).await {
                Ok(row) => row.map(|row| (row, rows)),
                Err(_) => Some((Err(silent(ANSWERED_WITHIN)), stream::empty().boxed())),
            }
        };
        stream::unfold(self.0.fetch_many(query), next).boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        answered(self.0.fetch_optional(query))
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        answered(self.0.prepare_with(sql, parameters))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        answered(self.0.describe(sql))
    }
}

fn answered<'e, T: 'e>(answer: BoxFuture<'e, Result<T, Error>>) -> BoxFuture<'e, Result<T, Error>> {
    Box::pin(async move { timeout(ANSWERED_WITHIN, answer).await.unwrap_or_else(|_| Err(silent(ANSWERED_WITHIN))) })
}

async fn prove(connection: &mut PgConnection) -> Result<bool, Error> {
    match timeout(PROVEN_WITHIN, connection.ping()).await {
        Ok(answer) => answer.map(|()| true),
        Err(_) => Err(silent(PROVEN_WITHIN)),
    }
}

/// The database has said nothing for so long.
pub(crate) fn silent(within: Duration) -> Error {
    let message = format!("the database has not answered within {} ms", within.as_millis());
    Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, message))
}
