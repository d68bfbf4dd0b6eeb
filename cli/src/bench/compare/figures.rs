//! All that was measured.
use bench::baseline::{Measurement, Variant};
use bench::report::Report;
use serde::Serialize;

use super::super::overload::Overload;
use super::cases::Goods;
use super::targets::Target;

/// What one comparison came to.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Whether the programs were built for release: figures of others are worth nothing.
    pub built_for_release: bool,
    /// How many processors shared all of it.
    pub processors: usize,
    /// The durability settings of every database, as the servers tell them.
    pub settings: Vec<DatabaseSettings>,
    /// The numbers of clients that were tried for each baseline.
    pub probes: Vec<Sold<Measurement>>,
    /// What was measured in turn.
    pub repetitions: Vec<Repetition>,
    /// Whether what is wanted was reached.
    pub targets: Vec<Target>,
}

/// A database's durability settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatabaseSettings {
    /// Which.
    pub database: String,
    /// Name and value.
    pub settings: Vec<(String, String)>,
}

/// A measurement, and what was sold in it.
#[derive(Debug, Clone, Serialize)]
pub struct Sold<T> {
    /// What.
    pub goods: Goods,
    /// From how many clients.
    pub clients: usize,
    /// What was measured.
    pub measured: T,
}

/// What was measured in one repetition.
#[derive(Debug, Default, Serialize)]
pub struct Repetition {
    /// Assent's closed loops.
    pub assent: Vec<Sold<Report>>,
    /// The baselines, at the best of their numbers of clients.
    pub baselines: Vec<Sold<Measurement>>,
    /// The local transaction from a single client.
    pub single_client: Option<Measurement>,
    /// What a call over gRPC takes that does nothing.
    pub round_trip_us: Option<u64>,
    /// What became of too much.
    pub overload: Option<Overload>,
}

impl Repetition {
    /// Assent's closed loop of these.
    pub fn assent(&self, goods: Goods, clients: usize) -> Option<&Report> {
        self.assent.iter().find(|one| one.goods == goods && one.clients == clients).map(|one| &one.measured)
    }

    /// The baseline of these.
    pub fn baseline(&self, goods: Goods, variant: Variant) -> Option<&Measurement> {
        self.baselines
            .iter()
            .map(|one| (one.goods, &one.measured))
            .find(|(sold, measured)| *sold == goods && measured.variant == variant)
            .map(|(_, measured)| measured)
    }
}
