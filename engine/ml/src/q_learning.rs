//! Q-learning: what each action is worth in a state, with all that follows if one goes on by the best actions, learnt from
//! transitions that any policy has made (Watkins and Dayan 1992).
//!
//! A row is a transition: a state, which is the features, the action that was taken, its reward, which is the label, and the
//! next state, whose columns are called as the features with a prefix. The value of the action moves towards
//! `r + γ max Q(s', a')` over the actions known by then, or towards `r` where the row is the last of its episode. Values are a
//! [`table`] or a [`linear`] function.
//!
//! Rows are learnt one by one in the order given, and two models have no average: see [`OnlineModel::merge`].

mod config;
mod linear;
mod state;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};

use self::config::{LearnRate, QConfig, QFunction};
use self::linear::Linear;
use self::state::State;
use self::table::{Table, add_to_name};
use crate::actions::{Actions, check_column, column_named, read_actions, report, rewards, without};
use crate::error::{MlError, Result};
use crate::feature::context::Context;
use crate::feature::row_reader::RowReader;
use crate::model::{Feature, FeatureKind, FeatureSchema, LearnReport, OnlineModel, RejectReason};
use crate::options::invalid;
use crate::predictor::Predictor;
use crate::registry::OptionDoc;
use crate::snapshot;

/// The values of actions in states; see the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct QLearning {
    config: QConfig,
    /// The features, by which a state is known. Shared, so that a batch's columns can name them while the model changes.
    schema: Arc<FeatureSchema>,
    /// The same features of the next state.
    next_schema: Arc<FeatureSchema>,
    actions: Actions,
    rows: u64,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    Tabular(Table),
    Linear(Linear),
}

/// A transition but for its states.
struct Step {
    action: usize,
    reward: f64,
    is_last: bool,
}

impl QLearning {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = "q_learning";

    pub(crate) const SNAPSHOT_TAG: u8 = 81;

    /// A model that has learnt nothing. The schema may have the columns that only learning reads, which are no features.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range, or would have no effect because
    /// of another option, and for numbers in a table's states; `NoFeatures`.
    pub(crate) fn new(options: &BTreeMap<String, String>, schema: &FeatureSchema) -> Result<Self> {
        let config = QConfig::from_options(options)?;
        let names: Vec<_> = schema.fields().iter().map(|field| field.name.as_str()).collect();
        let others = config.learning_columns(&names);
        let schema = without(schema, |column| others.iter().any(|other| other == column))?;
        Self::of_config(config, schema)
    }

    fn of_config(config: QConfig, schema: FeatureSchema) -> Result<Self> {
        let next =
            |feature: &Feature| Feature { name: format!("{}{}", config.next_prefix, feature.name), kind: feature.kind };
        let next_schema = FeatureSchema::new(schema.fields().iter().map(next).collect())?;
        let values = match config.function {
            QFunction::Tabular => {
                check_categories(&schema)?;
                Values::Tabular(Table::new(config.max_states))
            }
            QFunction::Linear => {
                Values::Linear(Linear::new(Context::new(schema.clone(), config.max_categories), config.standardize))
            }
        };
        let actions = Actions::new(config.max_actions);
        Ok(Self { config, schema: Arc::new(schema), next_schema: Arc::new(next_schema), actions, rows: 0, values })
    }

    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        QConfig::option_docs()
    }

    /// The columns that only learning reads, of those that there are.
    ///
    /// # Errors
    /// As [`Self::new`], of options; `InvalidOption` where a column is missing.
    pub(crate) fn learning_columns(options: &BTreeMap<String, String>, columns: &[&str]) -> Result<Vec<String>> {
        let config = QConfig::from_options(options)?;
        check_column("action_column", &config.action_column, columns)?;
        if let Some(terminal) = &config.terminal_column {
            check_column("terminal_column", terminal, columns)?;
        }
        let others = config.learning_columns(columns);
        let is_other = |column: &str| others.iter().any(|other| other == column);
        for feature in columns.iter().filter(|column| !is_other(column)) {
            if !is_other(&format!("{}{feature}", config.next_prefix)) {
                let expected =
                    format!("a prefix with which each feature has a column of the next state; '{feature}' has none");
                return Err(invalid("next_prefix", &config.next_prefix, &expected));
            }
        }
        Ok(others)
    }

    /// The columns that it adds to rows.
    pub(crate) fn output_fields(label: &str) -> Vec<Field> {
        vec![
            Field::new("predicted_action", DataType::Utf8, true),
            Field::new(format!("predicted_{label}"), DataType::Float64, true),
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
            return Err(MlError::corrupt("its model tag is not that of Q-learning"));
        }
        snapshot::decode::<State>(payload)?.into_model()
    }

    /// The best action in each row's state, and its value; none in a state that a table does not know.
    fn choices(&self, features: &RecordBatch) -> Result<Vec<Option<(usize, f64)>>> {
        let mut reader = RowReader::new(&self.schema, features)?;
        let actions = self.actions.count();
        let mut name = String::new();
        let of_row = |row: usize| match &self.values {
            Values::Tabular(table) => {
                let state = table.state(state_name(&mut reader, row, &mut name))?;
                table.best(Some(state), actions)
            }
            Values::Linear(linear) => {
                let state = linear.read(&mut reader, row).ok()?;
                linear.best(&linear.encode(&state), actions)
            }
        };
        Ok((0..features.num_rows()).map(of_row).collect())
    }

    /// Whether each row is the last of its episode: where the column of that is true.
    fn are_last(&self, features: &RecordBatch) -> Result<Option<BooleanArray>> {
        let Some(column) = &self.config.terminal_column else { return Ok(None) };
        let array = column_named(column, features)?;
        let booleans = array.as_boolean_opt().ok_or_else(|| MlError::UnsupportedFeature {
            column: column.clone(),
            data_type: array.data_type().clone(),
            hint: "terminal_column is a BOOLEAN: write a condition, such as done = 1",
        })?;
        Ok(Some(booleans.clone()))
    }

    /// What an action was worth in a row's state, by now.
    ///
    /// # Errors
    /// Why the row cannot be used.
    fn value(
        &self,
        (now, next): (&mut RowReader<'_>, Option<&mut RowReader<'_>>),
        row: usize,
        action: Option<usize>,
    ) -> std::result::Result<f64, RejectReason> {
        match &self.values {
            Values::Tabular(table) => {
                let state = table.state(state_name(now, row, &mut String::new()));
                Ok(action.map_or(0.0, |action| table.value(state, action)))
            }
            Values::Linear(linear) => {
                let state = linear.read(now, row)?;
                if let Some(next) = next {
                    linear.read(next, row)?;
                }
                Ok(action.map_or(0.0, |action| linear.value(&linear.encode(&state), action)))
            }
        }
    }

    /// The number of the action of a row that is to be learnt, if there is room for it and for the row's state.
    ///
    /// # Errors
    /// `TooManyActions` or `TooManyStates`; the row then leaves no trace.
    fn admit(&mut self, now: &mut RowReader<'_>, row: usize, action: &str) -> std::result::Result<usize, RejectReason> {
        let too_many = RejectReason::TooManyActions { actions_max: self.config.max_actions };
        if !self.actions.has_room(action) {
            return Err(too_many);
        }
        if let Values::Tabular(table) = &mut self.values {
            let state = table.state_or_insert(state_name(now, row, &mut String::new()));
            state.ok_or(RejectReason::TooManyStates { states_max: self.config.max_states })?;
        }
        self.actions.number_or_insert(action).ok_or(too_many)
    }

    /// Learns a row that can be used.
    ///
    /// # Errors
    /// Why it cannot, which is known of all rows before.
    fn learn_row(
        &mut self,
        (now, next): (&mut RowReader<'_>, &mut RowReader<'_>),
        row: usize,
        step: &Step,
    ) -> std::result::Result<(), RejectReason> {
        let (actions, discount) = (self.actions.count(), self.config.discount);
        let target = |best: Option<(usize, f64)>| step.reward + discount * best.map_or(0.0, |(_, value)| value);
        match &mut self.values {
            Values::Tabular(table) => {
                let mut name = String::new();
                let too_many = RejectReason::TooManyStates { states_max: self.config.max_states };
                let state = table.state(state_name(now, row, &mut name)).ok_or(too_many)?;
                let target = if step.is_last {
                    step.reward
                } else {
                    let next = table.state(state_name(next, row, &mut name));
                    target(table.best(next, actions))
                };
                table.learn(state, step.action, target, self.config.learn_rate);
            }
            Values::Linear(linear) => {
                let state = linear.read_learnt(now, row)?;
                let state = linear.encode(&state);
                let target = if step.is_last {
                    step.reward
                } else {
                    let next = linear.read(next, row)?;
                    target(linear.best(&linear.encode(&next), actions))
                };
                let LearnRate::Constant(rate) = self.config.learn_rate else { return Ok(()) };
                linear.learn(&state, step.action, target, rate);
            }
        }
        Ok(())
    }
}

/// Checks that a table can tell states apart.
fn check_categories(schema: &FeatureSchema) -> Result<()> {
    match schema.fields().iter().find(|field| field.kind != FeatureKind::Categorical) {
        None => Ok(()),
        Some(field) => {
            let expected = format!("linear, as the feature '{}' is a number; or cast it to VARCHAR", field.name);
            Err(invalid("q_function", "tabular", &expected))
        }
    }
}

/// The name of a row's state, of which all features are categories.
fn state_name<'a>(reader: &mut RowReader<'_>, row: usize, name: &'a mut String) -> &'a str {
    name.clear();
    // Categories can always be used.
    let _ = reader.read(row, |_, category| {
        add_to_name(name, category);
        0
    });
    name
}

impl Predictor for QLearning {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn rows_learnt(&self) -> u64 {
        self.rows
    }

    fn outputs(&self, label: &str) -> Vec<Field> {
        Self::output_fields(label)
    }

    fn answers(&self, features: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let (choices, names) = (self.choices(features)?, self.actions.names());
        let actions = choices.iter().map(|choice| names.get(choice.as_ref()?.0));
        let values = choices.iter().map(|choice| choice.map(|(_, value)| value));
        Ok(vec![Arc::new(actions.collect::<StringArray>()), Arc::new(values.collect::<Float64Array>())])
    }
}

impl OnlineModel for QLearning {
    /// What it says of rows is the value of the action that was taken.
    fn learn(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<LearnReport> {
        let (labels, mut rows) = rewards(features, labels)?;
        let taken = read_actions(&self.config.action_column, features)?;
        for row in (0..taken.len()).filter(|row| taken.is_null(*row)) {
            rows.reject(row, RejectReason::NullAction { column: self.config.action_column.clone() });
        }
        let are_last = self.are_last(features)?;
        let is_last = |row: usize| are_last.as_ref().is_some_and(|last| last.is_valid(row) && last.value(row));
        let (schema, next_schema) = (Arc::clone(&self.schema), Arc::clone(&self.next_schema));
        let (mut now, mut next) = (RowReader::new(&schema, features)?, RowReader::new(&next_schema, features)?);
        let mut said = vec![0.0; labels.len()];
        for (row, said) in said.iter_mut().enumerate() {
            let action = if taken.is_valid(row) { self.actions.number(taken.value(row)) } else { None };
            // Nothing comes after the last row, so its next state may be anything.
            let next = (!is_last(row)).then_some(&mut next);
            match self.value((&mut now, next), row, action) {
                Ok(value) => *said = value,
                Err(reason) => rows.reject(row, reason),
            }
        }
        for row in 0..labels.len() {
            if !rows.is_accepted(row) {
                continue;
            }
            let learnt = self.admit(&mut now, row, taken.value(row)).and_then(|action| {
                let step = Step { action, reward: labels.value(row), is_last: is_last(row) };
                self.learn_row((&mut now, &mut next), row, &step)
            });
            match learnt {
                Ok(()) => self.rows = self.rows.saturating_add(1),
                Err(reason) => rows.reject(row, reason),
            }
        }
        Ok(report(rows, said))
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        snapshot::seal(Self::SNAPSHOT_TAG, &State::of(self))
    }
}
