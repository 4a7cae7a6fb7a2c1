//! Words, categories by the label, and lists as features: scikit-learn's numbers (`engine/ml/goldens/preprocessing.py`), and the
//! cases that it has none of, by hand.

use arrow::array::{BooleanArray, Float64Builder, ListArray, ListBuilder, StringBuilder};
use datafusion::logical_expr::Operator;
use tidemill_ml::preprocessing::ListFeatures;

use super::*;
use crate::transform::DRAW_COLUMN;

/// Documents as `goldens/preprocessing.py` makes them.
fn documents() -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for n in 0..40 {
        lists.append_value((0..n % 7).map(|k| Some(format!("w{:02}", (n * k + k * k) % 11))));
    }
    Arc::new(lists.finish())
}

fn words(lists: &[Option<&[&str]>]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for list in lists {
        builder.append_option(list.map(|list| list.iter().map(|word| Some(*word)).collect::<Vec<_>>()));
    }
    Arc::new(builder.finish())
}

/// The elements of sparse lists.
fn sparse(lists: &ListArray) -> Vec<Option<Vec<(i64, f64)>>> {
    let elements = |list: ArrayRef| {
        let list = list.as_struct();
        let (index, value) = (list.column(0).as_primitive::<Int64Type>(), list.column(1).as_primitive::<Float64Type>());
        index.values().iter().copied().zip(value.values().iter().copied()).collect()
    };
    lists.iter().map(|list| list.map(elements)).collect()
}

fn constants(numbers: &[i64], formula: Option<&str>) -> Vec<ScalarValue> {
    numbers.iter().map(|number| ScalarValue::from(*number)).chain(formula.map(ScalarValue::from)).collect()
}

#[test]
fn words_weigh_what_scikit_learn_and_bigquery_say() {
    let rows = rows(&[("words", documents())]);
    let formula = |name| constants(&[100, 1], Some(name));
    let cases = [
        ("ML.BAG_OF_WORDS", Vec::new(), "counts"),
        ("ML.TF_IDF", Vec::new(), "bigquery"),
        ("ML.TF_IDF", formula("bigquery"), "bigquery"),
        ("ML.TF_IDF", formula("Scikit_Learn"), "scikit_learn"),
    ];
    for (name, constants, golden) in cases {
        let made = features(&rows, &[("words", function(name, &constants))]);
        let mut dense = vec![0.0; 40 * 11];
        for (row, list) in sparse(made.column(0).as_list()).into_iter().enumerate() {
            list.unwrap().into_iter().for_each(|(index, value)| dense[row * 11 + index as usize - 1] = value);
        }
        for (place, (made, wanted)) in dense.iter().zip(expected("texts", golden)).enumerate() {
            assert!((made - wanted).abs() < 1e-14, "{name} {golden} {place}: {made} {wanted}");
        }
    }
}

#[test]
fn words_that_are_not_known_are_the_first() {
    let known = rows(&[("words", words(&[Some(&["b", "a", "b"]), Some(&["c", "b"]), None]))]);
    let asked = rows(&[("words", words(&[Some(&["z", "b", "b", "y"]), Some(&[]), None]))]);
    let made = |name: &str, constants: &[ScalarValue]| {
        let fitted = try_fitted(&transform(&known, &[("words", function(name, constants))]), &known).unwrap();
        sparse(fitted.prepare().unwrap().features(&asked).unwrap().column(0).as_list())
    };
    assert_eq!(made("ML.BAG_OF_WORDS", &[]), [Some(vec![(0, 2.0), (2, 2.0)]), Some(vec![]), None]);
    // b is in two lists, the others in one.
    assert_eq!(made("ML.BAG_OF_WORDS", &constants(&[1], None))[0], Some(vec![(0, 2.0), (1, 2.0)]));
    assert_eq!(made("ML.BAG_OF_WORDS", &constants(&[9, 2], None))[0], Some(vec![(0, 2.0), (1, 2.0)]));
    let weighed = made("ML.TF_IDF", &[]);
    assert_eq!(weighed[0], Some(vec![(0, 0.5 * 2_f64.ln_1p()), (2, 0.5 * (2.0 / 3.0_f64).ln_1p())]));
    let directions = made("ML.TF_IDF", &constants(&[9, 1], Some("scikit_learn")));
    assert_eq!(directions, [Some(vec![(2, 1.0)]), Some(vec![]), None]);
}

#[test]
fn categories_are_encoded_by_the_label_and_rows_that_are_learnt_by_those_of_others() {
    let names = ["a", "b", "a", "b", "a", "c", "a", "b", "a", "a"].map(Some);
    let known = rows(&[("c", texts(&names))]);
    let labels: BooleanArray = names.iter().enumerate().map(|(n, name)| Some(*name == Some("a") && n != 2)).collect();
    let encoder = function("ML.TARGET_ENCODER", &constants(&[2, 3], None));
    let Fitted { version, learnt, .. } = fitted_to(&transform(&known, &[("c", encoder)]), &known, &labels).unwrap();
    let asked = rows(&[("c", texts(&[Some("a"), Some("b"), Some("d"), None]))]);
    let made = numbers(version.prepare().unwrap().features(&asked).unwrap().column(0));
    // Half of all labels are true: as many as two rows count, of a 5 of 6 and of b none of 3.
    assert_eq!(made, [Some(6.0 / 8.0), Some(1.0 / 5.0), Some(0.5), Some(0.5)]);

    let draws = row_draws(0, 10);
    let columns = [("c", texts(&names)), (DRAW_COLUMN, Arc::new(Int64Array::from(draws.clone())) as ArrayRef)];
    let made = numbers(learnt.unwrap().prepare().unwrap().features(&rows(&columns)).unwrap().column(0));
    for (row, made) in made.into_iter().enumerate() {
        let others: Vec<usize> = (0..10).filter(|other| draws[*other] % 3 != draws[row] % 3).collect();
        let mean = |rows: &[usize]| rows.iter().filter(|row| labels.value(**row)).count() as f64 / rows.len() as f64;
        let own: Vec<usize> = others.iter().copied().filter(|other| names[*other] == names[row]).collect();
        let count = own.len() as f64;
        let own = if own.is_empty() { 0.0 } else { mean(&own) };
        let wanted = (count * own + 2.0 * mean(&others)) / (count + 2.0);
        assert!((made.unwrap() - wanted).abs() < 1e-12, "{row}: {made:?} {wanted}");
    }
    // Nothing else differs for rows that are learnt.
    let bag = function("ML.ONE_HOT_ENCODER", &[]);
    assert!(fitted_to(&transform(&known, &[("c", bag)]), &known, &labels).unwrap().learnt.is_none());
}

/// A version that learns so many numbers of a list, and the words of another by their weight.
fn version(known: &RecordBatch) -> (Vec<u8>, RecordBatch) {
    let mut transform = transform(known, &[("words", function("ML.TF_IDF", &[]))]);
    let sum = Expr::BinaryExpr(datafusion::logical_expr::BinaryExpr::new(
        Box::new(col("n")),
        Operator::Plus,
        Box::new(lit(1.0)),
    ));
    transform.features.push(Projection { name: String::from("x"), expr: StreamExpr(col("x")) });
    transform.features.push(Projection { name: String::from("n"), expr: StreamExpr(sum) });
    let fitted = fitted_to(&transform, known, &NullArray::new(known.num_rows())).unwrap();
    let mut lists = fitted.lists();
    let prepared = fitted.version.prepare().unwrap();
    lists.add(&prepared.features(known).unwrap()).unwrap();
    let lists: ListFeatures = lists.finish();
    let prepared = prepared.with_lists(lists.clone());
    let learnt = prepared.expanded(&prepared.features(known).unwrap()).unwrap().into_owned();
    let schema = FeatureSchema::from_arrow(learnt.schema_ref()).unwrap();
    let mut model = create_batch("robust_zscore", &BTreeMap::new(), &schema, &DataType::Null).unwrap();
    model.add(&learnt, &NullArray::new(known.num_rows())).unwrap();
    (seal(&fitted.version, &lists, &model.fit().unwrap().model).unwrap(), learnt)
}

fn lists_of_numbers(lists: &[&[f64]]) -> ArrayRef {
    let mut builder = ListBuilder::new(Float64Builder::new());
    lists.iter().for_each(|list| builder.append_value(list.iter().map(|number| Some(*number))));
    Arc::new(builder.finish())
}

#[test]
fn a_version_knows_which_features_its_lists_are() {
    let known = rows(&[
        ("words", words(&[Some(&["b", "a"]), Some(&["b"]), Some(&["it's"])])),
        ("x", lists_of_numbers(&[&[1.0, 2.0], &[3.0, 5.0], &[4.0, 9.0]])),
        ("n", floats(&[Some(1.0), Some(2.0), Some(5.0)])),
    ]);
    let (version, learnt) = version(&known);
    let names: Vec<&str> = learnt.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["words['a']", "words['b']", "words['it''s']", "x[1]", "x[2]", "n"]);
    assert_eq!(numbers(learnt.column(4)), [Some(2.0), Some(5.0), Some(9.0)]);

    let model = FittedModel::restore(&version).unwrap();
    assert_eq!(model.inputs(), ["words", "x", "n"]);
    let features = model.features(&known).unwrap();
    assert_eq!(features.num_columns(), 3, "ML.TRANSFORM has lists");
    let asked = model.transform().unwrap().expanded(&features).unwrap();
    assert_eq!(asked.as_ref(), &learnt);
    let short = rows(&[
        ("words", words(&[None])),
        ("x", lists_of_numbers(&[&[1.0]])),
        ("n", Arc::new(Int64Array::from(vec![1]))),
    ]);
    let error = model.features(&short).unwrap_err().to_string();
    assert!(error.contains("the list in column 'x' has 1 numbers, and 2 were expected"), "{error}");
    for length in (0..version.len()).step_by(7) {
        let _ = FittedModel::restore(&version[..length]);
    }
}

#[test]
fn lists_are_read_as_other_lists_if_nothing_is_lost() {
    let list = |element| DataType::List(Arc::new(Field::new_list_field(element, true)));
    assert!(can_read(&list(DataType::Int64), &list(DataType::Float64)));
    assert!(can_read(&list(DataType::Utf8View), &list(DataType::Utf8)));
    let fixed = DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Float32, true)), 3);
    assert!(can_read(&fixed, &list(DataType::Float64)));
    assert!(!can_read(&list(DataType::Float64), &list(DataType::Int64)));
    assert!(!can_read(&DataType::Float64, &list(DataType::Float64)));
}
