//! Runs the trials of a search, some at the same time, and keeps the best model.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use bincode::{Decode, Encode};

use super::config::SearchConfig;
use super::fits::Fits;
use super::halving;
use super::objective::{self, Measure};
use super::search::{Algorithm, Search, Tried};
use super::space::{Branch, Point};
use super::trial::{Trial, TrialStatus};
use crate::batch::data_split::{Folds, Part};
use crate::batch::draws::Draws;
use crate::batch::parallel::in_parallel;
use crate::batch::team::{gathered, own_part};
use crate::batch::{FitControl, FitReport};
use crate::error::{MlError, Result};

/// A search over models of the rows that are kept.
pub(super) struct Trials<'a> {
    pub(super) fits: Fits<'a>,
    pub(super) space: &'a [Branch],
    pub(super) config: &'a SearchConfig,
    pub(super) seed: u64,
    pub(super) measure: Measure,
    /// What becomes of each row in a fit; with folds, of the fit of the best options.
    pub(super) parts: &'a [Part],
    pub(super) folds: Option<&'a Folds>,
    pub(super) control: &'a FitControl,
}

/// What a search came to.
pub(super) struct Found {
    pub(super) report: FitReport,
    /// What the best trial was worth, by rows that it did not learn.
    pub(super) measures: Vec<(String, f64)>,
    pub(super) trials: Vec<Trial>,
}

/// What came of one point.
#[derive(Encode, Decode)]
struct Outcome {
    /// The model; none where there are several, of folds.
    report: Option<FitReport>,
    training_loss: f64,
    measures: Vec<(String, f64)>,
    value: f64,
}

/// Why nothing came of one.
#[derive(Encode, Decode)]
struct Failure {
    /// Whether its options contradict each other, or the rows.
    is_contradiction: bool,
    reason: String,
}

/// The best model so far.
struct Best {
    trial: usize,
    point: Point,
    loss: f64,
    outcome: Outcome,
}

/// What is known while a search goes on.
#[derive(Default)]
struct Log {
    tried: Vec<Tried>,
    trials: Vec<Trial>,
    first_error: Option<MlError>,
    best: Option<Best>,
}

impl Trials<'_> {
    /// Tries all points and fits the best.
    ///
    /// # Errors
    /// `Stopped`; `NoTrial` where no trial came to a model.
    pub(super) fn run(&self) -> Result<Found> {
        let Log { mut trials, first_error, best, .. } = match self.config.algorithm {
            Algorithm::SuccessiveHalving => self.halve()?,
            _ => self.search()?,
        };
        let Some(Best { trial, point, outcome, .. }) = best else {
            let source = first_error.map_or_else(|| Box::new(MlError::NoRows), Box::new);
            return Err(MlError::NoTrial { trials: trials.len(), source });
        };
        trials[trial].is_optimal = true;
        let report = match outcome.report {
            Some(report) => report,
            None => self.fit(&point)?,
        };
        Ok(Found { report, measures: outcome.measures, trials })
    }

    fn search(&self) -> Result<Log> {
        let mut search = Search::new(self.space, self.config.algorithm, self.config.trials, self.seed);
        let mut log = Log::default();
        loop {
            let points = search.round(self.config.parallel as usize, &log.tried);
            if points.is_empty() {
                return Ok(log);
            }
            let outcomes = self.all(&points, 1.0)?;
            for (point, outcome) in points.into_iter().zip(outcomes) {
                self.record(&mut log, point, outcome);
            }
        }
    }

    /// All points of a random search, fitted to more and more rows.
    fn halve(&self) -> Result<Log> {
        let points = Search::new(self.space, Algorithm::SuccessiveHalving, self.config.trials, self.seed)
            .round(self.config.trials as usize, &[]);
        let learnt = self.parts.iter().filter(|part| **part == Part::Learnt).count() as u64;
        let shares = halving::shares(points.len(), learnt);
        let mut log = Log::default();
        for point in &points {
            let trial = self.trial(log.trials.len() as u64 + 1, point);
            log.trials.push(trial);
        }
        let mut left: Vec<usize> = (0..points.len()).collect();
        for (step, share) in shares.iter().enumerate() {
            let own: Vec<Point> = left.iter().map(|place| points[*place].clone()).collect();
            let outcomes = self.all(&own, *share)?;
            let is_last = step + 1 == shares.len();
            let note = |(place, outcome): (&usize, _)| self.note(&mut log, *place, &points[*place], outcome, is_last);
            let losses: Vec<f64> = left.iter().zip(outcomes).map(note).collect();
            if is_last {
                break;
            }
            let better: Vec<usize> = halving::better_half(&losses).into_iter().map(|place| left[place]).collect();
            left.retain(|place| !better.contains(place));
            left.iter().for_each(|place| stop_early(&mut log.trials[*place]));
            left = better;
        }
        Ok(log)
    }

    /// A trial that has not run.
    fn trial(&self, number: u64, point: &Point) -> Trial {
        Trial {
            number,
            parameters: self.parameters(point),
            objective: self.measure.name.to_owned(),
            value: None,
            status: TrialStatus::Succeeded,
            is_optimal: false,
            training_loss: None,
            evaluation_loss: None,
            error: None,
        }
    }

    fn record(&self, log: &mut Log, point: Point, outcome: Result<Outcome>) {
        let trial = self.trial(log.trials.len() as u64 + 1, &point);
        log.trials.push(trial);
        let loss = self.note(log, log.trials.len() - 1, &point, outcome, true);
        log.tried.push(Tried { point, loss });
    }

    /// Notes what came of a trial; returns what a search lowers. Only a model of all rows can be the best.
    fn note(&self, log: &mut Log, place: usize, point: &Point, outcome: Result<Outcome>, is_whole: bool) -> f64 {
        let trial = &mut log.trials[place];
        match outcome {
            Ok(outcome) => {
                let loss = self.measure.loss(Some(outcome.value));
                trial.value = Some(outcome.value);
                trial.training_loss = Some(outcome.training_loss).filter(|loss| loss.is_finite());
                trial.evaluation_loss = objective::evaluation_loss(&outcome.measures);
                let is_better = log.best.as_ref().is_none_or(|best| loss < best.loss);
                if is_whole && is_better && loss.is_finite() {
                    log.best = Some(Best { trial: place, point: point.clone(), loss, outcome });
                }
                loss
            }
            Err(error) => {
                let is_contradiction = Failure::of(&error).is_contradiction;
                trial.status = if is_contradiction { TrialStatus::Infeasible } else { TrialStatus::Failed };
                trial.error = Some(error.to_string());
                log.first_error.get_or_insert(error);
                f64::INFINITY
            }
        }
    }

    /// What comes of each point, by models of a part of the rows that are learnt.
    ///
    /// # Errors
    /// `Stopped`; what else goes wrong is the outcome of one point.
    fn all(&self, points: &[Point], share: f64) -> Result<Vec<Result<Outcome>>> {
        // Those of one after the other are divided among the members of a team each; of several at the same time, each
        // member has some, for they would not come to their sums in the same order everywhere.
        let dealt = self.control.team.as_deref().filter(|team| team.size() > 1 && self.config.parallel > 1);
        let own = own_part(dealt, points.len());
        let threads = self.control.threads.get();
        let workers = own.len().min(threads).min(self.config.parallel as usize).max(1);
        let of_each = NonZeroUsize::new(threads / workers).unwrap_or(NonZeroUsize::MIN);
        let team = self.control.team.clone().filter(|_| dealt.is_none());
        let control = FitControl { threads: of_each, team, ..self.control.clone() };
        let next = AtomicUsize::new(own.start);
        let work = |(): &()| {
            let places = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            let own = places.map_while(|place| Some((place, points[..own.end].get(place)?)));
            own.map(|(place, point)| (place, self.outcome(point, share, &control))).collect::<Vec<_>>()
        };
        let mut outcomes: Vec<_> = in_parallel(&vec![(); workers], work).into_iter().flatten().collect();
        self.control.check()?;
        outcomes.sort_by_key(|(place, _)| *place);
        let outcomes = outcomes.into_iter().map(|(_, outcome)| outcome);
        match dealt {
            None => Ok(outcomes.collect()),
            Some(team) => {
                let own: Vec<_> = outcomes.map(|outcome| outcome.map_err(|error| Failure::of(&error))).collect();
                let all = gathered(team, &own)?.into_iter();
                Ok(all.map(|outcome| outcome.map_err(Failure::into_error)).collect())
            }
        }
    }

    fn outcome(&self, point: &Point, share: f64, control: &FitControl) -> Result<Outcome> {
        control.check()?;
        let (model_type, options) = self.options(point);
        let fit = |parts: &[Part]| -> Result<(FitReport, Vec<(String, f64)>)> {
            let learnt = self.shortened(parts, share);
            let report = self.fits.fit(model_type, &options, &learnt, control)?;
            let measures = self.fits.judge(&report, &learnt, Part::HeldOut, control)?;
            Ok((report, measures))
        };
        let Some(folds) = self.folds else {
            let (report, measures) = fit(self.parts)?;
            let training_loss = report.loss;
            return self.judged(Some(report), training_loss, measures);
        };
        let (mut losses, mut of_folds) = (0.0, Vec::new());
        for fold in 0..folds.count() {
            let (report, measures) = fit(&folds.parts(fold))?;
            losses += report.loss;
            of_folds.push(measures);
        }
        self.judged(None, losses / f64::from(folds.count()), objective::mean(&of_folds))
    }

    fn judged(&self, report: Option<FitReport>, training_loss: f64, measures: Vec<(String, f64)>) -> Result<Outcome> {
        let value = self.measure.value(&measures).ok_or(MlError::NoMeasure { measure: self.measure.name })?;
        Ok(Outcome { report, training_loss, measures, value })
    }

    /// The parts where only a share of the rows is learnt. Those of a smaller share are among them.
    fn shortened(&self, parts: &[Part], share: f64) -> Vec<Part> {
        let draws = Draws::new(self.seed, b"halvings", 0);
        let own = |(row, part): (u64, &Part)| match part {
            Part::Learnt if share < 1.0 && !draws.is_in(share, row) => Part::LeftOut,
            part => *part,
        };
        (0..).zip(parts).map(own).collect()
    }

    /// The best options, fitted to all rows that are learnt.
    fn fit(&self, point: &Point) -> Result<FitReport> {
        let (model_type, options) = self.options(point);
        self.fits.fit(model_type, &options, self.parts, self.control)
    }

    /// What a trial tries, by the names of options.
    fn parameters(&self, point: &Point) -> Vec<(String, String)> {
        let Some(branch) = self.space.get(point.branch) else { return Vec::new() };
        let model_type = ("model_type".to_owned(), branch.model_type.to_owned());
        let is_part = self.space.len() > 1;
        is_part.then_some(model_type).into_iter().chain(branch.values(point)).collect()
    }

    /// The model type of a trial, and all its options.
    fn options(&self, point: &Point) -> (&'static str, BTreeMap<String, String>) {
        let Some(branch) = self.space.get(point.branch) else { return ("", BTreeMap::new()) };
        let fixed = branch.options.iter().map(|(option, value)| (option.clone(), value.clone()));
        (branch.model_type, fixed.chain(branch.values(point)).collect())
    }
}

impl Failure {
    fn of(error: &MlError) -> Self {
        let is_contradiction =
            matches!(error, MlError::InvalidOption { .. } | MlError::Trial { is_contradiction: true, .. });
        Self { is_contradiction, reason: error.to_string() }
    }

    fn into_error(self) -> MlError {
        let Self { is_contradiction, reason } = self;
        MlError::Trial { is_contradiction, reason }
    }
}

/// A trial that failed stays failed.
fn stop_early(trial: &mut Trial) {
    if trial.status == TrialStatus::Succeeded {
        trial.status = TrialStatus::StoppedEarly;
    }
}
