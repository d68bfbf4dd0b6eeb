//! Drives [`protocol::owner::Owner`] as `coordinator/src/owner/attempt.rs` does.
use super::coordinator::Ask;
use super::message::{Answer, Entry, Message, Node, Owner as Process, Query, Reply, Tx};
use super::plan::PARTICIPANTS;
use super::process::Wake;
use super::witness::{Attempt, Told};
use super::{Counted, World, note};
use crate::mutant::Mutant;
use protocol::invariants::Invariant;
use protocol::owner::{Command, Event, Holder, Outcome, Owner};
use protocol::record::{Abort, RecordState, Stage};
use protocol::{Decision, Vote};

/// How long after its own deadline an attempt goes on following another one that holds its request.
const FOLLOW_GRACE_US: u64 = 1_500_000;
/// How often it looks at the other one at least, however late it is.
const LOOKS: u32 = 3;

/// One attempt under way.
#[derive(Debug)]
pub struct Drive {
    job: usize,
    call: u32,
    owner: Owner,
    deadline_us: u64,
    /// Participants that said a durable no.
    refused: [bool; PARTICIPANTS],
    told: bool,
    /// Told of its own outcome, so that an ABORT is no duplicate's.
    told_own: bool,
    finished: bool,
    doubts: u32,
    looks: u32,
    holder: Option<Tx>,
    /// What still waits to be acknowledged.
    settling: u32,
    over: bool,
}

impl Drive {
    /// An attempt for this call.
    pub fn new(job: usize, call: u32, insert_first: bool) -> Self {
        Drive {
            job,
            call,
            owner: Owner::new(PARTICIPANTS, insert_first),
            deadline_us: 0,
            refused: [false; PARTICIPANTS],
            told: false,
            told_own: false,
            finished: false,
            doubts: 0,
            looks: 0,
            holder: None,
            settling: 0,
            over: false,
        }
    }

    /// Whether it still waits for votes and results.
    pub fn listens(&self) -> bool {
        !self.over
    }
}

/// Nothing before the first try, then doubling.
fn pause_us(tries: u32, first_us: u64, longest_us: u64) -> u64 {
    match tries {
        0 => 0,
        tries => (first_us << (tries - 1).min(16)).min(longest_us),
    }
}

impl World {
    /// Names a new attempt.
    pub(super) fn begin_attempt(&mut self, c: usize, job: usize) -> Tx {
        self.count(Counted::Attempt);
        let tx = self.witness.attempts.len();
        let job = &self.jobs[job];
        self.witness.requests[job.request].attempts.push(tx);
        self.witness.attempts.push(Attempt {
            request: job.request,
            content: job.content,
            deadline_ms: self.clock_ms(c) + job.timeout_ms as i64,
            owner: Process { coordinator: c, incarnation: self.processes[c].incarnation },
            seen: Default::default(),
            life: None,
            told: Vec::new(),
        });
        tx
    }

    pub(super) fn drive(&mut self, c: usize, tx: Tx, mut drive: Drive) {
        let timeout_us = self.jobs[drive.job].timeout_ms * 1_000;
        drive.deadline_us = self.now_us + timeout_us;
        self.coordinators[c].drives.insert(tx, drive);
        self.wake_after_us(c, timeout_us, Wake::Deadline(tx));
        if self.makes(Mutant::StagedBeforeDurable) {
            self.feed(c, tx, Event::Start);
            self.feed(c, tx, Event::Staged(Stage::Staged));
        }
    }

    pub(super) fn deadline(&mut self, c: usize, tx: Tx) {
        let waits = self.coordinators[c].drives.get(&tx).is_some_and(|drive| drive.listens() && !drive.told);
        if waits && self.makes(Mutant::TimeoutWithoutCas) {
            self.tell(c, tx, Outcome::Aborted);
            return self.attempt_over(c, tx);
        }
        self.feed(c, tx, Event::DeadlinePassed);
    }

    pub(super) fn voted(&mut self, c: usize, tx: Tx, participant: usize, vote: Vote) {
        let vote = super::mutation::as_owner_reads(self.mutant, vote);
        let Some(drive) = self.coordinators[c].drives.get_mut(&tx).filter(|drive| drive.listens()) else { return };
        drive.refused[participant] |= vote == Vote::No;
        if vote == Vote::Unknown {
            self.coverage.add(Counted::VoteUnknown, 1);
        }
        if vote == Vote::No && !drive.told && self.makes(Mutant::RejectedBeforeStaged) {
            self.tell(c, tx, Outcome::Rejected { participant });
            return self.attempt_over(c, tx);
        }
        self.feed(c, tx, Event::Voted { participant, vote });
    }

    /// Its insert came back.
    pub(super) fn stage_answered(&mut self, c: usize, tx: Tx, reply: Reply) {
        let event = match reply {
            Reply::Staged(stage) => self.staged(c, tx, stage).map(Event::Staged),
            _ => {
                self.count(Counted::RecordInDoubt);
                Some(Event::StageUnknown)
            }
        };
        if let Some(event) = event {
            self.feed(c, tx, event);
        }
    }

    /// Its forced abort came back.
    pub(super) fn abort_answered(&mut self, c: usize, tx: Tx, reply: Reply) {
        let event = match reply {
            Reply::Aborted(abort) => {
                if abort == Abort::Committed {
                    self.count(Counted::AdoptedCommit);
                }
                Event::RecordAborted(abort)
            }
            _ => {
                self.count(Counted::RecordInDoubt);
                Event::AbortUnknown
            }
        };
        self.feed(c, tx, event);
    }

    /// What the owner is told of its insert.
    fn staged(&mut self, c: usize, tx: Tx, stage: Stage) -> Option<Stage> {
        match stage {
            Stage::Staged => {}
            Stage::HeldByOther => self.count(Counted::HeldByOther),
            Stage::Terminal { .. } => self.count(Counted::StageTerminal),
            Stage::BelowWatermark => self.count(Counted::StageBelowWatermark),
        }
        if stage != Stage::HeldByOther || !self.coordinators[c].drives.get(&tx).is_some_and(Drive::listens) {
            return Some(stage);
        }
        match self.mutant {
            Some(Mutant::LoserCountsItsVotes) => return Some(Stage::Staged),
            Some(Mutant::LoserRetriesInsert) => {
                self.send_decision(c, tx, Decision::Abort);
                self.write(c, Ask::Stage(tx), Entry::Stage(tx));
                return None;
            }
            Some(Mutant::LoserAbortsHolder) => {
                if let Some(holder) = self.holder(tx) {
                    self.write(c, Ask::Finish(tx), Entry::AbortRecord { tx: holder, by_owner: true });
                }
            }
            _ => {}
        }
        Some(stage)
    }

    /// Gives the machine an event and carries out what it commands.
    pub(super) fn feed(&mut self, c: usize, tx: Tx, event: Event) {
        let Some(drive) = self.coordinators[c].drives.get_mut(&tx).filter(|drive| drive.listens()) else { return };
        let commands = drive.owner.on(event);
        let mut done = drive.owner.is_done();
        note!(self, "coordinator-{}: T{tx} {event:?} => {commands:?}", c + 1);
        for command in commands {
            self.carry_out(c, tx, command);
        }
        let Some(drive) = self.coordinators[c].drives.get(&tx) else { return };
        if !done && drive.looks > LOOKS && self.now_us > drive.deadline_us + FOLLOW_GRACE_US {
            // Nothing of this attempt stays and nothing is decided here: only the holder's outcome isn't known.
            self.count(Counted::GaveUpFollowing);
            self.tell(c, tx, Outcome::Unknown);
            done = true;
        }
        if done {
            self.attempt_over(c, tx);
        }
    }

    fn carry_out(&mut self, c: usize, tx: Tx, command: Command) {
        match command {
            Command::Prepare(participant) => self.prepare_asked(c, participant, tx),
            Command::InsertStaging => self.write(c, Ask::Stage(tx), Entry::Stage(tx)),
            Command::AbortRecord => {
                let Some(drive) = self.coordinators[c].drives.get_mut(&tx) else { return };
                let pause_us = pause_us(drive.doubts, 50_000, 1_000_000);
                drive.doubts += 1;
                if self.makes(Mutant::OwnerAbortsBeforeCas) {
                    self.send_decision(c, tx, Decision::Abort);
                }
                self.wake_after_us(c, pause_us, Wake::AbortAgain(tx));
            }
            Command::Answer(outcome) => self.tell(c, tx, outcome),
            Command::Finish(decision) => self.finish(c, tx, Some(decision)),
            Command::SendCommit => self.send_decision(c, tx, Decision::Commit),
            Command::SendAbort => self.send_decision(c, tx, Decision::Abort),
            Command::ReadHolder => self.look_later(c, tx, false),
            Command::WaitForHolder => self.look_later(c, tx, true),
            Command::RecoverHolder => match self.coordinators[c].drives.get(&tx).and_then(|drive| drive.holder) {
                Some(holder) => self.start_run(c, holder, super::recovery::Asker::Follower(tx)),
                None => self.look_later(c, tx, true),
            },
        }
    }

    pub(super) fn abort_own_record(&mut self, c: usize, tx: Tx) {
        if self.coordinators[c].drives.get(&tx).is_some_and(Drive::listens) {
            self.write(c, Ask::AbortRecord(tx), Entry::AbortRecord { tx, by_owner: true });
        }
    }

    /// Answers the client, once.
    fn tell(&mut self, c: usize, tx: Tx, outcome: Outcome) {
        let Some(drive) = self.coordinators[c].drives.get_mut(&tx) else { return };
        let first = !std::mem::replace(&mut drive.told, true);
        drive.told_own = !matches!(outcome, Outcome::OfHolder(_) | Outcome::RequestReused);
        let about = match outcome {
            Outcome::OfHolder(_) => drive.holder.unwrap_or(tx),
            _ => tx,
        };
        let (job, call) = (drive.job, drive.call);
        if !first {
            return self.violated(Invariant::AnswerHonesty, format!("T{tx} answers its client a second time"));
        }
        let told = Told { by: tx, about, outcome };
        self.count(match outcome {
            Outcome::Accepted => Counted::Accepted,
            Outcome::Rejected { .. } => Counted::Rejected,
            Outcome::Aborted => Counted::Aborted,
            Outcome::OfHolder(Decision::Commit) => Counted::OfHolderCommit,
            Outcome::OfHolder(Decision::Abort) => Counted::OfHolderAbort,
            Outcome::RequestReused => Counted::RequestReused,
            Outcome::Unknown => Counted::Unknown,
        });
        if let Some((invariant, detail)) = self.witness.told(told) {
            self.violated(invariant, detail);
        }
        self.send(Node::Coordinator(c), Node::Clients, Message::Placed { job, call, answer: Some(told) });
        if self.rng.chance(self.plan.dies_after_answer) {
            self.crash_process(c);
        }
    }

    fn finish(&mut self, c: usize, tx: Tx, decision: Option<Decision>) {
        if let Some(drive) = self.coordinators[c].drives.get_mut(&tx) {
            drive.finished = true;
            drive.settling += 1;
            self.write(c, Ask::Finish(tx), Entry::Finish { tx, decision });
        }
    }

    fn send_decision(&mut self, c: usize, tx: Tx, decision: Decision) {
        let Some(drive) = self.coordinators[c].drives.get(&tx) else { return };
        let (refused, duplicate) = (drive.refused, decision == Decision::Abort && !drive.told_own);
        // A durable no is its own acknowledgement.
        for participant in (0..PARTICIPANTS).filter(|participant| !refused[*participant]) {
            if self.lane_takes(c, participant, tx, decision, duplicate, true)
                && let Some(drive) = self.coordinators[c].drives.get_mut(&tx)
            {
                drive.settling += 1;
            }
        }
    }

    /// Nothing more to decide; it stays until everything is acknowledged.
    fn attempt_over(&mut self, c: usize, tx: Tx) {
        let Some(drive) = self.coordinators[c].drives.get_mut(&tx) else { return };
        drive.over = true;
        drive.settling += 1;
        if !drive.finished && drive.told_own {
            self.finish(c, tx, None);
        }
        self.settled(c, tx);
    }

    /// Something was acknowledged.
    pub(super) fn settled(&mut self, c: usize, tx: Tx) {
        let drives = &mut self.coordinators[c].drives;
        if let Some(drive) = drives.get_mut(&tx) {
            drive.settling = drive.settling.saturating_sub(1);
            if drive.over && drive.settling == 0 {
                drives.remove(&tx);
            }
        }
    }

    pub(super) fn look_later(&mut self, c: usize, tx: Tx, wait: bool) {
        if let Some(drive) = self.coordinators[c].drives.get_mut(&tx).filter(|drive| drive.listens()) {
            let pause_us = if wait { pause_us(drive.looks, 5_000, 100_000) } else { 0 };
            drive.looks += 1;
            self.wake_after_us(c, pause_us, Wake::Look(tx));
        }
    }

    pub(super) fn look_at_holder(&mut self, c: usize, tx: Tx) {
        if self.coordinators[c].drives.get(&tx).is_some_and(Drive::listens) {
            self.query(c, Ask::Holder(tx), Query::Holder(tx));
        }
    }

    pub(super) fn holder_answered(&mut self, c: usize, tx: Tx, answer: &Answer) {
        let Answer::Holder(found) = answer else {
            return self.look_later(c, tx, true);
        };
        let now_ms = self.clock_ms(c);
        let adopts = self.makes(Mutant::AdoptedAcrossDigests);
        let of = |tx: Tx| &self.witness.attempts[tx];
        let seen = match *found {
            None => Holder::Gone,
            Some((holder, _)) if of(holder).content != of(tx).content && !adopts => Holder::OtherDigest,
            Some((_, RecordState::Committed)) => Holder::Terminal(Decision::Commit),
            Some((_, RecordState::Aborted)) => Holder::Terminal(Decision::Abort),
            Some((holder, RecordState::Staging)) => {
                Holder::Staging { deadline_passed: of(holder).deadline_ms < now_ms }
            }
        };
        if let Some(drive) = self.coordinators[c].drives.get_mut(&tx) {
            drive.holder = found.map(|(holder, _)| holder);
        }
        self.feed(c, tx, Event::Holder(seen));
    }
}
