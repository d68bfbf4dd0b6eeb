//! Batches that expect the usual: inserts that meet no row.
//!
//! ON CONFLICT DO NOTHING looks for each row before it inserts it and confirms it afterwards, which makes an insert half
//! as dear again; and a statement that has to say which rows it has inserted sends each of them back. Hardly any batch needs
//! either: it takes a message or a request that comes twice, or too late. So a batch goes without first, and only counts.
//! One that fails for a duplicate, or has inserted fewer rows than it should have, is run again with care, and so are the
//! next ones for a while, because repeats come in swarms.
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
        let is_unexpected = match &result {
            Err(sqlx::Error::Database(error)) => error.is_unique_violation(),
            Err(sqlx::Error::Protocol(message)) => message == UNUSUAL,
            _ => false,
        };
        match result {
            Err(_) if !expected && is_unexpected => {
                self.careful_batches.store(CAREFUL_BATCHES, Ordering::Relaxed);
                Err(conflict())
            }
            result => result,
        }
    }
}

const UNUSUAL: &str = "a batch met what it did not expect";

/// Checks that a statement has inserted as many rows as it was given. If not, the batch asks with this error to be run again
/// with care; see [`Duplicates::learn`].
pub fn all(inserted: u64, given: usize) -> Result<(), sqlx::Error> {
    match u64::try_from(given) == Ok(inserted) {
        true => Ok(()),
        false => Err(sqlx::Error::Protocol(UNUSUAL.to_owned())),
    }
}
