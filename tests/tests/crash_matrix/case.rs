//! The cases of the matrix.
use std::fmt;

use tests::Service;

/// Hits of a point that are tried: at its first pass little is under way, at its fifth the system is at work.
const HITS: [u32; 2] = [1, 5];

/// What runs by default: every process, every kind of place, before and after what happens there.
const SLICE: &[&str] = &[
    "coordinator prepare.after_send#5",
    "coordinator stage.after#5",
    "coordinator decide.after_answer#5",
    "coordinator batch.before_commit#1",
    "coordinator abort.before_send#1",
    "coordinator recover.after_fence#5",
    "coordinator recover.after_decision#1",
    "inventory prepare.before_reply#5",
    "inventory abort.received#1",
    "order batch.after_commit#5",
    "order fence.before_reply#5",
    "payment commit.received#1",
    "payment batch.before_commit#5",
];

/// One place of one process, passed for the n-th time.
#[derive(Debug, Clone)]
pub struct Case {
    /// Who dies.
    pub service: Service,
    /// Where.
    pub point: String,
    /// At which pass.
    pub hit: u32,
}

impl Case {
    /// Whether the place is passed only when a coordinator recovers what another left behind.
    pub fn needs_recovery(&self) -> bool {
        self.point.starts_with("fence.") || self.point.starts_with("recover.")
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}#{}", self.service.name(), self.point, self.hit)
    }
}

/// The cases of these services that are to be run.
pub fn chosen(services: &[Service]) -> Vec<Case> {
    let all = services.iter().flat_map(|service| {
        let points = service.crash_points().into_iter();
        points.flat_map(|point| HITS.map(|hit| Case { service: *service, point: point.clone(), hit }))
    });
    let wanted = std::env::var("ASSENT_CRASH_MATRIX").unwrap_or_default();
    let is_chosen = |case: &Case| match wanted.as_str() {
        "full" => true,
        "" => SLICE.contains(&case.to_string().as_str()),
        part => case.to_string().contains(part),
    };
    all.filter(is_chosen).collect()
}
