//! Drives [`protocol::owner::Owner`] as a coordinator's process does.
use super::action::misread;
use super::state::{Answer, OwnerSlot, State};
use super::{participant, records};
use crate::config::Config;
use crate::mutant::Mutant;
use protocol::owner::{Command, Event, Holder, Outcome, Owner};
use protocol::record::{Commit, RecordState, Stage};
use protocol::{Decision, Vote};

pub(super) fn start(config: &Config, state: &mut State, t: usize) {
    let owner = Owner::new(config.participants, config.insert_first[t]);
    state.attempts[t].owner = OwnerSlot::Running(owner);
    state.attempts[t].saw_stock = config.makes(Mutant::StockReadBefore) && participant::has_stock(config, state);
    feed(config, state, t, Event::Start);
    if config.makes(Mutant::StagedBeforeDurable) {
        feed(config, state, t, Event::Staged(Stage::Staged));
    }
}

pub(super) fn crash(state: &mut State, t: usize) {
    let attempt = &mut state.attempts[t];
    attempt.owner = OwnerSlot::Gone;
    attempt.follows = false;
}

pub(super) fn deadline(config: &Config, state: &mut State, t: usize) {
    if config.makes(Mutant::TimeoutWithoutCas) && state.attempts[t].answer.is_none() {
        answer(config, state, t, Outcome::Aborted);
        return crash(state, t);
    }
    feed(config, state, t, Event::DeadlinePassed);
}

pub(super) fn voted(config: &Config, state: &mut State, t: usize, participant: usize, vote: Vote) {
    let vote = misread(config, vote);
    if vote == Vote::No && config.makes(Mutant::RejectedBeforeStaged) && state.attempts[t].answer.is_none() {
        answer(config, state, t, Outcome::Rejected { participant });
        return crash(state, t);
    }
    feed(config, state, t, Event::Voted { participant, vote });
}

pub(super) fn stage_lands(config: &Config, state: &mut State, t: usize, answered: bool) {
    state.attempts[t].stage_pending = false;
    let mut stage = records::stage(config, state, t);
    if !answered {
        return;
    }
    if stage == Stage::HeldByOther && config.makes(Mutant::LoserCountsItsVotes) {
        stage = Stage::Staged;
    }
    if stage == Stage::HeldByOther && config.makes(Mutant::LoserRetriesInsert) {
        state.attempts[t].stage_pending = true;
        state.attempts[t].abort_sent = true;
        return;
    }
    if stage == Stage::HeldByOther
        && config.makes(Mutant::LoserAbortsHolder)
        && let Some(holder) = state.holder(config, t)
    {
        records::abort(config, state, holder, true);
    }
    feed(config, state, t, Event::Staged(stage));
}

pub(super) fn abort_lands(config: &Config, state: &mut State, t: usize, answered: bool) {
    state.attempts[t].abort_pending = false;
    let abort = records::abort(config, state, t, !config.makes(Mutant::LazyTimeoutCas));
    if answered {
        feed(config, state, t, Event::RecordAborted(abort));
    } else if matches!(state.attempts[t].owner, OwnerSlot::Running(_)) {
        // It will be tried again, so what is on its way stays on its way.
        state.attempts[t].abort_pending = true;
    }
}

/// The lazy write only settles a STAGING record; that it contradicts what stands would be an alarm.
pub(super) fn finish_lands(config: &Config, state: &mut State, t: usize) {
    match state.attempts[t].finish_pending.take() {
        Some(Decision::Commit) => {
            let contradicted = records::commit(config, state, t, false) == Commit::Aborted;
            state.alarm |= contradicted;
        }
        Some(Decision::Abort) => records::finish_aborted(config, state, t),
        None => {}
    }
}

pub(super) fn read_holder(config: &Config, state: &mut State, t: usize, deadline_passed: bool) {
    state.attempts[t].follows = false;
    let Some(place) = state.holder(config, t) else {
        return feed(config, state, t, Event::Holder(Holder::Gone));
    };
    let other = config.digests[place] != config.digests[t] && !config.makes(Mutant::AdoptedAcrossDigests);
    let holder = match state.attempts[place].record.now.map(|record| record.state) {
        _ if other => Holder::OtherDigest,
        Some(RecordState::Committed) => Holder::Terminal(Decision::Commit),
        Some(RecordState::Aborted) => Holder::Terminal(Decision::Abort),
        Some(RecordState::Staging) => Holder::Staging { deadline_passed },
        None => Holder::Gone,
    };
    feed(config, state, t, Event::Holder(holder));
}

/// Gives the machine an event and carries out what it commands.
pub(super) fn feed(config: &Config, state: &mut State, t: usize, event: Event) {
    let OwnerSlot::Running(owner) = &mut state.attempts[t].owner else {
        return;
    };
    let commands = owner.on(event);
    let done = owner.is_done();
    for command in commands {
        carry_out(config, state, t, command);
    }
    if done {
        crash(state, t);
    }
}

fn carry_out(config: &Config, state: &mut State, t: usize, command: Command) {
    let attempt = &mut state.attempts[t];
    match command {
        Command::Prepare(_) => attempt.prepare_sent = true,
        Command::InsertStaging => attempt.stage_pending = true,
        Command::AbortRecord => {
            attempt.abort_pending = true;
            if config.makes(Mutant::OwnerAbortsBeforeCas) {
                attempt.abort_sent = true;
            }
        }
        Command::Answer(outcome) => answer(config, state, t, outcome),
        Command::Finish(decision) => attempt.finish_pending = Some(decision),
        Command::SendCommit => attempt.commit_sent = true,
        Command::SendAbort => attempt.abort_sent = true,
        // Waiting needs no step, and recoveries of any attempt happen at any time.
        Command::ReadHolder | Command::WaitForHolder | Command::RecoverHolder => attempt.follows = true,
    }
}

fn answer(config: &Config, state: &mut State, t: usize, outcome: Outcome) {
    let about = match outcome {
        Outcome::OfHolder(_) => state.holder(config, t).unwrap_or(t),
        _ => t,
    };
    let attempt = &mut state.attempts[t];
    // A second answer to the same call can't be sent.
    if attempt.answer.is_some() {
        state.alarm = true;
        return;
    }
    attempt.answer = Some(Answer { outcome, about });
    match outcome {
        Outcome::Accepted => attempt.seen.committed = true,
        Outcome::Rejected { .. } | Outcome::Aborted => attempt.seen.aborted = true,
        Outcome::OfHolder(_) | Outcome::RequestReused | Outcome::Unknown => {}
    }
}
