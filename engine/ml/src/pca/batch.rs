//! Principal components fitted to a training set.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Field;
use tidemill_compute::device::worth::Work;
use tidemill_compute::device::{Compute, chosen};
use tidemill_compute::kernel::dense::dot;
use tidemill_compute::matrix::Matrix;

use super::config::{Kept, PcaConfig, Solver};
use super::eigen::Eigen;
use super::randomized::CentredRows;
use super::{Component, Kind, Pca, output_fields};
use crate::batch::{BatchModel, CLIP, Chunk, FitControl, FitReport, Iteration, TrainingSet};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::linear::sums::Sums;
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::{check_slots, invalid};

/// Encoded features up to which all components are searched by default: a few seconds.
pub(super) const FULL_AUTO_MAX: usize = 1024;

/// Encoded features up to which all components can be searched: 16 stretches of rows have 32 MB of products each.
const FULL_MAX: usize = 2048;

/// What is lost of a sum of ratios, so that all components explain all of the variance.
const RATIO_ROUNDING: f64 = 1e-12;

/// The part by which entries of a direction may differ by rounding.
const ENTRY_ROUNDING: f64 = 1e-9;

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchPca {
    config: PcaConfig,
    set: TrainingSet,
    control: FitControl,
    compute: &'static Compute,
}

/// Directions and the variances along them.
pub(super) struct Spectrum {
    /// From the largest to the smallest; at least as many as vectors.
    pub(super) values: Vec<f64>,
    pub(super) vectors: Vec<Vec<f64>>,
    /// The variance along all directions that there are.
    pub(super) total: f64,
    pub(super) iterations: u64,
    pub(super) converged: bool,
}

impl BatchPca {
    /// A model that has no rows.
    ///
    /// # Errors
    /// `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn new(config: PcaConfig, schema: FeatureSchema) -> Result<Self> {
        check_slots(config.max_categories, &schema)?;
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, set, control: FitControl::default(), compute: chosen() })
    }

    fn numbers(&self) -> Numbers {
        if self.config.scale_features { Numbers::Standardized { clip: CLIP } } else { Numbers::Centred }
    }

    /// Encoded features: numbers, and one for each category.
    fn width(&self) -> usize {
        self.set.slots() - 1
    }

    /// The most components that there can be.
    fn components_max(&self) -> usize {
        self.width().min(usize::try_from(self.set.rows()).unwrap_or(usize::MAX))
    }

    /// How many components are searched, at most.
    ///
    /// # Errors
    /// `InvalidOption` for more than there are features or rows.
    fn wanted(&self) -> Result<usize> {
        let (most, columns) = (self.components_max(), self.config.columns(self.set.schema()));
        if columns > most && matches!(self.config.kept, Kept::Number(_)) {
            let (features, rows) = (self.width(), self.set.rows());
            let expected = format!("at most {most}, for {features} encoded features and {rows} rows");
            return Err(invalid("num_principal_components", &columns.to_string(), &expected));
        }
        Ok(columns.min(most))
    }

    fn spectrum(&self, wanted: usize) -> Result<Spectrum> {
        let is_full = match self.config.pca_solver {
            Solver::Auto => self.width() <= FULL_AUTO_MAX || matches!(self.config.kept, Kept::Ratio(_)),
            Solver::Full => true,
            Solver::Randomized => false,
        };
        if is_full { self.all_components() } else { self.first_components(wanted) }
    }

    /// # Errors
    /// `InvalidOption` for more features than all components of can be found.
    fn all_components(&self) -> Result<Spectrum> {
        let width = self.width();
        if width > FULL_MAX {
            let expected = format!("randomized, with num_principal_components, for more than {FULL_MAX} features");
            return Err(invalid("pca_solver", "full", &expected));
        }
        let per_row = 1.0 / (self.set.rows() - 1) as f64;
        // Numbers have no mean any more, be they scaled or not.
        let products = match self.products_of_device() {
            Some(products) => products,
            None => Sums::of(&self.set, true, 0.0, &self.control)?.centred().products,
        };
        let covariance: Vec<Vec<f64>> =
            products.chunks(width).map(|row| row.iter().map(|product| product * per_row).collect()).collect();
        let total = covariance.iter().enumerate().map(|(place, row)| row[place]).sum();
        let Eigen { values, vectors } = Eigen::of(covariance, &self.control)?;
        Ok(Spectrum { values, vectors, total, iterations: 1, converged: true })
    }

    /// The products of features, of 32 bits; nothing unless the user has named a device, and takes that components are not
    /// the same bits on every machine. Nor of rows with categories, which are no numbers.
    fn products_of_device(&self) -> Option<Vec<f64>> {
        if !self.compute.may_round() || self.width() != self.set.numeric() {
            return None;
        }
        let parts: Vec<Matrix<'_>> = self.set.chunks().iter().map(Chunk::numbers).collect::<Option<_>>()?;
        let work = Work::scan((self.set.rows() as usize, self.width()), self.width() as f64, 0);
        self.compute.gram_of_kept(&self.compute.keep(&parts, &work)?)
    }

    fn first_components(&self, wanted: usize) -> Result<Spectrum> {
        let rows = self.set.rows() as f64;
        let squares = self.set.mean_squares(&self.control)?;
        let means = self.means(&squares);
        let total: f64 = squares[1..].iter().zip(&means).map(|(square, mean)| square - mean * mean).sum();
        let total = total * rows / (rows - 1.0);
        CentredRows { set: &self.set, control: &self.control, means }.components(wanted, total)
    }

    /// The mean of each encoded feature: 0 of numbers, which are centred, and the share of each category, whose
    /// square is itself.
    fn means(&self, mean_squares: &[f64]) -> Vec<f64> {
        let mut means = mean_squares[1..].to_vec();
        means[..self.set.numeric()].fill(0.0);
        means
    }

    /// How many of the components are kept.
    ///
    /// # Errors
    /// `InvalidOption` where more are needed than there are columns.
    fn kept(&self, spectrum: &Spectrum, wanted: usize) -> Result<usize> {
        let Kept::Ratio(ratio) = self.config.kept else { return Ok(wanted) };
        let enough = (ratio - RATIO_ROUNDING) * spectrum.total;
        let mut explained = 0.0;
        for (value, count) in spectrum.values.iter().zip(1..) {
            explained += value.max(0.0);
            if explained >= enough {
                let columns = self.config.columns(self.set.schema());
                if count <= columns {
                    return Ok(count);
                }
                let expected = format!(
                    "less: {columns} columns have {columns} components, unless num_principal_components asks for more"
                );
                return Err(invalid("pca_explained_variance_ratio", &ratio.to_string(), &expected));
            }
        }
        Ok(wanted)
    }

    fn model(&self, spectrum: &Spectrum, kept: usize) -> Result<Pca> {
        let means = self.means(&self.set.mean_squares(&self.control)?);
        let component = |(value, vector): (&f64, &Vec<f64>)| {
            let mut weights = upright(vector);
            weights.insert(0, -dot(&means, &weights));
            // A direction without variance may have got less by rounding.
            Component { variance: value.max(0.0), weights }
        };
        Ok(Pca {
            kind: Kind::Principal,
            encoder: self.set.encoder(self.numbers()),
            components: spectrum.values.iter().zip(&spectrum.vectors).take(kept).map(component).collect(),
            total_variance: spectrum.total.max(0.0),
            columns: self.config.columns(self.set.schema()),
            rows: self.set.rows(),
        })
    }
}

/// The direction or its opposite: the one whose largest entry by magnitude is positive, or the first of those that are
/// as large but for rounding, as the two categories of a boolean always are.
pub(super) fn upright(direction: &[f64]) -> Vec<f64> {
    let largest = direction.iter().fold(0.0, |largest: f64, entry| largest.max(entry.abs()));
    let first = direction.iter().find(|entry| entry.abs() >= largest * (1.0 - ENTRY_ROUNDING));
    let sign = if first.is_some_and(|entry| *entry < 0.0) { -1.0 } else { 1.0 };
    direction.iter().map(|entry| sign * entry).collect()
}

impl BatchModel for BatchPca {
    fn model_type(&self) -> &'static str {
        Kind::Principal.name()
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn outputs(&self) -> Vec<Field> {
        output_fields(self.config.columns(self.set.schema()))
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

    /// The loss is the mean squared distance of the rows, as encoded, to what the components leave of them.
    fn fit(&mut self) -> Result<FitReport> {
        match self.set.rows() {
            0 => return Err(MlError::NoRows),
            1 => return Err(MlError::TooFewRows { model_type: Kind::Principal.name(), rows: 1, rows_min: 2 }),
            _ => {}
        }
        let wanted = self.wanted()?;
        self.set.prepare(self.numbers(), &self.control)?;
        let spectrum = self.spectrum(wanted)?;
        let model = self.model(&spectrum, self.kept(&spectrum, wanted)?)?;
        let explained: f64 = model.components.iter().map(|component| component.variance).sum();
        let rows = self.set.rows() as f64;
        let loss = (spectrum.total - explained).max(0.0) * (rows - 1.0) / rows;
        if !loss.is_finite() {
            return Err(MlError::Diverged { hint: "scale the features down" });
        }
        let ratio = model.components.iter().map(|component| model.ratio(component)).sum();
        Ok(FitReport {
            model: model.snapshot()?,
            rows: self.set.rows(),
            iterations: spectrum.iterations,
            converged: spectrum.converged,
            loss,
            metrics: vec![("total_explained_variance_ratio".to_owned(), ratio)],
            trials: Vec::new(),
            history: Iteration::only(loss),
        })
    }
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use arrow::array::NullArray;

    use super::*;
    use crate::batch::on_device;
    use crate::goldens::data_set;

    #[test]
    fn a_device_that_was_named_finds_the_components_to_six_digits() {
        let Some(device) = on_device::compute() else { return };
        let device: &'static Compute = Box::leak(Box::new(device));
        let (features, _) = data_set("wine");
        let spectrum = |compute| {
            let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
            let config = PcaConfig { scale_features: true, ..PcaConfig::default() };
            let mut model = BatchPca { compute, ..BatchPca::new(config, schema).unwrap() };
            model.add(&features, &NullArray::new(features.num_rows())).unwrap();
            model.set.prepare(model.numbers(), &model.control).unwrap();
            model.all_components().unwrap()
        };
        let (exact, found) = (spectrum(chosen()), spectrum(device));
        assert!(found.values.iter().zip(&exact.values).all(|(found, exact)| (found - exact).abs() < 1e-5));
        assert_eq!((device.report().transfers.dispatches, device.report().transfers.fallbacks), (1, 0));
        assert_ne!(found.values, exact.values, "it adds in 32 bits");
    }
}
