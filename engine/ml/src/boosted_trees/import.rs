//! Models of other libraries as boosted trees: XGBoost's JSON, LightGBM's text and LightGBM's JSON.
//!
//! What becomes of a file is a model of this crate like any other, with the library's predictions. A file is not trusted:
//! whatever it says, the answer is a model or an error that names the place.
//!
//! A tree of this crate takes rows with `number <= threshold` to the left. What the libraries do otherwise is turned into
//! that:
//!
//! - XGBoost compares with `<`, and rounds both sides to single precision before: the threshold becomes the largest number
//!   that is rounded to less. Its sets of categories lead to the right, so the sides are exchanged; categories that were
//!   never seen go with those that are in no set.
//! - LightGBM reads a missing number as 0 where the training set had none missing, and never finds a missing category in a
//!   set. Trees that take zeros for missing (`zero_as_missing`) cannot be imported.
//! - XGBoost adds `base_score` to the sum of the trees: of two classes it is a probability, or else a score.
//!
//! Neither library says what the classes are called: their numbers count from 0, and the caller may give them names. What
//! rows a model was fitted to is not known either: it has learnt none. All trees of a file count; whoever wants those up to
//! the best iteration saves these alone.
//!
//! References: <https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html>, LightGBM's `Tree::ToString` and
//! `Tree::NumericalDecision`.

mod lightgbm;
mod lightgbm_json;
mod lightgbm_text;
mod parsed;
#[cfg(test)]
mod tests;
mod xgboost;

use std::fmt::{self, Display};

use arrow::datatypes::DataType;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::{MlError, Result};
use crate::model::FeatureSchema;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportFormat {
    /// What XGBoost's `save_model('model.json')` writes.
    XgboostJson,
    /// What LightGBM's `save_model` and `model_to_string` write.
    LightgbmText,
    /// What LightGBM's `dump_model` makes, as JSON.
    LightgbmJson,
}

impl ImportFormat {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::XgboostJson, Self::LightgbmText, Self::LightgbmJson];

    /// Its name, for options and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XgboostJson => "xgboost_json",
            Self::LightgbmText => "lightgbm_text",
            Self::LightgbmJson => "lightgbm_json",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// What a text looks like it is written in, if it looks like any.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Look {
            learner: Option<IgnoredAny>,
            tree_info: Option<IgnoredAny>,
        }
        if text.trim_start().lines().next().is_some_and(|line| line.trim_end() == "tree") {
            return Some(Self::LightgbmText);
        }
        match serde_json::from_str(text).ok()? {
            Look { learner: Some(_), .. } => Some(Self::XgboostJson),
            Look { tree_info: Some(_), .. } => Some(Self::LightgbmJson),
            Look { .. } => None,
        }
    }
}

/// The classes of a label, in the order of the library's numbers: the first is its class 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedClasses {
    /// The type of the label: a BOOLEAN, a VARCHAR or a whole number.
    pub data_type: DataType,
    /// As text; those of a boolean label are `false` and `true`.
    pub names: Vec<String>,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// What [`restore_predictor`](crate::restore_predictor) reads.
    pub model: Vec<u8>,
    /// The name in `CREATE MODEL` of models of this type.
    pub model_type: &'static str,
    /// The columns that predictions read. Categories that the library knew by number alone are texts here: '0', '1', ….
    pub schema: FeatureSchema,
    /// The type of predicted labels.
    pub label_type: DataType,
}

/// Makes a model of a file. Without names, classes are whole numbers from 0.
///
/// # Errors
/// `Import` for a file that cannot be read, or that has what trees of this crate have not; `UnsupportedLabel` for a
/// type that is none of classes; `StateTooLarge`. Never panics, whatever the text.
pub fn import(text: &str, format: ImportFormat, classes: Option<&ImportedClasses>) -> Result<Imported> {
    let parsed = match format {
        ImportFormat::XgboostJson => xgboost::read(text),
        ImportFormat::LightgbmText => lightgbm_text::read(text),
        ImportFormat::LightgbmJson => lightgbm_json::read(text),
    };
    let at = |Problem { place, problem }| MlError::Import { format: format.name(), place, problem };
    let named = match classes {
        Some(classes) => Some(parsed::Named::new(classes)?),
        None => None,
    };
    parsed.and_then(|parsed| parsed.into_trees(named)).map_err(at)?.into_imported()
}

/// What is wrong with a file, and where.
#[derive(Debug)]
struct Problem {
    place: String,
    problem: String,
}

type Parse<T> = std::result::Result<T, Problem>;

impl Problem {
    fn at(place: impl Display, problem: impl Display) -> Self {
        Self { place: place.to_string(), problem: problem.to_string() }
    }

    /// What a parser of JSON says names the line.
    fn in_json(error: &serde_json::Error) -> Self {
        Self::at("its JSON", error)
    }
}

/// A tree of a file, by its number from 0.
#[derive(Debug, Clone, Copy)]
struct TreePlace(usize);

impl Display for TreePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tree {}", self.0)
    }
}
