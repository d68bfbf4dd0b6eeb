//! Deciding records one by one, under the lock of their batches.
use std::collections::{HashMap, HashSet};

use participant::Refusal;
use protocol::record::{self, Abort, RecordState};
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::{answer_code, decided_state, state_code};
use super::standing::Standing;
use super::{Entry, Finish, NewRecord, Reply, Round, batch, split, stage};

impl Round<'_> {
    /// Aborts records that are STAGING, and inserts ABORTED ones where none stands.
    pub(super) async fn abort(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut aborts: Vec<(usize, &NewRecord, bool)> = Vec::new();
        let mut refusals: HashMap<Uuid, &Refusal> = HashMap::new();
        for (place, entry) in self.entries.iter().enumerate() {
            if let Entry::Abort(record, refusal) | Entry::InsertAborted(record, refusal) = entry {
                aborts.push((place, record, matches!(entry, Entry::Abort(..))));
                refusals.insert(record.transaction_id, refusal);
            }
        }
        if aborts.is_empty() {
            return Ok(());
        }
        let watermark = stage::lock_watermark(connection).await?;
        // By transaction first: an abort and an insert of one transaction are neighbours, and only one row is inserted.
        aborts.sort_unstable_by_key(|(_, record, is_abort)| (record.transaction_id, !is_abort));
        let mut wanted: Vec<&NewRecord> = aborts.iter().map(|(_, record, _)| *record).collect();
        wanted.dedup_by_key(|record| record.transaction_id);
        let ids: Vec<Uuid> = wanted.iter().map(|record| record.transaction_id).collect();
        let standing = self.standing(connection, &ids).await?;
        let missing = wanted
            .iter()
            .copied()
            .filter(|record| !standing.contains_key(&record.transaction_id) && record.deadline_unix_ms > watermark)
            .collect();
        let took_request = stage::insert_tombstones(connection, missing, &refusals).await?;
        let mut to_abort = Vec::new();
        for (place, record, is_abort) in aborts {
            let (own, holds_request) = split(standing.get(&record.transaction_id));
            let request_free = took_request.contains(&record.transaction_id);
            let below = record.deadline_unix_ms <= watermark;
            let abort = if is_abort {
                record::abort(own, holds_request, request_free, below)
            } else {
                record::insert_aborted(own, holds_request, request_free, below)
            };
            if own == Some(RecordState::Staging) && matches!(abort, Abort::Aborted { .. }) {
                to_abort.push(record.transaction_id);
            }
            self.answer(place, Reply::Abort(abort));
        }
        let reasons: Vec<String> =
            to_abort.iter().filter_map(|id| refusals.get(id)).map(|refusal| refusal.to_json()).collect();
        self.decide(connection, &to_abort, &standing, RecordState::Aborted, &reasons).await
    }

    /// Commits records that are STAGING.
    pub(super) async fn commit(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut commits: Vec<(usize, Uuid)> = Vec::new();
        for (place, entry) in self.entries.iter().enumerate() {
            if let Entry::Commit(transaction_id) = entry {
                commits.push((place, *transaction_id));
            }
        }
        if commits.is_empty() {
            return Ok(());
        }
        commits.sort_unstable_by_key(|(_, transaction_id)| *transaction_id);
        let ids: Vec<Uuid> = commits.iter().map(|(_, transaction_id)| *transaction_id).collect();
        let standing = self.standing(connection, &ids).await?;
        let staging: Vec<Uuid> =
            ids.into_iter().filter(|id| split(standing.get(id)).0 == Some(RecordState::Staging)).collect();
        self.decide(connection, &staging, &standing, RecordState::Committed, &[]).await?;
        for (place, transaction_id) in commits {
            let commit = record::commit(split(standing.get(&transaction_id)).0);
            self.answer(place, Reply::Commit(commit));
        }
        Ok(())
    }

    /// Finishes that did not wait for the others of their batch.
    pub(super) async fn finish(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut finishes: Vec<&Finish> = Vec::new();
        for (entry, reply) in self.entries.iter().zip(&mut self.replies) {
            if let Entry::Finish(finish) = entry {
                finishes.push(finish);
                *reply = Some(Reply::Finished);
            }
        }
        self.finish_each(connection, finishes).await
    }

    /// Finishes records one by one, whatever they say by now: the answer is kept whatever the state is, the decision and its
    /// reason only where nothing was decided yet.
    pub(super) async fn finish_each(
        &mut self,
        connection: &mut PgConnection,
        finishes: Vec<&Finish>,
    ) -> Result<(), sqlx::Error> {
        let ids: Vec<Uuid> = finishes.iter().map(|finish| finish.transaction_id).collect();
        let standing = self.standing(connection, &ids).await?;
        let is_decided = |finish: &&Finish| {
            let own = split(standing.get(&finish.transaction_id)).0;
            finish.decision.is_some() && own == Some(RecordState::Staging)
        };
        let (decided, told): (Vec<&Finish>, Vec<&Finish>) = finishes.into_iter().partition(is_decided);
        let batches = batches(&standing, decided.iter().map(|finish| finish.transaction_id));
        write(connection, decided).await?;
        tell(connection, &told).await?;
        batch::lower(connection, batches).await
    }

    /// Makes STAGING records final. `refusals` is empty, or one JSON text for each id.
    async fn decide(
        &mut self,
        connection: &mut PgConnection,
        ids: &[Uuid],
        standing: &HashMap<Uuid, Standing>,
        state: RecordState,
        refusals: &[String],
    ) -> Result<(), sqlx::Error> {
        if ids.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "UPDATE record r SET state = $3::smallint, first_decision = $3::smallint, decide_time = now(), \
                 refusal = d.refusal::jsonb, ended = $3::smallint = 3 \
             FROM unnest($1::uuid[], $2::text[]) AS d (transaction_id, refusal) \
             WHERE r.transaction_id = d.transaction_id AND r.state = 1",
        )
        .bind(ids)
        .bind(refusals)
        .bind(state_code(state))
        .execute(&mut *connection)
        .await?;
        batch::lower(connection, batches(standing, ids.iter().copied())).await?;
        // Durable with the others of this run, so their batch needn't wait for them.
        let decided: HashSet<&Uuid> = ids.iter().collect();
        for batch in &mut self.staged {
            batch.members.retain(|member| !decided.contains(member));
        }
        Ok(())
    }
}

/// The batch of each of these records that has one.
fn batches(standing: &HashMap<Uuid, Standing>, ids: impl Iterator<Item = Uuid>) -> Vec<Uuid> {
    ids.filter_map(|id| standing.get(&id)?.batch_id).collect()
}

/// Writes decisions and answers into records that are known to be STAGING.
pub(super) async fn write(connection: &mut PgConnection, mut finishes: Vec<&Finish>) -> Result<(), sqlx::Error> {
    if finishes.is_empty() {
        return Ok(());
    }
    finishes.sort_unstable_by_key(|finish| finish.transaction_id);
    let state = |finish: &&Finish| state_code(finish.decision.map_or(RecordState::Staging, decided_state));
    sqlx::query(
        "UPDATE record r SET client_answer = f.client_answer, refusal = f.refusal::jsonb, decide_time = now(), \
             first_decision = f.state, ended = f.state = 3, state = f.state \
         FROM unnest($1::uuid[], $2::smallint[], $3::smallint[], $4::text[]) \
             AS f (transaction_id, state, client_answer, refusal) \
         WHERE r.transaction_id = f.transaction_id AND r.state = 1 AND f.state <> 1",
    )
    .bind(finishes.iter().map(|finish| finish.transaction_id).collect::<Vec<_>>())
    .bind(finishes.iter().map(state).collect::<Vec<_>>())
    .bind(finishes.iter().map(|finish| answer_code(finish.client_answer)).collect::<Vec<_>>())
    .bind(finishes.iter().map(|finish| finish.refusal.as_ref().map(Refusal::to_json)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes what clients were told.
async fn tell(connection: &mut PgConnection, finishes: &[&Finish]) -> Result<(), sqlx::Error> {
    if finishes.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE record r SET client_answer = f.client_answer \
         FROM unnest($1::uuid[], $2::smallint[]) AS f (transaction_id, client_answer) \
         WHERE r.transaction_id = f.transaction_id AND r.client_answer <> f.client_answer",
    )
    .bind(finishes.iter().map(|finish| finish.transaction_id).collect::<Vec<_>>())
    .bind(finishes.iter().map(|finish| answer_code(finish.client_answer)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
