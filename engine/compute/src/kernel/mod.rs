//! The kernels: [`logistic`] turns a score into a probability, [`sparse`] makes the score.

pub mod logistic;
pub mod sparse;
