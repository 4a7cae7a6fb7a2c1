//! A tree or a forest as an ONNX graph.

use super::model::Forest;
use super::split::contains;
use super::tree::{Leaves, Question, Tree};
use crate::boosted_trees::Target;
use crate::boosted_trees::bins::OTHERS;
use crate::explain::Place;
use crate::onnx::{Ensemble, Graph, Inputs, Leaf, Next, Outputs, Split};

impl Forest {
    pub(crate) fn onnx(&self, graph: &mut Graph, label: &str) {
        let inputs = Inputs::new(&self.encoder, graph);
        let mut ensemble = Ensemble::new(self.width(), &inputs);
        self.trees.iter().for_each(|tree| self.push(tree, inputs.numeric, &mut ensemble));
        let sums = ensemble.sums(&inputs, graph);
        let trees = graph.double(self.trees.len() as f64);
        let means = graph.node("Div", [&sums, &trees]);
        let outputs = Outputs { label };
        match &self.target {
            Target::Classes(classes) => outputs.classes(graph, classes.names(), classes.kind(), &means),
            Target::Numbers(_) => outputs.numbers(graph, &means),
        }
    }

    fn push(&self, tree: &Tree, numeric: usize, ensemble: &mut Ensemble) {
        let next = |place: Place| match place {
            Place::Node(node) => Next::Split(node),
            Place::Leaf(leaf) => Next::Leaf(leaf),
        };
        let splits = (0..tree.nodes.len()).map(|place| {
            let feature = tree.nodes[place].feature as usize;
            let split = match tree.question(place) {
                Question::AtMost { threshold, missing_left } => Split::Number { feature, threshold, missing_left },
                Question::In(set) => {
                    let feature = feature - numeric;
                    // What was never seen is behind all places.
                    let bins = self.categories.of_places(feature).iter().chain([&OTHERS]);
                    let places = (0..).zip(bins).filter(|(_, bin)| contains(set, **bin)).map(|(place, _)| place);
                    Split::Set { feature, places: places.collect() }
                }
            };
            (split, tree.nodes[place].children().map(next))
        });
        ensemble.push(
            splits.collect(),
            (0..tree.leaves.count()).map(|leaf| said(&tree.leaves, leaf, self.width())).collect(),
        );
    }
}

fn said(leaves: &Leaves, leaf: usize, width: usize) -> Leaf {
    let mut sums = vec![0.0; width];
    leaves.add(leaf, &mut sums);
    sums.into_iter().enumerate().filter(|(_, share)| *share != 0.0).collect()
}
