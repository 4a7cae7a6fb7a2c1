//! A model as a file has it, and what trees of this crate become of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Imported, ImportedClasses, Parse, Problem, TreePlace};
use crate::boosted_trees::tree::{Child, Node, Test, Tree};
use crate::boosted_trees::{BoostedTrees, CLASSIFIER, RANKER, REGRESSOR, Target};
use crate::classes::{CLASSES_MAX, Classes, LabelKind};
use crate::error::Result;
use crate::feature::dictionary::{Category, CategoryDictionary};
use crate::feature::encoder::{Encoder, Numbers};
use crate::feature::moments::Moments;
use crate::model::{Feature, FeatureKind, FeatureSchema};
use crate::predictor::Supervised;
use crate::snapshot::{self, STATE_MAGNITUDE_MAX};

/// Features that a model may have.
pub(super) const FEATURES_MAX: usize = 100_000;

/// What a file says.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) features: Vec<ParsedFeature>,
    pub(super) goal: Goal,
    /// What the scores begin with: one, or one for each class.
    pub(super) first: Vec<f64>,
    /// For each score its trees.
    pub(super) trees: Vec<Vec<ParsedTree>>,
}

/// The number and name of each category of a feature.
pub(super) type Categories = Vec<(u32, String)>;

#[derive(Debug)]
pub(super) struct ParsedFeature {
    pub(super) name: String,
    /// None of a number.
    pub(super) categories: Option<Categories>,
}

/// What a model says of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    Numbers,
    /// Scores that put rows in order.
    Order,
    /// Which of so many classes.
    Classes(usize),
}

/// Of its splits and leaves the first is the root.
#[derive(Debug)]
pub(super) struct ParsedTree {
    pub(super) place: TreePlace,
    pub(super) items: Vec<Item>,
}

#[derive(Debug)]
pub(super) enum Item {
    Split(ParsedSplit),
    Leaf {
        value: f64,
        /// How many rows come here, of trees that count others by the same measure.
        rows: u64,
    },
}

#[derive(Debug)]
pub(super) struct ParsedSplit {
    pub(super) feature: usize,
    pub(super) test: ParsedTest,
    pub(super) missing_left: bool,
    /// Left and right, by their places among the items.
    pub(super) children: [usize; 2],
    pub(super) gain: f64,
    pub(super) rows: u64,
}

/// Which rows go to the left.
#[derive(Debug)]
pub(super) enum ParsedTest {
    AtMost(f64),
    /// Those of categories with these numbers.
    In(Vec<u32>),
}

/// Classes by the caller's names.
#[derive(Debug)]
pub(super) struct Named<'a> {
    kind: LabelKind,
    names: &'a [String],
}

impl<'a> Named<'a> {
    /// # Errors
    /// `UnsupportedLabel` for a type that has no classes.
    pub(super) fn new(classes: &'a ImportedClasses) -> Result<Self> {
        Ok(Self { kind: LabelKind::of("label", &classes.data_type)?, names: &classes.names })
    }

    fn check(&self) -> Parse<()> {
        let is_name = |name: &&String| match self.kind {
            LabelKind::Boolean => *name == "false" || *name == "true",
            LabelKind::Integer => name.parse::<i64>().is_ok_and(|number| number.to_string() == **name),
            LabelKind::Text => true,
        };
        if let Some(wrong) = self.names.iter().find(|name| !is_name(name)) {
            let data_type = self.kind.data_type();
            return Err(Problem::at("the names of the classes", format!("'{wrong}' is no {data_type}")));
        }
        let mut seen = BTreeSet::new();
        match self.names.iter().find(|name| !seen.insert(name.as_str())) {
            Some(twice) => Err(Problem::at("the names of the classes", format!("'{twice}' is there twice"))),
            None => Ok(()),
        }
    }
}

/// A model, but for its bytes.
pub(super) struct ImportedTrees(BoostedTrees);

impl ImportedTrees {
    /// # Errors
    /// `StateTooLarge`; `CorruptState` for trees that answer no row.
    pub(super) fn into_imported(self) -> Result<Imported> {
        let model = self.0.snapshot()?;
        // What is written is checked as what is read: a file can't bring in what no fit could have made.
        BoostedTrees::restore(&model)?;
        let (model_type, schema) = (self.0.model_type(), self.0.schema().clone());
        Ok(Imported { model, model_type, schema, label_type: self.0.label_type() })
    }
}

impl Parsed {
    /// Trees of this crate, with classes by these names.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn into_trees(mut self, named: Option<Named<'_>>) -> Parse<ImportedTrees> {
        let (model_type, target) = match self.goal {
            Goal::Numbers | Goal::Order if named.is_some() => {
                return Err(Problem::at("the names of the classes", "the model predicts a number, and no class"));
            }
            Goal::Numbers => (REGRESSOR, Target::Numbers(0)),
            Goal::Order => (RANKER, Target::Numbers(0)),
            Goal::Classes(count) => (CLASSIFIER, Target::Classes(self.classes(count, named)?)),
        };
        let mut features = Features::new(&self.features)?;
        let mut trees = Vec::with_capacity(self.trees.len());
        for of_score in &self.trees {
            trees.push(of_score.iter().map(|tree| features.tree(tree)).collect::<Parse<_>>()?);
        }
        Ok(ImportedTrees(BoostedTrees { model_type, encoder: features.encoder, target, first: self.first, trees }))
    }

    /// The classes in this crate's order, to which the scores are put; two have but one, which speaks for the second.
    fn classes(&mut self, count: usize, named: Option<Named<'_>>) -> Parse<Classes> {
        if !(2..=CLASSES_MAX).contains(&count) {
            return Err(Problem::at("the classes", format!("there are {count}, and may be from 2 to {CLASSES_MAX}")));
        }
        let numbers: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        let named = named.unwrap_or(Named { kind: LabelKind::Integer, names: &numbers });
        if named.names.len() != count {
            let problem = format!("there are {} for {count} classes", named.names.len());
            return Err(Problem::at("the names of the classes", problem));
        }
        named.check()?;
        let mut order: Vec<usize> = (0..count).collect();
        let integer = |place: usize| (named.kind == LabelKind::Integer).then(|| named.names[place].parse::<i64>().ok());
        order.sort_by_key(|place| (integer(*place), &named.names[*place]));
        self.put_in_order(&order);
        let names = order.iter().map(|place| named.names[*place].clone()).collect();
        Ok(Classes::of_stream(named.kind, names, vec![0; count]))
    }

    fn put_in_order(&mut self, order: &[usize]) {
        if let ([first], [trees]) = (&mut self.first[..], &mut self.trees[..]) {
            if order != [0, 1] {
                *first = -*first;
                trees.iter_mut().for_each(|tree| tree.scale(-1.0));
            }
            return;
        }
        self.first = order.iter().map(|place| self.first[*place]).collect();
        self.trees = order.iter().map(|place| std::mem::take(&mut self.trees[*place])).collect();
        if let ([zero, one], [of_zero, of_one]) = (&self.first[..], &mut self.trees[..]) {
            // The odds of one of two classes are those of the difference of their scores.
            let first = one - zero;
            of_zero.iter_mut().for_each(|tree| tree.scale(-1.0));
            let mut trees = std::mem::take(of_zero);
            trees.append(of_one);
            (self.first, self.trees) = (vec![first], vec![trees]);
        }
    }
}

impl ParsedTree {
    /// Multiplies what the leaves say.
    pub(super) fn scale(&mut self, factor: f64) {
        for item in &mut self.items {
            if let Item::Leaf { value, .. } = item {
                *value *= factor;
            }
        }
    }

    /// Adds the categories that the tree asks for to those that are known: a feature that it asks for some of has some.
    pub(super) fn note_categories(&self, known: &mut [Option<BTreeSet<u32>>]) {
        for item in &self.items {
            if let Item::Split(ParsedSplit { feature, test: ParsedTest::In(numbers), .. }) = item
                && let Some(known) = known.get_mut(*feature)
            {
                known.get_or_insert_default().extend(numbers);
            }
        }
    }
}

/// The features of a model, and how its trees name them.
struct Features {
    encoder: Encoder,
    /// The place of each feature of the file: numbers first, then categories.
    places: Vec<usize>,
    /// Of each feature of the file the place of its categories in the dictionary, by their numbers; none of a number.
    categories: Vec<Option<HashMap<u32, usize>>>,
    /// Bytes that sets of categories may still take: they are as long as their last category is far, whatever the file.
    set_bytes_left: usize,
}

impl Features {
    fn new(features: &[ParsedFeature]) -> Parse<Self> {
        let kind = |feature: &ParsedFeature| match feature.categories {
            Some(_) => FeatureKind::Categorical,
            None => FeatureKind::Numeric,
        };
        let fields = features.iter().map(|feature| Feature { name: feature.name.clone(), kind: kind(feature) });
        let schema = FeatureSchema::new(fields.collect()).map_err(|error| Problem::at("the features", error))?;
        let numeric = schema.count(FeatureKind::Numeric);
        let mut next_slot = 1 + numeric as u32;
        let mut dictionaries = Vec::new();
        for feature in features {
            if let Some(categories) = &feature.categories {
                dictionaries.push(dictionary(&feature.name, categories, &mut next_slot)?);
            }
        }
        let mut places = vec![0; features.len()];
        schema.numbers_first().into_iter().enumerate().for_each(|(place, feature)| places[feature] = place);
        // NULL is the first category.
        let by_number = |names: &Categories| names.iter().map(|(number, _)| *number).zip(1..).collect();
        let categories = features.iter().map(|feature| feature.categories.as_ref().map(by_number)).collect();
        let moments = vec![Moments::default(); numeric];
        let encoder = Encoder::new(Arc::new(schema), moments, dictionaries, Numbers::WithMissing);
        Ok(Self { encoder, places, categories, set_bytes_left: snapshot::BYTES_MAX })
    }

    /// A tree that has each of the items which its root leads to, each behind its parent.
    fn tree(&mut self, parsed: &ParsedTree) -> Parse<Tree> {
        let mut tree = Tree::default();
        let mut is_taken = vec![false; parsed.items.len()];
        let mut open = vec![(0, None)];
        while let Some((place, parent)) = open.pop() {
            let item = parsed.take(place, &mut is_taken)?;
            let child = match item {
                Item::Leaf { value, rows } => {
                    tree.values.push(parsed.value(*value, place)?);
                    tree.rows.push((*rows).max(1));
                    Child::Leaf(tree.values.len() as u32 - 1)
                }
                Item::Split(split) => {
                    let node = tree.nodes.len();
                    tree.nodes.push(self.node(split).map_err(|problem| parsed.problem(place, problem))?);
                    open.extend([1, 0].map(|side| (split.children[side], Some((node, side)))));
                    Child::Node(node as u32)
                }
            };
            if let Some((node, side)) = parent {
                let node: &mut Node = &mut tree.nodes[node];
                *(if side == 0 { &mut node.left } else { &mut node.right }) = child;
            }
        }
        Ok(tree)
    }

    fn node(&mut self, split: &ParsedSplit) -> std::result::Result<Node, String> {
        let Some(place) = self.places.get(split.feature) else {
            return Err(format!("it splits feature {}, and there are {}", split.feature, self.places.len()));
        };
        let test = match (&split.test, &self.categories[split.feature]) {
            (ParsedTest::AtMost(threshold), None) if threshold.is_finite() => Test::AtMost(*threshold),
            (ParsedTest::AtMost(_), None) => return Err(String::from("its threshold is no finite number")),
            (ParsedTest::In(numbers), Some(known)) => {
                Test::In(set(numbers, known, split.missing_left, &mut self.set_bytes_left)?)
            }
            (ParsedTest::AtMost(_), Some(_)) => return Err(String::from("it compares a category with a number")),
            (ParsedTest::In(_), None) => return Err(String::from("it looks for a number in a set of categories")),
        };
        let (nowhere, gain) = (Child::Leaf(0), if split.gain.is_finite() { split.gain } else { 0.0 });
        let (feature, missing_left, rows) = (*place as u32, split.missing_left, split.rows);
        Ok(Node { feature, test, missing_left, left: nowhere, right: nowhere, gain, rows })
    }
}

impl ParsedTree {
    fn take(&self, place: usize, is_taken: &mut [bool]) -> Parse<&Item> {
        let (Some(item), Some(is_taken)) = (self.items.get(place), is_taken.get_mut(place)) else {
            return Err(self.problem(place, "it is not there, but a split leads to it"));
        };
        if std::mem::replace(is_taken, true) {
            return Err(self.problem(place, "two ways lead to it"));
        }
        Ok(item)
    }

    fn value(&self, value: f64, place: usize) -> Parse<f64> {
        if value.abs() <= STATE_MAGNITUDE_MAX {
            return Ok(value);
        }
        Err(self.problem(place, format!("its value {value:e} is no number or too large")))
    }

    fn problem(&self, item: usize, problem: impl std::fmt::Display) -> Problem {
        Problem::at(format!("{}, node {item}", self.place), problem)
    }
}

/// NULL, and these categories.
fn dictionary(feature: &str, categories: &[(u32, String)], next_slot: &mut u32) -> Parse<CategoryDictionary> {
    let mut dictionary = CategoryDictionary::new(usize::MAX);
    let first = *next_slot;
    let mut new_slot = || {
        *next_slot += 1;
        *next_slot - 1
    };
    dictionary.slot_or_insert(None, &mut new_slot);
    let problem = |problem: &str| Problem::at(format!("feature '{feature}'"), problem);
    for (place, (_, name)) in categories.iter().enumerate() {
        let slot = dictionary.slot_or_insert(Some(name), &mut new_slot);
        // Those that there is no room for are the second of all.
        if dictionary.categories().take(2).any(|(category, _)| category == Category::Other) {
            return Err(problem("its categories have too much text"));
        }
        if slot != first + 1 + place as u32 {
            return Err(problem(&format!("category '{name}' is there twice")));
        }
    }
    Ok(dictionary)
}

/// The bits of categories in a dictionary, given by their numbers, and maybe of NULL.
fn set(
    numbers: &[u32],
    known: &HashMap<u32, usize>,
    with_null: bool,
    bytes_left: &mut usize,
) -> std::result::Result<Vec<u64>, String> {
    let mut places = Vec::with_capacity(numbers.len());
    for number in numbers {
        let unknown = || format!("it has category {number} in its set, which its feature does not have");
        places.push(*known.get(number).ok_or_else(unknown)?);
    }
    let words = 1 + places.iter().max().map_or(0, |last| last / 64);
    *bytes_left = bytes_left.checked_sub(8 * words).ok_or("the sets of categories up to here are too large")?;
    let mut set = vec![0_u64; words];
    set[0] |= u64::from(with_null);
    places.iter().for_each(|place| set[place / 64] |= 1 << (place % 64));
    Ok(set)
}
