//! The inventory as a participant.
use std::sync::Arc;

use participant::audit::Check;
use participant::{HoldAll, InvalidBranch, PreparedBranch, Refusal, Resource, StepBranch, Writing};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Allowed, Holds};
use crate::feed::Feed;
use crate::store::backorders;
use crate::store::reservations::Defaults;
use crate::store::strategy::{Name, Strategy};
use crate::store::waitlist;
use crate::{grpc, reads, store};

/// The inventory: holds stock at prepare, sells it at commit, gives it back at abort. As a saga's step
/// it is held and sold at once, and put back by the compensation.
#[derive(Clone)]
pub struct Inventory {
    /// How it is held.
    pub(crate) strategy: Arc<dyn Strategy>,
    /// How many write, where each branch is written alone.
    pub(crate) writers: usize,
    /// How carts reserve, where nothing else is set.
    pub(crate) reservations: Defaults,
    /// How customers wait, where nothing else is set.
    pub(crate) waitlist: waitlist::Defaults,
    /// Where its movements are passed on to.
    pub(crate) feed: Feed,
    /// How readings of it are kept.
    pub(crate) reads: reads::Settings,
}

impl Default for Inventory {
    fn default() -> Self {
        let reservations = Defaults { ttl_ms: 600_000, max_per_customer: i64::MAX };
        let waitlist = waitlist::Defaults { offer_ttl_ms: 3_600_000, max_waiting: 100, max_per_customer: i64::MAX };
        Inventory {
            strategy: store::strategy::escrow(),
            writers: 1,
            reservations,
            waitlist,
            feed: Feed::new(None),
            reads: reads::Settings::default(),
        }
    }
}

impl Resource for Inventory {
    type Branch = Holds;

    fn name(&self) -> &'static str {
        "inventory"
    }

    fn decode(&self, bytes: &[u8]) -> Result<Holds, InvalidBranch> {
        grpc::decode_branch(bytes)
    }

    fn writing(&self) -> Writing {
        self.strategy.writing(self.writers)
    }

    async fn enter(&self, branch: &PreparedBranch<Holds>) -> Result<(), String> {
        match branch.branch.put_back {
            None => self.strategy.enter(branch).await,
            Some(_) => Ok(()),
        }
    }

    async fn leave(&self, transaction_id: Uuid) {
        self.strategy.leave(transaction_id).await;
    }

    async fn prepare(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Holds>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        match store::put_back::is_among(branches) {
            false => backorders::prepare(&*self.strategy, connection, branches).await,
            true => store::put_back::prepare(&*self.strategy, connection, branches).await,
        }
    }

    fn hold_all(
        &self,
        branches: &[PreparedBranch<Holds>],
        committed: &[PreparedBranch<Holds>],
    ) -> Result<Option<HoldAll>, sqlx::Error> {
        let are_holds = |branches| !store::put_back::is_among(branches) && !backorders::is_among(branches);
        match self.strategy.name() == Name::Escrow && are_holds(branches) && are_holds(committed) {
            true => store::holds::take_all(branches, committed),
            false => Ok(None),
        }
    }

    async fn commit(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Holds>],
    ) -> Result<(), sqlx::Error> {
        backorders::commit(&mut *connection, branches).await?;
        store::put_back::apply(connection, branches).await
    }

    async fn abort(
        &self,
        connection: &mut PgConnection,
        branches: &[(PreparedBranch<Holds>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        backorders::abort(connection, branches).await
    }

    fn decode_step(&self, _: &str, bytes: &[u8]) -> Result<Holds, InvalidBranch> {
        let holds = grpc::decode_branch(bytes)?;
        match holds.allowed {
            Allowed::Nothing => Ok(holds),
            // A step takes effect at once: there is no vote that could say what is owed.
            Allowed::Whole | Allowed::Partial => Err(InvalidBranch {
                field: "branch.backorder".to_owned(),
                description: "is not for steps of sagas".to_owned(),
            }),
        }
    }

    /// Always by the guarded update of the sums, which is right beside any other way of holding: a step waits for no vote, so
    /// there is nothing to lock for.
    async fn execute(
        &self,
        connection: &mut PgConnection,
        steps: &[StepBranch<Holds>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        let branch = |step: &StepBranch<Holds>| PreparedBranch {
            transaction_id: step.transaction_id,
            branch: step.branch.clone(),
        };
        let branches: Vec<PreparedBranch<Holds>> = steps.iter().map(branch).collect();
        let escrow = store::strategy::escrow();
        let votes = match store::put_back::is_among(&branches) {
            false => escrow.take(&mut *connection, &branches).await?,
            true => store::put_back::prepare(&*escrow, &mut *connection, &branches).await?,
        };
        let held = branches.into_iter().zip(&votes).filter(|(_, vote)| vote.is_ok());
        let held: Vec<PreparedBranch<Holds>> = held.map(|(branch, _)| branch).collect();
        if !held.is_empty() {
            self.commit(connection, &held).await?;
        }
        Ok(votes)
    }

    async fn compensate(
        &self,
        connection: &mut PgConnection,
        steps: &[(StepBranch<Holds>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        if let Some((step, _)) = steps.iter().find(|(step, _)| step.branch.put_back.is_some()) {
            // What came back may be sold again by now: such a step comes after the pivot, or is it.
            tracing::error!(transaction_id = %step.transaction_id, "alarm: what was put back can't be taken away again");
            return Err(sqlx::Error::Protocol("what was put back can't be taken away again".to_owned()));
        }
        store::returns::put_back(connection, steps).await
    }

    async fn audit(
        &self,
        connection: &mut PgConnection,
        prepared: &[PreparedBranch<Holds>],
    ) -> Result<Vec<Check>, sqlx::Error> {
        store::audit::check(connection, prepared).await
    }
}
