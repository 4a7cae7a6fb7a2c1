//! Sums over the numbers of two rows, for several rows at once that lie side by side.
//!
//! Four rows by four others are sixteen sums, which the registers of any machine hold, and each number that is loaded
//! is used four times. Every sum runs over the numbers from the first to the last, whatever the instructions: no
//! multiplication is fused with an addition, so the bits are the same on every machine.

/// Rows that lie side by side.
pub const LANES: usize = 4;

/// A value of each of the rows that lie side by side.
pub type Lane<T> = [T; LANES];

/// The instructions that compare rows. A sum adds the same numbers in the same order with any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instructions(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    /// Those that every processor has.
    Any,
    /// Four numbers at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Instructions {
    /// Those that every processor has.
    pub const ANY: Self = Self(Set::Any);

    /// The fastest that this processor has.
    #[must_use]
    pub fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Self(Set::Avx2);
        }
        Self::ANY
    }

    /// Runs `work` with these instructions: whatever is inlined into it, such as loops that the compiler turns into
    /// operations on vector registers. It must not be told to fuse operations, which no Rust compiler does by itself.
    pub(super) fn run<T>(self, work: impl FnOnce() -> T) -> T {
        match self.0 {
            Set::Any => work(),
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has")]
            // SAFETY: as in `sums`.
            Set::Avx2 => unsafe { run_avx2(work) },
        }
    }

    /// For each asked row the sums of `term(asked, stored)` over the numbers, with each stored row. The longer rows are
    /// cut to the shorter.
    #[inline]
    pub fn sums(
        self,
        stored: &[Lane<f64>],
        asked: &[Lane<f64>],
        term: impl Fn(f64, f64) -> f64,
        sums: &mut Lane<Lane<f64>>,
    ) {
        match self.0 {
            Set::Any => sums_any(stored, asked, term, sums),
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has")]
            // SAFETY: `fastest` alone makes `Avx2`, and only where the processor has these instructions.
            Set::Avx2 => unsafe { sums_avx2(stored, asked, term, sums) },
        }
    }

    /// Adds to `tile` the products of four rows of one matrix with eight columns of another: `left` has a number of
    /// each of the rows, `right` one of each of the columns, of every place that is summed over.
    #[inline]
    pub(super) fn add_products(self, left: &[Lane<f64>], right: &[[f64; COLUMNS]], tile: &mut Lane<[f64; COLUMNS]>) {
        match self.0 {
            Set::Any => products_of(left, right, tile),
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has")]
            // SAFETY: as in `sums`.
            Set::Avx2 => unsafe { products_avx2(left, right, tile) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Not inlined, so that the sums are written next to each other: that has the compiler keep them in vector registers.
#[inline(never)]
fn sums_any(stored: &[Lane<f64>], asked: &[Lane<f64>], term: impl Fn(f64, f64) -> f64, sums: &mut Lane<Lane<f64>>) {
    *sums = sums_of(stored, asked, term);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sums_avx2(stored: &[Lane<f64>], asked: &[Lane<f64>], term: impl Fn(f64, f64) -> f64, sums: &mut Lane<Lane<f64>>) {
    *sums = sums_of(stored, asked, term);
}

#[inline(always)]
fn sums_of(stored: &[Lane<f64>], asked: &[Lane<f64>], term: impl Fn(f64, f64) -> f64) -> Lane<Lane<f64>> {
    let count = stored.len().min(asked.len());
    let (stored, asked) = (&stored[..count], &asked[..count]);
    let mut sums = [[0.0; LANES]; LANES];
    for place in 0..count {
        let (stored, asked) = (&stored[place], &asked[place]);
        for lane in 0..LANES {
            for other in 0..LANES {
                sums[lane][other] += term(asked[lane], stored[other]);
            }
        }
    }
    sums
}

/// Columns of a product at once: with four rows 32 sums, eight of AVX2's sixteen registers.
pub(super) const COLUMNS: usize = 8;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn products_avx2(left: &[Lane<f64>], right: &[[f64; COLUMNS]], tile: &mut Lane<[f64; COLUMNS]>) {
    products_of(left, right, tile);
}

#[inline(always)]
fn products_of(left: &[Lane<f64>], right: &[[f64; COLUMNS]], tile: &mut Lane<[f64; COLUMNS]>) {
    let mut sums = *tile;
    for (left, right) in left.iter().zip(right) {
        for row in 0..LANES {
            for column in 0..COLUMNS {
                sums[row][column] += left[row] * right[column];
            }
        }
    }
    *tile = sums;
}
