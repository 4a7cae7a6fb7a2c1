//! How much trees and forests use each feature: what [`ModelTable::FeatureImportance`](crate::inspect::ModelTable) shows.

use arrow::array::RecordBatch;

use super::model::Forest;
use super::tree::Tree;
use crate::error::Result;
use crate::explain::Place;
use crate::inspect::{SplitUse, importance_table};
use crate::predictor::Supervised;

impl Tree {
    /// What each split does. A node's rows are those of the leaves behind it, and children are behind their node.
    fn uses(&self) -> Vec<SplitUse> {
        let leaves = self.leaves.weights();
        let mut rows = vec![0.0; self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate().rev() {
            let of_child = |child| match child {
                Place::Node(node) => rows[node],
                Place::Leaf(leaf) => leaves[leaf],
            };
            let [left, right] = node.children().map(of_child);
            rows[place] = left + right;
        }
        let nodes = self.nodes.iter().zip(rows);
        nodes
            .map(|(node, rows)| SplitUse { feature: node.feature as usize, gain: f64::from(node.gain), rows })
            .collect()
    }
}

impl Forest {
    /// A split gains what it lowers the impurity of its tree's rows by, as a part of what they have without it.
    pub(super) fn importance(&self) -> Result<RecordBatch> {
        importance_table(self.schema(), self.trees.iter().flat_map(Tree::uses))
    }
}
