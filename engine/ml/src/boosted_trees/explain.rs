//! What predictions of boosted trees are made of: the sum of what each tree attributes to the features.

use arrow::array::RecordBatch;

use super::objective::Objective;
use super::tree::{Child, Tree};
use super::{Block, BoostedTrees};
use crate::error::Result;
use crate::explain::{Explanations, Place, ShapTree, Walk};
use crate::predictor::{Predictions, Supervised};

/// A score, and how it is explained.
struct Score<'a> {
    /// What it is on average.
    baseline: f64,
    trees: Vec<(&'a Tree, ShapTree)>,
}

impl Score<'_> {
    fn of<'a>(first: f64, trees: &'a [Tree], features: &[usize]) -> Score<'a> {
        let trees: Vec<_> = trees.iter().map(|tree| (tree, tree.explained(features))).collect();
        let means = trees.iter().map(|(tree, explained)| explained.mean(|leaf| tree.values[leaf]));
        Score { baseline: first + means.sum::<f64>(), trees }
    }
}

impl Tree {
    /// What explanations must know of the tree, given the place of each of its features in the schema.
    pub(super) fn explained(&self, features: &[usize]) -> ShapTree {
        let place = |child: Child| match child {
            Child::Node(node) => Place::Node(node as usize),
            Child::Leaf(leaf) => Place::Leaf(leaf as usize),
        };
        let nodes = self.nodes.iter().map(|node| (features[node.feature as usize], [node.left, node.right].map(place)));
        ShapTree::new(nodes, &self.rows.iter().map(|rows| *rows as f64).collect::<Vec<_>>())
    }
}

impl BoostedTrees {
    /// Of each row, what the score of its predicted class is made of, or its number.
    pub(super) fn explained(&self, features: &RecordBatch, said: &Predictions) -> Result<Explanations> {
        let (schema, objective) = (self.schema(), self.target.objective());
        let places = schema.numbers_first();
        let scores: Vec<_> =
            self.first.iter().zip(&self.trees).map(|(first, trees)| Score::of(*first, trees, &places)).collect();
        let mut walk = Walk::new(scores.iter().flat_map(|score| &score.trees).map(|(_, tree)| tree), places.len());
        let mut explanations = Explanations::new(schema, features.num_rows());
        let mut block = Block::new(&self.encoder);
        let usable = self.encoder.visit(features, |row, slots, values| {
            block.push(row, slots, values);
            let (numbers, categories) = (block.numbers(0), block.categories(0));
            let class = said.place(row);
            // The only score of two classes speaks for the second.
            let (score, sign) = match objective {
                Objective::Squares => (0, 1.0),
                Objective::Binary => (0, if class == 1 { 1.0 } else { -1.0 }),
                Objective::Classes(_) => (class, 1.0),
            };
            let Score { baseline, trees } = &scores[score];
            let value = trees.iter().fold(self.first[score], |sum, (tree, _)| sum + tree.value(numbers, categories));
            let attributions = explanations.explain(row, class, sign * baseline, sign * value);
            for (tree, explained) in trees {
                let goes_left = |node: usize| tree.nodes[node].goes_left(numbers, categories);
                walk.add(explained, goes_left, |leaf| sign * tree.values[leaf], attributions);
            }
            block.clear();
        })?;
        Ok(explanations.of_usable(usable))
    }
}
