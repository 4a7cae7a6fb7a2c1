//! The kernels: [`logistic`] turns a score into a probability, [`sparse`] and [`dense`] make the score.

pub mod dense;
pub mod logistic;
pub mod sparse;
