//! The built-in ledger: accounts with balances, held amounts, and bookings. All of it happens within the local transaction.
use std::borrow::Cow;
use std::sync::Arc;

use participant::audit::Check;
use participant::{Pool, PreparedBranch, Refusal, Writing};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Done, Hold, Provider};
use crate::Payments;
use crate::domain::{Authorisation, Branch};
use crate::store::book::Book;
use crate::store::{audit, holds};

/// The built-in ledger.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ledger;

impl Provider for Ledger {
    const CHARGES_ARE_PLAIN: bool = true;

    fn writing(&self) -> Writing {
        Writing::Batched
    }

    fn start(&self, _: &Pool, _: &Arc<Payments<Self>>) {}

    async fn enter(&self, _: Uuid, _: &Authorisation, _: bool) -> Result<(), String> {
        Ok(())
    }

    fn leave(&self, _: Uuid) {}

    async fn hold(
        &self,
        connection: &mut PgConnection,
        wanted: &[Hold<'_>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        let beyond: Vec<Cow<'_, Authorisation>> = wanted.iter().map(beyond).collect();
        holds::authorise(connection, &beyond.iter().map(|it| &**it).collect::<Vec<_>>()).await
    }

    async fn carry_out(&self, connection: &mut PgConnection, done: Vec<Done>) -> Result<(), sqlx::Error> {
        let mut book = Book::default();
        for Done { done_id, payment_id, makes_it, account, currency, effect } in done {
            book.add(&account, &currency, effect, done_id, (!makes_it).then_some(payment_id));
        }
        book.write(connection).await
    }

    async fn audit(
        &self,
        connection: &mut PgConnection,
        prepared: &[PreparedBranch<Branch>],
    ) -> Result<Vec<Check>, sqlx::Error> {
        let mut checks = vec![audit::orphan_holds(&mut *connection, prepared).await?];
        checks.push(audit::money_conserved(connection).await?);
        Ok(checks)
    }
}

/// What an authorisation holds beyond what counts towards it.
fn beyond<'a>(hold: &Hold<'a>) -> Cow<'a, Authorisation> {
    let Hold { authorisation: wanted, credit_minor, .. } = hold;
    match credit_minor {
        0 => Cow::Borrowed(*wanted),
        _ => Cow::Owned(Authorisation { amount_minor: wanted.amount_minor - credit_minor, ..(*wanted).clone() }),
    }
}
