//! The polynomials of an ARIMA process: from free numbers to coefficients that are stationary and invertible, and from
//! these to the filter's form.

use super::Order;

/// A process as one value follows from the state before.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Process {
    /// What a level difference follows from: the coefficients of the values before, seasons multiplied in.
    pub(super) ar: Vec<f64>,
    /// Those of the errors before.
    pub(super) ma: Vec<f64>,
    /// What differences take off: a value is a level difference, and these times the values before.
    pub(super) levels: Vec<f64>,
}

/// Where the coefficients of one of the polynomials `φ`, `θ`, `Φ`, `Θ` begin, and how many they are.
pub(super) fn part(order: &Order, place: usize) -> (usize, usize) {
    let counts = [order.ar, order.ma, order.seasonal_ar, order.seasonal_ma].map(usize::from);
    (counts.iter().take(place).sum(), counts.get(place).copied().unwrap_or(0))
}

impl Process {
    /// The process of these coefficients, one polynomial after another.
    pub(super) fn new(order: &Order, coefficients: &[f64]) -> Self {
        let season = usize::from(order.season);
        let polynomial = |place: usize, sign: f64, step: usize| {
            let (before, count) = part(order, place);
            let mut terms = vec![0.0; count * step + 1];
            terms[0] = 1.0;
            let own = coefficients.iter().skip(before).take(count);
            own.enumerate().for_each(|(lag, coefficient)| terms[(lag + 1) * step] = sign * coefficient);
            terms
        };
        let ar = product(&polynomial(0, -1.0, 1), &polynomial(2, -1.0, season));
        let ma = product(&polynomial(1, 1.0, 1), &polynomial(3, 1.0, season));
        let mut levels = vec![1.0];
        for _ in 0..order.differences {
            levels = product(&levels, &[1.0, -1.0]);
        }
        let mut seasonal = vec![0.0; season + 1];
        (seasonal[0], seasonal[season]) = (1.0, -1.0);
        for _ in 0..order.seasonal_differences {
            levels = product(&levels, &seasonal);
        }
        let minus = |terms: &[f64]| terms[1..].iter().map(|term| -term).collect::<Vec<_>>();
        Self { ar: minus(&ar), ma: ma[1..].to_vec(), levels: minus(&levels) }
    }

    /// Numbers of the state that are about level differences.
    pub(super) fn short(&self) -> usize {
        self.ar.len().max(self.ma.len() + 1)
    }

    /// Numbers of the state.
    pub(super) fn width(&self) -> usize {
        self.short() + self.levels.len()
    }

    /// The covariance of the first [`Self::short`] numbers of the state where nothing has been seen yet, row by row;
    /// errors have the variance 1.
    ///
    /// The state's number `j` is `φ_j w` of the point before plus the number `j + 1` of the point before plus `θ_(j-1) ε`
    /// (Harvey 1989). So its covariance with the value `w` is a sum of autocovariances and of the `ψ` that an error
    /// has at later points, and all others follow from those and from the one down the diagonal.
    pub(super) fn stationary(&self) -> Vec<f64> {
        let width = self.short();
        let ar = |place: usize| self.ar.get(place).copied().unwrap_or(0.0);
        let error = |place: usize| if place == 0 { 1.0 } else { self.ma.get(place - 1).copied().unwrap_or(0.0) };
        let (autocovariances, psi) = (self.autocovariances(width), self.psi(width));
        let with_value = |number: usize| {
            let of_values: f64 = (number..width).map(|place| ar(place) * autocovariances[1 + place - number]).sum();
            let of_errors: f64 = (number..width).map(|place| error(place) * psi[place - number]).sum();
            of_values + of_errors
        };
        let mut first: Vec<f64> = (0..width).map(with_value).collect();
        first.push(0.0);
        let mut covariance = vec![0.0; width * width];
        for row in (0..width).rev() {
            for column in (0..width).rev() {
                let is_last = row + 1 == width || column + 1 == width;
                let before = if is_last { 0.0 } else { covariance[(row + 1) * width + column + 1] };
                covariance[row * width + column] = ar(row) * ar(column) * first[0]
                    + ar(row) * first[column + 1]
                    + ar(column) * first[row + 1]
                    + before
                    + error(row) * error(column);
            }
        }
        covariance
    }

    /// What an error of 1 adds to the level differences from its point on.
    fn psi(&self, count: usize) -> Vec<f64> {
        let mut psi: Vec<f64> = Vec::with_capacity(count);
        for point in 0..count {
            let error = if point == 0 { 1.0 } else { self.ma.get(point - 1).copied().unwrap_or(0.0) };
            let before: f64 = self.ar.iter().zip(psi.iter().rev()).map(|(phi, psi)| phi * psi).sum();
            psi.push(error + before);
        }
        psi
    }

    /// The covariances of level differences so many points apart, from 0 to `last`.
    ///
    /// Those of the autoregression alone follow from its partial autocorrelations; the errors before are a filter of it.
    fn autocovariances(&self, last: usize) -> Vec<f64> {
        let theta: Vec<f64> = std::iter::once(1.0).chain(self.ma.iter().copied()).collect();
        let of_ar = autoregressive(&self.ar, last + theta.len() - 1);
        let products: Vec<f64> = (0..theta.len())
            .map(|apart| theta.iter().zip(&theta[apart..]).map(|(one, other)| one * other).sum())
            .collect();
        let covariance = |lag: usize| {
            let both = |apart: usize| products[apart] * (of_ar[lag + apart] + of_ar[lag.abs_diff(apart)]);
            products[0] * of_ar[lag] + (1..theta.len()).map(both).sum::<f64>()
        };
        (0..=last).map(covariance).collect()
    }
}

/// The autocovariances of an autoregression with errors of the variance 1, from 0 to `last`.
fn autoregressive(ar: &[f64], last: usize) -> Vec<f64> {
    // The predictors of every lower order, by Levinson's recursion backwards.
    let mut predictors = vec![ar.to_vec()];
    while let Some([shorter @ .., partial]) = predictors.last().map(Vec::as_slice) {
        let rest = 1.0 - partial * partial;
        let pairs = shorter.iter().zip(shorter.iter().rev());
        let lower: Vec<f64> = pairs.map(|(one, other)| (one + partial * other) / rest).collect();
        predictors.push(lower);
    }
    predictors.reverse();
    let partials: Vec<f64> = predictors.iter().filter_map(|of| of.last().copied()).collect();
    let mut variance = partials.iter().fold(1.0, |variance, partial| variance / (1.0 - partial * partial));
    let mut covariances = vec![variance];
    for lag in 1..=last {
        let predictor = &predictors[(lag - 1).min(ar.len())];
        let said: f64 = predictor.iter().zip(covariances.iter().rev()).map(|(phi, before)| phi * before).sum();
        // Of more points before, the next partial autocorrelation says what they leave.
        let partial = partials.get(lag - 1).copied().unwrap_or(0.0);
        covariances.push(said + partial * variance);
        variance *= 1.0 - partial * partial;
    }
    covariances
}

/// The product of two polynomials, lowest terms first.
fn product(one: &[f64], other: &[f64]) -> Vec<f64> {
    let mut terms = vec![0.0; one.len() + other.len() - 1];
    for (place, left) in one.iter().enumerate().filter(|(_, left)| **left != 0.0) {
        other.iter().zip(&mut terms[place..]).for_each(|(right, term)| *term += left * right);
    }
    terms
}

/// The coefficients of an order that free numbers stand for: any numbers lead to a stationary and invertible process.
///
/// `x / sqrt(1 + x²)` is a partial autocorrelation (Monahan 1984), and Levinson's recursion leads from those to
/// coefficients (Barndorff-Nielsen and Schou 1973, Jones 1980). The errors' polynomials are the same with the other sign.
pub(super) fn coefficients(order: &Order, free: &[f64]) -> Vec<f64> {
    let mut coefficients = Vec::with_capacity(free.len());
    for place in 0..4 {
        let (before, count) = part(order, place);
        let mut polynomial: Vec<f64> = Vec::with_capacity(count);
        for x in free.iter().skip(before).take(count) {
            let partial = x / (1.0 + x * x).sqrt();
            let reversed: Vec<f64> = polynomial.iter().rev().copied().collect();
            polynomial.iter_mut().zip(reversed).for_each(|(one, other)| *one -= partial * other);
            polynomial.push(partial);
        }
        let sign = if place % 2 == 0 { 1.0 } else { -1.0 };
        coefficients.extend(polynomial.into_iter().map(|coefficient| sign * coefficient));
    }
    coefficients
}

/// The free numbers that stand for coefficients of one polynomial of values; those of a process that is not stationary,
/// or nearly not, are first made smaller.
pub(super) fn free_numbers(polynomial: &[f64]) -> Vec<f64> {
    const LARGEST: f64 = 0.95;
    // Roots that are farther and farther from zero.
    let mut shrink = 1.0;
    for _ in 0..40 {
        let mut weight = 1.0;
        let mut rest: Vec<f64> = Vec::with_capacity(polynomial.len());
        for coefficient in polynomial {
            weight *= shrink;
            rest.push(coefficient * weight);
        }
        let mut partials = Vec::with_capacity(rest.len());
        while let Some(partial) = rest.pop() {
            let left = 1.0 - partial * partial;
            let reversed: Vec<f64> = rest.iter().rev().copied().collect();
            rest.iter_mut().zip(reversed).for_each(|(one, other)| *one = (*one + partial * other) / left);
            partials.push(partial);
        }
        if partials.iter().all(|partial| partial.abs() <= LARGEST) {
            return partials.iter().rev().map(|partial| partial / (1.0 - partial * partial).sqrt()).collect();
        }
        shrink *= 0.95;
    }
    vec![0.0; polynomial.len()]
}
