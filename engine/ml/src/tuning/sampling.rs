//! Makes classes alike in number before a fit: rows of large classes are left out, or rows of small ones repeated or made
//! up. Rows that judge a model stay as they are.

use std::collections::BTreeMap;

use super::rows::{KeptRows, Rows};
use super::smote;
use crate::batch::FitControl;
use crate::batch::data_split::{Part, rows_of_each, shuffled};
use crate::batch::draws::Draws;
use crate::error::Result;
use crate::options::{in_range, invalid, parse};
use crate::registry::OptionDoc;

const SAMPLING: &str = "sampling";
const RATIO: &str = "sampling_ratio";
const NEIGHBORS: &str = "smote_neighbors";

/// What is done about classes of few rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// Rows of the others are left out.
    Undersample,
    /// Their rows are repeated, each as often as the others, up to one.
    Oversample,
    /// Rows between theirs are made up: see [`smote`].
    Smote,
}

impl Method {
    const ALL: [(&'static str, Option<Self>); 4] = [
        ("none", None),
        ("undersample", Some(Self::Undersample)),
        ("oversample", Some(Self::Oversample)),
        ("smote", Some(Self::Smote)),
    ];
}

/// How classes are made alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampling {
    method: Method,
    /// Rows of the smallest class, as a part of the largest's, that there are to be at least.
    ratio: f64,
    /// Rows next to one, between which and itself others are made up.
    neighbors: usize,
}

/// The rows that a model learns instead.
pub(super) struct Sampled {
    pub(super) parts: Vec<Part>,
    /// Rows beside those.
    pub(super) extra: Vec<Rows>,
}

impl Sampling {
    /// The options' names.
    pub(super) const OPTIONS: [&'static str; 3] = [SAMPLING, RATIO, NEIGHBORS];

    /// The options in the order to show them.
    pub(super) fn option_docs() -> [OptionDoc; 3] {
        let entry = OptionDoc::new;
        let methods = "none, undersample, oversample or smote";
        let of_method = "rows learnt of small classes: leave out others', repeat them, or make some up between them";
        let of_ratio = "rows of the smallest class to come to, as a part of the largest's";
        [
            entry(SAMPLING, methods, &"none", of_method),
            entry(RATIO, "number", &1, of_ratio),
            entry(
                NEIGHBORS,
                "integer",
                &5,
                "smote: the nearest rows of its class, between which and a row others are made up",
            ),
        ]
    }

    /// Reads the options; none where nothing is asked for.
    ///
    /// # Errors
    /// `InvalidOption` for what cannot be read, is out of range, or says nothing to the method.
    pub(super) fn from_options(options: &BTreeMap<String, String>) -> Result<Option<Self>> {
        let method = options.get(SAMPLING).map_or(Ok(None), |value| parse_method(value))?;
        let beside = |option: &'static str, value: &str, expected: &str| Err(invalid(option, value, expected));
        let mut sampling = Self { method: method.unwrap_or(Method::Oversample), ratio: 1.0, neighbors: 5 };
        if let Some(value) = options.get(RATIO) {
            sampling.ratio = parse(RATIO, value, "a number")?;
            in_range(RATIO, sampling.ratio, 1e-6, 1.0)?;
            if method.is_none() {
                return beside(RATIO, value, "sampling = 'undersample', 'oversample' or 'smote' beside it");
            }
        }
        if let Some(value) = options.get(NEIGHBORS) {
            sampling.neighbors = parse(NEIGHBORS, value, "a whole number")?;
            in_range(NEIGHBORS, sampling.neighbors as f64, 1.0, 1000.0)?;
            if method != Some(Method::Smote) {
                return beside(NEIGHBORS, value, "sampling = 'smote' beside it");
            }
        }
        Ok(method.map(|_| sampling))
    }

    /// What is learnt of the rows that these parts say are.
    ///
    /// # Errors
    /// `Stopped`; `InvalidOption` where rows are to be made up of a class that has one row.
    pub(super) fn apply(&self, rows: &KeptRows, parts: &[Part], seed: u64, control: &FitControl) -> Result<Sampled> {
        let mut classes = rows_of_each(rows.classes());
        classes.iter_mut().for_each(|own| own.retain(|row| parts[*row as usize] == Part::Learnt));
        classes.retain(|own| !own.is_empty());
        let draws = Draws::new(seed, b"sampling", 0);
        let mut sampled = Sampled { parts: parts.to_vec(), extra: Vec::new() };
        if self.method == Method::Undersample {
            let least = classes.iter().map(Vec::len).min().unwrap_or(0);
            let most = (least as f64 / self.ratio).round() as usize;
            let others = classes.into_iter().flat_map(|own| shuffled(&draws, own).into_iter().skip(most));
            others.for_each(|row| sampled.parts[row as usize] = Part::LeftOut);
            return Ok(sampled);
        }
        let most = classes.iter().map(Vec::len).max().unwrap_or(0);
        let least = (most as f64 * self.ratio).round() as usize;
        for own in classes {
            let missing = least.saturating_sub(own.len());
            // Each row in turn, so that none is repeated twice before all are once.
            let mut bases: Vec<u32> = shuffled(&draws, own.clone()).into_iter().cycle().take(missing).collect();
            bases.sort_unstable();
            sampled.extra.extend(match self.method {
                _ if missing == 0 => Vec::new(),
                Method::Smote if own.len() == 1 => return Err(too_small()),
                Method::Smote => smote::between(rows, &own, &bases, self.neighbors, seed, control)?,
                Method::Oversample | Method::Undersample => rows.numbered(&bases)?,
            });
        }
        Ok(sampled)
    }
}

fn too_small() -> crate::error::MlError {
    invalid(SAMPLING, "smote", "at least two rows of each class that are learnt, or 'oversample', which repeats one")
}

fn parse_method(value: &str) -> Result<Option<Method>> {
    let wanted = value.trim().to_ascii_lowercase();
    let known = Method::ALL.iter().find(|(name, _)| *name == wanted);
    known
        .map(|(_, method)| *method)
        .ok_or_else(|| invalid(SAMPLING, value, &format!("one of {}", Method::ALL.map(|(name, _)| name).join(", "))))
}
