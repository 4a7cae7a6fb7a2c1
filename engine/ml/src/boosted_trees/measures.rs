//! How well scores fit the labels, by the names of SQL's functions.

use super::loss::{Loss, RowLoss};
use super::objective::Objective;
use crate::metrics::{self, ClassHits, RegressionSums};

/// The measures of some rows, which count the same each, whatever they weigh in the loss.
pub(super) fn measures(loss: &Loss, scores: &[Vec<f64>], rows: &[u32], threads: usize) -> Vec<(String, f64)> {
    let loss = match loss {
        Loss::OfRows(loss) => loss,
        Loss::OfGroups(loss) => return named([("ndcg", loss.ndcg(&scores[0], rows, threads))]),
    };
    match loss.objective {
        Objective::Squares => of_numbers(loss, &scores[0], rows),
        Objective::Binary => of_two_classes(loss, &scores[0], rows),
        Objective::Classes(_) => of_classes(loss, scores, rows),
    }
}

fn of_numbers(loss: &RowLoss, scores: &[f64], rows: &[u32]) -> Vec<(String, f64)> {
    let mut sums = RegressionSums::default();
    rows.iter().for_each(|row| sums.add(loss.labels[*row as usize], scores[*row as usize]));
    named([("r2", sums.r2()), ("rmse", sums.rmse()), ("mae", sums.mae())])
}

fn of_two_classes(loss: &RowLoss, scores: &[f64], rows: &[u32]) -> Vec<(String, f64)> {
    let probability = |row: &u32| {
        let mut score = [scores[*row as usize]];
        Objective::Binary.probabilities(&mut score);
        score[0]
    };
    let scores: Vec<f64> = rows.iter().map(probability).collect();
    let labels: Vec<bool> = rows.iter().map(|row| loss.labels[*row as usize] > 0.5).collect();
    named([
        ("roc_auc", metrics::auc(&scores, &labels)),
        ("log_loss", metrics::log_loss(&scores, &labels)),
        ("accuracy", metrics::accuracy(&scores, &labels)),
    ])
}

fn of_classes(loss: &RowLoss, scores: &[Vec<f64>], rows: &[u32]) -> Vec<(String, f64)> {
    let mut hits = ClassHits::default();
    let mut row_scores = vec![0.0; scores.len()];
    for row in rows {
        row_scores.iter_mut().zip(scores).for_each(|(own, scores)| *own = scores[*row as usize]);
        loss.objective.probabilities(&mut row_scores);
        hits.add(&row_scores, loss.labels[*row as usize] as usize);
    }
    hits.metrics()
}

fn named<const COUNT: usize>(measures: [(&str, Option<f64>); COUNT]) -> Vec<(String, f64)> {
    measures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
