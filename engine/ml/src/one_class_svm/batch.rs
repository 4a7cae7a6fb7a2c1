//! A one-class support vector machine fitted to a training set.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Field;

use super::config::{Gamma, KernelKind, OneClassConfig};
use super::rows::{Kernel, Rows};
use super::solver::{Search, Solution};
use super::{Border, OneClassSvm, State, output_fields};
use crate::batch::{BatchModel, CLIP, Chunk, FitControl, FitReport, Iteration, Row, TrainingSet, map_shards};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::check_slots;
use crate::snapshot::{self, BYTES_MAX};

/// The most rows: the time of a fit grows by about their square, to some minutes.
const ROWS_MAX: u64 = 50_000;

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchOneClassSvm {
    config: OneClassConfig,
    set: TrainingSet,
    control: FitControl,
}

impl BatchOneClassSvm {
    /// A model that has no rows.
    ///
    /// # Errors
    /// `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn new(config: OneClassConfig, schema: FeatureSchema) -> Result<Self> {
        check_slots(config.max_categories, &schema)?;
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, set, control: FitControl::default() })
    }

    fn numbers(&self) -> Numbers {
        if self.config.standardize { Numbers::Standardized { clip: CLIP } } else { Numbers::MeanForMissing }
    }

    fn check_rows(&self) -> Result<()> {
        match self.set.rows() {
            0 => Err(MlError::NoRows),
            1..=ROWS_MAX => Ok(()),
            rows => Err(MlError::TooManyPairs { model_type: OneClassSvm::MODEL_TYPE, rows, rows_max: ROWS_MAX }),
        }
    }

    fn kernel(&self) -> Result<Kernel> {
        if self.config.kernel == KernelKind::Linear {
            return Ok(Kernel::Linear);
        }
        let features = (self.set.slots() - 1) as f64;
        let gamma = match self.config.gamma {
            Gamma::Of(gamma) => gamma,
            Gamma::Auto => 1.0 / features,
            Gamma::Scale => match self.variance()? {
                variance if variance > 0.0 => 1.0 / (features * variance),
                // As scikit-learn, where nothing varies.
                _ => 1.0,
            },
        };
        if gamma.is_finite() {
            Ok(Kernel::Rbf { gamma })
        } else {
            Err(MlError::Diverged { hint: "scale the features up" })
        }
    }

    /// The variance of the values of all encoded features together: of ones and zeros where there are categories.
    fn variance(&self) -> Result<f64> {
        let values = (self.set.slots() - 1) as f64 * self.set.rows() as f64;
        let of_row = |chunks: &[Chunk], term: &dyn Fn(f64) -> f64| -> f64 {
            let of_row = |row: Row<'_>| row.numbers.iter().map(|number| term(*number)).sum::<f64>();
            chunks.iter().flat_map(Chunk::iter).map(of_row).sum()
        };
        let categories = (self.set.schema().fields().len() - self.set.numeric()) as f64 * self.set.rows() as f64;
        let sums = map_shards(self.set.chunks(), &self.control, |chunks| of_row(chunks, &|number| number))?;
        let mean = (sums.iter().sum::<f64>() + categories) / values;
        let squares = map_shards(self.set.chunks(), &self.control, |chunks| {
            of_row(chunks, &|number| (number - mean) * (number - mean))
        })?;
        let zeros = (self.set.slots() - 1 - self.set.numeric()) as f64 * self.set.rows() as f64 - categories;
        let of_categories = categories * (1.0 - mean) * (1.0 - mean) + zeros * mean * mean;
        Ok((squares.iter().sum::<f64>() + of_categories) / values)
    }

    fn rows(&self) -> Rows {
        let mut rows = Rows::new(self.set.numeric(), self.set.schema().fields().len() - self.set.numeric());
        self.set.chunks().iter().flat_map(Chunk::iter).for_each(|row| rows.push(row.numbers, row.categories));
        rows
    }

    /// The model of what was found.
    ///
    /// # Errors
    /// `TooManyRows` where the support vectors do not fit into a snapshot.
    fn state(&self, kernel: Kernel, found: &Solution) -> Result<State> {
        let encoder = self.set.encoder(self.numbers()).state();
        let alphas: Vec<f64> = found.alphas.iter().copied().filter(|alpha| *alpha > 0.0).collect();
        // Names of categories take more room to read than written, but less than twice as much.
        let other_bytes = 2 * snapshot::seal(OneClassSvm::SNAPSHOT_TAG, &encoder)?.len() + 1024;
        // Eight bytes for each number and the weight, five at most for each category's slot.
        let numeric = self.set.numeric();
        let row_bytes = 8 * numeric + 5 * (self.set.schema().fields().len() - numeric) + 8;
        snapshot::check_rows(alphas.len() as u64, row_bytes, other_bytes, BYTES_MAX)?;
        let (mut numbers, mut categories) = (Vec::new(), Vec::new());
        let rows = self.set.chunks().iter().flat_map(Chunk::iter);
        for (row, _) in rows.zip(&found.alphas).filter(|(_, alpha)| **alpha > 0.0) {
            numbers.extend_from_slice(row.numbers);
            categories.extend_from_slice(row.categories);
        }
        let border = Border { kernel, alphas, rho: found.rho, tolerance: self.config.tolerance };
        Ok(State { encoder, rows: self.set.rows(), border, numbers, categories })
    }

    /// How many rows are outside.
    fn anomalies(&self, model: &OneClassSvm) -> Result<usize> {
        let parts = map_shards(self.set.chunks(), &self.control, |chunks| {
            let mut alike = vec![0.0; model.support.rows()];
            let rows = chunks.iter().take_while(|_| !self.control.is_stopped()).flat_map(Chunk::iter);
            let scores = rows.map(|row| model.border.score(&model.support, (row.numbers, row.categories), &mut alike));
            scores.filter(|score| model.border.is_anomaly(*score)).count()
        })?;
        Ok(parts.iter().sum())
    }
}

impl BatchModel for BatchOneClassSvm {
    fn model_type(&self) -> &'static str {
        OneClassSvm::MODEL_TYPE
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

    /// The loss is half of `αᵀKα`.
    fn fit(&mut self) -> Result<FitReport> {
        self.check_rows()?;
        self.set.prepare(self.numbers(), &self.control)?;
        let kernel = self.kernel()?;
        let OneClassConfig { nu, tolerance, max_iterations, .. } = self.config;
        let found = Search { kernel, nu, tolerance, max_iterations }.run(&self.rows(), &self.control)?;
        let model = self.state(kernel, &found)?.seal()?;
        let rows = self.set.rows();
        let restored = OneClassSvm::restore(&model)?;
        let (anomalies, support) = (self.anomalies(&restored)?, restored.support.rows());
        Ok(FitReport {
            model,
            rows,
            iterations: found.iterations,
            converged: found.converged,
            loss: found.objective,
            history: Iteration::only(found.objective),
            metrics: vec![
                ("anomaly_rate".to_owned(), anomalies as f64 / rows as f64),
                ("support_vectors".to_owned(), support as f64),
            ],
            trials: Vec::new(),
        })
    }
}
