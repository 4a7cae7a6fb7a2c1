//! The rows of a training set in memory: numbers, categories as slots of their weights, and labels.
//!
//! Rows are encoded as they come, so nothing of the batches is kept. They lie in chunks of a fixed number
//! of rows, which depends on no batch: so the sums over them do not either. The statistics and dictionaries
//! are those of the online models, and end up in the fitted one.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch};

use tidemill_compute::kernel::dense::add_scaled;
use tidemill_compute::matrix::Matrix;

use super::{FitControl, map_shards};
use crate::error::{MlError, Result};
use crate::feature::columns::{Columns, SparseRows};
use crate::feature::dictionary::{CategoryDictionary, NO_SLOT};
use crate::feature::encoder::{Encoder, Numbers};
use crate::feature::moments::{Moments, Scale};
use crate::model::{FeatureKind, FeatureSchema, NUMERIC_MAGNITUDE_MAX, RejectReason, RejectedRow};

/// Rows of a chunk. With 30 numbers a row that is 240 kB, and the time of some tens of microseconds.
const CHUNK_ROWS: usize = 1024;

/// The largest standardised magnitude: beyond what any row of a training set can have, so nothing is cut
/// off, and within what a snapshot of an online model allows.
pub(crate) const CLIP: f64 = 1e9;

/// What becomes of the numbers of a linear model.
pub(crate) fn linear_numbers(standardize: bool) -> Numbers {
    if standardize { Numbers::Standardized { clip: CLIP } } else { Numbers::Plain }
}

/// All rows that a model is fitted to.
#[derive(Debug)]
pub(crate) struct TrainingSet {
    schema: Arc<FeatureSchema>,
    /// One for each numeric feature.
    moments: Vec<Moments>,
    /// One for each categorical feature. Slots count from 1 past the numeric features'.
    dictionaries: Vec<CategoryDictionary>,
    categories_max: usize,
    slots: u32,
    chunks: Vec<Chunk>,
    /// The rows of a block being read. Kept to spare allocations.
    scratch: SparseRows,
    /// Whether the numbers count something.
    they_count: bool,
    is_prepared: bool,
}

/// Some rows, row by row.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    numeric: usize,
    categorical: usize,
    numbers: Vec<f64>,
    categories: Vec<u32>,
    labels: Vec<f64>,
}

/// One row of a chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// A value for each numeric feature. Once prepared, a missing one is 0, and NaN before.
    pub(crate) numbers: &'a [f64],
    /// The slot of each categorical feature's category.
    pub(crate) categories: &'a [u32],
    pub(crate) label: f64,
}

impl TrainingSet {
    pub(crate) fn new(schema: FeatureSchema, max_categories: u32) -> Self {
        let numbers = schema.count(FeatureKind::Numeric);
        let categories_max = max_categories as usize;
        Self {
            moments: vec![Moments::default(); numbers],
            dictionaries: vec![CategoryDictionary::new(categories_max); schema.count(FeatureKind::Categorical)],
            categories_max,
            slots: 1 + numbers as u32,
            chunks: Vec::new(),
            scratch: SparseRows::new(&schema),
            schema: Arc::new(schema),
            they_count: false,
            is_prepared: false,
        }
    }

    /// A set whose numbers count something: a row with a negative one is not taken.
    pub(crate) fn of_counts(schema: FeatureSchema, max_categories: u32) -> Self {
        Self { they_count: true, ..Self::new(schema, max_categories) }
    }

    /// Takes the acceptable rows of a batch; a NULL, NaN or infinite label is a reason, too.
    ///
    /// # Errors
    /// `AlreadyFitted`, `LabelCount`, `MissingColumn` or `ChangedColumn`.
    pub(crate) fn add(&mut self, features: &RecordBatch, labels: &Float64Array) -> Result<Vec<RejectedRow>> {
        if self.is_prepared {
            return Err(MlError::AlreadyFitted);
        }
        if labels.len() != features.num_rows() {
            return Err(MlError::LabelCount { rows: features.num_rows(), labels: labels.len() });
        }
        let schema = Arc::clone(&self.schema);
        let columns = Columns::resolve(&schema, features)?.that_count(self.they_count);
        let mut rows = Accepted::by_labels(labels);
        for block in columns.blocks() {
            self.scratch.grow(block.len());
            columns.write_numbers(block.clone(), &mut self.scratch, 0, |row, reason| rows.reject(row, reason));
            let slots = &mut self.slots;
            let slot_of = |feature: usize, category: Option<&str>| {
                self.dictionaries[feature].slot_or_insert(category, || {
                    *slots += 1;
                    *slots - 1
                })
            };
            columns.write_categories(block.clone(), &mut self.scratch, 0, &rows.accepted, slot_of);
            for (place, row) in block.enumerate() {
                if rows.accepted[row] {
                    self.push(place, labels.value(row));
                }
            }
        }
        rows.rejected.sort_unstable_by_key(|rejected| rejected.row);
        Ok(rows.rejected)
    }

    /// Takes the acceptable rows of a batch without labels; those of the rows are 0.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(crate) fn add_unlabelled(&mut self, features: &RecordBatch) -> Result<Vec<RejectedRow>> {
        self.add(features, &Float64Array::from(vec![0.0; features.num_rows()]))
    }

    /// Takes a row of `scratch`.
    fn push(&mut self, place: usize, label: f64) {
        if self.chunks.last().is_none_or(|chunk| chunk.rows() == CHUNK_ROWS) {
            let rows = if self.chunks.is_empty() { 0 } else { CHUNK_ROWS };
            self.chunks.push(Chunk::with_capacity(self.moments.len(), self.dictionaries.len(), rows));
        }
        let numbers = self.scratch.numbers(place);
        for (value, moments) in numbers.iter().zip(&mut self.moments).filter(|(value, _)| !value.is_nan()) {
            moments.add(*value);
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.numbers.extend_from_slice(numbers);
            chunk.categories.extend_from_slice(&self.scratch.row(place).0[1 + numbers.len()..]);
            chunk.labels.push(label);
        }
    }

    /// Makes the rows ready for a fit, once: numbers encoded, and categories numbered by their first sight within a
    /// feature, which does not depend on the batches.
    ///
    /// # Errors
    /// `Stopped`.
    pub(crate) fn prepare(&mut self, numbers: Numbers, control: &FitControl) -> Result<()> {
        control.check()?;
        if self.is_prepared {
            return Ok(());
        }
        let renumbered = self.renumber()?;
        let scales: Vec<_> = self.moments.iter().map(Moments::scale).collect();
        for chunk in &mut self.chunks {
            chunk.prepare(numbers, &scales, &renumbered);
        }
        self.is_prepared = true;
        Ok(())
    }

    /// Numbers the dictionaries' slots in the order of a snapshot; returns the new slot of each old one.
    fn renumber(&mut self) -> Result<Vec<u32>> {
        let first = 1 + self.moments.len() as u32;
        let mut renumbered = vec![NO_SLOT; self.slots as usize];
        let ordered = self.dictionaries.iter().flat_map(CategoryDictionary::slots);
        for (slot, new) in ordered.zip(first..) {
            renumbered[slot as usize] = new;
        }
        let mut next = first;
        for dictionary in &mut self.dictionaries {
            *dictionary = CategoryDictionary::restore(&dictionary.state(), self.categories_max, &mut next)?;
        }
        debug_assert_eq!(next, self.slots);
        Ok(renumbered)
    }

    pub(crate) fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    pub(crate) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The row with this number, from 0, if there is one.
    pub(crate) fn row(&self, number: usize) -> Option<Row<'_>> {
        row_of(&self.chunks, number)
    }

    /// Copies of the rows with these numbers, in their order, in chunks of as many rows as the set's.
    pub(crate) fn copies(&self, numbers: impl Iterator<Item = u64>) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = Vec::new();
        for row in numbers.filter_map(|number| self.row(number as usize)) {
            if chunks.last().is_none_or(|chunk| chunk.rows() == CHUNK_ROWS) {
                chunks.push(Chunk::with_capacity(self.moments.len(), self.dictionaries.len(), CHUNK_ROWS));
            }
            if let Some(chunk) = chunks.last_mut() {
                chunk.push(row);
            }
        }
        chunks
    }

    pub(crate) fn moments(&self) -> &[Moments] {
        &self.moments
    }

    pub(crate) fn dictionaries(&self) -> &[CategoryDictionary] {
        &self.dictionaries
    }

    /// How a model fitted to the prepared rows reads its features.
    pub(crate) fn encoder(&self, numbers: Numbers) -> Encoder {
        Encoder::new(Arc::clone(&self.schema), self.moments.clone(), self.dictionaries.clone(), numbers)
    }

    /// Numeric features.
    pub(crate) fn numeric(&self) -> usize {
        self.moments.len()
    }

    /// Weights that a linear model has: the intercept, the numbers, the categories.
    pub(crate) fn slots(&self) -> usize {
        self.slots as usize
    }

    /// How many rows have each category, slot by slot.
    ///
    /// # Errors
    /// `Stopped`.
    pub(crate) fn category_rows(&self, control: &FitControl) -> Result<Vec<u64>> {
        let first = 1 + self.moments.len();
        let parts = map_shards(&self.chunks, control, |chunks| {
            let mut rows = vec![0; self.slots() - first];
            let slots = chunks.iter().flat_map(|chunk| &chunk.categories);
            slots.for_each(|slot| rows[*slot as usize - first] += 1);
            rows
        })?;
        let mut rows = vec![0; self.slots() - first];
        for part in parts {
            rows.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        Ok(rows)
    }

    /// For each weight of a linear model, the mean square of what it is multiplied with.
    ///
    /// # Errors
    /// `Stopped`.
    pub(crate) fn mean_squares(&self, control: &FitControl) -> Result<Vec<f64>> {
        let parts = map_shards(&self.chunks, control, |chunks| {
            let mut squares = vec![0.0; self.slots()];
            for row in chunks.iter().flat_map(Chunk::iter) {
                squares[0] += 1.0;
                for (sum, number) in squares[1..].iter_mut().zip(row.numbers) {
                    *sum += number * number;
                }
                row.categories.iter().for_each(|slot| squares[*slot as usize] += 1.0);
            }
            squares
        })?;
        let mut squares = vec![0.0; self.slots()];
        parts.iter().for_each(|part| add_scaled(&mut squares, 1.0 / self.rows() as f64, part));
        Ok(squares)
    }

    pub(crate) fn rows(&self) -> u64 {
        let full = self.chunks.len().saturating_sub(1) * CHUNK_ROWS;
        (full + self.chunks.last().map_or(0, Chunk::rows)) as u64
    }

    /// Bytes of the rows and the names of their categories.
    pub(crate) fn bytes(&self) -> usize {
        let categories: usize = self.dictionaries.iter().map(CategoryDictionary::bytes).sum();
        categories + self.chunks.iter().map(Chunk::bytes).sum::<usize>()
    }
}

impl Chunk {
    fn with_capacity(numeric: usize, categorical: usize, rows: usize) -> Self {
        Self {
            numeric,
            categorical,
            numbers: Vec::with_capacity(rows * numeric),
            categories: Vec::with_capacity(rows * categorical),
            labels: Vec::with_capacity(rows),
        }
    }

    fn push(&mut self, row: Row<'_>) {
        self.numbers.extend_from_slice(row.numbers);
        self.categories.extend_from_slice(row.categories);
        self.labels.push(row.label);
    }

    pub(crate) fn rows(&self) -> usize {
        self.labels.len()
    }

    /// Numbers and categories.
    pub(crate) fn entries(&self) -> usize {
        self.numbers.len() + self.categories.len()
    }

    pub(crate) fn labels(&self) -> &[f64] {
        &self.labels
    }

    /// The numbers of all rows as a matrix.
    pub(crate) fn numbers(&self) -> Option<Matrix<'_>> {
        Matrix::new(&self.numbers, self.rows(), self.numeric).ok()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.slice(0..self.rows())
    }

    /// Some of the rows.
    pub(crate) fn slice(&self, rows: Range<usize>) -> impl Iterator<Item = Row<'_>> {
        rows.map(|row| self.row(row))
    }

    #[inline]
    pub(crate) fn row(&self, row: usize) -> Row<'_> {
        Row {
            numbers: &self.numbers[row * self.numeric..(row + 1) * self.numeric],
            categories: &self.categories[row * self.categorical..(row + 1) * self.categorical],
            label: self.labels[row],
        }
    }

    fn prepare(&mut self, numbers: Numbers, scales: &[Scale], renumbered: &[u32]) {
        for slot in &mut self.categories {
            *slot = renumbered[*slot as usize];
        }
        // A row without numbers has none to encode, and a length of 0 cannot be cut into.
        for row in self.numbers.chunks_exact_mut(self.numeric.max(1)) {
            numbers.encode(scales, row);
        }
    }

    fn bytes(&self) -> usize {
        8 * (self.numbers.capacity() + self.labels.capacity()) + 4 * self.categories.capacity()
    }
}

/// The row with this number, from 0, of chunks of which all but the last are full; if there is one.
pub(crate) fn row_of(chunks: &[Chunk], number: usize) -> Option<Row<'_>> {
    let chunk = chunks.get(number / CHUNK_ROWS)?;
    let place = number % CHUNK_ROWS;
    (place < chunk.rows()).then(|| chunk.row(place))
}

/// Which rows of a batch are taken.
struct Accepted {
    accepted: Vec<bool>,
    rejected: Vec<RejectedRow>,
}

impl Accepted {
    fn by_labels(labels: &Float64Array) -> Self {
        let mut rows = Self { accepted: vec![true; labels.len()], rejected: Vec::new() };
        for (row, label) in labels.iter().enumerate() {
            match label {
                None => rows.reject(row, RejectReason::NullLabel),
                Some(label) if label.abs() <= NUMERIC_MAGNITUDE_MAX => {}
                Some(_) => rows.reject(row, RejectReason::BadLabel),
            }
        }
        rows
    }

    /// Only a row's first reason counts.
    fn reject(&mut self, row: usize, reason: RejectReason) {
        if std::mem::replace(&mut self.accepted[row], false) {
            self.rejected.push(RejectedRow { row, reason });
        }
    }
}
