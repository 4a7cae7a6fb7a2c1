//! The order of each group's rows by their scores, and how a ranker's trees are to mend it: LambdaMART (Burges 2010).
//!
//! The gain of a row of relevance `l` is `2^l - 1`, that of a group the sum of its rows' gains, each divided by
//! `log2(1 + place)`; as a share of what the best order has it is the NDCG. It changes by leaps, and so has no derivative.
//! In its place, each two rows of a group with scores `s`, of which the first is the more relevant, pull at each other:
//!
//! ```text
//! λ = Δ / (1 + e^(s_first - s_second))       Δ: by how much the NDCG changes where the two change places
//! ```
//!
//! The first derivative of the first is less by λ, that of the second more, and both second ones are more by
//! `λ (1 - λ / Δ)`. As in LightGBM, one of the two has to be among the first places, of as many as `truncation` says,
//! which are also those that the best order is counted of; Δ is divided by 0.01 and the distance of the scores; and of a
//! group whose λ have the sum `S`, counted for either row, all derivatives are multiplied with `log2(1 + S) / S`, so that
//! groups of many rows do not outweigh the others.

use std::f64::consts::LN_2;

use tidemill_compute::kernel::logistic::sigmoid;
use tidemill_compute::kernel::softmax::ln;

use super::groups::Groups;
use super::histogram::Units;
use super::loss::Derivatives;
use crate::batch::FitControl;
use crate::batch::parallel::{in_parallel, owned_in_parallel, stretches, stretches_mut, worthwhile};
use crate::metrics;

/// What is added to the distance of two scores that something is divided by.
const DISTANCE_ADDED: f64 = 0.01;

/// What two rows take.
const NANOSECONDS_A_PAIR: usize = 10;

/// What the first and second derivative of a row by its score are.
type Lambda = [f64; 2];

/// The labels of groups of rows, which are to be put in order.
pub(super) struct GroupLoss {
    groups: Groups,
    /// Where each row is among those of the groups.
    places: Vec<u32>,
    /// Of each row.
    relevances: Vec<u8>,
    /// One over the best gain of each group's first places; 0 of one without a relevant row.
    inverse_best: Vec<f64>,
    /// What a gain is multiplied with at each place.
    discounts: Vec<f64>,
    /// First places that count.
    truncation: usize,
}

/// A row of a group, in the order of the scores.
#[derive(Clone, Copy)]
struct Ranked {
    /// Which row of its group it is.
    place: usize,
    score: f64,
    relevance: u8,
}

impl GroupLoss {
    /// Given the relevance of each row.
    pub(super) fn new(groups: Groups, labels: impl Iterator<Item = f64>, truncation: usize) -> Self {
        let mut places = vec![0; groups.rows.len()];
        groups.rows.iter().enumerate().for_each(|(place, row)| places[*row as usize] = place as u32);
        let largest = (0..groups.count()).map(|group| groups.of(group).len()).max().unwrap_or(0);
        let discounts = (0..largest).map(|place| LN_2 / ln(place as f64 + 2.0)).collect();
        let relevances = labels.map(|label| label as u8).collect();
        let mut loss = Self { groups, places, relevances, inverse_best: Vec::new(), discounts, truncation };
        loss.inverse_best = (0..loss.groups.count()).map(|group| loss.inverse_best_of(group)).collect();
        loss
    }

    pub(super) fn rows(&self) -> usize {
        self.relevances.len()
    }

    fn inverse_best_of(&self, group: usize) -> f64 {
        let mut relevances = self.relevances_of(group);
        relevances.sort_unstable_by(|a, b| b.cmp(a));
        let discounted = relevances.iter().zip(&self.discounts).take(self.truncation);
        let best: f64 = discounted.map(|(relevance, discount)| gain(*relevance) * discount).sum();
        if best > 0.0 { 1.0 / best } else { 0.0 }
    }

    fn relevances_of(&self, group: usize) -> Vec<u8> {
        self.groups.of(group).iter().map(|row| self.relevances[*row as usize]).collect()
    }

    /// Those of the groups whose rows are among these: either all of a group are, or none is.
    fn groups_among(&self, rows: &[u32]) -> Vec<usize> {
        let is_among =
            |group: &usize| self.groups.of(*group).first().is_some_and(|row| rows.binary_search(row).is_ok());
        (0..self.groups.count()).filter(is_among).collect()
    }

    /// Whether a group of these rows has an order that is better than another.
    pub(super) fn has_order(&self, rows: &[u32]) -> bool {
        self.groups_among(rows).into_iter().any(|group| {
            let relevances = self.relevances_of(group);
            relevances.iter().any(|relevance| *relevance != relevances[0])
        })
    }

    /// Takes the derivatives by the scores of all rows; right for the rows learnt, unless the fit is stopped.
    pub(super) fn derive(&self, scores: &[f64], learnt: &[u32], control: &FitControl, all: &mut Derivatives) {
        let groups = self.groups_among(learnt);
        let mut lambdas: Vec<Lambda> = vec![[0.0; 2]; self.rows()];
        let threads = worthwhile(control.threads.get(), self.pairs(&groups) * NANOSECONDS_A_PAIR);
        owned_in_parallel(self.cut(&groups, &mut lambdas, threads), |part| {
            for (group, lambdas) in part {
                if !control.is_stopped() {
                    self.derive_group(group, scores, lambdas);
                }
            }
        });
        let largest = |of: usize| lambdas.iter().fold(0.0, |largest: f64, lambda| lambda[of].abs().max(largest));
        let units = Units::up_to(largest(0), largest(1));
        all.units = units;
        let threads = worthwhile(control.threads.get(), self.rows() * NANOSECONDS_A_PAIR);
        let parts = stretches_mut(&mut all.gradients, threads).zip(stretches(&self.places, threads));
        owned_in_parallel(parts, |(gradients, places)| {
            for (gradient, place) in gradients.iter_mut().zip(places) {
                let [first, second] = lambdas[*place as usize];
                *gradient = units.gradient(first, second);
            }
        });
    }

    /// About how many pairs of rows are looked at.
    fn pairs(&self, groups: &[usize]) -> usize {
        let rows = groups.iter().map(|group| self.groups.of(*group).len());
        rows.map(|rows| rows * rows.min(self.truncation)).sum()
    }

    /// The groups, each with what its rows come to, in so many parts at most of about as many rows.
    fn cut<'a>(
        &self,
        groups: &[usize],
        lambdas: &'a mut [Lambda],
        threads: usize,
    ) -> Vec<Vec<(usize, &'a mut [Lambda])>> {
        let rows_a_part = self.rows().div_ceil(threads);
        let (mut parts, mut rest, mut end) = (vec![Vec::new()], lambdas, 0);
        let mut rows = 0;
        for group in groups {
            let (start, own) = (self.groups.starts[*group], self.groups.of(*group).len());
            let (_, from) = std::mem::take(&mut rest).split_at_mut(start - end);
            let (of_group, after) = from.split_at_mut(own);
            (rest, end) = (after, start + own);
            if rows >= rows_a_part {
                parts.push(Vec::new());
                rows = 0;
            }
            rows += own;
            if let Some(part) = parts.last_mut() {
                part.push((*group, of_group));
            }
        }
        parts
    }

    /// Those of a group, which are 0 before.
    fn derive_group(&self, group: usize, scores: &[f64], lambdas: &mut [Lambda]) {
        let ranked = self.ranked(group, scores);
        let (Some(best), Some(worst)) = (ranked.first(), ranked.last()) else { return };
        let is_spread = best.score != worst.score;
        let mut sum = 0.0;
        for first in 0..ranked.len().min(self.truncation) {
            for second in first + 1..ranked.len() {
                if ranked[first].relevance != ranked[second].relevance {
                    sum += 2.0 * self.add_pair(group, [first, second], &ranked, is_spread, lambdas);
                }
            }
        }
        if sum > 0.0 {
            let scale = ln(1.0 + sum) / LN_2 / sum;
            lambdas.as_flattened_mut().iter_mut().for_each(|lambda| *lambda *= scale);
        }
    }

    /// The rows of a group from the highest score down; of equal ones, in their order in the training set.
    fn ranked(&self, group: usize, scores: &[f64]) -> Vec<Ranked> {
        let rows = self.groups.of(group).iter().enumerate();
        let ranked = |(place, row): (usize, &u32)| Ranked {
            place,
            score: scores[*row as usize],
            relevance: self.relevances[*row as usize],
        };
        let mut ranked: Vec<_> = rows.map(ranked).collect();
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        ranked
    }

    /// How two rows at these places pull at each other; returns the strength.
    fn add_pair(
        &self,
        group: usize,
        places: [usize; 2],
        ranked: &[Ranked],
        is_spread: bool,
        lambdas: &mut [Lambda],
    ) -> f64 {
        let [upper, lower] = places.map(|place| ranked[place]);
        let (more, less) = if upper.relevance > lower.relevance { (upper, lower) } else { (lower, upper) };
        let discounts = self.discounts[places[0]] - self.discounts[places[1]];
        let mut change = (gain(more.relevance) - gain(less.relevance)) * discounts * self.inverse_best[group];
        let distance = more.score - less.score;
        if is_spread {
            change /= DISTANCE_ADDED + distance.abs();
        }
        let share = sigmoid(-distance);
        let (first, second) = (change * share, change * share * (1.0 - share));
        lambdas[more.place][0] -= first;
        lambdas[less.place][0] += first;
        lambdas[more.place][1] += second;
        lambdas[less.place][1] += second;
        first
    }

    /// The mean NDCG of the groups of these rows, over all places; groups without a relevant row have none.
    pub(super) fn ndcg(&self, scores: &[f64], rows: &[u32], threads: usize) -> Option<f64> {
        let groups = self.groups_among(rows);
        let threads = worthwhile(threads, rows.len() * 10 * NANOSECONDS_A_PAIR);
        let found = in_parallel(&stretches(&groups, threads), |groups| {
            let with_relevant = groups.iter().filter(|group| self.inverse_best[**group] > 0.0);
            with_relevant.map(|group| self.ndcg_of(*group, scores)).collect::<Vec<_>>()
        });
        let found = found.concat();
        let sum = found.iter().try_fold(0.0, |sum, ndcg| Some(sum + (*ndcg)?))?;
        (!found.is_empty()).then(|| sum / found.len() as f64)
    }

    fn ndcg_of(&self, group: usize, scores: &[f64]) -> Option<f64> {
        let rows = self.groups.of(group);
        let gains: Vec<f64> = rows.iter().map(|row| gain(self.relevances[*row as usize])).collect();
        let scores: Vec<f64> = rows.iter().map(|row| scores[*row as usize]).collect();
        metrics::ndcg(&gains, &scores, None)
    }
}

fn gain(relevance: u8) -> f64 {
    ((1_u64 << relevance) - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups whose rows alternate, of which one has no relevant row.
    fn loss(truncation: usize) -> GroupLoss {
        let groups = Groups { rows: vec![0, 2, 4, 1, 3], starts: vec![0, 3, 5] };
        GroupLoss::new(groups, [2.0, 0.0, 0.0, 0.0, 1.0].into_iter(), truncation)
    }

    /// The derivatives of all rows, to some digits less than gradients have.
    fn derived(loss: &GroupLoss, scores: &[f64]) -> Vec<Lambda> {
        let mut derivatives = Derivatives::of_rows(5);
        loss.derive(scores, &[0, 1, 2, 3, 4], &FitControl::default(), &mut derivatives);
        let Units { first, second } = derivatives.units;
        derivatives.gradients.iter().map(|own| [f64::from(own[0]) * first, f64::from(own[1]) * second]).collect()
    }

    #[test]
    fn rows_of_one_score_pull_at_each_other_by_hand() {
        // Gains 3, 0, 1 at the places 0, 1, 2, which are worth 1, 0.6309, 0.5; the best order has 3 + 0.6309.
        let best = 3.0 + 1.0 / 3.0_f64.log2();
        let [by_one, by_two, further] = [3.0 * (1.0 - 1.0 / 3.0_f64.log2()), 2.0 * 0.5, 1.0 / 3.0_f64.log2() - 0.5]
            .map(|change| change / best / 2.0);
        let sum = 2.0 * (by_one + by_two + further);
        let scale = (1.0 + sum).log2() / sum;
        let found = derived(&loss(30), &[0.0; 5]);
        let expected = [-by_one - by_two, 0.0, by_one + further, 0.0, by_two - further];
        for (place, found) in found.iter().enumerate() {
            assert!((found[0] - expected[place] * scale).abs() < 1e-8, "{place}: {found:?}");
        }
        assert!((found[0][1] - (by_one + by_two) / 2.0 * scale).abs() < 1e-8, "{found:?}");
        // Of the first place only, the last two do not meet, and the best order has 3.
        let [by_one, by_two] = [by_one, by_two].map(|change| change * best / 3.0);
        let sum = 2.0 * (by_one + by_two);
        let scale = (1.0 + sum).log2() / sum;
        let found = derived(&loss(1), &[0.0; 5]);
        assert!((found[0][0] + (by_one + by_two) * scale).abs() < 1e-8 && found[1] == [0.0; 2], "{found:?}");
        assert!((found[4][0] - by_two * scale).abs() < 1e-8, "{found:?}");
    }

    #[test]
    fn distant_scores_pull_less() {
        let scores = [-1.0, 5.0, 1.0, 6.0, 0.0];
        let found = derived(&loss(30), &scores);
        // The most relevant is last: it has to rise above the others, above the next one most.
        assert!(found[0][0] < 0.0 && found[2][0] > 0.0, "{found:?}");
        assert!(found.iter().map(|lambda| lambda[0]).sum::<f64>().abs() < 1e-8);
        let further = derived(&loss(30), &scores.map(|score| score * 3.0));
        assert!(further[0][1].abs() < found[0][1].abs(), "{further:?}");
    }

    #[test]
    fn the_measure_is_of_groups_with_a_relevant_row() {
        let (loss, all) = (loss(30), [0, 1, 2, 3, 4]);
        assert_eq!(loss.ndcg(&[3.0, 0.0, 1.0, 0.0, 2.0], &all, 2), Some(1.0));
        let worst = (1.0 / 3.0_f64.log2() + 3.0 / 2.0) / (3.0 + 1.0 / 3.0_f64.log2());
        let found = loss.ndcg(&[1.0, 0.0, 3.0, 0.0, 2.0], &all, 1).unwrap();
        assert!((found - worst).abs() < 1e-12, "{found} {worst}");
        assert_eq!((loss.ndcg(&[0.0; 5], &[1, 3], 1), loss.ndcg(&[f64::NAN; 5], &all, 1)), (None, None));
        assert!(loss.has_order(&all) && !loss.has_order(&[1, 3]));
    }
}
