//! Makes the calls that were written down, again and again until the gateway has confirmed them; and finds out what became of
//! authorisations that were given up.
//!
//! A call is taken for a while. Whoever dies with it leaves it to the next look, and the gateway knows a repeat by its key.
use std::sync::Arc;
use std::time::Duration;

use participant::{Pool, crash_point};
use tokio::task::JoinSet;

use super::{Authorised, Client, Gateway, Unknown};
use crate::Payments;
use crate::domain::Authorisation;
use crate::domain::call::{Call, State, idempotency_key};
use crate::store::calls;

/// How often is looked for calls that are due.
const INTERVAL: Duration = Duration::from_millis(50);
/// How many are made side by side.
const AT_ONCE: i64 = 64;
/// The first time it is waited so long before a call is made again, then twice as long each time.
const FIRST_PAUSE_MS: i64 = 100;
/// It is never waited longer.
const LONGEST_PAUSE_MS: i64 = 30_000;
/// So many times in vain, and the log says so.
const TOLD_AFTER: i32 = 5;

/// Makes calls, forever.
pub async fn work(pool: Pool, payments: Arc<Payments<Gateway>>) {
    let gateway = &payments.provider;
    let lease_ms = i64::try_from(gateway.settings.call_within.as_millis()).unwrap_or(0) + 1_000;
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut calling = JoinSet::new();
    loop {
        ticks.tick().await;
        while calling.try_join_next().is_some() {}
        let free = AT_ONCE - i64::try_from(calling.len()).unwrap_or(AT_ONCE);
        if free == 0 {
            continue;
        }
        let due = async {
            calls::give_up(&pool, gateway.given_up_after_ms()).await?;
            calls::take_due(&pool, free, lease_ms).await
        };
        match due.await {
            Ok(due) => {
                for call in due {
                    calling.spawn(make(pool.clone(), gateway.client.clone(), call));
                }
            }
            Err(error) => tracing::debug!(%error, "calls of the gateway can't be looked for now"),
        }
    }
}

/// Makes a call once, and writes down what came of it.
async fn make(pool: Pool, client: Client, call: Call) {
    crash_point::pass("gateway.before_call");
    let key = idempotency_key(&call.call_id, call.generation);
    let answer = match call.state {
        State::GivenUp => {
            let Call { account, currency, amount_minor, .. } = call.clone();
            let wanted = Authorisation { account, currency, amount_minor };
            match client.authorise(&key, &call.payment_id.to_string(), &wanted).await {
                Ok(Authorised::Yes(gateway_id)) => Ok(Some(gateway_id)),
                Ok(Authorised::No { .. }) => Ok(None),
                Err(unknown) => Err(unknown),
            }
        }
        _ => client.carry_out(&key, &call).await.map(|()| None),
    };
    crash_point::pass("gateway.after_call");
    let written = match (&answer, call.state) {
        (Ok(gateway_id), State::GivenUp) => calls::undo(&pool, &call, gateway_id.as_deref()).await,
        (Ok(_), _) => calls::finish(&pool, &call).await,
        (Err(Unknown { cause, .. }), _) => {
            let Call { call_id, attempts, .. } = &call;
            if *attempts >= TOLD_AFTER {
                tracing::warn!(call_id, attempts, cause, "the gateway does not do what it is to do; trying on");
            }
            calls::put_off(&pool, &call, pause_ms(*attempts), cause).await
        }
    };
    if let Err(error) = written {
        // It comes again when its lease is over.
        tracing::debug!(call_id = call.call_id, %error, "a call's answer can't be written down");
    }
}

/// How long is waited after so many times: twice as long each time, some of it by chance, so that not all come at once.
fn pause_ms(attempts: i32) -> i64 {
    let doubled = u32::try_from(attempts.clamp(1, 20) - 1).unwrap_or(0);
    let longest = FIRST_PAUSE_MS.saturating_mul(1 << doubled).min(LONGEST_PAUSE_MS);
    longest / 2 + rand::random_range(0..=longest / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        assert!((50..=100).contains(&pause_ms(1)));
        assert!((200..=400).contains(&pause_ms(3)));
        for attempts in [12, 100, i32::MAX] {
            assert!((15_000..=30_000).contains(&pause_ms(attempts)), "{attempts}");
        }
    }
}
