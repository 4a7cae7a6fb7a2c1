//! Lists as features, by hand: what becomes of NULLs, of what the training set does not have, and of lists of another length.

use arrow::array::{
    ArrayRef, FixedSizeListBuilder, Float64Builder, Int32Builder, Int64Array, ListBuilder, StringBuilder, StructArray,
};
use arrow::buffer::OffsetBuffer;

use super::*;

fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn numbers(lists: &[Option<&[Option<i32>]>]) -> ArrayRef {
    let mut builder = ListBuilder::new(Int32Builder::new());
    for list in lists {
        builder.append_option(list.map(|list| list.iter().copied()));
    }
    Arc::new(builder.finish())
}

fn words(lists: &[Option<&[Option<&str>]>]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for list in lists {
        builder.append_option(list.map(|list| list.iter().copied()));
    }
    Arc::new(builder.finish())
}

fn sparse(lists: &[&[(i64, f64)]]) -> ArrayRef {
    let all: Vec<(i64, f64)> = lists.concat();
    let index: ArrayRef = Arc::new(Int64Array::from_iter_values(all.iter().map(|(index, _)| *index)));
    let value: ArrayRef = Arc::new(Float64Array::from_iter_values(all.iter().map(|(_, value)| *value)));
    let DataType::Struct(fields) = sparse_element() else { unreachable!("it is one") };
    let elements = StructArray::new(fields, vec![index, value], None);
    let field = Arc::new(Field::new_list_field(sparse_element(), true));
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.len()));
    Arc::new(ListArray::new(field, offsets, Arc::new(elements), None))
}

fn collected(rows: &RecordBatch, terms: &[&str]) -> ListFeatures {
    let mut collector = ListCollector::new(rows.schema_ref());
    let terms: Vec<String> = terms.iter().map(|term| (*term).to_owned()).collect();
    collector.name("x", &terms);
    for row in 0..rows.num_rows() {
        collector.add(&rows.slice(row, 1)).unwrap();
    }
    collector.finish()
}

/// The features of rows, each with its name and values.
fn expanded(features: &ListFeatures, rows: &RecordBatch) -> Vec<(String, Vec<Option<f64>>)> {
    let expanded = features.expand(rows).unwrap();
    let named = expanded.schema_ref().fields().iter().zip(expanded.columns()).map(|(field, column)| {
        let values = cast(column, &DataType::Float64).unwrap();
        (field.name().clone(), values.as_primitive::<Float64Type>().iter().collect())
    });
    named.collect()
}

fn named(name: &str, values: &[Option<f64>]) -> (String, Vec<Option<f64>>) {
    (name.to_owned(), values.to_vec())
}

#[test]
fn numbers_are_features_by_their_place() {
    let lists = numbers(&[None, Some(&[Some(1), None]), Some(&[Some(3), Some(4)])]);
    let rows = rows(vec![("x", lists), ("n", Arc::new(Int64Array::from(vec![7, 8, 9])))]);
    let features = collected(&rows, &[]);
    assert!(!features.is_empty());
    let wanted = [
        named("x[1]", &[None, Some(1.0), Some(3.0)]),
        named("x[2]", &[None, None, Some(4.0)]),
        named("n", &[Some(7.0), Some(8.0), Some(9.0)]),
    ];
    assert_eq!(expanded(&features, &rows), wanted);
    assert_eq!(expanded(&features, &rows.slice(1, 2))[1], named("x[2]", &[None, Some(4.0)]));
}

#[test]
fn lists_of_a_fixed_size_are_lists() {
    let mut builder = FixedSizeListBuilder::new(Float64Builder::new(), 2);
    for values in [[1.0, 2.0], [3.0, 4.0]] {
        builder.values().append_slice(&values);
        builder.append(true);
    }
    let rows = rows(vec![("x", Arc::new(builder.finish()))]);
    let wanted = [named("x[1]", &[Some(1.0), Some(3.0)]), named("x[2]", &[Some(2.0), Some(4.0)])];
    assert_eq!(expanded(&collected(&rows, &[]), &rows), wanted);
}

#[test]
fn a_list_of_another_length_is_refused() {
    let known = rows(vec![("x", numbers(&[None, Some(&[Some(1), Some(2)]), Some(&[Some(1)])]))]);
    let features = collected(&known, &[]);
    let error = features.check(&known).unwrap_err().to_string();
    assert_eq!(error, "the list in column 'x' has 1 numbers, and 2 were expected, as the first row had");
    assert!(features.expand(&known).is_err());
    assert!(features.check(&known.slice(0, 2)).is_ok());
    let other = rows(vec![("y", numbers(&[None]))]);
    assert!(matches!(features.check(&other), Err(MlError::MissingColumn { .. })));
}

#[test]
fn texts_are_features_by_what_they_are() {
    let rows = rows(vec![(
        "x",
        words(&[Some(&[Some("b"), Some("a"), Some("b")]), None, Some(&[]), Some(&[None, Some("it's")])]),
    )]);
    let features = collected(&rows.slice(0, 4), &[]);
    let wanted = [
        named("x['a']", &[Some(1.0), None, Some(0.0), Some(0.0)]),
        named("x['b']", &[Some(1.0), None, Some(0.0), Some(0.0)]),
        named("x['it''s']", &[Some(0.0), None, Some(0.0), Some(1.0)]),
    ];
    assert_eq!(expanded(&features, &rows), wanted);
    // What no row of the training set has is in no feature.
    assert_eq!(expanded(&collected(&rows.slice(2, 2), &[]), &rows)[0].1, [Some(0.0), None, Some(0.0), Some(1.0)]);
}

#[test]
fn sparse_lists_are_features_by_their_indices() {
    let rows = rows(vec![("x", sparse(&[&[(3, 0.5), (0, 2.0)], &[], &[(3, 1.0), (3, 0.25), (9, 7.0)]]))]);
    let features = collected(&rows, &["one", "two", "three"]);
    let wanted = [
        named("x[0]", &[Some(2.0), Some(0.0), Some(0.0)]),
        named("x['three']", &[Some(0.5), Some(0.0), Some(1.25)]),
        named("x[9]", &[Some(0.0), Some(0.0), Some(7.0)]),
    ];
    assert_eq!(expanded(&features, &rows), wanted);
}

#[test]
fn more_features_than_models_have_room_for_are_refused() {
    let many: Vec<String> = (0..=LIST_FEATURES_MAX).map(|n| format!("w{n}")).collect();
    let many: Vec<Option<&str>> = many.iter().map(|word| Some(word.as_str())).collect();
    let mut collector = ListCollector::new(rows(vec![("x", words(&[]))]).schema_ref());
    collector.add(&rows(vec![("x", words(&[Some(&many[1..])]))])).unwrap();
    let error = collector.add(&rows(vec![("x", words(&[Some(&many)]))])).unwrap_err().to_string();
    assert!(error.contains("more than 4096 features") && error.contains("ML.TF_IDF(x, 4095) OVER ()"), "{error}");
}

#[test]
fn a_list_without_any_is_no_feature() {
    let rows = rows(vec![("x", numbers(&[None, None])), ("n", Arc::new(Int64Array::from(vec![7, 8])))]);
    assert_eq!(expanded(&collected(&rows, &[]), &rows), [named("n", &[Some(7.0), Some(8.0)])]);
}

#[test]
fn some_types_are_lists_of_features() {
    let list = |element| DataType::List(Arc::new(Field::new_list_field(element, true)));
    for element in [DataType::Int8, DataType::Float32, DataType::Utf8View, sparse_element()] {
        assert!(is_feature_list(&list(element.clone())), "{element}");
    }
    let other = DataType::Struct(Fields::from(vec![Field::new("index", DataType::Int64, true)]));
    for data_type in [list(DataType::Boolean), list(other), list(list(DataType::Int64)), DataType::Utf8] {
        assert!(!is_feature_list(&data_type), "{data_type}");
    }
    let schema =
        Schema::new(vec![Field::new("x", list(DataType::Int64), true), Field::new("n", DataType::Int64, true)]);
    let names: Vec<_> = assumed_features(&schema, 2).fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["x[1]", "x[2]", "n"]);
}
