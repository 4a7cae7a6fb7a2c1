//! What a user can set about ARIMA: BigQuery's names where it has one.

use std::collections::BTreeMap;

use super::auto;
use super::fit::{Scaled, fit};
use super::{Arima, Order, SeriesModel};
use crate::batch::FitControl;
use crate::error::Result;
use crate::forecast::batch::{Fitted, SeriesConfig};
use crate::forecast::columns::SeriesColumns;
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// The largest of each order, and of what `p` and `q` are together.
const ORDER_MAX: u8 = 10;
const SEASONAL_ORDER_MAX: u8 = 2;
const DIFFERENCES_MAX: u8 = 2;

/// Points of a season: the filter's work grows with the square of it. Two seasons and more of hours, or one of weeks.
const SEASON_MAX: u16 = 60;

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ArimaConfig {
    /// `p`, `d`, `q`; where it is not set the orders are searched for.
    pub(crate) order: Option<[u8; 3]>,
    /// `P`, `D`, `Q`, beside an order that is set.
    pub(crate) seasonal_order: [u8; 3],
    /// Points of a season; 1 for none.
    pub(crate) season: u16,
    /// The most that a searched order has of `p` and `q` together.
    pub(crate) max_order: u8,
    /// Whether a model with differences of a set order has a drift. One without has a mean.
    pub(crate) include_drift: bool,
    /// Steps of the search for the coefficients of one order at most.
    pub(crate) max_iterations: u64,
}

impl Default for ArimaConfig {
    fn default() -> Self {
        Self { order: None, seasonal_order: [0; 3], season: 1, max_order: 5, include_drift: false, max_iterations: 200 }
    }
}

impl ArimaConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range or contradicts another.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        let mut auto: Option<bool> = None;
        for (option, value) in options.iter().filter(|(option, _)| !SeriesColumns::has_option(option)) {
            match option.as_str() {
                AUTO_ARIMA => auto = Some(parse(AUTO_ARIMA, value, "true or false")?),
                _ => config.set(option, value)?,
            }
        }
        match (auto, config.order) {
            (Some(true), Some(_)) => return Err(invalid(AUTO_ARIMA, "true", "false beside non_seasonal_order")),
            (Some(false), None) => return Err(invalid(AUTO_ARIMA, "false", "non_seasonal_order beside it")),
            _ => {}
        }
        config.validate()?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        let own = vec![
            entry(AUTO_ARIMA, "boolean", &config.order.is_none(), "search for the orders that each series asks for"),
            entry(ORDER, "p,d,q", &AUTO, "values before, differences, errors before; auto searches"),
            entry(SEASONAL_ORDER, "P,D,Q", &"0,0,0", "the same a season before, beside non_seasonal_order"),
            entry(SEASONALITY, "integer", &config.season, "points of a season; 1 for none"),
            entry(MAX_ORDER, "integer", &config.max_order, "most that a searched order has of p and q together"),
            entry("include_drift", "boolean", &config.include_drift, "a drift beside differences that are set"),
            entry("max_iterations", "integer", &config.max_iterations, "steps of the search of one order at most"),
        ];
        SeriesColumns::option_docs().into_iter().chain(own).collect()
    }

    /// Whether the search may try an order.
    pub(super) fn allows(&self, order: &Order) -> bool {
        is_allowed(order) && order.ar + order.ma <= self.max_order
    }

    /// The order that is set.
    fn given(&self) -> Option<Order> {
        let [ar, differences, ma] = self.order?;
        let [seasonal_ar, seasonal_differences, seasonal_ma] = self.seasonal_order;
        let constant = differences + seasonal_differences == 0 || self.include_drift;
        let season = self.season;
        Some(Order { ar, differences, ma, seasonal_ar, seasonal_differences, seasonal_ma, season, constant })
    }

    fn set(&mut self, option: &str, value: &str) -> Result<()> {
        const WHOLE: &str = "a whole number";
        match option {
            ORDER if value.trim().eq_ignore_ascii_case(AUTO) => self.order = None,
            ORDER => self.order = Some(parse_order(ORDER, value)?),
            SEASONAL_ORDER => self.seasonal_order = parse_order(SEASONAL_ORDER, value)?,
            SEASONALITY => self.season = parse(SEASONALITY, value, WHOLE)?,
            MAX_ORDER => self.max_order = parse(MAX_ORDER, value, WHOLE)?,
            "include_drift" => self.include_drift = parse("include_drift", value, "true or false")?,
            "max_iterations" => self.max_iterations = parse("max_iterations", value, WHOLE)?,
            _ => return Err(unknown(Arima::MODEL_TYPE, option, &Self::option_docs())),
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        in_range(SEASONALITY, f64::from(self.season), 1.0, f64::from(SEASON_MAX))?;
        in_range(MAX_ORDER, f64::from(self.max_order), 1.0, f64::from(ORDER_MAX))?;
        in_range("max_iterations", self.max_iterations as f64, 1.0, 1e5)?;
        let [_, seasonal_differences, _] = self.seasonal_order;
        let shown = |order: [u8; 3]| order.map(|one| one.to_string()).join(",");
        if self.seasonal_order != [0; 3] && (self.season == 1 || self.order.is_none()) {
            return Err(invalid(
                SEASONAL_ORDER,
                &shown(self.seasonal_order),
                "seasonality and non_seasonal_order beside it",
            ));
        }
        if self.given().is_some_and(|order| !is_allowed(&order)) {
            let expected = format!(
                "p and q up to {ORDER_MAX}, P and Q up to {SEASONAL_ORDER_MAX}, D up to 1, d up to {DIFFERENCES_MAX}"
            );
            return Err(invalid(ORDER, &shown(self.order.unwrap_or_default()), &expected));
        }
        if self.include_drift && self.order.is_some_and(|[_, d, _]| d + seasonal_differences > 1) {
            return Err(invalid("include_drift", "true", "false, with more than one difference"));
        }
        Ok(())
    }
}

/// Whether models have such an order.
pub(super) fn is_allowed(order: &Order) -> bool {
    [order.ar, order.ma].iter().all(|one| *one <= ORDER_MAX)
        && [order.seasonal_ar, order.seasonal_ma].iter().all(|one| *one <= SEASONAL_ORDER_MAX)
        && order.differences <= DIFFERENCES_MAX
        && order.seasonal_differences <= 1
        && (1..=SEASON_MAX).contains(&order.season)
        && (order.season > 1 || !order.is_seasonal())
}

impl SeriesConfig for ArimaConfig {
    type Model = Arima;

    fn fit(&self, values: &[f64], control: &FitControl) -> Result<Fitted<Arima>> {
        let series = Scaled::new(values);
        match self.given() {
            Some(order) => fit(&series, order, self.max_iterations, control),
            None => auto::search(&series, self, control),
        }
    }

    fn season(&self) -> usize {
        usize::from(self.season)
    }
}

const AUTO_ARIMA: &str = "auto_arima";
const AUTO: &str = "auto";
const ORDER: &str = "non_seasonal_order";
const SEASONAL_ORDER: &str = "seasonal_order";
const SEASONALITY: &str = "seasonality";
const MAX_ORDER: &str = "auto_arima_max_order";

/// Three whole numbers with commas, in brackets or not.
fn parse_order(option: &'static str, value: &str) -> Result<[u8; 3]> {
    let inner = value.trim().trim_start_matches(['(', '[']).trim_end_matches([')', ']']);
    let numbers: Vec<u8> = inner.split(',').map_while(|number| number.trim().parse().ok()).collect();
    let count = inner.split(',').count();
    match numbers[..] {
        [first, second, third] if count == 3 => Ok([first, second, third]),
        _ => Err(invalid(option, value, "three whole numbers, such as 1,0,1")),
    }
}
