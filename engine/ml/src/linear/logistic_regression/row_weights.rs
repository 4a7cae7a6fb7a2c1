//! What a row of each class weighs along a stream: so many times its step's size.

use bincode::{Decode, Encode};

use crate::class_weights::ClassWeights;
use crate::error::Result;
use crate::model::ClassCounts;
use crate::options::in_range;

/// The weight of a row by its class.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(super) enum RowWeights {
    /// Of a `false` and of a `true` row.
    Given([f64; 2]),
    /// Such that the rows of both classes so far would weigh the same: those of the rarer one more than 1. The first
    /// rows weigh what they did then, so it evens out along the stream.
    Balanced,
}

impl RowWeights {
    /// All rows weigh the same.
    pub(super) const EVEN: Self = Self::Given([1.0, 1.0]);

    /// # Errors
    /// `InvalidOption` for a class that a boolean has not.
    pub(super) fn new(weights: &ClassWeights) -> Result<Self> {
        let names = ["false", "true"].map(str::to_owned);
        weights.check_classes(&names)?;
        if weights.is_auto() {
            return Ok(Self::Balanced);
        }
        let given = weights.of_rows(&names, &[1, 1]);
        Ok(Self::Given([given[0], given[1]]))
    }

    /// The weight of a row with this label, which `classes` has counted already.
    pub(super) fn of(self, label: bool, classes: &ClassCounts) -> f64 {
        match self {
            Self::Given([negative, positive]) => {
                if label {
                    positive
                } else {
                    negative
                }
            }
            Self::Balanced => {
                let rows = if label { classes.positive } else { classes.negative };
                classes.rows() as f64 / (2.0 * rows.max(1) as f64)
            }
        }
    }

    /// # Errors
    /// `InvalidOption` for a weight out of range.
    pub(super) fn validate(self) -> Result<()> {
        match self {
            Self::Given(weights) => {
                weights.into_iter().try_for_each(|weight| in_range("class_weights", weight, 1e-9, 1e9))
            }
            Self::Balanced => Ok(()),
        }
    }
}
