//! How orders are placed: `--mode`.
use proto::assent::order::v1::OrderMode;

/// How orders are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Mode {
    /// Prepared everywhere, then committed or aborted together.
    #[default]
    Atomic,
    /// Step by step, and undone where a step is refused.
    Saga,
    /// Stock, order and authorisation together, then shipped, then captured.
    Hybrid,
}

impl From<Mode> for OrderMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Atomic => OrderMode::Atomic,
            Mode::Saga => OrderMode::Saga,
            Mode::Hybrid => OrderMode::Hybrid,
        }
    }
}
