//! What a service implements to be a participant.
use std::future::Future;
use std::sync::Arc;

use sqlx::PgConnection;
use sqlx::postgres::{PgArguments, PgRow};
use uuid::Uuid;

use crate::Refusal;
use crate::audit::Check;

/// A branch with the transaction that it is part of.
#[derive(Debug, PartialEq)]
pub struct PreparedBranch<B> {
    /// The transaction; unique within a batch.
    pub transaction_id: Uuid,
    /// The branch, as [`Resource::decode`] read it.
    pub branch: Arc<B>,
}

impl<B> Clone for PreparedBranch<B> {
    fn clone(&self) -> Self {
        PreparedBranch { transaction_id: self.transaction_id, branch: self.branch.clone() }
    }
}

/// What is to be done in a saga's step, with what names the step.
#[derive(Debug, PartialEq)]
pub struct StepBranch<B> {
    /// The saga; unique within a batch.
    pub transaction_id: Uuid,
    /// The step's name.
    pub step: String,
    /// What is to be done, as [`Resource::decode_step`] read it.
    pub branch: Arc<B>,
}

impl<B> Clone for StepBranch<B> {
    fn clone(&self) -> Self {
        StepBranch { transaction_id: self.transaction_id, step: self.step.clone(), branch: self.branch.clone() }
    }
}

/// A branch that can't be read or is not valid: the caller's fault, so it is answered with INVALID_ARGUMENT, leaves no
/// row, and is no vote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {description}")]
pub struct InvalidBranch {
    /// Which field of the branch.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// A part of a statement: it takes the holds of branches, all of them or none, and has others that were committed take effect. The
/// log's writer adds the log's rows to it, so all that a batch does is one round trip to the database.
pub struct HoldAll {
    /// Common table expressions, each with a comma after it, without WITH; the arguments are `$1` and so on.
    pub with: &'static str,
    /// A condition: all are held. If it is false, nothing remains of what was done.
    pub is_held: &'static str,
    /// The SELECT whose rows are answered, without a WHERE.
    pub rows: &'static str,
    /// The arguments.
    pub arguments: PgArguments,
    /// Is called for each row that was answered, before anybody is told of the batch. The local transaction may be open still, and may
    /// be rolled back, or be committed.
    pub on_row: fn(&PgRow) -> Result<(), sqlx::Error>,
}

impl HoldAll {
    /// What answers nothing.
    pub fn silent(with: &'static str, is_held: &'static str, arguments: PgArguments) -> Self {
        HoldAll { with, is_held, rows: "SELECT 1", arguments, on_row: |_| Ok(()) }
    }
}

/// How the PREPAREs of a resource are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// By one writer, as many as have come together in one local transaction.
    Batched,
    /// Each in a local transaction of its own, by so many writers side by side.
    Alone {
        /// How many; each has a connection of its own.
        writers: usize,
    },
}

/// What a service keeps and can prepare, commit and abort; and, as a step of a saga, execute and compensate.
///
/// Each of these runs within a local transaction that the caller begins and commits, on the connection given; the
/// caller writes the log rows in the same local transaction. Use set-based statements: one for the whole batch, touching
/// shared rows in sorted order. An error fails the whole batch: the caller rolls back and tries again in halves, so that
/// one bad branch can't fail its neighbours; what remains bad alone is answered as doubt.
pub trait Resource: Send + Sync + 'static {
    /// A branch, decoded and valid in itself.
    type Branch: Send + Sync + 'static;

    /// The participant's name in transactions, such as `inventory`, unless it is run under another (`--participant-name`).
    fn name(&self) -> &'static str;

    /// Reads and checks an encoded branch, without looking at the database.
    fn decode(&self, bytes: &[u8]) -> Result<Self::Branch, InvalidBranch>;

    /// How its PREPAREs are written. It must not change while the participant runs.
    fn writing(&self) -> Writing {
        Writing::Batched
    }

    /// Gets what a branch needs before its local transaction begins, such as a lock that another server keeps, where
    /// branches are written alone. If it can't be had, within moments, the cause is told and the vote is unknown. Several
    /// branches enter side by side.
    fn enter(&self, branch: &PreparedBranch<Self::Branch>) -> impl Future<Output = Result<(), String>> + Send {
        let _ = branch;
        std::future::ready(Ok(()))
    }

    /// The same for a saga's step, where branches are written alone (the steps themselves are batched all the same).
    /// `must_succeed`: a refusal will not be kept, and the step asked for again.
    fn enter_step(
        &self,
        step: &StepBranch<Self::Branch>,
        must_succeed: bool,
    ) -> impl Future<Output = Result<(), String>> + Send {
        let _ = (step, must_succeed);
        std::future::ready(Ok(()))
    }

    /// Gives back what a branch or step has entered with: its local transaction has ended, one way or the other.
    fn leave(&self, transaction_id: Uuid) -> impl Future<Output = ()> + Send {
        let _ = transaction_id;
        std::future::ready(())
    }

    /// Takes the holds, deciding the branches in the order given. Answers for each, in that order, whether it is held;
    /// a refused branch must leave nothing behind.
    fn prepare(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Self::Branch>],
    ) -> impl Future<Output = Result<Vec<Result<(), Refusal>>, sqlx::Error>> + Send;

    /// The same as [`Resource::prepare`] for branches that will most likely all be held, and as [`Resource::commit`] for those that
    /// were committed meanwhile, as part of one statement; none if that can't be done so. Whether it can depends on the branches
    /// alone. If they are not all held, `prepare` and `commit` are asked. A service that does without it works as well, and
    /// pays some round trips to its database more.
    ///
    /// A row that both concern is to be changed once: Postgres changes none twice in a statement.
    fn hold_all(
        &self,
        branches: &[PreparedBranch<Self::Branch>],
        committed: &[PreparedBranch<Self::Branch>],
    ) -> Result<Option<HoldAll>, sqlx::Error> {
        let _ = (branches, committed);
        Ok(None)
    }

    /// Makes held branches take effect. It must succeed for what was prepared.
    fn commit(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Self::Branch>],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Gives held branches back. It must succeed for what was prepared. The refusal says why the transaction was aborted.
    fn abort(
        &self,
        connection: &mut PgConnection,
        branches: &[(PreparedBranch<Self::Branch>, Refusal)],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Reads and checks what is to be done in a saga's step; the same as a branch unless the service says otherwise.
    fn decode_step(&self, step: &str, bytes: &[u8]) -> Result<Self::Branch, InvalidBranch> {
        let _ = step;
        self.decode(bytes)
    }

    /// Carries out steps of sagas, deciding them in the order given. Answers for each, in that order, whether it took
    /// effect; a refused one must leave nothing behind. Unless the service says otherwise it prepares and commits, which is
    /// right wherever what is prepared and committed can be undone by [`Resource::compensate`], or never has to be.
    fn execute(
        &self,
        connection: &mut PgConnection,
        steps: &[StepBranch<Self::Branch>],
    ) -> impl Future<Output = Result<Vec<Result<(), Refusal>>, sqlx::Error>> + Send {
        async move {
            let prepared = |step: &StepBranch<Self::Branch>| PreparedBranch {
                transaction_id: step.transaction_id,
                branch: step.branch.clone(),
            };
            let branches: Vec<PreparedBranch<Self::Branch>> = steps.iter().map(prepared).collect();
            let votes = self.prepare(&mut *connection, &branches).await?;
            let mut held = branches;
            let mut votes_of = votes.iter();
            held.retain(|_| votes_of.next().is_some_and(Result::is_ok));
            if !held.is_empty() {
                self.commit(connection, &held).await?;
            }
            Ok(votes)
        }
    }

    /// Undoes steps that took effect. It must succeed; the refusal says why the saga has turned. A service that can't undo
    /// anything leaves it out: its steps may then only be a saga's pivot, or come after it.
    fn compensate(
        &self,
        connection: &mut PgConnection,
        steps: &[(StepBranch<Self::Branch>, Refusal)],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        let _ = (connection, steps);
        let name = self.name();
        async move { Err(sqlx::Error::Protocol(format!("{name} can't undo a step"))) }
    }

    /// Checks the service's own invariants in one snapshot (the connection is in a REPEATABLE READ transaction):
    /// no-orphan-holds, that is that its holds are those of the PREPARED rows given, and its own such as no-oversell.
    fn audit(
        &self,
        connection: &mut PgConnection,
        prepared: &[PreparedBranch<Self::Branch>],
    ) -> impl Future<Output = Result<Vec<Check>, sqlx::Error>> + Send;
}
