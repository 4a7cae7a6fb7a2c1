//! What lists and categories are by what is known of a training set: how often a list has each word, TF-IDF, the number that
//! stands for a category, the share of numbers that are less.
//!
//! A list of words becomes a sparse one, STRUCT(index, value), by ascending index: 0 is for words that are not known, the
//! known ones count from 1.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Float64Builder, Int64Builder, ListArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use tidemill_ml::preprocessing::sparse_element;

use super::{Feature, Lists, is_list_of, is_number, is_text, list_of, numbers, place, texts};

/// How often a list has each of these words, and others.
pub(crate) const WORD_COUNTS: &str = "ml_word_counts";
/// The share of each of these words in a list, each times a number of the word's.
pub(crate) const WORD_SHARES: &str = "ml_word_shares";
/// How often a list has each of these words, each times a number of the word's, as parts of their Euclidean length.
pub(crate) const WORD_DIRECTIONS: &str = "ml_word_directions";
/// The number of a category, of NULL, or of one that is not known.
pub(crate) const CATEGORY_VALUE: &str = "ml_category_value";
/// Where a number is between quantiles that are as far from each other, from 0 to 1.
pub(crate) const QUANTILE_RANK: &str = "ml_quantile_rank";

pub(super) fn functions() -> [Feature; 5] {
    let sparse = || list_of(sparse_element());
    [
        Feature::new(WORD_COUNTS, sparse(), word_counts_types, word_counts),
        Feature::new(WORD_SHARES, sparse(), word_weights_types, word_shares),
        Feature::new(WORD_DIRECTIONS, sparse(), word_weights_types, word_directions),
        Feature::new(CATEGORY_VALUE, DataType::Float64, category_value_types, category_value),
        Feature::new(QUANTILE_RANK, DataType::Float64, quantile_rank_types, quantile_rank),
    ]
}

fn word_counts_types(arguments: &[DataType]) -> Result<Vec<DataType>> {
    match arguments {
        [words, known] if is_list_of(words, is_text) && is_list_of(known, is_text) => {
            Ok(vec![list_of(DataType::Utf8); 2])
        }
        _ => plan_err!("{WORD_COUNTS} takes a list of words and one of those that are known"),
    }
}

fn word_weights_types(arguments: &[DataType]) -> Result<Vec<DataType>> {
    match arguments {
        [words, known, weights]
            if is_list_of(words, is_text) && is_list_of(known, is_text) && is_list_of(weights, is_number) =>
        {
            Ok(vec![list_of(DataType::Utf8), list_of(DataType::Utf8), list_of(DataType::Float64)])
        }
        _ => {
            plan_err!("words are weighed by a list of those that are known and one of their weights, the others' first")
        }
    }
}

fn category_value_types(arguments: &[DataType]) -> Result<Vec<DataType>> {
    match arguments {
        [category, known, values, null, other]
            if is_text(category)
                && is_list_of(known, is_text)
                && is_list_of(values, is_number)
                && is_number(null)
                && is_number(other) =>
        {
            Ok(vec![
                DataType::Utf8,
                list_of(DataType::Utf8),
                list_of(DataType::Float64),
                DataType::Float64,
                DataType::Float64,
            ])
        }
        _ => plan_err!(
            "{CATEGORY_VALUE} takes a category, those that are known, their numbers, that of NULL and that of others"
        ),
    }
}

fn quantile_rank_types(arguments: &[DataType]) -> Result<Vec<DataType>> {
    match arguments {
        [x, quantiles] if is_number(x) && is_list_of(quantiles, is_number) => {
            Ok(vec![DataType::Float64, list_of(DataType::Float64)])
        }
        _ => plan_err!("{QUANTILE_RANK} takes a number and quantiles"),
    }
}

/// Counts of words by their index, of a list.
type Counts = BTreeMap<usize, f64>;

/// Makes a sparse list of each list of words; `weigh` is given the row and changes the counts of its words.
fn sparse_lists(args: &[ColumnarValue], rows: usize, weigh: impl Fn(usize, &mut Counts)) -> Result<ArrayRef> {
    let (words, known) = (Lists::of(&args[0])?, Lists::of(&args[1])?);
    let (all, terms) = (words.lists.values().as_string::<i32>(), known.lists.values().as_string::<i32>());
    let (mut indices, mut values) = (Int64Builder::new(), Float64Builder::new());
    let (mut lengths, mut is_there) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for row in 0..rows {
        let mut counts = Counts::new();
        let ranges = words.range(row).zip(known.range(row));
        if let Some((own, known)) = &ranges {
            for at in own.clone().filter(|at| all.is_valid(*at)) {
                let index = place(Some(all.value(at)), terms, known.clone()).map_or(0, |place| place + 1);
                *counts.entry(index).or_default() += 1.0;
            }
            weigh(row, &mut counts);
        }
        lengths.push(counts.len());
        is_there.push(ranges.is_some());
        for (index, value) in counts {
            indices.append_value(index as i64);
            values.append_value(value);
        }
    }
    let DataType::Struct(fields) = sparse_element() else { return plan_err!("a sparse list is one of structs") };
    let elements = StructArray::try_new(fields, vec![Arc::new(indices.finish()), Arc::new(values.finish())], None)?;
    let field = Arc::new(Field::new_list_field(sparse_element(), true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(elements), Some(NullBuffer::from(is_there)))?))
}

fn word_counts(args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    sparse_lists(args, rows, |_, _| {})
}

/// The weights of words in the list of a row, those of index 0 first.
struct Weights(Lists);

impl Weights {
    fn multiply(&self, row: usize, counts: &mut Counts) {
        let all = self.0.lists.values().as_primitive::<Float64Type>();
        let own = self.0.range(row).map_or(&[][..], |range| &all.values()[range]);
        for (index, value) in counts {
            *value *= own.get(*index).copied().unwrap_or(0.0);
        }
    }
}

fn word_shares(args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let weights = Weights(Lists::of(&args[2])?);
    sparse_lists(args, rows, |row, counts| {
        let size: f64 = counts.values().sum();
        counts.values_mut().for_each(|count| *count /= size);
        weights.multiply(row, counts);
    })
}

fn word_directions(args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let weights = Weights(Lists::of(&args[2])?);
    sparse_lists(args, rows, |row, counts| {
        counts.remove(&0);
        weights.multiply(row, counts);
        let length = counts.values().map(|value| value * value).sum::<f64>().sqrt();
        counts.values_mut().for_each(|value| *value /= length);
    })
}

fn category_value(args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let (categories, known, values) = (texts(&args[0], rows)?, Lists::of(&args[1])?, Lists::of(&args[2])?);
    let (null, other) = (numbers(&args[3], rows)?, numbers(&args[4], rows)?);
    let (names, of_names) =
        (known.lists.values().as_string::<i32>(), values.lists.values().as_primitive::<Float64Type>());
    let value = |row: usize| {
        if categories.is_null(row) {
            return null.is_valid(row).then(|| null.value(row));
        }
        let found = place(Some(categories.value(row)), names, known.range(row)?);
        match found.zip(values.range(row)).and_then(|(place, range)| range.clone().nth(place)) {
            Some(at) => of_names.is_valid(at).then(|| of_names.value(at)),
            None => other.is_valid(row).then(|| other.value(row)),
        }
    };
    Ok(Arc::new((0..rows).map(value).collect::<Float64Array>()))
}

fn quantile_rank(args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let (values, quantiles) = (numbers(&args[0], rows)?, Lists::of(&args[1])?);
    let all = quantiles.lists.values().as_primitive::<Float64Type>();
    let rank = |row: usize| {
        let range = quantiles.range(row).filter(|_| values.is_valid(row))?;
        Some(rank(values.value(row), &all.values()[range]))
    };
    Ok(Arc::new((0..rows).map(rank).collect::<Float64Array>()))
}

/// Where a number is between quantiles, as scikit-learn has it: of equal quantiles the middle, and at the ends 0 or 1.
fn rank(x: f64, quantiles: &[f64]) -> f64 {
    let (Some(first), Some(last)) = (quantiles.first(), quantiles.last()) else { return f64::NAN };
    if x.is_nan() {
        return x;
    }
    if x <= *first {
        return 0.0;
    }
    if x >= *last {
        return 1.0;
    }
    let parts = (quantiles.len() - 1) as f64;
    // Those below the number, and those that are not above it: between them are its equals.
    let (below, until) = (quantiles.partition_point(|one| *one < x), quantiles.partition_point(|one| *one <= x));
    if below < until {
        return 0.5 * ((below + until - 1) as f64 / parts);
    }
    let (low, high) = (quantiles[below - 1], quantiles[below]);
    ((below - 1) as f64 + (x - low) / (high - low)) / parts
}
