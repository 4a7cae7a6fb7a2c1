//! Reads a batch's feature columns into sparse rows.
//!
//! Columns are found and typed once a batch. Values are then read column by column, because types
//! and dictionaries change between columns and not between rows, but into row-major scratch, since
//! learning goes row by row. Reading in blocks keeps the scratch in the processor's cache.

use std::ops::Range;

use arrow::array::{Array, ArrayAccessor, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use crate::error::{MlError, Result};
use crate::model::{Feature, FeatureKind, FeatureSchema, NUMERIC_MAGNITUDE_MAX, RejectReason};

/// Rows read at a time: 19 entries of 12 bytes each then take 58 kB, within a second-level cache.
pub(crate) const BLOCK_ROWS: usize = 256;

/// The feature columns of one batch: first the numeric ones, then the categorical ones.
pub(crate) struct Columns<'a> {
    numeric: Vec<NumericColumn<'a>>,
    categorical: Vec<&'a ArrayRef>,
    rows: usize,
    /// The smallest number that can be used.
    number_min: f64,
}

struct NumericColumn<'a> {
    name: &'a str,
    values: Float64Array,
}

impl<'a> Columns<'a> {
    /// Finds the features of `schema` in `batch` by name, and reads every number as `f64`.
    ///
    /// Integers past 2^53 are rounded to the nearest `f64`.
    ///
    /// # Errors
    /// `MissingColumn` or `ChangedColumn`.
    pub(crate) fn resolve(schema: &'a FeatureSchema, batch: &'a RecordBatch) -> Result<Self> {
        let (mut numeric, mut categorical) = (Vec::new(), Vec::new());
        for (position, feature) in schema.fields().iter().enumerate() {
            let column = find_column(feature, position, batch)?;
            match feature.kind {
                FeatureKind::Numeric => numeric.push(NumericColumn::read(&feature.name, column)?),
                FeatureKind::Categorical => categorical.push(column),
                // `find_column` has refused it.
                FeatureKind::Time => {}
            }
        }
        Ok(Self { numeric, categorical, rows: batch.num_rows(), number_min: -NUMERIC_MAGNITUDE_MAX })
    }

    /// These columns, if their numbers count something: then no negative one can be used.
    pub(crate) fn that_count(self, they_count: bool) -> Self {
        if they_count { Self { number_min: 0.0, ..self } } else { self }
    }

    /// Rows in the batch.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The batch's rows in blocks of at most [`BLOCK_ROWS`].
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.rows;
        (0..rows).step_by(BLOCK_ROWS).map(move |start| start..(start + BLOCK_ROWS).min(rows))
    }

    /// Writes the numbers of the rows in `block` to the rows of `out` from `first` on, NaN where
    /// they are missing. Calls `reject` with the batch's row number where a value cannot be used.
    pub(crate) fn write_numbers(
        &self,
        block: Range<usize>,
        out: &mut SparseRows,
        first: usize,
        mut reject: impl FnMut(usize, RejectReason),
    ) {
        for (column, entry) in self.numeric.iter().zip(1..) {
            let values = &column.values.values()[block.clone()];
            let target = out.values[first * out.width..].chunks_exact_mut(out.width);
            match column.values.nulls().filter(|nulls| nulls.null_count() > 0) {
                // The value beneath a NULL is arbitrary.
                Some(nulls) => {
                    for ((row, &value), target) in block.clone().zip(values).zip(target) {
                        let is_missing = nulls.is_null(row);
                        target[entry] = if is_missing { f64::NAN } else { value };
                        if !is_missing && !self.can_use(value) {
                            reject(row, column.reason(value));
                        }
                    }
                }
                None => {
                    for (value, target) in values.iter().zip(target) {
                        target[entry] = *value;
                    }
                    // All at once, since nearly always all can be used.
                    if !values.iter().fold(true, |all, value| all & self.can_use(*value)) {
                        let unusable = block.clone().zip(values).filter(|(_, value)| !self.can_use(**value));
                        unusable.for_each(|(row, value)| reject(row, column.reason(*value)));
                    }
                }
            }
        }
    }

    #[inline]
    fn can_use(&self, value: f64) -> bool {
        (self.number_min <= value) & (value <= NUMERIC_MAGNITUDE_MAX)
    }

    /// Writes the categories' slots of those rows in `block` for which `accepted`, given the
    /// batch's row number, says true. `slot_of` gets the categorical feature's number and a value.
    pub(crate) fn write_categories(
        &self,
        block: Range<usize>,
        out: &mut SparseRows,
        first: usize,
        accepted: &[bool],
        mut slot_of: impl FnMut(usize, Option<&str>) -> u32,
    ) {
        for (feature, column) in self.categorical.iter().enumerate() {
            let entry = 1 + self.numeric.len() + feature;
            let target = out.indices[first * out.width + entry..].iter_mut().step_by(out.width);
            let rows = block.clone().zip(target).filter(|(row, _)| accepted[*row]);
            let slot_of = |category: Option<&str>| slot_of(feature, category);
            match column.data_type() {
                DataType::Utf8 => write_texts(column.as_string::<i32>(), rows, slot_of),
                DataType::LargeUtf8 => write_texts(column.as_string::<i64>(), rows, slot_of),
                DataType::Utf8View => write_texts(column.as_string_view(), rows, slot_of),
                _ => write_booleans(column.as_boolean(), rows, slot_of),
            }
        }
    }
}

impl<'a> NumericColumn<'a> {
    fn read(name: &'a str, column: &ArrayRef) -> Result<Self> {
        let failed = |source| MlError::ReadColumn { column: name.to_owned(), source };
        let values = cast(column, &DataType::Float64).map_err(failed)?;
        Ok(Self { name, values: values.as_primitive::<Float64Type>().clone() })
    }

    #[cold]
    fn reason(&self, value: f64) -> RejectReason {
        let column = self.name.to_owned();
        if value.is_nan() {
            RejectReason::NotANumber { column }
        } else if value.abs() <= NUMERIC_MAGNITUDE_MAX {
            RejectReason::NegativeCount { column }
        } else {
            RejectReason::TooLarge { column }
        }
    }
}

/// Row-major sparse rows, all of one width: the intercept, the numbers, then the categories.
///
/// Numbers keep the slots 1, 2, …; only their values change. Categories keep the value 1; only
/// their slots change. What never changes is written once, when the scratch grows.
#[derive(Debug, Clone)]
pub(crate) struct SparseRows {
    width: usize,
    numbers: usize,
    /// `width` slots a row.
    indices: Vec<u32>,
    /// `width` values a row.
    values: Vec<f64>,
}

impl SparseRows {
    pub(crate) fn new(schema: &FeatureSchema) -> Self {
        let numbers = schema.count(FeatureKind::Numeric);
        Self { width: 1 + schema.fields().len(), numbers, indices: Vec::new(), values: Vec::new() }
    }

    /// Makes room for at least `rows` rows, and keeps what it has: scratch never shrinks.
    pub(crate) fn grow(&mut self, rows: usize) {
        let entries = rows * self.width;
        self.values.resize(entries.max(self.values.len()), 1.0);
        while self.indices.len() < entries {
            self.indices.extend(0..self.width as u32);
        }
    }

    /// The slots and values of one row.
    pub(crate) fn row(&self, row: usize) -> (&[u32], &[f64]) {
        let entries = row * self.width..(row + 1) * self.width;
        (&self.indices[entries.clone()], &self.values[entries])
    }

    /// The numbers of one row.
    pub(crate) fn numbers(&self, row: usize) -> &[f64] {
        &self.values[row * self.width + 1..][..self.numbers]
    }

    /// The numbers of one row, to be standardised in place.
    pub(crate) fn numbers_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.width + 1..][..self.numbers]
    }
}

/// The column of a feature, whose place in a batch is most likely `position`.
///
/// # Errors
/// `MissingColumn` or `ChangedColumn`.
pub(crate) fn find_column<'a>(feature: &Feature, position: usize, batch: &'a RecordBatch) -> Result<&'a ArrayRef> {
    let schema = batch.schema_ref();
    // Most batches keep the order that the model was made with.
    let in_place = schema.fields().get(position).is_some_and(|field| field.name() == &feature.name);
    let index = if in_place { Some(position) } else { schema.index_of(&feature.name).ok() };
    let column = index.map(|index| batch.column(index)).ok_or_else(|| MlError::MissingColumn {
        column: feature.name.clone(),
        available: schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", "),
    })?;
    if FeatureKind::of(column.data_type()) != Some(feature.kind) {
        return Err(MlError::ChangedColumn {
            column: feature.name.clone(),
            expected: feature.kind.name(),
            data_type: column.data_type().clone(),
        });
    }
    Ok(column)
}

fn write_texts<'a, 'b>(
    texts: impl ArrayAccessor<Item = &'a str>,
    rows: impl Iterator<Item = (usize, &'b mut u32)>,
    mut slot_of: impl FnMut(Option<&str>) -> u32,
) {
    for (row, target) in rows {
        *target = slot_of(texts.is_valid(row).then(|| texts.value(row)));
    }
}

fn write_booleans<'b>(
    booleans: &BooleanArray,
    rows: impl Iterator<Item = (usize, &'b mut u32)>,
    mut slot_of: impl FnMut(Option<&str>) -> u32,
) {
    for (row, target) in rows {
        let name = |value| if value { "true" } else { "false" };
        *target = slot_of(booleans.is_valid(row).then(|| name(booleans.value(row))));
    }
}
