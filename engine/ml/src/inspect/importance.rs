//! How much trees use each feature, as a table: [`ModelTable::FeatureImportance`](super::ModelTable).

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use crate::error::{MlError, Result};
use crate::model::FeatureSchema;

/// What a split of a tree does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SplitUse {
    /// Numbers first, then categories.
    pub(crate) feature: usize,
    pub(crate) gain: f64,
    /// The weight of the rows that it splits.
    pub(crate) rows: f64,
}

/// What the splits of one feature have done.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    splits: i64,
    gain: f64,
    rows: f64,
}

/// A row for each feature: how often it is split on (`importance_weight`), how much a split of it gains
/// (`importance_gain`, the mean) and of how many rows (`importance_cover`, the mean). Gain and cover of a feature that no
/// tree uses are 0.
pub(crate) fn importance_table(schema: &FeatureSchema, splits: impl Iterator<Item = SplitUse>) -> Result<RecordBatch> {
    let places = schema.numbers_first();
    let mut uses = vec![Use::default(); places.len()];
    for split in splits {
        if let Some(place) = places.get(split.feature) {
            let of = &mut uses[*place];
            of.splits += 1;
            of.gain += split.gain;
            of.rows += split.rows;
        }
    }
    let mean = |sum: fn(&Use) -> f64| {
        Float64Array::from_iter_values(
            uses.iter().map(|of| if of.splits == 0 { 0.0 } else { sum(of) / of.splits as f64 }),
        )
    };
    let splits = Int64Array::from_iter_values(uses.iter().map(|of| of.splits));
    let names = StringArray::from_iter_values(schema.fields().iter().map(|feature| &feature.name));
    let fields = vec![
        Field::new("feature", DataType::Utf8, false),
        Field::new("importance_weight", DataType::Int64, false),
        Field::new("importance_gain", DataType::Float64, false),
        Field::new("importance_cover", DataType::Float64, false),
    ];
    let (gains, covers) = (mean(|of| of.gain), mean(|of| of.rows));
    let columns: Vec<ArrayRef> = vec![Arc::new(names), Arc::new(splits), Arc::new(gains), Arc::new(covers)];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|source| MlError::BuildTable { source })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float64Type, Int64Type};

    use super::*;
    use crate::boosted_trees::REGRESSOR;
    use crate::{ModelTable, create_batch, restore_predictor, table_of};

    #[test]
    fn what_decides_is_used_and_what_is_noise_is_not() {
        let numbers = |of: fn(usize) -> f64| Float64Array::from_iter_values((0..1000).map(of));
        let texts = StringArray::from_iter_values((0..1000).map(|row| ["a", "b", "c"][row % 3]));
        let rows = RecordBatch::try_from_iter([
            ("constant", Arc::new(numbers(|_| 1.0)) as ArrayRef),
            ("category", Arc::new(texts)),
            ("x", Arc::new(numbers(|row| (row * 7 % 100) as f64))),
        ]);
        let rows = rows.unwrap();
        let labels = Float64Array::from_iter_values((0..1000).map(|row| {
            let x = (row * 7 % 100) as f64;
            if x > 50.0 {
                10.0
            } else if row % 3 == 1 {
                1.0
            } else {
                0.0
            }
        }));
        let schema = FeatureSchema::from_arrow(&rows.schema()).unwrap();
        let mut model = create_batch(REGRESSOR, &BTreeMap::new(), &schema, &DataType::Float64).unwrap();
        model.add(&rows, &labels).unwrap();
        let model = restore_predictor(&model.fit().unwrap().model).unwrap();
        let table = table_of(model.as_ref(), ModelTable::FeatureImportance).unwrap();
        let names: Vec<_> = table["feature"].as_string::<i32>().iter().flatten().collect();
        assert_eq!(names, ["constant", "category", "x"]);
        let splits = table["importance_weight"].as_primitive::<Int64Type>().values().to_vec();
        let gains = table["importance_gain"].as_primitive::<Float64Type>().values().to_vec();
        let covers = table["importance_cover"].as_primitive::<Float64Type>().values().to_vec();
        assert!(splits[0] == 0 && gains[0] == 0.0 && covers[0] == 0.0, "{table:?}");
        assert!(splits[1] > 0 && splits[2] > 0 && gains[2] > gains[1] && covers[2] > covers[1], "{table:?}");
        assert_eq!(table["feature"].null_count(), 0);
    }
}
