//! xoshiro256** seeded by splitmix64 (Blackman, Vigna): small, quick, and the same numbers on every platform.

/// A source of chance that a seed determines.
#[derive(Debug, Clone)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// Begins at this seed.
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed;
        let mut next = || {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = mixed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Rng { state: [next(), next(), next(), next()] }
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number below `bound`; 0 if that is 0. The high half of a product: the bias is below 2^-32 for what is asked here.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A place below `length`.
    pub fn place(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.place(from.len())]
    }

    /// True `per_10_000` times in ten thousand.
    pub fn chance(&mut self, per_10_000: u64) -> bool {
        per_10_000 > 0 && self.below(10_000) < per_10_000
    }

    /// True half of the time.
    pub fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    /// From `-most` to `most`.
    pub fn around_zero(&mut self, most: i64) -> i64 {
        self.between(0, 2 * most.unsigned_abs()) as i64 - most
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn a_seed_gives_the_same_numbers_everywhere() {
        let mut rng = Rng::new(0);
        assert_eq!([rng.next(), rng.next()], [0x99ec_5f36_cb75_f2b4, 0xbf6e_1f78_4956_452a]);
        assert_eq!(rng.between(7, 7), 7);
        assert!((0..1_000).all(|_| rng.below(3) < 3 && rng.around_zero(5).abs() <= 5 && !rng.chance(0)));
    }
}
