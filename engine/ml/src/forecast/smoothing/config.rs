//! What a user can set about exponential smoothing. BigQuery has no such model; its names are used where it has one.

use std::collections::BTreeMap;

use super::fit::fit;
use super::{Error, Form, Season, SeriesModel, Smoothing, Trend};
use crate::batch::FitControl;
use crate::error::Result;
use crate::forecast::NoForecast;
use crate::forecast::batch::{Fit, Fitted, SeriesConfig};
use crate::forecast::columns::SeriesColumns;
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// Points of a season.
pub(super) const PERIOD_MAX: u16 = 1000;

/// The settings of a fit. [`Default`] is where the defaults live. What is not set is chosen for each series by Akaike's
/// criterion corrected for short ones.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SmoothingConfig {
    pub(crate) error: Option<Error>,
    pub(crate) trend: Option<Trend>,
    pub(crate) season: Option<Season>,
    /// Points of a season; 1 for none.
    pub(crate) period: u16,
    /// Steps of the search for the parameters of one form at most.
    pub(crate) max_iterations: u64,
}

impl Default for SmoothingConfig {
    fn default() -> Self {
        Self { error: None, trend: None, season: None, period: 1, max_iterations: 500 }
    }
}

impl SmoothingConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range or contradicts another.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (option, value) in options.iter().filter(|(option, _)| !SeriesColumns::has_option(option)) {
            config.set(option, value)?;
        }
        in_range(SEASONALITY, f64::from(config.period), 1.0, f64::from(PERIOD_MAX))?;
        in_range("max_iterations", config.max_iterations as f64, 1.0, 1e5)?;
        match config.season {
            Some(Season::Additive | Season::Multiplicative) if config.period == 1 => {
                Err(invalid(SEASONALITY, "1", "the points of a season, beside seasonal_type"))
            }
            Some(Season::Multiplicative) if config.error == Some(Error::Additive) => {
                Err(invalid("error_type", "additive", "multiplicative, beside a season that is"))
            }
            _ => Ok(config),
        }
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        let own = vec![
            entry("error_type", "additive | multiplicative | auto", &AUTO, "errors of one size, or parts of values"),
            entry(
                "trend_type",
                "none | additive | damped | auto",
                &AUTO,
                "whether there is a trend, and whether it ends",
            ),
            entry("seasonal_type", "none | additive | multiplicative | auto", &AUTO, "how a season changes values"),
            entry(SEASONALITY, "integer", &config.period, "points of a season; 1 for none"),
            entry("max_iterations", "integer", &config.max_iterations, "steps of the search of one form at most"),
        ];
        SeriesColumns::option_docs().into_iter().chain(own).collect()
    }

    fn set(&mut self, option: &str, value: &str) -> Result<()> {
        let errors = [("additive", Error::Additive), ("multiplicative", Error::Multiplicative)];
        let trends = [("none", Trend::None), ("additive", Trend::Additive), ("damped", Trend::Damped)];
        let seasons =
            [("none", Season::None), ("additive", Season::Additive), ("multiplicative", Season::Multiplicative)];
        match option {
            "error_type" => self.error = one_of("error_type", value, &errors)?,
            "trend_type" => self.trend = one_of("trend_type", value, &trends)?,
            "seasonal_type" => self.season = one_of("seasonal_type", value, &seasons)?,
            SEASONALITY => self.period = parse(SEASONALITY, value, "a whole number")?,
            "max_iterations" => self.max_iterations = parse("max_iterations", value, "a whole number")?,
            _ => return Err(unknown(Smoothing::MODEL_TYPE, option, &Self::option_docs())),
        }
        Ok(())
    }

    /// The forms to choose from, simple ones first.
    fn forms(&self) -> Vec<Form> {
        let errors = self.error.map_or(vec![Error::Additive, Error::Multiplicative], |error| vec![error]);
        let trends = self.trend.map_or(vec![Trend::None, Trend::Additive, Trend::Damped], |trend| vec![trend]);
        let seasons = match self.season {
            Some(season) => vec![season],
            None if self.period == 1 => vec![Season::None],
            None => vec![Season::None, Season::Additive, Season::Multiplicative],
        };
        let mut forms = Vec::new();
        for season in seasons {
            for trend in &trends {
                for error in &errors {
                    let is_stable = season != Season::Multiplicative || *error == Error::Multiplicative;
                    let period = if season == Season::None { 1 } else { self.period };
                    let form = Form { error: *error, trend: *trend, season, period };
                    forms.extend(is_stable.then_some(form));
                }
            }
        }
        forms
    }
}

impl SeriesConfig for SmoothingConfig {
    type Model = Smoothing;

    /// The form with the smallest criterion; of equals, the first.
    fn fit(&self, values: &[f64], control: &FitControl) -> Result<Fitted<Smoothing>> {
        let mut best: Option<(f64, Fit<Smoothing>)> = None;
        let mut note = None;
        let mut iterations = 0;
        for form in self.forms() {
            match fit(form, values, self.max_iterations, control)? {
                Ok(fit) => {
                    iterations += fit.iterations;
                    let score = fit.model.summary().aicc;
                    if best.as_ref().is_none_or(|(least, _)| score < *least) {
                        best = Some((score, fit));
                    }
                }
                Err(reason) => note = note.or(Some(reason)),
            }
        }
        let Some((_, best)) = best else { return Ok(Err(note.unwrap_or(NoForecast::Diverged))) };
        Ok(Ok(Fit { iterations, ..best }))
    }

    fn season(&self) -> usize {
        usize::from(self.period)
    }
}

const AUTO: &str = "auto";
const SEASONALITY: &str = "seasonality";

/// One of some words, or none for `auto`.
fn one_of<T: Copy>(option: &'static str, value: &str, words: &[(&str, T)]) -> Result<Option<T>> {
    let value = value.trim().to_ascii_lowercase();
    if value == AUTO {
        return Ok(None);
    }
    let found = words.iter().find(|(word, _)| *word == value);
    let expected = || words.iter().map(|(word, _)| *word).chain([AUTO]).collect::<Vec<_>>().join(", ");
    found.map(|(_, one)| Some(*one)).ok_or_else(|| invalid(option, &value, &format!("one of {}", expected())))
}
