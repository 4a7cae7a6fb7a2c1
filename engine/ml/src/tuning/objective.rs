//! What models are judged by: measures by the names of SQL's functions, of rows that a model has not learnt.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Float64Type};

use super::space::items;
use crate::classes::cast_label;
use crate::error::Result;
use crate::metrics::{self, ClassHits, Confusion, RegressionSums};
use crate::options::invalid;
use crate::predictor::{Predictions, Supervised};

/// The option that names one.
pub(super) const OPTION: &str = "hparam_tuning_objectives";

/// What a model type says of rows, as far as it can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// A class.
    Classes,
    /// A number.
    Numbers,
    /// Nothing that a label could be compared with: its fit says how good it is, first by this measure.
    Own(&'static str),
}

/// A measure that trials are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measure {
    pub(super) name: &'static str,
    is_larger_better: bool,
}

impl Measure {
    const OF_CLASSES: [Self; 8] = [
        Self::larger("roc_auc"),
        Self::smaller("log_loss"),
        Self::larger("accuracy"),
        Self::larger("precision"),
        Self::larger("recall"),
        Self::larger("f1"),
        Self::larger("average_precision"),
        Self::smaller("brier_score"),
    ];
    const OF_NUMBERS: [Self; 4] =
        [Self::larger("r2"), Self::smaller("mse"), Self::smaller("rmse"), Self::smaller("mae")];
    const OF_FITS: [Self; 5] = [
        Self::smaller("davies_bouldin_index"),
        Self::smaller("mean_squared_distance"),
        Self::smaller("bic"),
        Self::smaller("aic"),
        Self::larger("log_likelihood"),
    ];

    /// What BigQuery calls them.
    const ALIASES: [(&'static str, &'static str); 4] =
        [("f1_score", "f1"), ("r2_score", "r2"), ("mean_squared_error", "mse"), ("mean_absolute_error", "mae")];

    const fn larger(name: &'static str) -> Self {
        Self { name, is_larger_better: true }
    }

    const fn smaller(name: &'static str) -> Self {
        Self { name, is_larger_better: false }
    }

    /// Those that a fit of such models may be compared by. (Clusters and their like have some of [`Self::OF_FITS`].)
    fn all(target: Target) -> Vec<Self> {
        match target {
            Target::Classes => Self::OF_CLASSES.to_vec(),
            Target::Numbers => Self::OF_NUMBERS.to_vec(),
            Target::Own("bic") => Self::OF_FITS[2..].to_vec(),
            Target::Own(_) => Self::OF_FITS[..2].to_vec(),
        }
    }

    /// Reads a name, or a list of one, as BigQuery has it.
    ///
    /// # Errors
    /// `InvalidOption` for what is no measure of such models, or several.
    pub(super) fn parse(target: Target, value: &str) -> Result<Self> {
        let all = Self::all(target);
        let names = || all.iter().map(|measure| measure.name).collect::<Vec<_>>().join(", ");
        let wrong = || invalid(OPTION, value, &format!("one of {}", names()));
        let list = value.trim();
        let list = list.strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap_or(list);
        let given = items(list).filter(|items| items.len() == 1).and_then(|mut items| items.pop()).ok_or_else(wrong)?;
        let given = given.trim().to_ascii_lowercase();
        let alias = Self::ALIASES.iter().find(|(alias, _)| *alias == given);
        let name = alias.map_or(given.as_str(), |(_, name)| *name);
        all.iter().copied().find(|measure| measure.name == name).ok_or_else(wrong)
    }

    /// The measure where none is named, given how many classes there are: BigQuery's, but for several classes, where
    /// probabilities say more than the AUC of one class after the other.
    pub(super) fn default_of(target: Target, classes: usize) -> Self {
        match target {
            Target::Classes if classes > 2 => Self::OF_CLASSES[1],
            Target::Classes => Self::OF_CLASSES[0],
            Target::Numbers => Self::OF_NUMBERS[0],
            Target::Own(first) => {
                Self::all(target).into_iter().find(|own| own.name == first).unwrap_or(Self::OF_FITS[0])
            }
        }
    }

    /// Checks that labels of so many classes have it.
    ///
    /// # Errors
    /// `InvalidOption`.
    pub(super) fn check_classes(self, classes: usize) -> Result<()> {
        if classes > 2 && OF_TWO.contains(&self.name) {
            let expected = "log_loss, accuracy, precision, recall or f1, where the label has more than two classes";
            return Err(invalid(OPTION, self.name, expected));
        }
        Ok(())
    }

    /// Its value among others; `None` where there is none.
    pub(super) fn value(self, measures: &[(String, f64)]) -> Option<f64> {
        named(measures, self.name)
    }

    /// What a search lowers: infinite where there is no value.
    pub(super) fn loss(self, value: Option<f64>) -> f64 {
        let signed = |value: f64| if self.is_larger_better { -value } else { value };
        value.filter(|value| value.is_finite()).map_or(f64::INFINITY, signed)
    }
}

/// Measures of two classes only.
const OF_TWO: [&str; 3] = ["roc_auc", "average_precision", "brier_score"];

/// The measure with this name, if its value is a number.
fn named(measures: &[(String, f64)], name: &str) -> Option<f64> {
    measures.iter().find(|(known, _)| known == name).map(|(_, value)| *value).filter(|value| value.is_finite())
}

/// What a search reports as the loss of rows not learnt: a classifier's log loss, or the mean squared error.
pub(super) fn evaluation_loss(measures: &[(String, f64)]) -> Option<f64> {
    named(measures, "log_loss").or_else(|| named(measures, "mse"))
}

/// The mean of each measure over folds, of those that all of them have.
pub(super) fn mean(folds: &[Vec<(String, f64)>]) -> Vec<(String, f64)> {
    let Some((first, others)) = folds.split_first() else { return Vec::new() };
    let mean = |(name, value): &(String, f64)| {
        let sum = others.iter().try_fold(*value, |sum, fold| Some(sum + named(fold, name)?))?;
        Some((name.clone(), sum / folds.len() as f64))
    };
    first.iter().filter_map(mean).collect()
}

/// Judges a model by rows, batch by batch. A row that the model says nothing of does not count.
pub(super) struct Judge {
    classes: Vec<String>,
    /// The class that precision and recall are of; of other labels than booleans, all classes alike.
    positive: Option<&'static str>,
    label_type: DataType,
    hits: ClassHits,
    confusion: Confusion,
    /// Of two classes, the probability of the second of each row, and whether the row is of it.
    scores: Vec<f64>,
    labels: Vec<bool>,
    sums: RegressionSums,
}

impl Judge {
    pub(super) fn new(model: &dyn Supervised) -> Self {
        let label_type = model.label_type();
        Self {
            classes: model.class_names(),
            positive: (label_type == DataType::Boolean).then_some("true"),
            label_type,
            hits: ClassHits::default(),
            confusion: Confusion::default(),
            scores: Vec::new(),
            labels: Vec::new(),
            sums: RegressionSums::default(),
        }
    }

    /// Compares what a model says of rows with their labels.
    ///
    /// # Errors
    /// `ReadColumn` for labels of another type than the model's.
    pub(super) fn add(&mut self, said: &Predictions, labels: &ArrayRef) -> Result<()> {
        let labels = cast_label(labels, &self.label_type)?;
        if self.classes.is_empty() {
            self.add_numbers(&said.labels, &labels);
            return Ok(());
        }
        let labels = cast_label(&labels, &DataType::Utf8)?;
        let predicted = cast_label(&said.labels, &DataType::Utf8)?;
        self.add_classes(said, predicted.as_string(), labels.as_string());
        Ok(())
    }

    fn add_numbers(&mut self, predicted: &ArrayRef, labels: &ArrayRef) {
        let numbers = |array: &ArrayRef| array.as_primitive_opt::<Float64Type>().cloned();
        let (Some(predicted), Some(labels)) = (numbers(predicted), numbers(labels)) else { return };
        for pair in labels.iter().zip(&predicted) {
            if let (Some(label), Some(predicted)) = pair {
                self.sums.add(label, predicted);
            }
        }
    }

    fn add_classes(&mut self, said: &Predictions, predicted: &StringArray, labels: &StringArray) {
        for row in (0..labels.len()).filter(|row| labels.is_valid(*row) && predicted.is_valid(*row)) {
            let (label, predicted) = (labels.value(row), predicted.value(row));
            let place = self.classes.iter().position(|class| class == label);
            let probability = |place: usize| said.probabilities.get(place).map_or(0.0, |of| of.value(row));
            // A class that no row learnt has was not expected at all.
            self.hits.count(place.map_or(0.0, probability), label == predicted);
            self.confusion.add(label, predicted, 1);
            if self.classes.len() == 2 {
                self.scores.push(probability(1));
                self.labels.push(place == Some(1));
            }
        }
    }

    /// All measures that have a value.
    pub(super) fn measures(&self) -> Vec<(String, f64)> {
        if self.classes.is_empty() {
            let Self { sums, .. } = self;
            return valued([("r2", sums.r2()), ("mse", sums.mse()), ("rmse", sums.rmse()), ("mae", sums.mae())]);
        }
        let (scores, labels, positive) = (&self.scores[..], &self.labels[..], self.positive);
        let of_two = valued([
            ("roc_auc", metrics::auc(scores, labels)),
            ("average_precision", metrics::average_precision(scores, labels)),
            ("brier_score", metrics::brier(scores, labels)),
        ]);
        let of_classes = valued([
            ("precision", self.confusion.precision(positive)),
            ("recall", self.confusion.recall(positive)),
            ("f1", self.confusion.f1(positive)),
        ]);
        [of_two, self.hits.metrics(), of_classes].concat()
    }
}

fn valued<const COUNT: usize>(measures: [(&str, Option<f64>); COUNT]) -> Vec<(String, f64)> {
    measures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
