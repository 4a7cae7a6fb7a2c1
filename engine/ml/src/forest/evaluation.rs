//! How well a forest tells rows that it has seen, each by the trees that it was left out of (out of bag, Breiman 2001,
//! section 3.1): about as well as it will tell new ones. Where trees have all rows, it is how well they tell these.

use super::model::{Block, Forest};
use super::sample::RowSet;
use crate::batch::parallel::{in_parallel, stretches};
use crate::batch::{Chunk, FitControl, TrainingSet};
use crate::boosted_trees::Target;
use crate::error::Result;
use crate::metrics::{self, ClassHits, RegressionSums};

/// What is evaluated.
pub(super) struct Evaluation<'a> {
    pub(super) forest: &'a Forest,
    /// The rows that each tree was made of; none where that is all.
    pub(super) drawn: &'a [RowSet],
    /// Of each row, its number or the place of its class.
    pub(super) labels: &'a [f64],
}

/// How rows were told.
#[derive(Default)]
struct Told {
    hits: ClassHits,
    sums: RegressionSums,
    /// Of two classes, the probability of the second, and whether the row has it.
    scores: Vec<f64>,
    positive: Vec<bool>,
}

impl Evaluation<'_> {
    /// The measures by the names of SQL's functions, of rows that are left out with `oob_` in front.
    ///
    /// # Errors
    /// `Stopped`.
    pub(super) fn run(&self, set: &TrainingSet, control: &FitControl) -> Result<Vec<(String, f64)>> {
        let mut first = 0;
        let chunks = set.chunks().iter().map(|chunk| {
            first += chunk.rows();
            (first - chunk.rows(), chunk)
        });
        let chunks: Vec<(usize, &Chunk)> = chunks.collect();
        let parts = in_parallel(&stretches(&chunks, control.threads.get()), |chunks| {
            let going = chunks.iter().take_while(|_| !control.is_stopped());
            going.map(|(first, chunk)| self.chunk(*first, chunk)).collect::<Vec<_>>()
        });
        control.check()?;
        // Chunk by chunk, so that the number of threads does not change the sums.
        let mut told = Told::default();
        parts.into_iter().flatten().for_each(|part| told.merge(part));
        let prefix = if self.drawn.is_empty() { "" } else { "oob_" };
        Ok(told.metrics().into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)).collect())
    }

    /// Tells the rows of a chunk, given the number of its first one.
    fn chunk(&self, first: usize, chunk: &Chunk) -> Told {
        let (forest, width) = (self.forest, self.forest.width());
        let mut block = Block::default();
        chunk.iter().for_each(|row| block.push(row.numbers, row.categories, &forest.categories));
        let mut sums = vec![0.0; chunk.rows() * width];
        let mut trees = vec![0_u32; chunk.rows()];
        for (place, tree) in forest.trees.iter().enumerate() {
            let is_new = |row: usize| self.drawn.get(place).is_none_or(|drawn| !drawn.contains(first + row));
            block.add(tree, &mut sums, width, is_new);
            trees.iter_mut().enumerate().for_each(|(row, trees)| *trees += u32::from(is_new(row)));
        }
        let mut told = Told::default();
        let rows = sums.chunks_exact_mut(width).zip(&trees).zip(&self.labels[first..]);
        for ((sums, trees), label) in rows.filter(|((_, trees), _)| **trees > 0) {
            sums.iter_mut().for_each(|sum| *sum /= f64::from(*trees));
            told.add(&forest.target, sums, *label);
        }
        told
    }
}

impl Told {
    fn add(&mut self, target: &Target, said: &[f64], label: f64) {
        match target {
            Target::Numbers(_) => self.sums.add(label, said[0]),
            Target::Classes(_) => {
                self.hits.add(said, label as usize);
                if let [_, second] = said {
                    self.scores.push(*second);
                    self.positive.push(label > 0.5);
                }
            }
        }
    }

    fn merge(&mut self, part: Self) {
        self.hits = ClassHits::sum(&[self.hits, part.hits]);
        self.sums.merge(&part.sums);
        self.scores.extend(part.scores);
        self.positive.extend(part.positive);
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let of_numbers = [("r2", self.sums.r2()), ("rmse", self.sums.rmse()), ("mae", self.sums.mae())];
        let measures = [("roc_auc", metrics::auc(&self.scores, &self.positive))].into_iter().chain(of_numbers);
        let named = measures.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        named.chain(self.hits.metrics()).collect()
    }
}
