//! A Gaussian mixture fitted to a training set by EM.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Field;
use tidemill_compute::kernel::softmax::ln;

use super::block::{Block, ROWS_A_BLOCK};
use super::config::{COVARIANCE_TYPE, CovarianceType, MixtureConfig, REG_COVAR};
use super::density::covariance_len;
use super::mixture::Clusters;
use super::sums::Sums;
use super::{GaussianMixture, ln_unit, used_numbers};
use crate::batch::history::History;
use crate::batch::{BatchModel, CLIP, Chunk, FitControl, FitReport, TrainingSet, map_shards};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::feature::moments::{Moments, Scale};
use crate::kmeans::search::first_centroids;
use crate::model::{FeatureKind, FeatureSchema, RejectedRow};
use crate::options::invalid;

/// Values of all covariances at most: 32 MB, of which each of up to 16 stretches of rows has a sum.
const VALUES_MAX: usize = 1 << 22;

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchGaussianMixture {
    config: MixtureConfig,
    set: TrainingSet,
    control: FitControl,
}

/// Where one start led.
struct Fit {
    clusters: Clusters,
    /// Rows for which each cluster is the likeliest.
    rows: Vec<u64>,
    /// The mean of the logarithms of the rows' densities, as numbers are encoded.
    ln_density: f64,
    iterations: u64,
    converged: bool,
    /// The logarithm of the density at each step, and after the last.
    history: History,
}

impl BatchGaussianMixture {
    /// A model that has no rows.
    ///
    /// # Errors
    /// `CategoricalFeature`: a category has no density.
    pub(crate) fn new(config: MixtureConfig, schema: FeatureSchema) -> Result<Self> {
        let category = schema.fields().iter().find(|field| field.kind == FeatureKind::Categorical);
        if let Some(category) = category {
            let column = category.name.clone();
            return Err(MlError::CategoricalFeature { column, model_type: GaussianMixture::MODEL_TYPE });
        }
        Ok(Self { config, set: TrainingSet::new(schema, 1), control: FitControl::default() })
    }

    fn numbers(&self) -> Numbers {
        if self.config.standardize { Numbers::Standardized { clip: CLIP } } else { Numbers::Centred }
    }

    /// How each number is standardised.
    fn scales(&self) -> Vec<Scale> {
        self.set.moments().iter().map(Moments::scale).collect()
    }

    /// # Errors
    /// `InvalidOption` where the sums of products would not fit into memory.
    fn check_size(&self, clusters: usize, width: usize) -> Result<()> {
        let length = covariance_len(self.config.covariance, width);
        if clusters.saturating_mul(length) <= VALUES_MAX || self.config.covariance == CovarianceType::Diagonal {
            return Ok(());
        }
        Err(invalid(COVARIANCE_TYPE, "full", &format!("diag, for {clusters} clusters of {width} numbers")))
    }

    /// The best of the searches; of equals, the first.
    fn search(&self, used: &[usize]) -> Result<Fit> {
        let mut best: Option<Fit> = None;
        for start in 0..self.config.num_init {
            let centroids = first_centroids(&self.set, &self.control, &self.config.kmeans(start))?;
            let numeric = self.set.numeric().max(1);
            let pick = |centroid: &[f64]| used.iter().map(|number| centroid[*number]).collect::<Vec<_>>();
            let count = centroids.len() / numeric;
            let fit = self.improve(used, centroids.chunks_exact(numeric).flat_map(pick).collect(), count)?;
            if best.as_ref().is_none_or(|best| fit.ln_density > best.ln_density) {
                best = Some(fit);
            }
        }
        best.ok_or(MlError::NoRows)
    }

    /// EM from the clusters around `count` centroids until the density grows by no more than the tolerance.
    fn improve(&self, used: &[usize], centroids: Vec<f64>, count: usize) -> Result<Fit> {
        self.check_size(count, used.len())?;
        let start = self.sum(used, &centroids, count, |block| block.choose_nearest(&centroids))?;
        let mut clusters = start.clusters(&centroids, self.config.reg_covar);
        let (mut before, mut iterations, mut history) = (f64::NEG_INFINITY, 0, History::default());
        loop {
            let mixture = clusters.mixture().ok_or_else(|| self.singular())?;
            let sums = self.sum(used, &clusters.means, count, |block| mixture.weigh(block))?;
            let ln_density = sums.ln_density / self.set.rows() as f64;
            iterations += 1;
            history.push(ln_density);
            let converged = (ln_density - before).abs() <= self.config.tolerance;
            if converged || iterations == self.config.max_iterations {
                return Ok(Fit { clusters, rows: sums.rows, ln_density, iterations, converged, history });
            }
            before = ln_density;
            clusters = sums.clusters(&clusters.means, self.config.reg_covar);
        }
    }

    /// Sums over all rows, of differences from these means; `weigh` works out what rows say.
    fn sum(&self, used: &[usize], means: &[f64], count: usize, weigh: impl Fn(&mut Block) + Sync) -> Result<Sums> {
        let empty = || Sums::new(self.config.covariance, count, used.len());
        let parts = map_shards(self.set.chunks(), &self.control, |chunks| {
            let (mut sums, mut block) = (empty(), Block::new(used.len(), count));
            let mut add = |block: &mut Block| {
                weigh(block);
                sums.add(block, means);
                block.clear();
            };
            for row in chunks.iter().take_while(|_| !self.control.is_stopped()).flat_map(Chunk::iter) {
                block.push(used.iter().map(|number| row.numbers[*number]));
                if block.rows() == ROWS_A_BLOCK {
                    add(&mut block);
                }
            }
            add(&mut block);
            sums
        })?;
        let mut total = empty();
        parts.iter().for_each(|part| total.merge(part));
        Ok(total)
    }

    fn singular(&self) -> MlError {
        let expected = "a larger number: the rows of a cluster lie in fewer dimensions than there are features";
        invalid(REG_COVAR, &self.config.reg_covar.to_string(), expected)
    }

    fn report(&self, used: &[usize], fit: Fit) -> Result<FitReport> {
        let rows = self.set.rows();
        let unit = if self.config.standardize { ln_unit(&self.scales()) } else { 0.0 };
        let log_likelihood = fit.ln_density + unit;
        if !log_likelihood.is_finite() {
            return Err(MlError::Diverged { hint: "scale the features down" });
        }
        let metrics = metrics(&fit.clusters, log_likelihood, used.len(), rows);
        let clusters = ordered(fit.clusters, &fit.rows, used.len());
        let model = GaussianMixture::new(self.set.encoder(self.numbers()), rows, clusters);
        Ok(FitReport {
            model: model.ok_or_else(|| self.singular())?.snapshot()?,
            rows,
            iterations: fit.iterations,
            converged: fit.converged,
            loss: -log_likelihood,
            metrics,
            trials: Vec::new(),
            history: fit.history.mapped(|ln_density| -(ln_density + unit)).ending_with(-log_likelihood),
        })
    }
}

impl BatchModel for BatchGaussianMixture {
    fn model_type(&self) -> &'static str {
        GaussianMixture::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn outputs(&self) -> Vec<Field> {
        GaussianMixture::fields()
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

    fn fit(&mut self) -> Result<FitReport> {
        // Before the rows are prepared, so that more can be added where there are none.
        self.config.kmeans(0).clusters(self.set.rows())?;
        self.set.prepare(self.numbers(), &self.control)?;
        let used = used_numbers(&self.scales());
        let fit = self.search(&used)?;
        self.report(&used, fit)
    }
}

/// The mean logarithm of the rows' densities, and the criteria of Akaike (1974) and Schwarz (1978), which charge for
/// each free number of the clusters: the smaller, the better.
fn metrics(clusters: &Clusters, log_likelihood: f64, width: usize, rows: u64) -> Vec<(String, f64)> {
    let count = clusters.shares.len();
    let free = (count - 1 + count * (width + covariance_len(clusters.covariance, width))) as f64;
    let fit = -2.0 * rows as f64 * log_likelihood;
    let values = [("log_likelihood", log_likelihood), ("aic", fit + 2.0 * free), ("bic", fit + free * ln(rows as f64))];
    values.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// The clusters, the one with the most rows first, and of equals the one whose mean has the smaller first value that
/// differs. Shares are no order: the last digit of one may be by chance.
fn ordered(clusters: Clusters, rows: &[u64], width: usize) -> Clusters {
    let length = covariance_len(clusters.covariance, width);
    let mean = |cluster: usize| &clusters.means[cluster * width..(cluster + 1) * width];
    let by_position = |one: usize, other: usize| {
        let differs = mean(one).iter().zip(mean(other)).map(|(a, b)| a.total_cmp(b));
        differs.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    };
    let mut order: Vec<usize> = (0..clusters.shares.len()).collect();
    order.sort_by(|one, other| rows[*other].cmp(&rows[*one]).then_with(|| by_position(*one, *other)));
    let covariance = |cluster: &usize| &clusters.covariances[cluster * length..(cluster + 1) * length];
    Clusters {
        covariance: clusters.covariance,
        shares: order.iter().map(|cluster| clusters.shares[*cluster]).collect(),
        means: order.iter().flat_map(|cluster| mean(*cluster)).copied().collect(),
        covariances: order.iter().flat_map(covariance).copied().collect(),
    }
}
