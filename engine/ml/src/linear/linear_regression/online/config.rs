//! What a user can set about an online linear regression: the loss, and what all online linear models share.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use super::OnlineLinearRegression;
use crate::error::Result;
use crate::linear::online::{OnlineLinearConfig, SharedOptions};
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// Standard deviations past which Huber's loss is linear. With normal errors it then needs 5% more rows than the
/// squared loss (Huber 1964, of errors of a known deviation).
const HUBER_DELTA: f64 = 1.35;

/// What is minimised, row by row, of a row's error.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(super) enum Loss {
    /// Half its square.
    Squared,
    /// The same up to `delta`, linear past it.
    Huber {
        /// In the label's standard deviations; in its unit without `standardize`.
        delta: f64,
    },
}

impl Loss {
    /// The derivative by the error.
    pub(super) fn derivative(self, error: f64) -> f64 {
        match self {
            Self::Squared => error,
            Self::Huber { delta } => error.clamp(-delta, delta),
        }
    }

    /// # Errors
    /// `InvalidOption` for a `huber_delta` out of range.
    pub(super) fn validate(self) -> Result<()> {
        match self {
            Self::Squared => Ok(()),
            Self::Huber { delta } => in_range("huber_delta", delta, 1e-9, 1e15),
        }
    }
}

/// The settings of an [`OnlineLinearRegression`].
#[derive(Debug, Clone, Copy)]
pub(super) struct OnlineRegressionConfig {
    pub(super) loss: Loss,
    pub(super) linear: OnlineLinearConfig,
}

impl OnlineRegressionConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range, or would have no effect
    /// because of another option.
    pub(super) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let (mut linear, mut is_huber, mut delta) = (OnlineLinearConfig::default(), false, HUBER_DELTA);
        for (option, value) in options {
            match option.as_str() {
                "loss" => is_huber = parse_loss(value)?,
                "huber_delta" => delta = parse("huber_delta", value, "a number")?,
                _ if linear.set(option, value)? == SharedOptions::Set => {}
                _ => return Err(unknown(OnlineLinearRegression::MODEL_TYPE, option, &Self::option_docs())),
            }
        }
        let loss = if is_huber { Loss::Huber { delta } } else { Loss::Squared };
        linear.validate()?;
        loss.validate()?;
        for (option, value) in options {
            linear.check_has_effect(option, value)?;
        }
        match options.get("huber_delta") {
            Some(value) if !is_huber => Err(invalid("huber_delta", value, "loss = 'huber' beside it")),
            _ => Ok(Self { loss, linear }),
        }
    }

    /// The options in the order to show them.
    pub(super) fn option_docs() -> Vec<OptionDoc> {
        let mut docs = vec![
            OptionDoc::new("loss", "squared or huber", &"squared", "what errors are minimised by"),
            OptionDoc::new(
                "huber_delta",
                "number",
                &HUBER_DELTA,
                "huber: errors past which the loss is linear, in the label's standard deviations if it is standardised",
            ),
        ];
        docs.extend(OnlineLinearConfig::option_docs());
        // What the option does here is more than elsewhere.
        for doc in docs.iter_mut().filter(|doc| doc.name == "standardize") {
            doc.doc = "centre and scale numbers and the label by the rows so far";
        }
        docs
    }
}

/// Whether the loss is Huber's.
fn parse_loss(value: &str) -> Result<bool> {
    match value.trim() {
        "squared" => Ok(false),
        "huber" => Ok(true),
        _ => Err(invalid("loss", value, "squared or huber")),
    }
}
