//! The kernels: [`logistic`] and [`softmax`] turn scores into probabilities, [`sparse`], [`dense`], [`product`] and
//! [`matvec`] make them; [`nearest`] finds rows near others, by way of [`lanes`]; [`columns`], [`gram`], [`logistic_loss`],
//! [`histogram`] and [`groups`] are sums over rows, in [`stretches`]; [`gather`] copies rows.

pub mod columns;
pub mod dense;
pub mod gather;
pub mod gram;
pub mod groups;
pub mod histogram;
pub mod lanes;
pub mod logistic;
pub mod logistic_loss;
pub mod matvec;
pub mod nearest;
pub mod product;
pub mod softmax;
pub mod sparse;
pub mod stretches;
