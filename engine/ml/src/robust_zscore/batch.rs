//! Medians of a training set, exact over all of its rows.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Field;

use super::config::RobustZscoreConfig;
use super::{Column, RobustZscore, largest_score, output_fields};
use crate::batch::parallel::{in_parallel, stretches};
use crate::batch::{BatchModel, Chunk, FitControl, FitReport, Iteration, TrainingSet, map_shards};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::model::{FeatureKind, FeatureSchema, RejectedRow};

/// The three quarters' quantile of the standard normal distribution, as the paper rounds it: its MAD.
const MAD_OF_NORMAL: f64 = 0.6745;

/// The mean distance of normal numbers from their mean, times this, is their standard deviation: `sqrt(π / 2)`.
const DEVIATION_PER_MEAN_DISTANCE: f64 = 1.253_314;

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchRobustZscore {
    config: RobustZscoreConfig,
    set: TrainingSet,
    control: FitControl,
}

impl BatchRobustZscore {
    /// A model that has no rows.
    ///
    /// # Errors
    /// `NoNumbers` for a schema of categories only.
    pub(crate) fn new(config: RobustZscoreConfig, schema: FeatureSchema) -> Result<Self> {
        if schema.count(FeatureKind::Numeric) == 0 {
            return Err(MlError::NoNumbers { model_type: RobustZscore::MODEL_TYPE });
        }
        // Categories are not looked at, so one slot for all of them is enough.
        let set = TrainingSet::new(schema, 0);
        Ok(Self { config, set, control: FitControl::default() })
    }

    fn columns(&self) -> Result<Vec<Column>> {
        let places: Vec<usize> = (0..self.set.numeric()).collect();
        let of_places = |places: &&[usize]| places.iter().map(|place| self.column(*place)).collect::<Result<Vec<_>>>();
        let parts = in_parallel(&stretches(&places, self.control.threads.get()), of_places);
        Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.concat())
    }

    /// # Errors
    /// `Stopped`.
    fn column(&self, place: usize) -> Result<Column> {
        let mut numbers = Vec::new();
        for chunk in self.set.chunks() {
            self.control.check()?;
            numbers.extend(chunk.iter().map(|row| row.numbers[place]).filter(|number| !number.is_nan()));
        }
        let Some(middle) = median(&mut numbers) else { return Ok(Column { median: 0.0, scale: 0.0 }) };
        self.control.check()?;
        numbers.iter_mut().for_each(|number| *number = (*number - middle).abs());
        let mean_distance = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let scale = match median(&mut numbers) {
            Some(mad) if mad > 0.0 => mad / MAD_OF_NORMAL,
            _ => mean_distance * DEVIATION_PER_MEAN_DISTANCE,
        };
        Ok(Column { median: middle, scale })
    }

    /// How many of the rows are anomalies.
    fn anomalies(&self, columns: &[Column]) -> Result<usize> {
        let is_anomaly =
            |numbers: &[f64]| largest_score(columns, numbers).is_some_and(|(score, _)| score > self.config.threshold);
        let parts = map_shards(self.set.chunks(), &self.control, |chunks| {
            let going_on = chunks.iter().take_while(|_| !self.control.is_stopped());
            going_on.flat_map(Chunk::iter).filter(|row| is_anomaly(row.numbers)).count()
        })?;
        Ok(parts.into_iter().sum())
    }
}

/// The middle number, or the mean of the two in the middle; none of no numbers. Reorders them.
fn median(numbers: &mut [f64]) -> Option<f64> {
    if numbers.is_empty() {
        return None;
    }
    let half = numbers.len() / 2;
    let is_odd = numbers.len() % 2 == 1;
    let (below, upper, _) = numbers.select_nth_unstable_by(half, f64::total_cmp);
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(if is_odd { *upper } else { (lower + *upper) / 2.0 })
}

impl BatchModel for BatchRobustZscore {
    fn model_type(&self) -> &'static str {
        RobustZscore::MODEL_TYPE
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
        let rows = self.set.rows();
        if rows == 0 {
            return Err(MlError::NoRows);
        }
        self.set.prepare(Numbers::WithMissing, &self.control)?;
        let columns = self.columns()?;
        let anomalies = self.anomalies(&columns)?;
        let encoder = self.set.encoder(Numbers::WithMissing);
        let model = RobustZscore { encoder, columns, threshold: self.config.threshold, rows };
        Ok(FitReport {
            model: model.snapshot()?,
            rows,
            iterations: 1,
            converged: true,
            loss: 0.0,
            metrics: vec![("anomaly_rate".to_owned(), anomalies as f64 / rows as f64)],
            trials: Vec::new(),
            history: Iteration::only(0.0),
        })
    }
}
