//! END up to a horizon, by the rules of [`protocol::collection`]: the coordinator looks at its records, has the participants
//! confirm, and sends END as far as all agree. Each step may come at any time, and what follows it is as late as it likes.
//!
//! A horizon is written as a watermark is: so many attempts have their deadlines at or below it.
use super::state::State;
use super::{participant, records};
use crate::config::Config;
use crate::mutant::Mutant;
use protocol::branch::BranchState;
use protocol::collection;
use protocol::record::RecordState;

fn deadline(count: usize) -> i64 {
    count as i64 - 1
}

fn count(deadline: i64) -> usize {
    usize::try_from(deadline + 1).unwrap_or_default()
}

/// The coordinator looks; the local transaction that has seen what is COMMITTED flushes it.
pub(super) fn read(config: &Config, state: &mut State) {
    let is_staging = |t: &usize| state.attempts[*t].record.now.is_some_and(|it| it.state == RecordState::Staging);
    let open = (0..config.attempts()).find(is_staging).filter(|_| !config.makes(Mutant::EndHorizonAboveStaging));
    let seen = collection::horizon(i64::MAX, deadline(state.record_watermark), open.map(|t| t as i64));
    state.record_horizon = state.record_horizon.max(count(seen));
    if !config.makes(Mutant::EndHorizonOfUnflushedRecords) {
        records::flush(state);
    }
}

/// A participant looks, and flushes what it has seen before it says so.
pub(super) fn confirm(config: &Config, state: &mut State, p: usize) {
    let above = config.makes(Mutant::HorizonConfirmedAboveWatermark);
    let watermark = if above { config.attempts() } else { state.watermarks[p] };
    let confirmed = count(collection::horizon(i64::MAX, deadline(watermark), first_prepared(state, p)));
    state.confirmed[p] = state.confirmed[p].max(confirmed);
    if !config.makes(Mutant::HorizonConfirmedBeforeFlush) {
        participant::flush(state, p);
    }
}

fn first_prepared(state: &State, p: usize) -> Option<i64> {
    let is_prepared = |t: &usize| state.attempts[*t].rows[p].now == Some(BranchState::Prepared);
    (0..state.attempts.len()).find(is_prepared).map(|t| t as i64)
}

/// The coordinator sends END as far as it may.
pub(super) fn send_end(config: &Config, state: &mut State) {
    let confirmed = state.confirmed.iter().map(|confirmed| Some(deadline(*confirmed)));
    let unconfirmed = config.makes(Mutant::EndHorizonUnconfirmed);
    let asked = if unconfirmed { 0 } else { state.confirmed.len() };
    if let Some(horizon) = collection::common_horizon(deadline(state.record_horizon), confirmed.take(asked)) {
        state.end_horizon = state.end_horizon.max(count(horizon));
    }
}

/// Up to which horizon an END that arrives now ends a participant's rows: it checks what it can.
pub(super) fn ended(state: &State, p: usize) -> usize {
    let asked = deadline(state.end_horizon);
    count(collection::horizon(asked, deadline(state.watermarks[p]), first_prepared(state, p)))
}
