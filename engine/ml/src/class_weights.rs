//! What a row of each class weighs in a fit, or in a step along a stream: the options `auto_class_weights` and
//! `class_weights`, named as by BigQuery.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::options::{in_range, invalid, parse};
use crate::registry::OptionDoc;

/// Weights of classes, by their names. The default is 1 for each.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ClassWeights {
    /// Whether the rows of each class weigh the same as a whole.
    auto: bool,
    /// Pairs of a class and the weight of a row of it; 1 for the others.
    weights: Vec<(String, f64)>,
}

impl ClassWeights {
    /// The options in the order to show them.
    pub(crate) fn option_docs() -> [OptionDoc; 2] {
        let auto = Self::default().auto;
        [
            OptionDoc::new("auto_class_weights", "boolean", &auto, "the rows of each class weigh the same as a whole"),
            OptionDoc::new(
                "class_weights",
                "class:weight, ...",
                &"",
                "weight of a row of a class; 1 for those left out",
            ),
        ]
    }

    /// Reads both options, as far as they are there.
    ///
    /// # Errors
    /// `InvalidOption` for what cannot be read, is out of range, or contradicts the other option.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let auto = options.get("auto_class_weights").map(|value| parse("auto_class_weights", value, "true or false"));
        let value = options.get("class_weights").map_or("", String::as_str);
        let weights = pairs(value)?;
        let auto = auto.transpose()?.unwrap_or_default();
        if auto && !weights.is_empty() {
            return Err(invalid("class_weights", value, "auto_class_weights = 'false' beside it"));
        }
        Ok(Self { auto, weights })
    }

    /// Whether the rows of each class weigh the same as a whole.
    pub(crate) fn is_auto(&self) -> bool {
        self.auto
    }

    /// Checks that each class that has a weight is one of these.
    ///
    /// # Errors
    /// `InvalidOption` for the first that is not.
    pub(crate) fn check_classes(&self, names: &[String]) -> Result<()> {
        match self.weights.iter().find(|(class, _)| !names.contains(class)) {
            Some((class, _)) => {
                Err(invalid("class_weights", class, &format!("classes of the label: {}", first_few(names))))
            }
            None => Ok(()),
        }
    }

    /// The weight of a row of each class, given the classes' names and how many rows each has.
    ///
    /// With `auto_class_weights` that is scikit-learn's `balanced`: `n / (classes * rows of the class)`.
    pub(crate) fn of_rows(&self, names: &[impl AsRef<str>], rows: &[u64]) -> Vec<f64> {
        let (all, count) = (rows.iter().sum::<u64>() as f64, rows.len() as f64);
        // A class without rows weighs nothing, whatever a row of it would.
        let balanced = |rows: u64| all / (count * rows.max(1) as f64);
        let classes = names.iter().zip(rows);
        classes.map(|(name, rows)| if self.auto { balanced(*rows) } else { self.of(name.as_ref()) }).collect()
    }

    fn of(&self, class: &str) -> f64 {
        self.weights.iter().find(|(known, _)| known == class).map_or(1.0, |(_, weight)| *weight)
    }
}

/// Reads `class:weight, class:weight`; a class's name may have colons in it.
fn pairs(value: &str) -> Result<Vec<(String, f64)>> {
    let expected = "class:weight pairs, such as 'true:10, false:1'";
    let mut weights: Vec<(String, f64)> = Vec::new();
    for pair in value.split(',').filter(|_| !value.trim().is_empty()) {
        let (class, weight) = pair.rsplit_once(':').ok_or_else(|| invalid("class_weights", value, expected))?;
        let weight: f64 = parse("class_weights", weight, expected)?;
        in_range("class_weights", weight, 1e-9, 1e9)?;
        if weights.iter().any(|(known, _)| known == class.trim()) {
            return Err(invalid("class_weights", value, "each class once"));
        }
        weights.push((class.trim().to_owned(), weight));
    }
    Ok(weights)
}

/// The first few classes, for a message.
fn first_few(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let more = if names.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}
