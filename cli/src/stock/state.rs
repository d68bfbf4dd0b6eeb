//! States that units of a SKU can be in, as they are typed.
use proto::assent::inventory::v1::StockState;

/// A state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum State {
    /// On hand
    OnHand,
    /// There, but damaged
    Damaged,
    /// There, but in quality control
    QualityControl,
    /// There no longer; only from damaged
    WrittenOff,
}

impl From<State> for StockState {
    fn from(state: State) -> StockState {
        match state {
            State::OnHand => StockState::OnHand,
            State::Damaged => StockState::Damaged,
            State::QualityControl => StockState::QualityControl,
            State::WrittenOff => StockState::WrittenOff,
        }
    }
}
