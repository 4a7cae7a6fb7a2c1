//! Models of series fitted to a training set: each series alone, on all threads, by all members of a team.

use arrow::array::{Array, RecordBatch};
use bincode::{Decode, Encode};

use super::columns::{NamedPoints, SeriesColumns, SeriesRows};
use super::grid::{Regular, TimeType, regular};
use super::{FittedSeries, Forecaster, NoForecast, Outcome, SeriesModel, State};
use crate::batch::parallel::{in_parallel, stretches};
use crate::batch::team::{all_parts, own_part};
use crate::batch::{BatchModel, FitControl, FitReport, Iteration};
use crate::error::{MlError, Result};
use crate::metrics::RegressionSums;
use crate::model::{FeatureSchema, RejectedRow};

/// A search goes over a series about so often.
const PASSES: usize = 100;

/// What a fit of one series does.
pub(crate) trait SeriesConfig: std::fmt::Debug + Send + Sync {
    type Model: SeriesModel;

    /// Fits a model to values at equal distances, of which the first is one, and NaN stands for none.
    ///
    /// # Errors
    /// `Stopped`. A series that cannot be fitted is no error.
    fn fit(&self, values: &[f64], control: &FitControl) -> Result<Fitted<Self::Model>>;

    /// Points of a season, of which a guess takes the value that was one before; 1 without.
    fn season(&self) -> usize;
}

/// A fit, or why there is none.
pub(crate) type Fitted<M> = std::result::Result<Fit<M>, NoForecast>;

/// A model of one series, and how its search went.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fit<M> {
    pub(crate) model: M,
    pub(crate) iterations: u64,
    pub(crate) converged: bool,
    /// What was said of each value one step before it, in the order of those that are there; NaN of one that nothing
    /// could be said of, since it sets the level of the series.
    pub(crate) fitted: Vec<f64>,
}

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchForecast<C> {
    config: C,
    schema: FeatureSchema,
    columns: SeriesColumns,
    rows: SeriesRows,
    control: FitControl,
    is_fitted: bool,
}

/// What became of one series.
#[derive(Encode, Decode)]
struct Done<M> {
    series: FittedSeries<M>,
    iterations: u64,
    converged: bool,
    /// Of one step.
    errors: RegressionSums,
    /// Those of a guess by the value before, or of the season before.
    guess: RegressionSums,
}

impl<C: SeriesConfig> BatchForecast<C> {
    /// A model that has no rows.
    ///
    /// # Errors
    /// `InvalidOption` where the features are not the series' columns.
    pub(crate) fn new(config: C, columns: SeriesColumns, schema: FeatureSchema) -> Result<Self> {
        columns.check(&schema)?;
        let rows = SeriesRows::new(columns.clone());
        Ok(Self { config, schema, columns, rows, control: FitControl::default(), is_fitted: false })
    }

    fn fit_one(&self, series: &NamedPoints, times: &TimeType) -> Result<Done<C::Model>> {
        let name = series.name.clone();
        let nothing = |note: NoForecast| Done {
            series: FittedSeries { name: name.clone(), points: 0, values: 0, grid: None, outcome: Outcome::None(note) },
            iterations: 0,
            converged: true,
            errors: RegressionSums::default(),
            guess: RegressionSums::default(),
        };
        let Regular { grid, values } = match regular(&series.points, times) {
            Ok(regular) => regular,
            Err(note) => return Ok(nothing(note)),
        };
        let there: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        let (points, count) = (values.len() as u64, there.len() as u64);
        let (mut errors, mut guess) = (RegressionSums::default(), RegressionSums::default());
        let (outcome, iterations, converged) = match self.config.fit(&values, &self.control)? {
            Ok(fit) => {
                let said = there.iter().zip(&fit.fitted).filter(|(_, said)| !said.is_nan());
                said.for_each(|(value, said)| errors.add(*value, *said));
                let guessed = values.iter().skip(self.config.season()).zip(&values);
                let guessed = guessed.filter(|(value, before)| !value.is_nan() && !before.is_nan());
                guessed.for_each(|(value, before)| guess.add(*value, *before));
                (Outcome::Model(fit.model), fit.iterations, fit.converged)
            }
            Err(note) => (Outcome::None(note), 0, true),
        };
        let series = FittedSeries { name, points, values: count, grid: Some(grid), outcome };
        Ok(Done { series, iterations, converged, errors, guess })
    }

    /// All series, each fitted alone.
    fn fit_all(&self, series: &[NamedPoints], times: &TimeType) -> Result<Vec<Done<C::Model>>> {
        self.control.check()?;
        let points: usize = series.iter().map(|series| series.points.len()).sum();
        let team = self.control.team_for(points.saturating_mul(PASSES));
        let series = &series[own_part(team, series.len())];
        let threads = self.control.threads.get().min(series.len()).max(1);
        let run = |part: &&[NamedPoints]| part.iter().map(|one| self.fit_one(one, times)).collect::<Result<Vec<_>>>();
        let parts = in_parallel(&stretches(series, threads), run);
        all_parts(team, parts.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

impl<C: SeriesConfig> BatchModel for BatchForecast<C> {
    fn model_type(&self) -> &'static str {
        C::Model::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn add(&mut self, features: &RecordBatch, _labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        if self.is_fitted {
            return Err(MlError::AlreadyFitted);
        }
        self.rows.add(features)
    }

    fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    fn set_control(&mut self, control: FitControl) {
        self.control = control;
    }

    /// The loss is minus the sum of the series' log-likelihoods, and the measures are of what was said one step ahead
    /// of all values that are behind the first ones, which set a level. The guess beside it takes the value before, or of the
    /// season before.
    fn fit(&mut self) -> Result<FitReport> {
        self.is_fitted = true;
        let rows = self.rows();
        let Some((times, id_kind)) = self.rows.types().cloned().filter(|_| rows > 0) else {
            return Err(MlError::NoRows);
        };
        let fitted = self.fit_all(&self.rows.series(), &times)?;
        let (mut errors, mut guess) = (RegressionSums::default(), RegressionSums::default());
        for one in &fitted {
            errors.merge(&one.errors);
            guess.merge(&one.guess);
        }
        let (iterations, converged) =
            (fitted.iter().map(|one| one.iterations).sum(), fitted.iter().all(|one| one.converged));
        let series: Vec<_> = fitted.into_iter().map(|one| one.series).collect();
        let model = Forecaster {
            state: State { schema: self.schema.clone(), columns: self.columns.clone(), times, id_kind, series, rows },
        };
        if model.models().next().is_none() {
            return Err(no_model(&model));
        }
        let loss = -model.models().map(|(_, model)| model.summary().log_likelihood).sum::<f64>();
        let measures = [
            ("r2", errors.r2()),
            ("rmse", errors.rmse()),
            ("mae", errors.mae()),
            ("baseline_rmse", guess.rmse()),
            ("baseline_mae", guess.mae()),
        ];
        Ok(FitReport {
            loss,
            model: model.snapshot()?,
            rows,
            iterations,
            converged,
            metrics: measures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
            trials: Vec::new(),
            history: Iteration::only(loss),
        })
    }
}

/// Why there is nothing to forecast.
fn no_model<M: SeriesModel>(model: &Forecaster<M>) -> MlError {
    let first = model.state.series.first();
    let reason = first.map(|series| match &series.outcome {
        Outcome::None(note) => note.to_string(),
        Outcome::Model(_) => String::new(),
    });
    let name = first.map(|series| series.name.clone()).unwrap_or_default();
    MlError::NoForecasts { series: model.state.series.len(), name, reason: reason.unwrap_or_default() }
}
