//! The classes of a label column: read from labels, and put into predictions.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use bincode::{Decode, Encode};

use crate::error::{MlError, Result};
use crate::predictor::Predictions;

/// The most classes that a label may have: their weights are searched together.
pub(crate) const CLASSES_MAX: usize = 1000;

/// What labels that are classes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum LabelKind {
    Boolean,
    Integer,
    Text,
}

impl LabelKind {
    /// The kind of a label column.
    ///
    /// # Errors
    /// `UnsupportedLabel` for what has no classes.
    pub(crate) fn of(column: &str, data_type: &DataType) -> Result<Self> {
        match data_type {
            DataType::Boolean => Ok(Self::Boolean),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(Self::Text),
            integer if integer.is_integer() => Ok(Self::Integer),
            _ => Err(MlError::UnsupportedLabel {
                column: column.to_owned(),
                data_type: data_type.clone(),
                hint: "a class is a BOOLEAN, a VARCHAR or a whole number; cast it to one of these",
            }),
        }
    }

    /// What the classes of labels are called: integers by way of BIGINT, as which they are predicted, so that those beyond it have
    /// no label.
    ///
    /// # Errors
    /// `ReadColumn` for labels of another type.
    pub(crate) fn texts(self, labels: &dyn Array) -> Result<ArrayRef> {
        cast_label(&cast_label(labels, &self.data_type())?, &DataType::Utf8)
    }

    /// The type of predicted labels.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Text => DataType::Utf8,
        }
    }
}

/// Labels as values of another type.
///
/// # Errors
/// `ReadColumn` where they cannot be.
pub(crate) fn cast_label(labels: &dyn Array, data_type: &DataType) -> Result<ArrayRef> {
    cast(labels, data_type).map_err(unreadable_label)
}

/// An error about the label's column.
pub(crate) fn unreadable_label(source: ArrowError) -> MlError {
    MlError::ReadColumn { column: "label".to_owned(), source }
}

/// Numbers classes as they come.
#[derive(Debug)]
pub(crate) struct ClassReader {
    kind: LabelKind,
    /// In order of first sight.
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl ClassReader {
    pub(crate) fn new(kind: LabelKind) -> Self {
        Self { kind, names: Vec::new(), numbers: HashMap::new() }
    }

    /// The number of each label's class; NULL where there is none.
    ///
    /// # Errors
    /// `UnsupportedLabel` for another kind of labels, or `TooManyClasses`.
    pub(crate) fn read(&mut self, labels: &dyn Array) -> Result<Float64Array> {
        if LabelKind::of("label", labels.data_type())? != self.kind {
            return Err(MlError::UnsupportedLabel {
                column: "label".to_owned(),
                data_type: labels.data_type().clone(),
                hint: "give labels of one type to all of a model's rows",
            });
        }
        let texts = self.kind.texts(labels)?;
        let mut numbers = Vec::with_capacity(texts.len());
        for label in texts.as_string::<i32>() {
            numbers.push(label.map(|label| self.number(label)).transpose()?);
        }
        Ok(numbers.into())
    }

    fn number(&mut self, label: &str) -> Result<f64> {
        if let Some(number) = self.numbers.get(label) {
            return Ok(f64::from(*number));
        }
        if self.names.len() == CLASSES_MAX {
            return Err(MlError::TooManyClasses { classes_max: CLASSES_MAX });
        }
        let number = self.names.len() as u32;
        self.names.push(label.to_owned());
        self.numbers.insert(label.to_owned(), number);
        Ok(f64::from(number))
    }

    /// The classes that some of these labels are of, sorted, and the rows of each; and for each number, the
    /// place of its class.
    ///
    /// # Errors
    /// `NoRows` without labels, `SameClass` where all are of one.
    pub(crate) fn classes<'a>(&self, labels: impl Iterator<Item = &'a f64>) -> Result<(Classes, Vec<usize>)> {
        let mut rows = vec![0_u64; self.names.len()];
        labels.for_each(|label| rows[*label as usize] += 1);
        let mut seen: Vec<usize> = (0..rows.len()).filter(|&number| rows[number] > 0).collect();
        // Integers by size; no text and no boolean is one where integers are read.
        seen.sort_by_key(|&number| (self.integer(number), &self.names[number]));
        match seen.as_slice() {
            [] => return Err(MlError::NoRows),
            [only] => return Err(MlError::SameClass { rows: rows[*only], class: self.names[*only].clone() }),
            _ => {}
        }
        let mut places = vec![0; rows.len()];
        for (place, &number) in seen.iter().enumerate() {
            places[number] = place;
        }
        let names = seen.iter().map(|&number| self.names[number].clone()).collect();
        let rows = seen.iter().map(|&number| rows[number]).collect();
        Ok((Classes { kind: self.kind, names, rows }, places))
    }

    fn integer(&self, number: usize) -> Option<i128> {
        (self.kind == LabelKind::Integer).then(|| self.names[number].parse().ok()).flatten()
    }
}

/// The classes that a model tells apart.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Classes {
    kind: LabelKind,
    /// Integers by size, other classes by their names' bytes.
    names: Vec<String>,
    /// Rows of each class that the model was fitted to.
    rows: Vec<u64>,
}

impl Classes {
    /// Classes in the order that a stream brought them, with the rows learnt of each.
    pub(crate) fn of_stream(kind: LabelKind, names: Vec<String>, rows: Vec<u64>) -> Self {
        Self { kind, names, rows }
    }

    pub(crate) fn kind(&self) -> LabelKind {
        self.kind
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn rows(&self) -> &[u64] {
        &self.rows
    }

    /// Rows of all classes; saturates for a corrupt snapshot, whose statistics are checked against it.
    pub(crate) fn total_rows(&self) -> u64 {
        self.rows.iter().fold(0, |sum, rows| sum.saturating_add(*rows))
    }

    /// What is said of rows, given the probability of each class for each row: of equals, the first class.
    pub(crate) fn predictions(&self, probabilities: Vec<Vec<f64>>, usable: Option<NullBuffer>) -> Predictions {
        let rows = probabilities.first().map_or(0, Vec::len);
        let likeliest = |row: usize| {
            let better = |best: usize, next: usize| {
                if probabilities[next][row] > probabilities[best][row] { next } else { best }
            };
            (0..probabilities.len()).reduce(better)
        };
        let places: Vec<_> = (0..rows).map(|row| likeliest(row).unwrap_or(0)).collect();
        self.predictions_of(places, probabilities, usable)
    }

    /// What is said of rows, given the place of the class that is predicted for each, and the probability of each
    /// class for each row.
    pub(crate) fn predictions_of(
        &self,
        places: Vec<usize>,
        probabilities: Vec<Vec<f64>>,
        usable: Option<NullBuffer>,
    ) -> Predictions {
        let is_usable = |row: usize| usable.as_ref().is_none_or(|usable| usable.is_valid(row));
        let known = places.iter().enumerate().map(|(row, place)| is_usable(row).then_some(*place));
        let labels = self.labels(&known.collect::<Vec<_>>());
        let arrays = probabilities.into_iter().map(|class| Float64Array::new(class.into(), usable.clone()));
        Predictions { labels, probabilities: arrays.collect(), places }
    }

    /// Labels of these classes, given by their places.
    fn labels(&self, places: &[Option<usize>]) -> ArrayRef {
        let names = || places.iter().map(|place| place.and_then(|place| self.names.get(place)));
        match self.kind {
            LabelKind::Boolean => {
                Arc::new(names().map(|name| name.map(|name| name == "true")).collect::<BooleanArray>())
            }
            LabelKind::Integer => {
                Arc::new(names().map(|name| name.and_then(|name| name.parse().ok())).collect::<Int64Array>())
            }
            LabelKind::Text => Arc::new(names().collect::<StringArray>()),
        }
    }

    /// # Errors
    /// `CorruptState` for classes that no reader could have made.
    pub(crate) fn check(&self) -> Result<()> {
        let is_name = |name: &String| match self.kind {
            LabelKind::Boolean => name == "true" || name == "false",
            LabelKind::Integer => name.parse::<i64>().is_ok(),
            LabelKind::Text => true,
        };
        let distinct: std::collections::BTreeSet<_> = self.names.iter().collect();
        if (2..=CLASSES_MAX).contains(&self.names.len())
            && self.rows.len() == self.names.len()
            && self.names.iter().all(is_name)
            && distinct.len() == self.names.len()
        {
            return Ok(());
        }
        Err(MlError::corrupt("its classes are not those of a label"))
    }
}
