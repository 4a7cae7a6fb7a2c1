//! Which class was predicted for which: the counts of which accuracy, precision, recall and F1 are made.

use std::collections::BTreeMap;

/// How often each class was predicted for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confusion {
    /// By the right class, and then by the predicted one.
    counts: BTreeMap<String, BTreeMap<String, u64>>,
}

/// What a class is measured by.
#[derive(Debug, Clone, Copy, Default)]
struct OfClass {
    /// Rows that have it, and for which it was predicted.
    right: u64,
    /// Rows for which it was predicted.
    predicted: u64,
    /// Rows that have it.
    labelled: u64,
}

impl Confusion {
    /// Counts some rows.
    pub fn add(&mut self, label: &str, predicted: &str, rows: u64) {
        if let Some(count) = self.counts.get_mut(label).and_then(|counts| counts.get_mut(predicted)) {
            *count += rows;
            return;
        }
        self.counts.entry(label.to_owned()).or_default().insert(predicted.to_owned(), rows);
    }

    /// Takes rows back that were counted.
    pub fn take_back(&mut self, label: &str, predicted: &str, rows: u64) {
        let Some(counts) = self.counts.get_mut(label) else { return };
        if let Some(count) = counts.get_mut(predicted) {
            *count = count.saturating_sub(rows);
        }
        counts.retain(|_, count| *count > 0);
        if counts.is_empty() {
            self.counts.remove(label);
        }
    }

    /// The right class, the predicted one, and how many rows have both; in order.
    pub fn counts(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.counts.iter().flat_map(|(label, counts)| {
            counts.iter().map(move |(predicted, rows)| (label.as_str(), predicted.as_str(), *rows))
        })
    }

    /// The share of rows whose class was predicted; `None` without rows.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        let (mut right, mut all) = (0, 0);
        for (label, predicted, rows) in self.counts() {
            right += if label == predicted { rows } else { 0 };
            all += rows;
        }
        (all > 0).then(|| share(right, all))
    }

    /// Of the rows for which a class was predicted, the share that has it: of the class `positive`, or the mean over all
    /// classes. 0 of a class that was never predicted; `None` without rows.
    #[must_use]
    pub fn precision(&self, positive: Option<&str>) -> Option<f64> {
        self.mean(positive, |class| share(class.right, class.predicted))
    }

    /// Of the rows that have a class, the share for which it was predicted; otherwise like [`Self::precision`].
    #[must_use]
    pub fn recall(&self, positive: Option<&str>) -> Option<f64> {
        self.mean(positive, |class| share(class.right, class.labelled))
    }

    /// The harmonic mean of precision and recall; of several classes, the mean of theirs.
    #[must_use]
    pub fn f1(&self, positive: Option<&str>) -> Option<f64> {
        self.mean(positive, |class| share(2 * class.right, class.predicted + class.labelled))
    }

    fn mean(&self, positive: Option<&str>, measure: fn(OfClass) -> f64) -> Option<f64> {
        let classes = self.classes();
        match positive {
            _ if classes.is_empty() => None,
            Some(positive) => Some(measure(classes.get(positive).copied().unwrap_or_default())),
            None => Some(classes.values().map(|class| measure(*class)).sum::<f64>() / classes.len() as f64),
        }
    }

    /// The classes that there are, right or predicted.
    fn classes(&self) -> BTreeMap<&str, OfClass> {
        let mut classes: BTreeMap<&str, OfClass> = BTreeMap::new();
        for (label, predicted, rows) in self.counts() {
            let labelled = classes.entry(label).or_default();
            labelled.labelled += rows;
            labelled.right += if label == predicted { rows } else { 0 };
            classes.entry(predicted).or_default().predicted += rows;
        }
        classes
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
