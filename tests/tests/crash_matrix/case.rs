//! The cases of the matrix.
use std::fmt;
use std::time::Duration;

use tests::Service;

use crate::slice::SLICE;

/// Hits of a point that are tried: at its first pass little is under way, at its fifth the system is at work. At its
/// second a client is alone where that can be (see [`Case::clients`]).
const HITS: [u32; 3] = [1, 2, 5];
/// Clients that are not alone.
const MANY: usize = 10;

/// What a dead process left is recovered as soon as it is back.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);
/// What a database has lost is noticed by a coordinator that lives, in two rounds of its takeover (half a second each).
const LOST_WRITES_SETTLE_WITHIN: Duration = Duration::from_secs(3);

/// A saga's step that met nobody is asked again after pauses that double.
const BACKOFF: Duration = Duration::from_secs(3);

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dies {
    /// The service's process.
    Service,
    /// Its Postgres.
    Postgres,
    /// The two of them, in one moment.
    Both,
}

impl Dies {
    const ALL: [Dies; 3] = [Dies::Service, Dies::Postgres, Dies::Both];

    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Dies::Service => "service",
            Dies::Postgres => "postgres",
            Dies::Both => "both",
        }
    }
}

/// What has to go on for a place to be passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Orders.
    Orders,
    /// A coordinator that recovers what another left behind.
    Recovery,
    /// Garbage, which is collected all the time.
    Garbage,
    /// The same where END is said of each transaction, because somebody does not confirm any horizon.
    GarbageById,
}

/// One place of one process, passed for the n-th time, and what dies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Whose.
    pub service: Service,
    /// Where.
    pub point: String,
    /// At which pass.
    pub hit: u32,
    /// What.
    pub dies: Dies,
}

impl Case {
    /// What has to go on.
    pub fn needs(&self) -> Needs {
        match self.point.split('.').next() {
            Some("fence" | "recover") => Needs::Recovery,
            Some("durable" | "end") => Needs::GarbageById,
            Some("confirm_horizon" | "end_horizon" | "ended" | "end_steps" | "watermark" | "collect") => Needs::Garbage,
            _ => Needs::Orders,
        }
    }

    /// Whether the orders are to be sagas.
    pub fn is_of_sagas(&self) -> bool {
        matches!(self.point.split('.').next(), Some("saga" | "execute" | "compensate" | "end_steps"))
    }

    /// Whether a load passes the place: a payment is a saga's pivot, which is never compensated.
    fn is_passed(&self) -> bool {
        !(self.service == Service::Payment && self.point.starts_with("compensate"))
    }

    /// How many clients are at work. What is written lazily for a lone one rides with nobody's forced writes, so a
    /// database that dies may lose it.
    pub fn clients(&self) -> usize {
        match (self.needs(), self.hit) {
            (Needs::Orders | Needs::Garbage | Needs::GarbageById, 2) => 1,
            _ => MANY,
        }
    }

    /// How soon nothing may be in doubt any more.
    pub fn settles_within(&self) -> Duration {
        let within = match self.dies {
            Dies::Service => SETTLED_WITHIN,
            Dies::Postgres | Dies::Both => LOST_WRITES_SETTLE_WITHIN,
        };
        if self.is_of_sagas() { within + BACKOFF } else { within }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}#{} {}", self.service.name(), self.point, self.hit, self.dies.name())
    }
}

/// The cases that are to be run.
pub fn chosen() -> Vec<Case> {
    let of = |(service, point): (Service, String)| {
        let hits = Dies::ALL.into_iter().flat_map(|dies| HITS.map(|hit| (dies, hit)));
        hits.map(move |(dies, hit)| Case { service, point: point.clone(), hit, dies })
    };
    let points = |service: Service| service.crash_points().into_iter().map(move |point| (service, point));
    let all = Service::ALL.into_iter().flat_map(points).flat_map(of).filter(Case::is_passed);
    let wanted = std::env::var("ASSENT_CRASH_MATRIX").unwrap_or_default();
    let is_chosen = |case: &Case| match wanted.as_str() {
        "full" => true,
        "" => SLICE.contains(&case.to_string().as_str()),
        part => case.to_string().contains(part),
    };
    let chosen: Vec<Case> = all.filter(is_chosen).collect();
    assert!(!chosen.is_empty(), "no case is called {wanted}");
    assert!(!wanted.is_empty() || chosen.len() == SLICE.len(), "the slice names what is no case");
    chosen
}
