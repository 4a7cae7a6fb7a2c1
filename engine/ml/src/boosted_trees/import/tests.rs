//! What LightGBM and XGBoost say (`goldens/import.py`), and names of classes.

mod wrong_files;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::{ImportFormat, Imported, ImportedClasses, import};
use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::inspect::{ModelTable, table_of};
use crate::{FeatureKind, Predictions, restore_predictor, restore_supervised};

use ImportFormat::{LightgbmJson, LightgbmText, XgboostJson};

/// Single precision, of sums of some trees; and double.
const SINGLE: f64 = 1e-6;
const DOUBLE: f64 = 1e-12;

fn file(case: &str, format: ImportFormat) -> String {
    let extension = if format == LightgbmText { "txt" } else { "json" };
    std::fs::read_to_string(format!("{}/goldens/import/{case}.{extension}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Every seventh of 400 rows with numbers and a text, of which some lack either.
fn asked() -> RecordBatch {
    let (features, _) = reference_rows(0..400);
    let columns = features.columns();
    let a = columns[0].as_primitive::<Float64Type>().iter().enumerate();
    let a: Float64Array = a.map(|(row, value)| value.filter(|_| row % 9 != 4)).collect();
    let flag = cast(&columns[3], &DataType::Int64).unwrap();
    let columns: [(&str, ArrayRef); 4] =
        [("a", Arc::new(a)), ("b", Arc::clone(&columns[1])), ("city", Arc::clone(&columns[2])), ("flag", flag)];
    every_seventh(&RecordBatch::try_from_iter_with_nullable(columns.map(|(name, of)| (name, of, true))).unwrap())
}

fn every_seventh(rows: &RecordBatch) -> RecordBatch {
    let places: Int64Array = (0..rows.num_rows() as i64).step_by(7).map(Some).collect();
    take_record_batch(rows, &places).unwrap()
}

/// Every seventh row of a data set whose features have the names that a library gives.
fn iris(prefix: &str) -> RecordBatch {
    let (features, _) = data_set("iris");
    let names = (0..).map(|place| format!("{prefix}{place}"));
    every_seventh(&RecordBatch::try_from_iter(names.zip(features.columns().iter().cloned())).unwrap())
}

/// Those that a ranker has learnt.
fn shuffled_iris(prefix: &str) -> RecordBatch {
    let (features, _) = data_set("iris");
    let places: Int64Array = (0..150).map(|row| Some(row * 7 % 150)).collect();
    let features = take_record_batch(&features, &places).unwrap();
    let names = (0..).map(|place| format!("{prefix}{place}"));
    every_seventh(&RecordBatch::try_from_iter(names.zip(features.columns().iter().cloned())).unwrap())
}

fn codes() -> RecordBatch {
    let number = |row: i64| (row * 37 % 101) as f64 / 10.0 - 5.0;
    let columns: [(&str, ArrayRef); 2] = [
        ("Column_0", Arc::new(StringArray::from_iter_values((0..400).map(|row| (row * 7 % 13).to_string())))),
        ("Column_1", Arc::new(Float64Array::from_iter_values((0..400).map(number)))),
    ];
    every_seventh(&RecordBatch::try_from_iter(columns).unwrap())
}

fn imported(case: &str, format: ImportFormat) -> Imported {
    let text = file(case, format);
    assert_eq!(ImportFormat::of(&text), Some(format));
    import(&text, format, None).unwrap()
}

fn predicted(imported: &Imported, rows: &RecordBatch) -> Predictions {
    let model = restore_supervised(&imported.model).unwrap();
    assert_eq!((model.model_type(), &model.label_type()), (imported.model_type, &imported.label_type));
    assert_eq!(model.schema(), &imported.schema);
    model.predictions(rows).unwrap()
}

/// Row by row a number, or the probability of each of these classes.
fn numbers(said: &Predictions, classes: &[usize]) -> Vec<f64> {
    match classes {
        [] => said.labels.as_primitive::<Float64Type>().values().to_vec(),
        classes => {
            let row = |row: usize| classes.iter().map(move |class| said.probabilities[*class].value(row));
            (0..said.labels.len()).flat_map(row).collect()
        }
    }
}

#[track_caller]
fn check(case: &str, formats: &[ImportFormat], rows: &RecordBatch, classes: &[usize], tolerance: f64) {
    for format in formats {
        let found = numbers(&predicted(&imported(case, *format), rows), classes);
        assert_all_close(&found, &expected(case, "said"), tolerance);
    }
}

#[test]
fn lightgbm_says_the_same() {
    let both = [LightgbmText, LightgbmJson];
    check("lightgbm_binary", &both, &asked(), &[1], DOUBLE);
    check("lightgbm_sigmoid", &both, &asked(), &[1], DOUBLE);
    check("lightgbm_mixed", &both, &asked(), &[], DOUBLE);
    check("lightgbm_codes", &both, &codes(), &[], DOUBLE);
    check("lightgbm_classes", &both, &iris("Column_"), &[0, 1, 2], DOUBLE);
    check("lightgbm_two_scores", &both, &iris("Column_"), &[0, 1], DOUBLE);
    check("lightgbm_leaf", &both, &iris("Column_"), &[], DOUBLE);
    check("lightgbm_order", &both, &shuffled_iris("Column_"), &[], DOUBLE);
}

#[test]
fn xgboost_says_the_same() {
    check("xgboost_binary", &[XgboostJson], &asked(), &[1], SINGLE);
    check("xgboost_mixed", &[XgboostJson], &asked(), &[], SINGLE);
    check("xgboost_classes", &[XgboostJson], &iris("f"), &[0, 1, 2], SINGLE);
    check("xgboost_two_scores", &[XgboostJson], &iris("f"), &[0, 1], SINGLE);
    check("xgboost_leaves", &[XgboostJson], &iris("f"), &[1], SINGLE);
    check("xgboost_order", &[XgboostJson], &shuffled_iris("f"), &[], SINGLE);
}

#[test]
fn it_is_a_model_like_others() {
    let found = imported("lightgbm_mixed", LightgbmText);
    assert_eq!((found.model_type, &found.label_type), ("boosted_tree_regressor", &DataType::Float64));
    let kinds: Vec<_> = found.schema.fields().iter().map(|field| (field.name.as_str(), field.kind)).collect();
    let (number, category) = (FeatureKind::Numeric, FeatureKind::Categorical);
    assert_eq!(kinds, [("a", number), ("b", number), ("city", category), ("flag", number)]);
    let model = restore_predictor(&found.model).unwrap();
    assert_eq!((model.rows_learnt(), model.class_names().len()), (0, 0));
    let table = table_of(model.as_ref(), ModelTable::FeatureImportance).unwrap();
    let splits = table["importance_weight"].as_primitive::<Int64Type>().values();
    // Five trees of seven leaves.
    assert_eq!(splits.iter().sum::<i64>(), 30);
    let classifier = imported("lightgbm_binary", LightgbmText);
    assert_eq!((classifier.model_type, &classifier.label_type), ("boosted_tree_classifier", &DataType::Int64));
    let model = restore_supervised(&classifier.model).unwrap();
    assert_eq!(model.class_names(), ["0", "1"]);
    assert_eq!(imported("lightgbm_order", LightgbmText).model_type, "boosted_tree_ranker");
}

#[test]
fn explanations_are_those_of_the_library() {
    for (case, format, within) in [
        ("lightgbm_mixed", LightgbmText, 1e-9),
        ("lightgbm_mixed", LightgbmJson, 1e-9),
        ("xgboost_mixed", XgboostJson, 1e-5),
    ] {
        let found = imported(case, format);
        let (model, rows) = (restore_supervised(&found.model).unwrap(), asked().slice(0, 3));
        let said = model.predictions(&rows).unwrap();
        let explanations = model.explanations(&rows, &said).unwrap().unwrap();
        let of_row = |row: usize| {
            let attributions = explanations.attributions(row).iter().copied();
            attributions.chain([explanations.baselines().value(row)]).collect::<Vec<_>>()
        };
        assert_all_close(&(0..3).flat_map(of_row).collect::<Vec<_>>(), &expected(case, "contributions"), within);
    }
}

fn named(data_type: DataType, names: &[&str]) -> ImportedClasses {
    ImportedClasses { data_type, names: names.iter().map(|name| (*name).to_owned()).collect() }
}

#[test]
fn classes_have_the_callers_names() {
    let rows = iris("Column_");
    let text = file("lightgbm_classes", LightgbmText);
    let plain = predicted(&import(&text, LightgbmText, None).unwrap(), &rows);
    // By name, setosa, which is class 0, comes in the middle.
    let classes = named(DataType::Utf8, &["setosa", "virginica", "lily"]);
    let found = import(&text, LightgbmText, Some(&classes)).unwrap();
    assert_eq!(restore_supervised(&found.model).unwrap().class_names(), ["lily", "setosa", "virginica"]);
    let said = predicted(&found, &rows);
    assert_all_close(&numbers(&said, &[1, 2, 0]), &numbers(&plain, &[0, 1, 2]), 1e-15);
    for (plain, name) in plain.labels.as_primitive::<Int64Type>().values().iter().zip(said.labels.as_string::<i32>()) {
        assert_eq!(name, Some(classes.names[*plain as usize].as_str()));
    }
    let integers = import(&text, LightgbmText, Some(&named(DataType::Int32, &["10", "9", "-3"]))).unwrap();
    assert_eq!(restore_supervised(&integers.model).unwrap().class_names(), ["-3", "9", "10"]);
    assert_eq!(integers.label_type, DataType::Int64);
}

#[test]
fn two_classes_may_be_booleans_in_either_order() {
    for (case, format, rows, classes) in [
        ("lightgbm_binary", LightgbmText, asked(), &[1][..]),
        ("xgboost_two_scores", XgboostJson, iris("f"), &[0, 1][..]),
    ] {
        let text = file(case, format);
        let forwards = import(&text, format, Some(&named(DataType::Boolean, &["false", "true"]))).unwrap();
        assert_eq!(forwards.label_type, DataType::Boolean);
        assert_all_close(&numbers(&predicted(&forwards, &rows), classes), &expected(case, "said"), SINGLE);
        let backwards = import(&text, format, Some(&named(DataType::Boolean, &["true", "false"]))).unwrap();
        let exchanged: Vec<usize> = classes.iter().map(|class| 1 - class).collect();
        assert_all_close(&numbers(&predicted(&backwards, &rows), &exchanged), &expected(case, "said"), SINGLE);
    }
}

#[test]
fn unseen_categories_go_where_the_library_sends_them() {
    let rows = |city: Option<&str>| {
        let columns: [(&str, ArrayRef); 4] = [
            ("a", Arc::new(Float64Array::from(vec![1.0]))),
            ("b", Arc::new(Float64Array::from(vec![3.0]))),
            ("city", Arc::new(StringArray::from(vec![city]))),
            ("flag", Arc::new(Int64Array::from(vec![0]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, of)| (name, of, true))).unwrap()
    };
    // LightGBM reads one as a missing one.
    let found = imported("lightgbm_mixed", LightgbmText);
    let said = |city| numbers(&predicted(&found, &rows(city)), &[]);
    assert_eq!(said(Some("unseen")), said(None));
    assert_ne!(said(Some("c2")), said(None));
    let found = imported("xgboost_mixed", XgboostJson);
    assert!(numbers(&predicted(&found, &rows(Some("unseen"))), &[])[0].is_finite());
}

#[test]
fn older_xgboost_has_one_base_score_and_booleans() {
    check("xgboost_older", &[XgboostJson], &iris("f"), &[1], SINGLE);
    // Before 1.6, default sides were booleans.
    let text = file("xgboost_older", XgboostJson);
    let start = "\"default_left\":[";
    let booleans = |(place, part): (usize, &str)| match part.split_once(']') {
        Some((flags, rest)) if place > 0 => {
            format!("{start}{}]{rest}", flags.replace('1', "true").replace('0', "false"))
        }
        _ => part.to_owned(),
    };
    let older: String = text.split(start).enumerate().map(booleans).collect();
    assert!(older.contains("[true,") && older.len() > text.len());
    assert_eq!(import(&older, XgboostJson, None).unwrap(), import(&text, XgboostJson, None).unwrap());
}

#[test]
fn formats_have_names_and_looks() {
    for format in ImportFormat::ALL {
        assert_eq!(ImportFormat::named(format.name()), Some(format));
    }
    assert_eq!((ImportFormat::named("onnx"), ImportFormat::of("")), (None, None));
    assert_eq!((ImportFormat::of("{}"), ImportFormat::of("{\"learner\": 1")), (None, None));
}
