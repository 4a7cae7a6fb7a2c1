//! The values that options may have in a search: HPARAM_RANGE and HPARAM_CANDIDATES, as BigQuery writes them.
//!
//! A point of a space has a coordinate for each of its options: of a range a place from 0 to 1, on the scale on which it is
//! drawn; of candidates the number of one.

use std::collections::BTreeMap;

use tidemill_compute::kernel::logistic::sigmoid;
use tidemill_compute::kernel::softmax::ln;

use crate::error::Result;
use crate::options::invalid;
use crate::random::Random;
use crate::registry::OptionDoc;

/// Options whose effect is by their magnitude: drawn by their logarithms, if the range does not begin at 0.
const BY_LOGARITHM: [&str; 14] = [
    "alpha",
    "eps",
    "l1_reg",
    "l2_reg",
    "learn_rate",
    "learning_rate",
    "max_iterations",
    "min_impurity_decrease",
    "min_rel_progress",
    "min_split_loss",
    "min_tree_child_weight",
    "tolerance",
    "var_smoothing",
    "wals_alpha",
];

/// The most that a range of whole numbers may have: the numbers that a DOUBLE PRECISION tells apart.
const WHOLE_MAX: f64 = 9e15;

/// What an option may be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    /// One of these, as SQL writes them.
    Candidates(Vec<String>),
    /// A whole number, both ends included.
    Whole { low: f64, high: f64, is_log: bool },
    /// A number.
    Number { low: f64, high: f64, is_log: bool },
}

/// An option and what it may be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dimension {
    pub(crate) option: &'static str,
    pub(crate) values: Values,
}

/// A model type, what is set about it, and what is searched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Branch {
    pub(crate) model_type: &'static str,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) dimensions: Vec<Dimension>,
}

/// A branch of a space, and a coordinate for each of its dimensions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub(crate) branch: usize,
    pub(crate) coordinates: Vec<f64>,
}

impl Branch {
    /// The values of a point, by the names of the options searched.
    pub(super) fn values<'a>(&'a self, point: &'a Point) -> impl Iterator<Item = (String, String)> + 'a {
        let places = self.dimensions.iter().zip(&point.coordinates);
        places.map(|(dimension, place)| (dimension.option.to_owned(), dimension.text(*place)))
    }
}

/// Whether a value is to be searched, and not a value.
pub(crate) fn is_searched(value: &str) -> bool {
    let value = value.trim_start().to_ascii_lowercase();
    value.starts_with("hparam_range") || value.starts_with("hparam_candidates")
}

impl Dimension {
    /// Reads what an option may be.
    ///
    /// # Errors
    /// `InvalidOption` for what is no range and no candidates of such an option.
    pub(crate) fn parse(doc: &OptionDoc, value: &str) -> Result<Self> {
        let option = doc.name;
        let values = match arguments(value, "hparam_range") {
            Some(arguments) => range(doc, value, arguments)?,
            None => candidates(option, value)?,
        };
        Ok(Self { option, values })
    }

    /// The value at a coordinate, as an option's text.
    pub(crate) fn text(&self, coordinate: f64) -> String {
        self.values.text(coordinate)
    }
}

impl Values {
    /// How many there are; `None` of a range of numbers.
    pub(crate) fn count(&self) -> Option<u64> {
        match self {
            Self::Candidates(candidates) => Some(candidates.len() as u64),
            Self::Whole { low, high, .. } => Some((high - low) as u64 + 1),
            Self::Number { .. } => None,
        }
    }

    /// The coordinate of the value with this number, of those that can be counted.
    pub(crate) fn numbered(&self, number: u64) -> f64 {
        match self {
            Self::Candidates(_) | Self::Number { .. } => number as f64,
            Self::Whole { low, .. } => self.place(low + number as f64),
        }
    }

    /// Any value, each as likely on the scale of its option.
    pub(crate) fn draw(&self, random: &mut Random) -> f64 {
        match self {
            Self::Candidates(candidates) => random.below(candidates.len() as u64) as f64,
            Self::Whole { .. } | Self::Number { .. } => self.settled(random.fraction()),
        }
    }

    /// The nearest coordinate that a value has: whole numbers are few.
    pub(crate) fn settled(&self, coordinate: f64) -> f64 {
        match self {
            Self::Whole { .. } => self.place(self.number(coordinate)),
            Self::Candidates(_) | Self::Number { .. } => coordinate,
        }
    }

    fn text(&self, coordinate: f64) -> String {
        match self {
            Self::Candidates(candidates) => candidates.get(coordinate as usize).cloned().unwrap_or_default(),
            Self::Whole { .. } | Self::Number { .. } => self.number(coordinate).to_string(),
        }
    }

    /// The number at a place of a range.
    fn number(&self, place: f64) -> f64 {
        match *self {
            Self::Candidates(_) => place,
            Self::Number { low, high, is_log } => between(low, high, is_log, place).clamp(low, high),
            // Each whole number has as much room as the others, those at the ends, too.
            Self::Whole { low, high, is_log } => between(low - 0.5, high + 0.5, is_log, place).round().clamp(low, high),
        }
    }

    /// The place of a number of a range.
    fn place(&self, number: f64) -> f64 {
        let (low, high, is_log) = match *self {
            Self::Candidates(_) => return number,
            Self::Number { low, high, is_log } => (low, high, is_log),
            Self::Whole { low, high, is_log } => (low - 0.5, high + 0.5, is_log),
        };
        if is_log { ln(number / low) / ln(high / low) } else { (number - low) / (high - low) }
    }
}

/// What is between two ends, by a part of the way, or of that of logarithms.
fn between(low: f64, high: f64, is_log: bool, part: f64) -> f64 {
    if is_log { high * exp_of_negative((part - 1.0) * ln(high / low)) } else { low + (high - low) * part }
}

/// `e^x` of what is not positive; the same bits on every machine, which the C library's does not have.
pub(super) fn exp_of_negative(x: f64) -> f64 {
    let probability = sigmoid(x);
    probability / (1.0 - probability)
}

/// What stands in the brackets after a word.
fn arguments<'a>(value: &'a str, word: &str) -> Option<&'a str> {
    let value = value.trim();
    let (found, rest) = value.split_at_checked(word.len())?;
    let rest = found.eq_ignore_ascii_case(word).then(|| rest.trim())?;
    rest.strip_prefix('(')?.strip_suffix(')')
}

fn range(doc: &OptionDoc, value: &str, arguments: &str) -> Result<Values> {
    let is_whole = match doc.data_type {
        "integer" => true,
        "number" => false,
        words => {
            let expected = format!("HPARAM_CANDIDATES([…]) of an option that is {words}");
            return Err(invalid(doc.name, value, &expected));
        }
    };
    let expected = "HPARAM_RANGE(low, high) of two numbers, the lower first";
    let ends: Option<Vec<f64>> = arguments.split(',').map(|end| end.trim().parse().ok()).collect();
    let Some(&[low, high]) = ends.as_deref() else { return Err(invalid(doc.name, value, expected)) };
    if !(low < high && low.is_finite() && high.is_finite()) {
        return Err(invalid(doc.name, value, expected));
    }
    let is_log = low > 0.0 && BY_LOGARITHM.contains(&doc.name);
    if !is_whole {
        return Ok(Values::Number { low, high, is_log });
    }
    if low.fract() != 0.0 || high.fract() != 0.0 || low.abs() > WHOLE_MAX || high.abs() > WHOLE_MAX {
        return Err(invalid(doc.name, value, "HPARAM_RANGE(low, high) of two whole numbers, the lower first"));
    }
    Ok(Values::Whole { low, high, is_log })
}

fn candidates(option: &'static str, value: &str) -> Result<Values> {
    let wrong = || invalid(option, value, "HPARAM_RANGE(low, high) or HPARAM_CANDIDATES([value, …])");
    let list = arguments(value, "hparam_candidates").ok_or_else(wrong)?.trim();
    let list = list.strip_prefix('[').and_then(|list| list.strip_suffix(']')).ok_or_else(wrong)?;
    let candidates = items(list).filter(|candidates| candidates.iter().all(|one| !one.is_empty())).ok_or_else(wrong)?;
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = candidates.iter().find(|candidate| !seen.insert(candidate.as_str())) {
        return Err(invalid(option, value, &format!("each candidate once, and not '{twice}' twice")));
    }
    Ok(Values::Candidates(candidates))
}

/// The items of a list: words and numbers, or texts in quotes, in which two quotes are one. `None` where a quote is not
/// closed, or something stands behind one.
pub(super) fn items(list: &str) -> Option<Vec<String>> {
    let mut items = Vec::new();
    let mut rest = list.trim_start();
    loop {
        let after = match rest.chars().next() {
            Some(quote @ ('\'' | '"')) => {
                let (item, behind) = quoted(&rest[1..], quote)?;
                items.push(item);
                behind.trim_start()
            }
            _ => {
                let end = rest.find(',').unwrap_or(rest.len());
                items.push(rest[..end].trim_end().to_owned());
                &rest[end..]
            }
        };
        match after.strip_prefix(',') {
            Some(behind) => rest = behind.trim_start(),
            None => return after.is_empty().then_some(items),
        }
    }
}

/// A text up to its closing quote, and what is behind that.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut item = String::new();
    let mut rest = text;
    loop {
        let (own, behind) = rest.split_once(quote)?;
        item.push_str(own);
        match behind.strip_prefix(quote) {
            Some(behind) => {
                item.push(quote);
                rest = behind;
            }
            None => return Some((item, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(name: &'static str, data_type: &'static str) -> OptionDoc {
        OptionDoc::new(name, data_type, &"", "")
    }

    fn parse(name: &'static str, data_type: &'static str, value: &str) -> Result<Values> {
        Dimension::parse(&doc(name, data_type), value).map(|dimension| dimension.values)
    }

    #[test]
    fn ranges_and_candidates_are_read() {
        let range = parse("subsample", "number", " hparam_Range ( 0.5 , 1 )").unwrap();
        assert_eq!(range, Values::Number { low: 0.5, high: 1.0, is_log: false });
        let range = parse("l2_reg", "number", "HPARAM_RANGE(1e-3, 10)").unwrap();
        assert_eq!(range, Values::Number { low: 1e-3, high: 10.0, is_log: true });
        let range = parse("num_leaves", "integer", "HPARAM_RANGE(2, 64)").unwrap();
        assert_eq!(range, Values::Whole { low: 2.0, high: 64.0, is_log: false });
        let read = parse("weights", "words", "HPARAM_CANDIDATES(['it''s', \"a,b\", plain, 0.5 ])").unwrap();
        assert_eq!(read, Values::Candidates(["it's", "a,b", "plain", "0.5"].map(str::to_owned).to_vec()));
        assert_eq!(["1", " HPARAM_RANGE(1,2)", "hparam_candidates([1])"].map(is_searched), [false, true, true]);
    }

    #[test]
    fn what_cannot_be_read_says_what_can() {
        let expect = |data_type, value, expected: &str| {
            let error = parse("l1_reg", data_type, value).unwrap_err().to_string();
            assert_eq!(error, format!("option l1_reg = '{value}' is not valid; expected {expected}"));
        };
        let range = "HPARAM_RANGE(low, high) of two numbers, the lower first";
        for value in ["HPARAM_RANGE(1)", "HPARAM_RANGE(2, 1)", "HPARAM_RANGE(1, x)", "HPARAM_RANGE(0, inf)"] {
            expect("number", value, range);
        }
        expect("integer", "HPARAM_RANGE(0, 1.5)", "HPARAM_RANGE(low, high) of two whole numbers, the lower first");
        expect("boolean", "HPARAM_RANGE(0, 1)", "HPARAM_CANDIDATES([…]) of an option that is boolean");
        let either = "HPARAM_RANGE(low, high) or HPARAM_CANDIDATES([value, …])";
        for value in [
            "HPARAM_CANDIDATES(1, 2)",
            "HPARAM_CANDIDATES([])",
            "HPARAM_CANDIDATES([1, ])",
            "HPARAM_CANDIDATES(['a)",
            "HPARAM_CANDIDATES(['a' b])",
            "HPARAM_RANGES(1, 2)",
        ] {
            expect("number", value, either);
        }
        expect("number", "HPARAM_CANDIDATES([1, 2, 1])", "each candidate once, and not '1' twice");
    }

    #[test]
    fn places_of_ranges_are_on_the_scale_of_the_option() {
        let log = parse("l2_reg", "number", "HPARAM_RANGE(0.01, 100)").unwrap();
        for (place, expected) in [(0.0, 0.01), (0.25, 0.1), (0.5, 1.0), (1.0, 100.0)] {
            assert!((log.number(place) / expected - 1.0).abs() < 1e-14, "{place}: {}", log.number(place));
            assert!((log.place(expected) - place).abs() < 1e-14);
        }
        let whole = parse("num_leaves", "integer", "HPARAM_RANGE(2, 5)").unwrap();
        let mut random = Random::new(1, 1);
        let mut counts = [0; 4];
        for _ in 0..4000 {
            let coordinate = whole.draw(&mut random);
            assert_eq!(whole.settled(coordinate), coordinate);
            counts[whole.text(coordinate).parse::<usize>().unwrap() - 2] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_eq!((0..4).map(|number| whole.text(whole.numbered(number))).collect::<String>(), "2345");
        // One draw in ten thousand of a range from 1 to 1e4 would be below 1 if it were not by logarithms.
        let wide = parse("max_iterations", "integer", "HPARAM_RANGE(1, 10000)").unwrap();
        let low = (0..1000).filter(|_| wide.number(wide.draw(&mut random)) < 100.0).count();
        assert!((400..600).contains(&low), "{low}");
    }
}
