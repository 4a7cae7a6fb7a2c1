//! The features of a stream's rows: numbers as they are, categories by their numbers.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bincode::{Decode, Encode};

use super::columns::{Columns, SparseRows};
use super::dictionary::{Category, CategoryDictionary, DictionaryState};
use super::rows::Rows;
use crate::error::{MlError, Result};
use crate::model::{FeatureKind, FeatureSchema};

/// What a row has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamRow<'a> {
    /// NaN where missing.
    pub(crate) numbers: &'a [f64],
    /// By their numbers in the dictionary; any number that it has not for one that was never seen.
    pub(crate) categories: &'a [u32],
}

/// Reads batches, and numbers categories as they come.
#[derive(Debug, Clone)]
pub(crate) struct StreamFeatures {
    /// Shared, so that a batch's columns can name it while the dictionaries grow.
    schema: Arc<FeatureSchema>,
    /// One for each categorical feature; they number categories by [`CategoryDictionary::number_or_insert`].
    dictionaries: Vec<CategoryDictionary>,
    /// The rows of the batch being learnt. Kept to spare allocations; holds no state.
    scratch: SparseRows,
}

impl StreamFeatures {
    pub(crate) fn new(schema: FeatureSchema, max_categories: u32) -> Self {
        let dictionary = CategoryDictionary::new(max_categories as usize);
        Self {
            dictionaries: vec![dictionary; schema.count(FeatureKind::Categorical)],
            scratch: SparseRows::new(&schema),
            schema: Arc::new(schema),
        }
    }

    pub(crate) fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    /// Numeric and categorical features.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.schema.count(FeatureKind::Numeric), self.dictionaries.len())
    }

    /// Past the largest number of a category, of each categorical feature.
    pub(crate) fn categories(&self) -> Vec<usize> {
        self.dictionaries.iter().map(CategoryDictionary::numbers).collect()
    }

    /// What the numbers of each categorical feature's categories stand for.
    pub(crate) fn category_names(&self) -> Vec<Vec<(Category, u32)>> {
        self.dictionaries.iter().map(|dictionary| dictionary.categories().collect()).collect()
    }

    /// Reads the rows of a batch that can be used, to be had by [`Self::row`], and learns their categories. `check`, which
    /// sees one block after another, may reject some more before that.
    ///
    /// # Errors
    /// `MissingColumn` or `ChangedColumn`; nothing is changed then.
    pub(crate) fn read(
        &mut self,
        features: &RecordBatch,
        rows: &mut Rows,
        mut check: impl FnMut(Range<usize>, &mut Rows),
    ) -> Result<()> {
        let schema = Arc::clone(&self.schema);
        let columns = Columns::resolve(&schema, features)?;
        self.scratch.grow(columns.rows());
        for block in columns.blocks() {
            let start = block.start;
            columns.write_numbers(block.clone(), &mut self.scratch, start, |row, reason| rows.reject(row, reason));
            check(block.clone(), rows);
            let dictionaries = &mut self.dictionaries;
            let number_of = |feature: usize, category: Option<&str>| dictionaries[feature].number_or_insert(category);
            columns.write_categories(block, &mut self.scratch, start, rows.accepted(), number_of);
        }
        Ok(())
    }

    /// A row of the batch that was read last, by its number there.
    pub(crate) fn row(&self, row: usize) -> StreamRow<'_> {
        row_of(&self.scratch, row)
    }

    /// Calls `visit` with the number of each row that can be used, and the row; returns what becomes of the rows.
    ///
    /// # Errors
    /// `MissingColumn` or `ChangedColumn`.
    pub(crate) fn visit(&self, features: &RecordBatch, mut visit: impl FnMut(usize, StreamRow<'_>)) -> Result<Rows> {
        let columns = Columns::resolve(&self.schema, features)?;
        let mut rows = Rows::new(columns.rows());
        let mut scratch = SparseRows::new(&self.schema);
        for block in columns.blocks() {
            scratch.grow(block.len());
            columns.write_numbers(block.clone(), &mut scratch, 0, |row, reason| rows.reject(row, reason));
            let number_of = |feature: usize, category: Option<&str>| self.dictionaries[feature].slot(category);
            columns.write_categories(block.clone(), &mut scratch, 0, rows.accepted(), number_of);
            for (place, row) in block.enumerate() {
                if rows.is_accepted(row) {
                    visit(row, row_of(&scratch, place));
                }
            }
        }
        Ok(rows)
    }

    pub(crate) fn state(&self) -> FeaturesState {
        FeaturesState {
            schema: FeatureSchema::clone(&self.schema),
            dictionaries: self.dictionaries.iter().map(CategoryDictionary::state).collect(),
        }
    }
}

/// A row of a scratch, whose numbers are as they were read.
fn row_of(scratch: &SparseRows, row: usize) -> StreamRow<'_> {
    let numbers = scratch.numbers(row);
    StreamRow { numbers, categories: &scratch.row(row).0[1 + numbers.len()..] }
}

/// Features as a snapshot holds them.
#[derive(Encode, Decode)]
pub(crate) struct FeaturesState {
    schema: FeatureSchema,
    dictionaries: Vec<DictionaryState>,
}

impl FeaturesState {
    /// # Errors
    /// `CorruptState`, or the schema's errors.
    pub(crate) fn into_features(self, max_categories: u32) -> Result<StreamFeatures> {
        let schema = self.schema.restored()?;
        if self.dictionaries.len() != schema.count(FeatureKind::Categorical) {
            return Err(MlError::corrupt("the dictionaries do not fit the categorical features"));
        }
        let mut features = StreamFeatures::new(schema, max_categories);
        for (dictionary, state) in features.dictionaries.iter_mut().zip(&self.dictionaries) {
            *dictionary = CategoryDictionary::restore_numbered(state, max_categories as usize)?;
        }
        Ok(features)
    }
}
