//! Attributions are those of the definition, over all sets of features.

use super::super::tree::{Child, Tree};
use super::super::{Block, BoostedTrees};
use super::*;
use crate::explain::tests::shapley;
use crate::goldens::{assert_all_close, reference_rows};
use crate::predictor::Supervised;

/// Rows as trees see them.
fn seen(model: &BoostedTrees, rows: &RecordBatch) -> Vec<(Vec<f64>, Vec<u32>)> {
    let (mut seen, mut block) = (Vec::new(), Block::new(&model.encoder));
    let push = |row, slots: &[u32], values: &[f64]| {
        block.push(row, slots, values);
        seen.push((block.numbers(0).to_vec(), block.categories(0).to_vec()));
        block.clear();
    };
    assert!(model.encoder.visit(rows, push).unwrap().is_none());
    seen
}

/// What a tree says of a row where these of its features are known: else both ways count, by the rows that went there.
fn says(tree: &Tree, place: Child, row: &(Vec<f64>, Vec<u32>), known: u32, all: &[&(Vec<f64>, Vec<u32>)]) -> f64 {
    let node = match place {
        Child::Leaf(leaf) => {
            assert_eq!(tree.rows[leaf as usize], all.len() as u64);
            return tree.values[leaf as usize];
        }
        Child::Node(node) => &tree.nodes[node as usize],
    };
    let (left, right): (Vec<_>, Vec<_>) = all.iter().partition(|other| node.goes_left(&other.0, &other.1));
    let at_left = says(tree, node.left, row, known, &left);
    let at_right = says(tree, node.right, row, known, &right);
    match (known >> node.feature & 1 == 1, node.goes_left(&row.0, &row.1)) {
        (true, true) => at_left,
        (true, false) => at_right,
        _ => (at_left * left.len() as f64 + at_right * right.len() as f64) / all.len() as f64,
    }
}

#[test]
fn attributions_are_shapley_values_of_the_training_rows() {
    let (rows, _) = reference_rows(0..300);
    let labels = Float64Array::from_iter_values((0..300).map(|i| (i * 37 % 101 * (i * i % 7)) as f64 / 100.0));
    let options = [("max_iterations", "4"), ("num_leaves", "12"), ("min_rows_in_leaf", "5")];
    let report = fit(REGRESSOR, &options, &rows, &labels).unwrap();
    let model = BoostedTrees::restore(&report.model).unwrap();
    let asked = reference_rows(300..308).0;
    let said = model.predictions(&asked).unwrap();
    let explanations = model.explanations(&asked, &said).unwrap().unwrap();
    let all = seen(&model, &rows);
    let all: Vec<_> = all.iter().collect();
    for (place, row) in seen(&model, &asked).iter().enumerate() {
        let of_trees = |known: u32| {
            let trees = model.trees[0].iter().map(|tree| says(tree, tree.root(), row, known, &all));
            model.first[0] + trees.sum::<f64>()
        };
        // Numbers first, as the schema has them here.
        assert_all_close(explanations.attributions(place), &shapley(4, of_trees), 1e-9);
        assert!((explanations.baselines().value(place) - of_trees(0)).abs() < 1e-9);
        assert!((explanations.values().value(place) - of_trees(15)).abs() < 1e-9);
    }
}
