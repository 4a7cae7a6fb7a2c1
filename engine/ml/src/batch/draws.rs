//! Draws by a seed and a number, such as a row's: what came before, the batches and the threads have no part in them.

use crate::random::{STEP, mixed};

/// A sequence of draws, each of which can be had by its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draws {
    key: u64,
}

impl Draws {
    /// Those of a seed; draws for another purpose, or for another round, are others.
    pub(crate) fn new(seed: u64, purpose: &[u8; 8], round: u64) -> Self {
        let keys = [u64::from_le_bytes(*purpose), round];
        Self {
            key: keys.iter().fold(mixed(seed.wrapping_add(STEP)), |key, next| mixed((key ^ next).wrapping_add(STEP))),
        }
    }

    /// The draw of this number: 64 bits, each of which is as likely set as not.
    pub(crate) fn bits(&self, number: u64) -> u64 {
        mixed(self.key.wrapping_add(number.wrapping_add(1).wrapping_mul(STEP)))
    }

    /// Whether the draw of this number is among a fraction of all.
    pub(crate) fn is_in(&self, fraction: f64, number: u64) -> bool {
        ((self.bits(number) >> 11) as f64) < fraction * (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_are_those_of_splitmix64() {
        let draws = Draws { key: 1_234_567 };
        assert_eq!(
            [0, 1, 2].map(|number| draws.bits(number)),
            [6457827717110365317, 3203168211198807973, 9817491932198370423]
        );
    }

    #[test]
    fn a_fraction_of_all_numbers_is_drawn() {
        let count = |draws: Draws, fraction| (0..10_000).filter(|number| draws.is_in(fraction, *number)).count();
        let draws = Draws::new(7, b"of rows ", 0);
        assert!((1900..2100).contains(&count(draws, 0.2)), "{}", count(draws, 0.2));
        assert_eq!([count(draws, 0.0), count(draws, 1.0)], [0, 10_000]);
    }

    #[test]
    fn seeds_purposes_and_rounds_draw_apart() {
        let draws = [
            Draws::new(7, b"of rows ", 0),
            Draws::new(8, b"of rows ", 0),
            Draws::new(7, b"of other", 0),
            Draws::new(7, b"of rows ", 1),
        ];
        for (place, one) in draws.iter().enumerate() {
            for other in &draws[place + 1..] {
                let same = (0..1000).filter(|number| one.is_in(0.5, *number) == other.is_in(0.5, *number)).count();
                assert!((400..600).contains(&same), "{same}");
            }
        }
    }
}
