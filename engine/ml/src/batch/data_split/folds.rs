//! Rows that are learnt in several folds, each of which is held out once.

use super::{DataSplit, Method, Part, RowKeys, draws, rows_of_each, shuffled};
use crate::error::Result;
use crate::options::invalid;

/// The fold of a row that is in none.
const NONE: u8 = u8::MAX;

/// Which rows a model learns and which it is judged by, in each of several fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folds {
    /// The fold of each row; `NONE` of one that is not learnt at all.
    of_rows: Vec<u8>,
    count: u8,
    /// Whether only rows before a fold are learnt, and not those behind it; then the first fold is 1, and the rows of fold
    /// 0 are only learnt.
    is_forward: bool,
}

impl Folds {
    /// So many folds of the rows that are learnt by these parts: drawn, drawn from each class, of whole groups, or, of
    /// `seq`, stretches of which each is judged by a model of all before it.
    ///
    /// # Errors
    /// `InvalidOption` where there are too few rows, or groups.
    pub(crate) fn new(split: &DataSplit, parts: &[Part], keys: &RowKeys, count: u8, seed: u64) -> Result<Self> {
        let is_learnt = |row: &u32| parts.get(*row as usize) == Some(&Part::Learnt);
        let learnt: Vec<u32> = (0..parts.len() as u32).filter(is_learnt).collect();
        let mut folds = Self { of_rows: vec![NONE; parts.len()], count, is_forward: split.method == Method::Seq };
        if learnt.len() < usize::from(count) + usize::from(folds.is_forward) {
            return Err(too_many(count, &format!("fewer folds than there are rows to learn, {}", learnt.len())));
        }
        match (split.method, keys) {
            (Method::Grouped, RowKeys::Kinds(groups)) => folds.deal_groups(groups, &learnt, seed)?,
            (Method::Stratified, RowKeys::Kinds(classes)) => {
                let of_each = rows_of_each(classes).into_iter().flat_map(|rows| shuffled(&draws(seed), rows));
                folds.deal(of_each.filter(is_learnt));
            }
            (Method::Seq, RowKeys::Order(order)) => {
                folds.cut(&order.iter().copied().filter(is_learnt).collect::<Vec<_>>())
            }
            (Method::Seq, _) => folds.cut(&learnt),
            (_, _) => folds.deal(shuffled(&draws(seed), learnt).into_iter()),
        }
        Ok(folds)
    }

    pub(crate) fn count(&self) -> u8 {
        self.count
    }

    /// What becomes of each row in the fit with this number, from 0.
    pub(crate) fn parts(&self, fold: u8) -> Vec<Part> {
        let own = fold + u8::from(self.is_forward);
        let part = |of_row: &u8| match *of_row {
            NONE => Part::LeftOut,
            of_row if of_row == own => Part::HeldOut,
            of_row if of_row > own && self.is_forward => Part::LeftOut,
            _ => Part::Learnt,
        };
        self.of_rows.iter().map(part).collect()
    }

    /// To each fold in turn a row.
    fn deal(&mut self, rows: impl Iterator<Item = u32>) {
        rows.zip((0..self.count).cycle()).for_each(|(row, fold)| self.of_rows[row as usize] = fold);
    }

    /// Cuts rows into stretches of the same length, up to one row.
    fn cut(&mut self, rows: &[u32]) {
        let count = usize::from(self.count) + 1;
        for (fold, number) in (0..count).zip(0..=self.count) {
            let stretch = fold * rows.len() / count..(fold + 1) * rows.len() / count;
            rows[stretch].iter().for_each(|row| self.of_rows[*row as usize] = number);
        }
    }

    /// The largest groups first, each to the fold that has the fewest rows, as scikit-learn's `GroupKFold`; of equals by
    /// their draws.
    fn deal_groups(&mut self, groups: &[u32], learnt: &[u32], seed: u64) -> Result<()> {
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); groups.iter().max().map_or(0, |last| *last as usize + 1)];
        learnt.iter().for_each(|row| rows[groups[*row as usize] as usize].push(*row));
        let mut order = shuffled(&draws(seed), (0..rows.len() as u32).collect());
        order.retain(|group| !rows[*group as usize].is_empty());
        if order.len() < usize::from(self.count) {
            return Err(too_many(self.count, &format!("at most as many folds as there are groups, {}", order.len())));
        }
        order.sort_by_key(|group| std::cmp::Reverse(rows[*group as usize].len()));
        let mut sizes = vec![0; usize::from(self.count)];
        for group in order {
            let own = &rows[group as usize];
            let smallest = (0..self.count).min_by_key(|fold| sizes[usize::from(*fold)]).unwrap_or(0);
            sizes[usize::from(smallest)] += own.len();
            own.iter().for_each(|row| self.of_rows[*row as usize] = smallest);
        }
        Ok(())
    }
}

fn too_many(count: u8, expected: &str) -> crate::error::MlError {
    invalid("cv_folds", &count.to_string(), expected)
}
