//! Linear models: a weight for each number and each category, and how the weights move.

pub(crate) mod lbfgs;
pub(crate) mod linear_regression;
pub(crate) mod linear_svm;
pub(crate) mod linear_svr;
pub mod logistic_regression;
pub(crate) mod mean_loss;
pub(crate) mod multinomial_regression;
pub(crate) mod newton;
pub(crate) mod normal_equations;
pub(crate) mod online;
pub mod optimizer;
pub(crate) mod preconditioner;
pub(crate) mod sums;
pub(crate) mod weights;
