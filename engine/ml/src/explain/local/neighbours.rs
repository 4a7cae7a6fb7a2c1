//! Rows drawn feature by feature like those of a background, and where each of their values lies.
//!
//! Of each feature a row of the background is picked. Its category is taken as it is; of its number only the quarter in which
//! it lies, and the number is drawn anew by a normal distribution of those that lie there, between the quarter's bounds.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use tidemill_compute::kernel::logistic::sigmoid;

use super::Background;
use crate::error::{MlError, Result};
use crate::feature::columns::find_column;
use crate::model::{Feature, FeatureKind, FeatureSchema, NUMERIC_MAGNITUDE_MAX};
use crate::random::Random;

/// Rows that are drawn: four times those of the package, which draws them anew for each row that it explains. So weights
/// vary half as much from seed to seed.
const DRAWN: usize = 20_000;

/// The place of a missing value, and of a category that the background has not.
const MISSING: u32 = u32::MAX;
const UNKNOWN: u32 = u32::MAX - 1;

/// How far from its mean, in deviations, a number is drawn at most, and how often before the mean is taken.
const DEVIATIONS_MAX: f64 = 8.0;
const DRAWS_MAX: u32 = 64;

/// Drawn rows.
#[derive(Debug)]
pub(super) struct Neighbours {
    /// With the model's features, in its order.
    rows: RecordBatch,
    /// Row by row, where each feature's value lies: the number of its quarter, or of its category.
    places: Vec<u32>,
    ground: Vec<Ground>,
}

/// What is known of a feature of the background.
#[derive(Debug)]
enum Ground {
    Number(Quarters),
    /// Numbered by first sight.
    Category(HashMap<String, u32>),
}

/// The quarters of a number's values.
#[derive(Debug)]
struct Quarters {
    /// Their upper bounds, but for the last; each once, so there may be fewer than three.
    bounds: Vec<f64>,
    quarters: Vec<Quarter>,
}

/// The values between two bounds.
#[derive(Debug, Clone, Copy)]
struct Quarter {
    min: f64,
    max: f64,
    mean: f64,
    deviation: f64,
}

impl Neighbours {
    /// Rows like those of a background; none where that has none.
    ///
    /// # Errors
    /// `MissingColumn`, `ChangedColumn`, `ReadColumn` or `BuildTable`.
    pub(super) fn draw(schema: &FeatureSchema, background: Background<'_>) -> Result<Option<Self>> {
        let rows = background.rows.num_rows();
        if rows == 0 {
            return Ok(None);
        }
        let width = schema.fields().len();
        let (mut fields, mut columns, mut ground) = (Vec::new(), Vec::new(), Vec::new());
        let mut places = vec![0; DRAWN * width];
        for (feature, field) in schema.fields().iter().enumerate() {
            let mut random = Random::new(background.seed, feature as u64);
            let picked: Vec<u64> = (0..DRAWN).map(|_| random.below(rows as u64)).collect();
            let column = find_column(field, feature, background.rows)?;
            let own = Ground::of(field, column)?;
            let of_rows = own.places(field, column)?;
            let drawn = picked.iter().map(|row| of_rows[*row as usize]);
            places.iter_mut().skip(feature).step_by(width).zip(drawn).for_each(|(place, drawn)| *place = drawn);
            let column: ArrayRef = match &own {
                Ground::Number(quarters) => {
                    let number = |row: &u64| quarters.draw(of_rows[*row as usize], &mut random);
                    Arc::new(picked.iter().map(number).collect::<Float64Array>())
                }
                Ground::Category(_) => {
                    take(column, &UInt64Array::from(picked), None).map_err(|source| read(field, source))?
                }
            };
            fields.push(Field::new(&field.name, column.data_type().clone(), true));
            columns.push(column);
            ground.push(own);
        }
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
        Ok(Some(Self { rows: rows.map_err(|source| MlError::BuildTable { source })?, places, ground }))
    }

    pub(super) fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// Where the values of a drawn row lie, one for each feature.
    pub(super) fn places_of(&self, row: usize) -> &[u32] {
        let width = self.ground.len();
        &self.places[row * width..][..width]
    }

    /// The same of other rows, row by row.
    ///
    /// # Errors
    /// `MissingColumn`, `ChangedColumn` or `ReadColumn`.
    pub(super) fn places(&self, schema: &FeatureSchema, features: &RecordBatch) -> Result<Vec<u32>> {
        let width = self.ground.len();
        let mut places = vec![0; features.num_rows() * width];
        for (feature, (field, ground)) in schema.fields().iter().zip(&self.ground).enumerate() {
            let own = ground.places(field, find_column(field, feature, features)?)?;
            places.iter_mut().skip(feature).step_by(width).zip(own).for_each(|(place, own)| *place = own);
        }
        Ok(places)
    }
}

impl Ground {
    fn of(field: &Feature, column: &ArrayRef) -> Result<Self> {
        if field.kind == FeatureKind::Numeric {
            return Ok(Self::Number(Quarters::of(numbers(field, column)?.into_iter().flatten().collect())));
        }
        let mut known = HashMap::new();
        for text in texts(field, column)?.iter().flatten() {
            let next = known.len() as u32;
            known.entry(text.to_owned()).or_insert(next);
        }
        Ok(Self::Category(known))
    }

    /// Where the values of a column lie.
    fn places(&self, field: &Feature, column: &ArrayRef) -> Result<Vec<u32>> {
        Ok(match self {
            Self::Number(quarters) => {
                let place = |number: Option<f64>| number.map_or(MISSING, |number| quarters.place(number));
                numbers(field, column)?.into_iter().map(place).collect()
            }
            Self::Category(known) => {
                let place = |text: &str| known.get(text).copied().unwrap_or(UNKNOWN);
                texts(field, column)?.iter().map(|text| text.map_or(MISSING, place)).collect()
            }
        })
    }
}

impl Quarters {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let mut bounds: Vec<f64> = [0.25, 0.5, 0.75].iter().filter_map(|share| percentile(&values, *share)).collect();
        bounds.dedup();
        let mut own = Self { bounds, quarters: Vec::new() };
        let ends = values.first().copied().zip(values.last().copied());
        let Some((first, last)) = ends else { return own };
        for place in 0..=own.bounds.len() {
            let start = place.checked_sub(1).map_or(first, |below| own.bounds[below]);
            let end = own.bounds.get(place).copied().unwrap_or(last);
            let within = |value: &&f64| own.place(**value) == place as u32;
            own.quarters.push(Quarter::new(start, end, &values.iter().filter(within).copied().collect::<Vec<_>>()));
        }
        own
    }

    /// The number of the quarter of a value: at a bound it is the one below.
    fn place(&self, value: f64) -> u32 {
        self.bounds.partition_point(|bound| *bound < value) as u32
    }

    /// A number that lies there; none of a missing one.
    fn draw(&self, place: u32, random: &mut Random) -> Option<f64> {
        self.quarters.get(place as usize).map(|quarter| quarter.draw(random))
    }
}

impl Quarter {
    fn new(min: f64, max: f64, values: &[f64]) -> Self {
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        Self { min, max, mean, deviation: (squares / count).sqrt() }
    }

    /// By a normal distribution that is cut off at the bounds: of numbers that are evenly spread between them, each is
    /// taken with its density over that of the mean (Robert 1995, "Simulation of truncated normal variables").
    fn draw(&self, random: &mut Random) -> f64 {
        let reach = DEVIATIONS_MAX * self.deviation;
        let (min, max) = (self.min.max(self.mean - reach), self.max.min(self.mean + reach));
        let draws = if min < max { DRAWS_MAX } else { 0 };
        for _ in 0..draws {
            let value = min + random.fraction() * (max - min);
            let deviations = (value - self.mean) / self.deviation;
            let exponent = 0.5 * deviations * deviations;
            // `e^-x`, by the logistic function, which is the kernels' own.
            if random.fraction() < sigmoid(-exponent) / sigmoid(exponent) {
                return value;
            }
        }
        self.mean
    }
}

/// The value below which such a share of some lies, which are in order, between neighbours in proportion, as NumPy's.
fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let place = share * values.len().checked_sub(1)? as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let above = values.get(below + 1).unwrap_or(&values[below]);
    Some(values[below] + part * (above - values[below]))
}

/// The numbers of a column; none where they are missing or no model could use them.
fn numbers(field: &Feature, column: &ArrayRef) -> Result<Vec<Option<f64>>> {
    let numbers = cast(column, &DataType::Float64).map_err(|source| read(field, source))?;
    let is_usable = |number: &f64| number.abs() <= NUMERIC_MAGNITUDE_MAX;
    Ok(numbers.as_primitive::<Float64Type>().iter().map(|number| number.filter(is_usable)).collect())
}

fn texts(field: &Feature, column: &ArrayRef) -> Result<StringArray> {
    let texts = cast(column, &DataType::Utf8).map_err(|source| read(field, source))?;
    Ok(texts.as_string::<i32>().clone())
}

fn read(field: &Feature, source: arrow::error::ArrowError) -> MlError {
    MlError::ReadColumn { column: field.name.clone(), source }
}
