//! Q-learning as a snapshot holds it.

use bincode::{Decode, Encode};

use super::config::QConfig;
use super::linear::LinearState;
use super::table::TableState;
use super::{QLearning, Values};
use crate::actions::Actions;
use crate::error::{MlError, Result};
use crate::feature::dictionary::DictionaryState;
use crate::model::FeatureSchema;

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
pub(super) struct State {
    config: QConfig,
    schema: FeatureSchema,
    actions: DictionaryState,
    rows: u64,
    values: ValuesState,
}

#[derive(Encode, Decode)]
enum ValuesState {
    Tabular(TableState),
    Linear(LinearState),
}

impl State {
    pub(super) fn of(model: &QLearning) -> Self {
        Self {
            config: model.config.clone(),
            schema: FeatureSchema::clone(&model.schema),
            actions: model.actions.state(),
            rows: model.rows,
            values: match &model.values {
                Values::Tabular(table) => ValuesState::Tabular(table.to_state()),
                Values::Linear(linear) => ValuesState::Linear(linear.to_state()),
            },
        }
    }

    /// The model that wrote this.
    ///
    /// # Errors
    /// `CorruptState`; `InvalidOption` and the schema's errors for what decodes to an impossible model.
    pub(super) fn into_model(self) -> Result<QLearning> {
        self.config.validate()?;
        let mut model = QLearning::of_config(self.config, self.schema.restored()?)?;
        model.actions = Actions::restore(&self.actions, model.config.max_actions)?;
        model.rows = self.rows;
        let (config, actions) = (&model.config, model.actions.count());
        model.values = match (&model.values, self.values) {
            (Values::Tabular(_), ValuesState::Tabular(table)) => {
                Values::Tabular(table.into_table(config.max_states, actions, self.rows)?)
            }
            (Values::Linear(_), ValuesState::Linear(linear)) => {
                Values::Linear(linear.into_linear(config, actions, self.rows)?)
            }
            _ => return Err(MlError::corrupt("its values are of another kind than its options say")),
        };
        match &model.values {
            Values::Linear(linear) if linear.schema() != &*model.schema => {
                Err(MlError::corrupt("its features are not those of its states"))
            }
            _ => Ok(model),
        }
    }
}
