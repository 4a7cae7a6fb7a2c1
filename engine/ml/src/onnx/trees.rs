//! Trees as one node of a graph.
//!
//! ONNX compares with a number only. So each set of categories that a split asks for is a column of its own, which has 0 for
//! the rows that are in it and 1 for the others: a split asks whether it is at most a half.

use std::collections::HashMap;

use super::graph::{Attribute, Element, Graph, Value};
use super::inputs::Inputs;

/// A split, of which rows go to the left that have at most this number, or a category of a set.
#[derive(Debug, Clone)]
pub(crate) enum Split {
    Number {
        feature: usize,
        threshold: f64,
        missing_left: bool,
    },
    /// The place of the feature among the categorical ones, and the places of the categories in the set, ascending; the one
    /// behind all is what was never seen.
    Set {
        feature: usize,
        places: Vec<u32>,
    },
}

/// What is said in a leaf: so much more for some of the scores.
pub(crate) type Leaf = Vec<(usize, f64)>;

/// Where a split leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Split(usize),
    Leaf(usize),
}

/// Trees whose leaves add up.
#[derive(Debug)]
pub(crate) struct Ensemble {
    scores: usize,
    numeric: usize,
    /// What rows have before any tree.
    first: Vec<f64>,
    /// Of each categorical feature, the sets that are asked for.
    sets: Vec<Sets>,
    nodes: Vec<Node>,
    leaves: Vec<(usize, usize, Leaf)>,
    trees: usize,
}

/// Different sets of places, in order of first sight, and the number of each there.
#[derive(Debug, Default)]
struct Sets {
    all: Vec<Vec<u32>>,
    numbers: HashMap<Vec<u32>, usize>,
}

impl Sets {
    fn number(&mut self, places: Vec<u32>) -> usize {
        *self.numbers.entry(places).or_insert_with_key(|places| {
            self.all.push(places.clone());
            self.all.len() - 1
        })
    }
}

#[derive(Debug)]
struct Node {
    tree: usize,
    number: usize,
    /// None of a leaf.
    split: Option<(Column, f64, bool)>,
    children: [usize; 2],
}

/// What a split looks at.
#[derive(Debug, Clone, Copy)]
enum Column {
    Number(usize),
    Set { feature: usize, set: usize },
}

impl Ensemble {
    /// No trees yet, of so many scores, numbers and categorical features.
    pub(crate) fn new(scores: usize, inputs: &Inputs) -> Self {
        Self {
            scores,
            numeric: inputs.numeric,
            first: vec![0.0; scores],
            sets: inputs.categories.iter().map(|_| Sets::default()).collect(),
            nodes: Vec::new(),
            leaves: Vec::new(),
            trees: 0,
        }
    }

    /// Adds so much to a score of all rows.
    pub(crate) fn add_to_all(&mut self, score: usize, value: f64) {
        self.first[score] += value;
    }

    /// Adds a tree: its splits, of which the first is the root, with what is to the left and to the right, and its leaves. A
    /// tree without splits has one leaf.
    pub(crate) fn push(&mut self, splits: Vec<(Split, [Next; 2])>, leaves: Vec<Leaf>) {
        if splits.is_empty() {
            leaves.into_iter().flatten().for_each(|(score, value)| self.first[score] += value);
            return;
        }
        let (tree, count) = (self.trees, splits.len());
        for (number, (split, children)) in splits.into_iter().enumerate() {
            // Leaves follow the splits.
            let children = children.map(|child| match child {
                Next::Split(number) => number,
                Next::Leaf(leaf) => count + leaf,
            });
            let split = Some(self.column(split));
            self.nodes.push(Node { tree, number, split, children });
        }
        for (leaf, said) in leaves.into_iter().enumerate() {
            self.nodes.push(Node { tree, number: count + leaf, split: None, children: [0; 2] });
            self.leaves.push((tree, count + leaf, said));
        }
        self.trees += 1;
    }

    /// What a split looks at, what that is at most where rows go to the left, and whether those without it do.
    fn column(&mut self, split: Split) -> (Column, f64, bool) {
        match split {
            Split::Number { feature, threshold, missing_left } => (Column::Number(feature), threshold, missing_left),
            Split::Set { feature, places } => {
                (Column::Set { feature, set: self.sets[feature].number(places) }, 0.5, false)
            }
        }
    }

    /// The sums of what trees say: rows × scores.
    pub(crate) fn sums(self, inputs: &Inputs, graph: &mut Graph) -> Value {
        let first = graph.doubles(&[1, self.scores], self.first.clone());
        let columns = self.columns(inputs, graph);
        match columns {
            Some(columns) if self.trees > 0 => {
                let sums = self.node(&columns, graph);
                let sums = graph.cast(&sums, Element::Double);
                graph.node("Add", [&sums, &first])
            }
            // Some input tells how many rows there are.
            _ => {
                let rows = self.a_column(inputs, graph);
                let zero = graph.double(0.0);
                let none = graph.node("Mul", [&rows, &zero]);
                graph.node("Add", [&none, &first])
            }
        }
    }

    /// A column of numbers that are there in each row.
    fn a_column(&self, inputs: &Inputs, graph: &mut Graph) -> Value {
        match inputs.categories.first() {
            Some(places) => places.look_up(vec![0.0; places.count + 1], 1, graph),
            None => {
                let zero = graph.double(0.0);
                let one = graph.ints(vec![1]);
                let numbers = inputs.numbers.clone().unwrap_or_else(|| zero.clone());
                let is_missing = graph.node("IsNaN", [&numbers]);
                let there = graph.cast(&is_missing, Element::Double);
                graph.node_with("ReduceSum", &[&there, &one], [Attribute::int("keepdims", 1)])
            }
        }
    }

    /// The numbers, and behind them a column for each set that is asked for.
    fn columns(&self, inputs: &Inputs, graph: &mut Graph) -> Option<Value> {
        let mut columns: Vec<Value> = inputs.numbers.iter().cloned().collect();
        for (places, Sets { all: sets, .. }) in inputs.categories.iter().zip(&self.sets) {
            if sets.is_empty() {
                continue;
            }
            let mut table = vec![1.0; (places.count + 1) * sets.len()];
            for (column, set) in sets.iter().enumerate() {
                set.iter().for_each(|place| table[*place as usize * sets.len() + column] = 0.0);
            }
            columns.push(places.look_up(table, sets.len(), graph));
        }
        graph.beside(&columns)
    }

    fn node(&self, columns: &Value, graph: &mut Graph) -> Value {
        let mut first_of = vec![self.numeric];
        first_of.extend(self.sets.iter().scan(self.numeric, |first, sets| {
            *first += sets.all.len();
            Some(*first)
        }));
        let column = |node: &Node| match node.split {
            Some((Column::Number(feature), ..)) => feature,
            Some((Column::Set { feature, set }, ..)) => first_of[feature] + set,
            None => 0,
        };
        let of_nodes = |of: &dyn Fn(&Node) -> i64| self.nodes.iter().map(of).collect::<Vec<_>>();
        let targets =
            || self.leaves.iter().flat_map(|(tree, node, said)| said.iter().map(move |of| (*tree, *node, of)));
        let modes = self.nodes.iter().map(|node| if node.split.is_some() { "BRANCH_LEQ" } else { "LEAF" });
        graph.ml_node(
            "TreeEnsembleRegressor",
            columns,
            [
                Attribute::int("n_targets", self.scores as i64),
                Attribute::text("aggregate_function", "SUM"),
                Attribute::text("post_transform", "NONE"),
                Attribute::ints("nodes_treeids", of_nodes(&|node| node.tree as i64)),
                Attribute::ints("nodes_nodeids", of_nodes(&|node| node.number as i64)),
                Attribute::ints("nodes_featureids", of_nodes(&|node| column(node) as i64)),
                Attribute::texts("nodes_modes", modes.map(str::to_owned).collect()),
                Attribute::doubles(
                    "nodes_values_as_tensor",
                    self.nodes.iter().map(|node| node.split.map_or(0.0, |(_, threshold, _)| threshold)).collect(),
                ),
                Attribute::ints("nodes_truenodeids", of_nodes(&|node| node.children[0] as i64)),
                Attribute::ints("nodes_falsenodeids", of_nodes(&|node| node.children[1] as i64)),
                Attribute::ints(
                    "nodes_missing_value_tracks_true",
                    of_nodes(&|node| i64::from(node.split.is_some_and(|(_, _, missing_left)| missing_left))),
                ),
                Attribute::ints("target_treeids", targets().map(|(tree, _, _)| tree as i64).collect()),
                Attribute::ints("target_nodeids", targets().map(|(_, node, _)| node as i64).collect()),
                Attribute::ints("target_ids", targets().map(|(_, _, (score, _))| *score as i64).collect()),
                Attribute::doubles("target_weights_as_tensor", targets().map(|(_, _, (_, value))| *value).collect()),
            ],
        )
    }
}
