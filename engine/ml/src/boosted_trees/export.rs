//! Boosted trees for LightGBM: a fitted model as the text that its `Booster(model_str=…)` reads.
//!
//! LightGBM says the same of the same rows, but for categories that it has never seen: to it these are missing ones, and
//! go where NULL goes. Of a data frame, columns of categories are read by the names in the file; or else by their numbers
//! there. What classes are called the file does not say: they are numbered in the order of
//! [`class_names`](crate::Predictor::class_names).

#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Write};

use super::tree::{Child, Node, Test, Tree};
use super::{BoostedTrees, RANKER, RANKER_SNAPSHOT_TAG, SNAPSHOT_TAG, Target};
use crate::error::{MlError, Result};
use crate::feature::dictionary::Category;
use crate::model::FeatureKind;
use crate::registry::restore_predictor;
use crate::snapshot;

/// Bits of a `decision_type`.
const IS_CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;
/// That numbers are missing where they are NaN.
const MISSING_NAN: u8 = 8;

/// A fitted model of boosted trees, given its snapshot, as LightGBM's text.
///
/// # Errors
/// `NotExported` for a model of another type; `StateVersion`, `StateTooLarge` or `CorruptState`.
pub fn lightgbm_text(model: &[u8]) -> Result<String> {
    match snapshot::open(model)?.0 {
        SNAPSHOT_TAG | RANKER_SNAPSHOT_TAG => Ok(Writer::new(&BoostedTrees::restore(model)?).text()),
        _ => {
            Err(MlError::NotExported { model_type: restore_predictor(model)?.model_type(), exported: "boosted trees" })
        }
    }
}

/// Writes a model.
struct Writer<'a> {
    model: &'a BoostedTrees,
    /// The place among the columns of each feature as trees name them: numbers first.
    places: Vec<usize>,
    /// Of each categorical feature its categories.
    categories: Vec<Categories>,
}

/// The categories of a feature as LightGBM numbers them: those that have a name.
struct Categories {
    names: Vec<String>,
    /// How many are before them in the dictionary, which have none.
    unnamed: usize,
    /// The place in the dictionary of what LightGBM finds missing: NULL, or if none was seen what has no place of its own.
    missing: Option<usize>,
}

impl Categories {
    fn new(all: Vec<Category>) -> Self {
        let unnamed = all.iter().take_while(|category| !matches!(category, Category::Named(_))).count();
        let missing = all[..unnamed].iter().position(|category| *category == Category::Null);
        let name = |category| if let Category::Named(name) = category { Some(name) } else { None };
        let missing = missing.or_else(|| unnamed.checked_sub(1));
        Self { names: all.into_iter().filter_map(name).collect(), unnamed, missing }
    }

    /// The numbers of the categories that go to one side, without those that are missing, and whether that is the left.
    fn side(&self, set: &[u64]) -> (Vec<usize>, bool) {
        let is_in = |place: usize| set.get(place / 64).is_some_and(|bits| bits >> (place % 64) & 1 == 1);
        let is_left = !self.missing.is_some_and(is_in);
        let numbers = (0..self.names.len()).filter(|number| is_in(number + self.unnamed) == is_left);
        (numbers.collect(), is_left)
    }
}

/// Values with a space between them.
struct Spaced<I>(I);

impl<I: Iterator<Item: Display> + Clone> Display for Spaced<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, value) in self.0.clone().enumerate() {
            write!(f, "{}{value}", if place > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

/// A number in the fewest digits that are read as the same.
struct Exact(f64);

impl Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<'a> Writer<'a> {
    fn new(model: &'a BoostedTrees) -> Self {
        let categories = (0..model.encoder.categories().len()).map(|feature| model.encoder.category_names(feature));
        let categories = categories.map(Categories::new).collect();
        Self { model, places: model.encoder.schema().numbers_first(), categories }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // A text takes whatever is written.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let (scores, features) = (self.model.first.len(), self.model.encoder.schema().fields());
        writeln!(out, "tree\nversion=v4\nnum_class={scores}\nnum_tree_per_iteration={scores}\nlabel_index=0")?;
        writeln!(out, "max_feature_idx={}\nobjective={}", features.len() - 1, self.objective())?;
        let names: Vec<_> = features.iter().map(|feature| without_spaces(&feature.name)).collect();
        writeln!(out, "feature_names={}", Spaced(names.iter()))?;
        writeln!(out, "feature_infos={}\n", Spaced(self.infos().iter()))?;
        let rounds = self.model.trees.iter().map(Vec::len).max().unwrap_or(0).max(1);
        for round in 0..rounds {
            for (score, trees) in self.model.trees.iter().enumerate() {
                // The first tree says what scores begin with, too.
                let added = if round == 0 { self.model.first[score] } else { 0.0 };
                writeln!(out, "Tree={}", round * scores + score)?;
                self.write_tree(trees.get(round), added, out)?;
            }
        }
        writeln!(out, "end of trees\n\npandas_categorical:{}", self.pandas())
    }

    fn objective(&self) -> String {
        match &self.model.target {
            Target::Numbers(_) if self.model.model_type == RANKER => String::from("lambdarank"),
            Target::Numbers(_) => String::from("regression"),
            Target::Classes(_) if self.model.first.len() == 1 => String::from("binary sigmoid:1"),
            Target::Classes(_) => format!("multiclass num_class:{}", self.model.first.len()),
        }
    }

    /// The range of each number, and the categories of each other feature.
    fn infos(&self) -> Vec<String> {
        let mut categories = self.categories.iter();
        let mut info = |kind| match kind {
            FeatureKind::Categorical => {
                let count = categories.next().map_or(0, |categories| categories.names.len());
                // The first stands for what is missing.
                (-1..count as i64).map(|number| number.to_string()).collect::<Vec<_>>().join(":")
            }
            FeatureKind::Numeric | FeatureKind::Time => format!("[{:?}:{:?}]", f64::MIN, f64::MAX),
        };
        self.model.encoder.schema().fields().iter().map(|feature| info(feature.kind)).collect()
    }

    fn pandas(&self) -> serde_json::Value {
        self.categories.iter().map(|categories| categories.names.clone()).collect()
    }

    /// A tree whose values are so much more; one that says 0 where there is none.
    fn write_tree(&self, tree: Option<&Tree>, added: f64, out: &mut String) -> fmt::Result {
        let leaf = Tree { nodes: Vec::new(), values: vec![0.0], rows: vec![1] };
        let tree = tree.unwrap_or(&leaf);
        // No sum, so that 0 takes no sign away.
        let values = tree.values.iter().map(|value| Exact(if added == 0.0 { *value } else { added + value }));
        let sets: Vec<_> = tree.nodes.iter().map(|node| self.side(node)).collect();
        let count = sets.iter().flatten().count();
        writeln!(out, "num_leaves={}\nnum_cat={count}", tree.values.len())?;
        if !tree.nodes.is_empty() {
            self.write_nodes(tree, &sets, out)?;
        }
        writeln!(out, "leaf_value={}\nleaf_count={}", Spaced(values), Spaced(tree.rows.iter()))?;
        if count > 0 {
            write_sets(sets.iter().flatten().map(|(numbers, _)| &numbers[..]), out)?;
        }
        writeln!(out, "is_linear=0\nshrinkage=1\n\n")
    }

    /// The set of a node that looks for categories, and whether those of it go to the left.
    fn side(&self, node: &Node) -> Option<(Vec<usize>, bool)> {
        match &node.test {
            Test::AtMost(_) => None,
            Test::In(set) => {
                let feature = (node.feature as usize).checked_sub(self.model.encoder.numeric())?;
                Some(self.categories.get(feature)?.side(set))
            }
        }
    }

    fn write_nodes(&self, tree: &Tree, sets: &[Option<(Vec<usize>, bool)>], out: &mut String) -> fmt::Result {
        let nodes = &tree.nodes;
        let features = nodes.iter().map(|node| self.places[node.feature as usize]);
        writeln!(out, "split_feature={}", Spaced(features))?;
        writeln!(out, "split_gain={}", Spaced(nodes.iter().map(|node| Exact(node.gain))))?;
        let mut number = 0;
        let mut thresholds = Vec::with_capacity(nodes.len());
        for node in nodes {
            thresholds.push(match node.test {
                Test::AtMost(threshold) => Exact(threshold).to_string(),
                // The number of the set.
                Test::In(_) => {
                    number += 1;
                    (number - 1).to_string()
                }
            });
        }
        writeln!(out, "threshold={}", Spaced(thresholds.iter()))?;
        let decision = |node: &Node| match node.test {
            Test::AtMost(_) if node.missing_left => MISSING_NAN | DEFAULT_LEFT,
            Test::AtMost(_) => MISSING_NAN,
            Test::In(_) => MISSING_NAN | IS_CATEGORICAL,
        };
        writeln!(out, "decision_type={}", Spaced(nodes.iter().map(decision)))?;
        let child = |child: Child| match child {
            Child::Node(node) => i64::from(node),
            Child::Leaf(leaf) => !i64::from(leaf),
        };
        let sides = nodes.iter().zip(sets).map(|(node, set)| match set {
            Some((_, false)) => [node.right, node.left].map(child),
            _ => [node.left, node.right].map(child),
        });
        writeln!(out, "left_child={}", Spaced(sides.clone().map(|[left, _]| left)))?;
        writeln!(out, "right_child={}", Spaced(sides.map(|[_, right]| right)))?;
        writeln!(out, "internal_count={}", Spaced(rows_below(tree).iter()))
    }
}

/// A name that no space ends before it does.
fn without_spaces(name: &str) -> String {
    if name.is_empty() { String::from("_") } else { name.replace(char::is_whitespace, "_") }
}

/// The rows of the leaves below each node.
fn rows_below(tree: &Tree) -> Vec<u64> {
    let mut rows = vec![0_u64; tree.nodes.len()];
    // Each node is behind its parent.
    for (place, node) in tree.nodes.iter().enumerate().rev() {
        let of = |child: Child| match child {
            Child::Node(node) => rows[node as usize],
            Child::Leaf(leaf) => tree.rows[leaf as usize],
        };
        rows[place] = of(node.left).saturating_add(of(node.right));
    }
    rows
}

/// Sets of categories as words of 32 bits, one after another.
fn write_sets<'a>(sets: impl Iterator<Item = &'a [usize]>, out: &mut String) -> fmt::Result {
    let (mut bounds, mut words) = (vec![0], Vec::new());
    for set in sets {
        let start = words.len();
        words.resize(start + 1 + set.iter().max().map_or(0, |last| last / 32), 0_u32);
        set.iter().for_each(|number| words[start + number / 32] |= 1 << (number % 32));
        bounds.push(words.len());
    }
    writeln!(out, "cat_boundaries={}\ncat_threshold={}", Spaced(bounds.iter()), Spaced(words.iter()))
}
