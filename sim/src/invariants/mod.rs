//! What must hold in every reachable state.
mod agreement;
mod answer_honesty;
mod atomicity;
mod decision_stability;
mod in_doubt_resolves;
mod no_orphan_holds;
mod no_oversell;
mod one_order_per_request;
mod validity;

use crate::config::Config;
use stateright::Property;

/// All of them, by the names they have everywhere.
pub fn all() -> Vec<Property<Config>> {
    vec![
        Property::always("atomicity", atomicity::holds),
        Property::always("validity", validity::holds),
        Property::always("decision-stability", decision_stability::holds),
        Property::always("answer-honesty", answer_honesty::holds),
        Property::always("agreement", agreement::holds),
        Property::always("one-order-per-request", one_order_per_request::holds),
        Property::always("no-orphan-holds", no_orphan_holds::holds),
        Property::always("no-oversell", no_oversell::holds),
        Property::always("in-doubt-resolves", in_doubt_resolves::holds),
    ]
}
