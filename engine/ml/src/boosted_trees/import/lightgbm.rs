//! What LightGBM's text and its JSON have in common: the objective, missing numbers, the names of categories.

use std::collections::BTreeSet;

use super::parsed::{Categories, FEATURES_MAX, Goal, Parsed, ParsedFeature, ParsedTree};
use super::{Parse, Problem};
use crate::classes::CLASSES_MAX;

/// Beginnings of the versions whose trees are read: since 3.0.
const VERSIONS: [&str; 2] = ["v3", "v4"];

/// The head of a file.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) version: &'a str,
    /// The name, then its parameters, as `multiclass num_class:3`.
    pub(super) objective: &'a str,
    pub(super) trees_an_iteration: usize,
    /// Whether the trees' mean is predicted, and not their sum.
    pub(super) is_mean: bool,
    pub(super) features: Vec<String>,
}

/// How a node finds that a number is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is not: such numbers are 0.
    None,
    Zero,
    NotANumber,
}

impl Missing {
    /// Whether a missing number goes to the left.
    pub(super) fn goes_left(self, default_left: bool, threshold: f64) -> std::result::Result<bool, &'static str> {
        match self {
            Self::None => Ok(0.0 <= threshold),
            Self::NotANumber => Ok(default_left),
            Self::Zero => Err("it takes 0 for a missing number (zero_as_missing), which trees here cannot"),
        }
    }
}

/// What an objective makes of scores.
struct Objective {
    goal: Goal,
    scores: usize,
    /// What scores are multiplied with before a sigmoid.
    factor: f64,
}

impl Objective {
    fn new(head: &Head<'_>) -> Parse<Self> {
        let mut words = head.objective.split_whitespace();
        let name = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        let parameter = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix(':'));
        let single = Self { goal: Goal::Numbers, scores: 1, factor: 1.0 };
        match name {
            // With `sqrt`, the square of the sum is predicted.
            _ if words.contains(&"sqrt") => {}
            "regression" | "regression_l2" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" => {
                return Ok(single);
            }
            "lambdarank" | "rank_xendcg" => return Ok(Self { goal: Goal::Order, ..single }),
            "binary" => {
                let factor = parameter("sigmoid").map_or(Ok(1.0), number)?;
                return Ok(Self { goal: Goal::Classes(2), factor, ..single });
            }
            "multiclass" => {
                let scores = head.trees_an_iteration;
                return Ok(Self { goal: Goal::Classes(scores), scores, ..single });
            }
            _ => {}
        }
        Err(Problem::at("the objective", format!("'{}' has no model here", head.objective)))
    }
}

fn number(text: &str) -> Parse<f64> {
    text.parse().map_err(|_| Problem::at("the objective", format!("'{text}' is no number")))
}

impl Head<'_> {
    /// # Errors
    /// For what trees of this crate cannot be.
    fn check(&self) -> Parse<()> {
        if !VERSIONS.iter().any(|version| self.version.starts_with(version)) {
            let problem = format!("'{}' is none of {}", self.version, VERSIONS.join(", "));
            return Err(Problem::at("the version", problem));
        }
        if self.is_mean {
            return Err(Problem::at("average_output", "trees of a random forest cannot be imported"));
        }
        if self.features.len() > FEATURES_MAX {
            let problem = format!("there are {}, and may be {FEATURES_MAX}", self.features.len());
            return Err(Problem::at("the features", problem));
        }
        Ok(())
    }

    /// The model of these trees, in their order.
    pub(super) fn model(self, trees: Vec<ParsedTree>, categories: Vec<Option<Categories>>) -> Parse<Parsed> {
        self.check()?;
        let objective = Objective::new(&self)?;
        let scores = objective.scores;
        if self.trees_an_iteration != scores
            || !(1..=CLASSES_MAX).contains(&scores)
            || !trees.len().is_multiple_of(scores)
        {
            let an_iteration = self.trees_an_iteration;
            let problem = format!("{} with {an_iteration} an iteration do not fit '{}'", trees.len(), self.objective);
            return Err(Problem::at("the trees", problem));
        }
        let mut of_scores: Vec<Vec<ParsedTree>> = (0..scores).map(|_| Vec::new()).collect();
        for (number, mut tree) in trees.into_iter().enumerate() {
            tree.scale(objective.factor);
            of_scores[number % scores].push(tree);
        }
        let named = self.features.into_iter().zip(categories);
        let features = named.map(|(name, categories)| ParsedFeature { name, categories }).collect();
        Ok(Parsed { features, goal: objective.goal, first: vec![0.0; scores], trees: of_scores })
    }
}

/// The categories of each feature; none of numbers.
///
/// `known` has those that the training set had of a feature by their numbers; `pandas` is the JSON that LightGBM writes of
/// a data frame's columns of categories, in their order, each with its categories in the order of their numbers.
pub(super) fn categories(
    known: Vec<Option<BTreeSet<u32>>>,
    pandas: Option<&serde_json::Value>,
) -> Parse<Vec<Option<Categories>>> {
    let problem = |problem: String| Problem::at("pandas_categorical", problem);
    let columns = match pandas {
        None | Some(serde_json::Value::Null) => &[][..],
        Some(serde_json::Value::Array(columns)) => columns,
        Some(_) => return Err(problem(String::from("it is no list"))),
    };
    let count = known.iter().flatten().count();
    if !columns.is_empty() && columns.len() != count {
        let of = format!("it has the categories of {} columns, but there are {count} of them", columns.len());
        return Err(problem(of));
    }
    let mut columns = columns.iter();
    let mut named = Vec::with_capacity(known.len());
    for known in known {
        let Some(numbers) = known else {
            named.push(None);
            continue;
        };
        named.push(Some(match columns.next() {
            // Without names they have those of their numbers.
            None => numbers.into_iter().map(|number| (number, number.to_string())).collect(),
            Some(serde_json::Value::Array(names)) => {
                let names = names.iter().map(|name| category(name).map_err(problem));
                (0..).zip(names).map(|(number, name)| Ok((number, name?))).collect::<Parse<_>>()?
            }
            Some(_) => return Err(problem(String::from("a column's categories are no list"))),
        }));
    }
    Ok(named)
}

/// The text of a category.
fn category(value: &serde_json::Value) -> std::result::Result<String, String> {
    match value {
        serde_json::Value::String(text) => Ok(text.clone()),
        serde_json::Value::Number(number) => Ok(number.to_string()),
        serde_json::Value::Bool(value) => Ok(value.to_string()),
        other => Err(format!("'{other}' is no category")),
    }
}
