//! The kernels: [`logistic`] and [`softmax`] turn scores into probabilities, [`sparse`], [`dense`] and [`product`] make
//! them; [`nearest`] finds rows near others, by way of [`lanes`].

pub mod dense;
pub mod lanes;
pub mod logistic;
pub mod nearest;
pub mod product;
pub mod softmax;
pub mod sparse;
