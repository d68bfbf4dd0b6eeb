//! in-doubt-resolves: from every state recovery alone reaches a decision for every transaction that is open.
use crate::config::Config;
use crate::model::{State, settle};
use protocol::record::RecordState;

pub(super) fn holds(config: &Config, state: &State) -> bool {
    let settled = settle(config, state);
    !settled.alarm
        && settled
            .attempts
            .iter()
            .all(|attempt| attempt.record.now.is_none_or(|record| record.state != RecordState::Staging))
}
