//! How long to wait before a step is asked again: doubling up to a limit, with jitter, so that what failed together does
//! not come back together.
use std::time::Duration;

use rand::Rng;

/// Before the first retry, about.
const FIRST: Duration = Duration::from_millis(50);
/// At most. Short enough that what was stuck goes on soon after its participant is back.
const LONGEST: Duration = Duration::from_secs(5);

/// The pause before the try after `attempts` ones in vain: between half of what the doubling says and all of it.
pub fn pause(attempts: u32, rng: &mut impl Rng) -> Duration {
    let doubled = FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(LONGEST);
    doubled.mul_f64(rng.random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_are_never_alike() {
        let mut rng = StdRng::seed_from_u64(7);
        for attempts in 1..=100 {
            let (one, other) = (pause(attempts, &mut rng), pause(attempts, &mut rng));
            let most = FIRST.saturating_mul(1 << (attempts - 1).min(16)).min(LONGEST);
            assert!(one >= most / 2 && one <= most && one != other, "{attempts}: {one:?} {other:?}");
        }
    }
}
