//! Scalar functions that features are made with: `ML.BUCKETIZE(x, points)`, `ML.HASH_BUCKETIZE(c, count)`, and what the statistics of a training set are
//! applied with (`crate::transform`): a value within limits, and the places of categories in a list. [`texts`] has those that make
//! lists, of words and of numbers, and [`known`] what lists and categories are by the words and labels of a training set.
//!
//! NULL gives NULL, but for the place of a category, which is 0. A list of points or categories is in ascending order.

pub(crate) mod known;
mod texts;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Which bucket a number is in: `bin_1` below the first point, `bin_2` from there to the second, and so on.
pub(crate) const BUCKETIZE: &str = "ml_bucketize";
/// Which of so many buckets a text is in, from 0, by the hash of its bytes (FNV-1a; BigQuery has another).
pub(crate) const HASH_BUCKETIZE: &str = "ml_hash_bucketize";
/// A number within two limits.
pub(crate) const CLAMP: &str = "ml_clamp";
/// The place of a category in a list, from 1; 0 if it is not there.
pub(crate) const CATEGORY_NUMBER: &str = "ml_category_number";
/// A category that is in a list, and NULL otherwise.
pub(crate) const KNOWN_CATEGORY: &str = "ml_known_category";

/// The functions of this file and of those below it.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let own = [
        Feature::new(BUCKETIZE, DataType::Utf8, bucketize_types, bucketize),
        Feature::new(HASH_BUCKETIZE, DataType::Int64, hash_bucketize_types, hash_bucketize),
        Feature::new(CLAMP, DataType::Float64, clamp_types, clamp),
        Feature::new(CATEGORY_NUMBER, DataType::Int64, category_types, category_number),
        Feature::new(KNOWN_CATEGORY, DataType::Utf8, category_types, known_category),
    ];
    own.into_iter().chain(known::functions()).chain(texts::functions()).map(ScalarUDF::from).collect()
}

/// What arguments of these types are cast to.
type Coerce = fn(&[DataType]) -> Result<Vec<DataType>>;

/// The values of rows, as many as there are.
type Invoke = fn(&[ColumnarValue], usize) -> Result<ArrayRef>;

/// One of the functions.
#[derive(Debug)]
struct Feature {
    name: &'static str,
    returns: DataType,
    coerce: Coerce,
    invoke: Invoke,
    signature: Signature,
}

super::known_by_name!(Feature);

impl Feature {
    fn new(name: &'static str, returns: DataType, coerce: Coerce, invoke: Invoke) -> Self {
        Self { name, returns, coerce, invoke, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn bucketize_types(arguments: &[DataType]) -> Result<Vec<DataType>> {
    match arguments {
        [x, points] if is_number(x) && is_list_of(points, is_number) => {
            Ok(vec![DataType::Float64, list_of(DataType::Float64)])
        }
        [x, points, DataType::Boolean] if is_number(x) && is_list_of(points, is_number) => {
            Ok(vec![DataType::Float64, list_of(DataType::Float64), DataType::Boolean])
        }
        _ => plan_err!(
            "ML.BUCKETIZE takes a number and the points between its buckets, ML.BUCKETIZE(x, [1, 2.5]), and TRUE \
             behind them to have NULL outside of the first and the last point"
        ),
    }
}

fn hash_bucketize_types(arguments: &[DataType]) -> Result<Vec<DataType>> {
    match arguments {
        [category, count] if is_text(category) && (count.is_integer() || count.is_null()) => {
            Ok(vec![DataType::Utf8, DataType::Int64])
        }
        _ => plan_err!("ML.HASH_BUCKETIZE takes a text and how many buckets there are: ML.HASH_BUCKETIZE(c, 100)"),
    }
}

fn clamp_types(arguments: &[DataType]) -> Result<Vec<DataType>> {
    match arguments {
        [x, low, high] if [x, low, high].into_iter().all(is_number) => Ok(vec![DataType::Float64; 3]),
        _ => plan_err!("{CLAMP} takes a number and two limits"),
    }
}

fn category_types(arguments: &[DataType]) -> Result<Vec<DataType>> {
    match arguments {
        [category, list] if is_text(category) && is_list_of(list, is_text) => {
            Ok(vec![DataType::Utf8, list_of(DataType::Utf8)])
        }
        _ => plan_err!("a category is looked for in a list of texts"),
    }
}

fn list_of(data_type: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(data_type, true)))
}

fn is_list_of(data_type: &DataType, is_element: fn(&DataType) -> bool) -> bool {
    match data_type {
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            is_element(element.data_type()) || element.data_type().is_null()
        }
        DataType::Null => true,
        _ => false,
    }
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || data_type.is_null()
}

fn is_text(data_type: &DataType) -> bool {
    data_type.is_string() || data_type.is_null()
}

impl ScalarUDFImpl for Feature {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        (self.coerce)(arguments)
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    /// Refuses points that are not in order before there are rows.
    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<Arc<Field>> {
        if let (BUCKETIZE, Some(Some(ScalarValue::List(points)))) = (self.name, args.scalar_arguments.get(1))
            && let Some(points) = points.values().as_primitive_opt::<Float64Type>()
            && !are_points(points)
        {
            return plan_err!("{POINTS}");
        }
        Ok(Arc::new(Field::new(self.name, self.returns.clone(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Array((self.invoke)(&args.args, args.number_rows)?))
    }
}

/// The list of each row, which mostly is the same one.
struct Lists {
    lists: ListArray,
    is_constant: bool,
}

impl Lists {
    fn of(argument: &ColumnarValue) -> Result<Self> {
        let (lists, is_constant) = match argument {
            ColumnarValue::Array(array) => (Arc::clone(array), false),
            ColumnarValue::Scalar(value) => (value.to_array()?, true),
        };
        match lists.as_list_opt::<i32>() {
            Some(lists) => Ok(Self { lists: lists.clone(), is_constant }),
            None => exec_err!("a list was expected, and not {}", lists.data_type()),
        }
    }

    /// The elements of all lists, and which of them are those of a row; none if its list is NULL.
    fn range(&self, row: usize) -> Option<std::ops::Range<usize>> {
        let row = if self.is_constant { 0 } else { row };
        let offsets = self.lists.value_offsets();
        self.lists.is_valid(row).then(|| offsets[row] as usize..offsets[row + 1] as usize)
    }
}

fn numbers(argument: &ColumnarValue, rows: usize) -> Result<Float64Array> {
    let array = argument.to_array(rows)?;
    match array.as_primitive_opt::<Float64Type>() {
        Some(numbers) => Ok(numbers.clone()),
        None => exec_err!("a number was expected, and not {}", array.data_type()),
    }
}

fn texts(argument: &ColumnarValue, rows: usize) -> Result<StringArray> {
    let array = argument.to_array(rows)?;
    match array.as_string_opt::<i32>() {
        Some(texts) => Ok(texts.clone()),
        None => exec_err!("a text was expected, and not {}", array.data_type()),
    }
}

/// What the points of buckets are, for messages.
const POINTS: &str = "the points of ML.BUCKETIZE are numbers in ascending order, none of them twice";

fn are_points(points: &Float64Array) -> bool {
    let is_ordered = points.values().windows(2).all(|two| two[0] < two[1]);
    is_ordered && points.null_count() == 0 && points.values().iter().all(|point| !point.is_nan())
}

fn bucketize(args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let (values, lists) = (numbers(&args[0], rows)?, Lists::of(&args[1])?);
    let excludes = match args.get(2) {
        Some(excludes) => excludes.to_array(rows)?.as_boolean().clone(),
        None => vec![false; rows].into(),
    };
    let points = lists.lists.values().as_primitive::<Float64Type>();
    check_points_of(&lists, points, rows)?;
    let bucket = |row: usize| {
        let value = Some(values.value(row)).filter(|value| values.is_valid(row) && !value.is_nan())?;
        let points = &points.values()[lists.range(row)?];
        let bucket = points.partition_point(|point| *point <= value);
        match excludes.is_valid(row) && excludes.value(row) {
            true if bucket == 0 || bucket == points.len() => None,
            true => Some(format!("bin_{bucket}")),
            false => Some(format!("bin_{}", bucket + 1)),
        }
    };
    Ok(Arc::new((0..rows).map(bucket).collect::<StringArray>()))
}

fn check_points_of(lists: &Lists, points: &Float64Array, rows: usize) -> Result<()> {
    let checked = if lists.is_constant { rows.min(1) } else { rows };
    let mut ranges = (0..checked).filter_map(|row| lists.range(row));
    match ranges.all(|range| are_points(&points.slice(range.start, range.len()))) {
        true => Ok(()),
        false => exec_err!("{POINTS}"),
    }
}

fn hash_bucketize(args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let (values, counts) = (texts(&args[0], rows)?, args[1].to_array(rows)?);
    let mut buckets = Vec::with_capacity(rows);
    for (value, count) in values.iter().zip(counts.as_primitive::<Int64Type>()) {
        buckets.push(match (value, count) {
            (_, Some(..1)) => return exec_err!("ML.HASH_BUCKETIZE has at least one bucket"),
            // The remainder is less than a count that is an i64.
            (Some(value), Some(count)) => Some((fnv1a(value.as_bytes()) % count as u64) as i64),
            _ => None,
        });
    }
    Ok(Arc::new(Int64Array::from(buckets)))
}

/// The hash of Fowler, Noll and Vo, variant 1a, of 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Unlike `least` and `greatest`, NULL stays NULL, and NaN what it is.
fn clamp(args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let (values, low, high) = (numbers(&args[0], rows)?, numbers(&args[1], rows)?, numbers(&args[2], rows)?);
    let within = |((value, low), high): ((Option<f64>, Option<f64>), Option<f64>)| {
        let (value, low, high) = (value?, low?, high?);
        Some(if value < low {
            low
        } else if value > high {
            high
        } else {
            value
        })
    };
    Ok(Arc::new(values.iter().zip(&low).zip(&high).map(within).collect::<Float64Array>()))
}

/// Where in its list the category of a row is.
fn place(category: Option<&str>, categories: &StringArray, range: std::ops::Range<usize>) -> Option<usize> {
    let (category, start) = (category?, range.start);
    let (mut low, mut high) = (start, range.end);
    while low < high {
        let middle = low + (high - low) / 2;
        match categories.value(middle).cmp(category) {
            std::cmp::Ordering::Equal => return Some(middle - start),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

fn category_number(args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let (values, lists) = (texts(&args[0], rows)?, Lists::of(&args[1])?);
    let categories = lists.lists.values().as_string::<i32>();
    let number = |(row, category): (usize, Option<&str>)| {
        lists.range(row).map(|range| place(category, categories, range).map_or(0, |place| place as i64 + 1))
    };
    Ok(Arc::new(values.iter().enumerate().map(number).collect::<Int64Array>()))
}

fn known_category(args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let (values, lists) = (texts(&args[0], rows)?, Lists::of(&args[1])?);
    let categories = lists.lists.values().as_string::<i32>();
    let is_known = |row: usize, category: &str| {
        lists.range(row).is_some_and(|range| place(Some(category), categories, range).is_some())
    };
    let known = values.iter().enumerate().map(|(row, category)| category.filter(|category| is_known(row, category)));
    Ok(Arc::new(known.collect::<StringArray>()))
}

#[cfg(test)]
mod tests;
