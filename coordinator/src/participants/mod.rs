//! The participants, as the coordinator sees them: a channel each, one lane for PREPAREs, one for decisions, one for
//! FENCEs and two for the steps of sagas.
//!
//! Generated types stop here: the rest of the coordinator sees votes, refusals and rows.
pub mod branches;
mod calls;
pub mod changes;
mod connection;
mod decide;
pub mod encoded;
mod fence;
mod lane;
mod prepare;
mod steps;

use participant::Refusal;
use participant::server::MAX_MESSAGE_BYTES;
use proto::assent::transaction::v1 as wire;
use proto::assent::transaction::v1::participant_service_client::ParticipantServiceClient;
use protocol::Vote;
use tonic::transport::Channel;

use crate::config::ParticipantAddress;
use crate::rounds::Rounds;

pub use calls::{BranchRow, CallError};
pub use decide::{DecisionLane, Waiter};
use fence::Fence;
use lane::Lane;
pub use prepare::{PrepareLane, Voter};
pub use steps::{StepLanes, Stepped};

/// The client of a participant.
pub type Client = ParticipantServiceClient<Channel>;

/// A vote, with the reason of a no or of a doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voted {
    /// The vote.
    pub vote: Vote,
    /// Why it is no, or unknown.
    pub refusal: Option<Refusal>,
}

impl Voted {
    /// Doubt, and why.
    pub fn unknown(reason: &str, message: impl Into<String>) -> Self {
        Voted { vote: Vote::Unknown, refusal: Some(Refusal::new(reason, message)) }
    }
}

/// One participant.
pub struct Participant {
    /// Its name in transactions.
    pub name: String,
    client: Client,
    channel: Channel,
    /// Collects and sends PREPAREs.
    pub prepare: PrepareLane,
    /// Sends COMMITs and ABORTs until they are acknowledged.
    pub decide: DecisionLane,
    /// Sends EXECUTEs and COMPENSATEs.
    pub steps: StepLanes,
    fences: Lane<Fence>,
}

impl Participant {
    /// The channel, for the participant's other services.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

/// All participants that this coordinator knows.
pub struct Participants {
    list: Vec<Participant>,
    rounds: Rounds,
}

impl Participants {
    /// Starts the lanes. Nothing is connected before it is needed.
    pub fn start(addresses: &[ParticipantAddress]) -> anyhow::Result<Self> {
        let mut list: Vec<Participant> = Vec::with_capacity(addresses.len());
        let rounds = Rounds::default();
        for address in addresses {
            anyhow::ensure!(
                !list.iter().any(|participant| participant.name == address.name),
                "--participants names {:?} twice",
                address.name
            );
            let channel = connection::lazily(&address.uri)
                .map_err(|error| anyhow::anyhow!("{:?} is no address of a participant: {error}", address.uri))?;
            let client = Client::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES);
            list.push(Participant {
                name: address.name.clone(),
                prepare: PrepareLane::start(address.name.clone(), channel.clone(), rounds.clone()),
                decide: DecisionLane::start(address.name.clone(), client.clone(), channel.clone()),
                steps: StepLanes::start(&address.name, &client),
                fences: Lane::start(&address.name, &client),
                client,
                channel,
            });
        }
        Ok(Participants { list, rounds })
    }

    /// The rounds in which their PREPARE lanes set out; whatever else an order's answer waits for sets out in them too.
    pub fn rounds(&self) -> Rounds {
        self.rounds.clone()
    }

    /// The participant of this name.
    pub fn get(&self, name: &str) -> Option<&Participant> {
        self.list.iter().find(|participant| participant.name == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Participant> {
        self.list.iter()
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.list.iter().map(|participant| participant.name.clone()).collect()
    }
}

fn vote_of(vote: i32) -> Vote {
    match wire::Vote::try_from(vote) {
        Ok(wire::Vote::Yes) => Vote::Yes,
        Ok(wire::Vote::No) => Vote::No,
        Ok(wire::Vote::Forgotten) => Vote::Forgotten,
        // A value from the future is doubt as well.
        Ok(wire::Vote::Unknown | wire::Vote::Unspecified) | Err(_) => Vote::Unknown,
    }
}

fn refusal_of(refusal: wire::Refusal) -> Refusal {
    Refusal::from_outside(refusal.reason, refusal.message, refusal.metadata)
}

/// A refusal on the wire.
pub fn refusal_to_wire(refusal: &Refusal) -> wire::Refusal {
    wire::Refusal {
        reason: refusal.reason.clone(),
        message: refusal.message.clone(),
        metadata: refusal.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
    }
}
