//! A writer's connection, and the local transaction that it is in.
//!
//! Where more is waiting already, or is likely to come soon, the next local transaction is begun with the COMMIT of this one: a
//! round trip less for each batch.
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};

/// How long a local transaction that was begun beforehand waits for work; what `now()` says in it is as old as that.
pub(super) const IDLE: Duration = Duration::from_millis(20);

/// A connection.
pub(super) struct Session {
    /// For the statements of a batch.
    pub(super) connection: PgConnection,
    is_begun: bool,
}

impl Session {
    /// Connects.
    pub(super) async fn connect(options: &PgConnectOptions) -> Result<Self, sqlx::Error> {
        Ok(Session { connection: options.connect().await?, is_begun: false })
    }

    /// Whether it is in a local transaction that has done nothing yet.
    pub(super) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Begins a local transaction, if that was not done beforehand; a lazy one may be lost in a crash of the database.
    pub(super) async fn begin(&mut self, is_lazy: bool) -> Result<(), sqlx::Error> {
        let begin = match (std::mem::take(&mut self.is_begun), is_lazy) {
            (true, false) => return Ok(()),
            (true, true) => "SET LOCAL synchronous_commit = off",
            (false, false) => "BEGIN",
            (false, true) => "BEGIN; SET LOCAL synchronous_commit = off",
        };
        self.connection.execute(begin).await.map(drop)
    }

    /// Commits; begins the next local transaction at once if it is wanted.
    pub(super) async fn commit(&mut self, begin_next: bool) -> Result<(), sqlx::Error> {
        self.connection.execute(if begin_next { "COMMIT; BEGIN" } else { "COMMIT" }).await?;
        self.is_begun = begin_next;
        Ok(())
    }

    /// Ends whatever local transaction it is in, without effect.
    pub(super) async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
        self.is_begun = false;
        self.connection.execute("ROLLBACK").await.map(drop)
    }

    /// Closes the connection without a word.
    pub(super) async fn close(self) {
        let _ = self.connection.close_hard().await;
    }
}
