//! The world is not empty: what should be able to happen does, each by some path. Invariants hold trivially where
//! nothing happens.
use protocol::Decision;
use protocol::branch::BranchState;
use protocol::owner::Outcome;
use sim::config::Config;
use sim::model::{Action, Attempt, State};
use stateright::{Checker, Model, Property};

/// The same world, asked what can happen in it.
struct Reach {
    world: Config,
    wanted: Vec<Property<Reach>>,
}

impl Model for Reach {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.world.init_states()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.world.actions(state, actions);
    }

    fn next_state(&self, last_state: &State, action: Action) -> Option<State> {
        self.world.next_state(last_state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.wanted.clone()
    }
}

fn assert_reached(world: Config, wanted: Vec<Property<Reach>>) {
    Reach { world, wanted }.checker().spawn_bfs().join().assert_properties();
}

fn told(state: &State, wanted: impl Fn(Outcome) -> bool) -> bool {
    state.attempts.iter().any(|attempt| attempt.answer.is_some_and(|answer| wanted(answer.outcome)))
}

#[test]
fn a_client_can_be_told_everything_there_is_to_tell() {
    let world = Config::everything(2, 1).without_collection().without_lost_writes();
    let wanted = vec![
        Property::sometimes("accepted", |_, state| told(state, |outcome| outcome == Outcome::Accepted)),
        Property::sometimes("rejected", |_, state| told(state, |outcome| matches!(outcome, Outcome::Rejected { .. }))),
        Property::sometimes("aborted", |_, state| told(state, |outcome| outcome == Outcome::Aborted)),
        Property::sometimes("unknown", |_, state| told(state, |outcome| outcome == Outcome::Unknown)),
        Property::sometimes("the holder's commit", |_, state| {
            told(state, |outcome| outcome == Outcome::OfHolder(Decision::Commit))
        }),
        Property::sometimes("the holder's abort", |_, state| {
            told(state, |outcome| outcome == Outcome::OfHolder(Decision::Abort))
        }),
        Property::sometimes("committed by recovery, its owner having crashed", |_, state: &State| {
            state.attempts.iter().any(|attempt| attempt.answer.is_none() && attempt.seen.branch_committed)
        }),
    ];
    assert_reached(world, wanted);
}

#[test]
fn a_request_id_can_be_found_reused() {
    let world = Config { digests: vec![0, 1], ..Config::everything(2, 1).without_collection().without_lost_writes() };
    let reused = |_: &Reach, state: &State| told(state, |outcome| outcome == Outcome::RequestReused);
    assert_reached(world, vec![Property::sometimes("reused", reused)]);
}

#[test]
fn a_committed_transaction_can_end_and_be_forgotten() {
    let wanted = vec![
        Property::sometimes("nothing left of a commit", |_, state: &State| {
            state.attempts.iter().all(|attempt| {
                attempt.seen.committed
                    && attempt.record.now.is_none()
                    && attempt.rows.iter().all(|row| row.now.is_none())
            })
        }),
        Property::sometimes("nothing left of a commit, by END up to a horizon alone", |_, state: &State| {
            let is_gone =
                |attempt: &Attempt| attempt.record.now.is_none() && attempt.rows.iter().all(|row| row.now.is_none());
            state.attempts.iter().all(|attempt| attempt.seen.committed && !attempt.end_sent && is_gone(attempt))
        }),
        Property::sometimes("nothing left of an abort", |_, state: &State| {
            state.attempts.iter().all(|attempt| {
                attempt.seen.aborted && attempt.record.now.is_none() && attempt.rows.iter().all(|row| row.now.is_none())
            })
        }),
        Property::sometimes("a forgotten branch that was prepared", |_, state: &State| {
            state.attempts.iter().any(|attempt| {
                attempt.forgotten_sent && attempt.rows.iter().any(|row| row.now == Some(BranchState::Prepared))
            })
        }),
        Property::sometimes("a lazy commit that a crash has taken back", |_, state: &State| {
            state.attempts.iter().any(|attempt| {
                attempt.seen.branch_committed && attempt.rows.iter().any(|row| row.now == Some(BranchState::Prepared))
            })
        }),
    ];
    assert_reached(Config::everything(1, 2), wanted);
}

#[test]
fn the_last_unit_can_be_sold_once_it_was_given_back_by_someone_else() {
    let wanted = vec![
        Property::sometimes("sold to one, refused to the other", |_, state: &State| {
            told(state, |outcome| outcome == Outcome::Accepted)
                && told(state, |outcome| matches!(outcome, Outcome::Rejected { .. }))
        }),
        Property::sometimes("held by the first, sold to the second", |_, state: &State| {
            let [first, second] = &state.attempts[..] else { return false };
            first.seen.prepared == 1 && first.seen.branch_aborted && second.seen.branch_committed
        }),
        Property::sometimes("a release that a crash has taken back", |_, state: &State| {
            state.attempts.iter().any(|attempt| {
                attempt.seen.prepared == 1
                    && attempt.seen.branch_aborted
                    && attempt.rows.iter().any(|row| row.now == Some(BranchState::Prepared))
            })
        }),
    ];
    assert_reached(Config::everything(2, 1).without_collection().of_one_sku(1), wanted);
}
