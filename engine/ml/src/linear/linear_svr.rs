//! Linear support vector regression: what a model says of a row is to be within a tube around its label, and only what is
//! beyond counts.
//!
//! The model itself is that of a linear regression: an intercept, plus a weight times each number, plus the weight of
//! each feature's category. What differs is the fit (`batch`), which rows far away pull less than by their squares.

pub(crate) mod batch;
pub(crate) mod config;
#[cfg(test)]
mod tests;

/// The name in `CREATE MODEL`.
pub(crate) const MODEL_TYPE: &str = "linear_svr";

pub(crate) const SNAPSHOT_TAG: u8 = 22;
