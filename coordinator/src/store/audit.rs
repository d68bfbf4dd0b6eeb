//! What must hold within the coordinator's database.
use participant::audit::{Check, Violation};

use super::Store;

impl Store {
    /// Checks that every open batch counts the records of it that say STAGING: a batch that counts wrong could be closed
    /// over a record that is not decided.
    pub async fn audit(&self) -> Result<Vec<Check>, sqlx::Error> {
        // One statement, so one snapshot.
        let batches: Vec<(String, i32, i64)> = sqlx::query_as(
            "SELECT b.batch_id::text, b.undecided, count(r.transaction_id) FROM record_batch b \
             CROSS JOIN LATERAL unnest(b.transaction_ids) AS member (transaction_id) \
             LEFT JOIN record r ON r.transaction_id = member.transaction_id AND r.batch_id = b.batch_id AND r.state = 1 \
             WHERE b.state = 1 GROUP BY b.batch_id, b.undecided ORDER BY b.batch_id",
        )
        .fetch_all(&self.pool)
        .await?;
        let wrong = batches.iter().filter(|(_, undecided, staging)| i64::from(*undecided) != *staging);
        let violation = |(batch_id, undecided, staging): &(String, i32, i64)| Violation {
            transaction_id: String::new(),
            subject: format!("batch {batch_id}"),
            detail: format!("{undecided} of its records are said to be undecided, {staging} are STAGING"),
        };
        Ok(vec![Check {
            invariant: "agreement",
            checked_count: i64::try_from(batches.len()).unwrap_or(i64::MAX),
            violations: wrong.map(violation).collect(),
        }])
    }
}
