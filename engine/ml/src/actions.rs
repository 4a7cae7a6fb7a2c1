//! Decisions that are learnt from: the actions that were taken, which are categories numbered by first sight, and their
//! rewards.

#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::classes::LabelKind;
use crate::error::{MlError, Result};
use crate::feature::dictionary::{Category, CategoryDictionary, DictionaryState, NO_SLOT};
use crate::feature::rows::Rows;
use crate::linear::linear_regression::batch::numeric_labels;
use crate::model::{Feature, FeatureSchema, LearnReport, NUMERIC_MAGNITUDE_MAX, RejectReason};
use crate::options::invalid;

/// The most actions that a model may tell apart: each row is scored for each of them.
pub(crate) const ACTIONS_MAX: u32 = 1000;

/// The actions that a model knows.
#[derive(Debug, Clone)]
pub(crate) struct Actions {
    /// Their slots are their numbers, from 0.
    names: CategoryDictionary,
}

impl Actions {
    pub(crate) fn new(max_actions: u32) -> Self {
        Self { names: CategoryDictionary::new(max_actions as usize) }
    }

    pub(crate) fn count(&self) -> usize {
        self.names.names()
    }

    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        Some(self.names.slot(Some(name))).filter(|slot| *slot != NO_SLOT).map(|slot| slot as usize)
    }

    /// Whether an action has a number, or may get one.
    pub(crate) fn has_room(&self, name: &str) -> bool {
        self.number(name).is_some() || self.names.has_room(name)
    }

    /// The number of an action, which gets the next one if it is new; none past the most that there may be.
    pub(crate) fn number_or_insert(&mut self, name: &str) -> Option<usize> {
        if let Some(number) = self.number(name) {
            return Some(number);
        }
        let next = self.count();
        self.names.has_room(name).then(|| self.names.slot_or_insert(Some(name), || next as u32) as usize)
    }

    /// By their numbers.
    pub(crate) fn names(&self) -> Vec<String> {
        let name_of = |(category, _)| match category {
            Category::Named(name) => name,
            Category::Null | Category::Other => String::new(),
        };
        self.names.categories().map(name_of).collect()
    }

    pub(crate) fn state(&self) -> DictionaryState {
        self.names.state()
    }

    /// # Errors
    /// `CorruptState` for what no stream could have brought.
    pub(crate) fn restore(state: &DictionaryState, max_actions: u32) -> Result<Self> {
        let names = CategoryDictionary::restore(state, max_actions as usize, &mut 0)?;
        if names.slots().count() != names.names() {
            return Err(MlError::corrupt("an action has no name"));
        }
        Ok(Self { names })
    }
}

/// The actions of a batch's rows, by their text; NULL where there is none.
///
/// # Errors
/// `MissingColumn` or `UnsupportedAction`.
pub(crate) fn read_actions(column: &str, batch: &RecordBatch) -> Result<StringArray> {
    let data_type = column_named(column, batch)?.data_type();
    LabelKind::of(column, data_type)
        .map_err(|_| MlError::UnsupportedAction { column: column.to_owned(), data_type: data_type.clone() })?;
    texts(column, batch)
}

/// A column that is no feature, as text.
///
/// # Errors
/// `MissingColumn`, or `ReadColumn` of a type that has no text.
pub(crate) fn texts(column: &str, batch: &RecordBatch) -> Result<StringArray> {
    let array = column_named(column, batch)?;
    let failed = |source| MlError::ReadColumn { column: column.to_owned(), source };
    Ok(cast(array, &DataType::Utf8).map_err(failed)?.as_string::<i32>().clone())
}

/// A column that is no feature.
///
/// # Errors
/// `MissingColumn`.
pub(crate) fn column_named<'a>(column: &str, batch: &'a RecordBatch) -> Result<&'a ArrayRef> {
    batch.column_by_name(column).ok_or_else(|| MlError::MissingColumn {
        column: column.to_owned(),
        available: batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// The rewards of a batch's rows, and the rows that have one which can be learnt.
///
/// # Errors
/// `LabelCount` or `UnsupportedLabel`.
pub(crate) fn rewards(features: &RecordBatch, labels: &dyn Array) -> Result<(Float64Array, Rows)> {
    if labels.len() != features.num_rows() {
        return Err(MlError::LabelCount { rows: features.num_rows(), labels: labels.len() });
    }
    let labels = numeric_labels(labels)?;
    let mut rows = Rows::labelled(&labels);
    for (row, label) in labels.iter().enumerate() {
        if label.is_some_and(|label| label.is_nan() || label.abs() > NUMERIC_MAGNITUDE_MAX) {
            rows.reject(row, RejectReason::BadLabel);
        }
    }
    Ok((labels, rows))
}

/// What became of rows, and what was said of the actions of those that were learnt: one number, for the reward.
pub(crate) fn report(rows: Rows, said: Vec<f64>) -> LearnReport {
    let said: ArrayRef = Arc::new(Float64Array::new(said.into(), rows.usable()));
    let (rows, rejected) = rows.into_rejected();
    LearnReport { rows, rejected, said: vec![said] }
}

/// The column that an option names; none of an empty name.
pub(crate) fn column_name(value: &str) -> Option<String> {
    Some(value.trim().to_owned()).filter(|column| !column.is_empty())
}

/// Checks that an option names a column that is there.
///
/// # Errors
/// `InvalidOption`.
pub(crate) fn check_column(option: &'static str, column: &str, columns: &[&str]) -> Result<()> {
    if columns.contains(&column) {
        Ok(())
    } else {
        Err(invalid(option, column, &format!("one of {}", columns.join(", "))))
    }
}

/// The features of a schema that may have columns beside them which only learning reads, or which are read as they are.
///
/// # Errors
/// `NoFeatures`.
pub(crate) fn without(schema: &FeatureSchema, is_other: impl Fn(&str) -> bool) -> Result<FeatureSchema> {
    let features: Vec<Feature> = schema.fields().iter().filter(|field| !is_other(&field.name)).cloned().collect();
    FeatureSchema::new(features)
}

/// The place of the largest number; of equals, the first.
pub(crate) fn largest(numbers: impl Iterator<Item = f64>) -> Option<usize> {
    let better = |best: (usize, f64), next: (usize, f64)| if next.1 > best.1 { next } else { best };
    numbers.enumerate().reduce(better).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Int64Array};
    use expect_test::expect;

    use super::*;

    #[test]
    fn actions_are_numbered_by_first_sight() {
        let mut actions = Actions::new(2);
        let numbers = ["b", "a", "b", "c"].map(|name| actions.number_or_insert(name));
        assert_eq!(numbers, [Some(0), Some(1), Some(0), None]);
        assert_eq!((actions.names(), actions.number("c")), (vec![String::from("b"), String::from("a")], None));
        let restored = Actions::restore(&actions.state(), 2).unwrap();
        assert_eq!((restored.names(), restored.number("a")), (actions.names(), Some(1)));
        assert!(Actions::restore(&actions.state(), 1).is_err());
    }

    #[test]
    fn whole_numbers_and_booleans_are_actions_by_their_text() {
        let read = |array: ArrayRef| read_actions("action", &RecordBatch::try_from_iter([("action", array)]).unwrap());
        let numbers = read(Arc::new(Int64Array::from(vec![Some(7), None]))).unwrap();
        assert_eq!((numbers.value(0), numbers.is_null(1)), ("7", true));
        assert_eq!(read(Arc::new(BooleanArray::from(vec![true]))).unwrap().value(0), "true");
        let wrong = read(Arc::new(Float64Array::from(vec![1.5]))).unwrap_err().to_string();
        expect!["action column 'action' has the unsupported type Float64; an action is a VARCHAR, a BOOLEAN or a whole number; cast it to one of these"]
            .assert_eq(&wrong);
    }

    #[test]
    fn the_largest_is_the_first_of_equals() {
        assert_eq!(largest([1.0, 3.0, 3.0].into_iter()), Some(1));
        assert_eq!(largest(std::iter::empty()), None);
    }
}
