//! Makes columns from the bytes of fields.
//!
//! Values in the forms that are usual are read from the bytes. A column of a batch that has any other
//! value is made as text and cast by Arrow, which knows all forms and says what does not fit; where both
//! can read a value, they read the same.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray, StringArray, StringBuilder};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};

use super::record::ColumnText;
use crate::connector::files::conform::Conforming;
use crate::error::Result;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Adds the next column to a batch.
pub(super) fn push_column(batch: &mut Conforming<'_>, column: &ColumnText<'_>, null: &[u8]) -> Result<()> {
    let usual = match batch.field().data_type() {
        DataType::Utf8 => texts(column, null),
        DataType::Int64 => primitives::<Int64Type>(column, null, whole),
        DataType::Int32 => primitives::<Int32Type>(column, null, |text| whole(text)?.try_into().ok()),
        DataType::Int16 => primitives::<Int16Type>(column, null, |text| whole(text)?.try_into().ok()),
        DataType::Int8 => primitives::<Int8Type>(column, null, |text| whole(text)?.try_into().ok()),
        DataType::Float64 => primitives::<Float64Type>(column, null, decimal),
        DataType::Date32 => primitives::<Date32Type>(column, null, date),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            primitives::<TimestampMicrosecondType>(column, null, timestamp)
        }
        DataType::Boolean => booleans(column, null),
        _ => None,
    };
    match usual {
        Some(values) => batch.push(values),
        None => push_any(batch, column, null),
    }
}

/// Any text of any type.
fn push_any(batch: &mut Conforming<'_>, column: &ColumnText<'_>, null: &[u8]) -> Result<()> {
    let mut values = StringBuilder::new();
    for (row, text) in column.iter().enumerate() {
        match std::str::from_utf8(text) {
            _ if text == null => values.append_null(),
            Ok(text) => values.append_value(text),
            Err(error) => {
                batch.refuse(row, |field| format!("column '{}' is not UTF-8: {error}", field.name()))?;
                values.append_null();
            }
        }
    }
    batch.push_cast(&(Arc::new(values.finish()) as ArrayRef))
}

fn texts(column: &ColumnText<'_>, null: &[u8]) -> Option<ArrayRef> {
    let bytes = column.iter().map(<[u8]>::len).sum();
    let (mut text, mut lengths) = (Vec::with_capacity(bytes), Vec::with_capacity(column.len()));
    for value in column.iter().map(|value| if value == null { &[] } else { value }) {
        text.extend_from_slice(value);
        lengths.push(value.len());
    }
    let offsets = OffsetBuffer::from_lengths(lengths);
    Some(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(text), nulls(column, null)).ok()?))
}

fn primitives<T: ArrowPrimitiveType>(
    column: &ColumnText<'_>,
    null: &[u8],
    parse: impl Fn(&[u8]) -> Option<T::Native>,
) -> Option<ArrayRef> {
    let mut values = Vec::with_capacity(column.len());
    for text in column.iter() {
        values.push(if text == null { T::Native::default() } else { parse(text)? });
    }
    Some(Arc::new(PrimitiveArray::<T>::try_new(values.into(), nulls(column, null)).ok()?))
}

fn booleans(column: &ColumnText<'_>, null: &[u8]) -> Option<ArrayRef> {
    let mut values = Vec::with_capacity(column.len());
    for text in column.iter() {
        values.push(match text {
            b"true" if text != null => true,
            b"false" if text != null => false,
            _ if text == null => false,
            _ => return None,
        });
    }
    Some(Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls(column, null))))
}

/// Which values are there; `None` if all are.
fn nulls(column: &ColumnText<'_>, null: &[u8]) -> Option<NullBuffer> {
    if column.iter().all(|text| text != null) {
        return None;
    }
    Some(column.iter().map(|text| text != null).collect::<BooleanBuffer>().into())
}

/// A whole number of up to 18 digits.
fn whole(text: &[u8]) -> Option<i64> {
    let (digits, sign) = match text {
        [b'-', digits @ ..] => (digits, -1),
        digits => (digits, 1),
    };
    Some(sign * digits_of(digits, 18)? as i64)
}

/// The number that digits write, at least one of them and at most so many.
fn digits_of(digits: &[u8], most: usize) -> Option<u64> {
    if digits.is_empty() || digits.len() > most {
        return None;
    }
    let mut number = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    Some(number)
}

/// A number such as 12, -0.5 or 3.25 with up to 15 digits. The digits and the power of ten are exact as
/// floats, so that their quotient is rounded correctly (Clinger, "How to read floating point numbers
/// accurately", 1990).
fn decimal(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (digits, is_negative) = match text {
        [b'-', digits @ ..] => (digits, true),
        digits => (digits, false),
    };
    let magnitude = match digits.iter().position(|byte| *byte == b'.') {
        None => digits_of(digits, 15)? as f64,
        Some(point) => {
            let (whole, fraction) = (&digits[..point], &digits[point + 1..]);
            if whole.len() + fraction.len() > 15 {
                return None;
            }
            let power = POWERS[fraction.len()];
            (digits_of(whole, 15)? as f64 * power + digits_of(fraction, 15)? as f64) / power
        }
    };
    Some(if is_negative { -magnitude } else { magnitude })
}

/// Days since 1970 of YYYY-MM-DD.
fn date(text: &[u8]) -> Option<i32> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *text else { return None };
    let year = digits_of(&[y1, y2, y3, y4], 4)? as i32;
    let (month, day) = (digits_of(&[m1, m2], 2)? as usize, digits_of(&[d1, d2], 2)? as i32);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *days.get(month.checked_sub(1)?)?;
    if !(1..=length).contains(&day) {
        return None;
    }
    // Years before this one, from year 0 on, which is a leap year.
    let leap_years = (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    const DAYS_TO_1970: i32 = 719_528;
    let before: i32 = days[..month - 1].iter().sum();
    Some(year * 365 + leap_years - DAYS_TO_1970 + before + day - 1)
}

/// Microseconds since 1970 of YYYY-MM-DD HH:MM:SS, with up to six digits behind a point.
fn timestamp(text: &[u8]) -> Option<i64> {
    let (day, time) = text.split_at_checked(10)?;
    let [b' ' | b'T', h1, h2, b':', m1, m2, b':', s1, s2, fraction @ ..] = time else { return None };
    let (hour, minute) = (digits_of(&[*h1, *h2], 2)? as i64, digits_of(&[*m1, *m2], 2)? as i64);
    let second = digits_of(&[*s1, *s2], 2)? as i64;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = match fraction {
        [] => 0,
        [b'.', digits @ ..] => digits_of(digits, 6)? as i64 * 10_i64.pow(6 - digits.len() as u32),
        _ => return None,
    };
    let seconds = (hour * 60 + minute) * 60 + second;
    Some(i64::from(date(day)?) * MICROS_PER_DAY + seconds * 1_000_000 + micros)
}
