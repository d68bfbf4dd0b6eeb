//! A writer's connection, and the local transaction that it is in.
//!
//! Where more is waiting already, or is likely to come soon, the next local transaction is begun with the COMMIT of this one: a
//! round trip less for each batch.
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};

use super::local::Local;

/// How long a local transaction that was begun beforehand waits for work; what `now()` says in it is as old as that.
pub(super) const IDLE: Duration = Duration::from_millis(20);

/// A connection.
pub(super) struct Session {
    connection: PgConnection,
    is_open: bool,
}

impl Session {
    /// Connects.
    pub(super) async fn connect(options: &PgConnectOptions) -> Result<Self, sqlx::Error> {
        Ok(Session { connection: options.connect().await?, is_open: false })
    }

    /// Whether it is in a local transaction: between batches one that has done nothing yet.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// For a batch.
    pub(super) fn local(&mut self, is_lazy: bool) -> Local<'_> {
        Local::new(&mut self.connection, &mut self.is_open, is_lazy)
    }

    /// Commits; begins the next local transaction at once if it is wanted.
    pub(super) async fn commit(&mut self, begin_next: bool) -> Result<(), sqlx::Error> {
        self.connection.execute(if begin_next { "COMMIT; BEGIN" } else { "COMMIT" }).await?;
        self.is_open = begin_next;
        Ok(())
    }

    /// Ends the local transaction that it is in, without effect.
    pub(super) async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
        if std::mem::take(&mut self.is_open) {
            self.connection.execute("ROLLBACK").await?;
        }
        Ok(())
    }

    /// Closes the connection without a word.
    pub(super) async fn close(self) {
        let _ = self.connection.close_hard().await;
    }
}
