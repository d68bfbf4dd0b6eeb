//! The payments as a participant.
use participant::audit::Check;
use participant::{HoldAll, InvalidBranch, PreparedBranch, Refusal, Resource, StepBranch, Writing};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Authorisation, Branch};
use crate::provider::Provider;
use crate::provider::ledger::Ledger;
use crate::{grpc, store};

/// How long an authorisation stands if nothing else was said, as card schemes have it: 7 days.
pub const VALIDITY_MS: i64 = 604_800_000;

/// The payments. Promised at prepare, done at commit, taken back at abort; a saga's step is done at once. Batches that only
/// charge accounts, as orders do, have the shortest way: they touch no payment's row.
#[derive(Debug, Clone, Copy)]
pub struct Payments<P = Ledger> {
    /// How long an authorisation stands.
    pub validity_ms: i64,
    /// Where the money is.
    pub provider: P,
}

impl Default for Payments<Ledger> {
    fn default() -> Self {
        Payments { validity_ms: VALIDITY_MS, provider: Ledger }
    }
}

/// Charges with their names; none if anything else is among them, or a charge is more than a hold and a booking.
fn plain_charges<'a, P: Provider>(
    branches: impl Iterator<Item = (Uuid, &'a Branch)>,
) -> Option<Vec<(Uuid, &'a Authorisation)>> {
    if !P::CHARGES_ARE_PLAIN {
        return None;
    }
    branches.map(|(transaction_id, branch)| Some((transaction_id, branch.charge()?))).collect()
}

/// What the branches hold, if they do nothing else with an account.
fn plain_holds<'a, P: Provider>(branches: impl Iterator<Item = &'a Branch>) -> Option<Vec<&'a Authorisation>> {
    if !P::CHARGES_ARE_PLAIN {
        return None;
    }
    branches.map(Branch::plain_hold).collect()
}

impl<P: Provider> Resource for Payments<P> {
    type Branch = Branch;

    fn name(&self) -> &'static str {
        "payment"
    }

    fn decode(&self, bytes: &[u8]) -> Result<Branch, InvalidBranch> {
        grpc::decode_branch(bytes)
    }

    fn writing(&self) -> Writing {
        self.provider.writing()
    }

    async fn enter(&self, branch: &PreparedBranch<Branch>) -> Result<(), String> {
        match branch.branch.authorisation() {
            Some(wanted) => self.provider.enter(branch.transaction_id, wanted, false).await,
            None => Ok(()),
        }
    }

    async fn enter_step(&self, step: &StepBranch<Branch>, must_succeed: bool) -> Result<(), String> {
        match step.branch.authorisation() {
            Some(wanted) => self.provider.enter(step.transaction_id, wanted, must_succeed).await,
            None => Ok(()),
        }
    }

    async fn leave(&self, transaction_id: Uuid) {
        self.provider.leave(transaction_id);
    }

    async fn prepare(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Branch>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        match plain_holds::<P>(branches.iter().map(|branch| &*branch.branch)) {
            Some(holds) => store::holds::authorise(connection, &holds).await,
            None => store::operations::prepare(&self.provider, connection, branches).await,
        }
    }

    fn hold_all(
        &self,
        branches: &[PreparedBranch<Branch>],
        committed: &[PreparedBranch<Branch>],
    ) -> Result<Option<HoldAll>, sqlx::Error> {
        let holds = plain_holds::<P>(branches.iter().map(|branch| &*branch.branch));
        let charges = plain_charges::<P>(committed.iter().map(|it| (it.transaction_id, &*it.branch)));
        match holds.zip(charges) {
            Some((holds, charges)) => store::holds::authorise_all(&holds, charges),
            None => Ok(None),
        }
    }

    async fn commit(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Branch>],
    ) -> Result<(), sqlx::Error> {
        match plain_charges::<P>(branches.iter().map(|it| (it.transaction_id, &*it.branch))) {
            Some(charges) => store::holds::capture(connection, charges).await,
            None => store::operations::commit(&self.provider, connection, branches, self.validity_ms).await,
        }
    }

    async fn abort(
        &self,
        connection: &mut PgConnection,
        branches: &[(PreparedBranch<Branch>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        match plain_holds::<P>(branches.iter().map(|(branch, _)| &*branch.branch)) {
            Some(holds) => store::holds::void(connection, holds).await,
            None => store::operations::abort(&self.provider, connection, branches).await,
        }
    }

    async fn execute(
        &self,
        connection: &mut PgConnection,
        steps: &[StepBranch<Branch>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        let charges = plain_charges::<P>(steps.iter().map(|it| (it.transaction_id, &*it.branch)));
        let Some(mut charges) = charges else {
            return store::operations::execute(&self.provider, connection, steps, self.validity_ms).await;
        };
        let wanted: Vec<_> = charges.iter().map(|(_, charge)| *charge).collect();
        let votes = store::holds::authorise(&mut *connection, &wanted).await?;
        let mut votes_of = votes.iter();
        charges.retain(|_| votes_of.next().is_some_and(Result::is_ok));
        store::holds::capture(connection, charges).await?;
        Ok(votes)
    }

    async fn compensate(
        &self,
        connection: &mut PgConnection,
        steps: &[(StepBranch<Branch>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        store::operations::compensate(&self.provider, connection, steps).await
    }

    async fn audit(
        &self,
        connection: &mut PgConnection,
        prepared: &[PreparedBranch<Branch>],
    ) -> Result<Vec<Check>, sqlx::Error> {
        self.provider.audit(connection, prepared).await
    }
}
