//! What LightGBM says of exported models (`goldens/import.py`), and what comes back by an import.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Float64Type;
use expect_test::{expect, expect_file};

use super::lightgbm_text;
use crate::boosted_trees::import::{ImportFormat, ImportedClasses, import};
use crate::goldens::{assert_all_close, expected, reference_rows};
use crate::{FeatureSchema, Predictions, create_batch, restore_supervised};

fn fit(model_type: &str, options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> Vec<u8> {
    let few = [("max_iterations", "4"), ("num_leaves", "6"), ("min_rows_in_leaf", "5")];
    let options: BTreeMap<_, _> =
        few.iter().chain(options).map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    let mut model = create_batch(model_type, &options, &schema, labels.data_type()).unwrap();
    assert_eq!(model.add(features, labels).unwrap(), []);
    model.fit().unwrap().model
}

fn said(model: &[u8], features: &RecordBatch) -> Predictions {
    restore_supervised(model).unwrap().predictions(features).unwrap()
}

/// Numbers and texts that may be missing, and numbers that follow from them.
fn mixed() -> (RecordBatch, Float64Array) {
    let (features, _) = reference_rows(0..400);
    let number = |row: usize| (row * 37 % 101) as f64 / 40.0;
    let of_city = |row: usize| if row % 13 == 5 { 3.0 } else { [0.0, 4.0, 2.0, 0.0, 1.0][row * row % 7 % 5] };
    let labels = (0..400).map(|row| number(row) + of_city(row) + if row % 11 == 3 { 2.0 } else { 0.0 });
    (features, Float64Array::from_iter_values(labels))
}

#[test]
fn lightgbm_says_the_same() {
    let (features, labels) = mixed();
    let model = fit("boosted_tree_regressor", &[], &features, &labels);
    expect_file!["../../../goldens/import/exported_mixed.txt"].assert_eq(&lightgbm_text(&model).unwrap());
    let found = said(&model, &features);
    let found = found.labels.as_primitive::<Float64Type>().values().iter().copied().step_by(7);
    assert_all_close(&found.collect::<Vec<_>>(), &expected("exported_mixed", "said"), 1e-12);
}

#[test]
fn what_is_exported_comes_back_the_same() {
    let (features, labels) = mixed();
    let classes: StringArray =
        labels.iter().map(|label| label.map(|label| if label > 3.0 { "much" } else { "little" })).collect();
    let more: Int64Array = labels.iter().map(|label| label.map(|label| label as i64 / 2)).collect();
    let relevances: Float64Array =
        labels.iter().map(|label| label.map(|label| (label / 2.0).floor().clamp(0.0, 4.0))).collect();
    for (model_type, options, labels) in [
        ("boosted_tree_regressor", &[][..], &labels as &dyn Array),
        ("boosted_tree_classifier", &[][..], &classes),
        ("boosted_tree_classifier", &[][..], &more),
        ("boosted_tree_ranker", &[("group_column", "b")][..], &relevances),
    ] {
        let known = features.slice(0, 360);
        // A ranker takes no row without its group.
        let rows: Vec<usize> = (0..360).filter(|row| model_type != "boosted_tree_ranker" || row % 11 != 3).collect();
        let places: Int64Array = rows.iter().map(|row| Some(*row as i64)).collect();
        let learnt = arrow::compute::take_record_batch(&known, &places).unwrap();
        let labels = arrow::compute::take(labels, &places, None).unwrap();
        let model = fit(model_type, options, &learnt, &labels);
        let names = restore_supervised(&model).unwrap().class_names();
        let classes = (!names.is_empty()).then(|| ImportedClasses { data_type: labels.data_type().clone(), names });
        let text = lightgbm_text(&model).unwrap();
        let back = import(&text, ImportFormat::LightgbmText, classes.as_ref()).unwrap();
        assert_eq!(back.model_type, model_type);
        assert_eq!(said(&back.model, &features), said(&model, &features), "{model_type}");
        // From then on leaves have the same numbers, too.
        let again = lightgbm_text(&back.model).unwrap();
        let twice = import(&again, ImportFormat::LightgbmText, classes.as_ref()).unwrap();
        assert_eq!(lightgbm_text(&twice.model).unwrap(), again, "{model_type}");
    }
}

#[test]
fn a_category_that_was_never_seen_goes_with_null() {
    let column: ArrayRef = Arc::new(StringArray::from_iter((0..90).map(|row| [Some("a"), Some("b"), None][row % 3])));
    let features = RecordBatch::try_from_iter_with_nullable([("with space", column, true)]).unwrap();
    // NULL is split off from both.
    let labels = Float64Array::from_iter_values((0..90).map(|row| [1.0, 1.0, 5.0][row % 3]));
    let model = fit("boosted_tree_regressor", &[("max_iterations", "1"), ("learn_rate", "1")], &features, &labels);
    let text = lightgbm_text(&model).unwrap();
    expect![[r#"
        tree
        version=v4
        num_class=1
        num_tree_per_iteration=1
        label_index=0
        max_feature_idx=0
        objective=regression
        feature_names=with_space
        feature_infos=-1:0:1

        Tree=0
        num_leaves=2
        num_cat=1
        split_feature=0
        split_gain=320.0
        threshold=0
        decision_type=9
        left_child=-2
        right_child=-1
        internal_count=90
        leaf_value=5.0 1.0000000000000002
        leaf_count=30 60
        cat_boundaries=0 1
        cat_threshold=3
        is_linear=0
        shrinkage=1


        end of trees

        pandas_categorical:[["a","b"]]
    "#]]
    .assert_eq(&text);
    let back = import(&text.replace("with_space", "with space"), ImportFormat::LightgbmText, None);
    assert!(back.is_err());
}

#[test]
fn a_model_without_a_split_and_one_of_another_type() {
    let column: ArrayRef = Arc::new(Float64Array::from(vec![1.0; 50]));
    let features = RecordBatch::try_from_iter([("x", column)]).unwrap();
    let model = fit("boosted_tree_regressor", &[], &features, &Float64Array::from(vec![2.5; 50]));
    let text = lightgbm_text(&model).unwrap();
    assert!(text.contains("num_leaves=1\nnum_cat=0\nleaf_value=2.5\n"), "{text}");
    let back = import(&text, ImportFormat::LightgbmText, None).unwrap();
    assert_eq!(said(&back.model, &features), said(&model, &features));
    let options = BTreeMap::new();
    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    let mut other = create_batch("linear_reg", &options, &schema, &arrow::datatypes::DataType::Float64).unwrap();
    other.add(&features, &Float64Array::from(vec![2.5; 50])).unwrap();
    let error = lightgbm_text(&other.fit().unwrap().model).unwrap_err();
    expect!["a linear_reg model cannot be exported so; boosted trees can"].assert_eq(&error.to_string());
    assert!(lightgbm_text(&model[..20]).is_err());
}
