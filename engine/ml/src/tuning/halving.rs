//! Successive halving (Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter
//! optimization"): all points are fitted to a part of the rows, the better half of them to twice as many, and so on, until
//! the last ones are fitted to all.
//!
//! The resource is rows. With `n` points there are `log2 n` steps, each of which reads about as many rows as one fit to
//! all, or two: of 16 points together as many as 5 of them would read, and of 64 as many as 7. The rows of a step are
//! among those of the next.

/// The rows that a step has at least: fewer say nothing about a point.
const ROWS_MIN: f64 = 64.0;

/// The part of all rows of each step, the last of which has all.
pub(super) fn shares(points: usize, rows: u64) -> Vec<f64> {
    let by_points = points.max(1).ilog2();
    let is_enough = |halvings: &u32| rows as f64 / f64::from(1_u32 << halvings) >= ROWS_MIN;
    let halvings =
        (0..=by_points.min(31)).take_while(|halvings| *halvings == 0 || is_enough(halvings)).last().unwrap_or(0);
    (0..=halvings).rev().map(|halvings| 1.0 / f64::from(1_u32 << halvings)).collect()
}

/// The places of the better half of the losses, of which none is infinite; at least one place if there is any. In
/// ascending order.
pub(super) fn better_half(losses: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..losses.len()).filter(|place| losses[*place].is_finite()).collect();
    // A stable sort: of equals, the first go on.
    order.sort_by(|one, other| losses[*one].total_cmp(&losses[*other]));
    order.truncate((losses.len() / 2).max(1));
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_double_as_points_are_halved() {
        assert_eq!(shares(16, 100_000), [0.0625, 0.125, 0.25, 0.5, 1.0]);
        assert_eq!(shares(17, 300), [0.25, 0.5, 1.0]);
        assert_eq!((shares(1, 100_000), shares(8, 10)), (vec![1.0], vec![1.0]));
    }

    #[test]
    fn the_better_half_goes_on() {
        assert_eq!(better_half(&[3.0, 1.0, f64::INFINITY, 2.0, 0.5]), [1, 4]);
        assert_eq!(better_half(&[2.0, 2.0]), [0]);
        assert_eq!(better_half(&[f64::INFINITY; 3]), [0; 0]);
        assert_eq!(better_half(&[1.0]), [0]);
    }
}
