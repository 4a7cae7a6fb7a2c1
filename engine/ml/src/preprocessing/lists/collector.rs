//! Finds out which features the lists of a training set are, before a model is fitted to them.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, ListArray, RecordBatch};
use arrow::datatypes::{Int64Type, Schema};

use super::{Elements, LIST_FEATURES_MAX, ListColumn, ListFeatures, Places, read};
use crate::error::{MlError, Result};

/// Collects what is in the lists of a training set.
#[derive(Debug)]
pub struct ListCollector {
    lists: Vec<Collected>,
}

#[derive(Debug)]
struct Collected {
    name: String,
    elements: Elements,
    /// The length of the first list of numbers.
    length: Option<usize>,
    words: BTreeSet<String>,
    indices: BTreeSet<i64>,
    /// What indices stand for.
    terms: Vec<String>,
}

impl ListCollector {
    /// For the lists among these columns.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        let collected = |name: &str, elements| Collected {
            name: name.to_owned(),
            elements,
            length: None,
            words: BTreeSet::new(),
            indices: BTreeSet::new(),
            terms: Vec::new(),
        };
        let fields = schema.fields().iter();
        let lists = fields.filter_map(|field| Some(collected(field.name(), Elements::of(field.data_type())?)));
        Self { lists: lists.collect() }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Says which terms the indices of a sparse list stand for, from 1, so that its features are called by them.
    pub fn name(&mut self, column: &str, terms: &[String]) {
        if let Some(list) = self.lists.iter_mut().find(|list| list.name == column) {
            list.terms = terms.to_vec();
        }
    }

    /// Takes up the lists of more rows. Those of another length than the first are not looked at: whoever learns the rows
    /// refuses them.
    ///
    /// # Errors
    /// `TooManyListFeatures`, `MissingColumn` or `ReadColumn`.
    pub fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        for list in &mut self.lists {
            let lists = read(&list.name, list.elements, rows)?;
            list.add(&lists);
            if list.count() > LIST_FEATURES_MAX {
                let column = list.name.clone();
                return Err(MlError::TooManyListFeatures { column, features_max: LIST_FEATURES_MAX });
            }
        }
        Ok(())
    }

    /// Which features they are.
    #[must_use]
    pub fn finish(self) -> ListFeatures {
        ListFeatures { lists: self.lists.iter().map(Collected::column).collect() }
    }
}

impl Collected {
    fn add(&mut self, lists: &ListArray) {
        match self.elements {
            Elements::Numbers if self.length.is_some() => {}
            Elements::Numbers => self.length = lists.iter().flatten().map(|list| list.len()).next(),
            Elements::Texts => {
                for list in lists.iter().flatten() {
                    for word in list.as_string::<i32>().iter().flatten() {
                        if !self.words.contains(word) {
                            self.words.insert(word.to_owned());
                        }
                    }
                }
            }
            Elements::Sparse => {
                for list in lists.iter().flatten() {
                    let elements = list.as_struct();
                    let indices = elements.column(0).as_primitive::<Int64Type>();
                    let is_there = |row: &usize| elements.is_valid(*row) && indices.is_valid(*row);
                    self.indices.extend((0..elements.len()).filter(is_there).map(|row| indices.value(row)));
                }
            }
        }
    }

    fn count(&self) -> usize {
        self.length.unwrap_or(0) + self.words.len() + self.indices.len()
    }

    fn column(&self) -> ListColumn {
        let places = match self.elements {
            // Within `LIST_FEATURES_MAX`.
            Elements::Numbers => Places::Numbers(self.length.map(|length| length as u32)),
            Elements::Texts => Places::Texts(self.words.iter().cloned().collect()),
            Elements::Sparse => {
                Places::Sparse { indices: self.indices.iter().copied().collect(), terms: self.terms.clone() }
            }
        };
        ListColumn { name: self.name.clone(), places }
    }
}
