//! What a user can set about Hoeffding trees, and how options become it.

use std::collections::BTreeMap;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

use super::tree::TreeLimits;
use crate::error::Result;
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// When leaves become splits, and how large a tree may get. [`Default`] is where the defaults live: those of River and
/// MOA, and limits.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(crate) struct GrowthConfig {
    /// Rows that a leaf takes between two looks for a split.
    pub(super) grace_period: u32,
    /// `δ`: the probability that a split is not the one that all rows would have chosen.
    pub(super) delta: f64,
    /// `τ`: the bound below which the best two splits count as equally good, and one is made.
    pub(super) tau: f64,
    /// Whether a split by a category has two branches, and never one for each category.
    pub(super) binary_split: bool,
    /// Splits and leaves together; past it no leaf is split any more.
    pub(super) max_nodes: u32,
    /// What the tree may hold, in MiB; past it the leaves that have the least to gain forget what they know of features.
    pub(super) max_size: f64,
    /// Categories of one feature that are told apart; later ones are one.
    pub(super) max_categories: u32,
}

impl Default for GrowthConfig {
    fn default() -> Self {
        Self {
            grace_period: 200,
            delta: 1e-7,
            tau: 0.05,
            binary_split: false,
            max_nodes: 100_000,
            max_size: 100.0,
            max_categories: 1000,
        }
    }
}

impl GrowthConfig {
    /// The options in the order to show them, with these as their defaults.
    pub(super) fn option_docs(config: &Self) -> Vec<OptionDoc> {
        let entry = OptionDoc::new;
        vec![
            entry("grace_period", "integer", &config.grace_period, "rows of a leaf between two looks for a split"),
            entry("delta", "number", &config.delta, "probability of a split that more rows would not have made"),
            entry("tau", "number", &config.tau, "bound below which the best two splits are a tie, and one is made"),
            entry("binary_split", "boolean", &config.binary_split, "two branches by a category, not one for each"),
            entry("max_nodes", "integer", &config.max_nodes, "splits and leaves past which the tree stops to grow"),
            entry("max_size", "number", &config.max_size, "MiB past which the purest leaves forget their features"),
            entry("max_categories", "integer", &config.max_categories, "categories told apart, a feature"),
        ]
    }

    /// Checks every number's range.
    ///
    /// # Errors
    /// `InvalidOption` for the first that is outside.
    pub(super) fn validate(&self) -> Result<()> {
        in_range("grace_period", f64::from(self.grace_period), 1.0, 1e9)?;
        in_range("delta", self.delta, 1e-30, 0.5)?;
        in_range("tau", self.tau, 0.0, 1.0)?;
        in_range("max_nodes", f64::from(self.max_nodes), 1.0, 1e6)?;
        // A snapshot has room for 256 MiB, of which the names of categories take some.
        in_range("max_size", self.max_size, 0.01, 200.0)?;
        in_range("max_categories", f64::from(self.max_categories), 1.0, 1e5)
    }

    /// Sets one option as SQL gives it; says whether it is one of these.
    ///
    /// # Errors
    /// `InvalidOption` for a value that cannot be read.
    pub(super) fn set(&mut self, option: &str, value: &str) -> Result<bool> {
        match option {
            "grace_period" => self.grace_period = parse("grace_period", value, "a whole number")?,
            "delta" => self.delta = parse("delta", value, "a number")?,
            "tau" => self.tau = parse("tau", value, "a number")?,
            "binary_split" => self.binary_split = parse("binary_split", value, "true or false")?,
            "max_nodes" => self.max_nodes = parse("max_nodes", value, "a whole number")?,
            "max_size" => self.max_size = parse("max_size", value, "a number")?,
            "max_categories" => self.max_categories = parse("max_categories", value, "a whole number")?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl TreeLimits for GrowthConfig {
    fn nodes_max(&self) -> usize {
        self.max_nodes as usize
    }

    fn bytes_max(&self) -> usize {
        (self.max_size * f64::from(1 << 20)) as usize
    }
}

/// What a leaf of classes says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum LeafPrediction {
    /// The shares that classes have of its rows.
    MajorityClass,
    /// What naive Bayes makes of them and of the row's features.
    NaiveBayes,
    /// Whichever of both has been right more often in this leaf (Holmes, Kirkby and Pfahringer 2005).
    Adaptive,
}

impl LeafPrediction {
    const ALL: [Self; 3] = [Self::Adaptive, Self::NaiveBayes, Self::MajorityClass];

    fn name(self) -> &'static str {
        match self {
            Self::MajorityClass => "majority_class",
            Self::NaiveBayes => "naive_bayes",
            Self::Adaptive => "adaptive",
        }
    }

    fn parse(value: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|prediction| prediction.name() == value.trim());
        found.ok_or_else(|| invalid("leaf_prediction", value, &Self::ALL.map(Self::name).join(", ")))
    }
}

/// The settings of a tree of classes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TreeConfig {
    pub(super) growth: GrowthConfig,
    pub(super) leaf_prediction: LeafPrediction,
}

impl Default for TreeConfig {
    fn default() -> Self {
        Self { growth: GrowthConfig::default(), leaf_prediction: LeafPrediction::Adaptive }
    }
}

// By hand, since savepoints have the prediction among the numbers of growth.
impl Encode for TreeConfig {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> std::result::Result<(), EncodeError> {
        let GrowthConfig { grace_period, delta, tau, binary_split, max_nodes, max_size, max_categories } = self.growth;
        (grace_period, delta, tau, self.leaf_prediction, binary_split, max_nodes, max_size, max_categories)
            .encode(encoder)
    }
}

impl<Context> Decode<Context> for TreeConfig {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> std::result::Result<Self, DecodeError> {
        let (grace_period, delta, tau, leaf_prediction, binary_split, max_nodes, max_size, max_categories) =
            Decode::decode(decoder)?;
        let growth = GrowthConfig { grace_period, delta, tau, binary_split, max_nodes, max_size, max_categories };
        Ok(Self { growth, leaf_prediction })
    }
}

bincode::impl_borrow_decode!(TreeConfig);

impl TreeConfig {
    /// Reads options as SQL gives them; those left out keep their defaults. `docs` are all that the model type has.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(super) fn from_options(
        model_type: &'static str,
        docs: &[OptionDoc],
        options: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut config = Self::default();
        config.read(model_type, docs, options)?;
        Ok(config)
    }

    /// The same where those left out keep what they are.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(super) fn read(
        &mut self,
        model_type: &'static str,
        docs: &[OptionDoc],
        options: &BTreeMap<String, String>,
    ) -> Result<()> {
        for (option, value) in options {
            if option == "leaf_prediction" {
                self.leaf_prediction = LeafPrediction::parse(value)?;
            } else if !self.growth.set(option, value)? {
                return Err(unknown(model_type, option, docs));
            }
        }
        self.growth.validate()
    }

    /// The options in the order to show them.
    pub(super) fn option_docs() -> Vec<OptionDoc> {
        Self::default().option_docs_with_these()
    }

    /// The options in the order to show them, with these as their defaults.
    pub(super) fn option_docs_with_these(&self) -> Vec<OptionDoc> {
        let mut docs = GrowthConfig::option_docs(&self.growth);
        let prediction = OptionDoc::new(
            "leaf_prediction",
            "adaptive, naive_bayes or majority_class",
            &self.leaf_prediction.name(),
            "what a leaf says: adaptive is whichever of the others has been right more often",
        );
        // Beside those that decide when a leaf becomes a split.
        docs.insert(3, prediction);
        docs
    }
}

impl TreeLimits for TreeConfig {
    fn nodes_max(&self) -> usize {
        self.growth.nodes_max()
    }

    fn bytes_max(&self) -> usize {
        self.growth.bytes_max()
    }
}
