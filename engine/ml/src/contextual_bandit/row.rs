//! A row as the regressions read it, and what its draws depend on.

use arrow::array::{Array, StringArray};

use crate::feature::context::Context;
use crate::feature::dictionary::NO_SLOT;
use crate::feature::row_reader::RowReader;
use crate::model::RejectReason;
use crate::random::mixed;

/// A row as the regressions read it.
pub(super) struct EncodedRow {
    /// By slot; numbers are as they were read, NaN where missing.
    pub(super) values: Vec<f64>,
    /// Of what the row's draws depend on.
    pub(super) key: u64,
}

/// A row as the regressions read it, without learning its categories.
///
/// # Errors
/// Why it cannot be used.
pub(super) fn encode(
    context: &Context,
    reader: &mut RowReader<'_>,
    row: usize,
    units: Option<&StringArray>,
) -> std::result::Result<EncodedRow, RejectReason> {
    let mut key = text_key(0, unit_of(units, row));
    let mut name = String::new();
    let (slots, numbers) = reader.read(row, |feature, category| {
        key = text_key(key, category);
        context.slot(&mut name, feature, category)
    })?;
    let mut values = vec![0.0; context.width()];
    values[0] = 1.0;
    for (value, number) in values[1..].iter_mut().zip(numbers) {
        *value = *number;
        // Missing numbers are NaN of some bits, and 0 has two signs.
        let bits = if number.is_nan() { u64::MAX } else { (number + 0.0).to_bits() };
        key = mixed(key.rotate_left(1) ^ bits);
    }
    slots.iter().filter(|slot| **slot != NO_SLOT).for_each(|slot| values[*slot as usize] = 1.0);
    Ok(EncodedRow { values, key })
}

fn unit_of(units: Option<&StringArray>, row: usize) -> Option<&str> {
    units.filter(|units| units.is_valid(row)).map(|units| units.value(row))
}

/// A key that depends on another and on a text, or on that there is none.
fn text_key(key: u64, text: Option<&str>) -> u64 {
    let Some(text) = text else { return mixed(key.wrapping_add(1)) };
    let mut key = mixed(key ^ (text.len() as u64).wrapping_add(2));
    for bytes in text.as_bytes().chunks(8) {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        key = mixed(key.rotate_left(1) ^ u64::from_le_bytes(eight));
    }
    key
}
