//! The weights of a linear model as a table, in the units of its features: [`ModelTable::Weights`].
//!
//! A model whose numbers are standardised scores `b + Σ w (x - mean) / deviation`, which is
//! `b - Σ w mean / deviation + Σ (w / deviation) x`: those are the weights shown.
//!
//! [`ModelTable::Weights`]: crate::inspect::ModelTable::Weights

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};

use crate::error::Result;
use crate::feature::dictionary::CategoryDictionary;
use crate::feature::moments::Moments;
use crate::inspect::FeatureRows;
use crate::model::{FeatureKind, FeatureSchema};

/// The row of the intercept, which is no feature.
pub(crate) const INTERCEPT: &str = "__INTERCEPT__";

/// How a linear model reads its features.
pub(crate) struct Inputs<'a> {
    pub(crate) schema: &'a FeatureSchema,
    /// Of each numeric feature; whether they are used is for `is_standardized` to say.
    pub(crate) moments: &'a [Moments],
    /// Of each categorical feature.
    pub(crate) dictionaries: &'a [CategoryDictionary],
    pub(crate) is_standardized: bool,
}

/// The table: `processed_input` with the `weight` of a number, or the `category_weights` of a feature that has
/// categories; with a `class_label` in front where classes have weights of their own. `classes` are their names and
/// weights: slot 0 is the intercept, then numbers, then categories.
pub(crate) fn weights_table(inputs: &Inputs<'_>, classes: &[(Option<&str>, &[f64])]) -> Result<RecordBatch> {
    let mut rows = FeatureRows::new(["processed_input", "weight", "category_weights"], "weight");
    let mut labels = Vec::new();
    for (class, weights) in classes {
        inputs.add_rows(weights, &mut rows);
        labels.resize(labels.len() + inputs.schema.fields().len() + 1, *class);
    }
    let labels = labels.iter().any(Option::is_some).then(|| {
        let column: ArrayRef = Arc::new(StringArray::from(labels));
        (Field::new("class_label", DataType::Utf8, true), column)
    });
    rows.into_table(labels)
}

impl Inputs<'_> {
    fn add_rows(&self, weights: &[f64], rows: &mut FeatureRows) {
        let weight = |slot: u32| weights.get(slot as usize).copied().unwrap_or_default();
        let (mut intercept, mut numbers, mut categories) = (weight(0), 0, self.dictionaries.iter());
        for feature in self.schema.fields() {
            match feature.kind {
                FeatureKind::Numeric => {
                    let (scale, own) = self.scale(numbers);
                    numbers += 1;
                    let per_unit = weight(numbers as u32) * scale;
                    intercept -= per_unit * own;
                    rows.add_number(&feature.name, per_unit);
                }
                FeatureKind::Categorical => {
                    let dictionary = categories.next().into_iter().flat_map(CategoryDictionary::categories);
                    rows.add_categories(&feature.name, dictionary.map(|(name, slot)| (name, weight(slot))));
                }
                FeatureKind::Time => {}
            }
        }
        rows.add_number(INTERCEPT, intercept);
    }

    /// What a number is multiplied with before its weight, and what was taken from it before that.
    fn scale(&self, number: usize) -> (f64, f64) {
        match self.moments.get(number).filter(|_| self.is_standardized) {
            Some(moments) => (moments.scale().per_deviation(), moments.mean()),
            None => (1.0, 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
    use arrow::compute::cast;
    use arrow::datatypes::Float64Type;

    use super::*;
    use crate::goldens::{expected, reference_rows};
    use crate::predictor::Predictor;
    use crate::{ModelTable, create, create_batch, restore_predictor, table_of};

    /// The score of each row that has all of its numbers, by the weights that a table shows for one class.
    fn scores(table: &RecordBatch, rows: &RecordBatch, class: Option<&str>) -> Vec<Option<f64>> {
        let mut scores = vec![Some(0.0); rows.num_rows()];
        let texts = |name: &str| table.column_by_name(name).unwrap().as_string::<i32>().clone();
        let (inputs, weights) = (texts("processed_input"), table["weight"].as_primitive::<Float64Type>());
        let of_class = |row: &usize| class.is_none_or(|class| texts("class_label").value(*row) == class);
        for row in (0..table.num_rows()).filter(of_class) {
            let column = rows.column_by_name(inputs.value(row));
            for (place, score) in scores.iter_mut().enumerate() {
                let added = match column {
                    None => Some(weights.value(row)),
                    Some(column) if weights.is_valid(row) => {
                        let numbers = cast(column, &DataType::Float64).unwrap();
                        numbers
                            .is_valid(place)
                            .then(|| weights.value(row) * numbers.as_primitive::<Float64Type>().value(place))
                    }
                    Some(column) => Some(category_weight(table, row, column, place)),
                };
                *score = score.zip(added).map(|(score, added)| score + added);
            }
        }
        scores
    }

    fn category_weight(table: &RecordBatch, row: usize, column: &ArrayRef, place: usize) -> f64 {
        let categories = table["category_weights"].as_list::<i32>().value(row);
        let (names, weights) = (categories.as_struct().column(0).as_string::<i32>(), categories.as_struct().column(1));
        let texts = cast(column, &DataType::Utf8).unwrap();
        let own = texts.is_valid(place).then(|| texts.as_string::<i32>().value(place).to_owned());
        let found =
            (0..names.len()).find(|other| names.is_valid(*other).then(|| names.value(*other).to_owned()) == own);
        weights.as_primitive::<Float64Type>().value(found.unwrap())
    }

    fn check(model: &dyn Predictor, rows: &RecordBatch, class: Option<&str>, said: &Float64Array) {
        let table = table_of(model, ModelTable::Weights).unwrap();
        let scores = scores(&table, rows, class);
        assert!(scores.iter().flatten().count() > 100);
        for (place, score) in scores.iter().enumerate() {
            let Some(score) = score else { continue };
            assert!((score - said.value(place)).abs() < 1e-9, "row {place}: {score}, and {}", said.value(place));
        }
    }

    #[test]
    fn what_a_linear_regression_predicts_follows_from_its_weights() {
        let (rows, labels) = (reference_rows(0..400).0, Float64Array::from(expected("mixed_linear", "labels")));
        for standardize in ["true", "false"] {
            let options = BTreeMap::from([(String::from("standardize_features"), String::from(standardize))]);
            let schema = FeatureSchema::from_arrow(&rows.schema()).unwrap();
            let mut model = create_batch("linear_reg", &options, &schema, &DataType::Float64).unwrap();
            model.add(&rows, &labels).unwrap();
            let model = restore_predictor(&model.fit().unwrap().model).unwrap();
            let said = model.answers(&rows).unwrap();
            check(model.as_ref(), &rows, None, said[0].as_primitive::<Float64Type>());
        }
    }

    #[test]
    fn odds_follow_from_the_weights_of_an_online_model() {
        let (rows, labels) = reference_rows(0..400);
        let schema = FeatureSchema::from_arrow(&rows.schema()).unwrap();
        let mut model = create("logistic_reg", &BTreeMap::new(), &schema, &DataType::Boolean).unwrap();
        model.learn(&rows, &labels).unwrap();
        let model = restore_predictor(&model.snapshot().unwrap()).unwrap();
        let said = model.answers(&rows).unwrap();
        let odds = said[1].as_primitive::<Float64Type>().iter().map(|p| p.map(|p| (p / (1.0 - p)).ln()));
        check(model.as_ref(), &rows, None, &odds.collect());
    }

    #[test]
    fn a_plane_s_decisions_follow_from_its_weights() {
        let (rows, positive) = reference_rows(0..400);
        let schema = FeatureSchema::from_arrow(&rows.schema()).unwrap();
        let mut model = create_batch("linear_svm", &BTreeMap::new(), &schema, &DataType::Boolean).unwrap();
        model.add(&rows, &positive).unwrap();
        let fitted = model.fit().unwrap().model;
        let model = crate::restore_supervised(&fitted).unwrap();
        let said = model.predictions(&rows).unwrap();
        let values = model.explanations(&rows, &said).unwrap().unwrap().values();
        // What is explained speaks for the predicted class; weights, for the second.
        let signs = said.labels.as_boolean().iter().map(|label| label.map(|label| if label { 1.0 } else { -1.0 }));
        let decisions = values.iter().zip(signs).map(|(value, sign)| Some(value? * sign?)).collect();
        check(restore_predictor(&fitted).unwrap().as_ref(), &rows, None, &decisions);
    }

    #[test]
    fn each_class_has_weights_of_its_own() {
        let (rows, _) = reference_rows(0..400);
        let classes = ["x", "y", "z"];
        let labels = StringArray::from_iter_values((0..400).map(|row| classes[row * 7 % 10 % 3]));
        let schema = FeatureSchema::from_arrow(&rows.schema()).unwrap();
        let mut model = create_batch("logistic_reg", &BTreeMap::new(), &schema, &DataType::Utf8).unwrap();
        model.add(&rows, &labels).unwrap();
        let report = model.fit().unwrap();
        let said = crate::restore_supervised(&report.model).unwrap().predictions(&rows).unwrap().probabilities;
        let model = restore_predictor(&report.model).unwrap();
        let table = table_of(model.as_ref(), ModelTable::Weights).unwrap();
        let [x, y, z] = classes.map(|class| scores(&table, &rows, Some(class)));
        for (row, scores) in x.into_iter().zip(y).zip(z).enumerate() {
            let ((Some(x), Some(y)), Some(z)) = scores else { continue };
            let total: f64 = [x, y, z].map(f64::exp).iter().sum();
            assert!((y.exp() / total - said[1].value(row)).abs() < 1e-9, "row {row}");
        }
        let missing = table_of(model.as_ref(), ModelTable::FeatureImportance).unwrap_err().to_string();
        assert_eq!(missing, "a model of type 'logistic_reg' has no ML.FEATURE_IMPORTANCE; it has ML.WEIGHTS");
    }
}
