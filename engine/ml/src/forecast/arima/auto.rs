//! The order of an ARIMA model that a series asks for: the stepwise search of Hyndman and Khandakar (2008).
//!
//! Differences are found first ([`level`](super::level)). Then four simple models are fitted, and from the best of them
//! all that differ from it by one in an order, as long as one of them is better, by Akaike's criterion corrected for short
//! series. A model with nearly a unit root is none, since a difference more or less says the same.

use std::collections::HashSet;

use super::config::ArimaConfig;
use super::fit::{Scaled, fit, is_comparable};
use super::level::differences_needed;
use super::process::part;
use super::{Arima, Order};
use crate::batch::FitControl;
use crate::error::Result;
use crate::forecast::batch::{Fit, Fitted};
use crate::forecast::{NoForecast, SeriesModel};

/// Orders that are tried at most, as in the paper's program.
const TRIES_MAX: usize = 94;

/// A partial autocorrelation from which on a process is taken for one with a unit root.
const NEAR_UNIT: f64 = 0.999;

/// A search, with the best model that it has found.
struct Search<'a> {
    series: &'a Scaled,
    config: &'a ArimaConfig,
    control: &'a FitControl,
    tried: HashSet<Order>,
    best: Option<(f64, Fit<Arima>)>,
    iterations: u64,
    converged: bool,
    /// Why the last one that failed did.
    note: NoForecast,
}

/// The model of the best order that the search comes to.
///
/// # Errors
/// `Stopped`.
pub(super) fn search(series: &Scaled, config: &ArimaConfig, control: &FitControl) -> Result<Fitted<Arima>> {
    let (seasonal_differences, differences) = differences_needed(series.values(), usize::from(config.season));
    let note = NoForecast::TooShort { values: series.count as u32 };
    let (tried, best) = (HashSet::new(), None);
    let mut search = Search { series, config, control, tried, best, iterations: 0, converged: true, note };
    let seasonal = u8::from(config.season > 1);
    // Two differences and a drift would be a parabola.
    let constant = differences + seasonal_differences < 2;
    let none = Order {
        ar: 0,
        differences,
        ma: 0,
        seasonal_ar: 0,
        seasonal_differences,
        seasonal_ma: 0,
        season: config.season,
        constant,
    };
    let first = [
        Order { ar: 2, ma: 2, seasonal_ar: seasonal, seasonal_ma: seasonal, ..none },
        none,
        Order { ar: 1, seasonal_ar: seasonal, ..none },
        Order { ma: 1, seasonal_ma: seasonal, ..none },
        // What a short series has room for.
        Order { constant: false, ..none },
    ];
    for order in first {
        search.attempt(order)?;
    }
    while let Some(order) = search.best.as_ref().map(|(_, best)| best.model.order) {
        let mut is_better = false;
        for neighbour in neighbours(order, constant) {
            // From a better model it is its neighbours that count.
            if search.attempt(neighbour)? {
                is_better = true;
                break;
            }
        }
        if !is_better || search.tried.len() >= TRIES_MAX {
            break;
        }
    }
    Ok(search.finish())
}

impl Search<'_> {
    /// Fits a model of an order, if it is a new one that is allowed; whether it is the best by now.
    fn attempt(&mut self, order: Order) -> Result<bool> {
        if !self.config.allows(&order) || !self.tried.insert(order) {
            return Ok(false);
        }
        let fit = match fit(self.series, order, self.config.max_iterations, self.control)? {
            Ok(fit) => fit,
            Err(note) => {
                self.note = note;
                return Ok(false);
            }
        };
        self.iterations += fit.iterations;
        let score = fit.model.summary().aicc;
        let is_usable = score.is_finite() && is_comparable(&fit.model) && !has_unit_root(&fit.model);
        let is_better = is_usable && self.best.as_ref().is_none_or(|(best, _)| score < *best);
        if is_better {
            self.converged = fit.converged;
            self.best = Some((score, fit));
        }
        Ok(is_better)
    }

    fn finish(self) -> Fitted<Arima> {
        let Some((_, best)) = self.best else { return Err(self.note) };
        Ok(Fit { iterations: self.iterations, converged: self.converged, ..best })
    }
}

/// The orders one step from an order, in the paper's sequence.
fn neighbours(order: Order, may_have_constant: bool) -> Vec<Order> {
    let steps: [[i8; 4]; 12] = [
        [0, 0, -1, 0],
        [0, 0, 1, 0],
        [0, 0, 0, -1],
        [0, 0, 0, 1],
        [0, 0, -1, -1],
        [0, 0, 1, 1],
        [-1, 0, 0, 0],
        [1, 0, 0, 0],
        [0, -1, 0, 0],
        [0, 1, 0, 0],
        [-1, -1, 0, 0],
        [1, 1, 0, 0],
    ];
    let step = |[ar, ma, seasonal_ar, seasonal_ma]: [i8; 4]| {
        Some(Order {
            ar: order.ar.checked_add_signed(ar)?,
            ma: order.ma.checked_add_signed(ma)?,
            seasonal_ar: order.seasonal_ar.checked_add_signed(seasonal_ar)?,
            seasonal_ma: order.seasonal_ma.checked_add_signed(seasonal_ma)?,
            ..order
        })
    };
    let other_constant = may_have_constant.then_some(Order { constant: !order.constant, ..order });
    steps.into_iter().filter_map(step).chain(other_constant).collect()
}

/// Whether one of the polynomials has a root that is nearly on the unit circle.
fn has_unit_root(model: &Arima) -> bool {
    (0..4).any(|place| {
        let (before, count) = part(&model.order, place);
        let sign = if place % 2 == 0 { 1.0 } else { -1.0 };
        let mut rest: Vec<f64> = model.coefficients[before..before + count].iter().map(|one| sign * one).collect();
        let mut is_near = false;
        while let Some(partial) = rest.pop() {
            is_near |= partial.abs() >= NEAR_UNIT;
            let left = 1.0 - partial * partial;
            let reversed: Vec<f64> = rest.iter().rev().copied().collect();
            rest.iter_mut().zip(reversed).for_each(|(one, other)| *one = (*one + partial * other) / left);
        }
        is_near
    })
}
