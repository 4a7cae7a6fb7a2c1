//! XGBoost's JSON: a tree is a list for each property of its nodes.

use serde::Deserialize;

use super::parsed::{FEATURES_MAX, Goal, Item, Parsed, ParsedFeature, ParsedSplit, ParsedTest, ParsedTree};
use super::{Parse, Problem, TreePlace};
use crate::classes::CLASSES_MAX;

/// What rows of leaves are counted by: there are sums of second derivatives, which may be far less than 1.
const ROWS_A_UNIT: f64 = 65_536.0;

#[derive(Deserialize)]
struct File {
    learner: Learner,
}

#[derive(Deserialize)]
struct Learner {
    #[serde(default)]
    feature_names: Vec<String>,
    #[serde(default)]
    feature_types: Vec<String>,
    gradient_booster: Booster,
    learner_model_param: Parameters,
    objective: Objective,
}

#[derive(Deserialize)]
struct Booster {
    name: String,
    #[serde(default)]
    model: Model,
}

#[derive(Deserialize, Default)]
struct Model {
    #[serde(default)]
    trees: Vec<XgboostTree>,
    /// The score of each tree.
    #[serde(default)]
    tree_info: Vec<usize>,
    #[serde(default)]
    cats: Categories,
}

/// Since 3.1, the categories of a data frame's columns, one entry for each feature.
#[derive(Deserialize, Default)]
struct Categories {
    #[serde(default)]
    enc: Vec<Encoding>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Encoding {
    /// The bytes of all names end to end, and where each ends.
    Texts {
        offsets: Vec<usize>,
        values: Vec<i16>,
    },
    Numbers {
        values: Vec<serde_json::Number>,
    },
}

/// Numbers in texts.
#[derive(Deserialize)]
struct Parameters {
    base_score: String,
    num_class: String,
    num_feature: String,
    #[serde(default)]
    num_target: Option<String>,
}

#[derive(Deserialize)]
struct Objective {
    name: String,
}

#[derive(Deserialize)]
struct XgboostTree {
    /// -1 of a leaf.
    left_children: Vec<i64>,
    right_children: Vec<i64>,
    split_indices: Vec<usize>,
    /// The threshold of a split, and the value of a leaf.
    split_conditions: Vec<f64>,
    default_left: Vec<Flag>,
    loss_changes: Vec<f64>,
    sum_hessian: Vec<f64>,
    /// 1 where categories are split.
    #[serde(default)]
    split_type: Vec<u8>,
    /// The nodes that split categories, and of each where the categories of the right side are.
    #[serde(default)]
    categories_nodes: Vec<usize>,
    #[serde(default)]
    categories_segments: Vec<usize>,
    #[serde(default)]
    categories_sizes: Vec<usize>,
    #[serde(default)]
    categories: Vec<u32>,
    #[serde(default)]
    tree_param: TreeParameters,
}

#[derive(Deserialize, Default)]
struct TreeParameters {
    #[serde(default)]
    size_leaf_vector: Option<String>,
}

/// A number in newer versions, a boolean in older ones.
#[derive(Deserialize, Clone, Copy)]
#[serde(untagged)]
enum Flag {
    Boolean(bool),
    Number(u8),
}

pub(super) fn read(text: &str) -> Parse<Parsed> {
    let File { learner } = serde_json::from_str(text).map_err(|error| Problem::in_json(&error))?;
    let Booster { name, model } = &learner.gradient_booster;
    if name != "gbtree" {
        return Err(Problem::at("gradient_booster", format!("'{name}' cannot be imported; 'gbtree' can")));
    }
    let goal = learner.goal()?;
    let scores = learner.scores(goal);
    let mut trees: Vec<Vec<ParsedTree>> = (0..scores).map(|_| Vec::new()).collect();
    if model.tree_info.len() != model.trees.len() {
        let problem = format!("there are {} for {} trees", model.tree_info.len(), model.trees.len());
        return Err(Problem::at("tree_info", problem));
    }
    for (number, (tree, score)) in model.trees.iter().zip(&model.tree_info).enumerate() {
        let place = TreePlace(number);
        let of_score = trees.get_mut(*score);
        let no_score = || Problem::at(place, format!("it is of class {score}, and there are {scores}"));
        of_score.ok_or_else(no_score)?.push(tree.parsed(place)?);
    }
    let features = learner.features(trees.iter().flatten())?;
    Ok(Parsed { features, goal, first: learner.first(goal, scores)?, trees })
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Parse<T> {
    text.trim().parse().map_err(|_| Problem::at(name, format!("'{text}' is no such number")))
}

impl Learner {
    fn goal(&self) -> Parse<Goal> {
        let parameters = &self.learner_model_param;
        if parameters.num_target.as_ref().is_some_and(|targets| targets != "1" && targets != "0") {
            return Err(Problem::at("num_target", "models of several labels cannot be imported"));
        }
        match self.objective.name.as_str() {
            "reg:squarederror" | "reg:absoluteerror" | "reg:pseudohubererror" | "reg:linear" => Ok(Goal::Numbers),
            "rank:ndcg" | "rank:pairwise" | "rank:map" => Ok(Goal::Order),
            "binary:logistic" => Ok(Goal::Classes(2)),
            "multi:softprob" | "multi:softmax" => match number("num_class", &parameters.num_class)? {
                classes if (2..=CLASSES_MAX).contains(&classes) => Ok(Goal::Classes(classes)),
                classes => Err(Problem::at("num_class", format!("{classes} is not from 2 to {CLASSES_MAX}"))),
            },
            other => Err(Problem::at("the objective", format!("'{other}' has no model here"))),
        }
    }

    fn scores(&self, goal: Goal) -> usize {
        match goal {
            Goal::Classes(count) if self.objective.name != "binary:logistic" => count,
            _ => 1,
        }
    }

    /// What scores begin with: since 3.1 one number for each.
    fn first(&self, goal: Goal, scores: usize) -> Parse<Vec<f64>> {
        let text = &self.learner_model_param.base_score;
        let single = |text: &str| number::<f32>("base_score", text).map(f64::from);
        let mut first: Vec<f64> = text.trim_matches(['[', ']']).split(',').map(single).collect::<Parse<_>>()?;
        if first.len() == 1 {
            first.resize(scores, first[0]);
        }
        if scores == 1 && goal == Goal::Classes(2) {
            first.iter_mut().for_each(|share| *share = -(1.0 / *share - 1.0).ln());
        }
        if first.len() == scores && first.iter().all(|score| score.is_finite()) {
            return Ok(first);
        }
        Err(Problem::at("base_score", format!("'{text}' is not what {scores} scores can begin with")))
    }

    /// Of features without a name, those that XGBoost gives them.
    fn features<'a>(&self, trees: impl Iterator<Item = &'a ParsedTree>) -> Parse<Vec<ParsedFeature>> {
        let count: usize = number("num_feature", &self.learner_model_param.num_feature)?;
        let problem = |of: &str, found: usize| Problem::at(of, format!("there are {found} for {count} features"));
        if count > FEATURES_MAX {
            return Err(Problem::at("num_feature", format!("there may be {FEATURES_MAX}")));
        }
        let (names, types) = (&self.feature_names, &self.feature_types);
        if !names.is_empty() && names.len() != count {
            return Err(problem("feature_names", names.len()));
        }
        if !types.is_empty() && types.len() != count {
            return Err(problem("feature_types", types.len()));
        }
        let mut known: Vec<_> =
            (0..count).map(|place| types.get(place).is_some_and(|of| of == "c").then(Default::default)).collect();
        trees.for_each(|tree| tree.note_categories(&mut known));
        let mut features = Vec::with_capacity(count);
        for (place, known) in known.into_iter().enumerate() {
            let name = names.get(place).cloned().unwrap_or_else(|| format!("f{place}"));
            let encoding = self.gradient_booster.model.cats.enc.get(place);
            let categories = match (known, encoding.map(Encoding::names).transpose()?.filter(|names| !names.is_empty()))
            {
                (None, _) => None,
                (Some(_), Some(names)) => Some((0..).zip(names).collect()),
                (Some(numbers), None) => {
                    Some(numbers.into_iter().map(|number: u32| (number, number.to_string())).collect())
                }
            };
            features.push(ParsedFeature { name, categories });
        }
        Ok(features)
    }
}

impl Encoding {
    /// The categories in the order of their numbers.
    fn names(&self) -> Parse<Vec<String>> {
        match self {
            Self::Numbers { values } => Ok(values.iter().map(ToString::to_string).collect()),
            Self::Texts { offsets, values } => {
                let bytes: Vec<u8> = values.iter().map(|byte| *byte as u8).collect();
                let failed = || Problem::at("cats", "the names of categories do not fit their text");
                let name = |ends: &[usize]| {
                    let name = bytes.get(ends[0]..ends[1]).and_then(|bytes| std::str::from_utf8(bytes).ok());
                    name.map(str::to_owned).ok_or_else(failed)
                };
                offsets.windows(2).map(name).collect()
            }
        }
    }
}

impl XgboostTree {
    fn parsed(&self, place: TreePlace) -> Parse<ParsedTree> {
        if self.tree_param.size_leaf_vector.as_ref().is_some_and(|size| size != "0" && size != "1") {
            return Err(Problem::at(place, "trees of several labels cannot be imported"));
        }
        let count = self.left_children.len();
        let lengths = [
            self.right_children.len(),
            self.split_indices.len(),
            self.split_conditions.len(),
            self.default_left.len(),
            self.loss_changes.len(),
            self.sum_hessian.len(),
        ];
        if lengths.iter().any(|length| *length != count) {
            return Err(Problem::at(place, "its lists differ in length"));
        }
        if !self.split_type.is_empty() && self.split_type.len() != count {
            return Err(Problem::at(place, "split_type is not as long as the other lists"));
        }
        let mut items = Vec::with_capacity(count);
        for node in 0..count {
            let problem = |problem: &str| Problem::at(format!("{place}, node {node}"), problem);
            items.push(self.item(node).map_err(problem)?);
        }
        Ok(ParsedTree { place, items })
    }

    fn item(&self, node: usize) -> std::result::Result<Item, &'static str> {
        let (condition, weight) = (self.split_conditions[node] as f32, self.sum_hessian[node]);
        let children = [self.left_children[node], self.right_children[node]];
        if children == [-1, -1] {
            // What is too large, or no number, becomes the nearest number of rows.
            return Ok(Item::Leaf { value: f64::from(condition), rows: (weight * ROWS_A_UNIT).round() as u64 });
        }
        let child = |child: i64| usize::try_from(child).map_err(|_| "it has one branch");
        let [left, right] = [child(children[0])?, child(children[1])?];
        let default_left = match self.default_left[node] {
            Flag::Boolean(left) => left,
            Flag::Number(left) => left != 0,
        };
        let (test, children, missing_left) = if self.split_type.get(node).is_some_and(|of| *of == 1) {
            // Those of the set go to the right, which is the left here.
            (ParsedTest::In(self.set(node)?), [right, left], !default_left)
        } else {
            (ParsedTest::AtMost(at_most(condition)?), [left, right], default_left)
        };
        let (feature, gain, rows) = (self.split_indices[node], self.loss_changes[node], weight.round() as u64);
        Ok(Item::Split(ParsedSplit { feature, test, missing_left, children, gain, rows }))
    }

    /// The numbers of the categories that a node takes to the right.
    fn set(&self, node: usize) -> std::result::Result<Vec<u32>, &'static str> {
        let place = self.categories_nodes.binary_search(&node).map_err(|_| "it has no set of categories")?;
        let start = self.categories_segments.get(place);
        let end = start.zip(self.categories_sizes.get(place)).and_then(|(start, size)| start.checked_add(*size));
        let set = start.zip(end).and_then(|(start, end)| self.categories.get(*start..end));
        Ok(set.ok_or("its set of categories is beyond their list")?.to_vec())
    }
}

/// The largest number that in single precision is less than the threshold.
fn at_most(threshold: f32) -> std::result::Result<f64, &'static str> {
    let below = threshold.next_down();
    if !below.is_finite() || !threshold.is_finite() {
        return Err("its threshold is out of range");
    }
    // What is between the two is rounded to the nearer one, and the middle to that whose last bit is 0.
    let middle = (f64::from(below) + f64::from(threshold)) / 2.0;
    Ok(if (middle as f32) < threshold { middle } else { middle.next_down() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_compared_as_it_is_in_single_precision() {
        for threshold in [0.3_f32, 1.0, -1.0, 0.0, -0.0, 16.82, 1e-40, f32::MIN_POSITIVE, 3e38, -3e38, 16_777_216.0] {
            let most = at_most(threshold).unwrap();
            assert!((most as f32) < threshold, "{threshold}: {most}");
            assert!((most.next_up() as f32) >= threshold, "{threshold}: {most}");
        }
        assert!(
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MIN].iter().all(|threshold| at_most(*threshold).is_err())
        );
    }
}
