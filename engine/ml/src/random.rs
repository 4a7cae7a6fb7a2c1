//! Random numbers of a seed: the same ones on every machine, for each of many streams of their own.
//!
//! SplitMix64 (Steele, Lea and Flood 2014): a counter whose bits are mixed. A stream per tree or per model needs no
//! state but its number, so work may be done by any thread in any order.

/// What the counter moves by: 2^64 over the golden ratio, so that no two steps look alike.
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    counter: u64,
}

impl Random {
    /// The stream with this number, of this seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        // Mixed, so that neighbouring seeds and streams begin far from each other.
        Self { counter: mixed(mixed(seed.wrapping_add(STEP)) ^ mixed(stream.wrapping_mul(STEP))) }
    }

    /// The stream whose counter begins there.
    pub(crate) fn from_counter(counter: u64) -> Self {
        Self { counter }
    }

    fn bits(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(STEP);
        mixed(self.counter)
    }

    /// A number in [0, 1), of which there are 2^53.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number below `end`; 0 if that is 0. (Lemire's multiplication 2019; its bias is below `end / 2^64`.)
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.bits() >> 63 == 1
    }
}

/// A number of whose bits each depends on all of those given.
pub(crate) fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn numbers_are_spread_evenly() {
        let mut random = Random::new(1, 2);
        let (mut tenths, mut fifths) = ([0; 10], [0; 5]);
        for _ in 0..100_000 {
            tenths[(random.fraction() * 10.0) as usize] += 1;
            fifths[random.below(5) as usize] += 1;
        }
        // Five standard deviations of the counts are 474 and 632.
        assert!(tenths.iter().all(|count: &i32| (count - 10_000).abs() < 480), "{tenths:?}");
        assert!(fifths.iter().all(|count: &i32| (count - 20_000).abs() < 640), "{fifths:?}");
        assert!((40_000..60_000).contains(&(0..100_000).filter(|_| random.coin()).count()));
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn numbers_are_those_of_the_paper_and_fill_their_range() {
        // The first output of the paper's generator for the seed 0.
        assert_eq!(Random::from_counter(0).bits(), 0xe220_a839_7b1d_cdaf);
        let mut random = Random::from_counter(7);
        let fractions: Vec<f64> = (0..10_000).map(|_| random.fraction()).collect();
        assert!(fractions.iter().all(|fraction| (0.0..1.0).contains(fraction)));
        assert!((fractions.iter().sum::<f64>() / 10_000.0 - 0.5).abs() < 0.01);
    }

    #[test]
    fn seeds_and_streams_differ_and_repeat() {
        let first = |seed, stream| Random::new(seed, stream).bits();
        let mut seen: Vec<u64> = (0..100).flat_map(|seed| (0..100).map(move |stream| first(seed, stream))).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 10_000);
        assert_eq!(first(7, 9), first(7, 9));
    }
}
