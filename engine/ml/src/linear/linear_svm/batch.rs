//! A linear support vector machine fitted to a training set as a whole.
//!
//! What is minimised for each hyperplane, over rows with decision values `f`, class weights `s`, and `y` 1 for a row of
//! its class and -1 for others, all of it divided by the sum of `s` over the rows:
//!
//! ```text
//! Σ s max(0, 1 - y f)²  +  l1_reg Σ|w|  +  l2_reg/2 Σw²
//! ```
//!
//! This is scikit-learn's `LinearSVC` with the squared hinge loss, `dual=False` and `C = 1 / l2_reg`, or
//! `penalty='l1'` and `C = 1 / l1_reg`; but the intercept is not penalised here. A row weighs by its own class against
//! every hyperplane. The squared hinge has a slope everywhere, and a second derivative but at the margin: it is searched by
//! Newton's method, or with an L1 penalty or many weights as any smooth loss (Chang, Hsieh and Lin 2008).

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;

use super::calibration::Calibration;
use super::{LinearSvm, Planes, planes_of};
use crate::batch::history::History;
use crate::batch::{BatchModel, Chunk, FitControl, FitReport, TrainingSet, linear_numbers, map_shards};
use crate::classes::{ClassReader, LabelKind};
use crate::error::{MlError, Result};
use crate::linear::lbfgs::{self, Minimum};
use crate::linear::logistic_regression::batch::BatchLogisticConfig;
use crate::linear::mean_loss::{MeanLoss, score};
use crate::linear::multinomial_regression::batch::Shares;
use crate::linear::newton;
use crate::linear::preconditioner::{Penalty, Preconditioner};
use crate::metrics::{self, ClassHits};
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::check_slots;

/// The second derivative of a row's loss by its decision value, for the search to begin with: it is 2 within the
/// margin, where most rows are before anything is known, and 0 beyond it.
const CURVATURE: f64 = 1.0;

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchLinearSvm {
    config: BatchLogisticConfig,
    reader: ClassReader,
    set: TrainingSet,
    control: FitControl,
}

impl BatchLinearSvm {
    /// A model that has no rows, for labels of this type.
    ///
    /// # Errors
    /// `UnsupportedLabel`, or `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn new(config: BatchLogisticConfig, schema: FeatureSchema, label: &DataType) -> Result<Self> {
        check_slots(config.max_categories, &schema)?;
        let reader = ClassReader::new(LabelKind::of("label", label)?);
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, reader, set, control: FitControl::default() })
    }

    /// The hyperplanes, and how they were found.
    fn search(&self, places: &[usize], shares: &Shares) -> Result<(Planes, Found)> {
        let classes = shares.of_row.len();
        let penalty = Penalty { l1: self.config.l1_reg, l2: self.config.l2_reg / shares.total };
        let preconditioner = if self.is_for_newton() {
            Preconditioner::Identity
        } else {
            Preconditioner::new(&self.set, &self.control, CURVATURE, &penalty)?
        };
        let mut planes = Planes { weights: Vec::new(), calibrations: Vec::new() };
        let mut found = Found { iterations: 0, converged: true, loss: 0.0, history: History::default() };
        let mut searches = Vec::new();
        for plane in 0..planes_of(classes) {
            let class = if classes == 2 { 1 } else { plane };
            let minimum = self.search_plane(class, places, shares, preconditioner.clone())?;
            planes.calibrations.push(self.calibrate(class, places, &minimum.point)?);
            planes.weights.extend(minimum.point);
            found.iterations += minimum.iterations;
            found.converged &= minimum.converged;
            found.loss += minimum.loss;
            searches.push((minimum.history, minimum.loss));
        }
        found.history = History::sum(&searches);
        Ok((planes, found))
    }

    /// The hyperplane between a class and all others.
    fn search_plane(
        &self,
        class: usize,
        places: &[usize],
        shares: &Shares,
        preconditioner: Preconditioner,
    ) -> Result<Minimum> {
        // What a row weighs, on which side it is to be, and how far it is from there.
        let place = |decision: f64, label: f64| {
            let place = places[label as usize];
            let side = if place == class { 1.0 } else { -1.0 };
            (shares.of_row[place], side, 1.0 - side * decision)
        };
        let row_loss = |_: usize, decision: f64, label: f64| {
            let (share, side, short) = place(decision, label);
            // What is NaN is no less than 0, and ends the search.
            if short <= 0.0 { (0.0, 0.0) } else { (share * short * short, -2.0 * share * side * short) }
        };
        let curvature = |_: usize, decision: f64, label: f64| {
            let (share, _, short) = place(decision, label);
            if short <= 0.0 { 0.0 } else { 2.0 * share }
        };
        let l2 = self.config.l2_reg / shares.total;
        let loss = MeanLoss::over(&self.set, &self.control, l2, preconditioner, row_loss);
        let (start, config) = (vec![0.0; self.set.slots()], self.config.search(shares.total));
        let minimum = if self.is_for_newton() {
            newton::minimize(&loss, curvature, start, &config)?
        } else {
            lbfgs::minimize(&loss, start, &config)?
        };
        if !minimum.loss.is_finite() {
            return Err(MlError::Diverged { hint: "standardise the features, or scale them down" });
        }
        Ok(minimum)
    }

    /// Whether Newton's method finds the hyperplanes, which knows no L1 penalty.
    fn is_for_newton(&self) -> bool {
        self.config.l1_reg == 0.0 && newton::is_fast_enough(&self.set)
    }

    fn calibrate(&self, class: usize, places: &[usize], weights: &[f64]) -> Result<Calibration> {
        let parts = map_shards(self.set.chunks(), &self.control, |chunks| {
            let rows = chunks.iter().flat_map(Chunk::iter);
            rows.map(|row| (score(&row, weights), places[row.label as usize] == class)).collect::<Vec<_>>()
        })?;
        Calibration::fit(parts.concat(), &self.control)
    }

    /// The measures by the names of SQL's functions: of the labels and the calibrated probabilities, and of two
    /// classes, of the order of the decision values.
    fn metrics(&self, planes: &Planes, places: &[usize], classes: usize) -> Result<Vec<(String, f64)>> {
        let parts = map_shards(self.set.chunks(), &self.control, |chunks| {
            let (mut hits, mut firsts) = (ClassHits::default(), Vec::new());
            let (mut decisions, mut probabilities) = (vec![0.0; planes_of(classes)], vec![0.0; classes]);
            for row in chunks.iter().flat_map(Chunk::iter) {
                let place = places[row.label as usize];
                planes.decide(&mut decisions, |weights| score(&row, weights));
                planes.probabilities(&decisions, &mut probabilities);
                hits.count(probabilities[place], Planes::predicted(&decisions) == place);
                if classes == 2 {
                    firsts.push((decisions[0], place == 1));
                }
            }
            (hits, firsts)
        })?;
        let (hits, firsts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let (decisions, labels): (Vec<f64>, Vec<bool>) = firsts.into_iter().flatten().unzip();
        let auc = metrics::auc(&decisions, &labels).map(|auc| ("roc_auc".to_owned(), auc));
        Ok(auc.into_iter().chain(ClassHits::sum(&hits).metrics()).collect())
    }
}

/// How all hyperplanes were found.
struct Found {
    /// Steps of all searches.
    iterations: u64,
    converged: bool,
    /// The sum of the hyperplanes' losses.
    loss: f64,
    /// That sum, as if all were searched side by side.
    history: History,
}

impl BatchModel for BatchLinearSvm {
    fn model_type(&self) -> &'static str {
        LinearSvm::MODEL_TYPE
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
        let shares = Shares::new(&self.config, &classes)?;
        self.set.prepare(linear_numbers(self.config.standardize), &self.control)?;
        let (planes, found) = self.search(&places, &shares)?;
        let metrics = self.metrics(&planes, &places, classes.names().len())?;
        let encoder = self.set.encoder(linear_numbers(self.config.standardize));
        let category_rows = self.set.category_rows(&self.control)?;
        Ok(FitReport {
            model: LinearSvm { encoder, classes, planes, category_rows }.snapshot()?,
            rows: self.set.rows(),
            iterations: found.iterations,
            converged: found.converged,
            loss: found.loss,
            metrics,
            trials: Vec::new(),
            history: found.history.ending_with(found.loss),
        })
    }
}
