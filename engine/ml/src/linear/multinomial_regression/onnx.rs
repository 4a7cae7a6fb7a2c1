//! A classifier between any number of classes as an ONNX graph.

use super::MultinomialRegression;
use crate::onnx::{Graph, Inputs, Outputs, scores};

impl MultinomialRegression {
    pub(crate) fn onnx(&self, graph: &mut Graph, label: &str) {
        let inputs = Inputs::new(&self.encoder, graph);
        let weights: Vec<_> = self.weights.chunks_exact(self.encoder.slots()).collect();
        let scores = scores(graph, &inputs, &weights);
        let probabilities = graph.node("Softmax", [&scores]);
        Outputs { label }.classes(graph, self.classes.names(), self.classes.kind(), &probabilities);
    }
}
