//! SMOTE (Chawla, Bowyer, Hall and Kegelmeyer 2002, "SMOTE: synthetic minority over-sampling technique"): rows between a row
//! of a class and one of the rows of its class that are nearest to it.
//!
//! A number is anywhere between the two, the same part of the way for all numbers of a row; a category is the one that most
//! of the nearest rows have (the paper's SMOTE-NC). Distances are Euclidean, of numbers divided by their deviation within
//! the class, where two categories that differ are one deviation apart: so a number's unit decides nothing. A NULL is in
//! the middle of its column, and the row that is made up from one that has it has it, too.
//!
//! All rows of a class are looked at for each that others are made up from: the time is that of their number, squared.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema};

use super::rows::{KeptRows, Rows, unreadable};
use crate::batch::FitControl;
use crate::batch::parallel::{in_parallel, stretches};
use crate::error::{MlError, Result};
use crate::feature::moments::{Moments, Scale};
use crate::model::FeatureKind;
use crate::random::Random;

/// A row for each of `bases`, which ascend: between it and one of its nearest neighbours among `own`, the rows of its class.
///
/// # Errors
/// `Stopped`; `ReadColumn` for what cannot be read.
pub(super) fn between(
    rows: &KeptRows,
    own: &[u32],
    bases: &[u32],
    neighbors: usize,
    seed: u64,
    control: &FitControl,
) -> Result<Vec<Rows>> {
    let class = Class::read(&rows.numbered(own)?)?;
    let place = |base: &u32| own.binary_search(base).unwrap_or_default();
    let numbered: Vec<(u64, usize)> = (0..).zip(bases.iter().map(place)).collect();
    let made = in_parallel(&stretches(&numbered, control.threads.get()), |stretch| {
        let own = stretch.iter().take_while(|_| !control.is_stopped());
        own.map(|(number, base)| class.between(*base, neighbors, &mut Random::new(seed, *number))).collect::<Vec<_>>()
    });
    control.check()?;
    let mut made = made.into_iter().flatten();
    // Their labels are those of the rows that they are made up from.
    let labelled = rows.numbered(bases)?.into_iter().map(|based| {
        let own: Vec<Made> = made.by_ref().take(based.labels.len()).collect();
        Ok(Rows { features: class.batch(&own)?, labels: based.labels })
    });
    labelled.collect()
}

/// The rows of a class, column by column.
struct Class {
    columns: Vec<Column>,
    rows: usize,
}

struct Column {
    name: String,
    values: Values,
}

enum Values {
    /// NaN where missing.
    Numbers {
        values: Vec<f64>,
        scale: Scale,
    },
    Categories(Vec<Option<String>>),
}

/// A row that is made up: a value for each column.
type Made = Vec<Value>;

enum Value {
    Number(f64),
    Category(Option<String>),
}

impl Class {
    fn read(batches: &[Rows]) -> Result<Self> {
        let fields =
            batches.first().map(|rows| rows.features.schema()).map_or_else(Vec::new, |schema| schema.fields().to_vec());
        let column = |(place, field): (usize, &Arc<Field>)| {
            let arrays: Vec<&ArrayRef> = batches.iter().map(|rows| rows.features.column(place)).collect();
            Column::read(field.name(), &arrays)
        };
        let columns = fields.iter().enumerate().map(column).collect::<Result<_>>()?;
        Ok(Self { columns, rows: batches.iter().map(|rows| rows.labels.len()).sum() })
    }

    /// A row between one and one of its nearest.
    fn between(&self, base: usize, neighbors: usize, random: &mut Random) -> Made {
        let nearest = self.nearest(base, neighbors);
        let other = nearest.get(random.below(nearest.len() as u64) as usize).copied().unwrap_or(base);
        let part = random.fraction();
        self.columns.iter().map(|column| column.between(base, other, part, &nearest)).collect()
    }

    /// The rows nearest to one, which is none of them; of equals, the first.
    fn nearest(&self, base: usize, count: usize) -> Vec<usize> {
        let mut distances = vec![0.0; self.rows];
        self.columns.iter().for_each(|column| column.add_squares(base, &mut distances));
        let mut others: Vec<(f64, usize)> = distances
            .into_iter()
            .enumerate()
            .filter(|(row, _)| *row != base)
            .map(|(row, square)| (square, row))
            .collect();
        let order = |one: &(f64, usize), other: &(f64, usize)| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1));
        if count < others.len() {
            others.select_nth_unstable_by(count, order);
            others.truncate(count);
        }
        others.sort_unstable_by(order);
        others.into_iter().map(|(_, row)| row).collect()
    }

    fn batch(&self, made: &[Made]) -> Result<RecordBatch> {
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (place, column) in self.columns.iter().enumerate() {
            let values = made.iter().filter_map(|row| row.get(place));
            let array: ArrayRef = match column.values {
                Values::Numbers { .. } => Arc::new(values.map(Value::number).collect::<Float64Array>()),
                Values::Categories(_) => Arc::new(values.map(Value::category).collect::<StringArray>()),
            };
            fields.push(Field::new(&column.name, array.data_type().clone(), true));
            columns.push(array);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|source| MlError::BuildTable { source })
    }
}

impl Value {
    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number).filter(|number| !number.is_nan()),
            Self::Category(_) => None,
        }
    }

    fn category(&self) -> Option<&str> {
        match self {
            Self::Number(_) => None,
            Self::Category(category) => category.as_deref(),
        }
    }
}

impl Column {
    fn read(name: &str, arrays: &[&ArrayRef]) -> Result<Self> {
        let is_number = |array: &&ArrayRef| FeatureKind::of(array.data_type()) == Some(FeatureKind::Numeric);
        let values = if arrays.iter().all(is_number) { numbers(name, arrays)? } else { categories(name, arrays)? };
        Ok(Self { name: name.to_owned(), values })
    }

    /// Adds the squared distance of each row from one.
    fn add_squares(&self, base: usize, squares: &mut [f64]) {
        match &self.values {
            Values::Numbers { values, scale } => {
                let scaled =
                    |value: f64| if value.is_nan() { 0.0 } else { (value - scale.mean()) * scale.per_deviation() };
                let own = scaled(values[base]);
                for (square, other) in squares.iter_mut().zip(values) {
                    let apart = scaled(*other) - own;
                    *square += apart * apart;
                }
            }
            Values::Categories(categories) => {
                let own = &categories[base];
                let differs = |other: &Option<String>| f64::from(u8::from(other != own));
                squares.iter_mut().zip(categories).for_each(|(square, other)| *square += differs(other));
            }
        }
    }

    fn between(&self, base: usize, other: usize, part: f64, nearest: &[usize]) -> Value {
        match &self.values {
            Values::Numbers { values, .. } => {
                let (own, other) = (values[base], values[other]);
                Value::Number(if other.is_nan() { own } else { own + part * (other - own) })
            }
            Values::Categories(categories) => {
                let mut counts: BTreeMap<&Option<String>, usize> = BTreeMap::new();
                nearest.iter().for_each(|row| *counts.entry(&categories[*row]).or_default() += 1);
                // Of as many, the one in the order of the texts that comes first.
                let most = counts.into_iter().reduce(|most, next| if next.1 > most.1 { next } else { most });
                Value::Category(most.and_then(|(category, _)| category.clone()))
            }
        }
    }
}

fn numbers(name: &str, arrays: &[&ArrayRef]) -> Result<Values> {
    let mut values = Vec::new();
    for array in arrays {
        let array = cast(array, &DataType::Float64).map_err(unreadable(name))?;
        values.extend(array.as_primitive::<Float64Type>().iter().map(|number| number.unwrap_or(f64::NAN)));
    }
    let mut moments = Moments::default();
    values.iter().filter(|value| !value.is_nan()).for_each(|value| moments.add(*value));
    Ok(Values::Numbers { values, scale: moments.scale() })
}

fn categories(name: &str, arrays: &[&ArrayRef]) -> Result<Values> {
    let mut categories = Vec::new();
    for array in arrays {
        let texts = cast(array, &DataType::Utf8).map_err(unreadable(name))?;
        categories.extend(texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)));
    }
    Ok(Values::Categories(categories))
}
