//! About how curved the mean loss of a linear model is, so that a search for its minimum takes tens of steps and
//! not hundreds.
//!
//! The Hessian of such a loss is a sum of the products of the features, each row's with a weight of its own that
//! changes little over a search. With one weight for all rows it is known in advance. Rare categories, and
//! features that nearly depend on each other, are then as quick to find as any.

use crate::batch::{FitControl, TrainingSet};
use crate::error::Result;
use crate::linear::normal_equations::{Factor, NormalEquations};
use crate::linear::sums::Sums;

/// Weights up to which the products of each two of them are summed up: 2 MB, for each of up to 16 stretches.
const WEIGHTS_SUMMED_MAX: usize = 512;

/// Features up to which a row's products, half their square, cost about as much as thirty steps of a search.
const FEATURES_SUMMED_MAX: usize = 128;

/// The part of itself that is added to each weight's curvature, so that features which depend on each other
/// leave a Hessian that has an inverse.
const ADDED: f64 = 1e-8;

/// What is added to a mean loss: `l1` times the magnitude of each weight, and half `l2` times its square.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Penalty {
    pub(crate) l1: f64,
    pub(crate) l2: f64,
}

/// An approximation of the inverse Hessian.
#[derive(Debug, Clone)]
pub(crate) enum Preconditioner {
    /// One over the curvature along each weight alone.
    Diagonal(Vec<f64>),
    /// Of all weights together.
    Full(Factor),
    /// As if the function were as curved along all weights alike; for a search that needs none.
    Identity,
}

/// Whether the products of each two weights are few enough to be summed up over these rows.
pub(crate) fn are_products_summed(set: &TrainingSet) -> bool {
    set.schema().fields().len() <= FEATURES_SUMMED_MAX && set.slots() <= WEIGHTS_SUMMED_MAX
}

/// The factor of a Hessian, given without the penalty on each weight but the intercept.
pub(crate) fn positive(mut hessian: Vec<f64>, width: usize, l2: f64) -> Factor {
    for weight in 0..width {
        let own = &mut hessian[weight * width + weight];
        *own += ADDED * *own + if weight == 0 { 0.0 } else { l2 };
        if *own <= 0.0 || !own.is_finite() {
            *own = 1.0;
        }
    }
    Factor::new(&NormalEquations { width, products: hessian, targets: Vec::new(), target_squares: 0.0 }, 0.0)
}

impl Preconditioner {
    /// Of a loss whose rows have this curvature along what the model says of them, times the number of rows, with
    /// a penalty on each weight but the intercept.
    ///
    /// # Errors
    /// `Stopped`.
    pub(crate) fn new(set: &TrainingSet, control: &FitControl, curvature: f64, penalty: &Penalty) -> Result<Self> {
        // A step under an L1 penalty is cut off at 0 weight by weight, which bends what goes along several.
        let Penalty { l1, l2 } = *penalty;
        if l1 > 0.0 || !are_products_summed(set) {
            let squares = set.mean_squares(control)?;
            return Ok(Self::Diagonal(squares.iter().map(|square| inverse(curvature * square + l2)).collect()));
        }
        // The numbers are those that the weights are multiplied with, so no mean is taken off.
        let mut products = Sums::of(set, true, 0.0, control)?.with_intercept();
        products.iter_mut().for_each(|product| *product *= curvature / set.rows() as f64);
        Ok(Self::Full(positive(products, set.slots(), l2)))
    }

    /// Multiplies the slots of one linear model, intercept first, by the inverse.
    pub(crate) fn apply(&self, vector: &mut [f64]) {
        match self {
            Self::Diagonal(inverses) => vector.iter_mut().zip(inverses).for_each(|(value, inverse)| *value *= inverse),
            Self::Full(factor) => factor.solve_in_place(vector),
            Self::Identity => {}
        }
    }
}

fn inverse(curvature: f64) -> f64 {
    if curvature > 0.0 { (1.0 / curvature).min(f64::MAX) } else { 1.0 }
}
