//! DBSCAN fitted to a training set: its cores and their clusters are the model.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Field;

use super::clustering::{Density, Found};
use super::config::DbscanConfig;
use super::tree::Tree;
use super::{Dbscan, State};
use crate::batch::{BatchModel, CLIP, Chunk, FitControl, FitReport, Iteration, Row, TrainingSet};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::check_slots;
use crate::snapshot::{self, BYTES_MAX};

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchDbscan {
    config: DbscanConfig,
    set: TrainingSet,
    control: FitControl,
}

impl BatchDbscan {
    /// A model that has no rows.
    ///
    /// # Errors
    /// `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn new(config: DbscanConfig, schema: FeatureSchema) -> Result<Self> {
        check_slots(config.max_categories, &schema)?;
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, set, control: FitControl::default() })
    }

    /// What becomes of numbers. Those that are not standardised stay as they are, so that a distance of exactly `eps`
    /// is one where it is in the table.
    fn numbers(&self) -> Numbers {
        if self.config.standardize { Numbers::Standardized { clip: CLIP } } else { Numbers::MeanForMissing }
    }

    /// # Errors
    /// `NoRows`, or `TooManyRows` where places have no numbers of 32 bits.
    fn check_rows(&self) -> Result<()> {
        match self.set.rows() {
            0 => Err(MlError::NoRows),
            rows if rows < u64::from(u32::MAX) => Ok(()),
            rows => Err(MlError::TooManyRows { rows, rows_max: u64::from(u32::MAX) - 1, bytes_max: BYTES_MAX }),
        }
    }

    fn find(&self) -> Result<Found> {
        let numeric = self.set.numeric();
        let categorical = self.set.schema().fields().len() - numeric;
        let rows: Vec<Row<'_>> = self.set.chunks().iter().flat_map(Chunk::iter).collect();
        let tree = Tree::new(&rows, numeric, categorical, &self.control)?;
        drop(rows);
        let eps_square = self.config.eps * self.config.eps;
        let min_samples = self.config.min_samples as usize;
        Density { tree: &tree, control: &self.control, eps_square, min_samples }.find()
    }

    /// The model of what was found.
    ///
    /// # Errors
    /// `TooManyRows` where the cores do not fit into a snapshot.
    fn state(&self, found: &Found) -> Result<State> {
        let encoder = self.set.encoder(self.numbers()).state();
        let clusters: Vec<u32> = found.core_clusters.iter().copied().filter(|cluster| *cluster > 0).collect();
        // Names of categories take more room to read than written, but less than twice as much.
        let other_bytes = 2 * snapshot::seal(Dbscan::SNAPSHOT_TAG, &encoder)?.len() + 1024;
        // Eight bytes for each number; five at most for each category's slot and for the cluster.
        let numeric = self.set.numeric();
        let row_bytes = 8 * numeric + 5 * (self.set.schema().fields().len() - numeric) + 5;
        snapshot::check_rows(clusters.len() as u64, row_bytes, other_bytes, BYTES_MAX)?;
        let (mut numbers, mut categories) = (Vec::new(), Vec::new());
        let rows = self.set.chunks().iter().flat_map(Chunk::iter);
        for (row, _) in rows.zip(&found.core_clusters).filter(|(_, cluster)| **cluster > 0) {
            numbers.extend_from_slice(row.numbers);
            categories.extend_from_slice(row.categories);
        }
        Ok(State { encoder, rows: self.set.rows(), eps: self.config.eps, clusters, numbers, categories })
    }
}

impl BatchModel for BatchDbscan {
    fn model_type(&self) -> &'static str {
        Dbscan::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn outputs(&self) -> Vec<Field> {
        Dbscan::fields()
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
        self.check_rows()?;
        self.set.prepare(self.numbers(), &self.control)?;
        let found = self.find()?;
        let rows = self.set.rows();
        let noise_rate = found.noise_rows as f64 / rows as f64;
        Ok(FitReport {
            model: self.state(&found)?.seal()?,
            rows,
            iterations: 1,
            converged: true,
            loss: 0.0,
            metrics: vec![("num_clusters".to_owned(), f64::from(found.count)), ("noise_rate".to_owned(), noise_rate)],
            trials: Vec::new(),
            history: Iteration::only(0.0),
        })
    }
}
