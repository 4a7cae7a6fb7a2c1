//! Sums over the rows of each class, of which the statistics are made.

use bincode::{Decode, Encode};

use super::Statistics;
use super::config::{Distribution, NaiveBayesConfig};
use super::numbers::NumberStatistics;
use crate::batch::Chunk;
use crate::feature::moments::Moments;

/// Sums, one class after another.
#[derive(Encode, Decode)]
pub(super) struct Sums {
    /// Numbers of each class.
    numeric: usize,
    /// Categories of each class.
    categories: usize,
    numbers: NumberSums,
    /// How often each category was seen.
    counts: Vec<u64>,
}

#[derive(Encode, Decode)]
enum NumberSums {
    Gaussian(Vec<Moments>),
    Multinomial(Vec<f64>),
    /// Rows that have the number, and of these those in which it is above the threshold.
    Bernoulli {
        threshold: f64,
        rows: Vec<[u64; 2]>,
    },
}

impl Sums {
    pub(super) fn new(config: &NaiveBayesConfig, classes: usize, numeric: usize, categories: usize) -> Self {
        let count = classes * numeric;
        let numbers = match config.distribution {
            Distribution::Gaussian => NumberSums::Gaussian(vec![Moments::default(); count]),
            Distribution::Multinomial => NumberSums::Multinomial(vec![0.0; count]),
            Distribution::Bernoulli => NumberSums::Bernoulli { threshold: config.binarize, rows: vec![[0, 0]; count] },
        };
        Self { numeric, categories, numbers, counts: vec![0; classes * categories] }
    }

    pub(super) fn add(&mut self, chunk: &Chunk, places: &[usize]) {
        for row in chunk.iter() {
            let class = places[row.label as usize];
            self.numbers.add(class * self.numeric, row.numbers);
            let counts = &mut self.counts[class * self.categories..(class + 1) * self.categories];
            for slot in row.categories {
                counts[*slot as usize - 1 - self.numeric] += 1;
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.numbers.merge(&other.numbers);
        for (own, others) in self.counts.iter_mut().zip(&other.counts) {
            *own += others;
        }
    }

    /// The statistics, given the moments of the numbers of all classes together.
    pub(super) fn finish(self, overall: &[Moments], config: &NaiveBayesConfig) -> Statistics {
        let numbers = match self.numbers {
            NumberSums::Gaussian(moments) => gaussian(&moments, overall, config.var_smoothing),
            NumberSums::Multinomial(sums) => NumberStatistics::Multinomial { sums },
            NumberSums::Bernoulli { threshold, rows } => NumberStatistics::Bernoulli { threshold, rows },
        };
        Statistics { numbers, counts: self.counts, alpha: config.alpha }
    }
}

impl NumberSums {
    /// Adds a row's numbers to those from `first` on.
    fn add(&mut self, first: usize, numbers: &[f64]) {
        let known = numbers.iter().enumerate().filter(|(_, number)| !number.is_nan());
        match self {
            Self::Gaussian(moments) => known.for_each(|(place, number)| moments[first + place].add(*number)),
            Self::Multinomial(sums) => known.for_each(|(place, number)| sums[first + place] += number),
            Self::Bernoulli { threshold, rows } => known.for_each(|(place, number)| {
                let [known, above] = &mut rows[first + place];
                *known += 1;
                *above += u64::from(*number > *threshold);
            }),
        }
    }

    fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Gaussian(own), Self::Gaussian(others)) => {
                own.iter_mut().zip(others).for_each(|(own, others)| own.merge(others));
            }
            (Self::Multinomial(own), Self::Multinomial(others)) => {
                own.iter_mut().zip(others).for_each(|(own, others)| *own += others);
            }
            (Self::Bernoulli { rows: own, .. }, Self::Bernoulli { rows: others, .. }) => {
                for (own, others) in own.iter_mut().flatten().zip(others.iter().flatten()) {
                    *own += others;
                }
            }
            _ => debug_assert!(false, "sums of one fit are of one distribution"),
        }
    }
}

/// Means and smoothed variances.
fn gaussian(of_classes: &[Moments], overall: &[Moments], var_smoothing: f64) -> NumberStatistics {
    let smoothing = var_smoothing * overall.iter().map(Moments::variance).fold(0.0, f64::max);
    let (mut means, mut variances) = (Vec::new(), Vec::new());
    for (own, overall) in of_classes.iter().zip(overall.iter().cycle()) {
        // A class that has no value of a number gets the number of all classes, which says nothing.
        let moments = if own.count() == 0 { overall } else { own };
        means.push(moments.mean());
        // A number that is the same in all rows says nothing, too, and has no density.
        variances.push(if overall.variance() == 0.0 { 0.0 } else { moments.variance() + smoothing });
    }
    NumberStatistics::Gaussian { means, variances }
}
