//! A small seeded generator for choice and jitter. Never for secrets: those are drawn at the edge.

/// The `number`-th of a series of lots that begins at `start`: any run of them is spread evenly over all numbers, where
/// independent draws would cluster (Weyl's sequence of the golden ratio).
pub const fn lot(start: u64, number: u64) -> u64 {
    start.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Where `number` stands among all 64-bit numbers, as a number in `0..bound`.
pub fn scale(number: u64, bound: u64) -> u64 {
    ((u128::from(number) * u128::from(bound)) >> 64) as u64
}

/// SplitMix64: one `u64` of state, integer only, the same sequence on every target.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose whole sequence follows from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for one `concern`, so that draws made for another concern do not shift this one's.
    pub fn fork(&self, concern: u64) -> Self {
        let mut forked = Self(self.0 ^ concern.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let seed = forked.next_u64();
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`. `bound` must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "an empty range has no member to draw");
        scale(self.next_u64(), bound)
    }

    /// True in `numerator` of `denominator` draws on average.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }
}
