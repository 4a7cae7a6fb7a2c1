//! What the connector datagen puts into a column, read from the column's options.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::timestamp;
use crate::error::{PlanError, Result};
use crate::settings::parse_duration_ms;

/// How a column's values follow from the numbers of their rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeneratedColumn {
    /// Those of rows that have one.
    pub values: GeneratedValues,
    /// How likely it is that a row has none.
    pub null_rate: f64,
}

/// The values of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GeneratedValues {
    /// Whole numbers, or microseconds, from `min` to `max`, spread evenly.
    RandomWhole {
        /// The least one.
        min: i64,
        /// The greatest one.
        max: i64,
    },
    /// Numbers from `min` up to `max`, spread evenly.
    RandomFloat {
        /// The least one.
        min: f64,
        /// None is as great.
        max: f64,
    },
    /// Small letters.
    RandomText {
        /// How many.
        length: usize,
    },
    /// true or false, equally often.
    RandomBoolean,
    /// `start`, `start + step` and so on; as text where the column is.
    Sequence {
        /// The first one, a whole number or microseconds.
        start: i64,
        /// From one to the next.
        step: i64,
    },
}

/// Values of a whole-number column that nobody has narrowed.
const WHOLE: (i64, i64) = (0, i32::MAX as i64);
const TEXT_LENGTH: usize = 16;
const TEXT_LENGTH_MAX: usize = 65_536;
const FIRST_TIME: &str = "2023-11-14 22:13:20";
const TIME_STEP: &str = "1ms";

/// How the columns of a schema are generated.
pub fn generated_columns(options: &[(String, String)], schema: &Schema) -> Result<Vec<GeneratedColumn>> {
    schema.fields().iter().map(|field| ColumnOptions { options, column: field.name() }.read(field)).collect()
}

/// How many rows there are; `None` without an end.
pub fn generated_rows(options: &[(String, String)]) -> Result<Option<u64>> {
    let given = super::option(options, "rows").and_then(|rows| rows.parse().ok());
    let mut least: Option<u64> = given;
    for (key, _) in options {
        let Some(column) = key.strip_prefix("fields.").and_then(|key| key.strip_suffix(".end")) else { continue };
        let column = ColumnOptions { options, column };
        let (start, step) = (column.whole("start")?.unwrap_or(0), column.whole("step")?.unwrap_or(1));
        let end = column.whole("end")?.unwrap_or(i64::MAX);
        if step == 0 || (end >= start) != (step > 0) && end != start {
            return Err(column.wrong("end", "a number that the sequence comes to"));
        }
        let rows = end.abs_diff(start) / step.unsigned_abs() + 1;
        least = Some(least.map_or(rows, |least| least.min(rows)));
    }
    Ok(least)
}

/// The options of one column.
struct ColumnOptions<'a> {
    options: &'a [(String, String)],
    column: &'a str,
}

impl ColumnOptions<'_> {
    fn read(&self, field: &Field) -> Result<GeneratedColumn> {
        let null_rate = self.float("null_rate")?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&null_rate) || (null_rate > 0.0 && !field.is_nullable()) {
            return Err(self.wrong("null_rate", "a number from 0 to 1, and none but 0 in a column that is NOT NULL"));
        }
        let is_time = matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, None));
        let is_sequence = self.get("kind").map_or(is_time, |kind| kind == "sequence");
        let values = match field.data_type() {
            DataType::Int64 | DataType::Utf8 if is_sequence => self.sequence()?,
            DataType::Int32 if is_sequence => self.sequence()?,
            _ if is_time && is_sequence => self.time_sequence()?,
            DataType::Int64 => self.whole_between(i64::MIN, i64::MAX)?,
            DataType::Int32 => self.whole_between(i64::from(i32::MIN), i64::from(i32::MAX))?,
            DataType::Float64 if !is_sequence => self.float_between()?,
            DataType::Utf8 => self.text()?,
            DataType::Boolean if !is_sequence => GeneratedValues::RandomBoolean,
            _ if is_time => self.time_between()?,
            other => {
                let kind = if is_sequence { "sequences" } else { "columns" };
                return Err(PlanError::InvalidOption(format!(
                    "connector 'datagen' generates no {kind} of type {other} (column '{}'); it generates BIGINT, \
                     INTEGER, VARCHAR and TIMESTAMP, and at random DOUBLE and BOOLEAN too",
                    self.column
                )));
            }
        };
        self.refuse_others(values, is_time)?;
        Ok(GeneratedColumn { values, null_rate })
    }

    /// Refuses options that would do nothing.
    fn refuse_others(&self, values: GeneratedValues, is_time: bool) -> Result<()> {
        let used: &[&str] = match values {
            GeneratedValues::RandomWhole { .. } | GeneratedValues::RandomFloat { .. } => &["min", "max"],
            GeneratedValues::RandomText { .. } => &["length"],
            GeneratedValues::RandomBoolean => &[],
            GeneratedValues::Sequence { .. } if is_time => &["start", "step"],
            GeneratedValues::Sequence { .. } => &["start", "step", "end"],
        };
        let all = ["min", "max", "length", "start", "step", "end"];
        match all.iter().find(|name| !used.contains(name) && self.get(name).is_some()) {
            None => Ok(()),
            Some(name) => {
                let key = self.key(name);
                let used = if used.is_empty() { String::from("none") } else { used.join(", ") };
                let message =
                    format!("option '{key}' does nothing for what the column is filled with; of use are: {used}");
                Err(PlanError::given_option(&key, message))
            }
        }
    }

    fn sequence(&self) -> Result<GeneratedValues> {
        let (start, step) = (self.whole("start")?.unwrap_or(0), self.whole("step")?.unwrap_or(1));
        Ok(GeneratedValues::Sequence { start, step })
    }

    fn time_sequence(&self) -> Result<GeneratedValues> {
        let start = timestamp(&self.key("start"), self.get("start").unwrap_or(FIRST_TIME))?.0;
        let step = parse_duration_ms(self.get("step").unwrap_or(TIME_STEP)).and_then(|ms| i64::try_from(ms).ok());
        let step = step.ok_or_else(|| self.wrong("step", "a duration such as 10ms or 1s"))?;
        Ok(GeneratedValues::Sequence { start, step: step.saturating_mul(1000) })
    }

    fn whole_between(&self, least: i64, greatest: i64) -> Result<GeneratedValues> {
        let (min, max) = (self.whole("min")?.unwrap_or(WHOLE.0), self.whole("max")?);
        let max = max.unwrap_or(WHOLE.1.max(min));
        let is_valid = least <= min && min <= max && max <= greatest;
        let values = GeneratedValues::RandomWhole { min, max };
        if is_valid {
            Ok(values)
        } else {
            Err(self.wrong("max", "a number of the column's type, at least as great as 'min'"))
        }
    }

    fn float_between(&self) -> Result<GeneratedValues> {
        let (min, max) = (self.float("min")?.unwrap_or(0.0), self.float("max")?);
        let max = max.unwrap_or(min + 1.0);
        if min <= max {
            Ok(GeneratedValues::RandomFloat { min, max })
        } else {
            Err(self.wrong("max", "a number above 'min'"))
        }
    }

    fn time_between(&self) -> Result<GeneratedValues> {
        let time = |name: &str| timestamp(&self.key(name), self.get(name).unwrap_or(FIRST_TIME)).map(|time| time.0);
        let min = time("min")?;
        let max = if self.get("max").is_some() { time("max")? } else { min };
        if min <= max {
            Ok(GeneratedValues::RandomWhole { min, max })
        } else {
            Err(self.wrong("max", "a timestamp behind 'min'"))
        }
    }

    fn text(&self) -> Result<GeneratedValues> {
        let length = match self.get("length") {
            None => Some(TEXT_LENGTH),
            Some(length) => length.parse().ok().filter(|length| *length <= TEXT_LENGTH_MAX),
        };
        let length = length.ok_or_else(|| self.wrong("length", "a whole number up to 65536"))?;
        Ok(GeneratedValues::RandomText { length })
    }

    fn key(&self, name: &str) -> String {
        format!("fields.{}.{name}", self.column)
    }

    fn get(&self, name: &str) -> Option<&str> {
        let key = self.key(name);
        self.options.iter().find(|(given, _)| *given == key).map(|(_, value)| value.as_str())
    }

    fn whole(&self, name: &str) -> Result<Option<i64>> {
        self.get(name).map(|value| value.parse().map_err(|_| self.wrong(name, "a whole number"))).transpose()
    }

    fn float(&self, name: &str) -> Result<Option<f64>> {
        let parse = |value: &str| value.parse().ok().filter(|number: &f64| number.is_finite());
        self.get(name).map(|value| parse(value).ok_or_else(|| self.wrong(name, "a number"))).transpose()
    }

    fn wrong(&self, name: &str, wanted: &str) -> PlanError {
        let key = self.key(name);
        let message = format!("option '{key}' is '{}', but takes {wanted}", self.get(name).unwrap_or_default());
        PlanError::given_option(&key, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(column: (DataType, bool), options: &[(&str, &str)]) -> Result<GeneratedColumn> {
        let options: Vec<_> =
            options.iter().map(|(key, value)| (format!("fields.c.{key}"), String::from(*value))).collect();
        let schema = Schema::new(vec![Field::new("c", column.0, column.1)]);
        Ok(generated_columns(&options, &schema)?[0])
    }

    #[test]
    fn columns_have_defaults() {
        let values = |data_type| read((data_type, true), &[]).unwrap().values;
        assert_eq!(values(DataType::Int64), GeneratedValues::RandomWhole { min: 0, max: 2_147_483_647 });
        assert_eq!(values(DataType::Float64), GeneratedValues::RandomFloat { min: 0.0, max: 1.0 });
        assert_eq!(values(DataType::Utf8), GeneratedValues::RandomText { length: 16 });
        assert_eq!(values(DataType::Boolean), GeneratedValues::RandomBoolean);
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert_eq!(values(time), GeneratedValues::Sequence { start: 1_700_000_000_000_000, step: 1000 });
    }

    #[test]
    fn what_does_not_fit_a_column_is_refused() {
        let error = |data_type, options| read((data_type, true), options).unwrap_err().to_string();
        assert!(error(DataType::Int64, &[("min", "2"), ("max", "1")]).contains("at least as great as 'min'"));
        assert!(error(DataType::Int32, &[("max", "3000000000")]).contains("of the column's type"));
        assert!(error(DataType::Int64, &[("length", "2")]).contains("of use are: min, max"));
        assert!(error(DataType::Float64, &[("kind", "sequence")]).contains("no sequences of type Float64"));
        assert!(error(DataType::Date32, &[]).contains("no columns of type Date32"));
        assert!(error(DataType::Utf8, &[("null_rate", "2")]).contains("from 0 to 1"));
        let not_null = read((DataType::Utf8, false), &[("null_rate", "0.5")]).unwrap_err().to_string();
        assert!(not_null.contains("NOT NULL"));
    }

    #[test]
    fn the_shortest_sequence_ends_the_source() {
        let rows = |options: &[(&str, &str)]| {
            let options: Vec<_> =
                options.iter().map(|(key, value)| (String::from(*key), String::from(*value))).collect();
            generated_rows(&options).map_err(|error| error.to_string())
        };
        assert_eq!(rows(&[]), Ok(None));
        assert_eq!(rows(&[("rows", "7")]), Ok(Some(7)));
        assert_eq!(rows(&[("rows", "7"), ("fields.a.end", "4")]), Ok(Some(5)));
        assert_eq!(rows(&[("fields.a.start", "10"), ("fields.a.step", "-4"), ("fields.a.end", "1")]), Ok(Some(3)));
        assert!(rows(&[("fields.a.start", "5"), ("fields.a.end", "4")]).is_err());
    }
}
