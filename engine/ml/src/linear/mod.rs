//! Linear models: a weight for each number and each category, and how the weights move.

pub(crate) mod lbfgs;
pub mod logistic_regression;
pub mod optimizer;
