//! What the label is in the rows of each category: the numbers of scikit-learn's `TargetEncoder` (1.9).
//!
//! A category's number is between the mean of its own labels and that of all rows: `w own + (1 - w) all`. With a constant
//! `smooth`, `w = n / (n + smooth)` of `n` rows; unless told otherwise by empirical Bayes, `w = n v / (n v + s)`, where `v` is the
//! variance of all labels and `s` that of the category's (Micci-Barreca 2001).
//!
//! The rows that a model learns have a part in these numbers, so their own label would be among their features. They
//! are dealt to folds by their number, and those of a fold are encoded by the other folds.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, Float64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use super::CATEGORIES_MAX;
use crate::batch::draws::Draws;
use crate::error::{MlError, Result};
use crate::feature::moments::Moments;

/// The labels of some rows, and the draws by which they are dealt to folds; whatever goes by no label looks at neither.
#[derive(Debug, Clone, Copy)]
pub struct TargetRows<'a> {
    /// A label for each row.
    pub labels: &'a dyn Array,
    /// A number of 0 or more for each row: [`row_draws`].
    pub draws: &'a [i64],
}

/// Numbers of 0 or more for so many rows from this one on, by their numbers in the training set: a row's fold is the
/// remainder by how many folds there are.
#[must_use]
pub fn row_draws(first: u64, rows: usize) -> Vec<i64> {
    let draws = Draws::new(0, b"of folds", 0);
    (first..).take(rows).map(|row| (draws.bits(row) >> 1) as i64).collect()
}

/// Categories and what stands for them.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// Those that there are, in order of their text.
    pub categories: Vec<String>,
    /// By all rows.
    pub whole: Encodings,
    /// Without the rows of each fold.
    pub without: Vec<Encodings>,
}

/// The numbers of categories.
#[derive(Debug, Clone, PartialEq)]
pub struct Encodings {
    /// Of each category.
    pub known: Vec<f64>,
    /// Of NULL, which is a category like any other.
    pub null: f64,
    /// Of one that is not known: the mean of all labels.
    pub other: f64,
}

#[derive(Debug)]
pub(super) struct TargetCollector {
    smooth: Option<f64>,
    /// The labels of each category, by folds.
    categories: BTreeMap<Option<String>, Vec<Moments>>,
    /// Those of all rows.
    all: Vec<Moments>,
    /// Of a label that is a text, in the order of rows: the first counts 0, and the second 1.
    classes: Vec<String>,
}

impl TargetCollector {
    pub(super) fn new(smooth: Option<f64>, folds: u32) -> Self {
        let all = vec![Moments::default(); folds.max(1) as usize];
        Self { smooth, categories: BTreeMap::new(), all, classes: Vec::new() }
    }

    /// Takes the categories of rows; those without a label say nothing.
    pub(super) fn add(&mut self, categories: &StringArray, rows: &TargetRows<'_>) -> Result<()> {
        let labels = self.numbers(rows.labels)?;
        for ((category, label), draw) in categories.iter().zip(&labels).zip(rows.draws) {
            let Some(label) = label.filter(|label| label.is_finite()) else { continue };
            // Draws are not negative.
            let fold = (*draw % self.all.len() as i64) as usize;
            self.all[fold].add(label);
            let key = category.map(str::to_owned);
            if !self.categories.contains_key(&key) && self.categories.len() == CATEGORIES_MAX {
                return Err(MlError::TooManyCategories { categories_max: CATEGORIES_MAX });
            }
            let folds = self.all.len();
            self.categories.entry(key).or_insert_with(|| vec![Moments::default(); folds])[fold].add(label);
        }
        Ok(())
    }

    /// Labels as numbers: classes are 0 and 1.
    fn numbers(&mut self, labels: &dyn Array) -> Result<Float64Array> {
        let failed = |source| MlError::ReadColumn { column: String::from("label"), source };
        if !labels.data_type().is_string() {
            return Ok(cast(labels, &DataType::Float64).map_err(failed)?.as_primitive::<Float64Type>().clone());
        }
        let labels = cast(labels, &DataType::Utf8).map_err(failed)?;
        labels.as_string::<i32>().iter().map(|label| label.map(|label| self.class(label)).transpose()).collect()
    }

    fn class(&mut self, label: &str) -> Result<f64> {
        let known = self.classes.iter().position(|class| class == label);
        match (known, &self.classes[..]) {
            (Some(place), _) => Ok(place as f64),
            (None, [first, second]) => {
                Err(MlError::TooManyTargets { first: first.clone(), second: second.clone(), third: label.to_owned() })
            }
            (None, _) => {
                self.classes.push(label.to_owned());
                Ok((self.classes.len() - 1) as f64)
            }
        }
    }

    /// What stands for each category; nothing if no row has a label.
    pub(super) fn finish(self) -> Option<Targets> {
        if self.all.iter().all(|moments| moments.count() == 0) {
            return None;
        }
        let whole = self.encodings(None);
        let without = (0..self.all.len()).map(|fold| self.encodings(Some(fold))).collect();
        Some(Targets { categories: self.categories.into_keys().flatten().collect(), whole, without })
    }

    /// Without the rows of a fold, if one is left out.
    fn encodings(&self, without: Option<usize>) -> Encodings {
        let all = joined(&self.all, without);
        let encoded = |folds: &Vec<Moments>| self.encoded(&joined(folds, without), &all);
        let other = self.share(all.mean());
        let null = self.categories.get(&None).map_or(other, encoded);
        let known = self.categories.iter().filter(|(category, _)| category.is_some()).map(|(_, folds)| encoded(folds));
        Encodings { known: known.collect(), null, other }
    }

    fn encoded(&self, own: &Moments, all: &Moments) -> f64 {
        let count = own.count() as f64;
        let weight = match self.smooth {
            _ if own.count() == 0 => 0.0,
            Some(smooth) => count / (count + smooth),
            None => {
                let spread = all.variance() * count;
                // Of labels that are all one, both are 0: that of all rows is that of the category.
                if spread > 0.0 { spread / (spread + own.variance()) } else { 0.0 }
            }
        };
        self.share(weight * own.mean() + (1.0 - weight) * all.mean())
    }

    /// Of texts the share of the second by order, which rows may have had first.
    fn share(&self, mean: f64) -> f64 {
        match &self.classes[..] {
            [first, second] if first > second => 1.0 - mean,
            _ => mean,
        }
    }
}

fn joined(folds: &[Moments], without: Option<usize>) -> Moments {
    let mut joined = Moments::default();
    for (_, fold) in folds.iter().enumerate().filter(|(place, _)| Some(*place) != without) {
        joined.merge(fold);
    }
    joined
}
