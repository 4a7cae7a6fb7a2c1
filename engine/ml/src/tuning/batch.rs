//! A batch model around others: it keeps its rows, splits them, and fits one model to a part of them, or many, of which it
//! hands on the best.

use std::collections::BTreeMap;

use arrow::array::{Array, RecordBatch, make_array, new_null_array};
use arrow::datatypes::{DataType, Field};

use super::config::{SearchConfig, TuningConfig};
use super::fits::{Fits, looks_at_held_out};
use super::objective::{self, Measure, Target};
use super::rows::KeptRows;
use super::space::Branch;
use super::trials::{Found, Trials};
use crate::batch::baseline::{Labels, beside};
use crate::batch::data_split::{Folds, Part};
use crate::batch::{BatchModel, FitControl, FitReport, Iteration, create_batch};
use crate::classes::LabelKind;
use crate::error::{MlError, Result};
use crate::model::{FeatureSchema, RejectedRow};

/// The rows of a training set, and the models that may be made of them.
#[derive(Debug)]
pub(super) struct TunedModel {
    model_type: &'static str,
    space: Vec<Branch>,
    config: TuningConfig,
    target: Target,
    schema: FeatureSchema,
    label: DataType,
    outputs: Vec<Field>,
    /// The options of the model that says which rows can be used.
    plain: (&'static str, BTreeMap<String, String>),
    rows: KeptRows,
    control: FitControl,
    is_fitted: bool,
}

/// Which rows are for what.
struct Plan {
    parts: Vec<Part>,
    folds: Option<Folds>,
    measure: Measure,
}

impl TunedModel {
    /// A model that has no rows.
    ///
    /// # Errors
    /// Those of [`create_batch`] for what is set about the models of the space and not searched.
    pub(super) fn new(
        model_type: &'static str,
        space: Vec<Branch>,
        config: TuningConfig,
        target: Target,
        schema: FeatureSchema,
        label: &DataType,
    ) -> Result<Self> {
        let plain = space.first().map(|branch| (branch.model_type, branch.options.clone())).unwrap_or_default();
        let outputs = create_batch(plain.0, &plain.1, &schema, label)?.outputs();
        let kind = matches!(target, Target::Classes).then(|| LabelKind::of("label", label)).transpose()?;
        let rows = KeptRows::new(kind, &config.split);
        let (label, control) = (label.clone(), FitControl::default());
        Ok(Self { model_type, space, config, target, schema, label, outputs, plain, rows, control, is_fitted: false })
    }

    fn plan(&self) -> Result<Plan> {
        let TuningConfig { split, search, seed, .. } = &self.config;
        let classes = self.rows.count_classes()?;
        let given = search.as_ref().and_then(|search| search.measure);
        let measure = given.unwrap_or_else(|| Measure::default_of(self.target, classes));
        measure.check_classes(classes)?;
        let keys = self.rows.keys(split.method)?;
        let mut parts = split.parts(self.rows.rows(), &keys, *seed)?;
        let Some(count) = search.as_ref().and_then(|search| search.folds) else {
            return Ok(Plan { parts, folds: None, measure });
        };
        // Each fold is held out by itself.
        parts.iter_mut().filter(|part| **part == Part::HeldOut).for_each(|part| *part = Part::Learnt);
        let folds = Folds::new(split, &parts, &keys, count, *seed)?;
        Ok(Plan { parts, folds: Some(folds), measure })
    }

    fn fits(&self, plan: &Plan) -> Fits<'_> {
        Fits {
            rows: &self.rows,
            schema: &self.schema,
            label: &self.label,
            target: self.target,
            ends_early: plan.folds.is_none(),
            sampling: self.config.sampling.as_ref(),
            seed: self.config.seed,
        }
    }

    /// One model, judged by the rows that it does not learn.
    fn fit_one(&self, plan: &Plan) -> Result<FitReport> {
        let (model_type, options) = &self.plain;
        let fits = self.fits(plan);
        let report = fits.fit(model_type, options, &plan.parts, &self.control)?;
        let judge = |part| fits.judge(&report, &plan.parts, part, &self.control);
        let (looks, holds_out) = (looks_at_held_out(model_type), self.config.split.holds_out());
        let of_held_out = if holds_out && !looks { judge(Part::HeldOut)? } else { Vec::new() };
        let history = judged(report.history.clone(), &of_held_out);
        let metrics = match plan.judged() {
            Part::Test => judge(Part::Test)?,
            // It has said itself what it is worth by the rows held out.
            Part::HeldOut if looks => report.metrics.clone(),
            Part::HeldOut => of_held_out,
            // As the rows came, and not as they were made alike.
            part => judge(part)?,
        };
        let metrics = self.beside_guess(metrics, plan, plan.judged())?;
        Ok(FitReport { metrics, history, ..report })
    }

    /// Measures by the rows of a part, and behind them those of a guess by the rows that are learnt.
    fn beside_guess(&self, measures: Vec<(String, f64)>, plan: &Plan, judged: Part) -> Result<Vec<(String, f64)>> {
        let kind = match self.target {
            Target::Own(_) => return Ok(measures),
            Target::Classes => Some(LabelKind::of("label", &self.label)?),
            Target::Numbers => None,
        };
        let labels = |part| {
            let mut labels = Labels::new(kind);
            self.rows.of_part(&plan.parts, part).try_for_each(|rows| labels.add(&rows?.labels))?;
            Ok::<_, MlError>(labels)
        };
        Ok(beside(measures, labels(Part::Learnt)?.guessing(&labels(judged)?)))
    }

    /// The best of many models.
    fn search(&self, plan: &Plan, config: &SearchConfig) -> Result<FitReport> {
        let fits = self.fits(plan);
        let trials = Trials {
            fits,
            space: &self.space,
            config,
            seed: self.config.seed,
            measure: plan.measure,
            parts: &plan.parts,
            folds: plan.folds.as_ref(),
            control: &self.control,
        };
        let Found { report, measures, trials } = trials.run()?;
        let history = judged(report.history.clone(), &measures);
        let metrics = match plan.parts.contains(&Part::Test) {
            true => fits.judge(&report, &plan.parts, Part::Test, &self.control)?,
            false => measures,
        };
        let metrics = self.beside_guess(metrics, plan, plan.judged())?;
        Ok(FitReport { metrics, trials, history, ..report })
    }
}

impl Plan {
    /// Which rows say what the model is worth: with folds each row of them once.
    fn judged(&self) -> Part {
        [Part::Test, Part::HeldOut].into_iter().find(|part| self.parts.contains(part)).unwrap_or(Part::Learnt)
    }
}

/// The steps of a fit that looked at no rows held out: these say what it came to.
fn judged(mut history: Vec<Iteration>, of_held_out: &[(String, f64)]) -> Vec<Iteration> {
    if let Some(last) = history.last_mut() {
        last.evaluation_loss = last.evaluation_loss.or_else(|| objective::evaluation_loss(of_held_out));
    }
    history
}

impl BatchModel for TunedModel {
    fn model_type(&self) -> &'static str {
        self.model_type
    }

    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn outputs(&self) -> Vec<Field> {
        self.outputs.clone()
    }

    fn add(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        if self.is_fitted {
            return Err(MlError::AlreadyFitted);
        }
        // A model that learns nothing but these rows knows best which of them can be used.
        let mut model = create_batch(self.plain.0, &self.plain.1, &self.schema, &self.label)?;
        let rejected = model.add(features, labels)?;
        let labels = match self.target {
            Target::Own(_) => new_null_array(&DataType::Null, features.num_rows()),
            Target::Classes | Target::Numbers => make_array(labels.to_data()),
        };
        self.rows.add(&self.schema, features, &labels, &rejected)?;
        Ok(rejected)
    }

    fn rows(&self) -> u64 {
        u64::from(self.rows.rows())
    }

    fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    fn set_control(&mut self, control: FitControl) {
        self.control = control;
    }

    fn fit(&mut self) -> Result<FitReport> {
        if self.rows.rows() == 0 {
            return Err(MlError::NoRows);
        }
        self.control.check()?;
        self.is_fitted = true;
        let plan = self.plan()?;
        match &self.config.search {
            Some(config) => self.search(&plan, config),
            None => self.fit_one(&plan),
        }
    }
}
