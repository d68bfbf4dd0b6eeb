//! The payments as a participant.
use participant::audit::Check;
use participant::{InvalidBranch, PreparedBranch, Refusal, Resource, StepBranch};
use sqlx::PgConnection;

use crate::domain::Authorisation;
use crate::{grpc, store};

/// The payments: authorised at prepare, captured at commit, voided at abort. As a saga's step: captured at once,
/// and refunded by the compensation.
#[derive(Debug, Clone, Copy)]
pub struct Payments;

impl Resource for Payments {
    type Branch = Authorisation;

    fn name(&self) -> &'static str {
        "payment"
    }

    fn decode(&self, bytes: &[u8]) -> Result<Authorisation, InvalidBranch> {
        grpc::decode_branch(bytes)
    }

    async fn prepare(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Authorisation>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        store::holds::authorise(connection, &branches.iter().map(|branch| &*branch.branch).collect::<Vec<_>>()).await
    }

    async fn commit(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Authorisation>],
    ) -> Result<(), sqlx::Error> {
        store::holds::capture(connection, branches).await
    }

    async fn abort(
        &self,
        connection: &mut PgConnection,
        branches: &[(PreparedBranch<Authorisation>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        store::holds::void(connection, branches.iter().map(|(branch, _)| &*branch.branch)).await
    }

    async fn compensate(
        &self,
        connection: &mut PgConnection,
        steps: &[(StepBranch<Authorisation>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        store::refunds::refund(connection, steps).await
    }

    async fn audit(
        &self,
        connection: &mut PgConnection,
        prepared: &[PreparedBranch<Authorisation>],
    ) -> Result<Vec<Check>, sqlx::Error> {
        let mut checks = vec![store::audit::orphan_holds(&mut *connection, prepared).await?];
        checks.push(store::audit::money_conserved(connection).await?);
        Ok(checks)
    }
}
