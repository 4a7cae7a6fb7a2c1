//! A leaf of numbers: the labels of its rows, a linear model of them, and what it knows of their features.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::sparse::sparse_dot;

use super::bins::{BinPlace, Bins};
use super::config::{LeafPrediction, RegressorConfig};
use super::split::best_split;
use crate::feature::moments::{Moments, Scale};
use crate::hoeffding_tree::split::Split;
use crate::hoeffding_tree::tree::{Row, TreeLeaf};
use crate::linear::optimizer::{OptimizerConfig, Parameters};
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// The largest error of a linear model, in standard deviations of the labels, that counts as such; larger ones count so
/// much.
const ERROR_MAX: f64 = 1e20;

/// A row's label.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(super) label: f64,
    /// How labels are standardised for linear models.
    pub(super) units: Scale,
}

/// A leaf of a tree.
#[derive(Debug, Clone, Encode, Decode)]
pub(crate) struct Leaf {
    /// Of its rows; those of its branch from before the split that made it are among them.
    labels: Moments,
    /// Rows at the last look for a split.
    looked_at: u64,
    /// Sums of the squared errors of the mean and of the linear model, in which earlier ones count ever less.
    mean_errors: f64,
    linear_errors: f64,
    /// Of standardised numbers and labels; none where leaves say the mean.
    linear: Option<Parameters>,
    /// What is known of features since the leaf was made; `None` in a leaf that has forgotten.
    observers: Option<Observers>,
}

impl Leaf {
    /// What it says of a row.
    pub(super) fn predict(&self, row: Row<'_>, units: Scale, config: &RegressorConfig) -> f64 {
        match (&self.linear, config.leaf_prediction) {
            (None, _) | (_, LeafPrediction::Mean) => self.labels.mean(),
            (Some(_), LeafPrediction::Adaptive) if self.mean_errors < self.linear_errors => self.labels.mean(),
            (Some(linear), _) => units.restore(sparse_dot(row.scaled.0, row.scaled.1, linear.weights())),
        }
    }

    fn learn_linear(&mut self, row: Row<'_>, target: Target, decay: f64) {
        let Some(linear) = &mut self.linear else { return };
        let (slots, values) = row.scaled;
        let score = sparse_dot(slots, values, linear.weights());
        let (of_mean, of_linear) = (target.label - self.labels.mean(), target.label - target.units.restore(score));
        self.mean_errors = faded(self.mean_errors, of_mean, decay);
        self.linear_errors = faded(self.linear_errors, of_linear, decay);
        let error = (score - target.units.apply(target.label, f64::INFINITY)).clamp(-ERROR_MAX, ERROR_MAX);
        linear.step(&OptimizerConfig::default(), slots, values, error);
    }

    /// Whether rows of a tree could have led here, given its features and their categories.
    pub(super) fn is_plausible(&self, config: &RegressorConfig, features: (usize, &[usize]), rows: u64) -> bool {
        let (numbers, categories) = features;
        let is_error = |errors: f64| (0.0..=STATE_MAGNITUDE_MAX).contains(&errors);
        let linear = self.linear.as_ref();
        self.labels.is_plausible(rows)
            && self.looked_at <= rows
            && is_error(self.mean_errors)
            && is_error(self.linear_errors)
            && linear.is_some() == (config.leaf_prediction != LeafPrediction::Mean)
            && linear.is_none_or(|linear| linear.is_plausible(&OptimizerConfig::default(), 1 + numbers))
            && self.observers.as_ref().is_none_or(|observers| observers.is_plausible(numbers, categories, rows))
    }
}

/// A sum of squares to which another is added, and in which those before count by `decay` less.
fn faded(squares: f64, error: f64, decay: f64) -> f64 {
    // Squares of the largest labels and of linear models that have lost their way must not lead out of the range of `f64`.
    let error = error.clamp(-1e70, 1e70);
    decay * squares + error * error
}

impl TreeLeaf for Leaf {
    type Label = Target;
    type Branch = Moments;
    type Config = RegressorConfig;
    /// Where a row's numbers lie.
    type Room = Vec<BinPlace>;

    fn first(config: &RegressorConfig, (numbers, categories): (usize, usize), _: usize) -> Self {
        let has_linear = config.leaf_prediction != LeafPrediction::Mean;
        Self {
            labels: Moments::default(),
            looked_at: 0,
            mean_errors: 0.0,
            linear_errors: 0.0,
            linear: has_linear.then(|| Parameters::new(&OptimizerConfig::default(), 1 + numbers)),
            observers: Some(Observers::new(numbers, categories)),
        }
    }

    fn learn(&mut self, row: Row<'_>, target: Target, config: &RegressorConfig, room: &mut Self::Room) -> usize {
        self.learn_linear(row, target, config.error_decay);
        self.labels.add(target.label);
        self.observers.as_mut().map_or(0, |observers| observers.observe(row, target.label, room))
    }

    fn split(&mut self, _: (usize, usize), config: &RegressorConfig) -> Option<Split<Moments>> {
        let observers = self.observers.as_ref()?;
        let rows = self.labels.count();
        if rows.saturating_sub(self.looked_at) < u64::from(config.growth.grace_period) {
            return None;
        }
        self.looked_at = rows;
        best_split(observers, rows, &config.growth)
    }

    /// It begins with the linear model of this one, which goes on with steps of its own.
    fn of_branch(&self, labels: Moments, _: &RegressorConfig, _: (usize, usize), _: usize) -> Self {
        let linear = self.linear.as_ref().map(|linear| {
            let weights = linear.weights().to_vec();
            let squares = vec![0.0; weights.len()];
            Parameters::fitted(&OptimizerConfig::default(), weights, squares)
        });
        let observers = self.observers.as_ref().map(Observers::emptied);
        Self { labels, looked_at: labels.count(), linear, observers, ..*self }
    }

    fn rows_of(branch: &Moments) -> f64 {
        branch.count() as f64
    }

    fn promise(&self) -> f64 {
        self.labels.squares()
    }

    fn knows_features(&self) -> bool {
        self.observers.is_some()
    }

    /// It says the mean of its labels, or what its linear model does.
    fn forget(&mut self) {
        self.observers = None;
    }

    fn bytes(&self) -> usize {
        let linear = self.linear.as_ref().map_or(0, |linear| 2 * linear.weights().len() * size_of::<f64>());
        size_of::<Self>() + linear + self.observers.as_ref().map_or(0, Observers::bytes)
    }
}

/// What is known of all features: the labels beside their values.
#[derive(Debug, Clone, Encode, Decode)]
pub(crate) struct Observers {
    /// Of each numeric feature.
    numbers: Vec<Bins>,
    /// Of each categorical feature, category by category; one past the end has no rows.
    categories: Vec<Vec<Moments>>,
}

impl Observers {
    fn new(numbers: usize, categories: usize) -> Self {
        Self { numbers: vec![Bins::default(); numbers], categories: vec![Vec::new(); categories] }
    }

    /// Those of the same features that know nothing.
    fn emptied(&self) -> Self {
        Self::new(self.numbers.len(), self.categories.len())
    }

    pub(super) fn numbers(&self) -> &[Bins] {
        &self.numbers
    }

    pub(super) fn categories(&self) -> &[Vec<Moments>] {
        &self.categories
    }

    /// Takes one row; returns the bytes that this has grown by.
    fn observe(&mut self, row: Row<'_>, label: f64, places: &mut Vec<BinPlace>) -> usize {
        let mut grown = 0;
        // All are found before the first is changed, so that they come from memory together.
        places.clear();
        places.extend(self.numbers.iter().zip(row.numbers).map(|(bins, value)| bins.find(*value)));
        for ((bins, value), place) in self.numbers.iter_mut().zip(row.numbers).zip(places) {
            if !value.is_nan() {
                grown += bins.add(*place, *value, label);
            }
        }
        for (labels, category) in self.categories.iter_mut().zip(row.categories) {
            let category = *category as usize;
            let missing = (category + 1).saturating_sub(labels.len());
            labels.resize(labels.len() + missing, Moments::default());
            labels[category].add(label);
            grown += missing * size_of::<Moments>();
        }
        grown
    }

    /// Bytes that this holds, beside itself.
    fn bytes(&self) -> usize {
        let categories: usize = self.categories.iter().map(|labels| labels.len() * size_of::<Moments>()).sum();
        let rooms = self.numbers.len() * Bins::BYTES + self.categories.len() * size_of::<Vec<Moments>>();
        rooms + self.numbers.iter().map(Bins::bytes).sum::<usize>() + categories
    }

    fn is_plausible(&self, numbers: usize, categories: &[usize], rows: u64) -> bool {
        let fits = |(labels, known): (&Vec<Moments>, &usize)| {
            labels.len() <= *known && labels.iter().all(|labels| labels.is_plausible(rows))
        };
        self.numbers.len() == numbers
            && self.numbers.iter().all(|bins| bins.is_plausible(rows))
            && self.categories.len() == categories.len()
            && self.categories.iter().zip(categories).all(fits)
    }
}
