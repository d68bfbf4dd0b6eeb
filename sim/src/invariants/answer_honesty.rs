//! answer-honesty: accepted never aborts, rejected never commits, for every client that was answered.
//!
//! A client asks about its request, not about an attempt: who was told that it came to nothing must not find that another
//! attempt at it commits.
use crate::config::Config;
use crate::model::{Answer, State};
use protocol::Decision;
use protocol::owner::Outcome;

pub(super) fn holds(config: &Config, state: &State) -> bool {
    (0..config.attempts()).all(|t| state.attempts[t].answer.is_none_or(|answer| is_honest(config, state, t, answer)))
}

fn is_honest(config: &Config, state: &State, t: usize, answer: Answer) -> bool {
    let about = &state.attempts[answer.about];
    let concerns = |other: usize| other == answer.about || !config.past_retention;
    let same_request = |other: usize| config.requests[other] == config.requests[t];
    let same_content = |other: usize| same_request(other) && config.digests[other] == config.digests[t];
    let told_of_own_content = same_content(answer.about);
    match answer.outcome {
        Outcome::Accepted | Outcome::OfHolder(Decision::Commit) => {
            told_of_own_content && !about.seen.aborted && !about.seen.branch_aborted
        }
        Outcome::Rejected { .. } | Outcome::Aborted | Outcome::OfHolder(Decision::Abort) => {
            told_of_own_content
                && (0..config.attempts()).filter(|other| same_content(*other) && concerns(*other)).all(|other| {
                    let seen = state.attempts[other].seen;
                    !seen.committed && !seen.branch_committed
                })
        }
        Outcome::RequestReused => (0..config.attempts()).any(|other| same_request(other) && !same_content(other)),
        Outcome::Unknown => true,
    }
}
