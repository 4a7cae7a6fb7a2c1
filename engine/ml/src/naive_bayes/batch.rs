//! Naive Bayes fitted to a training set: one pass that sums up each class.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use tidemill_compute::kernel::softmax::softmax_in_place;

use super::config::{Distribution, NaiveBayesConfig};
use super::sums::Sums;
use super::{NaiveBayes, Statistics};
use crate::batch::{BatchModel, Chunk, FitControl, FitReport, Iteration, TrainingSet, map_shards};
use crate::classes::{ClassReader, Classes, LabelKind};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::metrics::ClassHits;
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::check_slots;

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchNaiveBayes {
    config: NaiveBayesConfig,
    reader: ClassReader,
    set: TrainingSet,
    control: FitControl,
}

impl BatchNaiveBayes {
    /// A model that has no rows, for labels of this type.
    ///
    /// # Errors
    /// `UnsupportedLabel`, or `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn new(config: NaiveBayesConfig, schema: FeatureSchema, label: &DataType) -> Result<Self> {
        check_slots(config.max_categories, &schema)?;
        let reader = ClassReader::new(LabelKind::of("label", label)?);
        let set = match config.distribution {
            Distribution::Multinomial => TrainingSet::of_counts(schema, config.max_categories),
            Distribution::Gaussian | Distribution::Bernoulli => TrainingSet::new(schema, config.max_categories),
        };
        Ok(Self { config, reader, set, control: FitControl::default() })
    }

    /// What becomes of numbers.
    fn numbers(&self) -> Numbers {
        match self.config.distribution {
            Distribution::Multinomial => Numbers::Counts,
            Distribution::Gaussian | Distribution::Bernoulli => Numbers::WithMissing,
        }
    }

    fn statistics(&self, classes: &Classes, places: &[usize]) -> Result<Statistics> {
        let (count, numeric) = (classes.names().len(), self.set.numeric());
        let categories = self.set.slots() - 1 - numeric;
        let nothing = || Sums::new(&self.config, count, numeric, categories);
        let parts = map_shards(self.set.chunks(), &self.control, |chunks| {
            let mut sums = nothing();
            for chunk in chunks.iter().take_while(|_| !self.control.is_stopped()) {
                sums.add(chunk, places);
            }
            sums
        })?;
        let mut sums = nothing();
        for part in &parts {
            sums.merge(part);
        }
        Ok(sums.finish(self.set.moments(), &self.config))
    }

    /// How well the model fits its rows, and the mean of the negative logarithm of their likelihood.
    fn evaluate(&self, model: &NaiveBayes, places: &[usize]) -> Result<(ClassHits, f64)> {
        let parts = map_shards(self.set.chunks(), &self.control, |chunks| {
            let (mut hits, mut loss) = (ClassHits::default(), 0.0);
            let mut scores = vec![0.0; model.likelihoods.len()];
            for row in chunks.iter().flat_map(Chunk::iter) {
                model.scores(row.numbers, row.categories, &mut scores);
                let place = places[row.label as usize];
                loss -= scores[place];
                softmax_in_place(&mut scores);
                hits.add(&scores, place);
            }
            (hits, loss)
        })?;
        let (hits, losses): (Vec<_>, Vec<f64>) = parts.into_iter().unzip();
        Ok((ClassHits::sum(&hits), losses.iter().sum::<f64>() / self.set.rows() as f64))
    }
}

impl BatchModel for BatchNaiveBayes {
    fn model_type(&self) -> &'static str {
        NaiveBayes::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn add(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        let labels = self.reader.read(labels)?;
        self.set.add(features, &labels)
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

    fn fit(&mut self) -> Result<FitReport> {
        let (classes, places) = self.reader.classes(self.set.chunks().iter().flat_map(Chunk::labels))?;
        self.set.prepare(self.numbers(), &self.control)?;
        let statistics = self.statistics(&classes, &places)?;
        let model = NaiveBayes::new(self.set.encoder(self.numbers()), classes, statistics);
        let (hits, loss) = self.evaluate(&model, &places)?;
        if !loss.is_finite() {
            return Err(MlError::Diverged { hint: "scale the features down" });
        }
        Ok(FitReport {
            model: model.snapshot()?,
            rows: self.set.rows(),
            iterations: 1,
            converged: true,
            loss,
            metrics: hits.metrics(),
            trials: Vec::new(),
            history: Iteration::only(loss),
        })
    }
}
