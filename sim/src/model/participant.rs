//! A participant and its database. The rules are [`protocol::branch`]'s; here is only what a store adds: the flush, and
//! the crash that loses what was not flushed.
use super::state::State;
use crate::config::Config;
use crate::mutant::Mutant;
use protocol::Vote;
use protocol::branch::{self, BranchState, End, Prepare, Settle};

/// The attempt by whose place the row is found.
fn key(config: &Config, t: usize) -> usize {
    if config.makes(Mutant::KeyedByRequest) { 0 } else { t }
}

fn find(config: &Config, state: &State, t: usize, p: usize) -> (Option<BranchState>, bool) {
    let below = t < state.watermarks[p] && !config.makes(Mutant::NoWatermark);
    (state.attempts[key(config, t)].rows[p].now, below)
}

pub(super) fn prepare(config: &Config, state: &mut State, t: usize, p: usize, refuses: bool) -> Vote {
    let (row, below) = find(config, state, t, p);
    match branch::prepare(row, below) {
        Prepare::Answer(vote) => vote,
        Prepare::TryHold if refuses || lacks_stock(config, state, t, p) => {
            if !config.makes(Mutant::RefusalNotWritten) {
                write(config, state, t, p, BranchState::Aborted, true);
            }
            Vote::No
        }
        Prepare::TryHold => {
            write(config, state, t, p, BranchState::Prepared, !config.makes(Mutant::YesBeforeFlush));
            Vote::Yes
        }
    }
}

/// Whether a unit of the SKU is left.
pub(super) fn has_stock(config: &Config, state: &State) -> bool {
    config.units.is_none_or(|units| state.taken.now < units)
}

fn lacks_stock(config: &Config, state: &State, t: usize, p: usize) -> bool {
    let read_before = config.makes(Mutant::StockReadBefore);
    p == 0 && !(if read_before { state.attempts[t].saw_stock } else { has_stock(config, state) })
}

pub(super) fn fence(config: &Config, state: &mut State, t: usize, p: usize) -> Vote {
    let (row, below) = find(config, state, t, p);
    let fence = branch::fence(row, below);
    if fence.insert_aborted && !config.makes(Mutant::FenceWithoutWrite) {
        write(config, state, t, p, BranchState::Aborted, true);
    }
    fence.vote
}

pub(super) fn commit(config: &Config, state: &mut State, t: usize, p: usize) {
    let (row, below) = find(config, state, t, p);
    settle(config, state, t, p, branch::commit(row, below));
}

pub(super) fn abort(config: &Config, state: &mut State, t: usize, p: usize) {
    let (row, below) = find(config, state, t, p);
    settle(config, state, t, p, branch::abort(row, below));
}

pub(super) fn forgotten(config: &Config, state: &mut State, t: usize, p: usize) {
    if !config.makes(Mutant::BranchIgnoresForgotten) {
        let (row, _) = find(config, state, t, p);
        settle(config, state, t, p, branch::forgotten(row));
    }
}

fn settle(config: &Config, state: &mut State, t: usize, p: usize, settle: Settle) {
    match settle {
        Settle::Apply => write(config, state, t, p, BranchState::Committed, false),
        // The hostile reading: nothing says that giving back a hold is flushed.
        Settle::Release => write(config, state, t, p, BranchState::Aborted, false),
        Settle::InsertAborted => write(config, state, t, p, BranchState::Aborted, true),
        Settle::Already if p == 0 && config.makes(Mutant::ReleasedAgain) && released(state, t) => {
            state.taken.now -= 1;
        }
        Settle::Already | Settle::Ignore => {}
        Settle::Alarm => state.alarm = true,
    }
}

fn released(state: &State, t: usize) -> bool {
    state.attempts[t].rows[0].now == Some(BranchState::Aborted) && state.attempts[t].seen.prepared & 1 != 0
}

pub(super) fn end(config: &Config, state: &mut State, t: usize, p: usize) {
    let (row, below) = find(config, state, t, p);
    match branch::end(row, below) {
        End::Delete => collect(state, key(config, t), p),
        End::Already | End::Later => {}
        End::Alarm => state.alarm = true,
    }
}

fn write(config: &Config, state: &mut State, t: usize, p: usize, to: BranchState, forced: bool) {
    let attempt = &mut state.attempts[key(config, t)];
    let before = attempt.rows[p].now.replace(to);
    if p == 0 && config.units.is_some() {
        match (before, to) {
            (None, BranchState::Prepared) => state.taken.now += 1,
            (Some(BranchState::Prepared), BranchState::Aborted) => state.taken.now -= 1,
            _ => {}
        }
    }
    match to {
        BranchState::Prepared => attempt.seen.prepared |= 1 << p,
        BranchState::Committed => attempt.seen.branch_committed = true,
        BranchState::Aborted => attempt.seen.branch_aborted = true,
    }
    if forced || !config.participant_crashes {
        let stock = state.taken.durable;
        flush(state, p);
        if config.makes(Mutant::StockFlushedLater) {
            state.taken.durable = stock;
        }
    }
}

pub(super) fn flush(state: &mut State, p: usize) {
    for attempt in &mut state.attempts {
        attempt.rows[p].durable = attempt.rows[p].now;
    }
    if p == 0 {
        state.taken.durable = state.taken.now;
    }
}

pub(super) fn crash(state: &mut State, p: usize) {
    for attempt in &mut state.attempts {
        attempt.rows[p].now = attempt.rows[p].durable;
    }
    if p == 0 {
        state.taken.now = state.taken.durable;
    }
}

pub(super) fn collect(state: &mut State, t: usize, p: usize) {
    state.attempts[t].rows[p].now = None;
    flush(state, p);
}
