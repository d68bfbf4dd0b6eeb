//! Inserts that expect to meet nothing, and what becomes of them when they do.
//!
//! ON CONFLICT DO NOTHING looks for each row before it inserts it and confirms it afterwards, which makes an insert half
//! as dear again. Hardly any insert of a writer meets a row: that takes a message or a request that comes twice. So a
//! batch goes without it first. One that fails for a duplicate is run again with it, and so are the next ones for a while,
//! because repeats come in swarms.
use std::sync::atomic::{AtomicU32, Ordering};

use crate::postgres::conflict;

/// So many batches expect duplicates after one was met.
const CAREFUL_BATCHES: u32 = 100;

/// Whether a writer expects duplicates.
#[derive(Debug, Default)]
pub struct Duplicates {
    careful_batches: AtomicU32,
}

impl Duplicates {
    /// Whether the next batch is to expect them.
    pub fn are_expected(&self) -> bool {
        let left = |batches: u32| batches.checked_sub(1);
        self.careful_batches.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    /// Takes the result of a batch that did or did not expect them: one that failed because it did not is to be run again.
    pub fn learn<T>(&self, expected: bool, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        match result {
            Err(sqlx::Error::Database(error)) if !expected && error.is_unique_violation() => {
                self.careful_batches.store(CAREFUL_BATCHES, Ordering::Relaxed);
                Err(conflict())
            }
            result => result,
        }
    }
}
