//! What reading any model's options takes: parsing, ranges, and errors that say what would work.

use std::str::FromStr;

use crate::error::{MlError, Result};
use crate::feature::dictionary::NO_SLOT;
use crate::model::{FeatureKind, FeatureSchema};
use crate::registry::OptionDoc;

/// A value that is written as `expected`.
pub(crate) fn parse<T: FromStr>(option: &'static str, value: &str, expected: &str) -> Result<T> {
    value.trim().parse().map_err(|_| invalid(option, value, expected))
}

/// Checks that a number is within its range, ends included.
pub(crate) fn in_range(option: &'static str, value: f64, min: f64, max: f64) -> Result<()> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(invalid(option, &value.to_string(), &format!("a number from {min} to {max}")))
}

pub(crate) fn invalid(option: &'static str, value: &str, expected: &str) -> MlError {
    MlError::InvalidOption { option, value: value.to_owned(), expected: expected.to_owned() }
}

pub(crate) fn unknown(model_type: &'static str, option: &str, docs: &[OptionDoc]) -> MlError {
    let valid: Vec<_> = docs.iter().map(|doc| doc.name).collect();
    MlError::UnknownOption { model_type, option: option.to_owned(), valid: valid.join(", ") }
}

/// Checks that every weight that a linear model of this schema may need has a slot number.
///
/// # Errors
/// `InvalidOption` for `max_categories`.
pub(crate) fn check_slots(max_categories: u32, schema: &FeatureSchema) -> Result<()> {
    let categorical = schema.count(FeatureKind::Categorical) as u64;
    // Beside its categories, a feature has a slot for NULL and one for the overflow.
    let slots_max = 1 + schema.count(FeatureKind::Numeric) as u64 + categorical * (u64::from(max_categories) + 2);
    if slots_max < u64::from(NO_SLOT) {
        return Ok(());
    }
    let expected =
        format!("less than {} for {categorical} categorical features", u64::from(NO_SLOT) / categorical.max(1));
    Err(invalid("max_categories", &max_categories.to_string(), &expected))
}
