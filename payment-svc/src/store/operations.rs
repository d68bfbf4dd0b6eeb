//! Batches that do more than charge: each branch promised, kept or taken back on the locked payment that it names.
//!
//! Payments are locked first, in the order of their ids, then accounts, in that of their names: a batch that only charges
//! locks no payment, so nobody waits in a circle.
use std::borrow::Cow;

use participant::{PreparedBranch, Refusal, StepBranch};
use sqlx::PgConnection;
use uuid::Uuid;

use super::book::Book;
use super::{holds, payments};
use crate::domain::{Authorisation, Branch, Effect, booking_id_of_step};

/// Promises what the branches want, deciding in their order.
pub async fn prepare(
    connection: &mut PgConnection,
    branches: &[PreparedBranch<Branch>],
) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
    let payment_ids = branches.iter().filter_map(|branch| branch.branch.payment_id());
    let mut locked = payments::lock(connection, payment_ids).await?;
    let mut votes: Vec<Result<(), Refusal>> = Vec::with_capacity(branches.len());
    let mut holds: Vec<(usize, Cow<'_, Authorisation>)> = Vec::new();
    for (place, PreparedBranch { transaction_id, branch }) in branches.iter().enumerate() {
        let promised = match branch.payment_id() {
            Some(payment_id) => locked.get(payment_id).and_then(|it| it.promise(*transaction_id, branch)),
            None => Ok(0),
        };
        if let (Ok(credit_minor), Branch::Charge(wanted) | Branch::Authorise { authorisation: wanted, .. }) =
            (&promised, &**branch)
        {
            holds.push((place, beyond(wanted, *credit_minor)));
        }
        votes.push(promised.map(|_| ()));
    }
    let wanted: Vec<&Authorisation> = holds.iter().map(|(_, wanted)| &**wanted).collect();
    let held = if wanted.is_empty() { Vec::new() } else { holds::authorise(connection, &wanted).await? };
    for ((place, _), vote) in holds.iter().zip(held) {
        let (Some(PreparedBranch { transaction_id, branch }), Some(slot)) =
            (branches.get(*place), votes.get_mut(*place))
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

/// What an authorisation holds beyond what counts towards it.
fn beyond(wanted: &Authorisation, credit_minor: i64) -> Cow<'_, Authorisation> {
    match credit_minor {
        0 => Cow::Borrowed(wanted),
        _ => Cow::Owned(Authorisation { amount_minor: wanted.amount_minor - credit_minor, ..wanted.clone() }),
    }
}

/// Keeps what was promised; each branch with the name of its booking.
async fn keep(
    connection: &mut PgConnection,
    branches: &[(Uuid, &PreparedBranch<Branch>)],
    validity_ms: i64,
) -> Result<(), sqlx::Error> {
    let payment_ids = branches.iter().filter_map(|(_, branch)| branch.branch.payment_id());
    let mut locked = payments::lock(connection, payment_ids).await?;
    let (mut book, mut authorised) = (Book::default(), Vec::new());
    for (booking_id, PreparedBranch { transaction_id, branch }) in branches {
        if let Some(payment_id) = branch.payment_id() {
            let payment = locked.promised(payment_id)?;
            let effect = payment.keep(*transaction_id, branch);
            book.add(&payment.account, &payment.currency, effect, *booking_id, Some(payment_id));
        }
        match &**branch {
            Branch::Charge(Authorisation { account, currency, amount_minor }) => {
                let effect = Effect { held_minor: -amount_minor, paid_minor: *amount_minor };
                book.add(account, currency, effect, *booking_id, None);
            }
            Branch::Authorise { authorisation, .. } => authorised.push((*transaction_id, authorisation)),
            Branch::Capture { .. } | Branch::Void { .. } | Branch::Refund(_) => (),
        }
    }
    payments::insert(connection, &authorised, validity_ms).await?;
    locked.write(connection).await?;
    book.write(connection).await
}

/// Commits a batch.
pub async fn commit(
    connection: &mut PgConnection,
    branches: &[PreparedBranch<Branch>],
    validity_ms: i64,
) -> Result<(), sqlx::Error> {
    let named: Vec<_> = branches.iter().map(|branch| (branch.transaction_id, branch)).collect();
    keep(connection, &named, validity_ms).await
}

/// Takes back what was promised.
pub async fn abort(
    connection: &mut PgConnection,
    branches: &[(PreparedBranch<Branch>, Refusal)],
) -> Result<(), sqlx::Error> {
    let payment_ids = branches.iter().filter_map(|(branch, _)| branch.branch.payment_id());
    let mut locked = payments::lock(connection, payment_ids).await?;
    let mut book = Book::default();
    for (PreparedBranch { transaction_id, branch }, _) in branches {
        let mut credit_minor = 0;
        if let Some(payment_id) = branch.payment_id() {
            let payment = locked.promised(payment_id)?;
            credit_minor = payment.credit_minor;
            let effect = payment.take_back(*transaction_id, branch);
            book.add(&payment.account, &payment.currency, effect, *transaction_id, Some(payment_id));
        }
        if let Branch::Charge(held) | Branch::Authorise { authorisation: held, .. } = &**branch {
            let effect = Effect { held_minor: credit_minor - held.amount_minor, paid_minor: 0 };
            book.add(&held.account, &held.currency, effect, *transaction_id, None);
        }
    }
    locked.write(connection).await?;
    book.write(connection).await
}

/// Carries out steps: promises and keeps at once.
pub async fn execute(
    connection: &mut PgConnection,
    steps: &[StepBranch<Branch>],
    validity_ms: i64,
) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
    let making = |step: &&StepBranch<Branch>| matches!(*step.branch, Branch::Authorise { .. });
    let making: Vec<Uuid> = steps.iter().filter(making).map(|step| step.transaction_id).collect();
    let made = payments::existing(connection, &making).await?;
    let is_new = |step: &StepBranch<Branch>| {
        !(made.contains(&step.transaction_id) && matches!(*step.branch, Branch::Authorise { .. }))
    };
    let prepared =
        |step: &StepBranch<Branch>| PreparedBranch { transaction_id: step.transaction_id, branch: step.branch.clone() };
    let branches: Vec<PreparedBranch<Branch>> = steps.iter().filter(|step| is_new(step)).map(prepared).collect();
    let mut votes = prepare(connection, &branches).await?.into_iter();
    let results: Vec<Result<(), Refusal>> = steps
        .iter()
        .map(|step| match is_new(step) {
            true => votes.next().unwrap_or(Ok(())),
            false => Err(payment_exists(step.transaction_id)),
        })
        .collect();
    let kept = steps.iter().zip(&results).filter(|(_, result)| result.is_ok()).map(|(step, _)| step);
    let named: Vec<(Uuid, PreparedBranch<Branch>)> = kept.map(|step| (booking_id(step), prepared(step))).collect();
    let named: Vec<(Uuid, &PreparedBranch<Branch>)> = named.iter().map(|(id, branch)| (*id, branch)).collect();
    keep(connection, &named, validity_ms).await?;
    Ok(results)
}

/// A charge is the payment that its saga makes, and is named by it; of other steps a saga may have several.
fn booking_id(step: &StepBranch<Branch>) -> Uuid {
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
pub async fn compensate(
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
    let mut book = Book::default();
    for (payment_id, StepBranch { transaction_id, step, branch }) in undone {
        let booking_id = booking_id_of_step(*transaction_id, &format!("{step}\0undone"));
        let payment = locked.promised(payment_id)?;
        match &**branch {
            // A saga that has authorised as well: the payment of its name is that one, and nobody else can refund this.
            Branch::Charge(Authorisation { account, currency, amount_minor }) if payment.expire_time.is_some() => {
                let effect = Effect { held_minor: 0, paid_minor: -amount_minor };
                book.add(account, currency, effect, booking_id, None);
            }
            branch => {
                let effect = payment.undo(branch);
                book.add(&payment.account, &payment.currency, effect, booking_id, Some(payment_id));
            }
        }
    }
    locked.write(connection).await?;
    book.write(connection).await
}
