//! LightGBM's JSON: a tree is its root, in which its branches are.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::lightgbm::{Head, Missing, categories};
use super::parsed::{Item, Parsed, ParsedSplit, ParsedTest, ParsedTree};
use super::{Parse, Problem, TreePlace};

#[derive(Deserialize)]
struct File {
    version: String,
    num_tree_per_iteration: usize,
    #[serde(default)]
    objective: String,
    #[serde(default)]
    average_output: bool,
    feature_names: Vec<String>,
    #[serde(default)]
    feature_infos: BTreeMap<String, Info>,
    tree_info: Vec<TreeInfo>,
    #[serde(default)]
    pandas_categorical: serde_json::Value,
}

/// What the training set had of a feature.
#[derive(Deserialize)]
struct Info {
    /// Categories; nothing of a number.
    #[serde(default)]
    values: Vec<i64>,
}

#[derive(Deserialize)]
struct TreeInfo {
    tree_structure: Branch,
}

/// A leaf if it has a value, or else a split.
#[derive(Deserialize)]
struct Branch {
    leaf_value: Option<f64>,
    leaf_count: Option<u64>,
    leaf_coeff: Option<serde::de::IgnoredAny>,
    split_feature: Option<usize>,
    threshold: Option<Threshold>,
    decision_type: Option<String>,
    #[serde(default)]
    default_left: bool,
    missing_type: Option<String>,
    #[serde(default)]
    split_gain: f64,
    internal_count: Option<u64>,
    left_child: Option<Box<Branch>>,
    right_child: Option<Box<Branch>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Threshold {
    Number(f64),
    /// The numbers of categories, with `||` between them.
    Categories(String),
}

pub(super) fn read(text: &str) -> Parse<Parsed> {
    let file: File = serde_json::from_str(text).map_err(|error| Problem::in_json(&error))?;
    let mut known: Vec<Option<BTreeSet<u32>>> = Vec::new();
    for name in &file.feature_names {
        let numbers = file.feature_infos.get(name).map_or(&[][..], |info| &info.values);
        let seen = numbers.iter().filter_map(|number| u32::try_from(*number).ok()).collect();
        known.push((!numbers.is_empty()).then_some(seen));
    }
    let mut trees = Vec::with_capacity(file.tree_info.len());
    for (number, tree) in file.tree_info.into_iter().enumerate() {
        let tree = parsed(TreePlace(number), tree.tree_structure)?;
        tree.note_categories(&mut known);
        trees.push(tree);
    }
    let head = Head {
        version: &file.version,
        objective: &file.objective,
        trees_an_iteration: file.num_tree_per_iteration,
        is_mean: file.average_output,
        features: file.feature_names,
    };
    head.model(trees, categories(known, Some(&file.pandas_categorical))?)
}

/// The branches of a tree, each before those that are in it.
fn parsed(place: TreePlace, root: Branch) -> Parse<ParsedTree> {
    let mut items: Vec<Item> = Vec::new();
    let mut open: Vec<(Branch, Option<(usize, usize)>)> = vec![(root, None)];
    while let Some((mut branch, above)) = open.pop() {
        let number = items.len();
        let problem = |problem: &str| Problem::at(format!("{place}, node {number}"), problem);
        if let Some((split, side)) = above
            && let Some(Item::Split(split)) = items.get_mut(split)
        {
            split.children[side] = number;
        }
        let children = (branch.left_child.take(), branch.right_child.take());
        items.push(branch.item().map_err(problem)?);
        if let Item::Split(_) = &items[number] {
            let (Some(left), Some(right)) = children else { return Err(problem("it has not two branches")) };
            open.extend([(*right, Some((number, 1))), (*left, Some((number, 0)))]);
        }
    }
    Ok(ParsedTree { place, items })
}

impl Branch {
    /// The leaf, or the split but for its branches.
    fn item(&self) -> std::result::Result<Item, &'static str> {
        if self.leaf_coeff.is_some() {
            return Err("trees with linear models cannot be imported");
        }
        if let Some(value) = self.leaf_value {
            return Ok(Item::Leaf { value, rows: self.leaf_count.unwrap_or(1) });
        }
        let (test, missing_left) = self.test()?;
        Ok(Item::Split(ParsedSplit {
            feature: self.split_feature.ok_or("it has neither leaf_value nor split_feature")?,
            test,
            missing_left,
            children: [0, 0],
            gain: self.split_gain,
            rows: self.internal_count.unwrap_or(1),
        }))
    }

    /// Which rows go to the left, and whether those do whose number is missing.
    fn test(&self) -> std::result::Result<(ParsedTest, bool), &'static str> {
        match (self.decision_type.as_deref(), &self.threshold) {
            (Some("<="), Some(Threshold::Number(threshold))) => {
                let missing = match self.missing_type.as_deref() {
                    Some("None") => Missing::None,
                    Some("Zero") => Missing::Zero,
                    Some("NaN") => Missing::NotANumber,
                    _ => return Err("its missing_type is unknown"),
                };
                Ok((ParsedTest::AtMost(*threshold), missing.goes_left(self.default_left, *threshold)?))
            }
            (Some("=="), Some(Threshold::Categories(numbers))) => {
                let numbers: std::result::Result<_, _> = numbers.split("||").map(str::parse).collect();
                Ok((ParsedTest::In(numbers.map_err(|_| "its threshold is no list of categories")?), false))
            }
            _ => Err("its threshold does not fit its decision_type"),
        }
    }
}
