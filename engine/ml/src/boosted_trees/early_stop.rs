//! Ends a fit when rows that it does not learn from are told no better any more, and goes back to when they were told best.

use super::config::TreeConfig;

/// Watches the loss of the rows held out, round after round.
#[derive(Debug)]
pub(super) struct EarlyStop {
    /// Rounds without progress after which it is over.
    rounds_max: u64,
    /// The part of the loss that has to go for progress.
    min_rel_progress: f64,
    /// The loss of the last progress, and the rounds until then.
    progress: (f64, u64),
    /// The least loss.
    best_loss: f64,
    /// The rounds until then, and the scores of all rows.
    best: (u64, Vec<Vec<f64>>),
}

impl EarlyStop {
    /// Given the loss and the scores before the first round.
    pub(super) fn new(config: &TreeConfig, loss: f64, scores: &[Vec<f64>]) -> Self {
        Self {
            rounds_max: config.early_stopping_rounds,
            min_rel_progress: config.min_rel_progress,
            progress: (loss, 0),
            best_loss: loss,
            best: (0, scores.to_vec()),
        }
    }

    /// Takes the loss after so many rounds; whether it is over. A loss that is no number is no progress.
    pub(super) fn is_over(&mut self, rounds: u64, loss: f64, scores: &[Vec<f64>]) -> bool {
        if loss < self.best_loss {
            self.best_loss = loss;
            self.best.0 = rounds;
            self.best.1.iter_mut().zip(scores).for_each(|(best, scores)| best.copy_from_slice(scores));
        }
        if loss < self.progress.0 * (1.0 - self.min_rel_progress) {
            self.progress = (loss, rounds);
        }
        rounds - self.progress.1 >= self.rounds_max
    }

    /// How many rounds were best, and the scores after them.
    pub(super) fn into_best(self) -> (u64, Vec<Vec<f64>>) {
        self.best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rounds that are seen and the best of them, given the loss after each; 0.9 is the one before the first.
    fn rounds(rounds_max: u64, min_rel_progress: f64, losses: &[f64]) -> (u64, u64) {
        let config = TreeConfig { early_stopping_rounds: rounds_max, min_rel_progress, ..TreeConfig::default() };
        let mut stop = EarlyStop::new(&config, 0.9, &[vec![0.0]]);
        let mut seen = 0;
        for (round, loss) in (1..).zip(losses) {
            seen = round;
            if stop.is_over(round, *loss, &[vec![round as f64]]) {
                break;
            }
        }
        let (best, scores) = stop.into_best();
        assert_eq!(scores, [vec![best as f64]]);
        (seen, best)
    }

    #[test]
    fn rounds_without_progress_end_it() {
        assert_eq!(rounds(2, 0.0, &[0.8, 0.7, 0.75, 0.71, 0.1]), (4, 2));
        // The first of equals is the best one.
        assert_eq!(rounds(3, 0.0, &[0.8, 0.7, 0.7, 0.7, 0.7, 0.1]), (5, 2));
        assert_eq!(rounds(9, 0.0, &[0.8, 0.7]), (2, 2));
        assert_eq!(rounds(2, 0.0, &[0.95, f64::NAN, 0.1]), (2, 0));
    }

    #[test]
    fn little_progress_is_none_but_still_the_best() {
        // Each round takes a hundredth off.
        let losses: Vec<f64> = (1..9).map(|round| 0.9 * 0.99_f64.powi(round)).collect();
        assert_eq!(rounds(1, 0.011, &losses), (1, 1));
        // Three together are enough, and then the next three.
        assert_eq!(rounds(3, 0.02, &losses), (8, 8));
        assert_eq!(rounds(2, 0.03, &losses), (2, 2));
    }
}
