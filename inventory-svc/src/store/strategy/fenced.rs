//! What is done under a lock of another server, which may have gone meanwhile: the holder was paused for longer than the
//! lock lives, or the server has lost its data, and somebody else holds it now. No check of the lock helps, because the
//! pause may come after the check. So Postgres keeps the fencing token of the last holder with the stock, and an update
//! is carried out only if nobody has written under another token since the stock was read, and no later one has.
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use participant::postgres::conflict;
use participant::{PreparedBranch, Refusal, crash_point};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Counters, Held, find_enough, hold};
use crate::domain::Holds;
use crate::store::holds::{self, Guard};

/// The locks that transactions hold, by their ids: `L` is what a lock server has given.
#[derive(Debug)]
pub struct Entered<L>(Mutex<HashMap<Uuid, Lock<L>>>);

#[derive(Debug)]
struct Lock<L> {
    held: L,
    /// The token of each SKU, in the order of the SKUs.
    tokens: Vec<i64>,
    /// The highest token found with the stock, where that was not below the own.
    beaten_by: Option<i64>,
}

impl<L> Default for Entered<L> {
    fn default() -> Self {
        Entered(Mutex::default())
    }
}

impl<L> Entered<L> {
    /// A transaction has got its locks.
    pub fn enter(&self, transaction_id: Uuid, held: L, tokens: Vec<i64>) {
        self.all().insert(transaction_id, Lock { held, tokens, beaten_by: None });
    }

    /// A transaction is done with its locks: what it held, and by which token it was beaten.
    pub fn leave(&self, transaction_id: Uuid) -> Option<(L, Option<i64>)> {
        self.all().remove(&transaction_id).map(|lock| (lock.held, lock.beaten_by))
    }

    /// Takes the holds of a branch under its locks.
    pub async fn take(
        &self,
        connection: &mut PgConnection,
        branch: &PreparedBranch<Holds>,
        counters: &Counters,
    ) -> Result<Result<(), Refusal>, sqlx::Error> {
        let tokens = self.all().get(&branch.transaction_id).map(|lock| lock.tokens.clone());
        let tokens = tokens.ok_or_else(|| lost("its lock was given back already"))?;
        let read = holds::read(connection, &branch.branch).await?;
        let claims = match find_enough(connection, branch, &read).await? {
            Ok(claims) => claims,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let fences: Vec<i64> = read.values().map(|seen| seen.fence).collect();
        if let Some(fence) = fences.iter().zip(&tokens).find(|(fence, token)| fence >= token).map(|(fence, _)| *fence) {
            counters.fence();
            if let Some(lock) = self.all().get_mut(&branch.transaction_id) {
                lock.beaten_by = Some(fence);
            }
            return Err(lost("its fencing token is not above that of the last holder"));
        }
        crash_point::pass("stock.read");
        match hold(connection, branch, &claims, Guard::Fence { read: &fences, tokens: &tokens }).await {
            Ok(Held::All) => Ok(Ok(())),
            Ok(Held::Some | Held::Nothing) => {
                counters.fence();
                Err(lost("somebody else has held the stock since it was read"))
            }
            // Less is there than was read: whoever took from what is on hand did so without the lock, as a shop may.
            Err(sqlx::Error::Database(error)) if error.is_check_violation() => {
                counters.retry();
                Err(conflict())
            }
            Err(error) => Err(error),
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Uuid, Lock<L>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lock was lost: nothing is written, and the vote is unknown. It would be no better in another try, which would have the
/// same token.
fn lost(why: &str) -> sqlx::Error {
    tracing::warn!("a lock was lost: {why}");
    sqlx::Error::InvalidArgument(format!("the lock was lost: {why}"))
}
