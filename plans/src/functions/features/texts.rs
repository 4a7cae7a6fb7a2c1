//! `TEXT_ANALYZE(text)`, `ML.NGRAMS(words, range, separator)` and `ML.NORMALIZER(numbers, p)`: lists of one row. Names and arguments are
//! BigQuery's; numbers are scikit-learn's `normalize`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Builder, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;

use super::{Feature, Lists, is_list_of, is_number, is_text, list_of, texts};

/// The words of a text: lower case, and cut at whatever is no letter and no digit of any script.
const TEXT_ANALYZE: &str = "text_analyze";
/// Words beside each other as one, so many at least and at most.
const NGRAMS: &str = "ml_ngrams";
/// Numbers as parts of their length.
const NORMALIZER: &str = "ml_normalizer";

/// The most words of one n-gram.
const NGRAM_MAX: i64 = 100;

pub(super) fn functions() -> [Feature; 3] {
    [
        Feature::new(TEXT_ANALYZE, list_of(DataType::Utf8), text_analyze_types, text_analyze),
        Feature::new(NGRAMS, list_of(DataType::Utf8), ngrams_types, ngrams),
        Feature::new(NORMALIZER, list_of(DataType::Float64), normalizer_types, normalizer),
    ]
}

fn text_analyze_types(arguments: &[DataType]) -> Result<Vec<DataType>> {
    match arguments {
        [text] if is_text(text) => Ok(vec![DataType::Utf8]),
        _ => plan_err!(
            "TEXT_ANALYZE takes a text, and makes of it a list of its words in lower case, cut at whatever is no letter and no \
             digit; there are no other analyzers, but for regexp_split_to_array and string_to_array"
        ),
    }
}

fn text_analyze(args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for text in &texts(&args[0], rows)? {
        lists.append_option(text.map(|text| {
            let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
            words.map(|word| Some(word.to_lowercase())).collect::<Vec<_>>()
        }));
    }
    Ok(Arc::new(lists.finish()))
}

fn ngrams_types(arguments: &[DataType]) -> Result<Vec<DataType>> {
    let is_range = |range: &DataType| range.is_integer() || is_list_of(range, |element| element.is_integer());
    let range_type = |range: &DataType| match range.is_integer() {
        true => DataType::Int64,
        false => list_of(DataType::Int64),
    };
    match arguments {
        [words, range] if is_list_of(words, is_text) && is_range(range) => {
            Ok(vec![list_of(DataType::Utf8), range_type(range)])
        }
        [words, range, separator] if is_list_of(words, is_text) && is_range(range) && is_text(separator) => {
            Ok(vec![list_of(DataType::Utf8), range_type(range), DataType::Utf8])
        }
        _ => plan_err!(
            "ML.NGRAMS takes a list of texts, how many of them are put together, and what is between them: \
             ML.NGRAMS(words, [1, 2], ' '), or ML.NGRAMS(words, 2)"
        ),
    }
}

/// In the order of their first word, and then by how many there are.
fn ngrams(args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let (words, ranges) = (Lists::of(&args[0])?, Ranges::of(&args[1], rows)?);
    let separators = args.get(2).map_or_else(|| Ok(StringArray::from(vec![" "; rows])), |one| texts(one, rows))?;
    let all = words.lists.values().as_string::<i32>();
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..rows {
        let (Some(own), Some((least, most)), true) = (words.range(row), ranges.of_row(row)?, separators.is_valid(row))
        else {
            lists.append_null();
            continue;
        };
        let own: Vec<&str> = own.filter(|at| all.is_valid(*at)).map(|at| all.value(at)).collect();
        for first in 0..own.len() {
            for ngram in (least..=most).map_while(|count| own.get(first..first + count)) {
                lists.values().append_value(ngram.join(separators.value(row)));
            }
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

/// How many words there are to be in n-grams.
enum Ranges {
    One(ArrayRef),
    Two(Lists),
}

impl Ranges {
    fn of(argument: &ColumnarValue, rows: usize) -> Result<Self> {
        match argument.data_type() {
            DataType::Int64 => Ok(Self::One(argument.to_array(rows)?)),
            _ => Ok(Self::Two(Lists::of(argument)?)),
        }
    }

    /// The least and the most of a row.
    fn of_row(&self, row: usize) -> Result<Option<(usize, usize)>> {
        let range = match self {
            Self::One(counts) if counts.is_null(row) => return Ok(None),
            Self::One(counts) => [counts.as_primitive::<Int64Type>().value(row); 2],
            Self::Two(lists) => {
                let Some(range) = lists.range(row) else { return Ok(None) };
                let list = lists.lists.values().slice(range.start, range.len());
                match list.as_primitive::<Int64Type>().values().as_ref() {
                    [least, most] if list.null_count() == 0 => [*least, *most],
                    _ => [0, 0],
                }
            }
        };
        match range {
            [least, most] if 1 <= least && least <= most && most <= NGRAM_MAX => {
                Ok(Some((least as usize, most as usize)))
            }
            _ => exec_err!("ML.NGRAMS puts 1 to {NGRAM_MAX} words together, the least first: [1, 2], or 2"),
        }
    }
}

fn normalizer_types(arguments: &[DataType]) -> Result<Vec<DataType>> {
    match arguments {
        [numbers] if is_list_of(numbers, is_number) => Ok(vec![list_of(DataType::Float64)]),
        [numbers, p] if is_list_of(numbers, is_number) && is_number(p) => {
            Ok(vec![list_of(DataType::Float64), DataType::Float64])
        }
        _ => plan_err!(
            "ML.NORMALIZER takes a list of numbers, and which norm they are divided by: ML.NORMALIZER(x, 2); 1 is the sum of \
             magnitudes, CAST('inf' AS DOUBLE) the largest, 0 how many are not 0"
        ),
    }
}

/// Numbers that are all 0 stay so; NULL among them stays NULL.
fn normalizer(args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let numbers = Lists::of(&args[0])?;
    let norms = args.get(1).map_or_else(|| Ok(vec![2.0; rows].into()), |p| super::numbers(p, rows))?;
    let all = numbers.lists.values().as_primitive::<Float64Type>();
    let mut lists = ListBuilder::new(Float64Builder::new());
    for row in 0..rows {
        let (Some(own), true) = (numbers.range(row), norms.is_valid(row)) else {
            lists.append_null();
            continue;
        };
        let own = all.slice(own.start, own.len());
        let norm = norm(own.iter().flatten(), norms.value(row))?;
        let divisor = if norm == 0.0 { 1.0 } else { norm };
        lists.append_value(own.iter().map(|number| number.map(|number| number / divisor)));
    }
    Ok(Arc::new(lists.finish()))
}

/// The p-norm of numbers.
fn norm(numbers: impl Iterator<Item = f64>, p: f64) -> Result<f64> {
    let magnitudes = numbers.map(f64::abs);
    Ok(match p {
        0.0 => magnitudes.filter(|magnitude| *magnitude != 0.0).count() as f64,
        1.0 => magnitudes.sum(),
        2.0 => magnitudes.map(|magnitude| magnitude * magnitude).sum::<f64>().sqrt(),
        f64::INFINITY => magnitudes.fold(0.0, f64::max),
        p if p > 1.0 => magnitudes.map(|magnitude| magnitude.powf(p)).sum::<f64>().powf(1.0 / p),
        _ => return exec_err!("ML.NORMALIZER knows norms of 0 and of 1 and more, and not of {p}"),
    })
}

#[cfg(test)]
mod tests;
