//! Columns that are lists, as the features that models read: numbers and texts have one place a column, lists as many as the
//! training set says.
//!
//! | a list of | its features | a row's |
//! |---|---|---|
//! | numbers | `x[1]`, `x[2]`, …: as many as the first list has | its numbers |
//! | texts | `x['word']`, … for each text that a list has | 1 if its list has the text, else 0 |
//! | STRUCT(index, value) | `x[7]`, … for each index that a list has, or `x['word']` if indices are terms' | its value there, else 0 |
//!
//! All features of a list that is NULL are missing. What the training set does not have is in no feature. Every model reads
//! such features, and names them in all that it says, without knowing of lists.

mod collector;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, ListArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type, Schema};
use bincode::{Decode, Encode};

pub use self::collector::ListCollector;
use crate::error::{MlError, Result};

/// The most features of one list: models hold a number for each of them and each row.
pub const LIST_FEATURES_MAX: usize = 4096;

/// What lists are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Elements {
    Numbers,
    Texts,
    /// Structs of an index and a value.
    Sparse,
}

/// The type of a struct in a sparse list.
#[must_use]
pub fn sparse_element() -> DataType {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    DataType::Struct(Fields::from(vec![field("index", DataType::Int64), field("value", DataType::Float64)]))
}

impl Elements {
    /// Those of a column's type, if models read such lists.
    fn of(data_type: &DataType) -> Option<Self> {
        let (DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _)) = data_type
        else {
            return None;
        };
        match element.data_type() {
            number if number.is_numeric() => Some(Self::Numbers),
            text if text.is_string() => Some(Self::Texts),
            DataType::Struct(fields) => match fields.as_ref() {
                [index, value]
                    if (index.name().as_str(), value.name().as_str()) == ("index", "value")
                        && index.data_type().is_integer()
                        && value.data_type().is_numeric() =>
                {
                    Some(Self::Sparse)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// What their lists are read as.
    fn read_as(self) -> DataType {
        let element = match self {
            Self::Numbers => DataType::Float64,
            Self::Texts => DataType::Utf8,
            Self::Sparse => sparse_element(),
        };
        DataType::List(Arc::new(Field::new_list_field(element, true)))
    }
}

/// Whether models read a column of this type as many features.
#[must_use]
pub fn is_feature_list(data_type: &DataType) -> bool {
    Elements::of(data_type).is_some()
}

/// Columns as they might be once lists are features, so many of each: what is to be checked before there are rows.
#[must_use]
pub fn assumed_features(schema: &Schema, of_a_list: usize) -> Schema {
    let assumed = |field: &Arc<Field>| match is_feature_list(field.data_type()) {
        true => (1..=of_a_list).map(|place| number(&place_name(field.name(), place))).collect(),
        false => vec![field.as_ref().clone()],
    };
    Schema::new(schema.fields().iter().flat_map(assumed).collect::<Vec<_>>())
}

fn number(name: &str) -> Field {
    Field::new(name, DataType::Float64, true)
}

fn place_name(column: &str, place: impl std::fmt::Display) -> String {
    format!("{column}[{place}]")
}

fn word_name(column: &str, word: &str) -> String {
    format!("{column}['{}']", word.replace('\'', "''"))
}

/// Which features the lists of a training set are. The same for whatever rows come later.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
pub struct ListFeatures {
    lists: Vec<ListColumn>,
}

/// A column that is a list.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct ListColumn {
    name: String,
    places: Places,
}

/// What the features of a list are of.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
enum Places {
    /// So many numbers; nothing if there was no list.
    Numbers(Option<u32>),
    /// These texts.
    Texts(Vec<String>),
    /// The values of these indices, in ascending order; with the terms that they stand for, by index from 1, if it is known.
    Sparse { indices: Vec<i64>, terms: Vec<String> },
}

impl ListFeatures {
    /// Whether there is a list at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Checks that lists of numbers have as many as those of the training set.
    ///
    /// # Errors
    /// `ListLength`, which is the fault of a row; `MissingColumn`, `ChangedColumn` or `ReadColumn`.
    pub fn check(&self, rows: &RecordBatch) -> Result<()> {
        for list in &self.lists {
            if let Places::Numbers(Some(expected)) = list.places {
                list.check_lengths(&list.read(rows)?, expected as usize)?;
            }
        }
        Ok(())
    }

    /// The columns with features in the places of lists.
    ///
    /// # Errors
    /// As of [`check`](Self::check).
    pub fn expand(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            let Some(list) = self.lists.iter().find(|list| list.name == *field.name()) else {
                fields.push(Arc::clone(field));
                columns.push(Arc::clone(column));
                continue;
            };
            for (name, feature) in list.names().into_iter().zip(list.features(&list.read(rows)?)?) {
                fields.push(Arc::new(number(&name)));
                columns.push(Arc::new(feature));
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let expanded = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options);
        expanded.map_err(|source| MlError::BuildTable { source })
    }
}

impl ListColumn {
    fn elements(&self) -> Elements {
        match self.places {
            Places::Numbers(_) => Elements::Numbers,
            Places::Texts(_) => Elements::Texts,
            Places::Sparse { .. } => Elements::Sparse,
        }
    }

    fn read(&self, rows: &RecordBatch) -> Result<ListArray> {
        read(&self.name, self.elements(), rows)
    }

    fn check_lengths(&self, lists: &ListArray, expected: usize) -> Result<()> {
        match lists.iter().flatten().find(|list| list.len() != expected) {
            None => Ok(()),
            Some(list) => Err(MlError::ListLength { column: self.name.clone(), found: list.len(), expected }),
        }
    }

    /// What its features are called.
    fn names(&self) -> Vec<String> {
        match &self.places {
            Places::Numbers(count) => (1..=count.unwrap_or(0)).map(|place| place_name(&self.name, place)).collect(),
            Places::Texts(words) => words.iter().map(|word| word_name(&self.name, word)).collect(),
            Places::Sparse { indices, terms } => {
                let term = |index: i64| terms.get(usize::try_from(index).ok()?.checked_sub(1)?);
                let name = |index: &i64| match term(*index) {
                    Some(term) => word_name(&self.name, term),
                    None => place_name(&self.name, index),
                };
                indices.iter().map(name).collect()
            }
        }
    }

    /// The values of its features.
    fn features(&self, lists: &ListArray) -> Result<Vec<Float64Array>> {
        Ok(match &self.places {
            Places::Numbers(None) => Vec::new(),
            Places::Numbers(Some(count)) => {
                self.check_lengths(lists, *count as usize)?;
                places_of(lists, *count as usize)
            }
            Places::Texts(words) => {
                let places: HashMap<&str, usize> = words.iter().map(String::as_str).zip(0..).collect();
                let elements = lists.values().as_string::<i32>();
                filled(lists, words.len(), |element, row| {
                    let word = elements.is_valid(element).then(|| elements.value(element));
                    if let Some(place) = word.and_then(|word| places.get(word)) {
                        row(*place, Put::One);
                    }
                })
            }
            Places::Sparse { indices, .. } => {
                let places: HashMap<i64, usize> = indices.iter().copied().zip(0..).collect();
                let elements = lists.values().as_struct();
                let (index, value) = (elements.column(0).as_primitive::<Int64Type>(), elements.column(1));
                let value = value.as_primitive::<Float64Type>();
                filled(lists, indices.len(), |element, row| {
                    let is_there = elements.is_valid(element) && index.is_valid(element) && value.is_valid(element);
                    if let Some(place) = places.get(&index.value(element)).filter(|_| is_there) {
                        row(*place, Put::Add(value.value(element)));
                    }
                })
            }
        })
    }
}

/// The lists of a column.
fn read(name: &str, elements: Elements, rows: &RecordBatch) -> Result<ListArray> {
    let column = rows.column_by_name(name).ok_or_else(|| MlError::MissingColumn {
        column: name.to_owned(),
        available: rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", "),
    })?;
    let lists = cast(column, &elements.read_as());
    let lists = lists.map_err(|source| MlError::ReadColumn { column: name.to_owned(), source })?;
    Ok(lists.as_list::<i32>().clone())
}

/// What an element does to its feature.
enum Put {
    One,
    Add(f64),
}

/// The elements of lists that all have as many, place by place.
fn places_of(lists: &ListArray, count: usize) -> Vec<Float64Array> {
    let elements = lists.values().as_primitive::<Float64Type>();
    let starts = lists.value_offsets();
    let element = |row: usize, place: usize| {
        let at = starts[row] as usize + place;
        (lists.is_valid(row) && elements.is_valid(at)).then(|| elements.value(at))
    };
    (0..count).map(|place| (0..lists.len()).map(|row| element(row, place)).collect()).collect()
}

/// Features that are 0 but for what elements put there; missing where a list is NULL.
fn filled(lists: &ListArray, count: usize, element: impl Fn(usize, &mut dyn FnMut(usize, Put))) -> Vec<Float64Array> {
    let mut features = vec![vec![0.0; lists.len()]; count];
    for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
        let offsets = lists.value_offsets();
        for at in offsets[row] as usize..offsets[row + 1] as usize {
            element(at, &mut |place, put| match put {
                Put::One => features[place][row] = 1.0,
                Put::Add(value) => features[place][row] += value,
            });
        }
    }
    let nulls: Option<NullBuffer> = lists.nulls().cloned();
    features.into_iter().map(|values| Float64Array::new(values.into(), nulls.clone())).collect()
}
