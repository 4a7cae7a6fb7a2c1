//! An isolation forest fitted to a training set.

use std::collections::BTreeSet;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Field;

use super::config::{Contamination, IsolationForestConfig};
use super::tree::{Sample, Tree};
use super::{Forest, IsolationForest, ROWS_A_BLOCK, output_fields};
use crate::batch::parallel::{in_parallel, stretches};
use crate::batch::{BatchModel, FitControl, FitReport, Iteration, TrainingSet, map_shards};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::check_slots;
use crate::random::Random;

/// The score from which on rows are anomalies by default, as the paper says.
const SCORE_OF_ANOMALIES: f64 = 0.5;

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchIsolationForest {
    config: IsolationForestConfig,
    set: TrainingSet,
    control: FitControl,
}

impl BatchIsolationForest {
    /// A model that has no rows.
    ///
    /// # Errors
    /// `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn new(config: IsolationForestConfig, schema: FeatureSchema) -> Result<Self> {
        check_slots(config.max_categories, &schema)?;
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, set, control: FitControl::default() })
    }

    /// Values of a row.
    fn width(&self) -> usize {
        self.set.schema().fields().len()
    }

    /// A forest whose threshold is not known yet.
    fn grow(&self) -> Result<Forest> {
        let sample_rows = self.set.rows().min(self.config.subsample_rows);
        let mut forest =
            Forest { shares: self.shares()?, trees: Vec::new(), sample_rows: sample_rows as u32, threshold: 1.0 };
        let numbers: Vec<u64> = (0..self.config.num_trees).collect();
        let grow = |numbers: &&[u64]| {
            let going_on = numbers.iter().take_while(|_| !self.control.is_stopped());
            going_on.map(|number| self.tree(&forest, *number)).collect::<Vec<_>>()
        };
        let trees = in_parallel(&stretches(&numbers, self.control.threads.get()), grow);
        self.control.check()?;
        forest.trees = trees.into_iter().flatten().collect();
        Ok(forest)
    }

    /// The part of the rows that has each category.
    fn shares(&self) -> Result<Vec<f64>> {
        let mut shares = self.set.mean_squares(&self.control)?;
        shares.drain(..=self.set.numeric());
        Ok(shares)
    }

    /// The tree with this number. What it draws follows from that and the seed alone.
    fn tree(&self, forest: &Forest, number: u64) -> Tree {
        let mut random = Random::new(self.config.seed, number);
        let width = self.width();
        let mut sample = Sample { width, values: Vec::with_capacity(forest.sample_rows as usize * width) };
        for row in drawn(&mut random, self.set.rows(), u64::from(forest.sample_rows)) {
            if let Some(row) = self.set.row(row as usize) {
                forest.see(row.numbers, row.categories, &mut sample.values);
            }
        }
        let looked_at = ((self.config.max_features * width as f64) as u64).max(1);
        let features: Vec<usize> =
            drawn(&mut random, width as u64, looked_at).into_iter().map(|feature| feature as usize).collect();
        Tree::grow(&sample, &features, &mut random)
    }

    /// The scores of all rows, in their order.
    fn scores(&self, forest: &Forest) -> Result<Vec<f64>> {
        let (width, paths) = (self.width(), forest.paths());
        let parts = map_shards(self.set.chunks(), &self.control, |chunks| {
            let (mut scores, mut values) = (Vec::new(), Vec::new());
            for chunk in chunks.iter().take_while(|_| !self.control.is_stopped()) {
                values.clear();
                chunk.iter().for_each(|row| forest.see(row.numbers, row.categories, &mut values));
                for block in values.chunks(ROWS_A_BLOCK * width) {
                    scores.extend(forest.scores(&paths, block, width));
                }
            }
            scores
        })?;
        Ok(parts.concat())
    }
}

/// So many of the numbers below `end`, ascending, each set of them as likely as any other (Floyd's method, in Bentley
/// and Floyd 1987).
fn drawn(random: &mut Random, end: u64, count: u64) -> BTreeSet<u64> {
    let mut drawn = BTreeSet::new();
    for last in end.saturating_sub(count)..end {
        let number = random.below(last + 1);
        if !drawn.insert(number) {
            drawn.insert(last);
        }
    }
    drawn
}

/// The score that a part of all scores exceeds, between the two scores that are next to it.
pub(crate) fn exceeded_by(mut scores: Vec<f64>, share: f64) -> f64 {
    scores.sort_unstable_by(|one, other| other.total_cmp(one));
    let place = share * scores.len().saturating_sub(1) as f64;
    let at = |place: usize| scores.get(place).or(scores.last()).copied().unwrap_or(SCORE_OF_ANOMALIES);
    let (upper, lower) = (at(place as usize), at(place as usize + 1));
    upper - (upper - lower) * place.fract()
}

impl BatchModel for BatchIsolationForest {
    fn model_type(&self) -> &'static str {
        IsolationForest::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn outputs(&self) -> Vec<Field> {
        output_fields()
    }

    fn add(&mut self, features: &RecordBatch, _labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        self.set.add_unlabelled(features)
    }

    fn rows(&self) -> u64 {
        self.set.rows()
    }

    fn bytes(&self) -> usize {
        self.set.bytes()
    }

    fn set_control(&mut self, control: FitControl) {
        self.control = control;
    }

    /// Nothing is minimised: the loss is 0.
    fn fit(&mut self) -> Result<FitReport> {
        if self.set.rows() == 0 {
            return Err(MlError::NoRows);
        }
        self.set.prepare(Numbers::WithMissing, &self.control)?;
        let mut forest = self.grow()?;
        let scores = self.scores(&forest)?;
        forest.threshold = match self.config.contamination {
            Contamination::Auto => SCORE_OF_ANOMALIES,
            Contamination::Share(share) => exceeded_by(scores.clone(), share),
        };
        let anomalies = scores.iter().filter(|score| forest.is_anomaly(**score)).count();
        let rows = self.set.rows();
        let model = IsolationForest::new(self.set.encoder(Numbers::WithMissing), forest, rows);
        Ok(FitReport {
            model: model.snapshot()?,
            rows,
            iterations: self.config.num_trees,
            converged: true,
            loss: 0.0,
            metrics: vec![("anomaly_rate".to_owned(), anomalies as f64 / rows as f64)],
            trials: Vec::new(),
            history: Iteration::only(0.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{drawn, exceeded_by};
    use crate::random::Random;

    #[test]
    fn each_number_is_drawn_as_often_as_others() {
        let mut counts = [0; 10];
        for stream in 0..20_000 {
            let drawn = drawn(&mut Random::new(3, stream), 10, 4);
            assert_eq!(drawn.len(), 4);
            drawn.iter().for_each(|number| counts[*number as usize] += 1);
        }
        // Five standard deviations are 346.
        assert!(counts.iter().all(|count: &i32| (count - 8000).abs() < 350), "{counts:?}");
        assert!(drawn(&mut Random::new(3, 0), 7, 7).into_iter().eq(0..7));
        assert!(drawn(&mut Random::new(3, 0), 0, 0).is_empty());
    }

    #[test]
    fn a_part_of_the_scores_is_above() {
        let scores = || vec![0.1, 0.5, 0.3, 0.4, 0.2];
        assert_eq!((exceeded_by(scores(), 0.0), exceeded_by(scores(), 0.5)), (0.5, 0.3));
        assert!((exceeded_by(scores(), 0.125) - 0.45).abs() < 1e-15);
        assert_eq!(exceeded_by(vec![0.7], 0.3), 0.7);
    }
}
