//! The coordinator's database. The rules are [`protocol::record`]'s; here is only what a store adds: the unique index on
//! requests, the flush, and the crash that loses what was not flushed.
use super::state::{Record, State};
use crate::config::Config;
use crate::mutant::Mutant;
use protocol::collection;
use protocol::record::{self, Abort, Commit, RecordState, Stage};

/// What an operation finds: the own record, whether it holds its request, whether the request is free, whether the
/// deadline is at or below the watermark.
struct Found {
    own: Option<RecordState>,
    holds_request: bool,
    request_free: bool,
    below: bool,
}

fn find(config: &Config, state: &State, t: usize) -> Found {
    let own = state.attempts[t].record.now;
    let unique = !config.makes(Mutant::RequestNotUnique);
    Found {
        own: own.map(|record| record.state),
        holds_request: own.is_some_and(|record| record.holds_request),
        request_free: !unique || state.holder(config, t).is_none_or(|holder| holder == t),
        below: t < state.record_watermark && !config.makes(Mutant::NoWatermark),
    }
}

/// The owner's insert.
pub(super) fn stage(config: &Config, state: &mut State, t: usize) -> Stage {
    let found = find(config, state, t);
    let result = record::stage(found.own, found.holds_request, found.request_free, found.below);
    if result == Stage::Staged && found.own.is_none() {
        write(state, t, RecordState::Staging, true);
        force(config, state, !config.makes(Mutant::StagingBeforeFlush));
    }
    result
}

/// The owner's forced abort, or a recovery's.
pub(super) fn abort(config: &Config, state: &mut State, t: usize, forced: bool) -> Abort {
    let found = find(config, state, t);
    let result = record::abort(found.own, found.holds_request, found.request_free, found.below);
    if let Abort::Aborted { holds_request } = result {
        write(state, t, RecordState::Aborted, holds_request);
        force(config, state, forced);
    }
    result
}

/// A recovery's tombstone. A recovery that began at a participant's row does not know the request and leaves it alone.
pub(super) fn insert_aborted(config: &Config, state: &mut State, t: usize, knows_request: bool) -> Abort {
    let mut found = find(config, state, t);
    if config.makes(Mutant::CollectedReadAsAbsent) {
        found.below = false;
    }
    if config.makes(Mutant::NoTombstoneIfRequestHeld) && found.own.is_none() && !found.request_free {
        return Abort::Aborted { holds_request: false };
    }
    if config.makes(Mutant::TombstoneOverStaging) {
        return abort(config, state, t, true);
    }
    let free = knows_request && found.request_free;
    let result = record::insert_aborted(found.own, found.holds_request, free, found.below);
    if let Abort::Aborted { holds_request } = result {
        write(state, t, RecordState::Aborted, holds_request);
        force(config, state, true);
    }
    result
}

/// A compare-and-set to COMMITTED.
pub(super) fn commit(config: &Config, state: &mut State, t: usize, forced: bool) -> Commit {
    let result = record::commit(find(config, state, t).own);
    if result == Commit::Committed {
        write(state, t, RecordState::Committed, true);
        force(config, state, forced);
    }
    result
}

/// The owner's lazy abort after a rejection: STAGING becomes ABORTED, nothing is inserted.
pub(super) fn finish_aborted(config: &Config, state: &mut State, t: usize) {
    match state.attempts[t].record.now {
        Some(Record { state: RecordState::Staging, holds_request }) => {
            write(state, t, RecordState::Aborted, holds_request);
            force(config, state, false);
        }
        Some(Record { state: RecordState::Committed, .. }) => state.alarm = true,
        Some(Record { state: RecordState::Aborted, .. }) | None => {}
    }
}

fn write(state: &mut State, t: usize, to: RecordState, holds_request: bool) {
    let attempt = &mut state.attempts[t];
    attempt.record.now = Some(Record { state: to, holds_request });
    match to {
        RecordState::Staging => {}
        RecordState::Committed => attempt.seen.committed = true,
        RecordState::Aborted => attempt.seen.aborted = true,
    }
}

/// A flush takes everything written before with it, as a write-ahead log does.
fn force(config: &Config, state: &mut State, forced: bool) {
    if forced || !config.record_crashes {
        flush(state);
    }
}

pub(super) fn flush(state: &mut State) {
    for attempt in &mut state.attempts {
        attempt.record.durable = attempt.record.now;
    }
}

pub(super) fn crash(state: &mut State) {
    for attempt in &mut state.attempts {
        attempt.record.now = attempt.record.durable;
    }
}

/// Whether the collector may delete the record. The retention of requests is over when no attempt at the request can
/// have a deadline above the watermark any more.
pub(super) fn may_collect(config: &Config, state: &State, t: usize) -> bool {
    let attempt = &state.attempts[t];
    let below = t < state.record_watermark;
    let retention_over = config.past_retention || state.record_watermark == config.attempts();
    attempt.record.now.is_some_and(|record| {
        let ended = attempt.end_sent || t < state.end_horizon;
        collection::may_delete_record(record.state, ended, below, record.holds_request, retention_over)
    })
}

pub(super) fn collect(state: &mut State, t: usize) {
    state.attempts[t].record.now = None;
    flush(state);
}
