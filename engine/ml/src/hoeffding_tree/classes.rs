//! The classes of a label, numbered as a stream brings them.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, BooleanArray, StringArray, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};

use crate::classes::{CLASSES_MAX, Classes, LabelKind};
use crate::error::{MlError, Result};
use crate::predictor::Predictions;

/// Classes by their number: those of a boolean are `false` and `true`, others are numbered by first sight.
#[derive(Debug, Clone)]
pub(super) struct StreamClasses {
    kind: LabelKind,
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    /// Rows learnt of each.
    rows: Vec<u64>,
}

/// The labels of a batch.
pub(super) enum Labels {
    Boolean(BooleanArray),
    Text(StringArray),
}

impl Labels {
    pub(super) fn array(&self) -> &dyn Array {
        match self {
            Self::Boolean(labels) => labels,
            Self::Text(labels) => labels,
        }
    }
}

impl StreamClasses {
    pub(super) fn new(kind: LabelKind) -> Self {
        let names: &[&str] = if kind == LabelKind::Boolean { &["false", "true"] } else { &[] };
        let mut classes = Self { kind, names: Vec::new(), numbers: HashMap::new(), rows: Vec::new() };
        names.iter().for_each(|name| {
            classes.add(name);
        });
        classes
    }

    pub(super) fn kind(&self) -> LabelKind {
        self.kind
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn rows(&self) -> &[u64] {
        &self.rows
    }

    /// Rows of all classes.
    pub(super) fn total_rows(&self) -> u64 {
        self.rows.iter().fold(0, |sum, rows| sum.saturating_add(*rows))
    }

    /// The labels of a batch, as far as they are of this kind; integers beyond BIGINT are NULL.
    ///
    /// # Errors
    /// `UnsupportedLabel` for another kind.
    pub(super) fn read(&self, labels: &dyn Array) -> Result<Labels> {
        if LabelKind::of("label", labels.data_type())? != self.kind {
            return Err(MlError::UnsupportedLabel {
                column: "label".to_owned(),
                data_type: labels.data_type().clone(),
                hint: "give labels of one type to all of a model's rows",
            });
        }
        if let Some(labels) = labels.as_boolean_opt() {
            return Ok(Labels::Boolean(labels.clone()));
        }
        let failed = |source| MlError::ReadColumn { column: "label".to_owned(), source };
        let labels = cast(labels, &self.kind.data_type()).map_err(failed)?;
        Ok(Labels::Text(cast(&labels, &DataType::Utf8).map_err(failed)?.as_string::<i32>().clone()))
    }

    /// The number of a row's class, which is not NULL; `None` for a class past the most that are told apart.
    pub(super) fn number(&mut self, labels: &Labels, row: usize) -> Option<u32> {
        match labels {
            Labels::Boolean(labels) => Some(u32::from(labels.value(row))),
            Labels::Text(labels) => match self.numbers.get(labels.value(row)) {
                Some(number) => Some(*number),
                None if self.names.len() == CLASSES_MAX => None,
                None => Some(self.add(labels.value(row))),
            },
        }
    }

    pub(super) fn count(&mut self, number: u32) {
        let rows = &mut self.rows[number as usize];
        *rows = rows.saturating_add(1);
    }

    fn add(&mut self, name: &str) -> u32 {
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.rows.push(0);
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// What is said of so many rows, given their probability of each of the first classes, as many as there are.
    pub(super) fn predictions(
        &self,
        rows: usize,
        probabilities: Vec<Vec<f64>>,
        usable: Option<NullBuffer>,
    ) -> Predictions {
        if probabilities.is_empty() {
            // No class is known yet.
            return Predictions::without_classes(new_null_array(&self.kind.data_type(), rows));
        }
        let known = probabilities.len();
        let classes = Classes::of_stream(self.kind, self.names[..known].to_vec(), self.rows[..known].to_vec());
        classes.predictions(probabilities, usable)
    }

    pub(super) fn state(&self) -> ClassesState {
        ClassesState { kind: self.kind, names: self.names.clone(), rows: self.rows.clone() }
    }
}

/// Classes as a snapshot holds them.
#[derive(Encode, Decode)]
pub(super) struct ClassesState {
    kind: LabelKind,
    names: Vec<String>,
    rows: Vec<u64>,
}

impl ClassesState {
    /// # Errors
    /// `CorruptState` for classes that no stream could have brought.
    pub(super) fn into_classes(self) -> Result<StreamClasses> {
        let mut classes = StreamClasses::new(self.kind);
        let given = classes.names.len();
        if self.names.len() != self.rows.len()
            || self.names.len() > CLASSES_MAX
            || !self.names.starts_with(&classes.names)
        {
            return Err(MlError::corrupt("its classes are not those of a label"));
        }
        for name in &self.names[given..] {
            let is_name = match self.kind {
                LabelKind::Boolean => false,
                LabelKind::Integer => name.parse::<i64>().is_ok(),
                LabelKind::Text => true,
            };
            if !is_name || classes.numbers.contains_key(name) {
                return Err(MlError::corrupt("its classes are not those of a label"));
            }
            classes.add(name);
        }
        if self.rows.iter().try_fold(0_u64, |sum, rows| sum.checked_add(*rows)).is_none() {
            return Err(MlError::corrupt("its row count overflows"));
        }
        classes.rows = self.rows;
        Ok(classes)
    }
}
