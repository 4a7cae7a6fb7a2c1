//! How good a rule is, by the rows of a training set: they are counted, and not kept.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field};

use super::{MODEL_TYPE, Rules, Target, numbers, share, unlabelled_output};
use crate::batch::baseline::{Labels, beside};
use crate::batch::{BatchModel, FitControl, FitReport, Iteration};
use crate::classes::{CLASSES_MAX, Classes, LabelKind};
use crate::error::{MlError, Result};
use crate::feature::columns::find_column;
use crate::linear::linear_regression::batch::numeric_labels;
use crate::metrics::{ClassHits, RegressionSums};
use crate::model::{FeatureSchema, NUMERIC_MAGNITUDE_MAX, RejectReason, RejectedRow};
use crate::options::unknown;

/// Rows of each label, by what the rule says of them.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// Labels that can be compared.
const USABLE: RangeInclusive<f64> = -NUMERIC_MAGNITUDE_MAX..=NUMERIC_MAGNITUDE_MAX;

/// A rule and what is known of it by now.
#[derive(Debug)]
pub(crate) struct BatchRules {
    schema: FeatureSchema,
    seen: Seen,
    rows: u64,
}

#[derive(Debug)]
enum Seen {
    Unlabelled,
    Classes { kind: LabelKind, counts: Counts },
    Numbers { errors: RegressionSums, labels: RegressionSums },
}

impl BatchRules {
    /// A rule of which no rows are known, for labels of this type: Null for none.
    ///
    /// # Errors
    /// `UnknownOption` for any; `OneAnswer` where there are several features.
    pub(crate) fn new(options: &BTreeMap<String, String>, schema: FeatureSchema, label: &DataType) -> Result<Self> {
        if let Some(option) = options.keys().next() {
            return Err(unknown(MODEL_TYPE, option, &[]));
        }
        if schema.fields().len() != 1 {
            let names: Vec<_> = schema.fields().iter().map(|feature| feature.name.as_str()).collect();
            return Err(MlError::OneAnswer { columns: names.join(", ") });
        }
        let seen = match label {
            DataType::Null => Seen::Unlabelled,
            label if label.is_floating() || label.is_decimal() => {
                Seen::Numbers { errors: RegressionSums::default(), labels: RegressionSums::default() }
            }
            label => Seen::Classes { kind: LabelKind::of("label", label)?, counts: Counts::new() },
        };
        Ok(Self { schema, seen, rows: 0 })
    }

    /// # Errors
    /// `TooManyClasses`.
    fn add_classes(
        kind: LabelKind,
        counts: &mut Counts,
        said: &dyn Array,
        labels: &dyn Array,
    ) -> Result<Vec<RejectedRow>> {
        let (said, labels) = (kind.texts(said)?, kind.texts(labels)?);
        let mut rejected = Vec::new();
        for ((row, said), label) in said.as_string::<i32>().iter().enumerate().zip(labels.as_string::<i32>()) {
            let (said, label) = match (said, label) {
                (_, None) => {
                    rejected.push(RejectedRow { row, reason: RejectReason::NullLabel });
                    continue;
                }
                (None, Some(_)) => continue,
                (Some(said), Some(label)) => (said, label),
            };
            let is_full = counts.len() >= CLASSES_MAX && !counts.contains_key(said);
            let of_it = counts.entry(said.to_owned()).or_default();
            if is_full || of_it.len() >= CLASSES_MAX && !of_it.contains_key(label) {
                return Err(MlError::TooManyClasses { classes_max: CLASSES_MAX });
            }
            *of_it.entry(label.to_owned()).or_default() += 1;
        }
        Ok(rejected)
    }

    /// Numbers of which the rule says nothing count for neither it nor the guess beside it.
    fn add_numbers(
        errors: &mut RegressionSums,
        guessed: &mut RegressionSums,
        said: &dyn Array,
        labels: &dyn Array,
    ) -> Result<Vec<RejectedRow>> {
        let (said, labels) = (numbers(said)?, numeric_labels(labels)?);
        let mut rejected = Vec::new();
        for ((row, said), label) in said.iter().enumerate().zip(&labels) {
            match label {
                None => rejected.push(RejectedRow { row, reason: RejectReason::NullLabel }),
                Some(label) if !USABLE.contains(&label) => {
                    rejected.push(RejectedRow { row, reason: RejectReason::BadLabel });
                }
                Some(label) => {
                    if let Some(said) = said {
                        errors.add(label, said);
                        guessed.add(label, label);
                    }
                }
            }
        }
        Ok(rejected)
    }
}

/// The classes of labels: integers by size, others by their bytes.
fn classes_of(kind: LabelKind, counts: &Counts) -> Result<Classes> {
    let mut rows: BTreeMap<&str, u64> = BTreeMap::new();
    for (label, count) in counts.values().flatten() {
        *rows.entry(label).or_default() += count;
    }
    let mut rows: Vec<(&str, u64)> = rows.into_iter().collect();
    match rows.as_slice() {
        [] => return Err(MlError::NoRows),
        [(class, rows)] => return Err(MlError::SameClass { rows: *rows, class: (*class).to_owned() }),
        _ if rows.len() > CLASSES_MAX => return Err(MlError::TooManyClasses { classes_max: CLASSES_MAX }),
        _ => {}
    }
    rows.sort_by_key(|(name, _)| (kind == LabelKind::Integer).then(|| name.parse::<i64>().ok()).flatten());
    let (names, rows): (Vec<_>, Vec<_>) = rows.into_iter().map(|(name, rows)| (name.to_owned(), rows)).unzip();
    Ok(Classes::of_stream(kind, names, rows))
}

/// How often the rule is right, and how sure its shares are of the labels.
fn measured(classes: &Classes, said: &BTreeMap<String, Vec<u64>>) -> Vec<(String, f64)> {
    let (mut hits, mut squares, mut count) = (ClassHits::default(), 0.0, 0);
    for (text, rows) in said {
        for (place, (name, of_class)) in classes.names().iter().zip(rows).enumerate() {
            let share = share(Some(rows), place, rows.len());
            hits.count_rows(*of_class, share, name == text);
            squares += *of_class as f64 * (1.0 - share) * (1.0 - share);
            count += of_class;
        }
    }
    let brier = (classes.names().len() == 2 && count > 0).then(|| ("brier_score".to_owned(), squares / count as f64));
    hits.metrics().into_iter().chain(brier).collect()
}

impl BatchModel for BatchRules {
    fn model_type(&self) -> &'static str {
        MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn outputs(&self) -> Vec<Field> {
        vec![unlabelled_output(&self.schema)]
    }

    fn add(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        let said = find_column(&self.schema.fields()[0], 0, features)?;
        let rejected = match &mut self.seen {
            Seen::Unlabelled => Vec::new(),
            _ if labels.len() != features.num_rows() => {
                return Err(MlError::LabelCount { rows: features.num_rows(), labels: labels.len() });
            }
            Seen::Classes { kind, counts } => Self::add_classes(*kind, counts, said, labels)?,
            Seen::Numbers { errors, labels: guessed } => Self::add_numbers(errors, guessed, said, labels)?,
        };
        self.rows += (features.num_rows() - rejected.len()) as u64;
        Ok(rejected)
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn bytes(&self) -> usize {
        let Seen::Classes { counts, .. } = &self.seen else { return 0 };
        counts
            .iter()
            .map(|(said, labels)| said.len() + labels.keys().map(|label| label.len() + 64).sum::<usize>())
            .sum()
    }

    fn set_control(&mut self, _control: FitControl) {}

    /// Counts; nothing is minimised, so the loss is 0.
    fn fit(&mut self) -> Result<FitReport> {
        if self.rows == 0 {
            return Err(MlError::NoRows);
        }
        let (target, metrics) = match &self.seen {
            Seen::Unlabelled => (Target::Unlabelled, Vec::new()),
            Seen::Numbers { errors, labels } => (Target::Numbers, beside_the_mean(errors, *labels)),
            Seen::Classes { kind, counts } => {
                let classes = classes_of(*kind, counts)?;
                let of = |labels: &BTreeMap<String, u64>| {
                    classes.names().iter().map(|name| labels.get(name).copied().unwrap_or(0)).collect()
                };
                let said = counts.iter().map(|(said, labels)| (said.clone(), of(labels))).collect();
                let guess = Labels::Classes {
                    kind: *kind,
                    rows: classes.names().iter().cloned().zip(classes.rows().iter().copied()).collect(),
                };
                let metrics = beside(measured(&classes, &said), guess.guessing(&guess));
                (Target::Classes { classes, said }, metrics)
            }
        };
        Ok(FitReport {
            model: Rules { schema: self.schema.clone(), rows: self.rows, target }.seal()?,
            rows: self.rows,
            iterations: 1,
            converged: true,
            loss: 0.0,
            metrics,
            trials: Vec::new(),
            history: Iteration::only(0.0),
        })
    }
}

/// The measures of numbers, and those of their mean.
fn beside_the_mean(errors: &RegressionSums, labels: RegressionSums) -> Vec<(String, f64)> {
    let own = [("mse", errors.mse()), ("rmse", errors.rmse()), ("mae", errors.mae()), ("r2", errors.r2())];
    let own = own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let labels = Labels::Numbers(labels);
    beside(own, labels.guessing(&labels))
}
