//! The local transaction of a batch: what takes several statements begins it, what takes one need not, because a statement is a
//! local transaction of its own.
use sqlx::{Executor, PgConnection};

use crate::crash_point;

/// A writer's connection while a batch is carried out.
#[derive(Debug)]
pub struct Local<'a> {
    connection: &'a mut PgConnection,
    /// Whether a crash of the database may take it back.
    is_lazy: bool,
    /// Whether the connection is in a local transaction.
    is_open: &'a mut bool,
    /// Whether it is that of the batch.
    has_begun: bool,
}

impl<'a> Local<'a> {
    /// For a batch. `is_open` says whether the connection is in a local transaction, begun beforehand; and afterwards whether it is in
    /// that of the batch, which is then to be ended.
    pub fn new(connection: &'a mut PgConnection, is_open: &'a mut bool, is_lazy: bool) -> Self {
        Local { connection, is_lazy, is_open, has_begun: false }
    }

    /// The connection in the local transaction of the batch, which is begun unless it was. All that is done from now on is
    /// committed together.
    pub async fn begin(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        if !self.has_begun {
            let begin = match (std::mem::replace(self.is_open, true), self.is_lazy) {
                (true, false) => None,
                (true, true) => Some("SET LOCAL synchronous_commit = off"),
                (false, false) => Some("BEGIN"),
                (false, true) => Some("BEGIN; SET LOCAL synchronous_commit = off"),
            };
            if let Some(begin) = begin {
                self.connection.execute(begin).await?;
            }
            self.has_begun = true;
            crash_point::pass("batch.before_sql");
        }
        Ok(self.connection)
    }

    /// The connection, for the one statement that is all there is to do. When it returns what it has done is committed, unless the
    /// local transaction was begun. A lazy batch is always begun.
    pub async fn alone(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        if self.is_lazy {
            return self.begin().await;
        }
        crash_point::pass("batch.before_sql");
        Ok(self.connection)
    }

    /// Whether [`Local::begin`] was needed.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }
}
