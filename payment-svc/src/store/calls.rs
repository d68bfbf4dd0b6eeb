//! Calls of a card gateway: written down before they are made, and made until they are answered.
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::domain::Authorisation;
use crate::domain::call::{Asked, Call, State};
use crate::provider::Done;

/// The columns of a call; they are read by name.
macro_rules! call_columns {
    () => {
        "sequence, call_id, payment_id, operation, account, currency, amount_minor, state, generation, gateway_id, \
         attempts, next_time, last_error, create_time"
    };
}

fn state_of(text: &str) -> Result<State, sqlx::Error> {
    State::of(text).ok_or_else(|| sqlx::Error::Decode(format!("{text:?} is no state of a call").into()))
}

/// The name of the call that authorises a payment.
pub fn authorise_id(payment_id: Uuid) -> String {
    format!("{payment_id}:authorise")
}

/// Writes down that an authorisation is about to be asked for; forced. Answers what stands, with this time counted.
///
/// `again`: one that was refused, or given up and undone, is asked for anew.
pub async fn ask(
    executor: impl PgExecutor<'_>,
    payment_id: Uuid,
    wanted: &Authorisation,
    again: bool,
) -> Result<Asked, sqlx::Error> {
    let (state, generation, attempts): (String, i32, i32) = sqlx::query_as(
        "INSERT INTO gateway_call AS c (call_id, payment_id, operation, account, currency, amount_minor, state, attempts)
         VALUES ($1, $2, 'authorise', $3, $4, $5, 'asking', 1)
         ON CONFLICT (call_id) DO UPDATE SET
             attempts = c.attempts + 1,
             state = CASE WHEN $6 AND c.state IN ('declined', 'undone') THEN 'asking' ELSE c.state END,
             generation = c.generation + CASE WHEN $6 AND c.state IN ('declined', 'undone') THEN 1 ELSE 0 END,
             create_time = CASE WHEN $6 AND c.state IN ('declined', 'undone') THEN now() ELSE c.create_time END
         RETURNING state, generation, attempts",
    )
    .bind(authorise_id(payment_id))
    .bind(payment_id)
    .bind(&wanted.account)
    .bind(&wanted.currency)
    .bind(wanted.amount_minor)
    .bind(again)
    .fetch_one(executor)
    .await?;
    Ok(Asked { state: state_of(&state)?, generation, attempts })
}

/// The gateway has answered: the vote follows in this local transaction. False: it was given up meanwhile.
pub async fn answered(
    connection: &mut PgConnection,
    payment_id: Uuid,
    generation: i32,
    gateway_id: Option<&str>,
    why_not: &str,
) -> Result<bool, sqlx::Error> {
    let answered = sqlx::query(
        "UPDATE gateway_call SET state = CASE WHEN $3::text IS NULL THEN 'declined' ELSE 'approved' END, gateway_id = $3,
             last_error = $4, finish_time = now()
         WHERE call_id = $1 AND generation = $2 AND state = 'asking'",
    )
    .bind(authorise_id(payment_id))
    .bind(generation)
    .bind(gateway_id)
    .bind(why_not)
    .execute(connection)
    .await?;
    Ok(answered.rows_affected() == 1)
}

/// The gateway was never reached: nothing is to be undone, unless somebody else has asked as well meanwhile.
pub async fn never_sent(
    executor: impl PgExecutor<'_>,
    payment_id: Uuid,
    asked: &Asked,
    cause: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE gateway_call SET state = 'undone', last_error = $4, finish_time = now()
         WHERE call_id = $1 AND generation = $2 AND attempts = $3 AND state = 'asking'",
    )
    .bind(authorise_id(payment_id))
    .bind(asked.generation)
    .bind(asked.attempts)
    .bind(cause)
    .execute(executor)
    .await?;
    Ok(())
}

/// Gives up authorisations that nobody has voted on for so long: they are to be found out, and voided.
pub async fn give_up(executor: impl PgExecutor<'_>, after_ms: i64) -> Result<u64, sqlx::Error> {
    let given_up = sqlx::query(
        "UPDATE gateway_call SET state = 'given_up', next_time = now()
         WHERE state = 'asking' AND create_time < now() - $1 * interval '1 millisecond'",
    )
    .bind(after_ms)
    .execute(executor)
    .await?;
    Ok(given_up.rows_affected())
}

/// Writes down what is to be done at the gateway. What is there already is the same.
pub async fn want(connection: &mut PgConnection, done: &[Done]) -> Result<(), sqlx::Error> {
    let mut wanted: Vec<(String, &Done, &str, i64)> = Vec::new();
    for it in done {
        let Done { done_id, effect, .. } = it;
        match effect.paid_minor {
            0 => (),
            paid if paid > 0 => wanted.push((format!("{done_id}:capture"), it, "capture", paid)),
            paid => wanted.push((format!("{done_id}:refund"), it, "refund", -paid)),
        }
        if effect.voids {
            wanted.push((format!("{done_id}:void"), it, "void", 0));
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    // In the order given: a capture comes before the void of what it leaves.
    sqlx::query(
        "INSERT INTO gateway_call (call_id, payment_id, operation, account, currency, amount_minor, state, gateway_id)
         SELECT w.call_id, w.payment_id, w.operation, w.account, w.currency, w.amount_minor, 'wanted', a.gateway_id
         FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[]) WITH ORDINALITY
              AS w (call_id, payment_id, operation, account, currency, amount_minor, place)
              LEFT JOIN gateway_call a ON a.call_id = w.payment_id::text || ':authorise'
         ORDER BY w.place ON CONFLICT DO NOTHING",
    )
    .bind(wanted.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>())
    .bind(wanted.iter().map(|(_, it, ..)| it.payment_id).collect::<Vec<_>>())
    .bind(wanted.iter().map(|(_, _, operation, _)| *operation).collect::<Vec<_>>())
    .bind(wanted.iter().map(|(_, it, ..)| it.account.as_str()).collect::<Vec<_>>())
    .bind(wanted.iter().map(|(_, it, ..)| it.currency.as_str()).collect::<Vec<_>>())
    .bind(wanted.iter().map(|(.., amount)| *amount).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes calls that are due, at most so many, and puts them off for so long: whoever dies with them leaves them to others.
pub async fn take_due(executor: impl PgExecutor<'_>, limit: i64, lease_ms: i64) -> Result<Vec<Call>, sqlx::Error> {
    sqlx::query_as(concat!(
        "UPDATE gateway_call SET attempts = attempts + 1,
             next_time = clock_timestamp() + $2 * interval '1 millisecond'
         WHERE call_id IN (
             SELECT call_id FROM gateway_call c
             WHERE state IN ('wanted', 'given_up') AND next_time <= clock_timestamp() AND NOT EXISTS (
                 SELECT FROM gateway_call earlier WHERE earlier.payment_id = c.payment_id
                   AND earlier.sequence < c.sequence AND earlier.state IN ('wanted', 'given_up'))
             ORDER BY next_time LIMIT $1 FOR UPDATE SKIP LOCKED)
         RETURNING ",
        call_columns!()
    ))
    .bind(limit)
    .bind(lease_ms)
    .fetch_all(executor)
    .await
}

/// A call has been answered as it was to be.
pub async fn finish(executor: impl PgExecutor<'_>, call: &Call) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE gateway_call SET state = 'done', last_error = '', finish_time = now()
         WHERE call_id = $1 AND state = 'wanted'",
    )
    .bind(&call.call_id)
    .execute(executor)
    .await?;
    Ok(())
}

/// What became of an authorisation that was given up is known now: one that stands at the gateway is to be voided.
pub async fn undo(executor: impl PgExecutor<'_>, call: &Call, gateway_id: Option<&str>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH undone AS (
             UPDATE gateway_call SET state = 'undone', gateway_id = $3, finish_time = now()
             WHERE call_id = $1 AND generation = $2 AND state = 'given_up'
             RETURNING call_id, payment_id, account, currency, generation
         )
         INSERT INTO gateway_call (call_id, payment_id, operation, account, currency, amount_minor, state, gateway_id)
         SELECT call_id || ':void:' || generation, payment_id, 'void', account, currency, 0, 'wanted', $3
         FROM undone WHERE $3::text IS NOT NULL ON CONFLICT DO NOTHING",
    )
    .bind(&call.call_id)
    .bind(call.generation)
    .bind(gateway_id)
    .execute(executor)
    .await?;
    Ok(())
}

/// A call has not been answered, or not as it was to be: again after so long.
pub async fn put_off(
    executor: impl PgExecutor<'_>,
    call: &Call,
    after_ms: i64,
    cause: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE gateway_call SET next_time = clock_timestamp() + $2 * interval '1 millisecond', last_error = $3
         WHERE call_id = $1 AND state IN ('wanted', 'given_up')",
    )
    .bind(&call.call_id)
    .bind(after_ms)
    .bind(cause)
    .execute(executor)
    .await?;
    Ok(())
}

/// Somebody says that something has happened to a payment: its calls are due now.
pub async fn hasten(executor: impl PgExecutor<'_>, payment_id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE gateway_call SET next_time = least(next_time, clock_timestamp() + interval '100 milliseconds')
         WHERE payment_id = $1 AND state IN ('wanted', 'given_up')",
    )
    .bind(payment_id)
    .execute(executor)
    .await?;
    Ok(())
}

/// Calls of a payment, oldest first.
pub async fn of_payment(executor: impl PgExecutor<'_>, payment_id: Uuid) -> Result<Vec<Call>, sqlx::Error> {
    let read = concat!("SELECT ", call_columns!(), " FROM gateway_call WHERE payment_id = $1 ORDER BY sequence");
    sqlx::query_as(read).bind(payment_id).fetch_all(executor).await
}

/// Calls after the one of this sequence, oldest first: all, or those that have waited for longer than so long.
pub async fn list(
    executor: impl PgExecutor<'_>,
    stuck_after_ms: Option<i64>,
    after: i64,
    limit: usize,
) -> Result<Vec<Call>, sqlx::Error> {
    sqlx::query_as(concat!(
        "SELECT ",
        call_columns!(),
        " FROM gateway_call
         WHERE sequence > $1 AND ($2::bigint IS NULL OR (
             state IN ('asking', 'wanted', 'given_up') AND create_time < now() - $2 * interval '1 millisecond'))
         ORDER BY sequence LIMIT $3"
    ))
    .bind(after)
    .bind(stuck_after_ms)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(executor)
    .await
}

/// What the audit counts: authorisations that the gateway has given and nobody speaks for, of transactions that are not among
/// those that are prepared.
pub async fn orphans(connection: &mut PgConnection, prepared: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT payment_id FROM gateway_call c
         WHERE operation = 'authorise' AND state = 'approved' AND payment_id <> ALL($1::uuid[])
           AND NOT EXISTS (SELECT FROM payment p WHERE p.payment_id = c.payment_id)
           AND NOT EXISTS (SELECT FROM gateway_call v WHERE v.payment_id = c.payment_id AND v.operation = 'void')
         ORDER BY payment_id LIMIT 100",
    )
    .bind(prepared)
    .fetch_all(connection)
    .await
}

/// Payments whose figures are not the sums of the calls that were made or are to be made: what they say, and the sums.
pub async fn wrong_payments(
    connection: &mut PgConnection,
) -> Result<Vec<(Uuid, i64, i64, String, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT payment_id, captured_minor, refunded_minor, coalesce(captured, 0)::text, coalesce(refunded, 0)::text
         FROM payment LEFT JOIN (
             SELECT payment_id, sum(amount_minor) FILTER (WHERE operation = 'capture') AS captured,
                    sum(amount_minor) FILTER (WHERE operation = 'refund') AS refunded
             FROM gateway_call GROUP BY payment_id
         ) c USING (payment_id)
         WHERE coalesce(captured, 0) <> captured_minor OR coalesce(refunded, 0) <> refunded_minor
         ORDER BY payment_id LIMIT 100",
    )
    .fetch_all(connection)
    .await
}

/// How many calls there are.
pub async fn count(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM gateway_call").fetch_one(connection).await
}

impl sqlx::FromRow<'_, sqlx::postgres::PgRow> for Call {
    fn from_row(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        use sqlx::Row as _;
        let state: String = row.try_get("state")?;
        let next_time: DateTime<Utc> = row.try_get("next_time")?;
        Ok(Call {
            call_id: row.try_get("call_id")?,
            sequence: row.try_get("sequence")?,
            payment_id: row.try_get("payment_id")?,
            operation: row.try_get("operation")?,
            account: row.try_get("account")?,
            currency: row.try_get("currency")?,
            amount_minor: row.try_get("amount_minor")?,
            state: state_of(&state)?,
            generation: row.try_get("generation")?,
            gateway_id: row.try_get("gateway_id")?,
            attempts: row.try_get("attempts")?,
            next_time,
            last_error: row.try_get("last_error")?,
            create_time: row.try_get("create_time")?,
        })
    }
}
