//! Many seeds over some threads. Each seed is its own world, so the result does not depend on the threads.
use super::{Coverage, Violation, simulate};
use crate::mutant::Mutant;

/// Stop after this many failing seeds a thread: the first says most.
const ENOUGH: usize = 10;

/// What many seeds found.
#[derive(Debug, Default)]
pub struct Seeds {
    /// Seeds run.
    pub run: u64,
    /// The longest time from the heal until everything was resolved, and its seed.
    pub slowest_ms: (u64, u64),
    /// What happened how often in all of them.
    pub coverage: Coverage,
    /// The seeds that violate something, in their order.
    pub failures: Vec<(u64, Violation)>,
}

/// Runs `count` seeds from `from` on.
pub fn simulate_seeds(from: u64, count: u64, threads: u64, mutant: Option<Mutant>) -> Seeds {
    let threads = threads.max(1);
    let part = |thread: u64| {
        let mut seeds = Seeds::default();
        for seed in (from..from.saturating_add(count)).skip(thread as usize).step_by(threads as usize) {
            let report = simulate(seed, mutant, false);
            seeds.run += 1;
            seeds.slowest_ms = seeds.slowest_ms.max((report.resolved_after_ms, seed));
            seeds.coverage.merge(&report.coverage);
            seeds.failures.extend(report.violation.map(|violation| (seed, violation)));
            if seeds.failures.len() >= ENOUGH {
                break;
            }
        }
        seeds
    };
    let mut all = Seeds::default();
    let parts: Vec<Seeds> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    assert_eq!(parts.len() as u64, threads, "a world panicked");
    for part in parts {
        all.run += part.run;
        all.slowest_ms = all.slowest_ms.max(part.slowest_ms);
        all.coverage.merge(&part.coverage);
        all.failures.extend(part.failures);
    }
    all.failures.sort_by_key(|(seed, _)| *seed);
    all
}
