//! Finds the minimum of the mean loss of a linear model by Newton's method, where weights are few enough for a Hessian.
//!
//! The losses it is for have a second derivative by what the model says of a row but for some points, and between these
//! it is constant: so the Hessian changes by the rows that have passed such a point since the last step, which soon are
//! few (Mangasarian 2002, "A finite Newton method for classification"), and the search ends after some steps.

use tidemill_compute::kernel::dense::{add_four_scaled, add_scaled, dot};

use super::lbfgs::{Minimum, Objective, SearchConfig, largest};
use super::mean_loss::{MeanLoss, score};
use super::preconditioner::{Preconditioner, are_products_summed, positive};
use crate::batch::history::History;
use crate::batch::{Chunk, Row, TrainingSet, map_numbered_shards};
use crate::error::Result;

/// The part of what a step is to take off by its slope that it must take off (Nocedal and Wright 2006, (3.4)).
const DESCENT: f64 = 1e-4;

/// The shortest step that is tried, as a part of Newton's.
const LENGTH_MIN: f64 = 1e-9;

/// The part of a loss, a sum over many rows, that its rounding may come to.
const LOSS_DIGITS: f64 = 1e-13;

/// Whether the weights of a model for these rows are few enough.
pub(crate) fn is_fast_enough(set: &TrainingSet) -> bool {
    are_products_summed(set)
}

/// The minimum of a convex mean loss, without an L1 penalty. `curvature` is the second derivative of its `row_loss`.
///
/// # Errors
/// `Stopped`.
pub(crate) fn minimize<F, C>(
    loss: &MeanLoss<'_, F>,
    curvature: C,
    start: Vec<f64>,
    config: &SearchConfig,
) -> Result<Minimum>
where
    F: Fn(usize, f64, f64) -> (f64, f64) + Sync,
    C: Fn(usize, f64, f64) -> f64 + Sync,
{
    let mut hessian = Hessian::new(loss);
    let mut gradient = vec![0.0; start.len()];
    let first = loss.evaluate(&start, &mut gradient)?;
    let history = History::default();
    let mut here = Minimum { point: start, loss: first, iterations: 0, converged: false, history };
    while here.iterations < config.max_iterations {
        if largest(&gradient) <= config.tolerance {
            here.converged = true;
            break;
        }
        hessian.update(loss, &curvature, &here.point)?;
        let Some((point, value)) = step(loss, &here, &mut gradient, &hessian)? else {
            // Only rounding is left to gain.
            here.converged = true;
            break;
        };
        let progress = (here.loss - value) / here.loss.abs().max(f64::MIN_POSITIVE);
        here.history.push(value);
        here = Minimum { point, loss: value, iterations: here.iterations + 1, ..here };
        if config.min_rel_progress > 0.0 && progress < config.min_rel_progress {
            here.converged = true;
            break;
        }
    }
    Ok(here)
}

/// The inverse Hessian of a mean loss at a point, for a search that begins there.
///
/// # Errors
/// `Stopped`.
pub(crate) fn preconditioner<F, C>(loss: &MeanLoss<'_, F>, curvature: C, point: &[f64]) -> Result<Preconditioner>
where
    F: Fn(usize, f64, f64) -> (f64, f64) + Sync,
    C: Fn(usize, f64, f64) -> f64 + Sync,
{
    let mut hessian = Hessian::new(loss);
    hessian.update(loss, &curvature, point)?;
    Ok(hessian.inverse(loss.l2))
}

/// The next point and the loss there, whose gradient replaces that of `here`; none where no step lowers the loss.
fn step<F: Fn(usize, f64, f64) -> (f64, f64) + Sync>(
    loss: &MeanLoss<'_, F>,
    here: &Minimum,
    gradient: &mut Vec<f64>,
    hessian: &Hessian,
) -> Result<Option<(Vec<f64>, f64)>> {
    let direction = hessian.descent(gradient, loss.l2);
    let slope = dot(&direction, gradient);
    let mut next = vec![0.0; gradient.len()];
    let mut length = 1.0;
    // What is less is lost in the rounding of the loss.
    let rounding = f64::EPSILON * here.loss.abs();
    if -slope <= rounding {
        return last_step(loss, here, gradient, &direction);
    }
    while length > LENGTH_MIN && -slope * length > rounding {
        let mut point = here.point.clone();
        add_scaled(&mut point, length, &direction);
        let value = loss.evaluate(&point, &mut next)?;
        if value < here.loss && value <= here.loss + DESCENT * length * slope {
            std::mem::swap(gradient, &mut next);
            return Ok(Some((point, value)));
        }
        // Where the parabola through the two losses with the slope is least.
        let best = -slope * length * length / (2.0 * (value - here.loss - length * slope));
        length = if best.is_finite() { best.clamp(0.1 * length, 0.5 * length) } else { 0.1 * length };
    }
    Ok(None)
}

/// Newton's step, where the loss is as low as its digits tell: taken while it leaves less than half of the gradient.
fn last_step<F: Fn(usize, f64, f64) -> (f64, f64) + Sync>(
    loss: &MeanLoss<'_, F>,
    here: &Minimum,
    gradient: &mut Vec<f64>,
    direction: &[f64],
) -> Result<Option<(Vec<f64>, f64)>> {
    let (mut point, mut next) = (here.point.clone(), vec![0.0; gradient.len()]);
    add_scaled(&mut point, 1.0, direction);
    let value = loss.evaluate(&point, &mut next)?;
    let is_as_low = value <= here.loss + LOSS_DIGITS * here.loss.abs();
    if is_as_low && largest(&next) < 0.5 * largest(gradient) {
        std::mem::swap(gradient, &mut next);
        return Ok(Some((point, value)));
    }
    Ok(None)
}

/// The second derivatives of a mean loss, but for its penalty.
struct Hessian {
    width: usize,
    /// Rows of `width`, of which those up to the diagonal are used.
    products: Vec<f64>,
    /// The curvature of each row that is in them.
    curvatures: Vec<f64>,
}

impl Hessian {
    fn new<F>(loss: &MeanLoss<'_, F>) -> Self {
        let width = loss.set.slots();
        let rows = loss.chunks.iter().map(Chunk::rows).sum();
        Self { width, products: vec![0.0; width * width], curvatures: vec![0.0; rows] }
    }

    /// Makes it that of a point: adds for each row the change of its curvature.
    fn update<F, C>(&mut self, loss: &MeanLoss<'_, F>, curvature: &C, point: &[f64]) -> Result<()>
    where
        F: Fn(usize, f64, f64) -> (f64, f64) + Sync,
        C: Fn(usize, f64, f64) -> f64 + Sync,
    {
        let (set, control, known) = (loss.set, loss.control, &self.curvatures);
        let parts = map_numbered_shards(loss.chunks, control, |first, chunks| {
            let mut changes = Changes::new(self.width, set.numeric());
            let mut curvatures = Vec::new();
            for chunk in chunks.iter().take_while(|_| !control.is_stopped()) {
                for row in chunk.iter() {
                    let number = first + curvatures.len();
                    let own = curvature(number, score(&row, point), row.label);
                    let change = own - known[number];
                    if change != 0.0 {
                        changes.push(&row, change);
                    }
                    curvatures.push(own);
                }
            }
            (changes.into_products(), curvatures)
        })?;
        let (products, curvatures): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        products.iter().flatten().for_each(|part| add_scaled(&mut self.products, 1.0, part));
        self.curvatures = curvatures.concat();
        Ok(())
    }

    /// The inverse of it, with the penalty.
    fn inverse(&self, l2: f64) -> Preconditioner {
        let mut products = self.products.clone();
        for row in 0..self.width {
            for column in 0..row {
                products[column * self.width + row] = products[row * self.width + column];
            }
        }
        Preconditioner::Full(positive(products, self.width, l2))
    }

    /// Newton's step; or steepest descent, where rounding makes that no descent.
    fn descent(&self, gradient: &[f64], l2: f64) -> Vec<f64> {
        let steepest: Vec<f64> = gradient.iter().map(|slope| -slope).collect();
        let mut direction = steepest.clone();
        self.inverse(l2).apply(&mut direction);
        if dot(&direction, gradient) < 0.0 { direction } else { steepest }
    }
}

/// Products of the features of rows whose curvature has changed.
struct Changes {
    width: usize,
    /// As those of a [`Hessian`]; nothing before the first row.
    products: Vec<f64>,
    /// Of up to four rows, a one for the intercept and the numbers; and the changes.
    four: [Vec<f64>; 4],
    factors: [f64; 4],
    filled: usize,
}

impl Changes {
    fn new(width: usize, numeric: usize) -> Self {
        let empty = || vec![0.0; 1 + numeric];
        Self { width, products: Vec::new(), four: std::array::from_fn(|_| empty()), factors: [0.0; 4], filled: 0 }
    }

    fn push(&mut self, row: &Row<'_>, change: f64) {
        if self.products.is_empty() {
            self.products = vec![0.0; self.width * self.width];
        }
        let own = &mut self.four[self.filled];
        own[0] = 1.0;
        own[1..].copy_from_slice(row.numbers);
        for (place, &slot) in row.categories.iter().enumerate() {
            let products = &mut self.products[slot as usize * self.width..];
            add_scaled(products, change, own);
            // The slots of a later feature's categories are higher, so this stays below the diagonal.
            for &earlier in &row.categories[..=place] {
                products[earlier as usize] += change;
            }
        }
        self.factors[self.filled] = change;
        self.filled += 1;
        if self.filled == self.four.len() {
            self.add_four();
        }
    }

    fn add_four(&mut self) {
        let rows = self.four.each_ref().map(Vec::as_slice);
        for feature in 0..rows[0].len() {
            let factors = std::array::from_fn(|row| self.factors[row] * rows[row][feature]);
            add_four_scaled(&mut self.products[feature * self.width..][..=feature], factors, rows);
        }
        (self.factors, self.filled) = ([0.0; 4], 0);
    }

    /// The sums; nothing where no row has changed.
    fn into_products(mut self) -> Option<Vec<f64>> {
        if self.filled > 0 {
            // Those that are not filled count nothing.
            self.add_four();
        }
        (!self.products.is_empty()).then_some(self.products)
    }
}
