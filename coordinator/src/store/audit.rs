//! What must hold within the coordinator's database.
use participant::audit::{Check, Violation};

use super::Store;

impl Store {
    /// Checks that every open batch counts the records of it that say STAGING: a batch that counts wrong could be closed
    /// over a record that is not decided. And that no record and no batch contradicts itself.
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
        let mut violations: Vec<Violation> = wrong.map(violation).collect();
        violations.extend(self.contradictions().await?);
        let checked_count = i64::try_from(batches.len()).unwrap_or(i64::MAX);
        Ok(vec![Check { invariant: "agreement", checked_count, violations }])
    }

    async fn contradictions(&self) -> Result<impl Iterator<Item = Violation>, sqlx::Error> {
        let contradicting: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT transaction_id::text, '', \
                 format('a record in state %s, decided as %s at first, its client told %s, of mode %s', \
                        state, coalesce(first_decision::text, 'nothing'), client_answer, mode) \
             FROM record \
             WHERE state NOT BETWEEN 1 AND 3 OR (state = 1) <> (first_decision IS NULL) OR first_decision NOT IN (2, 3) \
                 OR client_answer NOT BETWEEN 0 AND 3 OR mode NOT IN (1, 2) \
             UNION ALL \
             SELECT coalesce(transaction_ids[1]::text, ''), format('batch %s', batch_id), \
                 format('it is in state %s, with %s undecided and closed at %s', state, undecided, \
                        coalesce(decide_time::text, 'no time')) \
             FROM record_batch \
             WHERE state NOT IN (1, 2) OR (state = 2) <> (decide_time IS NOT NULL) OR undecided < 0 OR state = 2 AND undecided <> 0",
        )
        .fetch_all(&self.pool)
        .await?;
        let violation = |(transaction_id, subject, detail)| Violation { transaction_id, subject, detail };
        Ok(contradicting.into_iter().map(violation))
    }
}
