//! The part of a training set that a fit is judged by and does not learn from: BigQuery's `data_split_method`
//! and `data_split_eval_fraction`.

use std::collections::BTreeMap;

use super::draws::Draws;
use crate::error::Result;
use crate::options::{in_range, invalid, parse};
use crate::registry::OptionDoc;

/// Which rows are held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// None.
    NoSplit,
    /// Some of all, drawn by their numbers.
    Random,
    /// The last ones.
    Seq,
}

impl Method {
    const ALL: [Self; 3] = [Self::NoSplit, Self::Random, Self::Seq];

    fn name(self) -> &'static str {
        match self {
            Self::NoSplit => "no_split",
            Self::Random => "random",
            Self::Seq => "seq",
        }
    }
}

/// How a training set is split. [`Default`] is where the defaults live.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DataSplit {
    method: Method,
    /// The part of all rows that is held out.
    eval_fraction: f64,
}

impl Default for DataSplit {
    fn default() -> Self {
        Self { method: Method::NoSplit, eval_fraction: 0.2 }
    }
}

/// The numbers of the rows that are learnt from and of those held out, each in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) learnt: Vec<u32>,
    pub(crate) held_out: Vec<u32>,
}

impl DataSplit {
    /// The options in the order to show them.
    pub(crate) fn option_docs() -> [OptionDoc; 2] {
        let split = Self::default();
        let entry = OptionDoc::new;
        let methods = "no_split, random or seq";
        [
            entry("data_split_method", methods, &split.method.name(), "rows held out: none, drawn ones, or the last"),
            entry("data_split_eval_fraction", "number", &split.eval_fraction, "part of all rows that is held out"),
        ]
    }

    /// Reads both options, as far as they are there.
    ///
    /// # Errors
    /// `InvalidOption` for what cannot be read or is out of range, or for a fraction where nothing is split.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut split = Self::default();
        if let Some(value) = options.get("data_split_method") {
            split.method = parse_method(value)?;
        }
        if let Some(value) = options.get("data_split_eval_fraction") {
            split.eval_fraction = parse("data_split_eval_fraction", value, "a number")?;
            in_range("data_split_eval_fraction", split.eval_fraction, 1e-6, 1.0 - 1e-6)?;
            if !split.holds_out() {
                let expected = "data_split_method = 'random' or 'seq' beside it";
                return Err(invalid("data_split_eval_fraction", value, expected));
            }
        }
        Ok(split)
    }

    /// Whether any rows are held out.
    pub(crate) fn holds_out(&self) -> bool {
        self.method != Method::NoSplit
    }

    /// Splits so many rows, by the seed if at random.
    ///
    /// # Errors
    /// `InvalidOption` for a fraction that leaves nothing to learn from, or nothing to judge by.
    pub(crate) fn split(&self, rows: u32, seed: u64) -> Result<Parts> {
        let draws = Draws::new(seed, b"held out", 0);
        let last = rows - (f64::from(rows) * self.eval_fraction).round() as u32;
        let is_learnt = |row: &u32| match self.method {
            Method::NoSplit => true,
            Method::Random => !draws.is_in(self.eval_fraction, u64::from(*row)),
            Method::Seq => *row < last,
        };
        let (learnt, held_out): (Vec<_>, Vec<_>) = (0..rows).partition(is_learnt);
        if self.holds_out() && (learnt.is_empty() || held_out.is_empty()) {
            let expected = format!("a fraction by which {rows} rows make two parts");
            return Err(invalid("data_split_eval_fraction", &self.eval_fraction.to_string(), &expected));
        }
        Ok(Parts { learnt, held_out })
    }
}

/// SQL's users write BigQuery's words in capitals.
fn parse_method(value: &str) -> Result<Method> {
    let wanted = value.trim().to_ascii_lowercase();
    let found = Method::ALL.into_iter().find(|method| method.name() == wanted);
    found.ok_or_else(|| invalid("data_split_method", value, &Method::ALL.map(Method::name).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(method: &str, fraction: Option<&str>) -> Result<DataSplit> {
        let mut options = BTreeMap::from([("data_split_method".to_owned(), method.to_owned())]);
        options.extend(fraction.map(|fraction| ("data_split_eval_fraction".to_owned(), fraction.to_owned())));
        DataSplit::from_options(&options)
    }

    #[test]
    fn the_last_rows_are_held_out() {
        let parts = split("SEQ", Some("0.25")).unwrap().split(10, 0).unwrap();
        assert_eq!(parts, Parts { learnt: (0..7).collect(), held_out: vec![7, 8, 9] });
        let parts = split("no_split", None).unwrap().split(3, 0).unwrap();
        assert_eq!(parts, Parts { learnt: vec![0, 1, 2], held_out: Vec::new() });
    }

    #[test]
    fn drawn_rows_are_held_out_by_seed_and_number() {
        let random = split("random", None).unwrap();
        let parts = random.split(10_000, 1).unwrap();
        assert!((1900..2100).contains(&parts.held_out.len()), "{}", parts.held_out.len());
        // More rows behind them change none.
        let more = random.split(20_000, 1).unwrap();
        assert_eq!(more.held_out[..parts.held_out.len()], parts.held_out);
        assert_ne!(random.split(10_000, 2).unwrap(), parts);
        let mut all = [parts.learnt, parts.held_out].concat();
        all.sort_unstable();
        assert_eq!(all, (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn what_splits_nothing_is_an_error() {
        for (method, fraction) in [("half", None), ("seq", Some("1")), ("seq", Some("x")), ("no_split", Some("0.5"))] {
            assert!(split(method, fraction).is_err(), "{method} {fraction:?}");
        }
        let error = split("seq", Some("0.1")).unwrap().split(4, 0).unwrap_err().to_string();
        assert!(error.ends_with("a fraction by which 4 rows make two parts"), "{error}");
    }
}
