//! One attempt at a client's request, driven by the coordinator that took it.
//!
//! The driver feeds [`Owner::on`] with what happened and carries out the commands in order. The one sequential durable
//! write before the answer is the STAGING insert, which runs in parallel with the PREPAREs:
//!
//! ```text
//! Voting --(record staged, every vote yes)--> accepted --> lazy COMMITTED, COMMITs
//!   |  \---(record staged, any vote no)-----> rejected --> lazy ABORTED, ABORTs
//!   |--(doubt or deadline)--> Aborting --(forced CAS of the own record)--> aborted, or committed if found so
//!   \--(request held by another attempt)--> Following --> the holder's outcome
//! ```
use crate::record::{Abort, RecordState, Stage};
use crate::{Decision, Vote};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The attempt begins.
    Start,
    /// A participant answered PREPARE, or the RPC failed (`Unknown`).
    Voted {
        /// Which participant, by its place in the transaction's list.
        participant: usize,
        /// Its vote.
        vote: Vote,
    },
    /// The STAGING insert returned.
    Staged(Stage),
    /// It is not known whether the STAGING insert stands.
    StageUnknown,
    /// The attempt's deadline has passed.
    DeadlinePassed,
    /// The forced abort of the own record returned.
    RecordAborted(Abort),
    /// The forced abort of the own record could not be carried out, or its outcome is not known.
    AbortUnknown,
    /// What stands for the attempt that holds the request.
    Holder(Holder),
}

/// What stands for the attempt that holds the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Its request has another content: the request id was re-used.
    OtherDigest,
    /// Its record is final.
    Terminal(Decision),
    /// Its record is STAGING.
    Staging {
        /// Whether its deadline has passed.
        deadline_passed: bool,
    },
    /// No record holds the request any more.
    Gone,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Send PREPARE to this participant; answer with [`Event::Voted`].
    Prepare(usize),
    /// Insert the STAGING record, forced, at most once; answer with [`Event::Staged`] or [`Event::StageUnknown`].
    InsertStaging,
    /// Abort the own record, forced; answer with [`Event::RecordAborted`] or [`Event::AbortUnknown`]. Asked again after
    /// each [`Event::AbortUnknown`]: the driver waits a while between the tries.
    AbortRecord,
    /// Answer the client.
    Answer(Outcome),
    /// Write the decision into the STAGING record; may be lazy.
    Finish(Decision),
    /// Send COMMIT to every participant until each acknowledges.
    SendCommit,
    /// Send ABORT to every participant until each acknowledges.
    SendAbort,
    /// Look at the request's holder; answer with [`Event::Holder`].
    ReadHolder,
    /// Wait a while, then look at the holder.
    WaitForHolder,
    /// Run Recover on the holder, then look at it.
    RecoverHolder,
}

/// What the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The order is placed, and stays so.
    Accepted,
    /// A participant refused, and nothing stays. The participant's place says whose reason to tell.
    Rejected {
        /// Who refused.
        participant: usize,
    },
    /// Given up (deadline or doubt), durably: nothing stays.
    Aborted,
    /// Another attempt holds the request, and this is its outcome.
    OfHolder(Decision),
    /// The request id was used for another content.
    RequestReused,
    /// The outcome is in doubt; it will be settled, but isn't now.
    Unknown,
}

/// Where the attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// Not begun.
    New,
    /// PREPAREs and the STAGING insert are out.
    Voting,
    /// The forced abort of the own record is out.
    Aborting {
        /// The client was already told that the outcome is unknown.
        answered: bool,
    },
    /// Another attempt holds the request.
    Following,
    /// Nothing more to decide.
    Done,
}

/// One attempt at a client's request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    votes: Vec<Option<Vote>>,
    staged: bool,
    /// Known to be a retry: the record goes first, so that a duplicate takes no second hold.
    insert_first: bool,
    prepares_sent: bool,
    phase: Phase,
}

impl Owner {
    /// An attempt over `participants` participants. `insert_first` for calls known to be retries.
    pub fn new(participants: usize, insert_first: bool) -> Self {
        Owner { votes: vec![None; participants], staged: false, insert_first, prepares_sent: false, phase: Phase::New }
    }

    /// Whether the attempt has nothing more to decide; its decision may still be on its way to the participants.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Takes what happened; returns what to do, in order.
    pub fn on(&mut self, event: Event) -> Vec<Command> {
        match event {
            Event::Start if self.phase == Phase::New => self.start(),
            Event::Voted { participant, vote } => self.voted(participant, vote),
            Event::Staged(stage) if self.phase == Phase::Voting => self.on_staged(stage),
            Event::StageUnknown | Event::DeadlinePassed if self.phase == Phase::Voting => self.abort_record(),
            Event::RecordAborted(abort) => self.record_aborted(abort),
            Event::AbortUnknown => self.abort_unknown(),
            Event::Holder(holder) if self.phase == Phase::Following => self.holder(holder),
            // Late news that no longer matter: whatever they said, the phase has been decided without them.
            Event::Start | Event::Staged(_) | Event::StageUnknown | Event::DeadlinePassed | Event::Holder(_) => {
                Vec::new()
            }
        }
    }

    fn start(&mut self) -> Vec<Command> {
        self.phase = Phase::Voting;
        if self.insert_first {
            return vec![Command::InsertStaging];
        }
        let mut commands = self.prepare_all();
        commands.push(Command::InsertStaging);
        commands
    }

    fn prepare_all(&mut self) -> Vec<Command> {
        self.prepares_sent = true;
        (0..self.votes.len()).map(Command::Prepare).collect()
    }

    fn voted(&mut self, participant: usize, vote: Vote) -> Vec<Command> {
        match self.votes.get_mut(participant) {
            // The first definite vote stands; doubt is replaced by knowledge, never the other way round.
            Some(slot) if !matches!(slot, Some(Vote::Yes | Vote::No)) => *slot = Some(vote),
            _ => return Vec::new(),
        }
        if self.phase == Phase::Voting { self.weigh() } else { Vec::new() }
    }

    fn on_staged(&mut self, stage: Stage) -> Vec<Command> {
        match stage {
            Stage::Staged => {
                self.staged = true;
                if self.prepares_sent { self.weigh() } else { self.prepare_all() }
            }
            Stage::HeldByOther => self.follow_holder(),
            Stage::Terminal { state: RecordState::Committed, .. } => {
                self.done(&[Command::Answer(Outcome::Accepted), Command::SendCommit])
            }
            // A tombstone that could not take the request says nothing of the request's outcome.
            Stage::Terminal { holds_request: false, .. } => self.follow_holder(),
            Stage::Terminal { .. } => {
                let outcome = self.refused_or(Outcome::Aborted);
                self.done(&[Command::Answer(outcome), Command::SendAbort])
            }
            // Prepared branches find their way by Recover, which answers FORGOTTEN.
            Stage::BelowWatermark => self.done(&[Command::Answer(Outcome::Unknown)]),
        }
    }

    /// Accepts or rejects once the own record is durable; goes for the abort on doubt.
    fn weigh(&mut self) -> Vec<Command> {
        let refused = self.refused_by();
        if self.staged {
            if let Some(participant) = refused {
                let outcome = Outcome::Rejected { participant };
                return self.done(&[Command::Answer(outcome), Command::Finish(Decision::Abort), Command::SendAbort]);
            }
            if self.votes.iter().all(|vote| *vote == Some(Vote::Yes)) {
                return self.done(&[
                    Command::Answer(Outcome::Accepted),
                    Command::Finish(Decision::Commit),
                    Command::SendCommit,
                ]);
            }
        }
        let doubt = self.votes.iter().any(|vote| matches!(vote, Some(Vote::Unknown | Vote::Forgotten)));
        // With a no at hand the record alone is missing, and it is on its way.
        if doubt && refused.is_none() { self.abort_record() } else { Vec::new() }
    }

    fn abort_record(&mut self) -> Vec<Command> {
        self.phase = Phase::Aborting { answered: false };
        vec![Command::AbortRecord]
    }

    fn record_aborted(&mut self, abort: Abort) -> Vec<Command> {
        let Phase::Aborting { answered } = self.phase else {
            return Vec::new();
        };
        let mut commands = match abort {
            // The request is another attempt's, so its outcome is not ours to tell.
            Abort::Aborted { holds_request: false } if !answered => return self.follow_holder(),
            Abort::Aborted { .. } => {
                vec![Command::Answer(self.refused_or(Outcome::Aborted)), Command::SendAbort]
            }
            Abort::Committed => vec![Command::Answer(Outcome::Accepted), Command::SendCommit],
            // STAGING can't be the result of this compare-and-set; treat it as doubt rather than guess.
            Abort::Staging => return self.abort_unknown(),
            Abort::BelowWatermark => vec![Command::Answer(Outcome::Unknown)],
        };
        if answered {
            commands.retain(|command| !matches!(command, Command::Answer(_)));
        }
        self.done(&commands)
    }

    fn abort_unknown(&mut self) -> Vec<Command> {
        match self.phase {
            Phase::Aborting { answered: false } => {
                self.phase = Phase::Aborting { answered: true };
                vec![Command::Answer(Outcome::Unknown), Command::AbortRecord]
            }
            Phase::Aborting { answered: true } => vec![Command::AbortRecord],
            _ => Vec::new(),
        }
    }

    fn follow_holder(&mut self) -> Vec<Command> {
        self.phase = Phase::Following;
        // Without PREPAREs there is nothing to abort, and a tombstone would only be litter.
        if self.prepares_sent { vec![Command::SendAbort, Command::ReadHolder] } else { vec![Command::ReadHolder] }
    }

    fn holder(&mut self, holder: Holder) -> Vec<Command> {
        match holder {
            Holder::OtherDigest => self.done(&[Command::Answer(Outcome::RequestReused)]),
            Holder::Terminal(decision) => self.done(&[Command::Answer(Outcome::OfHolder(decision))]),
            Holder::Staging { deadline_passed: false } => vec![Command::WaitForHolder],
            Holder::Staging { deadline_passed: true } => vec![Command::RecoverHolder],
            Holder::Gone => self.done(&[Command::Answer(Outcome::Unknown)]),
        }
    }

    fn refused_by(&self) -> Option<usize> {
        self.votes.iter().position(|vote| *vote == Some(Vote::No))
    }

    fn refused_or(&self, otherwise: Outcome) -> Outcome {
        match self.refused_by() {
            Some(participant) => Outcome::Rejected { participant },
            None => otherwise,
        }
    }

    fn done(&mut self, commands: &[Command]) -> Vec<Command> {
        self.phase = Phase::Done;
        commands.to_vec()
    }
}
