//! LightGBM's text: lines of `key=value`, a paragraph for each tree.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;

use super::lightgbm::{Head, Missing, categories};
use super::parsed::{FEATURES_MAX, Item, Parsed, ParsedSplit, ParsedTest, ParsedTree};
use super::{Parse, Problem, TreePlace};

/// Bits of a `decision_type`; the two above them say how numbers are missing.
const IS_CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;

/// Words of 32 categories that the sets of a tree may have.
const SET_WORDS_MAX: usize = 1 << 24;

pub(super) fn read(text: &str) -> Parse<Parsed> {
    let file = File::new(text)?;
    let head = file.head()?;
    let trees = file.trees.iter().map(Section::tree).collect::<Parse<Vec<_>>>()?;
    let mut known = file.known_categories(head.features.len())?;
    for tree in &trees {
        tree.note_categories(&mut known);
    }
    let pandas: Option<serde_json::Value> = match file.pandas {
        Some((line, json)) => {
            let failed = |error: serde_json::Error| Problem::at(format!("line {line}, pandas_categorical"), error);
            Some(serde_json::from_str(json).map_err(failed)?)
        }
        None => None,
    };
    head.model(trees, categories(known, pandas.as_ref())?)
}

/// The paragraphs of a file.
struct File<'a> {
    head: Section<'a>,
    trees: Vec<Section<'a>>,
    /// The numbers of the features that are categories, as the parameters have them.
    categorical: Option<(usize, &'a str)>,
    pandas: Option<(usize, &'a str)>,
}

/// Lines of `key=value`.
#[derive(Default)]
struct Section<'a> {
    /// The number of its first line, from 1, and of trees of the tree, from 0.
    line: usize,
    tree: usize,
    values: HashMap<&'a str, Value<'a>>,
}

#[derive(Clone, Copy)]
struct Value<'a> {
    line: usize,
    text: &'a str,
}

impl<'a> File<'a> {
    fn new(text: &'a str) -> Parse<Self> {
        let mut lines = (1..).zip(text.lines()).map(|(number, line)| (number, line.trim()));
        let mut lines_to_end = lines.by_ref().skip_while(|(_, line)| line.is_empty());
        if lines_to_end.next().is_none_or(|(_, line)| line != "tree") {
            return Err(Problem::at("line 1", "a model begins with the line 'tree'"));
        }
        let (mut head, mut trees) = (Section { line: 1, ..Section::default() }, Vec::new());
        let mut is_whole = false;
        for (number, line) in lines_to_end {
            if line == "end of trees" {
                is_whole = true;
                break;
            }
            let Some((key, text)) = line.split_once('=').or_else(|| (!line.is_empty()).then_some((line, ""))) else {
                continue;
            };
            if key == "Tree" {
                let tree = trees.len();
                if text.parse() != Ok(tree) {
                    return Err(Problem::at(format!("line {number}"), format!("tree {tree} should be here")));
                }
                trees.push(Section { line: number, tree, ..Section::default() });
            } else {
                let section = trees.last_mut().unwrap_or(&mut head);
                section.values.insert(key, Value { line: number, text });
            }
        }
        if !is_whole {
            return Err(Problem::at("its end", "the line 'end of trees' is missing: the file is cut off"));
        }
        let mut file = Self { head, trees, categorical: None, pandas: None };
        for (number, line) in lines {
            if let Some(features) = line.strip_prefix("[categorical_feature:") {
                file.categorical = Some((number, features.trim_end_matches(']').trim()));
            }
            if let Some(json) = line.strip_prefix("pandas_categorical:") {
                file.pandas = Some((number, json));
            }
        }
        Ok(file)
    }

    fn head(&self) -> Parse<Head<'a>> {
        let head = &self.head;
        let features: Vec<_> = head.text("feature_names")?.text.split_whitespace().map(str::to_owned).collect();
        let count: usize = head.whole("max_feature_idx")?;
        if count.checked_add(1) != Some(features.len()) {
            let problem = format!("there are {} names, and {count} is the last feature", features.len());
            return Err(Problem::at("feature_names", problem));
        }
        Ok(Head {
            version: head.text("version")?.text,
            objective: head.values.get("objective").map_or("", |value| value.text),
            trees_an_iteration: head.whole("num_tree_per_iteration")?,
            is_mean: head.values.contains_key("average_output"),
            features,
        })
    }

    /// The categories that the training set had of each feature, but for the negative number of a missing one.
    fn known_categories(&self, features: usize) -> Parse<Vec<Option<BTreeSet<u32>>>> {
        let infos = self.head.text("feature_infos")?;
        let mut known = Vec::new();
        for info in infos.text.split_whitespace() {
            let is_number = info.starts_with('[') || info == "none";
            let failed = || infos.problem("feature_infos", format!("'{info}' is no list of categories"));
            let number = |text: &str| text.parse::<i64>().map_err(|_| failed());
            let numbers = || info.split(':').map(number).collect::<Parse<Vec<_>>>();
            known.push(if is_number {
                None
            } else {
                Some(numbers()?.into_iter().filter_map(|number| u32::try_from(number).ok()).collect())
            });
        }
        if known.len() != features || features > FEATURES_MAX {
            return Err(infos.problem("feature_infos", format!("there are {} for {features} features", known.len())));
        }
        let Some((line, categorical)) = self.categorical else { return Ok(known) };
        for feature in categorical.split(',').filter(|feature| !feature.is_empty()) {
            let place = feature.trim().parse().ok().and_then(|place: usize| known.get_mut(place));
            let failed =
                || Problem::at(format!("line {line}, categorical_feature"), format!("'{feature}' is no feature"));
            // One that is the same in all rows is listed nowhere else.
            place.ok_or_else(failed)?.get_or_insert_default();
        }
        Ok(known)
    }
}

impl<'a> Value<'a> {
    fn problem(&self, key: &str, problem: impl std::fmt::Display) -> Problem {
        Problem::at(format!("line {}, {key}", self.line), problem)
    }

    fn parse<T: FromStr>(&self, key: &str, text: &str) -> Parse<T> {
        text.parse().map_err(|_| self.problem(key, format!("'{text}' is no such number")))
    }
}

impl<'a> Section<'a> {
    fn text(&self, key: &str) -> Parse<Value<'a>> {
        let missing = || Problem::at(format!("the lines from {} on", self.line), format!("{key} is missing"));
        self.values.get(key).copied().ok_or_else(missing)
    }

    fn whole(&self, key: &str) -> Parse<usize> {
        let value = self.text(key)?;
        value.parse(key, value.text)
    }

    /// So many numbers.
    fn numbers<T: FromStr>(&self, key: &str, count: usize) -> Parse<Vec<T>> {
        let value = self.text(key)?;
        let numbers: Vec<T> = value.text.split_whitespace().map(|text| value.parse(key, text)).collect::<Parse<_>>()?;
        if numbers.len() == count {
            return Ok(numbers);
        }
        Err(value.problem(key, format!("there are {} numbers, and should be {count}", numbers.len())))
    }

    /// So many numbers, or those that stand for them where the key is missing.
    fn numbers_or<T: FromStr + Clone>(&self, key: &str, count: usize, missing: T) -> Parse<Vec<T>> {
        // A count of leaves that is out of bounds has been an error before this.
        if self.values.contains_key(key) { self.numbers(key, count) } else { Ok(vec![missing; count]) }
    }

    /// A tree: its splits, of which the first is the root, then its leaves.
    fn tree(&self) -> Parse<ParsedTree> {
        let place = TreePlace(self.tree);
        let leaves = self.whole("num_leaves")?;
        if self.values.get("is_linear").is_some_and(|value| value.text != "0") {
            return Err(self.text("is_linear")?.problem("is_linear", "trees with linear models cannot be imported"));
        }
        let values: Vec<f64> = self.numbers("leaf_value", leaves)?;
        let Some(splits) = leaves.checked_sub(1) else {
            return Err(self.text("num_leaves")?.problem("num_leaves", "a tree has a leaf at least"));
        };
        let rows = self.numbers_or("leaf_count", leaves, 1)?;
        let mut items = if splits > 0 { self.splits(splits)? } else { Vec::new() };
        items.extend(values.into_iter().zip(rows).map(|(value, rows)| Item::Leaf { value, rows }));
        Ok(ParsedTree { place, items })
    }

    fn splits(&self, count: usize) -> Parse<Vec<Item>> {
        let features: Vec<usize> = self.numbers("split_feature", count)?;
        let thresholds: Vec<f64> = self.numbers("threshold", count)?;
        let decisions: Vec<u8> = self.numbers("decision_type", count)?;
        let gains = self.numbers_or("split_gain", count, 0.0)?;
        let rows = self.numbers_or("internal_count", count, 1)?;
        let children: [Vec<i64>; 2] = [self.numbers("left_child", count)?, self.numbers("right_child", count)?];
        let sets = self.sets()?;
        let mut items = Vec::with_capacity(2 * count + 1);
        for split in 0..count {
            let problem = |problem: &str| Problem::at(format!("tree {}, node {split}", self.tree), problem);
            let (test, missing_left) = test(decisions[split], thresholds[split], &sets).map_err(problem)?;
            // A leaf has the complement of its number.
            let child = |child: i64| if child < 0 { count + !child as usize } else { child as usize };
            let children = [child(children[0][split]), child(children[1][split])];
            let (feature, gain, rows) = (features[split], gains[split], rows[split]);
            items.push(Item::Split(ParsedSplit { feature, test, missing_left, children, gain, rows }));
        }
        Ok(items)
    }

    /// The sets of categories that the tree asks for, each with their numbers.
    fn sets(&self) -> Parse<Vec<Vec<u32>>> {
        let count = self.numbers_or("num_cat", 1, 0_usize)?[0];
        if count == 0 {
            return Ok(Vec::new());
        }
        let value = self.text("cat_boundaries")?;
        let bounds: Vec<usize> = self.numbers("cat_boundaries", count.saturating_add(1))?;
        if bounds[count] > SET_WORDS_MAX {
            return Err(value.problem("cat_boundaries", format!("more than {SET_WORDS_MAX} words are too many")));
        }
        let words: Vec<u32> = self.numbers("cat_threshold", bounds[count])?;
        let mut sets = Vec::with_capacity(count);
        for bounds in bounds.windows(2) {
            let unordered = || value.problem("cat_boundaries", "they are in no order");
            let words = words.get(bounds[0]..bounds[1]).ok_or_else(unordered)?;
            sets.push((0..).zip(words).flat_map(numbers_in).collect());
        }
        Ok(sets)
    }
}

/// The numbers that are in a word of a set, by its place.
fn numbers_in((place, word): (u32, &u32)) -> impl Iterator<Item = u32> {
    let word = *word;
    (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| place * 32 + bit)
}

/// Which rows go to the left, and whether those do whose number is missing.
fn test(decision: u8, threshold: f64, sets: &[Vec<u32>]) -> std::result::Result<(ParsedTest, bool), &'static str> {
    if decision & IS_CATEGORICAL != 0 {
        let set = sets.get(threshold as usize).filter(|_| threshold >= 0.0).ok_or("it has no set of categories")?;
        return Ok((ParsedTest::In(set.clone()), false));
    }
    let missing = match decision >> 2 & 3 {
        0 => Missing::None,
        1 => Missing::Zero,
        2 => Missing::NotANumber,
        _ => return Err("its decision_type is unknown"),
    };
    Ok((ParsedTest::AtMost(threshold), missing.goes_left(decision & DEFAULT_LEFT != 0, threshold)?))
}
