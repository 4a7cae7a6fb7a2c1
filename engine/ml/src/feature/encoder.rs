//! Encodes rows for a model that is done learning: categories by its dictionaries, numbers standardised.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::NullBuffer;
use bincode::{Decode, Encode};

use super::columns::{Columns, SparseRows};
use super::dictionary::{Category, CategoryDictionary, DictionaryState};
use super::moments::{Moments, Scale};
use crate::error::{MlError, Result};
use crate::linear::weights::Inputs;
use crate::model::{FeatureKind, FeatureSchema};

/// What becomes of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(crate) enum Numbers {
    /// Distances from the mean in standard deviations, at most `clip`; 0 where missing.
    Standardized {
        /// In standard deviations.
        clip: f64,
    },
    /// As they are; 0 where missing.
    Plain,
    /// As they are; NaN where missing.
    WithMissing,
    /// Distances from the mean; 0 where missing.
    Centred,
    /// As they are; 0 where missing. They count something, so a row with a negative one cannot be used.
    Counts,
    /// As they are; the mean where missing.
    MeanForMissing,
}

impl Numbers {
    /// Encodes one row's numbers in place.
    pub(crate) fn encode(self, scales: &[Scale], numbers: &mut [f64]) {
        // A loop each, so that none asks for each number again which it is.
        let numbers_and_scales = numbers.iter_mut().zip(scales);
        match self {
            Self::Standardized { clip } => {
                numbers_and_scales.for_each(|(number, scale)| *number = scale.apply(*number, clip))
            }
            Self::Centred => numbers_and_scales.for_each(|(number, scale)| *number = scale.centre(*number)),
            Self::MeanForMissing => numbers_and_scales
                .for_each(|(number, scale)| *number = if number.is_nan() { scale.mean() } else { *number }),
            Self::Plain | Self::Counts => {
                numbers.iter_mut().for_each(|number| *number = if number.is_nan() { 0.0 } else { *number });
            }
            Self::WithMissing => {}
        }
    }

    /// The number that was encoded as `value`, where nothing was cut off.
    fn decode(self, scale: &Scale, value: f64) -> f64 {
        match self {
            Self::Standardized { .. } => scale.restore(value),
            Self::Centred => scale.mean() + value,
            Self::Plain | Self::WithMissing | Self::Counts | Self::MeanForMissing => value,
        }
    }

    fn is_plausible(self) -> bool {
        match self {
            Self::Standardized { clip } => (1e-3..=1e9).contains(&clip),
            Self::Plain | Self::WithMissing | Self::Centred | Self::Counts | Self::MeanForMissing => true,
        }
    }
}

/// How a model reads its features.
#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    schema: Arc<FeatureSchema>,
    /// One for each numeric feature.
    moments: Vec<Moments>,
    /// One for each categorical feature.
    dictionaries: Vec<CategoryDictionary>,
    numbers: Numbers,
}

impl Encoder {
    /// The dictionaries' slots must be numbered in the order of a snapshot, from 1 past the numbers on.
    pub(crate) fn new(
        schema: Arc<FeatureSchema>,
        moments: Vec<Moments>,
        dictionaries: Vec<CategoryDictionary>,
        numbers: Numbers,
    ) -> Self {
        Self { schema, moments, dictionaries, numbers }
    }

    pub(crate) fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    /// How a linear model reads its features, for whoever shows its weights.
    pub(crate) fn inputs(&self) -> Inputs<'_> {
        let is_standardized = matches!(self.numbers, Numbers::Standardized { .. });
        Inputs { schema: &self.schema, moments: &self.moments, dictionaries: &self.dictionaries, is_standardized }
    }

    pub(crate) fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// Slots that a row may name: the intercept, the numbers, the categories.
    pub(crate) fn slots(&self) -> usize {
        1 + self.moments.len() + self.dictionaries.iter().map(|dictionary| dictionary.slots().count()).sum::<usize>()
    }

    /// Numeric features.
    pub(crate) fn numeric(&self) -> usize {
        self.moments.len()
    }

    /// How many categories each categorical feature has, NULL and the overflow included.
    pub(crate) fn categories(&self) -> Vec<usize> {
        self.dictionaries.iter().map(|dictionary| dictionary.slots().count()).collect()
    }

    /// What each slot but the intercept's stands for, in order: the number of its feature among all, and of a
    /// categorical feature the category.
    pub(crate) fn slot_features(&self) -> Vec<(usize, Option<Category>)> {
        let of_kind = |kind| {
            let fields = self.schema.fields().iter().enumerate();
            fields.filter(move |(_, field)| field.kind == kind).map(|(place, _)| place)
        };
        let numbers = of_kind(FeatureKind::Numeric).map(|feature| (feature, None));
        let categories = of_kind(FeatureKind::Categorical).zip(&self.dictionaries).flat_map(|(feature, dictionary)| {
            dictionary.categories().map(move |(category, _)| (feature, Some(category)))
        });
        numbers.chain(categories).collect()
    }

    /// The names of a categorical feature's categories, in the order of their slots.
    pub(crate) fn category_names(&self, feature: usize) -> Vec<Category> {
        self.dictionaries
            .get(feature)
            .into_iter()
            .flat_map(CategoryDictionary::categories)
            .map(|(name, _)| name)
            .collect()
    }

    /// How each numeric feature is standardised.
    pub(crate) fn scales(&self) -> Vec<Scale> {
        self.moments.iter().map(Moments::scale).collect()
    }

    /// What a row without any number has instead of them.
    pub(crate) fn missing_numbers(&self) -> Vec<f64> {
        let mut numbers = vec![f64::NAN; self.moments.len()];
        self.numbers.encode(&self.scales(), &mut numbers);
        numbers
    }

    /// One row's numbers as they were before they were encoded.
    pub(crate) fn decoded(&self, numbers: &[f64]) -> Vec<f64> {
        self.scales().iter().zip(numbers).map(|(scale, value)| self.numbers.decode(scale, *value)).collect()
    }

    /// Calls `visit` with each usable row's number, slots and values, in order, and returns which rows those are;
    /// `None` for all.
    ///
    /// # Errors
    /// `MissingColumn` or `ChangedColumn`.
    pub(crate) fn visit(
        &self,
        features: &RecordBatch,
        mut visit: impl FnMut(usize, &[u32], &[f64]),
    ) -> Result<Option<NullBuffer>> {
        let columns = Columns::resolve(&self.schema, features)?.that_count(self.numbers == Numbers::Counts);
        let scales: Vec<_> = self.scales();
        let mut usable = vec![true; columns.rows()];
        let mut scratch = SparseRows::new(&self.schema);
        for block in columns.blocks() {
            self.encode(&columns, block.clone(), &mut scratch, &mut usable);
            for (place, row) in block.enumerate().filter(|(_, row)| usable[*row]) {
                self.numbers.encode(&scales, scratch.numbers_mut(place));
                let (indices, values) = scratch.row(place);
                visit(row, indices, values);
            }
        }
        Ok(usable.contains(&false).then(|| NullBuffer::from(usable)))
    }

    fn encode(&self, columns: &Columns<'_>, block: Range<usize>, scratch: &mut SparseRows, usable: &mut [bool]) {
        scratch.grow(block.len());
        columns.write_numbers(block.clone(), scratch, 0, |row, _| usable[row] = false);
        let slot_of = |feature: usize, category: Option<&str>| self.dictionaries[feature].slot(category);
        columns.write_categories(block, scratch, 0, usable, slot_of);
    }

    pub(crate) fn state(&self) -> EncoderState {
        EncoderState {
            schema: FeatureSchema::clone(&self.schema),
            moments: self.moments.clone(),
            dictionaries: self.dictionaries.iter().map(CategoryDictionary::state).collect(),
            numbers: self.numbers,
        }
    }
}

/// An encoder as a snapshot holds it. Category slots follow from the order of the dictionaries.
#[derive(Debug, Encode, Decode)]
pub(crate) struct EncoderState {
    schema: FeatureSchema,
    moments: Vec<Moments>,
    dictionaries: Vec<DictionaryState>,
    numbers: Numbers,
}

impl EncoderState {
    /// The encoder that wrote this, of a model of `rows` rows.
    ///
    /// # Errors
    /// `CorruptState`, or the schema's errors, for what no encoder could have written.
    pub(crate) fn into_encoder(self, rows: u64) -> Result<Encoder> {
        let schema = self.schema.restored()?;
        if self.moments.len() != schema.count(FeatureKind::Numeric)
            || !self.moments.iter().all(|moments| moments.is_plausible(rows))
        {
            return Err(MlError::corrupt("the statistics do not fit the numeric features"));
        }
        if self.dictionaries.len() != schema.count(FeatureKind::Categorical) {
            return Err(MlError::corrupt("the dictionaries do not fit the categorical features"));
        }
        if !self.numbers.is_plausible() {
            return Err(MlError::corrupt("the largest standardised number is out of range"));
        }
        let mut next_slot = 1 + self.moments.len() as u32;
        let mut dictionaries = Vec::with_capacity(self.dictionaries.len());
        for state in &self.dictionaries {
            // Nothing is added any more, so what is there is the limit.
            dictionaries.push(CategoryDictionary::restore(state, usize::MAX, &mut next_slot)?);
        }
        Ok(Encoder { schema: Arc::new(schema), moments: self.moments, dictionaries, numbers: self.numbers })
    }
}
