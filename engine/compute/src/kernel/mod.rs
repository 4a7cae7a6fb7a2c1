//! The kernels: [`logistic`] and [`softmax`] turn scores into probabilities, [`sparse`] and [`dense`] make them.

pub mod dense;
pub mod logistic;
pub mod softmax;
pub mod sparse;
