//! What scikit-learn makes of the same columns (`engine/ml/goldens/preprocessing.py`); odd columns; versions as bytes.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, Float64Array, Int64Array, NullArray, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::scalar::ScalarValue;
use tidemill_ml::preprocessing::{TargetRows, row_draws};
use tidemill_ml::{FeatureSchema, create_batch};

use super::*;
use crate::transform::fit::{Fitted, TransformFit};

mod texts;

/// Numbers of a case under a name.
fn expected(case: &str, name: &str) -> Vec<f64> {
    let text = include_str!("../../../engine/ml/goldens/preprocessing.txt");
    let line = text.lines().find(|line| line.starts_with(&format!("{case} {name} "))).unwrap();
    line.split(' ').skip(2).map(|number| number.parse().unwrap()).collect()
}

fn rows(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, column)| (*name, Arc::clone(column), true)))
        .unwrap()
}

fn floats(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn function(name: &str, constants: &[ScalarValue]) -> AnalyticFunction {
    AnalyticFunction::named(name, constants).unwrap().unwrap()
}

/// The transform whose features are functions of columns, by the columns' names.
fn transform(inputs: &RecordBatch, functions: &[(&str, AnalyticFunction)]) -> Transform {
    let analytics = functions.iter().map(|(column, function)| Analytic {
        name: function.call(column),
        function: function.clone(),
        argument: StreamExpr(col(*column)),
    });
    let analytics: Vec<_> = analytics.collect();
    let features = analytics.iter().zip(functions).map(|(analytic, (column, _))| Projection {
        name: (*column).to_owned(),
        expr: StreamExpr(Expr::Column(datafusion::common::Column::from_name(&analytic.name))),
    });
    Transform { inputs: StreamSchema(inputs.schema()), features: features.collect(), analytics }
}

fn try_fitted(transform: &Transform, rows: &RecordBatch) -> Result<FittedTransform> {
    Ok(fitted_to(transform, rows, &NullArray::new(rows.num_rows()))?.version)
}

/// What rows with these labels make of a transform; they come in two halves.
fn fitted_to(transform: &Transform, rows: &RecordBatch, labels: &dyn Array) -> Result<Fitted> {
    let mut fit = TransformFit::new(transform)?;
    let half = rows.num_rows() / 2;
    for (start, count) in [(0, half), (half, rows.num_rows() - half)] {
        let arguments = fit.arguments(&rows.slice(start, count))?;
        let draws = row_draws(start as u64, count);
        fit.add(&arguments, &TargetRows { labels: &labels.slice(start, count), draws: &draws })?;
    }
    fit.finish()
}

/// The features of rows, by what is known of these.
fn features(rows: &RecordBatch, functions: &[(&str, AnalyticFunction)]) -> RecordBatch {
    let fitted = try_fitted(&transform(rows, functions), rows).unwrap();
    let encoded = codec::encode(&fitted).unwrap();
    assert_eq!(codec::decode::<FittedTransform>(&encoded).unwrap(), fitted);
    fitted.prepare().unwrap().features(rows).unwrap()
}

fn numbers(column: &ArrayRef) -> Vec<Option<f64>> {
    column.as_primitive::<Float64Type>().iter().collect()
}

fn strings(column: &ArrayRef) -> Vec<Option<&str>> {
    column.as_string::<i32>().iter().collect()
}

#[test]
fn features_are_those_of_scikit_learn() {
    let ten_to_ninety = ScalarValue::List(ScalarValue::new_list_nullable(
        &[ScalarValue::from(10_i64), ScalarValue::from(90_i64)],
        &DataType::Int64,
    ));
    for case in ["wine_columns", "odd_columns"] {
        let values = expected(case, "columns");
        let count = values.len() / 4;
        let columns: Vec<ArrayRef> =
            values.chunks(count).map(|column| Arc::new(Float64Array::from(column.to_vec())) as ArrayRef).collect();
        let names = ["a", "b", "c", "d"];
        let rows = rows(&names.into_iter().zip(columns).collect::<Vec<_>>());
        let made = |name: &str, constants: &[ScalarValue]| {
            let made = features(&rows, &names.map(|column| (column, function(name, constants))));
            let made = made.columns().iter().flat_map(numbers);
            made.map(Option::unwrap).collect::<Vec<f64>>()
        };
        let check = |made: Vec<f64>, name: &str| {
            for (place, (made, wanted)) in made.iter().zip(expected(case, name)).enumerate() {
                assert!(
                    (made - wanted).abs() <= 1e-12 * wanted.abs().max(1.0),
                    "{case} {name} {place}: {made} {wanted}"
                );
            }
        };
        check(made("ML.STANDARD_SCALER", &[]), "standard");
        check(made("ML.MIN_MAX_SCALER", &[]), "min_max");
        check(made("ML.MAX_ABS_SCALER", &[]), "max_abs");
        check(made("ML.ROBUST_SCALER", &[]), "robust");
        check(made("ML.QUANTILE_SCALER", &[ScalarValue::from(11_i64)]), "eleven_ranks");
        check(made("ML.QUANTILE_SCALER", &[]), "all_ranks");
        check(made("ML.ROBUST_SCALER", &[ten_to_ninety.clone(), ScalarValue::from(false)]), "wide");
        let buckets = [ScalarValue::from(4_i64)];
        let quarters = features(&rows, &["c", "d"].map(|column| (column, function("ML.QUANTILE_BUCKETIZE", &buckets))));
        let quarters = quarters.columns().iter().flat_map(strings).flatten();
        let wanted = expected(case, "quarters").into_iter().map(|bucket| format!("bin_{bucket}"));
        assert_eq!(quarters.collect::<Vec<_>>(), wanted.collect::<Vec<_>>(), "{case}");
    }
}

#[test]
fn numbers_beyond_those_of_the_training_set_stay_within_limits_and_null_stays_null() {
    let known = rows(&[("x", floats(&[Some(-2.0), Some(8.0)]))]);
    let asked = rows(&[("x", floats(&[Some(-12.0), Some(3.0), Some(28.0), None, Some(f64::NAN)]))]);
    let made = |name: &str| {
        let fitted = try_fitted(&transform(&known, &[("x", function(name, &[]))]), &known).unwrap();
        numbers(fitted.prepare().unwrap().features(&asked).unwrap().column(0))
    };
    assert_eq!(made("ML.MIN_MAX_SCALER")[..4], [Some(0.0), Some(0.5), Some(1.0), None]);
    assert_eq!(made("ML.MAX_ABS_SCALER")[..4], [Some(-1.0), Some(0.375), Some(1.0), None]);
    assert_eq!(made("ML.STANDARD_SCALER")[..4], [Some(-3.0), Some(0.0), Some(5.0), None]);
    for name in ["ML.MIN_MAX_SCALER", "ML.STANDARD_SCALER"] {
        assert!(made(name)[4].unwrap().is_nan(), "{name}");
    }
}

#[test]
fn what_is_missing_is_filled_in() {
    let values = floats(&[Some(1.0), None, Some(1.0), Some(4.0), Some(10.0)]);
    let rows = rows(&[("x", values), ("c", texts(&[Some("b"), Some("a"), None, Some("b"), Some("a")]))]);
    let made = |column: &str, strategy: &str| {
        features(&rows, &[(column, function("ML.IMPUTER", &[ScalarValue::from(strategy)]))])
    };
    assert_eq!(numbers(made("x", "mean").column(0))[1], Some(4.0));
    assert_eq!(numbers(made("x", "median").column(0))[1], Some(2.5));
    assert_eq!(numbers(made("x", "MOST_FREQUENT").column(0))[1], Some(1.0));
    assert_eq!(strings(made("c", "most_frequent").column(0)), ["b", "a", "a", "b", "a"].map(Some));
}

#[test]
fn categories_are_numbered_or_kept() {
    let rows = rows(&[("c", texts(&[Some("b"), Some("a"), None, Some("b"), Some("d")]))]);
    let numbers = |constants: &[ScalarValue]| {
        let made = features(&rows, &[("c", function("ML.LABEL_ENCODER", constants))]);
        made.column(0).as_primitive::<Int64Type>().values().to_vec()
    };
    assert_eq!(numbers(&[]), [2, 1, 0, 2, 3]);
    assert_eq!(numbers(&[ScalarValue::from(2_i64)]), [2, 1, 0, 2, 0], "of a and d the first");
    assert_eq!(numbers(&[ScalarValue::from(9_i64), ScalarValue::from(2_i64)]), [1, 0, 0, 1, 0]);
    let constants = ["none", "2"].map(ScalarValue::from);
    assert!(AnalyticFunction::named("ML.ONE_HOT_ENCODER", &constants).is_err(), "a text is no number");
    let constants = [ScalarValue::from("none"), ScalarValue::from(2_i64)];
    let made = features(&rows, &[("c", function("ML.ONE_HOT_ENCODER", &constants))]);
    assert_eq!(strings(made.column(0)), [Some("b"), Some("a"), None, Some("b"), None]);
}

#[test]
fn columns_without_a_value_say_nothing_and_cannot_be_filled_in() {
    let rows = rows(&[("x", floats(&[None, None])), ("c", texts(&[None, None]))]);
    for name in ["ML.STANDARD_SCALER", "ML.MIN_MAX_SCALER", "ML.MAX_ABS_SCALER", "ML.ROBUST_SCALER"] {
        assert_eq!(numbers(features(&rows, &[("x", function(name, &[]))]).column(0)), [None, None], "{name}");
    }
    let buckets = function("ML.QUANTILE_BUCKETIZE", &[ScalarValue::from(3_i64)]);
    assert_eq!(strings(features(&rows, &[("x", buckets)]).column(0)), [None, None]);
    assert_eq!(strings(features(&rows, &[("c", function("ML.ONE_HOT_ENCODER", &[]))]).column(0)), [None, None]);
    let numbers = features(&rows, &[("c", function("ML.LABEL_ENCODER", &[]))]);
    assert_eq!(numbers.column(0).as_primitive::<Int64Type>().values(), &[0, 0]);
    let imputer = function("ML.IMPUTER", &[ScalarValue::from("mean")]);
    let error = try_fitted(&transform(&rows, &[("x", imputer)]), &rows).unwrap_err().to_string();
    assert_eq!(error, "ML.IMPUTER has nothing to put in the place of NULL: the training query has no value of x");
}

#[test]
fn wrong_constants_are_refused() {
    let wrong =
        |name: &str, constants: &[ScalarValue]| AnalyticFunction::named(name, constants).unwrap_err().to_string();
    assert!(wrong("ML.STANDARD_SCALER", &[ScalarValue::from(1.0)]).contains("takes one number"));
    assert!(wrong("ML.IMPUTER", &[]).contains("ML.IMPUTER(x, 'mean')"));
    assert!(wrong("ML.IMPUTER", &[ScalarValue::from("mode")]).contains("most_frequent"));
    assert!(wrong("ML.QUANTILE_BUCKETIZE", &[ScalarValue::from(1_i64)]).contains("2 to 10000"));
    assert!(wrong("ML.ROBUST_SCALER", &[ScalarValue::from(25.0)]).contains("[25, 75]"));
    assert!(wrong("ML.LABEL_ENCODER", &[ScalarValue::from(0_i64)]).contains("how many"));
    assert!(wrong("ML.ONE_HOT_ENCODER", &[ScalarValue::from("most_frequent")]).contains("'none'"));
    assert!(wrong("ML.BAG_OF_WORDS", &[ScalarValue::from("all")]).contains("how many words"));
    assert!(
        wrong(
            "ML.TF_IDF",
            &[3, 1].map(ScalarValue::from).into_iter().chain([ScalarValue::from("mine")]).collect::<Vec<_>>()
        )
        .contains("'bigquery' or 'scikit_learn'")
    );
    assert!(wrong("ML.QUANTILE_SCALER", &[ScalarValue::from(1_i64)]).contains("2 to 10000"));
    assert!(wrong("ML.TARGET_ENCODER", &[ScalarValue::from(-1.0)]).contains("'auto'"));
    assert!(wrong("ML.TARGET_ENCODER", &["auto", "5"].map(ScalarValue::from)).contains("2 to 20"));
    assert_eq!(AnalyticFunction::named("ML.NGRAMS", &[]).unwrap(), None);
}

#[test]
fn columns_are_read_as_what_they_were_if_nothing_is_lost() {
    let known =
        rows(&[("n", Arc::new(Int64Array::from(vec![1, 3])) as ArrayRef), ("x", floats(&[Some(0.5), Some(1.5)]))]);
    let inputs = StreamSchema(known.schema());
    let sum = Projection { name: String::from("sum"), expr: StreamExpr(col("x") + lit(1.0)) };
    let count = Projection { name: String::from("count"), expr: StreamExpr(col("n") + lit(1_i64)) };
    let transform = Transform { inputs, analytics: Vec::new(), features: vec![sum, count] };
    let prepared = try_fitted(&transform, &known).unwrap().prepare().unwrap();
    let small: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![2]));
    let made = prepared
        .features(&rows(&[("x", Arc::clone(&small)), ("other", floats(&[None])), ("n", Arc::clone(&small))]))
        .unwrap();
    assert_eq!(numbers(made.column(0)), [Some(3.0)]);
    let refused = |columns: &[(&str, ArrayRef)]| prepared.features(&rows(columns)).unwrap_err().to_string();
    let error = refused(&[("x", floats(&[None])), ("n", floats(&[Some(2.5)]))]);
    assert!(error.contains("'n', which was Int64 when the model was made but is Float64 now"), "{error}");
    let error = refused(&[("x", floats(&[None]))]);
    assert!(error.contains("reads the column 'n'; there are: x"), "{error}");
    let error = refused(&[("x", texts(&[None])), ("n", small)]);
    assert!(error.contains("'x', which was Float64"), "{error}");
}

#[test]
fn a_version_has_the_transform_in_front_of_its_weights() {
    let known = rows(&[("x", floats(&[Some(1.0), Some(2.0), Some(3.0), Some(10.0)]))]);
    let transform = transform(&known, &[("x", function("ML.STANDARD_SCALER", &[]))]);
    let fitted = try_fitted(&transform, &known).unwrap();
    let made = fitted.prepare().unwrap().features(&known).unwrap();
    let schema = FeatureSchema::from_arrow(&transform.outputs().unwrap()).unwrap();
    let mut model = create_batch("robust_zscore", &BTreeMap::new(), &schema, &DataType::Null).unwrap();
    model.add(&made, &NullArray::new(4)).unwrap();
    let weights = model.fit().unwrap().model;

    let plain = FittedModel::restore(&weights).unwrap();
    assert!(plain.transform().is_none());
    let version = seal(&fitted, &ListFeatures::default(), &weights).unwrap();
    let model = FittedModel::restore(&version).unwrap();
    assert_eq!(model.inputs(), ["x"]);
    let asked = model.transform().unwrap().features(&known).unwrap();
    let answers = model.predictor().answers(&asked).unwrap();
    assert_eq!(&answers, &plain.predictor().answers(&made).unwrap());
    assert_eq!(answers[0].len(), 4);
    for length in 0..version.len() - weights.len() + 1 {
        assert!(FittedModel::restore(&version[..length]).is_err(), "cut off at {length}");
    }
}
