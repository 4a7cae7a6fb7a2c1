//! The weights of each action's regression as a table, in the units of its features: [`ModelTable::Weights`].
//!
//! As those of linear models, `linear::weights`, with the `action` in front.
//!
//! [`ModelTable::Weights`]: crate::inspect::ModelTable::Weights

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};

use super::ContextualBandit;
use crate::error::Result;
use crate::feature::dictionary::Category;
use crate::feature::moments::Scale;
use crate::inspect::FeatureRows;
use crate::linear::weights::INTERCEPT;
use crate::model::FeatureKind;

impl ContextualBandit {
    /// # Errors
    /// `BuildTable`.
    pub(super) fn weights_table(&self) -> Result<RecordBatch> {
        let mut rows = FeatureRows::new(["processed_input", "weight", "category_weights"], "weight");
        let mut actions = Vec::new();
        let categories: Vec<_> = self.context.categories().collect();
        let scales = self.scales();
        for (number, action) in self.actions.names().into_iter().enumerate() {
            let weights = self.arm(number, &scales).map(|arm| arm.weights.as_slice()).unwrap_or_default();
            self.add_rows(weights, &scales, &categories, &mut rows);
            actions.resize(actions.len() + self.context.schema().fields().len() + 1, action);
        }
        let actions: ArrayRef = Arc::new(StringArray::from(actions));
        rows.into_table(Some((Field::new("action", DataType::Utf8, false), actions)))
    }

    fn add_rows(&self, weights: &[f64], scales: &[Scale], categories: &[(usize, Category)], rows: &mut FeatureRows) {
        let weight = |slot: usize| weights.get(slot).copied().unwrap_or_default();
        let (mut intercept, mut numbers, mut categorical) = (weight(0), 0, 0);
        for feature in self.context.schema().fields() {
            if feature.kind == FeatureKind::Numeric {
                let (mean, unit) =
                    scales.get(numbers).map_or((0.0, 1.0), |scale| (scale.mean(), scale.per_deviation()));
                numbers += 1;
                let per_unit = weight(numbers) * unit;
                intercept -= per_unit * mean;
                rows.add_number(&feature.name, per_unit);
            } else {
                let slots = categories.iter().zip(1 + self.context.numbers()..);
                let own = slots.filter(|((feature, _), _)| *feature == categorical);
                rows.add_categories(&feature.name, own.map(|((_, category), slot)| (category.clone(), weight(slot))));
                categorical += 1;
            }
        }
        rows.add_number(INTERCEPT, intercept);
    }
}
