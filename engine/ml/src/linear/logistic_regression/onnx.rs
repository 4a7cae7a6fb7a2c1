//! A binary classifier as an ONNX graph.

use super::LogisticRegression;
use crate::onnx::{Graph, Inputs, Outputs, scores};

impl LogisticRegression {
    pub(crate) fn onnx(&self, graph: &mut Graph, label: &str) {
        let inputs = Inputs::new(&self.log_odds.encoder(), graph);
        let log_odds = scores(graph, &inputs, &[self.log_odds.weights()]);
        let probability = graph.node("Sigmoid", [&log_odds]);
        Outputs { label }.booleans(graph, &probability);
    }
}
