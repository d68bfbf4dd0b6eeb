//! What may happen next.
use super::state::{OwnerSlot, RunOperation, State};
use super::{horizon, records};
use crate::config::Config;
use crate::mutant::Mutant;
use protocol::Vote;
use protocol::branch::{self, BranchState, Prepare};
use protocol::collection;
use protocol::record::RecordState;

/// One step of the world. Attempts, participants and runs go by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A coordinator takes the request and begins this attempt.
    Start(usize),
    /// The owner's process dies.
    CrashOwner(usize),
    /// The owner's clock says that the deadline has passed.
    Deadline(usize),
    /// The owner gives up waiting for a vote, or gets an error in its place.
    VoteDoubt(usize, usize),
    /// The STAGING insert is carried out; its answer may be lost.
    StageLands {
        /// The attempt.
        attempt: usize,
        /// The owner learns the result.
        answered: bool,
    },
    /// The owner gives up waiting for its insert, which may still land.
    StageUnknown(usize),
    /// The owner's forced abort is carried out; its answer may be lost.
    AbortLands {
        /// The attempt.
        attempt: usize,
        /// The owner learns the result.
        answered: bool,
    },
    /// The owner gives up waiting for its forced abort, which may still land.
    AbortUnknown(usize),
    /// The owner's lazy write of its decision is carried out.
    FinishLands(usize),
    /// The owner of a losing attempt looks at the holder.
    ReadHolder {
        /// The attempt.
        attempt: usize,
        /// What its clock says of the holder's deadline.
        deadline_passed: bool,
    },
    /// A PREPARE arrives, the first time or again; the vote may be lost.
    Prepare {
        /// The attempt.
        attempt: usize,
        /// The participant.
        participant: usize,
        /// What the participant says if it is free to choose.
        refuses: bool,
        /// The owner learns the vote.
        answered: bool,
    },
    /// A FENCE arrives whose run no longer waits for it.
    LateFence(usize, usize),
    /// A COMMIT arrives.
    Commit(usize, usize),
    /// An ABORT arrives.
    Abort(usize, usize),
    /// A recovery's FORGOTTEN arrives.
    Forgotten(usize, usize),
    /// An END arrives.
    End(usize, usize),
    /// A coordinator, knowing that all is durably COMMITTED, sends END.
    SendEnd(usize),
    /// A coordinator looks up to which horizon its records are decided.
    ReadHorizon,
    /// A participant confirms the highest horizon that it can.
    ConfirmHorizon(usize),
    /// A coordinator sends END up to the horizon that all have confirmed.
    SendEndHorizon,
    /// An END up to a horizon makes a participant delete the row of this attempt.
    EndHorizon(usize, usize),
    /// A recovery begins and reads the record.
    Recover(usize),
    /// A FENCE of this run arrives, and its answer comes back.
    Fence(usize, usize),
    /// This run gives up waiting for the answer to its FENCE.
    FenceLost(usize, usize),
    /// The operation of this run on the record is carried out; its answer may be lost.
    RunLands {
        /// The run.
        run: usize,
        /// The run learns the result.
        answered: bool,
    },
    /// The recovery's process dies.
    CrashRun(usize),
    /// The coordinator's database flushes.
    FlushRecords,
    /// The coordinator's database crashes and comes back.
    CrashRecords,
    /// The coordinator's watermark passes one more deadline.
    AdvanceRecords,
    /// A record is collected.
    CollectRecord(usize),
    /// A participant's database flushes.
    FlushRows(usize),
    /// A participant's database crashes and comes back.
    CrashRows(usize),
    /// A participant's watermark passes one more deadline.
    AdvanceRows(usize),
    /// A row is collected.
    CollectRow(usize, usize),
}

pub(super) fn possible(config: &Config, state: &State, actions: &mut Vec<Action>) {
    for t in 0..config.attempts() {
        of_owner(config, state, t, actions);
        for p in 0..config.participants {
            of_messages(config, state, t, p, actions);
        }
        if may_end(config, state, t) {
            actions.push(Action::SendEnd(t));
        }
        let attempt = &state.attempts[t];
        if state.runs.len() < config.recoveries && attempt.owner != OwnerSlot::Idle {
            actions.push(Action::Recover(t));
        }
        if config.record_collection && records::may_collect(config, state, t) {
            actions.push(Action::CollectRecord(t));
        }
    }
    if config.end_horizons && config.participant_collection {
        actions.extend([Action::ReadHorizon, Action::SendEndHorizon]);
        actions.extend((0..config.participants).map(Action::ConfirmHorizon));
    }
    of_runs(config, state, actions);
    of_databases(config, state, actions);
}

fn of_owner(config: &Config, state: &State, t: usize, actions: &mut Vec<Action>) {
    let attempt = &state.attempts[t];
    let running = matches!(attempt.owner, OwnerSlot::Running(_));
    if attempt.owner == OwnerSlot::Idle {
        actions.push(Action::Start(t));
    }
    if running {
        actions.push(Action::Deadline(t));
        actions.push(Action::StageUnknown(t));
        if config.owner_crashes {
            actions.push(Action::CrashOwner(t));
        }
        if attempt.abort_pending {
            actions.push(Action::AbortUnknown(t));
        }
        if attempt.follows {
            actions.push(Action::ReadHolder { attempt: t, deadline_passed: false });
            actions.push(Action::ReadHolder { attempt: t, deadline_passed: true });
        }
        if attempt.prepare_sent && config.vote_doubt {
            actions.extend((0..config.participants).map(|p| Action::VoteDoubt(t, p)));
        }
    }
    for answered in [false, true] {
        if attempt.stage_pending && (running || !answered) {
            actions.push(Action::StageLands { attempt: t, answered });
        }
        if attempt.abort_pending && (running || !answered) {
            actions.push(Action::AbortLands { attempt: t, answered });
        }
    }
    if attempt.finish_pending.is_some() {
        actions.push(Action::FinishLands(t));
    }
}

fn of_messages(config: &Config, state: &State, t: usize, p: usize, actions: &mut Vec<Action>) {
    let attempt = &state.attempts[t];
    let row = attempt.rows[p].now;
    if attempt.prepare_sent {
        let running = matches!(attempt.owner, OwnerSlot::Running(_));
        let chooses = branch::prepare(row, false) == Prepare::TryHold && config.chooses(p);
        for refuses in [false, true] {
            for answered in [false, true] {
                if (chooses || !refuses) && (running || !answered) {
                    actions.push(Action::Prepare { attempt: t, participant: p, refuses, answered });
                }
            }
        }
    }
    if attempt.fence_sent && row.is_none() {
        actions.push(Action::LateFence(t, p));
    }
    if attempt.commit_sent {
        actions.push(Action::Commit(t, p));
    }
    if attempt.abort_sent {
        actions.push(Action::Abort(t, p));
    }
    if attempt.forgotten_sent {
        actions.push(Action::Forgotten(t, p));
    }
    if attempt.end_sent {
        actions.push(Action::End(t, p));
    }
    let below = t < state.watermarks[p];
    if config.participant_collection && row.is_some_and(|row| collection::may_delete_branch(row, below, false)) {
        actions.push(Action::CollectRow(t, p));
    }
    let has_ended = t < horizon::ended(state, p);
    if row.is_some_and(|row| collection::may_delete_branch(row, below, has_ended)) {
        actions.push(Action::EndHorizon(t, p));
    }
}

/// END may follow once every participant has said that its COMMITTED is durable, which stays so once it is.
fn may_end(config: &Config, state: &State, t: usize) -> bool {
    let attempt = &state.attempts[t];
    let early = config.makes(Mutant::EndBeforeFlush);
    let unflushed = config.makes(Mutant::EndOfUnflushedRecord);
    let record = if unflushed { attempt.record.now } else { attempt.record.durable };
    config.participant_collection
        && !attempt.end_sent
        && record.is_some_and(|record| record.state == RecordState::Committed)
        && attempt.rows.iter().all(|row| {
            let seen = if early { row.now } else { row.durable };
            seen == Some(BranchState::Committed)
        })
}

fn of_runs(config: &Config, state: &State, actions: &mut Vec<Action>) {
    for (place, run) in state.runs.iter().enumerate() {
        match run.operation {
            RunOperation::Fences(waiting) => {
                for p in (0..config.participants).filter(|p| waiting & (1 << p) != 0) {
                    actions.push(Action::Fence(place, p));
                    actions.push(Action::FenceLost(place, p));
                }
            }
            _ => {
                actions.push(Action::RunLands { run: place, answered: true });
                actions.push(Action::RunLands { run: place, answered: false });
            }
        }
        actions.push(Action::CrashRun(place));
    }
}

fn of_databases(config: &Config, state: &State, actions: &mut Vec<Action>) {
    if config.record_crashes && state.attempts.iter().any(|attempt| attempt.record.now != attempt.record.durable) {
        actions.push(Action::FlushRecords);
        actions.push(Action::CrashRecords);
    }
    if config.record_collection && state.record_watermark < config.attempts() {
        actions.push(Action::AdvanceRecords);
    }
    for p in 0..config.participants {
        if config.participant_crashes && state.attempts.iter().any(|a| a.rows[p].now != a.rows[p].durable) {
            actions.push(Action::FlushRows(p));
            actions.push(Action::CrashRows(p));
        }
        if config.participant_collection && state.watermarks[p] < config.attempts() {
            actions.push(Action::AdvanceRows(p));
        }
    }
}

/// What a machine is told in place of a vote, if a mistake is made about it.
pub(super) fn misread(config: &Config, vote: Vote) -> Vote {
    match vote {
        Vote::Forgotten if config.makes(Mutant::OwnerTakesForgottenForNo) => Vote::No,
        Vote::Unknown if config.makes(Mutant::OwnerTakesDoubtForNo) => Vote::No,
        other => other,
    }
}
