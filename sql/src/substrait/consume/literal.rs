//! Values.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalDayTime, IntervalMonthDayNano, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::Consumer;
use super::nested_literal::empty_list;
use super::types::time_unit;
use crate::problem::{Problem, Read, Within};
use crate::substrait::messages::{
    Compound, DayToSecond, DecimalType, DecimalValue, Literal, LiteralKind, PreciseValue, Type, TypeKind, YearToMonth,
};

/// What can be a value.
const POSSIBLE: &str = "numbers, texts, bytes, booleans, dates, times, intervals, structs, lists and maps are possible";

const NANOS_OF_SECOND: i64 = 1_000_000_000;

impl Consumer<'_> {
    pub(super) fn literal(&mut self, literal: &Literal) -> Read<Expr> {
        Ok(Expr::Literal(self.scalar(literal).within("literal")?, None))
    }

    pub(super) fn scalar(&mut self, literal: &Literal) -> Read<ScalarValue> {
        self.count(1)?;
        let unsigned = literal.variation == 1;
        Ok(match literal.kind.as_ref().ok_or_else(|| refused("a value of a type that is not known"))? {
            LiteralKind::Boolean(value) => ScalarValue::from(*value),
            LiteralKind::I8(value) if unsigned => ScalarValue::from(u8::try_from(*value).map_err(too_large)?),
            LiteralKind::I8(value) => ScalarValue::from(i8::try_from(*value).map_err(too_large)?),
            LiteralKind::I16(value) if unsigned => ScalarValue::from(u16::try_from(*value).map_err(too_large)?),
            LiteralKind::I16(value) => ScalarValue::from(i16::try_from(*value).map_err(too_large)?),
            LiteralKind::I32(value) if unsigned => ScalarValue::from(value.cast_unsigned()),
            LiteralKind::I32(value) => ScalarValue::from(*value),
            LiteralKind::I64(value) if unsigned => ScalarValue::from(value.cast_unsigned()),
            LiteralKind::I64(value) => ScalarValue::from(*value),
            LiteralKind::Fp32(value) => ScalarValue::from(*value),
            LiteralKind::Fp64(value) => ScalarValue::from(*value),
            LiteralKind::String(value) | LiteralKind::FixedChar(value) => ScalarValue::from(value.as_str()),
            LiteralKind::VarChar(value) => ScalarValue::from(value.value.as_str()),
            LiteralKind::Binary(value) => ScalarValue::Binary(Some(value.clone())),
            LiteralKind::FixedBinary(value) => {
                ScalarValue::FixedSizeBinary(i32::try_from(value.len()).map_err(too_large)?, Some(value.clone()))
            }
            LiteralKind::Decimal(value) => self.decimal(value)?,
            LiteralKind::Date(days) => ScalarValue::Date32(Some(*days)),
            LiteralKind::Time(micros) => ScalarValue::Time64Microsecond(Some(*micros)),
            LiteralKind::PrecisionTime(time) => time_of_day(*time)?,
            LiteralKind::Timestamp(micros) => timestamp(PreciseValue { precision: 6, value: *micros }, None)?,
            LiteralKind::TimestampTz(micros) => timestamp(PreciseValue { precision: 6, value: *micros }, utc())?,
            LiteralKind::PrecisionTimestamp(value) => timestamp(*value, None)?,
            LiteralKind::PrecisionTimestampTz(value) => timestamp(*value, utc())?,
            LiteralKind::IntervalYear(interval) => ScalarValue::IntervalYearMonth(Some(months(*interval)?)),
            LiteralKind::IntervalDay(interval) => day_time(*interval)?,
            LiteralKind::IntervalCompound(interval) => compound(*interval)?,
            LiteralKind::Null(of) => ScalarValue::try_from(&self.data_type(of).within("null")?)?,
            LiteralKind::List(list) => self.list(&list.values)?,
            LiteralKind::EmptyList(of) => empty_list(&self.list_type(of.element.as_ref(), None)?)?,
            LiteralKind::Struct(row) => self.struct_of(&row.fields)?,
            LiteralKind::Map(map) => self.map(&map.entries)?,
            LiteralKind::EmptyMap(of) => self.empty_map(of)?,
            LiteralKind::Uuid(_) => return Err(refused("a UUID as a value")),
            LiteralKind::UserDefined(_) => return Err(refused("a value of a type of its producer's own")),
        })
    }

    fn decimal(&self, given: &DecimalValue) -> Read<ScalarValue> {
        let DecimalValue { value, precision, scale } = given;
        let bytes = <[u8; 16]>::try_from(value.as_slice())
            .map_err(|_| Problem::new(format!("a decimal has 16 bytes, not {}", value.len())))?;
        let of = DecimalType { scale: *scale, precision: *precision, variation: 0 };
        match self.data_type(&Type { kind: Some(TypeKind::Decimal(of)) })? {
            DataType::Decimal128(digits, scale) => {
                Ok(ScalarValue::Decimal128(Some(i128::from_le_bytes(bytes)), digits, scale))
            }
            other => Err(refused(format!("a value of the type {other}"))),
        }
    }
}

pub(super) fn refused(what: impl Into<String>) -> Problem {
    Problem::unsupported(what, POSSIBLE)
}

fn too_large(error: std::num::TryFromIntError) -> Problem {
    Problem::new(format!("the value does not fit its type: {error}"))
}

fn utc() -> Option<Arc<str>> {
    Some("UTC".into())
}

fn timestamp(PreciseValue { precision, value }: PreciseValue, zone: Option<Arc<str>>) -> Read<ScalarValue> {
    Ok(match time_unit(precision)? {
        TimeUnit::Second => ScalarValue::TimestampSecond(Some(value), zone),
        TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(Some(value), zone),
        TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(Some(value), zone),
        TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(Some(value), zone),
    })
}

fn time_of_day(PreciseValue { precision, value }: PreciseValue) -> Read<ScalarValue> {
    let short = || i32::try_from(value).map_err(too_large);
    Ok(match time_unit(precision)? {
        TimeUnit::Second => ScalarValue::Time32Second(Some(short()?)),
        TimeUnit::Millisecond => ScalarValue::Time32Millisecond(Some(short()?)),
        TimeUnit::Microsecond => ScalarValue::Time64Microsecond(Some(value)),
        TimeUnit::Nanosecond => ScalarValue::Time64Nanosecond(Some(value)),
    })
}

fn months(YearToMonth { years, months }: YearToMonth) -> Read<i32> {
    years.checked_mul(12).and_then(|of_years| of_years.checked_add(months)).ok_or_else(too_long)
}

/// The nanoseconds of an interval beside its days.
fn nanos(interval: DayToSecond) -> Read<i64> {
    let DayToSecond { seconds, microseconds, precision, subseconds, .. } = interval;
    let Some(power) = u32::try_from(precision).ok().and_then(|precision| 9u32.checked_sub(precision)) else {
        return Err(Problem::new(format!("parts of a second have 0 to 9 digits, not {precision}")));
    };
    let parts = subseconds.checked_mul(10i64.pow(power)).ok_or_else(too_long)?;
    let whole = i64::from(seconds) * NANOS_OF_SECOND + i64::from(microseconds) * 1000;
    whole.checked_add(parts).ok_or_else(too_long)
}

fn day_time(interval: DayToSecond) -> Read<ScalarValue> {
    let nanos = nanos(interval)?;
    let (days, nanoseconds) = (interval.days, nanos);
    match i32::try_from(nanos / 1_000_000).ok().filter(|_| nanos % 1_000_000 == 0) {
        Some(milliseconds) => Ok(ScalarValue::IntervalDayTime(Some(IntervalDayTime { days, milliseconds }))),
        None => Ok(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano { months: 0, days, nanoseconds }))),
    }
}

fn compound(Compound { year_to_month, day_to_second }: Compound) -> Read<ScalarValue> {
    let day_to_second = day_to_second.unwrap_or_default();
    let months = months(year_to_month.unwrap_or_default())?;
    let (days, nanoseconds) = (day_to_second.days, nanos(day_to_second)?);
    Ok(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano { months, days, nanoseconds })))
}

fn too_long() -> Problem {
    Problem::new("the interval is too long")
}
