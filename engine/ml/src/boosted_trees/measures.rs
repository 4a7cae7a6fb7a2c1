//! How well scores fit the labels, by the names of SQL's functions.

use super::loss::Loss;
use super::objective::Objective;
use crate::metrics::{self, ClassHits, RegressionSums};

/// The measures of all rows, which count the same each, whatever they weigh in the loss.
pub(super) fn measures(loss: &Loss, scores: &[Vec<f64>]) -> Vec<(String, f64)> {
    match loss.objective {
        Objective::Squares => of_numbers(&scores[0], &loss.labels),
        Objective::Binary => of_two_classes(&scores[0], &loss.labels),
        Objective::Classes(_) => of_classes(loss, scores),
    }
}

fn of_numbers(scores: &[f64], labels: &[f64]) -> Vec<(String, f64)> {
    let mut sums = RegressionSums::default();
    labels.iter().zip(scores).for_each(|(label, score)| sums.add(*label, *score));
    named([("r2", sums.r2()), ("rmse", sums.rmse()), ("mae", sums.mae())])
}

fn of_two_classes(scores: &[f64], labels: &[f64]) -> Vec<(String, f64)> {
    let probability = |score: &f64| {
        let mut score = [*score];
        Objective::Binary.probabilities(&mut score);
        score[0]
    };
    let scores: Vec<f64> = scores.iter().map(probability).collect();
    let labels: Vec<bool> = labels.iter().map(|label| *label > 0.5).collect();
    named([
        ("roc_auc", metrics::auc(&scores, &labels)),
        ("log_loss", metrics::log_loss(&scores, &labels)),
        ("accuracy", metrics::accuracy(&scores, &labels)),
    ])
}

fn of_classes(loss: &Loss, scores: &[Vec<f64>]) -> Vec<(String, f64)> {
    let mut hits = ClassHits::default();
    let mut row_scores = vec![0.0; scores.len()];
    for (row, label) in loss.labels.iter().enumerate() {
        row_scores.iter_mut().zip(scores).for_each(|(own, scores)| *own = scores[row]);
        loss.objective.probabilities(&mut row_scores);
        hits.add(&row_scores, *label as usize);
    }
    hits.metrics()
}

fn named<const COUNT: usize>(measures: [(&str, Option<f64>); COUNT]) -> Vec<(String, f64)> {
    measures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
