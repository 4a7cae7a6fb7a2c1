//! Rules: what an expression says of a row is the answer. Nothing is learnt of the answer, so what is known to work without
//! learning has a name, versions and measures beside models that learn.
//!
//! The expression is the model's TRANSFORM, whose only feature is the answer, so it is kept, compiled and applied as any
//! transform is; here that feature is read as the label's type. With a label, the training set says how good the rule is:
//! the probability of a class is its share of those rows of which the rule says the same, each class counted once more
//! (Laplace's rule of succession). Where the rule says NULL nothing is answered, and nothing measured.

pub(crate) mod batch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type};
use bincode::{Decode, Encode};

use crate::classes::{Classes, cast_label};
use crate::error::{MlError, Result};
use crate::feature::columns::find_column;
use crate::model::{Feature, FeatureKind, FeatureSchema, NUMERIC_MAGNITUDE_MAX};
use crate::predictor::{Labelled, Predictions, Predictor, Supervised};
use crate::snapshot;

/// The name in `CREATE MODEL`.
pub(crate) const MODEL_TYPE: &str = "rules";

pub(crate) const SNAPSHOT_TAG: u8 = 82;

/// A rule; it only predicts.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Its only feature is what the rule says.
    schema: FeatureSchema,
    rows: u64,
    target: Target,
}

/// What the rule's answers are compared with.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
enum Target {
    /// With nothing: there is no label.
    Unlabelled,
    Classes {
        classes: Classes,
        /// How many rows there are of each class of which the rule says this.
        said: BTreeMap<String, Vec<u64>>,
    },
    Numbers,
}

/// A snapshot.
#[derive(Encode, Decode)]
struct State {
    features: Vec<Feature>,
    rows: u64,
    target: Target,
}

/// Reads what [`Rules::seal`] wrote.
///
/// # Errors
/// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
pub(crate) fn restore(bytes: &[u8]) -> Result<Box<dyn Predictor>> {
    let rules = Rules::restore(bytes)?;
    Ok(match rules.target {
        Target::Unlabelled => Box::new(rules),
        _ => Box::new(Labelled(Box::new(rules))),
    })
}

impl Rules {
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of rules"));
        }
        let State { features, rows, target } = snapshot::decode(payload)?;
        let schema = FeatureSchema::new(features)?.restored()?;
        if schema.fields().len() != 1 {
            return Err(MlError::corrupt("a rule says one thing of a row"));
        }
        if let Target::Classes { classes, said } = &target {
            classes.check()?;
            if said.values().any(|rows| rows.len() != classes.names().len()) {
                return Err(MlError::corrupt("what the rule says does not fit the classes"));
            }
        }
        Ok(Self { schema, rows, target })
    }

    fn seal(&self) -> Result<Vec<u8>> {
        let (features, target) = (self.schema.fields().to_vec(), self.target.clone());
        snapshot::seal(SNAPSHOT_TAG, &State { features, rows: self.rows, target })
    }

    /// What the rule says of each row, as it is.
    fn said<'a>(&self, features: &'a RecordBatch) -> Result<&'a ArrayRef> {
        find_column(&self.schema.fields()[0], 0, features)
    }
}

/// The column that a rule without a label adds: what it says as a number or as a text.
fn unlabelled_output(schema: &FeatureSchema) -> Field {
    let feature = &schema.fields()[0];
    let data_type = if feature.kind == FeatureKind::Numeric { DataType::Float64 } else { DataType::Utf8 };
    Field::new(format!("predicted_{}", feature.name), data_type, true)
}

/// What a rule says, as numbers; NULL for those that no model learns.
fn numbers(said: &dyn Array) -> Result<Float64Array> {
    let numbers = cast_label(said, &DataType::Float64)?;
    let numbers = numbers.as_primitive::<Float64Type>();
    let is_usable = |number: f64| number.abs() <= NUMERIC_MAGNITUDE_MAX;
    Ok(numbers.iter().map(|number| number.filter(|number| is_usable(*number))).collect())
}

impl Predictor for Rules {
    fn model_type(&self) -> &'static str {
        MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn rows_learnt(&self) -> u64 {
        self.rows
    }

    fn outputs(&self, _label: &str) -> Vec<Field> {
        vec![unlabelled_output(&self.schema)]
    }

    fn answers(&self, features: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let said = self.said(features)?;
        Ok(vec![match self.schema.fields()[0].kind {
            FeatureKind::Numeric => Arc::new(numbers(said)?),
            _ => cast_label(said, &DataType::Utf8)?,
        }])
    }
}

impl Supervised for Rules {
    fn model_type(&self) -> &'static str {
        MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn label_type(&self) -> DataType {
        match &self.target {
            Target::Classes { classes, .. } => classes.kind().data_type(),
            _ => DataType::Float64,
        }
    }

    fn class_names(&self) -> Vec<String> {
        match &self.target {
            Target::Classes { classes, .. } => classes.names().to_vec(),
            _ => Vec::new(),
        }
    }

    fn rows_learnt(&self) -> u64 {
        self.rows
    }

    fn predictions(&self, features: &RecordBatch) -> Result<Predictions> {
        let said = self.said(features)?;
        let Target::Classes { classes, said: known } = &self.target else {
            return Ok(Predictions::without_classes(Arc::new(numbers(said)?)));
        };
        let texts = classes.kind().texts(said)?;
        let labels = cast_label(&texts, &classes.kind().data_type())?;
        let texts = texts.as_string::<i32>();
        // A class that no label has has no probability.
        let place = |text: &str| classes.names().iter().position(|name| name == text).unwrap_or(usize::MAX);
        let places = texts.iter().map(|text| text.map_or(usize::MAX, place)).collect();
        let probability = |class: usize| {
            texts.iter().map(|text| Some(share(known.get(text?), class, classes.names().len()))).collect()
        };
        let probabilities = (0..classes.names().len()).map(probability).collect();
        Ok(Predictions { labels, probabilities, places })
    }
}

/// The share of a class among the rows of which the rule says the same, each class counted once more.
fn share(rows: Option<&Vec<u64>>, class: usize, classes: usize) -> f64 {
    let own = rows.map_or(0, |rows| rows[class]);
    let all = rows.map_or(0, |rows| rows.iter().fold(0_u64, |sum, rows| sum.saturating_add(*rows)));
    (own as f64 + 1.0) / (all as f64 + classes as f64)
}
