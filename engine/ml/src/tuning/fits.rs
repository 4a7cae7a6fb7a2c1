//! Fits models to parts of the rows that are kept, and judges them by others.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;

use super::objective::{Judge, Target};
use super::rows::{KeptRows, Rows};
use super::sampling::{Sampled, Sampling};
use crate::batch::data_split::Part;
use crate::batch::{FitControl, FitReport, create_batch};
use crate::boosted_trees;
use crate::error::Result;
use crate::model::FeatureSchema;
use crate::registry::restore_supervised;

/// What all fits have in common.
#[derive(Clone, Copy)]
pub(super) struct Fits<'a> {
    pub(super) rows: &'a KeptRows,
    pub(super) schema: &'a FeatureSchema,
    pub(super) label: &'a DataType,
    pub(super) target: Target,
    /// Whether rows held out may end a fit, of those models that look at them.
    pub(super) ends_early: bool,
    /// How the rows learnt are changed before a fit.
    pub(super) sampling: Option<&'a Sampling>,
    /// What that draws by.
    pub(super) seed: u64,
}

/// Whether models of this type end a fit by rows that are held out.
pub(super) fn looks_at_held_out(model_type: &str) -> bool {
    [boosted_trees::CLASSIFIER, boosted_trees::REGRESSOR].contains(&model_type)
}

/// The options of a model, which is told that rows are held out, if it looks at them: a part of its last ones.
pub(super) fn with_held_out(
    model_type: &str,
    options: &BTreeMap<String, String>,
    part: f64,
) -> BTreeMap<String, String> {
    let mut options = options.clone();
    if part > 0.0 && looks_at_held_out(model_type) {
        options.insert("data_split_method".to_owned(), "seq".to_owned());
        options.insert("data_split_eval_fraction".to_owned(), part.to_string());
    }
    options
}

impl Fits<'_> {
    /// A model of the rows that are learnt.
    ///
    /// # Errors
    /// As of `create_batch`, and of a model's `add` and `fit`.
    pub(super) fn fit(
        &self,
        model_type: &str,
        options: &BTreeMap<String, String>,
        parts: &[Part],
        control: &FitControl,
    ) -> Result<FitReport> {
        let Sampled { parts, extra } = self.sampled(parts, control)?;
        let count = |wanted| parts.iter().filter(|part| **part == wanted).count();
        let looks = self.ends_early && looks_at_held_out(model_type);
        let held_out = if looks { count(Part::HeldOut) } else { 0 };
        let learnt = count(Part::Learnt) + extra.iter().map(|rows| rows.labels.len()).sum::<usize>();
        // This part of all rows, rounded, is as many as there are.
        let options = with_held_out(model_type, options, held_out as f64 / (held_out + learnt) as f64);
        let mut model = create_batch(model_type, &options, self.schema, self.label)?;
        let mut add = |rows: Rows| control.check().and_then(|()| model.add(&rows.features, &rows.labels));
        for rows in self.rows.of_part(&parts, Part::Learnt) {
            add(rows?)?;
        }
        for rows in extra {
            add(rows)?;
        }
        // Those held out come last, so that the part is theirs.
        for rows in self.rows.of_part(&parts, Part::HeldOut).take_while(|_| held_out > 0) {
            add(rows?)?;
        }
        model.set_control(control.clone());
        model.fit()
    }

    fn sampled(&self, parts: &[Part], control: &FitControl) -> Result<Sampled> {
        match self.sampling {
            Some(sampling) => sampling.apply(self.rows, parts, self.seed, control),
            None => Ok(Sampled { parts: parts.to_vec(), extra: Vec::new() }),
        }
    }

    /// What a fitted model is worth, by the rows of a part; of a model without a label, by its fit.
    ///
    /// # Errors
    /// `Stopped`, and those of a model's predictions.
    pub(super) fn judge(
        &self,
        report: &FitReport,
        parts: &[Part],
        wanted: Part,
        control: &FitControl,
    ) -> Result<Vec<(String, f64)>> {
        if matches!(self.target, Target::Own(_)) {
            return Ok(report.metrics.clone());
        }
        let model = restore_supervised(&report.model)?;
        let mut judge = Judge::new(model.as_ref());
        for rows in self.rows.of_part(parts, wanted) {
            control.check()?;
            let rows = rows?;
            judge.add(&model.predictions(&rows.features)?, &rows.labels)?;
        }
        Ok(judge.measures())
    }
}
