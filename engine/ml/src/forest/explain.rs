//! What predictions of trees and forests are made of: the mean of what each tree attributes to the features.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;

use super::model::{Block, Forest};
use super::tree::Tree;
use crate::boosted_trees::Target;
use crate::error::Result;
use crate::explain::{Explanations, ShapTree, Walk};
use crate::predictor::{Predictions, Supervised};

impl Tree {
    /// What explanations must know of the tree, given the place of each of its features in the schema.
    pub(super) fn explained(&self, features: &[usize]) -> ShapTree {
        let nodes = self.nodes.iter().map(|node| (features[node.feature as usize], node.children()));
        ShapTree::new(nodes, &self.leaves.weights())
    }
}

impl Forest {
    /// Of each row, what the probability of its predicted class is made of, or its number.
    pub(super) fn explained(&self, features: &RecordBatch, said: &Predictions) -> Result<Explanations> {
        let (schema, count, numeric) = (self.schema(), self.trees.len() as f64, self.encoder.numeric());
        let places = schema.numbers_first();
        let trees: Vec<_> = self.trees.iter().map(|tree| (tree, tree.explained(&places))).collect();
        let baselines: Vec<f64> = (0..self.width())
            .map(|class| {
                trees.iter().map(move |(tree, explained)| explained.mean(|leaf| tree.leaves.share(leaf, class)))
            })
            .map(|means| means.sum::<f64>() / count)
            .collect();
        let mut walk = Walk::new(trees.iter().map(|(_, tree)| tree), places.len());
        let mut explanations = Explanations::new(schema, features.num_rows());
        let mut block = Block::default();
        let usable = self.encoder.visit(features, |row, slots, values| {
            block.push(&values[1..=numeric], &slots[1 + numeric..], &self.categories);
            let (numbers, categories) = block.row(0);
            let class = said.place(row);
            let value = match &self.target {
                Target::Numbers(_) => said.labels.as_primitive::<Float64Type>().value(row),
                Target::Classes(_) => said.probabilities[class].value(row),
            };
            let attributions = explanations.explain(row, class, baselines[class], value);
            for (tree, explained) in &trees {
                let goes_left = |node: usize| tree.goes_left(node, numbers, categories);
                walk.add(explained, goes_left, |leaf| tree.leaves.share(leaf, class) / count, attributions);
            }
            block.clear();
        })?;
        Ok(explanations.of_usable(usable))
    }
}
