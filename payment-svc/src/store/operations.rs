//! Batches that do more than charge an account: each branch promised, kept or taken back on the locked payment that it names.
//!
//! Payments are locked first, in the order of their ids, then accounts, in that of their names: a batch that only charges
//! locks no payment, so nobody waits in a circle.
use participant::{PreparedBranch, Refusal, StepBranch};
use sqlx::PgConnection;
use uuid::Uuid;

use super::payments::{self, NewPayment};
use crate::domain::{Authorisation, Branch, Effect, Payment, booking_id_of_step};
use crate::provider::{Done, Hold, Provider};

/// Promises what the branches want, deciding in their order.
pub async fn prepare<P: Provider>(
    provider: &P,
    connection: &mut PgConnection,
    branches: &[PreparedBranch<Branch>],
) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
    let payment_ids = branches.iter().filter_map(|branch| branch.branch.payment_id());
    let mut locked = payments::lock(connection, payment_ids).await?;
    let mut votes: Vec<Result<(), Refusal>> = Vec::with_capacity(branches.len());
    let (mut places, mut holds) = (Vec::new(), Vec::new());
    for (place, PreparedBranch { transaction_id, branch }) in branches.iter().enumerate() {
        let promised = match branch.payment_id() {
            Some(payment_id) => locked.get(payment_id).and_then(|it| it.promise(*transaction_id, branch)),
            None => Ok(0),
        };
        if let (Ok(credit_minor), Some(authorisation)) = (&promised, branch.authorisation()) {
            places.push(place);
            holds.push(Hold { transaction_id: *transaction_id, authorisation, credit_minor: *credit_minor });
        }
        votes.push(promised.map(|_| ()));
    }
    let held = if holds.is_empty() { Vec::new() } else { provider.hold(connection, &holds).await? };
    for (place, vote) in places.into_iter().zip(held) {
        let (Some(PreparedBranch { transaction_id, branch }), Some(slot)) = (branches.get(place), votes.get_mut(place))
        else {
            continue;
        };
        if let (Err(_), Some(payment_id)) = (&vote, branch.payment_id()) {
            locked.promised(payment_id)?.take_back(*transaction_id, branch);
        }
        *slot = vote;
    }
    locked.write(connection).await?;
    Ok(votes)
}

/// What was done to a payment that has a row.
fn done(payment: &Payment, effect: Effect, done_id: Uuid) -> Done {
    Done {
        done_id,
        payment_id: payment.payment_id,
        makes_it: false,
        account: payment.account.clone(),
        currency: payment.currency.clone(),
        effect,
    }
}

/// What was done to a payment that the transaction makes, or would have made.
fn made(transaction_id: Uuid, of: &Authorisation, effect: Effect, done_id: Uuid) -> Done {
    Done {
        done_id,
        payment_id: transaction_id,
        makes_it: true,
        account: of.account.clone(),
        currency: of.currency.clone(),
        effect,
    }
}

/// Keeps what was promised; each branch with its name.
async fn keep<P: Provider>(
    provider: &P,
    connection: &mut PgConnection,
    branches: &[(Uuid, &PreparedBranch<Branch>)],
    validity_ms: i64,
) -> Result<(), sqlx::Error> {
    let payment_ids = branches.iter().filter_map(|(_, branch)| branch.branch.payment_id());
    let mut locked = payments::lock(connection, payment_ids).await?;
    let (mut all, mut new) = (Vec::new(), Vec::new());
    for (done_id, PreparedBranch { transaction_id, branch }) in branches {
        if let Some(payment_id) = branch.payment_id() {
            let payment = locked.promised(payment_id)?;
            let effect = payment.keep(*transaction_id, branch);
            all.push(done(payment, effect, *done_id));
        }
        let payment_id = *transaction_id;
        match &**branch {
            Branch::Charge(charge) => {
                let Authorisation { amount_minor, .. } = charge;
                let effect = Effect { held_minor: -amount_minor, paid_minor: *amount_minor, voids: false };
                all.push(made(*transaction_id, charge, effect, *done_id));
                if !P::CHARGES_ARE_PLAIN && *amount_minor > 0 {
                    new.push(NewPayment { payment_id, authorisation: charge, is_charge: true });
                }
            }
            Branch::Authorise { authorisation, .. } => {
                new.push(NewPayment { payment_id, authorisation, is_charge: false });
            }
            Branch::Capture { .. } | Branch::Void { .. } | Branch::Refund(_) => (),
        }
    }
    payments::insert(connection, &new, validity_ms).await?;
    locked.write(connection).await?;
    provider.carry_out(connection, all).await
}

/// Commits a batch.
pub async fn commit<P: Provider>(
    provider: &P,
    connection: &mut PgConnection,
    branches: &[PreparedBranch<Branch>],
    validity_ms: i64,
) -> Result<(), sqlx::Error> {
    let named: Vec<_> = branches.iter().map(|branch| (branch.transaction_id, branch)).collect();
    keep(provider, connection, &named, validity_ms).await
}

/// Takes back what was promised.
pub async fn abort<P: Provider>(
    provider: &P,
    connection: &mut PgConnection,
    branches: &[(PreparedBranch<Branch>, Refusal)],
) -> Result<(), sqlx::Error> {
    let payment_ids = branches.iter().filter_map(|(branch, _)| branch.branch.payment_id());
    let mut locked = payments::lock(connection, payment_ids).await?;
    let mut all = Vec::new();
    for (PreparedBranch { transaction_id, branch }, _) in branches {
        let mut credit_minor = 0;
        if let Some(payment_id) = branch.payment_id() {
            let payment = locked.promised(payment_id)?;
            credit_minor = payment.credit_minor;
            let effect = payment.take_back(*transaction_id, branch);
            all.push(done(payment, effect, *transaction_id));
        }
        if let Some(held) = branch.authorisation() {
            let held_minor = credit_minor - held.amount_minor;
            let effect = Effect { held_minor, paid_minor: 0, voids: held.amount_minor > 0 };
            all.push(made(*transaction_id, held, effect, *transaction_id));
        }
    }
    locked.write(connection).await?;
    provider.carry_out(connection, all).await
}

/// Carries out steps: promises and keeps at once.
pub async fn execute<P: Provider>(
    provider: &P,
    connection: &mut PgConnection,
    steps: &[StepBranch<Branch>],
    validity_ms: i64,
) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
    let makes_a_row = |step: &StepBranch<Branch>| match &*step.branch {
        Branch::Authorise { .. } => true,
        Branch::Charge(_) => !P::CHARGES_ARE_PLAIN,
        Branch::Capture { .. } | Branch::Void { .. } | Branch::Refund(_) => false,
    };
    let making: Vec<Uuid> = steps.iter().filter(|step| makes_a_row(step)).map(|step| step.transaction_id).collect();
    let existing = payments::existing(connection, &making).await?;
    let is_new = |step: &StepBranch<Branch>| !(makes_a_row(step) && existing.contains(&step.transaction_id));
    let prepared =
        |step: &StepBranch<Branch>| PreparedBranch { transaction_id: step.transaction_id, branch: step.branch.clone() };
    let branches: Vec<PreparedBranch<Branch>> = steps.iter().filter(|step| is_new(step)).map(prepared).collect();
    let mut votes = prepare(provider, connection, &branches).await?.into_iter();
    let mut results: Vec<Result<(), Refusal>> = Vec::with_capacity(steps.len());
    for step in steps {
        results.push(match is_new(step) {
            true => votes.next().ok_or_else(|| sqlx::Error::Protocol("a step has no vote".to_owned()))?,
            false => Err(payment_exists(step.transaction_id)),
        });
    }
    let kept = steps.iter().zip(&results).filter(|(_, result)| result.is_ok()).map(|(step, _)| step);
    let named: Vec<(Uuid, PreparedBranch<Branch>)> = kept.map(|step| (done_id(step), prepared(step))).collect();
    let named: Vec<(Uuid, &PreparedBranch<Branch>)> = named.iter().map(|(id, branch)| (*id, branch)).collect();
    keep(provider, connection, &named, validity_ms).await?;
    Ok(results)
}

/// A charge is the payment that its saga makes, and is named by it; of other steps a saga may have several.
fn done_id(step: &StepBranch<Branch>) -> Uuid {
    match &*step.branch {
        Branch::Charge(_) => step.transaction_id,
        _ => booking_id_of_step(step.transaction_id, &step.step),
    }
}

fn payment_exists(transaction_id: Uuid) -> Refusal {
    let message = format!("transaction {transaction_id} has made a payment already; authorise in another one");
    Refusal::new("PAYMENT_EXISTS", message).with("payment_id", transaction_id)
}

/// Undoes steps: what was authorised is voided, what was charged or captured is refunded.
pub async fn compensate<P: Provider>(
    provider: &P,
    connection: &mut PgConnection,
    steps: &[(StepBranch<Branch>, Refusal)],
) -> Result<(), sqlx::Error> {
    let mut undone = Vec::with_capacity(steps.len());
    for (step, _) in steps {
        let payment_id = match &*step.branch {
            // What costs nothing has left no booking.
            Branch::Charge(Authorisation { amount_minor: 0, .. }) => continue,
            Branch::Charge(_) | Branch::Authorise { .. } => step.transaction_id,
            Branch::Capture { part, .. } => part.payment_id,
            Branch::Void { .. } | Branch::Refund(_) => {
                let why = format!("the step {:?} voids or refunds, which can't be undone", step.step);
                return Err(sqlx::Error::Protocol(why));
            }
        };
        undone.push((payment_id, step));
    }
    let mut locked = payments::lock(connection, undone.iter().map(|(payment_id, _)| *payment_id)).await?;
    let mut all = Vec::new();
    for (payment_id, StepBranch { transaction_id, step, branch }) in undone {
        let done_id = booking_id_of_step(*transaction_id, &format!("{step}\0undone"));
        let payment = locked.promised(payment_id)?;
        match &**branch {
            // A saga that has authorised as well: the payment of its name is that one, and nobody else can refund this.
            Branch::Charge(charge) if payment.expire_time.is_some() => {
                let effect = Effect { paid_minor: -charge.amount_minor, ..Effect::default() };
                all.push(made(*transaction_id, charge, effect, done_id));
            }
            branch => {
                let effect = payment.undo(branch);
                all.push(done(payment, effect, done_id));
            }
        }
    }
    locked.write(connection).await?;
    provider.carry_out(connection, all).await
}
