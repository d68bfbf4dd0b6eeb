//! The payments as a participant.
use participant::audit::Check;
use participant::{InvalidBranch, PreparedBranch, Refusal, Resource, StepBranch};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Authorisation, Branch};
use crate::{grpc, store};

/// How long an authorisation stands if nothing else was said, as card schemes have it: 7 days.
pub const VALIDITY_MS: i64 = 604_800_000;

/// The payments. Promised at prepare, done at commit, taken back at abort; a saga's step is done at once. Batches that only
/// charge, as orders do, have the shortest way: they touch no payment's row.
#[derive(Debug, Clone, Copy)]
pub struct Payments {
    /// How long an authorisation stands.
    pub validity_ms: i64,
}

impl Default for Payments {
    fn default() -> Self {
        Payments { validity_ms: VALIDITY_MS }
    }
}

/// A charge with its name; none if it is anything else.
fn named_charge(transaction_id: Uuid, branch: &Branch) -> Option<(Uuid, &Authorisation)> {
    Some((transaction_id, branch.charge()?))
}

impl Resource for Payments {
    type Branch = Branch;

    fn name(&self) -> &'static str {
        "payment"
    }

    fn decode(&self, bytes: &[u8]) -> Result<Branch, InvalidBranch> {
        grpc::decode_branch(bytes)
    }

    async fn prepare(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Branch>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        match branches.iter().map(|branch| branch.branch.plain_hold()).collect::<Option<Vec<_>>>() {
            Some(holds) => store::holds::authorise(connection, &holds).await,
            None => store::operations::prepare(connection, branches).await,
        }
    }

    async fn commit(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Branch>],
    ) -> Result<(), sqlx::Error> {
        let charges = branches.iter().map(|it| named_charge(it.transaction_id, &it.branch));
        match charges.collect::<Option<Vec<_>>>() {
            Some(charges) => store::holds::capture(connection, charges).await,
            None => store::operations::commit(connection, branches, self.validity_ms).await,
        }
    }

    async fn abort(
        &self,
        connection: &mut PgConnection,
        branches: &[(PreparedBranch<Branch>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        match branches.iter().map(|(branch, _)| branch.branch.plain_hold()).collect::<Option<Vec<_>>>() {
            Some(holds) => store::holds::void(connection, holds).await,
            None => store::operations::abort(connection, branches).await,
        }
    }

    async fn execute(
        &self,
        connection: &mut PgConnection,
        steps: &[StepBranch<Branch>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        let charges = steps.iter().map(|it| named_charge(it.transaction_id, &it.branch));
        let Some(mut charges) = charges.collect::<Option<Vec<_>>>() else {
            return store::operations::execute(connection, steps, self.validity_ms).await;
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
        store::operations::compensate(connection, steps).await
    }

    async fn audit(
        &self,
        connection: &mut PgConnection,
        prepared: &[PreparedBranch<Branch>],
    ) -> Result<Vec<Check>, sqlx::Error> {
        let mut checks = vec![store::audit::orphan_holds(&mut *connection, prepared).await?];
        checks.push(store::audit::money_conserved(connection).await?);
        Ok(checks)
    }
}
