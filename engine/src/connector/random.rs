//! Random numbers that are functions of a place: of a seed, a field's name and a row's number.
//!
//! So rows can be made in any order and by any subtask, and are the same ones. The generator is
//! splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).

/// The step between the states of splitmix64: 2^64 divided by the golden ratio.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output function of splitmix64: every bit of the input changes half of the output's.
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The random numbers of one field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    key: u64,
}

impl Field {
    /// The field of this name; another seed or another name gives other numbers.
    pub(super) fn new(seed: u64, name: &str) -> Self {
        let start = mix(seed.wrapping_add(STEP));
        Self { key: name.bytes().fold(start, |key, byte| mix(key.wrapping_add(STEP) ^ u64::from(byte))) }
    }

    /// The number of a row.
    pub(super) fn at(self, row: u64) -> u64 {
        mix(self.key.wrapping_add(row.wrapping_mul(STEP)))
    }

    /// As many numbers of a row as it takes.
    pub(super) fn draws(self, row: u64) -> Draws {
        Draws { state: self.at(row) }
    }
}

/// Random numbers that follow each other.
#[derive(Debug)]
pub(super) struct Draws {
    state: u64,
}

impl Draws {
    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }
}

/// A number in `0..bound`, from the high bits of a random one. The bias is below `bound / 2^64`.
pub(super) fn below(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

/// Whether an event of probability `1 / times` happens, from the low 32 bits of a random number: the
/// same number may choose by [`below`] too, if that is from few.
pub(super) fn once_in(random: u64, times: u32) -> bool {
    ((random & 0xffff_ffff) * u64::from(times)) >> 32 == 0
}

/// A number in `[0, 1)`.
pub(super) fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}

/// For each byte a character, so that eight of them come from one random number.
pub(super) type Alphabet = [u8; 256];

/// Small letters, and `other` about once in thirteen characters if it is given.
pub(super) const fn letters(other: Option<u8>) -> Alphabet {
    let mut alphabet = [0; 256];
    let (first, other) = match other {
        Some(other) => (20, other),
        None => (0, 0),
    };
    let mut byte = 0;
    while byte < 256 {
        alphabet[byte] = if byte < first { other } else { b'a' + ((byte - first) * 26 / (256 - first)) as u8 };
        byte += 1;
    }
    alphabet
}

/// Appends so many characters of an alphabet.
pub(super) fn push_text(text: &mut Vec<u8>, draws: &mut Draws, length: usize, alphabet: &Alphabet) {
    let end = text.len() + length;
    while text.len() < end {
        let eight = draws.next().to_le_bytes().map(|byte| alphabet[usize::from(byte)]);
        text.extend_from_slice(&eight);
    }
    text.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_evenly_and_fields_differ() {
        let (one, two) = (Field::new(0, "one"), Field::new(0, "two"));
        let mut counts = [0; 10];
        for row in 0..100_000 {
            counts[below(one.at(row), 10) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_700..10_300).contains(count)), "{counts:?}");
        let equal = (0..1000).filter(|row| below(one.at(*row), 100) == below(two.at(*row), 100)).count();
        assert!(equal < 30, "{equal}");
        let rare = (0..100_000).filter(|row| once_in(one.at(*row), 4)).count();
        assert!((24_500..25_500).contains(&rare), "{rare}");
        assert!((0..1000).all(|row| (0.0..1.0).contains(&unit(one.at(row)))));
    }

    #[test]
    fn texts_have_their_length_and_characters() {
        let mut text = Vec::new();
        push_text(&mut text, &mut Field::new(0, "text").draws(0), 10_001, &letters(Some(b' ')));
        assert_eq!(text.len(), 10_001);
        let spaces = text.iter().filter(|byte| **byte == b' ').count();
        assert!((650..900).contains(&spaces), "{spaces}");
        assert!((b'a'..=b'z').all(|letter| text.contains(&letter)));
        text.clear();
        push_text(&mut text, &mut Field::new(0, "text").draws(0), 1000, &letters(None));
        assert!(text.iter().all(u8::is_ascii_lowercase));
    }
}
