//! A fitted tree or forest, as it answers: the mean of what its trees say.

use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch};
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};

use super::ForestType;
use super::bins::FeatureBins;
use super::tree::{Tree, TreeState};
use crate::boosted_trees::bins::OTHERS;
use crate::boosted_trees::{Target, first_slots};
use crate::error::{MlError, Result};
use crate::explain::Explanations;
use crate::feature::encoder::{Encoder, EncoderState};
use crate::inspect::ModelTable;
use crate::model::FeatureSchema;
use crate::predictor::{Predictions, Supervised};
use crate::snapshot;

pub(crate) const SNAPSHOT_TAG: u8 = 10;

/// Rows that each tree answers before the next tree does: they and a tree fit into a cache.
const ROWS_A_BLOCK: usize = 256;

/// A fitted model; it only predicts.
#[derive(Debug, Clone)]
pub(crate) struct Forest {
    model: ForestType,
    pub(super) encoder: Encoder,
    pub(super) target: Target,
    features: Vec<FeatureBins>,
    pub(super) categories: Categories,
    pub(super) trees: Vec<Tree>,
}

/// Finds the bins of categories.
#[derive(Debug, Clone)]
pub(super) struct Categories {
    /// Of each categorical feature its first slot, and the bin of each place in its dictionary.
    features: Vec<(u32, Vec<u8>)>,
}

impl Categories {
    /// Of a model with this encoder and these features, of which the numbers come first.
    fn new(encoder: &Encoder, features: &[FeatureBins]) -> Self {
        let widths = encoder.categories();
        let bins = features[encoder.numeric()..].iter().zip(&widths).map(|(bins, width)| bins.of_places(*width));
        Self { features: first_slots(encoder.numeric(), &widths).into_iter().zip(bins).collect() }
    }

    /// The bin of each place in the dictionary of a categorical feature.
    pub(super) fn of_places(&self, feature: usize) -> &[u8] {
        &self.features[feature].1
    }

    /// The bins of a row's categories, given their slots.
    fn bins<'a>(&'a self, slots: &'a [u32]) -> impl Iterator<Item = u8> + 'a {
        let place = |slot: u32, first: u32| slot.checked_sub(first).map_or(usize::MAX, |place| place as usize);
        let bin = move |(slot, (first, bins)): (&u32, &(u32, Vec<u8>))| bins.get(place(*slot, *first)).copied();
        slots.iter().zip(&self.features).map(move |of| bin(of).unwrap_or(OTHERS))
    }
}

/// Rows that go through a tree side by side.
const ROWS_A_WALK: usize = 8;

/// Some rows that are answered together.
#[derive(Debug, Default)]
pub(super) struct Block {
    rows: usize,
    /// Of a row, and how many bins of categories it has.
    widths: [usize; 2],
    numbers: Vec<f64>,
    categories: Vec<u8>,
}

impl Block {
    pub(super) fn push(&mut self, numbers: &[f64], slots: &[u32], categories: &Categories) {
        self.widths = [numbers.len(), slots.len()];
        self.numbers.extend_from_slice(numbers);
        self.categories.extend(categories.bins(slots));
        self.rows += 1;
    }

    /// Adds what a tree says of each row that is wanted to the row's sums, of which it has `width`.
    pub(super) fn add(&self, tree: &Tree, sums: &mut [f64], width: usize, is_wanted: impl Fn(usize) -> bool) {
        let mut of_row = |row: usize, leaf: usize| tree.leaves.add(leaf, &mut sums[row * width..][..width]);
        let mut waiting = [0; ROWS_A_WALK];
        let mut count = 0;
        for row in (0..self.rows).filter(|row| is_wanted(*row)) {
            waiting[count] = row;
            count += 1;
            if count == ROWS_A_WALK {
                let leaves = tree.leaves_of(waiting.map(|row| self.row(row)));
                waiting.iter().zip(leaves).for_each(|(row, leaf)| of_row(*row, leaf));
                count = 0;
            }
        }
        for row in &waiting[..count] {
            let [leaf] = tree.leaves_of([self.row(*row)]);
            of_row(*row, leaf);
        }
    }

    /// The numbers of a row, and the bins of its categories.
    pub(super) fn row(&self, row: usize) -> (&[f64], &[u8]) {
        let [numbers, categories] = self.widths;
        (&self.numbers[row * numbers..][..numbers], &self.categories[row * categories..][..categories])
    }

    pub(super) fn clear(&mut self) {
        self.rows = 0;
        self.numbers.clear();
        self.categories.clear();
    }
}

impl Forest {
    pub(super) fn new(
        model: ForestType,
        encoder: Encoder,
        target: Target,
        features: Vec<FeatureBins>,
        trees: Vec<Tree>,
    ) -> Self {
        let categories = Categories::new(&encoder, &features);
        Self { model, encoder, target, features, categories, trees }
    }

    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of trees"));
        }
        let State { model, encoder, target, features, trees } = snapshot::decode(payload)?;
        let classes = match &target {
            Target::Classes(classes) => {
                classes.check()?;
                Some(classes.names().len())
            }
            Target::Numbers(_) => None,
        };
        if model.is_classifier() != classes.is_some() || trees.is_empty() {
            return Err(MlError::corrupt("the trees do not fit the label"));
        }
        let encoder = encoder.into_encoder(target.rows())?;
        let widths = std::iter::repeat_n(None, encoder.numeric()).chain(encoder.categories().into_iter().map(Some));
        if features.len() != encoder.numeric() + encoder.categories().len() {
            return Err(MlError::corrupt("the bins do not fit the features"));
        }
        features.iter().zip(widths).try_for_each(|(bins, width)| bins.check(width))?;
        let trees = trees.into_iter().map(|tree| tree.into_tree(&features, classes)).collect::<Result<_>>()?;
        Ok(Self::new(model, encoder, target, features, trees))
    }

    /// Sums that a row has: one for each class, or one of numbers.
    pub(super) fn width(&self) -> usize {
        match &self.target {
            Target::Classes(classes) => classes.names().len(),
            Target::Numbers(_) => 1,
        }
    }

    /// # Errors
    /// `StateTooLarge`.
    pub(super) fn snapshot(&self) -> Result<Vec<u8>> {
        let (encoder, target, features) = (self.encoder.state(), self.target.clone(), self.features.clone());
        let trees = self.trees.iter().map(Tree::state).collect();
        snapshot::seal(SNAPSHOT_TAG, &State { model: self.model, encoder, target, features, trees })
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    model: ForestType,
    encoder: EncoderState,
    target: Target,
    features: Vec<FeatureBins>,
    trees: Vec<TreeState>,
}

impl Supervised for Forest {
    fn model_type(&self) -> &'static str {
        self.model.name()
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
        let (width, numeric, trees) = (self.width(), self.encoder.numeric(), self.trees.len() as f64);
        let mut said = vec![vec![0.0; features.num_rows()]; width];
        let (mut block, mut places) = (Block::default(), Vec::with_capacity(ROWS_A_BLOCK));
        let mut answer = |block: &mut Block, places: &mut Vec<usize>| {
            let mut sums = vec![0.0; places.len() * width];
            self.trees.iter().for_each(|tree| block.add(tree, &mut sums, width, |_| true));
            for (sums, row) in sums.chunks_exact(width).zip(places.iter()) {
                said.iter_mut().zip(sums).for_each(|(said, sum)| said[*row] = sum / trees);
            }
            block.clear();
            places.clear();
        };
        let usable = self.encoder.visit(features, |row, slots, values| {
            block.push(&values[1..=numeric], &slots[1 + numeric..], &self.categories);
            places.push(row);
            if places.len() == ROWS_A_BLOCK {
                answer(&mut block, &mut places);
            }
        })?;
        answer(&mut block, &mut places);
        match &self.target {
            Target::Classes(classes) => Ok(classes.predictions(said, usable)),
            Target::Numbers(_) => {
                let numbers = said.pop().unwrap_or_default();
                Ok(Predictions::without_classes(Arc::new(Float64Array::new(numbers.into(), usable))))
            }
        }
    }

    fn explanations(&self, features: &RecordBatch, said: &Predictions) -> Result<Option<Explanations>> {
        self.explained(features, said).map(Some)
    }

    fn table(&self, which: ModelTable) -> Result<Option<RecordBatch>> {
        match which {
            ModelTable::FeatureImportance => self.importance().map(Some),
            _ => Ok(None),
        }
    }
}
