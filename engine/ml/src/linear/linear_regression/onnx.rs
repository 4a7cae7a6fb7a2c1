//! A linear model of numbers as an ONNX graph.

use super::LinearRegression;
use crate::onnx::{Graph, Inputs, Outputs, scores};

impl LinearRegression {
    pub(crate) fn onnx(&self, graph: &mut Graph, label: &str) {
        let inputs = Inputs::new(&self.encoder, graph);
        let scores = scores(graph, &inputs, &[&self.weights]);
        Outputs { label }.numbers(graph, &scores);
    }
}
