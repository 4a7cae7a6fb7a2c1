//! Attributions are those of the definition, over all sets of features.

use super::super::tree::Tree;
use super::*;
use crate::explain::Place;
use crate::explain::tests::shapley;
use crate::predictor::Supervised;

/// The share of a class and the weight behind a place, where these features are known.
fn says(tree: &Tree, place: Place, row: (&[f64], &[u8]), class: usize, known: u32) -> (f64, f64) {
    let node = match place {
        Place::Leaf(leaf) => return (tree.leaves.share(leaf, class), tree.leaves.weights()[leaf]),
        Place::Node(node) => node,
    };
    let [left, right] = tree.nodes[node].children().map(|child| says(tree, child, row, class, known));
    let weight = left.1 + right.1;
    let said = match (known >> tree.nodes[node].feature & 1 == 1, tree.goes_left(node, row.0, row.1)) {
        (true, true) => left.0,
        (true, false) => right.0,
        _ => (left.0 * left.1 + right.0 * right.1) / weight,
    };
    (said, weight)
}

#[test]
fn attributions_are_shapley_values() {
    let (rows, labels) = mixed(400);
    let options = [("num_parallel_tree", "3"), ("max_tree_depth", "6")];
    let report = fit(CLASSIFIER, &options, &rows, &integers(&labels)).unwrap();
    let forest = Forest::restore(&report.model).unwrap();
    let asked = mixed(412).0.slice(400, 12);
    let said = forest.predictions(&asked).unwrap();
    let explanations = forest.explanations(&asked, &said).unwrap().unwrap();
    let numeric = forest.encoder.numeric();
    let mut block = super::super::model::Block::default();
    let push = |_, slots: &[u32], values: &[f64]| {
        block.push(&values[1..=numeric], &slots[1 + numeric..], &forest.categories);
    };
    assert!(forest.encoder.visit(&asked, push).unwrap().is_none());
    for row in 0..12 {
        let class = said.place(row);
        let of_trees = |known: u32| {
            let root = |tree: &Tree| if tree.nodes.is_empty() { Place::Leaf(0) } else { Place::Node(0) };
            let trees = forest.trees.iter().map(|tree| says(tree, root(tree), block.row(row), class, known).0);
            trees.sum::<f64>() / 3.0
        };
        // The schema has the category between the numbers, which come first in trees.
        let [x, y, category] = shapley(3, of_trees)[..] else { panic!() };
        assert_all_close(explanations.attributions(row), &[x, category, y], 1e-12);
        assert!((explanations.baselines().value(row) - of_trees(0)).abs() < 1e-12);
        assert!((explanations.values().value(row) - of_trees(7)).abs() < 1e-12);
    }
}
