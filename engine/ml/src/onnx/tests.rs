//! What a graph is made of; that it says what the model does, `tests/it/onnx.rs` has ONNX Runtime tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
use expect_test::expect;
use prost::Message;

use super::onnx_file;
use super::proto::{ModelProto, ValueInfoProto};
use crate::{FeatureSchema, create_batch};

fn rows() -> RecordBatch {
    let number = Arc::new(Float64Array::from_iter((0..40).map(|row| (row % 7 > 0).then_some(f64::from(row % 11)))));
    let city = Arc::new(StringArray::from_iter((0..40).map(|row| ["a", "b", "c"].get(row % 4).copied())));
    RecordBatch::try_from_iter([("number", number as ArrayRef), ("city", city as ArrayRef)]).unwrap()
}

fn fitted(model_type: &str, labels: &dyn Array) -> Vec<u8> {
    let features = rows();
    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    let few =
        [("max_iterations", "2"), ("min_rows_in_leaf", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let options = if model_type.starts_with("boosted") { BTreeMap::from(few) } else { BTreeMap::new() };
    let mut model = create_batch(model_type, &options, &schema, labels.data_type()).unwrap();
    model.add(&features, labels).unwrap();
    model.fit().unwrap().model
}

fn late() -> BooleanArray {
    (0..40).map(|row| Some(row % 4 == 1 || row % 11 > 8)).collect()
}

fn shown(values: &[ValueInfoProto]) -> String {
    let one = |value: &ValueInfoProto| {
        let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
        let dim = &tensor.shape.as_ref().unwrap().dim;
        assert_eq!((dim[0].dim_param.as_str(), dim.len()), ("rows", 2));
        format!("{} type {} x {}", value.name, tensor.elem_type, dim[1].dim_value)
    };
    values.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn features_are_inputs_and_what_ml_predict_adds_are_outputs() {
    let file = onnx_file(&fitted("logistic_reg", &late()), "late").unwrap();
    let model = ModelProto::decode(&file[..]).unwrap();
    let graph = model.graph.unwrap();
    expect!["number type 11 x 1, city type 8 x 1"].assert_eq(&shown(&graph.input));
    expect!["predicted_late type 9 x 1, predicted_late_probs type 11 x 2"].assert_eq(&shown(&graph.output));
    assert_eq!(model.metadata_props[0].value, r#"["false","true"]"#);
    let versions: Vec<_> = model.opset_import.iter().map(|set| (set.domain.as_str(), set.version)).collect();
    assert_eq!((model.ir_version, versions), (8, vec![("", 17), ("ai.onnx.ml", 3)]));
}

#[test]
fn a_node_reads_what_was_made_before_it() {
    for model_type in ["logistic_reg", "boosted_tree_classifier"] {
        let file = onnx_file(&fitted(model_type, &late()), "late").unwrap();
        let graph = ModelProto::decode(&file[..]).unwrap().graph.unwrap();
        let inputs = graph.input.iter().map(|input| input.name.clone());
        let mut known: Vec<String> = inputs.chain(graph.initializer.iter().map(|tensor| tensor.name.clone())).collect();
        for node in &graph.node {
            assert!(node.input.iter().all(|input| known.contains(input)), "{model_type}: {node:?}");
            assert!(!known.contains(&node.output[0]), "{model_type}: {node:?}");
            known.push(node.output[0].clone());
        }
        assert!(graph.output.iter().all(|output| known.contains(&output.name)), "{model_type}");
    }
}

#[test]
fn a_split_by_categories_asks_for_a_column_of_its_own() {
    let file = onnx_file(&fitted("boosted_tree_classifier", &late()), "late").unwrap();
    let graph = ModelProto::decode(&file[..]).unwrap().graph.unwrap();
    let trees = graph.node.iter().find(|node| node.op_type == "TreeEnsembleRegressor").unwrap();
    let attribute = |name: &str| trees.attribute.iter().find(|attribute| attribute.name == name).unwrap();
    let features = &attribute("nodes_featureids").ints;
    let count = features.len();
    assert_eq!(attribute("nodes_modes").strings.len(), count);
    assert_eq!(attribute("nodes_values_as_tensor").t.as_ref().unwrap().double_data.len(), count);
    // The only number is column 0.
    assert!(features.iter().any(|feature| *feature > 0), "{features:?}");
}

#[test]
fn other_models_have_no_graph() {
    let error = onnx_file(&fitted("naive_bayes", &late()), "late").unwrap_err();
    expect!["a naive_bayes model cannot be exported so; linear models, logistic regression, trees, forests and boosted trees can"]
        .assert_eq(&error.to_string());
}
