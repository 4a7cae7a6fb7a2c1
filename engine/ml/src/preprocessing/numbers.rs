//! All values of a numeric column: quantiles are exact, which the training set's size allows, for the model holds that too.

/// The values in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Numbers(Vec<f64>);

impl Numbers {
    pub(super) fn add(&mut self, value: f64) {
        // One zero, so that both are one value.
        self.0.push(value + 0.0);
    }

    fn sorted(mut self) -> Vec<f64> {
        self.0.sort_unstable_by(f64::total_cmp);
        self.0
    }

    /// The quantiles at these shares, of 0 to 1; nothing of no values.
    pub(super) fn quantiles(self, shares: &[f64]) -> Option<Vec<f64>> {
        let sorted = self.sorted();
        shares.iter().map(|share| quantile(&sorted, *share)).collect()
    }

    /// So many quantiles from the least value to the largest, at shares that are as far from each other; nothing of no values.
    /// The shares are rounded as numpy rounds them, in percent, for which values equal a quantile depends on the last bit.
    pub(super) fn even_quantiles(self, count: usize) -> Option<Vec<f64>> {
        let last = count.saturating_sub(1).max(1);
        let step = 1.0 / last as f64;
        let share = |place: usize| if place == last { 1.0 } else { place as f64 * step * 100.0 / 100.0 };
        self.quantiles(&(0..count).map(share).collect::<Vec<_>>())
    }

    /// The value that is there most often, the least of several.
    pub(super) fn most_frequent(self) -> Option<f64> {
        let sorted = self.sorted();
        let mut best: Option<(usize, f64)> = None;
        for run in sorted.chunk_by(|a, b| a == b) {
            if let Some(value) = run.first()
                && best.is_none_or(|(count, _)| run.len() > count)
            {
                best = Some((run.len(), *value));
            }
        }
        best.map(|(_, value)| value)
    }
}

/// Between two values by the distance to them, as numpy rounds it: from the nearer one.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let low = *sorted.get(below)?;
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    Some(if part < 0.5 { low + (high - low) * part } else { high - (high - low) * (1.0 - part) })
}
