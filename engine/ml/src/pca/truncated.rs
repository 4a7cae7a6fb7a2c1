//! A truncated singular value decomposition: the directions along which rows are longest, without taking off their mean
//! (Halko, Martinsson and Tropp 2011), as scikit-learn's `TruncatedSVD`.
//!
//! Zeros stay zeros: a row costs its entries, however many categories there are, so this is what texts and counts are
//! brought into few numbers with (Deerwester et al. 1990). Numbers are as they are, and a missing one is 0. Directions come
//! by the rows' squares along them; what is said of each is the variance, as of principal components, which for the
//! first one is often not the largest.

use std::collections::BTreeMap;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Field;
use tidemill_compute::kernel::sparse::sparse_dot;

use super::batch::{FULL_AUTO_MAX, Spectrum, upright};
use super::eigen::Eigen;
use super::randomized::CentredRows;
use super::{Component, Kind, Pca, output_fields};
use crate::batch::{BatchModel, Chunk, FitControl, FitReport, Iteration, TrainingSet, map_shards};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::linear::sums::Sums;
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::{check_slots, in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TruncatedConfig {
    pub(crate) num_components: u32,
    /// Categories of one feature that are told apart; later ones count as one.
    pub(crate) max_categories: u32,
}

impl Default for TruncatedConfig {
    fn default() -> Self {
        Self { num_components: 2, max_categories: 100_000 }
    }
}

impl TruncatedConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        const WHOLE: &str = "a whole number";
        let mut config = Self::default();
        for (option, value) in options {
            match option.as_str() {
                "num_components" => config.num_components = parse("num_components", value, WHOLE)?,
                "max_categories" => config.max_categories = parse("max_categories", value, WHOLE)?,
                _ => return Err(unknown(Kind::Truncated.name(), option, &Self::option_docs())),
            }
        }
        in_range("num_components", f64::from(config.num_components), 1.0, 1e4)?;
        in_range("max_categories", f64::from(config.max_categories), 1.0, 1e7)?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        vec![
            entry("num_components", "integer", &config.num_components, "directions that are kept"),
            entry("max_categories", "integer", &config.max_categories, "categories told apart, a feature"),
        ]
    }
}

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchTruncatedSvd {
    config: TruncatedConfig,
    set: TrainingSet,
    control: FitControl,
}

impl BatchTruncatedSvd {
    /// A model that has no rows.
    ///
    /// # Errors
    /// `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn new(config: TruncatedConfig, schema: FeatureSchema) -> Result<Self> {
        check_slots(config.max_categories, &schema)?;
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, set, control: FitControl::default() })
    }

    /// Encoded features: numbers, and one for each category.
    fn width(&self) -> usize {
        self.set.slots() - 1
    }

    /// # Errors
    /// `InvalidOption` for more directions than there are features or rows.
    fn check_count(&self) -> Result<usize> {
        let (features, rows) = (self.width(), self.set.rows());
        let most = features.min(usize::try_from(rows).unwrap_or(usize::MAX));
        let count = self.config.num_components as usize;
        if count <= most {
            return Ok(count);
        }
        let expected = format!("at most {most}, for {features} encoded features and {rows} rows");
        Err(invalid("num_components", &count.to_string(), &expected))
    }

    /// Directions by the squares of the rows along them, over one less than the rows.
    fn spectrum(&self, count: usize, total: f64) -> Result<Spectrum> {
        if self.width() > FULL_AUTO_MAX {
            let means = vec![0.0; self.width()];
            return CentredRows { set: &self.set, control: &self.control, means }.components(count, total);
        }
        // No mean is to be taken off, be there one or not.
        let products = Sums::of(&self.set, true, 0.0, &self.control)?.with_intercept();
        let rows = products.chunks(self.width() + 1).skip(1).map(|row| row[1..].to_vec()).collect();
        let Eigen { values, vectors } = Eigen::of(rows, &self.control)?;
        Ok(Spectrum { values, vectors, total, iterations: 1, converged: true })
    }

    /// The mean of each encoded feature.
    fn means(&self, mean_squares: &[f64]) -> Vec<f64> {
        let rows = self.set.rows() as f64;
        let numbers = self.set.moments().iter().map(|moments| moments.mean() * (moments.count() as f64 / rows));
        // The square of a category is itself.
        numbers.chain(mean_squares[1 + self.set.numeric()..].iter().copied()).collect()
    }

    /// The variance of all encoded features together.
    fn total_variance(&self, means: &[f64]) -> f64 {
        let rows = self.set.rows() as f64;
        let of_numbers = self.set.moments().iter().map(|moments| {
            // Those that are missing are 0.
            let share = moments.count() as f64 / rows;
            moments.squares() / rows + moments.mean() * moments.mean() * share * (1.0 - share)
        });
        of_numbers.chain(means[self.set.numeric()..].iter().map(|share| share * (1.0 - share))).sum()
    }

    /// The variance of the rows along each direction.
    fn variances(&self, directions: &[Vec<f64>], means: &[f64]) -> Result<Vec<f64>> {
        let centres: Vec<f64> = directions.iter().map(|weights| dense(weights, means)).collect();
        let parts = map_shards(self.set.chunks(), &self.control, |chunks| {
            let mut sums = vec![0.0; directions.len()];
            let slots: Vec<u32> = (1..=self.set.numeric() as u32).collect();
            let ones = vec![1.0; self.set.schema().fields().len() - self.set.numeric()];
            for row in chunks.iter().take_while(|_| !self.control.is_stopped()).flat_map(Chunk::iter) {
                for ((sum, weights), centre) in sums.iter_mut().zip(directions).zip(&centres) {
                    let along = sparse_dot(&slots, row.numbers, weights) + sparse_dot(row.categories, &ones, weights);
                    *sum += (along - centre) * (along - centre);
                }
            }
            sums
        })?;
        let rows = self.set.rows() as f64;
        Ok((0..directions.len()).map(|place| parts.iter().map(|part| part[place]).sum::<f64>() / rows).collect())
    }
}

/// What weights, of which the first is the intercept's, make of encoded features.
fn dense(weights: &[f64], features: &[f64]) -> f64 {
    weights[1..].iter().zip(features).map(|(weight, value)| weight * value).sum()
}

impl BatchModel for BatchTruncatedSvd {
    fn model_type(&self) -> &'static str {
        Kind::Truncated.name()
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn outputs(&self) -> Vec<Field> {
        output_fields(self.config.num_components as usize)
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

    /// The loss is the mean squared distance of the rows, as encoded, to what the directions leave of them.
    fn fit(&mut self) -> Result<FitReport> {
        match self.set.rows() {
            0 => return Err(MlError::NoRows),
            1 => return Err(MlError::TooFewRows { model_type: self.model_type(), rows: 1, rows_min: 2 }),
            _ => {}
        }
        let count = self.check_count()?;
        self.set.prepare(Numbers::Plain, &self.control)?;
        let squares = self.set.mean_squares(&self.control)?;
        let (means, total_squares) = (self.means(&squares), squares[1..].iter().sum::<f64>());
        let spectrum = self.spectrum(count, total_squares)?;
        let with_intercept = |vector: &Vec<f64>| [vec![0.0], upright(vector)].concat();
        let directions: Vec<_> = spectrum.vectors.iter().take(count).map(with_intercept).collect();
        let variances = self.variances(&directions, &means)?;
        let mean_square = |(weights, variance): (&Vec<f64>, &f64)| variance + dense(weights, &means).powi(2);
        let loss = total_squares - directions.iter().zip(&variances).map(mean_square).sum::<f64>();
        if !loss.is_finite() {
            return Err(MlError::Diverged { hint: "scale the features down" });
        }
        let components = directions.into_iter().zip(variances);
        let model = Pca {
            kind: Kind::Truncated,
            encoder: self.set.encoder(Numbers::Plain),
            components: components.map(|(weights, variance)| Component { variance, weights }).collect(),
            total_variance: self.total_variance(&means),
            columns: count,
            rows: self.set.rows(),
        };
        let ratio = model.components.iter().map(|component| model.ratio(component)).sum();
        Ok(FitReport {
            model: model.snapshot()?,
            rows: self.set.rows(),
            iterations: spectrum.iterations,
            converged: spectrum.converged,
            loss: loss.max(0.0),
            history: Iteration::only(loss.max(0.0)),
            metrics: vec![("total_explained_variance_ratio".to_owned(), ratio)],
            trials: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests;
