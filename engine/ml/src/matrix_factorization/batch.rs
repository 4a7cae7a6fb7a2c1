//! A matrix factorisation fitted to all ratings.

use arrow::array::{Array, RecordBatch};

use super::als::{Factors, Goal, Rating, Ratings, Solver, product};
use super::config::{FactorizationConfig, Feedback};
use super::ids::{Ids, distinct};
use super::{MatrixFactorization, Side};
use crate::batch::history::History;
use crate::batch::{BatchModel, Chunk, FitControl, FitReport, TrainingSet};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::linear::linear_regression::batch::numeric_labels;
use crate::metrics::RegressionSums;
use crate::model::{FeatureKind, FeatureSchema, RejectedRow};
use crate::options::check_slots;

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchFactorization {
    config: FactorizationConfig,
    /// The place of the items' feature, whose factors are random at first.
    item: usize,
    set: TrainingSet,
    control: FitControl,
}

/// Factors that fit ratings.
struct Found {
    factors: [Factors; 2],
    loss: f64,
    iterations: u64,
    converged: bool,
    /// The loss after each step.
    history: History,
}

impl BatchFactorization {
    /// A model that has no rows.
    ///
    /// # Errors
    /// `InvalidOption` for a schema that is not of a user and an item, or where `max_categories` allows more than there
    /// are slots.
    pub(crate) fn new(config: FactorizationConfig, schema: FeatureSchema) -> Result<Self> {
        let item = usize::from(config.is_user_first(&schema)?);
        check_slots(config.max_categories, &schema)?;
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, item, set, control: FitControl::default() })
    }

    fn ids(&self) -> Result<[Ids; 2]> {
        let fields = self.set.schema().fields();
        let is_number = |place: usize| fields.get(place).is_some_and(|field| field.kind == FeatureKind::Numeric);
        let numbers = [0, 1].map(|place| {
            // The second of two numbers is the row's second number.
            let column = usize::from(place == 1 && is_number(0));
            let rows = || self.set.chunks().iter().flat_map(Chunk::iter);
            if is_number(place) { distinct(rows().map(|row| row.numbers[column])) } else { Vec::new() }
        });
        let encoder = self.set.encoder(Numbers::WithMissing);
        Ids::both(&encoder, numbers).ok_or(MlError::corrupt("its features are not a user and an item"))
    }

    /// The ratings in the order of the rows. Implicit ones of the same pair are added up, in the order of the first
    /// side.
    fn ratings(&self, ids: &[Ids; 2]) -> Vec<Rating> {
        let rating = |row: crate::batch::Row<'_>| {
            let place = |ids: &Ids| ids.place(row.numbers, row.categories).map(|place| place as u32);
            Some(Rating { sides: [place(&ids[0])?, place(&ids[1])?], value: row.label })
        };
        let mut ratings: Vec<_> = self.set.chunks().iter().flat_map(Chunk::iter).filter_map(rating).collect();
        if self.config.feedback_type == Feedback::Implicit {
            ratings.sort_by_key(|rating| rating.sides);
            ratings.dedup_by(|next, kept| {
                let is_same = next.sides == kept.sides;
                kept.value += if is_same { next.value } else { 0.0 };
                is_same
            });
        }
        ratings
    }

    fn goal(&self) -> Goal {
        match self.config.feedback_type {
            Feedback::Explicit => {
                let labels = self.set.chunks().iter().flat_map(Chunk::labels);
                Goal::Explicit { mean: labels.sum::<f64>() / self.set.rows() as f64 }
            }
            Feedback::Implicit => Goal::Implicit { alpha: self.config.wals_alpha },
        }
    }

    fn search(&self, goal: Goal, ids: &[Ids; 2], ratings: &[Rating]) -> Result<Found> {
        let solver = Solver { goal, l2: self.config.l2_reg, control: &self.control };
        let by_side = [0, 1].map(|side| Ratings::by(side, ids[side].len(), ratings));
        let (user, item) = (1 - self.item, self.item);
        let random = Factors::random(ids[item].len(), self.config.num_factors as usize, self.config.seed);
        let mut factors = [random.clone(), random];
        let (mut before, mut step, mut history) = (f64::INFINITY, 0, History::default());
        loop {
            step += 1;
            factors[user] = solver.solve(&by_side[user], &factors[item])?;
            factors[item] = solver.solve(&by_side[item], &factors[user])?;
            let loss = solver.loss(&by_side, &factors)?;
            history.push(loss);
            let converged = before.is_finite() && before - loss <= self.config.tolerance * before;
            if converged || step == self.config.max_iterations || !loss.is_finite() {
                return Ok(Found { factors, loss, iterations: step, converged, history });
            }
            before = loss;
        }
    }
}

/// How well ratings come out. Of implicit ones, how well whether there is one does.
fn measures(goal: Goal, found: &Found, ratings: &[Rating]) -> Vec<(String, f64)> {
    let [first, second] = &found.factors;
    let mut sums = RegressionSums::default();
    for Rating { sides: [one, other], value } in ratings {
        let said = product(first.row(Some(*one as usize)), second.row(Some(*other as usize)));
        match goal {
            Goal::Explicit { mean } => sums.add(*value, mean + said),
            Goal::Implicit { .. } => sums.add(f64::from(u8::from(*value > 0.0)), said),
        }
    }
    let rmse = sums.rmse();
    let measures = match goal {
        Goal::Explicit { .. } => [("r2", sums.r2()), ("rmse", rmse), ("mae", sums.mae())],
        Goal::Implicit { .. } => [("mse", rmse.map(|rmse| rmse * rmse)), ("mae", sums.mae()), ("r2", None)],
    };
    measures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

impl BatchModel for BatchFactorization {
    fn model_type(&self) -> &'static str {
        MatrixFactorization::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn add(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        self.set.add(features, &numeric_labels(labels)?)
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

    /// The loss is what is minimised (see `als`), over the number of rows.
    fn fit(&mut self) -> Result<FitReport> {
        let rows = self.set.rows();
        if rows == 0 {
            return Err(MlError::NoRows);
        }
        self.set.prepare(Numbers::WithMissing, &self.control)?;
        let ids = self.ids()?;
        let (goal, ratings) = (self.goal(), self.ratings(&ids));
        let found = self.search(goal, &ids, &ratings)?;
        if !found.loss.is_finite() {
            return Err(MlError::Diverged { hint: "scale the label down, or take a larger l2_reg" });
        }
        let loss = found.loss / rows as f64;
        let metrics = measures(goal, &found, &ratings);
        let mean = if let Goal::Explicit { mean } = goal { mean } else { 0.0 };
        let [(first, of_first), (second, of_second)] = pairs(ids, found.factors);
        let sides = [Side { ids: first, factors: of_first }, Side { ids: second, factors: of_second }];
        let model = MatrixFactorization { encoder: self.set.encoder(Numbers::WithMissing), mean, sides, rows };
        Ok(FitReport {
            model: model.snapshot()?,
            rows,
            iterations: found.iterations,
            converged: found.converged,
            loss,
            metrics,
            trials: Vec::new(),
            history: found.history.scaled(1.0 / rows as f64).ending_with(loss),
        })
    }
}

fn pairs(ids: [Ids; 2], factors: [Factors; 2]) -> [(Ids, Factors); 2] {
    let ([one, other], [of_one, of_other]) = (ids, factors);
    [(one, of_one), (other, of_other)]
}
