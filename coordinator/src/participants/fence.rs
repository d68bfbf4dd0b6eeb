//! FENCE, through a lane: after a crash thousands of transactions are asked about at one time.
use participant::{Refusal, TransactionRef, crash_point};
use proto::assent::transaction::v1 as wire;
use protocol::Vote;
use tonic::Status;

use super::calls::timed;
use super::lane::Call;
use super::{Client, Participant, Voted, refusal_of, vote_of};

/// What stands there, after a durable no was written where nothing did.
pub struct Fence;

impl Call for Fence {
    type Ask = wire::TransactionRef;
    type Reply = Voted;

    async fn call(mut client: Client, transactions: Vec<wire::TransactionRef>) -> Result<Vec<Voted>, Status> {
        let count = transactions.len();
        // Once for each, so that how often it was passed says how many were fenced.
        (0..count).for_each(|_| crash_point::pass("recover.before_fence"));
        let response = client.fence(timed(wire::FenceRequest { transactions })).await;
        (0..count).for_each(|_| crash_point::pass("recover.after_fence"));
        let voted =
            |result: wire::FenceResult| Voted { vote: vote_of(result.vote), refusal: result.refusal.map(refusal_of) };
        Ok(response?.into_inner().results.into_iter().map(voted).collect())
    }

    fn doubt(refusal: Refusal) -> Voted {
        Voted { vote: Vote::Unknown, refusal: Some(refusal) }
    }
}

impl Participant {
    /// Fences a transaction.
    pub async fn fence(&self, transaction: TransactionRef) -> Voted {
        self.fences.ask(transaction.into()).await
    }
}
