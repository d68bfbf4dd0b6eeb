//! Where the money is: in the built-in ledger, or behind a card gateway.
//!
//! What may be promised of a payment is decided by [`crate::domain::payment`], whoever keeps the money. A provider takes
//! what new authorisations hold, and carries out what follows from a decision. Both happen within the local transaction that
//! writes the vote or the decision, so a provider that has to ask somebody asks before it ([`Provider::enter`]), or writes
//! down what is to be done and does it afterwards. Money is never moved by a call inside a Postgres transaction.
pub mod gateway;
pub mod ledger;

use participant::audit::Check;
use participant::{Pool, PreparedBranch, Refusal, Writing};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Authorisation, Branch, Effect};

/// An authorisation that is to be held.
#[derive(Debug, Clone, Copy)]
pub struct Hold<'a> {
    /// The transaction that authorises.
    pub transaction_id: Uuid,
    /// How much, and of whom.
    pub authorisation: &'a Authorisation,
    /// What is held already by the one whose place it takes.
    pub credit_minor: i64,
}

/// What a branch or step has done to a payment, or the end of its time.
#[derive(Debug)]
pub struct Done {
    /// Names it: the transaction, or what is made of it and the step's name.
    pub done_id: Uuid,
    /// The payment.
    pub payment_id: Uuid,
    /// Whether it made that payment, which then has no row before it.
    pub makes_it: bool,
    /// Who pays.
    pub account: String,
    /// In which currency.
    pub currency: String,
    /// What it does.
    pub effect: Effect,
}

/// What keeps the money.
pub trait Provider: Send + Sync + Sized + 'static {
    /// Whether a charge is a hold and a booking of an account and nothing else, so that it needs no payment's row.
    const CHARGES_ARE_PLAIN: bool;

    /// How PREPAREs are written; those that are written alone, and steps, enter first.
    fn writing(&self) -> Writing;

    /// Begins what it does beside the log's writers, with connections to the service's database.
    fn start(&self, pool: &Pool, payments: &std::sync::Arc<crate::Payments<Self>>);

    /// Asks for an authorisation before the local transaction that votes. An error: it is not known whether it was given.
    /// `again`: one that was refused before may be asked for anew.
    fn enter(
        &self,
        transaction_id: Uuid,
        wanted: &Authorisation,
        again: bool,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// That local transaction has ended, one way or the other.
    fn leave(&self, transaction_id: Uuid);

    /// Holds new authorisations, deciding in their order; one vote for each.
    fn hold(
        &self,
        connection: &mut PgConnection,
        holds: &[Hold<'_>],
    ) -> impl Future<Output = Result<Vec<Result<(), Refusal>>, sqlx::Error>> + Send;

    /// Carries out what was decided, or writes down that it is to be done.
    fn carry_out(
        &self,
        connection: &mut PgConnection,
        done: Vec<Done>,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Checks its own invariants; the connection is in a snapshot.
    fn audit(
        &self,
        connection: &mut PgConnection,
        prepared: &[PreparedBranch<Branch>],
    ) -> impl Future<Output = Result<Vec<Check>, sqlx::Error>> + Send;
}
