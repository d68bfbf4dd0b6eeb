//! no-oversell: never is more held or sold than there is, neither by the count of the stock nor by the rows, nor less than
//! nothing.
use crate::config::Config;
use crate::model::State;

pub(super) fn holds(config: &Config, state: &State) -> bool {
    config.units.is_none_or(|units| (0..=units).contains(&state.taken.now) && state.units_out() <= units)
}
