//! Boosted trees as an ONNX graph.

use super::objective::Objective;
use super::tree::{Child, Node, Test, Tree};
use super::{BoostedTrees, Target};
use crate::onnx::{Ensemble, Graph, Inputs, Next, Outputs, Split, both};

impl BoostedTrees {
    pub(crate) fn onnx(&self, graph: &mut Graph, label: &str) {
        let inputs = Inputs::new(&self.encoder, graph);
        let mut ensemble = Ensemble::new(self.first.len(), &inputs);
        for (score, (first, trees)) in self.first.iter().zip(&self.trees).enumerate() {
            ensemble.add_to_all(score, *first);
            trees.iter().for_each(|tree| push(tree, score, inputs.numeric, &mut ensemble));
        }
        let scores = ensemble.sums(&inputs, graph);
        let outputs = Outputs { label };
        let Target::Classes(classes) = &self.target else { return outputs.numbers(graph, &scores) };
        let probabilities = match self.target.objective() {
            Objective::Binary => {
                let second = graph.node("Sigmoid", [&scores]);
                both(graph, &second)
            }
            Objective::Classes(_) | Objective::Squares => graph.node("Softmax", [&scores]),
        };
        outputs.classes(graph, classes.names(), classes.kind(), &probabilities);
    }
}

fn push(tree: &Tree, score: usize, numeric: usize, ensemble: &mut Ensemble) {
    let next = |child: Child| match child {
        Child::Node(node) => Next::Split(node as usize),
        Child::Leaf(leaf) => Next::Leaf(leaf as usize),
    };
    let splits = tree.nodes.iter().map(|node| (split(node, numeric), [node.left, node.right].map(next)));
    ensemble.push(splits.collect(), tree.values.iter().map(|value| vec![(score, *value)]).collect());
}

fn split(node: &Node, numeric: usize) -> Split {
    let feature = node.feature as usize;
    match &node.test {
        Test::AtMost(threshold) => Split::Number { feature, threshold: *threshold, missing_left: node.missing_left },
        Test::In(set) => {
            let is_in = |place: &u32| set[*place as usize / 64] >> (place % 64) & 1 == 1;
            Split::Set { feature: feature - numeric, places: (0..64 * set.len() as u32).filter(is_in).collect() }
        }
    }
}
