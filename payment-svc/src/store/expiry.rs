//! Authorisations whose time is over: what nobody has promised of them is given back.
use std::sync::Arc;
use std::time::Duration;

use participant::Pool;
use sqlx::{Connection, PgConnection};

use super::payments::{Locked, select_payment};
use crate::Payments;
use crate::domain::Payment;
use crate::provider::{Done, Provider};

/// How many end in one local transaction.
const AT_ONCE: usize = 500;

/// How often is looked for what has expired.
const INTERVAL: Duration = Duration::from_secs(1);

/// Ends authorisations that have expired, at most [`AT_ONCE`]; answers how many.
///
/// A batch may hold an account and want a payment that is locked here: so nothing is waited for longer than moments. What
/// is given up comes again.
pub async fn expire<P: Provider>(pool: &Pool, provider: &P) -> Result<usize, sqlx::Error> {
    let expired = pool.run(async |connection: &mut PgConnection| {
        let mut local = connection.begin().await?;
        sqlx::query("SET LOCAL lock_timeout = '50ms'").execute(&mut *local).await?;
        let due: Vec<Payment> = sqlx::query_as(select_payment!(
            "WHERE ended IS NULL AND expire_time <= clock_timestamp()
             ORDER BY expire_time LIMIT $1 FOR UPDATE SKIP LOCKED"
        ))
        .bind(i64::try_from(AT_ONCE).unwrap_or(i64::MAX))
        .fetch_all(&mut *local)
        .await?;
        if due.is_empty() {
            local.rollback().await?;
            return Ok(0);
        }
        let count = due.len();
        let mut locked = Locked::of(due);
        let expired = locked.all().map(|payment| {
            let effect = payment.expire();
            Done {
                done_id: payment.payment_id,
                payment_id: payment.payment_id,
                makes_it: false,
                account: payment.account.clone(),
                currency: payment.currency.clone(),
                effect,
            }
        });
        let expired = expired.collect();
        locked.write(&mut local).await?;
        provider.carry_out(&mut local, expired).await?;
        local.commit().await?;
        Ok(count)
    });
    expired.await
}

/// Ends authorisations as they expire, forever. Whatever dies meanwhile leaves them to the next look.
pub async fn expire_all<P: Provider>(pool: Pool, payments: Arc<Payments<P>>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        loop {
            match expire(&pool, &payments.provider).await {
                Ok(0) => break,
                Ok(count) => tracing::info!(count, "authorisations have expired"),
                Err(error) => {
                    tracing::debug!(%error, "authorisations can't expire now");
                    break;
                }
            }
        }
    }
}
