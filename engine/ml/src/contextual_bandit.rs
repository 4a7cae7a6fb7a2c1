//! Contextual bandits: of each action a ridge regression of its rewards on the features of rows, learnt exactly and one row
//! at a time, and a policy that chooses by them.
//!
//! The models are disjoint (Li, Chu, Langford and Schapire 2010, "A contextual-bandit approach to personalized news article
//! recommendation"): `A = λI + Σ x xᵀ` and `b = Σ r x` over the rows of an action, whose expected reward is `x·w` with
//! `w = A⁻¹ b`. `x` begins with a 1; a category is one-hot. With `standardize`, numbers are centred and scaled by the rows of
//! all actions so far, all rows alike: the sums say what `A` and `b` would be had all rows been scaled as they are by now. So
//! nothing depends on the order of rows but rounding, and two models are one by adding their sums. A missing number is 0, and
//! with `standardize` the mean of the rows so far.
//!
//! Chance is drawn from the seed, the rows learnt, and a row's features with its unit if there is a column of them. So a row
//! gets the same answer however often it is asked and wherever it stands, and another once the model has learnt more.

mod arms;
mod config;
mod policy;
mod row;
mod state;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};

use self::arms::{Arm, ArmSums};
use self::config::BanditConfig;
use self::policy::Choice;
use self::row::{EncodedRow, encode};
use self::state::State;
use crate::actions::{Actions, check_column, read_actions, report, rewards, texts, without};
use crate::error::{MlError, Result};
use crate::feature::context::Context;
use crate::feature::dictionary::NO_SLOT;
use crate::feature::moments::Scale;
use crate::feature::row_reader::RowReader;
use crate::inspect::ModelTable;
use crate::model::{FeatureSchema, LearnReport, OnlineModel, RejectReason};
use crate::predictor::Predictor;
use crate::random::{Random, mixed};
use crate::registry::OptionDoc;
use crate::snapshot;

/// A contextual bandit; see the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct ContextualBandit {
    config: BanditConfig,
    /// What predictions read: the features, and the column of units if there is one.
    schema: FeatureSchema,
    context: Context,
    actions: Actions,
    /// By the actions' numbers.
    arms: Vec<KnownArm>,
}

/// What is known of an action, and the regression once somebody asks for it.
#[derive(Debug, Clone, Default)]
struct KnownArm {
    sums: ArmSums,
    solved: OnceLock<Arm>,
}

impl ContextualBandit {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = "contextual_bandit";

    pub(crate) const SNAPSHOT_TAG: u8 = 80;

    /// A model that has learnt nothing. The schema may have the column of actions, which is no feature.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range, would have no effect because of
    /// another option, or is a column that is not there; `NoFeatures`.
    pub(crate) fn new(options: &BTreeMap<String, String>, schema: &FeatureSchema) -> Result<Self> {
        let config = BanditConfig::from_options(options)?;
        let schema = without(schema, |column| column == config.action_column)?;
        Self::of_config(config, schema)
    }

    fn of_config(config: BanditConfig, schema: FeatureSchema) -> Result<Self> {
        let unit = config.unit_column.as_deref();
        if let Some(unit) = unit {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name.as_str()).collect();
            check_column("unit_column", unit, &names)?;
        }
        let features = without(&schema, |column| Some(column) == unit)?;
        config.check_size(&features)?;
        let (context, actions) = (Context::new(features, config.max_categories), Actions::new(config.max_actions));
        Ok(Self { config, schema, context, actions, arms: Vec::new() })
    }

    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        BanditConfig::option_docs()
    }

    /// The columns that only learning reads, of those that there are.
    ///
    /// # Errors
    /// As [`Self::new`], of options.
    pub(crate) fn learning_columns(options: &BTreeMap<String, String>, columns: &[&str]) -> Result<Vec<String>> {
        let action = BanditConfig::from_options(options)?.action_column;
        check_column("action_column", &action, columns)?;
        Ok(vec![action])
    }

    /// The columns that it adds to rows.
    pub(crate) fn output_fields(label: &str) -> Vec<Field> {
        let number = |name: String| Field::new(name, DataType::Float64, true);
        vec![
            Field::new("predicted_action", DataType::Utf8, true),
            number(format!("predicted_{label}")),
            number(String::from("action_probability")),
        ]
    }

    /// Reads what [`OnlineModel::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`; `InvalidOption` and the schema's errors for bytes that decode to an
    /// impossible model.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of a contextual bandit"));
        }
        snapshot::decode::<State>(payload)?.into_model()
    }

    fn rows(&self) -> u64 {
        self.arms.iter().fold(0, |sum, arm| sum.saturating_add(arm.sums.rows()))
    }

    /// How numbers are scaled; nothing where they are not.
    fn scales(&self) -> Vec<Scale> {
        if self.config.standardize { self.context.scales() } else { Vec::new() }
    }

    fn arm(&self, number: usize, scales: &[Scale]) -> Option<&Arm> {
        let arm = self.arms.get(number)?;
        Some(arm.solved.get_or_init(|| arm.sums.solve(scales, self.config.l2_reg)))
    }

    /// The units of a batch's rows, by their text, if there is a column of them.
    fn units(&self, batch: &RecordBatch) -> Result<Option<StringArray>> {
        let Some(column) = &self.config.unit_column else { return Ok(None) };
        texts(column, batch).map(Some)
    }

    /// What the model says of a row, with numbers scaled in place.
    fn choice(&self, arms: &[&Arm], scales: &[Scale], row: &mut EncodedRow, drawn: u64) -> Option<Choice> {
        self.scale(scales, &mut row.values);
        self.config.policy.choose(arms, &row.values, &mut Random::new(self.config.seed, mixed(row.key ^ drawn)))
    }

    fn scale(&self, scales: &[Scale], values: &mut [f64]) {
        for (place, value) in values[1..].iter_mut().take(self.context.numbers()).enumerate() {
            match scales.get(place) {
                Some(scale) => *value = scale.apply(*value, f64::INFINITY),
                None if value.is_nan() => *value = 0.0,
                None => {}
            }
        }
    }

    /// What the model says of each row.
    fn choices(&self, features: &RecordBatch) -> Result<Vec<Option<Choice>>> {
        let (units, scales) = (self.units(features)?, self.scales());
        let mut reader = RowReader::new(self.context.schema(), features)?;
        let arms: Vec<&Arm> = (0..self.arms.len()).filter_map(|number| self.arm(number, &scales)).collect();
        // Mixed, so that models which differ by one row draw apart.
        let drawn = mixed(self.rows().wrapping_add(1));
        let mut choices = Vec::with_capacity(features.num_rows());
        for row in 0..features.num_rows() {
            let encoded = encode(&self.context, &mut reader, row, units.as_ref());
            choices.push(encoded.ok().and_then(|mut encoded| self.choice(&arms, &scales, &mut encoded, drawn)));
        }
        Ok(choices)
    }

    /// Learns a row of a batch that can be used.
    fn learn_row(&mut self, reader: &mut RowReader<'_>, row: usize, (action, reward): (usize, f64)) {
        let context = &mut self.context;
        let Ok((slots, numbers)) = reader.read(row, |feature, category| context.slot_or_insert(feature, category))
        else {
            // Rows that cannot be used have been rejected before.
            return;
        };
        if self.config.standardize {
            let arms = &mut self.arms;
            context.count_numbers(numbers, |place, value| {
                arms.iter_mut().for_each(|arm| arm.sums.set_missing(place, value));
            });
        }
        let mut values = vec![0.0; context.width() - 1];
        for ((value, number), moments) in values.iter_mut().zip(numbers).zip(context.moments()) {
            *value = if number.is_nan() { moments.mean() } else { *number };
        }
        slots.iter().filter(|slot| **slot != NO_SLOT).for_each(|slot| values[*slot as usize - 1] = 1.0);
        if action >= self.arms.len() {
            self.arms.resize_with(action + 1, KnownArm::default);
        }
        self.arms[action].sums.add(&values, reward);
        self.arms[action].solved = OnceLock::new();
        if self.config.standardize {
            // All rows are scaled anew.
            self.forget_solved();
        }
    }

    fn forget_solved(&mut self) {
        self.arms.iter_mut().for_each(|arm| arm.solved = OnceLock::new());
    }
}

impl Predictor for ContextualBandit {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn rows_learnt(&self) -> u64 {
        self.rows()
    }

    fn table(&self, which: ModelTable) -> Result<Option<RecordBatch>> {
        match which {
            ModelTable::Weights => self.weights_table().map(Some),
            _ => Ok(None),
        }
    }

    fn outputs(&self, label: &str) -> Vec<Field> {
        Self::output_fields(label)
    }

    fn answers(&self, features: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let (choices, names) = (self.choices(features)?, self.actions.names());
        let actions = choices.iter().map(|choice| names.get(choice.as_ref()?.action));
        let number = |of: fn(&Choice) -> f64| -> ArrayRef {
            Arc::new(choices.iter().map(|choice| choice.as_ref().map(of)).collect::<Float64Array>())
        };
        Ok(vec![
            Arc::new(actions.collect::<StringArray>()),
            number(|choice| choice.reward),
            number(|choice| choice.probability),
        ])
    }
}

impl OnlineModel for ContextualBandit {
    /// What it says of rows is the reward expected of the action that was taken: that is what their rewards are compared with.
    /// Of an action that is new it is 0.
    fn learn(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<LearnReport> {
        let (labels, mut rows) = rewards(features, labels)?;
        let taken = read_actions(&self.config.action_column, features)?;
        for row in (0..taken.len()).filter(|row| taken.is_null(*row)) {
            rows.reject(row, RejectReason::NullAction { column: self.config.action_column.clone() });
        }
        let schema = Arc::clone(self.context.schema());
        let mut reader = RowReader::new(&schema, features)?;
        let scales = self.scales();
        let mut said = vec![0.0; labels.len()];
        for (row, said) in said.iter_mut().enumerate() {
            match encode(&self.context, &mut reader, row, None) {
                Err(reason) => rows.reject(row, reason),
                Ok(mut encoded) if rows.is_accepted(row) => {
                    self.scale(&scales, &mut encoded.values);
                    let number = self.actions.number(taken.value(row));
                    let arm = number.and_then(|number| self.arm(number, &scales));
                    *said = arm.map_or(0.0, |arm| arm.mean(&encoded.values));
                }
                Ok(_) => {}
            }
        }
        for row in 0..labels.len() {
            if !rows.is_accepted(row) {
                continue;
            }
            match self.actions.number_or_insert(taken.value(row)) {
                Some(action) => self.learn_row(&mut reader, row, (action, labels.value(row))),
                None => rows.reject(row, RejectReason::TooManyActions { actions_max: self.config.max_actions }),
            }
        }
        Ok(report(rows, said))
    }

    /// Adds the sums of models that have learnt other rows: it is as if one had learnt all of them, but for numbers that are
    /// missing, and actions and categories past the most that there may be, whose rows or weights are left out.
    fn merge(&mut self, snapshots: &[&[u8]]) -> Result<()> {
        let others = snapshots.iter().map(|bytes| self.restore_copy(bytes)).collect::<Result<Vec<_>>>()?;
        others.iter().for_each(|other| self.adopt(other));
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        snapshot::seal(Self::SNAPSHOT_TAG, &State::of(self))
    }
}
