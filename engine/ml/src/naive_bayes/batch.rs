//! Naive Bayes fitted to a training set: one pass that sums up each class.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use tidemill_compute::kernel::softmax::softmax_in_place;

use super::config::NaiveBayesConfig;
use super::{NaiveBayes, Statistics};
use crate::batch::{BatchModel, Chunk, FitControl, FitReport, TrainingSet, map_shards};
use crate::classes::{ClassReader, Classes, LabelKind};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::feature::moments::Moments;
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
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, reader, set, control: FitControl::default() })
    }

    fn statistics(&self, classes: &Classes, places: &[usize]) -> Result<Statistics> {
        let (count, numeric) = (classes.names().len(), self.set.numeric());
        let categories = self.set.slots() - 1 - numeric;
        let parts = map_shards(self.set.chunks(), &self.control, |chunks| {
            let mut sums = Sums::new(count, numeric, categories);
            for chunk in chunks.iter().take_while(|_| !self.control.is_stopped()) {
                sums.add(chunk, places);
            }
            sums
        })?;
        let mut sums = Sums::new(count, numeric, categories);
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
        self.set.prepare(Numbers::WithMissing, &self.control)?;
        let statistics = self.statistics(&classes, &places)?;
        let model = NaiveBayes::new(self.set.encoder(Numbers::WithMissing), classes, statistics);
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
        })
    }
}

/// Sums over the rows of each class, one class after another.
struct Sums {
    numeric: usize,
    categories: usize,
    moments: Vec<Moments>,
    counts: Vec<u64>,
}

impl Sums {
    fn new(classes: usize, numeric: usize, categories: usize) -> Self {
        let moments = vec![Moments::default(); classes * numeric];
        Self { numeric, categories, moments, counts: vec![0; classes * categories] }
    }

    fn add(&mut self, chunk: &Chunk, places: &[usize]) {
        for row in chunk.iter() {
            let class = places[row.label as usize];
            let moments = &mut self.moments[class * self.numeric..(class + 1) * self.numeric];
            for (moments, number) in moments.iter_mut().zip(row.numbers).filter(|(_, number)| !number.is_nan()) {
                moments.add(*number);
            }
            let counts = &mut self.counts[class * self.categories..(class + 1) * self.categories];
            for slot in row.categories {
                counts[*slot as usize - 1 - self.numeric] += 1;
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        for (own, others) in self.moments.iter_mut().zip(&other.moments) {
            own.merge(others);
        }
        for (own, others) in self.counts.iter_mut().zip(&other.counts) {
            *own += others;
        }
    }

    /// Means and smoothed variances, given the moments of all classes together.
    fn finish(self, overall: &[Moments], config: &NaiveBayesConfig) -> Statistics {
        let smoothing = config.var_smoothing * overall.iter().map(Moments::variance).fold(0.0, f64::max);
        let (mut means, mut variances) = (Vec::new(), Vec::new());
        for (own, overall) in self.moments.iter().zip(overall.iter().cycle()) {
            // A class that has no value of a number gets the number of all classes, which says nothing.
            let moments = if own.count() == 0 { overall } else { own };
            means.push(moments.mean());
            // A number that is the same in all rows says nothing, too, and has no density.
            variances.push(if overall.variance() == 0.0 { 0.0 } else { moments.variance() + smoothing });
        }
        Statistics { means, variances, counts: self.counts, alpha: config.alpha }
    }
}
