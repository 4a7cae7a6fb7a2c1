//! Rows as bytes, feature by feature: a node of a forest looks at few features, and reads nothing of the others.
//!
//! Numbers are cut as for boosted trees, but a value of its own for each of few distinct values even where it has one
//! row. The least and the largest value of each bin are kept: a threshold lies midway between the values that a node
//! has next to it.

use bincode::{Decode, Encode};

use crate::batch::parallel::{in_parallel, stretches};
use crate::batch::{Chunk, TrainingSet};
use crate::boosted_trees::bins::{BINS_MAX, OTHERS, category_rows, distinct, first_at_least, sample, uppers};
use crate::boosted_trees::first_slots;
use crate::error::{MlError, Result};
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// How the values of one feature are put into bins.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) enum FeatureBins {
    /// The least and the largest value of each bin. Missing ones have the bin behind the last.
    Numeric { lows: Vec<f64>, highs: Vec<f64> },
    /// The places in the dictionary of the categories that have the bins from 1 on; others have [`OTHERS`].
    Categorical { categories: Vec<u32> },
}

impl FeatureBins {
    /// The number that is between the bin `low` and the later one `next`; above all numbers if they are the same.
    pub(super) fn threshold(&self, [low, next]: [u8; 2]) -> Option<f64> {
        let Self::Numeric { lows, highs } = self else { return None };
        let (low_end, next_start) = (*highs.get(usize::from(low))?, *lows.get(usize::from(next))?);
        let middle = low_end + (next_start - low_end) / 2.0;
        // Of neighbours there is nothing between.
        Some(match low == next {
            true => f64::INFINITY,
            false if middle < next_start => middle,
            false => low_end,
        })
    }

    /// The bin of each place in a dictionary of so many.
    pub(super) fn of_places(&self, width: usize) -> Vec<u8> {
        let mut bins = vec![OTHERS; width];
        if let Self::Categorical { categories } = self {
            for (bin, place) in (1..=u8::MAX).zip(categories) {
                bins[*place as usize] = bin;
            }
        }
        bins
    }

    /// Checks bins that come from elsewhere, of a number or of a dictionary of so many places.
    ///
    /// # Errors
    /// `CorruptState`.
    pub(super) fn check(&self, width: Option<usize>) -> Result<()> {
        let is_valid = match (self, width) {
            (Self::Numeric { lows, highs }, None) => {
                lows.len() == highs.len()
                    && lows.len() < BINS_MAX
                    && lows.iter().chain(highs).all(|value| value.abs() <= STATE_MAGNITUDE_MAX)
            }
            (Self::Categorical { categories }, Some(width)) => {
                categories.len() < BINS_MAX && categories.iter().all(|place| (*place as usize) < width)
            }
            _ => false,
        };
        if is_valid { Ok(()) } else { Err(MlError::corrupt("the bins do not fit the features")) }
    }
}

/// Rows whose values are bins.
#[derive(Debug)]
pub(super) struct BinnedColumns {
    /// Numbers first, then categories.
    pub(super) features: Vec<FeatureBins>,
    /// For each feature the bin of each row.
    pub(super) columns: Vec<Vec<u8>>,
}

impl BinnedColumns {
    /// The rows of a set that is prepared, with missing numbers as NaN.
    pub(super) fn of(set: &TrainingSet, max_bins: usize, threads: usize) -> Self {
        let numeric = set.numeric();
        let widths: Vec<usize> = set.dictionaries().iter().map(|dictionary| dictionary.slots().count()).collect();
        let numbers: Vec<usize> = (0..numeric).collect();
        let all: Vec<u32> = (0..set.rows() as u32).collect();
        let edges = in_parallel(&stretches(&numbers, threads), |features| {
            features.iter().map(|feature| edges(sample(set, &all, *feature), max_bins)).collect::<Vec<_>>()
        });
        let edges: Vec<Edges> = edges.into_iter().flatten().collect();
        let categories: Vec<FeatureBins> =
            category_rows(set, &all, &widths).iter().map(|rows| frequent(rows)).collect();
        let places = categories.iter().zip(&widths).map(|(bins, width)| bins.of_places(*width)).collect();
        let reader = Reader { edges, places, firsts: first_slots(numeric, &widths) };

        let chunks: Vec<&Chunk> = set.chunks().iter().collect();
        let parts = in_parallel(&stretches(&chunks, threads), |chunks| Part::of(chunks, &reader));
        let mut columns = vec![Vec::with_capacity(set.rows() as usize); numeric + widths.len()];
        let mut spans: Vec<Span> = reader.edges.iter().map(|edges| Span::new(edges.count)).collect();
        for part in parts {
            columns.iter_mut().zip(&part.columns).for_each(|(own, parts)| own.extend_from_slice(parts));
            spans.iter_mut().zip(&part.spans).for_each(|(own, parts)| own.merge(parts));
        }
        let numbers = spans.into_iter().map(|span| FeatureBins::Numeric { lows: span.lows, highs: span.highs });
        Self { features: numbers.chain(categories).collect(), columns }
    }
}

/// The largest value of each bin of a number, padded; the last is infinite.
struct Edges {
    uppers: Box<[f64; BINS_MAX]>,
    count: usize,
}

fn edges(mut values: Vec<f64>, max_bins: usize) -> Edges {
    values.retain(|value| !value.is_nan());
    values.sort_unstable_by(f64::total_cmp);
    let values = distinct(&values);
    let own = if values.len() <= max_bins { own_edges(&values) } else { uppers(&values, max_bins) };
    let mut padded = Box::new([f64::INFINITY; BINS_MAX]);
    padded[..own.len()].copy_from_slice(&own);
    // A number that is missing everywhere has no bin but that of missing values.
    Edges { uppers: padded, count: if values.is_empty() { 0 } else { own.len() } }
}

/// A bin for each value: it ends midway to the next, so that values beyond the sample go to the nearer one.
fn own_edges(values: &[(f64, u64)]) -> Vec<f64> {
    let middle = |low: f64, high: f64| Some(low + (high - low) / 2.0).filter(|middle| *middle < high).unwrap_or(low);
    let between = values.windows(2).map(|pair| middle(pair[0].0, pair[1].0));
    between.chain([f64::INFINITY]).collect()
}

/// The most frequent categories, given the rows of each by its place in the dictionary.
fn frequent(rows: &[u64]) -> FeatureBins {
    let mut categories: Vec<u32> = (0..rows.len() as u32).filter(|place| rows[*place as usize] > 0).collect();
    categories.sort_by_key(|place| (std::cmp::Reverse(rows[*place as usize]), *place));
    categories.truncate(BINS_MAX - 1);
    FeatureBins::Categorical { categories }
}

/// Finds the bins of rows.
struct Reader {
    edges: Vec<Edges>,
    places: Vec<Vec<u8>>,
    firsts: Vec<u32>,
}

/// The least and the largest value of each bin of a number.
#[derive(Clone)]
struct Span {
    lows: Vec<f64>,
    highs: Vec<f64>,
}

impl Span {
    fn new(bins: usize) -> Self {
        Self { lows: vec![f64::INFINITY; bins], highs: vec![f64::NEG_INFINITY; bins] }
    }

    fn add(&mut self, bin: usize, low: f64, high: f64) {
        // Of equals the first stays, so that -0.0 and 0.0 do not depend on how the rows are cut into parts.
        if low < self.lows[bin] {
            self.lows[bin] = low;
        }
        if high > self.highs[bin] {
            self.highs[bin] = high;
        }
    }

    fn merge(&mut self, other: &Self) {
        for bin in 0..self.lows.len() {
            self.add(bin, other.lows[bin], other.highs[bin]);
        }
    }
}

/// The bins of some rows.
struct Part {
    columns: Vec<Vec<u8>>,
    spans: Vec<Span>,
}

impl Part {
    fn of(chunks: &[&Chunk], reader: &Reader) -> Self {
        let rows: usize = chunks.iter().map(|chunk| chunk.rows()).sum();
        let features = reader.edges.len() + reader.places.len();
        let spans = reader.edges.iter().map(|edges| Span::new(edges.count)).collect();
        let mut part = Self { columns: vec![Vec::with_capacity(rows); features], spans };
        chunks.iter().for_each(|chunk| part.add(chunk, reader));
        part
    }

    fn add(&mut self, chunk: &Chunk, reader: &Reader) {
        let (numbers, categories) = self.columns.split_at_mut(reader.edges.len());
        for (feature, (column, span)) in numbers.iter_mut().zip(&mut self.spans).enumerate() {
            let edges = &reader.edges[feature];
            for row in chunk.iter() {
                let value = row.numbers[feature];
                if value.is_nan() {
                    column.push(edges.count as u8);
                    continue;
                }
                let bin = first_at_least(&edges.uppers, value);
                span.add(usize::from(bin), value, value);
                column.push(bin);
            }
        }
        for (feature, column) in categories.iter_mut().enumerate() {
            let (places, first) = (&reader.places[feature], reader.firsts[feature]);
            column.extend(chunk.iter().map(|row| places[(row.categories[feature] - first) as usize]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_few_values_has_a_bin() {
        let edges = edges(vec![3.0, 1.0, f64::NAN, 1.0, 2.0, -0.0, 0.0], 255);
        assert_eq!((edges.count, &edges.uppers[..4]), (4, &[0.5, 1.5, 2.5, f64::INFINITY][..]));
        assert_eq!(own_edges(&[(1.0, 1), (1.0_f64.next_up(), 1)]), [1.0, f64::INFINITY]);
    }

    #[test]
    fn many_values_share_bins() {
        let edges = edges((0..1000).map(f64::from).collect(), 10);
        assert_eq!(edges.count, 10);
        let bins: Vec<u8> = (0..1000).map(|value| first_at_least(&edges.uppers, f64::from(value))).collect();
        assert!(bins.is_sorted() && bins[999] == 9);
        assert!((0..10).all(|bin| (80..=120).contains(&bins.iter().filter(|of| **of == bin).count())));
    }

    #[test]
    fn nothing_but_missing_values_has_no_bin() {
        assert_eq!(edges(vec![f64::NAN; 5], 255).count, 0);
    }

    #[test]
    fn thresholds_are_midway_between_a_node_s_values() {
        let bins = FeatureBins::Numeric { lows: vec![1.0, 3.0, 8.0], highs: vec![2.0, 4.0, 8.0] };
        assert_eq!(bins.threshold([0, 1]), Some(2.5));
        assert_eq!(bins.threshold([0, 2]), Some(5.0));
        assert_eq!(bins.threshold([2, 2]), Some(f64::INFINITY));
        assert_eq!(bins.threshold([0, 3]), None);
        let near = FeatureBins::Numeric { lows: vec![1.0, 1.0_f64.next_up()], highs: vec![1.0, 1.0_f64.next_up()] };
        assert_eq!(near.threshold([0, 1]), Some(1.0));
    }

    #[test]
    fn the_most_frequent_categories_have_bins() {
        let mut rows: Vec<u64> = (0..300).map(|place| 1 + place).collect();
        rows[299] = 0;
        let bins = frequent(&rows);
        let of_places = bins.of_places(300);
        assert_eq!((of_places[298], of_places[297], of_places[299], of_places[0]), (1, 2, OTHERS, OTHERS));
        assert!(bins.check(Some(300)).is_ok() && bins.check(Some(298)).is_err() && bins.check(None).is_err());
    }
}
