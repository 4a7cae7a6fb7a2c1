//! Predictions that only rise with a number, or only fall: LightGBM's `monotone_constraints`, by its basic method, which
//! is scikit-learn's too.
//!
//! A leaf is split by such a number only if the values of its two sides are in the right order, and the middle of them
//! then bounds whatever grows on either side. So each tree is monotone by itself, and so is the sum of all.

use crate::error::Result;
use crate::model::{FeatureKind, FeatureSchema};
use crate::options::invalid;

const OPTION: &str = "monotone_constraints";

/// How predictions may change while a number rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Free,
    Rising,
    Falling,
}

impl Direction {
    /// Whether the left and the right side of a split may have these values.
    pub(super) fn allows(self, [left, right]: [f64; 2]) -> bool {
        match self {
            Self::Free => true,
            Self::Rising => left <= right,
            Self::Falling => left >= right,
        }
    }
}

/// The directions of some features, by their names.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct MonotoneConstraints {
    directions: Vec<(String, Direction)>,
}

impl MonotoneConstraints {
    /// Reads `feature:1, feature:-1`; a feature's name may have colons in it, but no commas.
    ///
    /// # Errors
    /// `InvalidOption`.
    pub(super) fn parse(value: &str) -> Result<Self> {
        let expected = "feature:direction pairs, such as 'price:1, age:-1', with 1, -1 or 0 for no constraint";
        let mut directions: Vec<(String, Direction)> = Vec::new();
        for pair in value.split(',').filter(|_| !value.trim().is_empty()) {
            let (feature, direction) = pair.rsplit_once(':').ok_or_else(|| invalid(OPTION, value, expected))?;
            let direction = match direction.trim() {
                "1" | "+1" => Direction::Rising,
                "-1" => Direction::Falling,
                "0" => Direction::Free,
                _ => return Err(invalid(OPTION, value, expected)),
            };
            if directions.iter().any(|(known, _)| known == feature.trim()) {
                return Err(invalid(OPTION, value, "each feature once"));
            }
            directions.push((feature.trim().to_owned(), direction));
        }
        Ok(Self { directions })
    }

    /// The direction of each feature, numbers first and then categories; empty where all are free.
    ///
    /// # Errors
    /// `InvalidOption` for what is no numeric feature.
    pub(super) fn of_features(&self, schema: &FeatureSchema) -> Result<Vec<Direction>> {
        let numbers = schema.fields().iter().filter(|field| field.kind == FeatureKind::Numeric);
        let names: Vec<&str> = numbers.map(|field| field.name.as_str()).collect();
        let mut directions = vec![Direction::Free; schema.fields().len()];
        for (feature, direction) in &self.directions {
            let place = names.iter().position(|name| name == feature);
            let place = place.ok_or_else(|| invalid(OPTION, feature, "the names of numeric features"))?;
            directions[place] = *direction;
        }
        Ok(if self.constrained().is_some() { directions } else { Vec::new() })
    }

    /// The first feature that is not free.
    pub(super) fn constrained(&self) -> Option<&str> {
        let constrained = self.directions.iter().find(|(_, direction)| *direction != Direction::Free);
        constrained.map(|(feature, _)| feature.as_str())
    }
}

/// What the values below a node have to lie between.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    low: f64,
    high: f64,
}

impl Bounds {
    pub(super) const NONE: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY };

    /// The nearest value within.
    pub(super) fn nearest(self, value: f64) -> f64 {
        value.max(self.low).min(self.high)
    }

    /// Those of the left and of the right side of a split, given their values.
    pub(super) fn split(self, direction: Direction, [left, right]: [f64; 2]) -> [Self; 2] {
        let middle = (left + right) / 2.0;
        let (below, above) = (Self { high: middle, ..self }, Self { low: middle, ..self });
        match direction {
            Direction::Free => [self, self],
            Direction::Rising => [below, above],
            Direction::Falling => [above, below],
        }
    }
}
