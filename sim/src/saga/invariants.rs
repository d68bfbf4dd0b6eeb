//! What must hold in every reachable state, by the names that it has everywhere.
use super::{SagaConfig, State, settle};
use protocol::saga::SagaState;
use stateright::Property;

/// All of it.
pub(super) fn all() -> Vec<Property<SagaConfig>> {
    vec![
        Property::always("saga-wholeness", saga_wholeness),
        Property::always("answer-honesty", answer_honesty),
        Property::always("effect-once", effect_once),
        Property::always("step-order", step_order),
        Property::always("in-doubt-resolves", in_doubt_resolves),
    ]
}

/// A saga that has ended is wholly done or wholly compensated, and stays so.
fn saga_wholeness(_: &SagaConfig, state: &State) -> bool {
    let all = |effects: i8| state.places.iter().all(|place| place.now.effects == effects);
    (!state.seen.done || all(1)) && (!state.seen.compensated || all(0))
}

/// What was told as accepted is never compensated; what was told as refused has no pivot that took effect, and never
/// ends as done.
fn answer_honesty(config: &SagaConfig, state: &State) -> bool {
    let seen = &state.seen;
    let pivot = config.definition.pivot().is_some_and(|pivot| state.places[pivot].now.effects != 0);
    !(seen.accepted && (seen.refused || seen.compensated)) && !(seen.refused && (seen.done || pivot))
}

/// No step takes effect twice, or after its compensation was acknowledged.
fn effect_once(_: &SagaConfig, state: &State) -> bool {
    !state.seen.key_broken
}

/// A step has an effect only while all that it waits for has one.
fn step_order(config: &SagaConfig, state: &State) -> bool {
    let effective = |s: usize| state.places[s].now.effects > 0;
    (0..state.places.len()).all(|s| !effective(s) || config.definition.after(s).all(effective))
}

/// From every state a coordinator that takes over, while nothing fails, brings the saga to its end.
fn in_doubt_resolves(config: &SagaConfig, state: &State) -> bool {
    let settled = settle(config, state);
    settled.row.now.as_ref().is_none_or(|row| matches!(row.saga.state, SagaState::Done | SagaState::Compensated))
        && saga_wholeness(config, &settled)
        && answer_honesty(config, &settled)
        && !settled.seen.key_broken
}
