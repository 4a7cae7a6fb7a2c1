//! What reading any model's options takes: parsing, ranges, and errors that say what would work.

use std::str::FromStr;

use crate::error::{MlError, Result};
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
