//! A contextual bandit as a snapshot holds it, and how two of them become one.

use std::sync::OnceLock;

use bincode::{Decode, Encode};

use super::arms::ArmSums;
use super::config::BanditConfig;
use super::{ContextualBandit, KnownArm};
use crate::actions::Actions;
use crate::error::{MlError, Result};
use crate::feature::context::ContextState;
use crate::feature::dictionary::DictionaryState;
use crate::model::FeatureSchema;
use crate::snapshot;

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
pub(super) struct State {
    config: BanditConfig,
    schema: FeatureSchema,
    context: ContextState,
    actions: DictionaryState,
    arms: Vec<ArmSums>,
}

impl State {
    pub(super) fn of(model: &ContextualBandit) -> Self {
        Self {
            config: model.config.clone(),
            schema: model.schema.clone(),
            context: model.context.state(),
            actions: model.actions.state(),
            arms: model.arms.iter().map(|arm| arm.sums.clone()).collect(),
        }
    }

    /// The model that wrote this.
    ///
    /// # Errors
    /// `CorruptState`; `InvalidOption` and the schema's errors for what decodes to an impossible model.
    pub(super) fn into_model(self) -> Result<ContextualBandit> {
        self.config.validate()?;
        let rows = self.arms.iter().try_fold(0_u64, |sum, arm| sum.checked_add(arm.rows()));
        let rows = rows.ok_or(MlError::corrupt("its row count overflows"))?;
        let mut model = ContextualBandit::of_config(self.config, self.schema.restored()?)?;
        let context = self.context.into_context(model.config.max_categories, rows)?;
        if context.schema() != model.context.schema() {
            return Err(MlError::corrupt("its features are not those that predictions read"));
        }
        model.context = context;
        model.actions = Actions::restore(&self.actions, model.config.max_actions)?;
        let (moments, width) = (model.context.moments(), model.context.width());
        if self.arms.len() != model.actions.count() || !self.arms.iter().all(|arm| arm.is_plausible(moments, width)) {
            return Err(MlError::corrupt("its sums do not fit the actions and features"));
        }
        let known = |sums| KnownArm { sums, solved: OnceLock::new() };
        model.arms = self.arms.into_iter().map(known).collect();
        Ok(model)
    }
}

impl ContextualBandit {
    /// A model like this one.
    ///
    /// # Errors
    /// `MergeMismatch`, or those of [`Self::restore`].
    pub(super) fn restore_copy(&self, bytes: &[u8]) -> Result<Self> {
        if snapshot::open(bytes)?.0 != Self::SNAPSHOT_TAG {
            return Err(MlError::MergeMismatch { what: "model type" });
        }
        let copy = Self::restore(bytes)?;
        if copy.config != self.config {
            return Err(MlError::MergeMismatch { what: "options" });
        }
        if copy.schema != self.schema {
            return Err(MlError::MergeMismatch { what: "features" });
        }
        Ok(copy)
    }

    /// Adds another's rows.
    pub(super) fn adopt(&mut self, other: &Self) {
        // Numbers that one of the two has never seen are at the other's mean, as where they are missing.
        if self.config.standardize {
            for (place, (own, others)) in self.context.moments().iter().zip(other.context.moments()).enumerate() {
                if own.count() == 0 && others.count() > 0 {
                    self.arms.iter_mut().for_each(|arm| arm.sums.set_missing(place, others.mean()));
                }
            }
        }
        let before = self.context.moments().to_vec();
        let slots = self.context.merge(&other.context);
        for (name, arm) in other.actions.names().iter().zip(&other.arms) {
            let Some(number) = self.actions.number_or_insert(name) else { continue };
            if number >= self.arms.len() {
                self.arms.resize_with(number + 1, KnownArm::default);
            }
            let mut sums = arm.sums.clone();
            for (place, (own, others)) in before.iter().zip(other.context.moments()).enumerate() {
                if self.config.standardize && own.count() > 0 && others.count() == 0 {
                    sums.set_missing(place, own.mean());
                }
            }
            self.arms[number].sums.merge(&sums, &slots, self.context.width());
        }
        self.forget_solved();
    }
}
