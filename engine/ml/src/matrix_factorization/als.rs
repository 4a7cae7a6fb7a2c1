//! Alternating least squares: with the items' factors given, the users' are the answer to a regression each, and the
//! other way round.
//!
//! Explicit ratings `r` of users `u` and items `i`: `Σ (r - mean - b_u - b_i - p_u·q_i)² + l2 Σ_u n_u (b_u² + |p_u|²)`,
//! plus the same for items, with `n` the number of ratings (biases: Koren, Bell and Volinsky 2009; the weighted
//! penalty: Zhou, Wilkinson, Schreiber and Pan 2008). Implicit feedback `r`, over all pairs of a user and an item (Hu,
//! Koren and Volinsky 2008): `Σ (1 + alpha |r|) (is_positive(r) - p_u·q_i)² + l2 (Σ |p_u|² + Σ |q_i|²)`. The pairs
//! without any `r` come in by the factors' products with each other, once for all users.

use std::num::NonZeroUsize;

use bincode::{Decode, Encode};
use tidemill_compute::kernel::dense::{add_scaled, dot};
use tidemill_compute::kernel::gram::gram;
use tidemill_compute::matrix::Matrix;

use crate::batch::FitControl;
use crate::batch::parallel::{in_parallel, stretches};
use crate::batch::team::{all_parts, own_part};
use crate::error::Result;
use crate::linear::normal_equations::NormalEquations;
use crate::random::Random;
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// What stands for each user, or for each item: what it deviates by, then its factors.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct Factors {
    width: u32,
    entries: Vec<f64>,
}

impl Factors {
    /// Of so many users or items, random ones.
    pub(super) fn random(count: usize, factors: usize, seed: u64) -> Self {
        let mut random = Random::new(seed, 0);
        let root = (factors as f64).sqrt();
        let mut entries = Vec::with_capacity(count * (factors + 1));
        for _ in 0..count {
            entries.push(0.0);
            entries.extend((0..factors).map(|_| (random.fraction() - 0.5) / root));
        }
        Self { width: factors as u32 + 1, entries }
    }

    pub(super) fn width(&self) -> usize {
        self.width as usize
    }

    /// Nothing of one that is not known.
    pub(super) fn row(&self, place: Option<usize>) -> &[f64] {
        let width = self.width();
        place.and_then(|place| self.entries.get(place * width..(place + 1) * width)).unwrap_or(&[])
    }

    /// Whether so many users or items could have these.
    pub(super) fn is_plausible(&self, count: usize) -> bool {
        self.width > 1
            && count.checked_mul(self.width()) == Some(self.entries.len())
            && self.entries.iter().all(|entry| entry.abs() <= STATE_MAGNITUDE_MAX)
    }

    fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.entries.chunks_exact(self.width())
    }

    /// The sum of the factors' products with each other: `width - 1` rows.
    fn products(&self) -> Vec<f64> {
        let factors: Vec<f64> = self.rows().flat_map(|row| &row[1..]).copied().collect();
        products_of(&factors, self.width() - 1, None)
    }
}

/// What a user and an item deviate by, and the product of their factors; either may be nothing.
pub(super) fn product(one: &[f64], other: &[f64]) -> f64 {
    let deviation = |row: &[f64]| row.first().copied().unwrap_or(0.0);
    let factors = dot(one.get(1..).unwrap_or(&[]), other.get(1..).unwrap_or(&[]));
    deviation(one) + deviation(other) + factors
}

/// Ratings by the user or by the item that they are of.
#[derive(Debug)]
pub(super) struct Ratings {
    /// Where the ratings of each begin, and where the last one's end.
    starts: Vec<usize>,
    /// The other side of each rating, and the rating.
    ratings: Vec<(u32, f64)>,
}

/// A rating, with the numbers of its two sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rating {
    pub(super) sides: [u32; 2],
    pub(super) value: f64,
}

impl Ratings {
    /// By this side, of which there are `count`; those of one keep their order.
    pub(super) fn by(side: usize, count: usize, ratings: &[Rating]) -> Self {
        let mut starts = vec![0; count + 1];
        ratings.iter().for_each(|rating| starts[rating.sides[side] as usize + 1] += 1);
        (0..count).for_each(|place| starts[place + 1] += starts[place]);
        let mut next = starts.clone();
        let mut sorted = vec![(0, 0.0); ratings.len()];
        for rating in ratings {
            let place = &mut next[rating.sides[side] as usize];
            sorted[*place] = (rating.sides[1 - side], rating.value);
            *place += 1;
        }
        Self { starts, ratings: sorted }
    }

    fn count(&self) -> usize {
        self.starts.len() - 1
    }

    fn of(&self, place: usize) -> &[(u32, f64)] {
        &self.ratings[self.starts[place]..self.starts[place + 1]]
    }
}

/// What is minimised.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    Explicit { mean: f64 },
    Implicit { alpha: f64 },
}

/// Least squares of one side after the other.
pub(super) struct Solver<'a> {
    pub(super) goal: Goal,
    pub(super) l2: f64,
    pub(super) control: &'a FitControl,
}

impl Solver<'_> {
    /// The best factors of one side, by its ratings and the other side's factors.
    ///
    /// # Errors
    /// `Stopped`.
    pub(super) fn solve(&self, ratings: &Ratings, others: &Factors) -> Result<Factors> {
        let of_all = match self.goal {
            Goal::Explicit { .. } => Vec::new(),
            Goal::Implicit { .. } => others.products(),
        };
        let rows = self.for_each(ratings, |place| match self.goal {
            Goal::Explicit { mean } => self.explicit(ratings.of(place), others, mean),
            Goal::Implicit { alpha } => self.implicit(ratings.of(place), others, alpha, &of_all),
        })?;
        Ok(Factors { width: others.width, entries: rows.concat() })
    }

    /// What is made of each place of a side, in their order.
    fn for_each<T: Send + Encode + Decode<()>>(
        &self,
        ratings: &Ratings,
        work: impl Fn(usize) -> T + Sync,
    ) -> Result<Vec<T>> {
        self.control.check()?;
        let team = self.control.team_for(ratings.ratings.len());
        let places: Vec<usize> = own_part(team, ratings.count()).collect();
        let run = |places: &&[usize]| {
            let going_on = places.iter().take_while(|_| !self.control.is_stopped());
            going_on.map(|place| work(*place)).collect::<Vec<_>>()
        };
        let done = in_parallel(&stretches(&places, self.control.threads.get()), run);
        self.control.check()?;
        all_parts(team, done.into_iter().flatten().collect())
    }

    fn explicit(&self, ratings: &[(u32, f64)], others: &Factors, mean: f64) -> Vec<f64> {
        let width = others.width();
        let (mut seen, mut targets) = (Vec::with_capacity(ratings.len() * width), vec![0.0; width]);
        for (other, value) in ratings {
            let row = others.row(Some(*other as usize));
            // What the other side deviates by is taken off, and what this side does is found beside a 1.
            seen.push(1.0);
            seen.extend_from_slice(&row[1..]);
            add_scaled(&mut targets, value - mean - row[0], &seen[seen.len() - width..]);
        }
        solved(products_of(&seen, width, None), targets, self.l2 * ratings.len() as f64)
    }

    fn implicit(&self, ratings: &[(u32, f64)], others: &Factors, alpha: f64, of_all: &[f64]) -> Vec<f64> {
        let width = others.width() - 1;
        let (mut seen, mut targets) = (Vec::with_capacity(ratings.len() * width), vec![0.0; width]);
        for (other, value) in ratings {
            let row = &others.row(Some(*other as usize))[1..];
            seen.extend_from_slice(row);
            if *value > 0.0 {
                add_scaled(&mut targets, 1.0 + alpha * value, row);
            }
        }
        let weights: Vec<f64> = ratings.iter().map(|(_, value)| alpha * value.abs()).collect();
        let mut products = products_of(&seen, width, Some(&weights));
        add_scaled(&mut products, 1.0, of_all);
        let mut row = solved(products, targets, self.l2);
        row.insert(0, 0.0);
        row
    }

    /// The sum that is minimised; `ratings` are those of the first side and of the second.
    ///
    /// # Errors
    /// `Stopped`.
    pub(super) fn loss(&self, ratings: &[Ratings; 2], factors: &[Factors; 2]) -> Result<f64> {
        let [first, second] = factors;
        let errors = self.for_each(&ratings[0], |place| {
            let own = first.row(Some(place));
            let error = |(other, value): &(u32, f64)| {
                let said = product(own, second.row(Some(*other as usize)));
                match self.goal {
                    Goal::Explicit { mean } => (value - mean - said).powi(2),
                    Goal::Implicit { alpha } => {
                        let wanted = if *value > 0.0 { 1.0 } else { 0.0 };
                        // All pairs count as wrong by what was said already.
                        (1.0 + alpha * value.abs()) * (wanted - said).powi(2) - said * said
                    }
                }
            };
            ratings[0].of(place).iter().map(error).sum::<f64>()
        })?;
        let of_all = match self.goal {
            Goal::Explicit { .. } => 0.0,
            // Σ (p·q)² over all pairs is the sum of the entries of PᵀP times those of QᵀQ.
            Goal::Implicit { .. } => lower_product(&first.products(), &second.products(), first.width() - 1),
        };
        let penalty: f64 = ratings.iter().zip(factors).map(|(ratings, factors)| self.penalty(ratings, factors)).sum();
        Ok(errors.iter().sum::<f64>() + of_all + penalty)
    }

    fn penalty(&self, ratings: &Ratings, factors: &Factors) -> f64 {
        let weight = |place: usize| match self.goal {
            Goal::Explicit { .. } => self.l2 * ratings.of(place).len() as f64,
            Goal::Implicit { .. } => self.l2,
        };
        factors.rows().enumerate().map(|(place, row)| weight(place) * dot(row, row)).sum()
    }
}

/// The sums over rows of the products of their entries with each other, each row's times its weight.
fn products_of(rows: &[f64], width: usize, weights: Option<&[f64]>) -> Vec<f64> {
    let rows = Matrix::new(rows, rows.len() / width.max(1), width);
    let products = rows.and_then(|rows| gram(rows, weights, NonZeroUsize::MIN));
    products.unwrap_or_else(|_| vec![0.0; width * width])
}

/// The sum of the products of two symmetric matrices' entries, given their lower triangles.
fn lower_product(one: &[f64], other: &[f64], width: usize) -> f64 {
    let row = |place: usize| {
        let range = place * width..place * width + place;
        2.0 * dot(&one[range.clone()], &other[range.clone()]) + one[range.end] * other[range.end]
    };
    (0..width).map(row).sum()
}

/// Solves equations; of several answers, the shortest.
fn solved(products: Vec<f64>, targets: Vec<f64>, l2: f64) -> Vec<f64> {
    NormalEquations { width: targets.len(), products, targets, target_squares: 0.0 }.ridge(l2).weights
}
