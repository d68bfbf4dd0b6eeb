//! The statements of the saga writer: each takes a whole batch.
use std::collections::HashSet;

use participant::Refusal;
use protocol::saga::{Saga, StepState};
use sqlx::PgConnection;
use uuid::Uuid;

use super::work::answer_code;
use super::{ClientAnswer, NewSaga, NewStep, SagaNote, SagaRow, TakeOver, join, kind_code, state_code, step_code};

/// What a change decides.
pub struct Decided<'a> {
    /// Which saga.
    pub transaction_id: Uuid,
    /// It is accepted; otherwise it has turned.
    pub accepted: bool,
    /// What the client is told.
    pub answer: ClientAnswer,
    /// Why it has turned.
    pub refusal: Option<&'a Refusal>,
}

fn epoch(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

fn place(place: usize) -> i16 {
    i16::try_from(place).unwrap_or(i16::MAX)
}

/// Inserts records with their sagas where they meet no other; returns what was inserted.
pub async fn insert(connection: &mut PgConnection, sagas: &[&NewSaga]) -> Result<HashSet<Uuid>, sqlx::Error> {
    if sagas.is_empty() {
        return Ok(HashSet::new());
    }
    let inserted: Vec<Uuid> = sqlx::query_scalar(
        "WITH staged AS ( \
             INSERT INTO record (transaction_id, client_id, request_id, request_digest, owner_id, deadline_unix_ms, \
                 participants, state, holds_request, mode) \
             SELECT n.*, 1, true, 2 \
             FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bigint[], $7::text[]) AS n \
             ON CONFLICT DO NOTHING RETURNING transaction_id, owner_id, deadline_unix_ms \
         ), begun AS ( \
             INSERT INTO saga (transaction_id, owner_id, deadline_unix_ms) SELECT * FROM staged \
         ), opened AS (INSERT INTO open_saga SELECT transaction_id FROM staged) \
         SELECT transaction_id FROM staged",
    )
    .bind(sagas.iter().map(|saga| saga.record.transaction_id).collect::<Vec<_>>())
    .bind(sagas.iter().map(|saga| saga.record.client_id.as_str()).collect::<Vec<_>>())
    .bind(sagas.iter().map(|saga| saga.record.request_id.as_str()).collect::<Vec<_>>())
    .bind(sagas.iter().map(|saga| saga.record.request_digest.as_slice()).collect::<Vec<_>>())
    .bind(sagas.iter().map(|saga| &*saga.record.owner_id).collect::<Vec<_>>())
    .bind(sagas.iter().map(|saga| saga.record.deadline_unix_ms).collect::<Vec<_>>())
    .bind(sagas.iter().map(|saga| &*saga.record.participants).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    let inserted: HashSet<Uuid> = inserted.into_iter().collect();
    let new = sagas.iter().filter(|saga| inserted.contains(&saga.record.transaction_id));
    let steps: Vec<(Uuid, usize, &NewStep)> = new
        .flat_map(|saga| saga.steps.iter().enumerate().map(|(at, step)| (saga.record.transaction_id, at, step)))
        .collect();
    sqlx::query(
        "INSERT INTO saga_step (transaction_id, place, name, participant, kind, after, branch, \
             timeout_ms) \
         SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::smallint[], $6::text[], $7::bytea[], \
             $8::integer[])",
    )
    .bind(steps.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
    .bind(steps.iter().map(|(_, at, _)| place(*at)).collect::<Vec<_>>())
    .bind(steps.iter().map(|(.., step)| step.name.as_str()).collect::<Vec<_>>())
    .bind(steps.iter().map(|(.., step)| step.participant.as_str()).collect::<Vec<_>>())
    .bind(steps.iter().map(|(.., step)| kind_code(step.kind)).collect::<Vec<_>>())
    .bind(steps.iter().map(|(.., step)| join(&step.after)).collect::<Vec<_>>())
    .bind(steps.iter().map(|(.., step)| step.branch.as_slice()).collect::<Vec<_>>())
    .bind(steps.iter().map(|(.., step)| step.timeout_ms).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(inserted)
}

/// Writes what sagas are from now on.
pub async fn change(connection: &mut PgConnection, changed: &[(&SagaRow, Saga)]) -> Result<(), sqlx::Error> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "WITH ended AS (DELETE FROM open_saga WHERE transaction_id = ANY($4::uuid[])) \
         UPDATE saga SET state = c.state, deadline_unix_ms = c.deadline_unix_ms, \
             end_time = CASE WHEN c.state >= 3 THEN coalesce(saga.end_time, now()) END \
         FROM unnest($1::uuid[], $2::smallint[], $3::bigint[]) AS c (transaction_id, state, deadline_unix_ms) \
         WHERE saga.transaction_id = c.transaction_id",
    )
    .bind(changed.iter().map(|(row, _)| row.transaction_id).collect::<Vec<_>>())
    .bind(changed.iter().map(|(_, after)| state_code(after.state)).collect::<Vec<_>>())
    .bind(changed.iter().map(|(_, after)| after.deadline).collect::<Vec<_>>())
    .bind(changed.iter().filter(|(_, it)| it.state.is_ended()).map(|(row, _)| row.transaction_id).collect::<Vec<_>>())
    .execute(&mut *connection)
    .await?;
    let mut steps: Vec<(Uuid, usize, StepState)> = Vec::new();
    for (row, after) in changed {
        for (at, (before, state)) in row.saga.steps.iter().zip(&after.steps).enumerate() {
            if before != state {
                steps.push((row.transaction_id, at, *state));
            }
        }
    }
    // A step that begins to be compensated begins its tries anew.
    sqlx::query(
        "UPDATE saga_step s SET state = c.state, attempt_count = 0, next_attempt_time = NULL, last_error = '' \
         FROM unnest($1::uuid[], $2::smallint[], $3::smallint[]) AS c (transaction_id, place, state) \
         WHERE s.transaction_id = c.transaction_id AND s.place = c.place",
    )
    .bind(steps.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
    .bind(steps.iter().map(|(_, at, _)| place(*at)).collect::<Vec<_>>())
    .bind(steps.iter().map(|(.., state)| step_code(*state)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes decisions into the records.
pub async fn decide(connection: &mut PgConnection, decided: &[Decided<'_>]) -> Result<(), sqlx::Error> {
    if decided.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE record r SET state = d.state, first_decision = d.state, decide_time = now(), \
             client_answer = d.client_answer, refusal = d.refusal::jsonb \
         FROM unnest($1::uuid[], $2::smallint[], $3::smallint[], $4::text[]) \
             AS d (transaction_id, state, client_answer, refusal) \
         WHERE r.transaction_id = d.transaction_id AND r.state = 1",
    )
    .bind(decided.iter().map(|it| it.transaction_id).collect::<Vec<_>>())
    .bind(decided.iter().map(|it| if it.accepted { 2 } else { 3 }).collect::<Vec<i16>>())
    .bind(decided.iter().map(|it| answer_code(it.answer)).collect::<Vec<_>>())
    .bind(decided.iter().map(|it| it.refusal.map(Refusal::to_json)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes what became of tries.
pub async fn note(connection: &mut PgConnection, notes: &[&SagaNote]) -> Result<(), sqlx::Error> {
    if notes.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE saga_step s SET attempt_count = n.attempt_count, next_attempt_time = n.next_attempt_time, \
             last_error = n.last_error \
         FROM unnest($1::uuid[], $2::smallint[], $3::integer[], $4::timestamptz[], $5::text[]) \
             AS n (transaction_id, place, attempt_count, next_attempt_time, last_error) \
         WHERE s.transaction_id = n.transaction_id AND s.place = n.place AND s.state IN (1, 5)",
    )
    .bind(notes.iter().map(|note| note.transaction_id).collect::<Vec<_>>())
    .bind(notes.iter().map(|note| place(note.step)).collect::<Vec<_>>())
    .bind(notes.iter().map(|note| note.attempt_count).collect::<Vec<_>>())
    .bind(notes.iter().map(|note| note.next_attempt_time).collect::<Vec<_>>())
    .bind(notes.iter().map(|note| note.last_error.replace('\0', "")).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Changes owners.
pub async fn take_over(connection: &mut PgConnection, taken: &[&TakeOver]) -> Result<(), sqlx::Error> {
    if taken.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE saga SET epoch = t.epoch, owner_id = t.owner_id, paused = t.paused \
         FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::boolean[]) AS t (transaction_id, epoch, owner_id, paused) \
         WHERE saga.transaction_id = t.transaction_id",
    )
    .bind(taken.iter().map(|it| it.transaction_id).collect::<Vec<_>>())
    .bind(taken.iter().map(|it| epoch(it.seen_epoch + 1)).collect::<Vec<_>>())
    .bind(taken.iter().map(|it| &*it.owner_id).collect::<Vec<_>>())
    .bind(taken.iter().map(|it| it.paused).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
