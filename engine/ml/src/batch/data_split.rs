//! The parts of a training set that a fit is judged by and does not learn from: BigQuery's `data_split_method` and what
//! goes with it.
//!
//! A method goes by the rows' numbers alone, or by something about each row besides: [`RowKeys`]. Draws are by a seed and a
//! row's number (or a group's), so the batches and the threads have no part in them.

mod folds;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub(crate) use self::folds::Folds;
use super::draws::Draws;
use crate::error::Result;
use crate::options::{in_range, invalid, parse};
use crate::registry::OptionDoc;

/// Which rows are held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// None.
    NoSplit,
    /// Some of all, drawn by their numbers.
    Random,
    /// The last ones, as they come or by a column.
    Seq,
    /// Those that a column says.
    Custom,
    /// Some of each class.
    Stratified,
    /// Some groups of rows that have the same value in a column.
    Grouped,
}

impl Method {
    const ALL: [Self; 6] = [Self::NoSplit, Self::Random, Self::Seq, Self::Custom, Self::Stratified, Self::Grouped];

    fn name(self) -> &'static str {
        match self {
            Self::NoSplit => "no_split",
            Self::Random => "random",
            Self::Seq => "seq",
            Self::Custom => "custom",
            Self::Stratified => "stratified",
            Self::Grouped => "grouped",
        }
    }

    /// Whether `data_split_col` says something to it.
    fn reads_column(self) -> bool {
        matches!(self, Self::Seq | Self::Custom | Self::Grouped)
    }
}

/// How a training set is split. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DataSplit {
    pub(crate) method: Method,
    /// The part of all rows that a fit is judged by.
    eval_fraction: f64,
    /// The part of all rows that the fitted model is judged by, and that no choice is made by.
    test_fraction: f64,
    /// What a method goes by beside the rows' numbers.
    pub(crate) column: Option<String>,
}

impl Default for DataSplit {
    fn default() -> Self {
        Self { method: Method::NoSplit, eval_fraction: 0.2, test_fraction: 0.0, column: None }
    }
}

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The model learns it.
    Learnt,
    /// A fit is judged by it, and may end by it.
    HeldOut,
    /// Only the last word on a model is said by it.
    Test,
    /// Nothing, this time.
    LeftOut,
}

/// What a method goes by, beside the rows' numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RowKeys {
    Nothing,
    /// The rows' numbers in another order than theirs.
    Order(Vec<u32>),
    /// The part of each row.
    Parts(Vec<Part>),
    /// The class of each row, or its group, from 0 without gaps.
    Kinds(Vec<u32>),
}

/// The numbers of the rows (or groups of them) that are learnt from and of those held out, each in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) learnt: Vec<u32>,
    pub(crate) held_out: Vec<u32>,
}

const METHOD: &str = "data_split_method";
const EVAL_FRACTION: &str = "data_split_eval_fraction";
const TEST_FRACTION: &str = "data_split_test_fraction";
const COLUMN: &str = "data_split_col";

impl DataSplit {
    /// The options' names.
    pub(crate) const OPTIONS: [&'static str; 4] = [METHOD, EVAL_FRACTION, TEST_FRACTION, COLUMN];

    /// The options in the order to show them.
    pub(crate) fn option_docs() -> [OptionDoc; 4] {
        let split = Self::default();
        let entry = OptionDoc::new;
        let methods = "no_split, random, seq, custom, stratified or grouped";
        let of_method = "rows held out: none, drawn ones, the last, those that a column says, drawn ones of each class, or \
             drawn groups";
        let of_column = "seq: what rows are in order of, NULLs last; custom: a BOOLEAN, true or NULL of rows held out, or \
             a text, train, eval or test; grouped: rows that have the same value stay together; no feature";
        [
            entry(METHOD, methods, &split.method.name(), of_method),
            entry(EVAL_FRACTION, "number", &split.eval_fraction, "part of all rows that is held out"),
            entry(
                TEST_FRACTION,
                "number",
                &split.test_fraction,
                "part of all rows that only the fitted model is judged by",
            ),
            entry(COLUMN, "column", &"", of_column),
        ]
    }

    /// Reads the options, as far as they are there; `method` where none says which.
    ///
    /// # Errors
    /// `InvalidOption` for what cannot be read or is out of range, or says nothing to the method.
    pub(crate) fn from_options(options: &BTreeMap<String, String>, method: Method) -> Result<Self> {
        let mut split = Self { method, ..Self::default() };
        if let Some(value) = options.get(METHOD) {
            split.method = parse_method(value)?;
        }
        if let Some(value) = options.get(EVAL_FRACTION) {
            split.eval_fraction = parse(EVAL_FRACTION, value, "a number")?;
            in_range(EVAL_FRACTION, split.eval_fraction, 1e-6, 1.0 - 1e-6)?;
            split.check_draws(EVAL_FRACTION, value)?;
        }
        if let Some(value) = options.get(TEST_FRACTION) {
            split.test_fraction = parse(TEST_FRACTION, value, "a number")?;
            let most = 1.0 - split.eval_fraction - 1e-6;
            in_range(TEST_FRACTION, split.test_fraction, 0.0, most.max(0.0))?;
            split.check_draws(TEST_FRACTION, value)?;
        }
        split.column = options.get(COLUMN).cloned();
        split.check_column()?;
        Ok(split)
    }

    /// A fraction of nothing, or of what a column says, is a mistake worth hearing of.
    fn check_draws(&self, option: &'static str, value: &str) -> Result<()> {
        if self.holds_out() && self.method != Method::Custom {
            return Ok(());
        }
        let expected = "data_split_method = 'random', 'seq', 'stratified' or 'grouped' beside it";
        Err(invalid(option, value, expected))
    }

    fn check_column(&self) -> Result<()> {
        match (&self.column, self.method) {
            (Some(column), method) if !method.reads_column() => {
                Err(invalid(COLUMN, column, "data_split_method = 'seq', 'custom' or 'grouped' beside it"))
            }
            (None, Method::Custom | Method::Grouped) => {
                Err(invalid(METHOD, self.method.name(), "data_split_col = 'a column' beside it"))
            }
            _ => Ok(()),
        }
    }

    /// Whether any rows are held out.
    pub(crate) fn holds_out(&self) -> bool {
        self.method != Method::NoSplit
    }

    /// Splits so many rows, or whatever else `what` says, by their numbers alone, with the seed if at random.
    ///
    /// # Errors
    /// As [`Self::parts`].
    pub(crate) fn split(&self, count: u32, what: &str, seed: u64) -> Result<Parts> {
        let parts = self.parts_of(count, what, &RowKeys::Nothing, seed)?;
        let of = |wanted| (0..count).zip(&parts).filter(|(_, part)| **part == wanted).map(|(row, _)| row).collect();
        Ok(Parts { learnt: of(Part::Learnt), held_out: of(Part::HeldOut) })
    }

    /// The part of each of so many rows, which have the keys that the method goes by.
    ///
    /// # Errors
    /// `InvalidOption` for a fraction, or a column, that leaves nothing to learn from, or nothing to judge by.
    pub(crate) fn parts(&self, rows: u32, keys: &RowKeys, seed: u64) -> Result<Vec<Part>> {
        self.parts_of(rows, "rows", keys, seed)
    }

    fn parts_of(&self, rows: u32, what: &str, keys: &RowKeys, seed: u64) -> Result<Vec<Part>> {
        let parts = match (self.method, keys) {
            (Method::NoSplit, _) => vec![Part::Learnt; rows as usize],
            (Method::Custom, RowKeys::Parts(parts)) => parts.clone(),
            (Method::Stratified, RowKeys::Kinds(classes)) => self.drawn_of_each(classes, seed),
            (Method::Grouped, RowKeys::Kinds(groups)) => self.drawn_groups(groups, seed),
            (Method::Seq, RowKeys::Order(order)) => self.last(order),
            (Method::Seq, _) => self.last(&(0..rows).collect::<Vec<_>>()),
            (_, _) => self.drawn(rows, seed),
        };
        let count = |wanted| parts.iter().filter(|part| **part == wanted).count();
        let is_empty = |part| self.holds_out() && count(part) == 0;
        if is_empty(Part::Learnt) || is_empty(Part::HeldOut) {
            return Err(self.too_few(rows, what));
        }
        if self.test_fraction > 0.0 && is_empty(Part::Test) {
            let expected = format!("a fraction by which {rows} {what} make three parts");
            return Err(invalid(TEST_FRACTION, &self.test_fraction.to_string(), &expected));
        }
        Ok(parts)
    }

    fn too_few(&self, rows: u32, what: &str) -> crate::error::MlError {
        match (self.method, &self.column) {
            (Method::Custom, Some(column)) => {
                invalid(COLUMN, column, &format!("a column that makes two parts of {rows} rows"))
            }
            (Method::Grouped, Some(column)) => {
                let fraction = self.eval_fraction;
                let expected = format!("a column of whose groups some have {fraction} of {rows} rows at most");
                invalid(COLUMN, column, &expected)
            }
            _ => {
                let expected = format!("a fraction by which {rows} {what} make two parts");
                invalid(EVAL_FRACTION, &self.eval_fraction.to_string(), &expected)
            }
        }
    }

    fn drawn(&self, rows: u32, seed: u64) -> Vec<Part> {
        let draws = draws(seed);
        let held_out = self.eval_fraction;
        let of_row = |row: u32| match u64::from(row) {
            row if draws.is_in(held_out, row) => Part::HeldOut,
            row if self.test_fraction > 0.0 && draws.is_in(held_out + self.test_fraction, row) => Part::Test,
            _ => Part::Learnt,
        };
        (0..rows).map(of_row).collect()
    }

    /// How many of so many rows are held out, and how many are for the test.
    fn counts(&self, rows: usize) -> [usize; 2] {
        let of = |fraction: f64| (rows as f64 * fraction).round() as usize;
        let held_out = of(self.eval_fraction).min(rows);
        [held_out, of(self.test_fraction).min(rows - held_out)]
    }

    /// First rows to learn from, then those held out, and last those for the test.
    fn last(&self, order: &[u32]) -> Vec<Part> {
        let [held_out, test] = self.counts(order.len());
        let mut parts = vec![Part::Learnt; order.len()];
        let own = |place: usize| if place < order.len() - test { Part::HeldOut } else { Part::Test };
        for (place, row) in order.iter().enumerate().skip(order.len() - held_out - test) {
            parts[*row as usize] = own(place);
        }
        parts
    }

    fn drawn_of_each(&self, classes: &[u32], seed: u64) -> Vec<Part> {
        let draws = draws(seed);
        let mut parts = vec![Part::Learnt; classes.len()];
        for rows in rows_of_each(classes) {
            let [held_out, test] = self.counts(rows.len());
            let mut rows = shuffled(&draws, rows).into_iter();
            rows.by_ref().take(held_out).for_each(|row| parts[row as usize] = Part::HeldOut);
            rows.take(test).for_each(|row| parts[row as usize] = Part::Test);
        }
        parts
    }

    /// Groups in the order of their draws go where they fit, so that no part has more than its fraction of the rows.
    fn drawn_groups(&self, groups: &[u32], seed: u64) -> Vec<Part> {
        let rows = rows_of_each(groups);
        let mut parts = vec![Part::Learnt; groups.len()];
        let [mut held_out, mut test] = self.counts(groups.len());
        for group in shuffled(&draws(seed), (0..rows.len() as u32).collect()) {
            let own = &rows[group as usize];
            let (room, part) =
                if own.len() <= held_out { (&mut held_out, Part::HeldOut) } else { (&mut test, Part::Test) };
            if own.len() <= *room {
                *room -= own.len();
                own.iter().for_each(|row| parts[*row as usize] = part);
            }
        }
        parts
    }
}

/// What rows, or groups of rows, are drawn by.
fn draws(seed: u64) -> Draws {
    Draws::new(seed, b"held out", 0)
}

/// The rows of each kind, ascending.
pub(crate) fn rows_of_each(kinds: &[u32]) -> Vec<Vec<u32>> {
    let count = kinds.iter().max().map_or(0, |last| *last as usize + 1);
    let mut rows = vec![Vec::new(); count];
    (0..).zip(kinds).for_each(|(row, kind)| rows[*kind as usize].push(row));
    rows
}

/// Numbers in the order of their draws.
pub(crate) fn shuffled(draws: &Draws, mut numbers: Vec<u32>) -> Vec<u32> {
    numbers.sort_by_key(|number| (draws.bits(u64::from(*number)), *number));
    numbers
}

/// SQL's users write BigQuery's words in capitals.
fn parse_method(value: &str) -> Result<Method> {
    let wanted = value.trim().to_ascii_lowercase();
    let found = Method::ALL.into_iter().find(|method| method.name() == wanted);
    found.ok_or_else(|| invalid(METHOD, value, &Method::ALL.map(Method::name).join(", ")))
}
