//! What goes over the network and to the databases.
use protocol::branch::{End, Settle};
use protocol::record::{Abort, Commit, RecordState, Stage};
use protocol::recovery;
use protocol::{Decision, Vote};

/// A transaction, by its place among all attempts; ids are never used again.
pub type Tx = usize;

/// A process, or the clients' side of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A coordinator.
    Coordinator(usize),
    /// A participant.
    Participant(usize),
    /// The clients.
    Clients,
}

impl Node {
    /// Its place in lists of all nodes.
    pub fn place(self) -> usize {
        match self {
            Node::Coordinator(place) => place,
            Node::Participant(place) => super::plan::COORDINATORS + place,
            Node::Clients => CLIENTS,
        }
    }

    /// The process at this place.
    pub fn process(place: usize) -> Node {
        match place.checked_sub(super::plan::COORDINATORS) {
            None => Node::Coordinator(place),
            Some(participant) => Node::Participant(participant),
        }
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Node::Coordinator(place) => write!(f, "coordinator-{}", place + 1),
            Node::Participant(place) => f.write_str(super::plan::NAMES[*place]),
            Node::Clients => f.write_str("clients"),
        }
    }
}

/// The clients' place among the nodes.
pub const CLIENTS: usize = super::plan::COORDINATORS + super::plan::PARTICIPANTS;

/// A coordinator process: which, and the how-manieth of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub coordinator: usize,
    /// Counted from its first start.
    pub incarnation: u32,
}

/// One thing to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// To a participant's log.
    Prepare(Tx),
    /// Likewise.
    Fence(Tx),
    /// Likewise; answered only when durable, if that is asked for.
    Commit { tx: Tx, durable: bool },
    /// Likewise; the attempt may have lost its request, and then leaves no order behind.
    Abort { tx: Tx, duplicate: bool },
    /// Likewise: Recover answered FORGOTTEN.
    Forgotten(Tx),
    /// Likewise.
    End(Tx),
    /// To the coordinators' records.
    Stage(Tx),
    /// Likewise: a recovery's tombstone, of one that does not know the request.
    InsertAborted(Tx),
    /// Likewise: the forced abort, of an owner or of a recovery.
    AbortRecord { tx: Tx, by_owner: bool },
    /// Likewise: the forced commit of a recovery.
    CommitRecord(Tx),
    /// Likewise, lazily: what the owner decided.
    Finish { tx: Tx, decision: Option<Decision> },
}

/// An entry's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// To PREPARE and FENCE.
    Voted(Vote),
    /// To COMMIT, ABORT and FORGOTTEN.
    Settled(Settle),
    /// To END.
    Ended(End),
    /// To a stage.
    Staged(Stage),
    /// To an abort of a record.
    Aborted(Abort),
    /// To a commit of a record.
    Committed(Commit),
    /// To a finish.
    Finished,
    /// It may or may not have happened.
    Unknown,
}

/// A row in doubt, as it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Which transaction.
    pub tx: Tx,
    /// Who drove it.
    pub owner: Owner,
}

/// A read of the coordinators' database, or a write past its writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The record of a transaction.
    Record(Tx),
    /// The record that holds the request of this transaction.
    Holder(Tx),
    /// STAGING records of dead owners, or long past their deadlines.
    Abandoned,
    /// The processes that are taken to live.
    LiveOwners,
    /// A sign of life.
    KeepLease,
    /// The first one, which takes the name.
    TakeLease,
    /// Advances the watermark.
    Advance,
    /// Says up to which horizon all records are decided, and sees to it that they are durably so.
    Horizon,
    /// Participants were told END up to this horizon.
    MarkEndedUpTo(i64),
    /// Lists the records so far below the watermark whose participants may be told END, and sees to it that they are durable.
    ToEnd { below_ms: i64 },
    /// Participants were told END.
    MarkEnded(Vec<Tx>),
    /// Deletes what may go.
    DeleteSettled,
}

/// What a coordinator is told in answer to anything it asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What was written.
    Replies(Vec<Reply>),
    /// A participant's rows in doubt.
    Rows(Vec<Listed>),
    /// A record's state.
    Record(Option<RecordState>),
    /// The holder of a request, with its state.
    Holder(Option<(Tx, RecordState)>),
    /// Some transactions.
    Transactions(Vec<Tx>),
    /// A horizon.
    Horizon(i64),
    /// Some processes.
    Owners(Vec<Owner>),
    /// It was done.
    Done,
    /// It was not: another process has the name.
    Superseded,
    /// Nobody knows.
    Failed,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A client places an order.
    Place { job: usize, call: u32, is_retry: bool },
    /// What it is told; none if the call failed.
    Placed { job: usize, call: u32, answer: Option<super::witness::Told> },
    /// A coordinator has a participant write something.
    Write { ask: u64, entries: Vec<Entry> },
    /// A coordinator lists the rows in doubt.
    List { ask: u64 },
    /// The participant's answer to any of these.
    Answered { ask: u64, answer: Answer },
    /// A coordinator has a participant confirm a horizon, or says END up to it.
    Horizon { ask: u64, horizon_ms: i64, has_ended: bool },
    /// A participant asks for recovery; an operator does so without a number.
    Recover { tx: Tx, ask: Option<u64> },
    /// The coordinator's answer; none if the call failed.
    Recovered { ask: u64, outcome: Option<recovery::Outcome> },
}
