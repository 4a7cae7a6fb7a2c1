//! Gradient-boosted trees: each tree is grown to lower what those before it have left of the loss.
//!
//! Chen and Guestrin (2016) for the second-order objective, Ke et al. (2017) for histograms of bins and leaf-wise growth. Missing
//! numbers go to the side that lowers the loss more; categories are split by sets, and one that was not seen is in none.
//! With the same settings the loss is about LightGBM's; the same rows give the same bits, whatever the number of threads.
//! Of numbers and classes, each row has a loss of its own (`loss`); a ranker's is that of groups of rows (`ranking`).

pub(crate) mod batch;
pub(crate) mod bins;
pub(crate) mod config;
mod division;
mod early_stop;
mod explain;
pub mod export;
mod fit;
mod groups;
mod grow;
mod histogram;
pub mod import;
mod loss;
mod measures;
mod monotone;
mod objective;
mod onnx;
mod partition;
mod ranking;
mod samples;
mod split;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch};
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};

use self::objective::Objective;
use self::tree::{Node, Tree};
use crate::classes::Classes;
use crate::error::{MlError, Result};
use crate::explain::Explanations;
use crate::feature::dictionary::NO_SLOT;
use crate::feature::encoder::{Encoder, EncoderState};
use crate::inspect::{ModelTable, importance_table};
use crate::model::FeatureSchema;
use crate::predictor::{Predictions, Supervised};
use crate::snapshot::{self, STATE_MAGNITUDE_MAX};

/// The name of a classifier in `CREATE MODEL`, as in BigQuery.
pub(crate) const CLASSIFIER: &str = "boosted_tree_classifier";

/// That of a model of numbers.
pub(crate) const REGRESSOR: &str = "boosted_tree_regressor";

/// That of a model whose scores put the rows of a group in order: XGBoost's and LightGBM's rankers.
pub(crate) const RANKER: &str = "boosted_tree_ranker";

pub(crate) const SNAPSHOT_TAG: u8 = 5;

/// That of a ranker, whose state is a model of numbers'.
pub(crate) const RANKER_SNAPSHOT_TAG: u8 = 6;

/// Rows that each tree answers before the next tree does: they and a tree fit into a cache.
const ROWS_A_BLOCK: usize = 256;

/// A fitted model; it only predicts.
#[derive(Debug, Clone)]
pub(crate) struct BoostedTrees {
    model_type: &'static str,
    encoder: Encoder,
    target: Target,
    /// What the scores begin with.
    first: Vec<f64>,
    /// For each score its trees.
    trees: Vec<Vec<Tree>>,
}

/// What is predicted.
#[derive(Debug, Clone, Encode, Decode)]
pub(crate) enum Target {
    Classes(Classes),
    /// Numbers, or the scores of a ranker, from so many rows.
    Numbers(u64),
}

impl Target {
    fn objective(&self) -> Objective {
        match self {
            Self::Numbers(_) => Objective::Squares,
            Self::Classes(classes) if classes.names().len() == 2 => Objective::Binary,
            Self::Classes(classes) => Objective::Classes(classes.names().len()),
        }
    }

    pub(crate) fn rows(&self) -> u64 {
        match self {
            Self::Classes(classes) => classes.total_rows(),
            Self::Numbers(rows) => *rows,
        }
    }
}

impl BoostedTrees {
    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        let State { encoder, target, first, trees } = snapshot::decode(payload)?;
        let model_type = match (tag, &target) {
            (SNAPSHOT_TAG, Target::Classes(_)) => CLASSIFIER,
            (SNAPSHOT_TAG, Target::Numbers(_)) => REGRESSOR,
            (RANKER_SNAPSHOT_TAG, Target::Numbers(_)) => RANKER,
            _ => return Err(MlError::corrupt("its model tag is not that of such boosted trees")),
        };
        if let Target::Classes(classes) = &target {
            classes.check()?;
        }
        let encoder = encoder.into_encoder(target.rows())?;
        let scores = target.objective().scores();
        let is_plausible = |score: &f64| score.abs() <= STATE_MAGNITUDE_MAX;
        if first.len() != scores || trees.len() != scores || !first.iter().all(is_plausible) {
            return Err(MlError::corrupt("the trees do not fit the classes"));
        }
        let (numbers, categories) = (encoder.numeric(), encoder.categories().len());
        trees.iter().flatten().try_for_each(|tree| tree.check(numbers, categories))?;
        Ok(Self { model_type, encoder, target, first, trees })
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let (target, first, trees) = (self.target.clone(), self.first.clone(), self.trees.clone());
        let tag = if self.model_type == RANKER { RANKER_SNAPSHOT_TAG } else { SNAPSHOT_TAG };
        snapshot::seal(tag, &State { encoder: self.encoder.state(), target, first, trees })
    }

    /// The scores of rows, one after another for all of them.
    fn scores(&self, block: &Block) -> Vec<Vec<f64>> {
        let of_score = |(first, trees): (&f64, &Vec<Tree>)| {
            let mut scores = vec![*first; block.rows.len()];
            for tree in trees {
                for (place, score) in scores.iter_mut().enumerate() {
                    *score += tree.value(block.numbers(place), block.categories(place));
                }
            }
            scores
        };
        self.first.iter().zip(&self.trees).map(of_score).collect()
    }
}

/// The first slot of each categorical feature, given how many each has: they follow those of the numbers.
pub(crate) fn first_slots(numeric: usize, widths: &[usize]) -> Vec<u32> {
    let mut first = 1 + numeric as u32;
    let mut slots = Vec::with_capacity(widths.len());
    for width in widths {
        slots.push(first);
        first += *width as u32;
    }
    slots
}

/// Some rows that are answered together.
#[derive(Debug, Default)]
struct Block {
    /// Their places in the batch.
    rows: Vec<usize>,
    numbers: Vec<f64>,
    /// Places in the features' dictionaries.
    categories: Vec<u32>,
    /// The first slot of each feature's categories.
    first_slots: Vec<u32>,
    numeric: usize,
}

impl Block {
    fn new(encoder: &Encoder) -> Self {
        let numeric = encoder.numeric();
        Self { numeric, first_slots: first_slots(numeric, &encoder.categories()), ..Self::default() }
    }

    fn push(&mut self, row: usize, slots: &[u32], values: &[f64]) {
        self.rows.push(row);
        self.numbers.extend_from_slice(&values[1..=self.numeric]);
        let slots = slots[1 + self.numeric..].iter().zip(&self.first_slots);
        // A category that was never seen stays beyond all places.
        self.categories.extend(slots.map(|(slot, first)| if *slot == NO_SLOT { NO_SLOT } else { slot - first }));
    }

    fn numbers(&self, place: usize) -> &[f64] {
        &self.numbers[place * self.numeric..(place + 1) * self.numeric]
    }

    fn categories(&self, place: usize) -> &[u32] {
        let width = self.first_slots.len();
        &self.categories[place * width..(place + 1) * width]
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.numbers.clear();
        self.categories.clear();
    }
}

impl Supervised for BoostedTrees {
    fn model_type(&self) -> &'static str {
        self.model_type
    }

    fn schema(&self) -> &FeatureSchema {
        self.encoder.schema()
    }

    fn label_type(&self) -> DataType {
        match &self.target {
            Target::Classes(classes) => classes.kind().data_type(),
            Target::Numbers(_) => DataType::Float64,
        }
    }

    fn class_names(&self) -> Vec<String> {
        match &self.target {
            Target::Classes(classes) => classes.names().to_vec(),
            Target::Numbers(_) => Vec::new(),
        }
    }

    fn rows_learnt(&self) -> u64 {
        self.target.rows()
    }

    fn predictions(&self, features: &RecordBatch) -> Result<Predictions> {
        let objective = self.target.objective();
        let mut said = vec![vec![0.0; features.num_rows()]; self.first.len()];
        let mut block = Block::new(&self.encoder);
        let mut row_scores = vec![0.0; self.first.len()];
        let mut answer = |block: &mut Block| {
            let scores = self.scores(block);
            for (place, row) in block.rows.iter().enumerate() {
                row_scores.iter_mut().zip(&scores).for_each(|(own, scores)| *own = scores[place]);
                objective.probabilities(&mut row_scores);
                said.iter_mut().zip(&row_scores).for_each(|(said, score)| said[*row] = *score);
            }
            block.clear();
        };
        let usable = self.encoder.visit(features, |row, slots, values| {
            block.push(row, slots, values);
            if block.rows.len() == ROWS_A_BLOCK {
                answer(&mut block);
            }
        })?;
        answer(&mut block);
        match &self.target {
            Target::Numbers(_) => {
                let numbers = said.pop().unwrap_or_default();
                Ok(Predictions::without_classes(Arc::new(Float64Array::new(numbers.into(), usable))))
            }
            Target::Classes(classes) => {
                if objective == Objective::Binary {
                    let negative = said[0].iter().map(|positive| 1.0 - positive).collect();
                    said.insert(0, negative);
                }
                Ok(classes.predictions(said, usable))
            }
        }
    }

    fn explanations(&self, features: &RecordBatch, said: &Predictions) -> Result<Option<Explanations>> {
        self.explained(features, said).map(Some)
    }

    fn table(&self, which: ModelTable) -> Result<Option<RecordBatch>> {
        match which {
            ModelTable::FeatureImportance => {
                let nodes = self.trees.iter().flatten().flat_map(|tree| &tree.nodes);
                importance_table(self.schema(), nodes.map(Node::as_use)).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    encoder: EncoderState,
    target: Target,
    first: Vec<f64>,
    trees: Vec<Vec<Tree>>,
}
