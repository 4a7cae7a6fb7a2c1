//! Values that have values in them: lists, structs and maps.
//!
//! Fields of structs have no names where they stand as values; a table's, or the result's, come to them later.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, MapArray, StructArray, make_array, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::Consumer;
use super::literal::refused;
use super::types::{map_fields, map_type, unnamed};
use crate::problem::{Problem, Read, Within, each};
use crate::substrait::messages::{Literal, MapEntry, MapType};

impl Consumer<'_> {
    pub(super) fn list(&mut self, values: &[Literal]) -> Read<ScalarValue> {
        let values = each(values, |value| self.scalar(value)).within("list")?;
        let first = one_type("elements", &values).within("list")?;
        Ok(ScalarValue::List(ScalarValue::new_list_nullable(&values, &first)))
    }

    pub(super) fn struct_of(&mut self, fields: &[Literal]) -> Read<ScalarValue> {
        let values = each(fields, |field| self.scalar(field)).within("struct")?;
        if values.is_empty() {
            return Err(refused("a struct without fields as a value"));
        }
        let fields =
            values.iter().enumerate().map(|(place, value)| Field::new(unnamed(place), value.data_type(), true));
        let arrays = values.iter().map(|value| value.to_array()).collect::<Result<Vec<_>, _>>()?;
        let array = StructArray::try_new(fields.collect(), arrays, None).map_err(invalid)?;
        Ok(ScalarValue::Struct(Arc::new(array)))
    }

    pub(super) fn map(&mut self, entries: &[MapEntry]) -> Read<ScalarValue> {
        let keys = each(entries, |entry| self.part(entry.key.as_ref(), "key")).within("map")?;
        let values = each(entries, |entry| self.part(entry.value.as_ref(), "value")).within("map")?;
        check_keys(&keys).within("map")?;
        let fields = map_fields(one_type("keys", &keys).within("map")?, one_type("values", &values).within("map")?);
        let arrays = vec![ScalarValue::iter_to_array(keys)?, ScalarValue::iter_to_array(values)?];
        map_array(StructArray::try_new(fields, arrays, None).map_err(invalid)?)
    }

    fn part(&mut self, part: Option<&Literal>, member: &str) -> Read<ScalarValue> {
        let part = part.ok_or_else(|| Problem::new("it is missing"));
        part.and_then(|part| self.scalar(part)).within(member)
    }

    pub(super) fn empty_map(&self, of: &MapType) -> Read<ScalarValue> {
        let DataType::Map(entries, _) = self.map_type(of, None)? else { return Err(refused("this map as a value")) };
        let entries = new_empty_array(entries.data_type());
        map_array(StructArray::from(entries.to_data()))
    }
}

pub(super) fn empty_list(of: &DataType) -> Read<ScalarValue> {
    match of {
        DataType::List(element) => Ok(ScalarValue::List(ScalarValue::new_list_nullable(&[], element.data_type()))),
        other => Err(refused(format!("a value of the type {other}"))),
    }
}

/// The type that all of some values have.
fn one_type(what: &str, values: &[ScalarValue]) -> Read<DataType> {
    let first = values.first().ok_or_else(|| Problem::new("what is empty is sent as such, with its type"))?.data_type();
    match values.iter().find(|value| value.data_type() != first) {
        None => Ok(first),
        Some(other) => {
            Err(Problem::new(format!("its {what} are {first} and {}; cast them to one type", other.data_type())))
        }
    }
}

/// Refuses keys that SQL's function `map` refuses.
fn check_keys(keys: &[ScalarValue]) -> Read<()> {
    let mut seen = std::collections::HashSet::new();
    match keys.iter().find(|key| key.is_null() || !seen.insert(*key)) {
        None => Ok(()),
        Some(key) if key.is_null() => Err(Problem::new("a key cannot be NULL")),
        Some(key) => Err(Problem::new(format!("the key {key} is there twice"))),
    }
}

/// One map of all these entries.
fn map_array(entries: StructArray) -> Read<ScalarValue> {
    let DataType::Map(field, sorted) = map_type(entries.fields().clone()) else {
        return Err(refused("this map as a value"));
    };
    let array = MapArray::try_new(field, OffsetBuffer::from_lengths([entries.len()]), entries, None, sorted);
    Ok(ScalarValue::Map(Arc::new(array.map_err(invalid)?)))
}

/// A literal whose fields have the names of this type, where they are of one shape.
pub(super) fn with_names(expr: Expr, wanted: &DataType) -> Expr {
    match expr {
        Expr::Literal(value, metadata) if has_fields(wanted) => {
            let renamed = renamed_value(&value, wanted);
            Expr::Literal(renamed.unwrap_or(value), metadata)
        }
        other => other,
    }
}

/// Whether a type has fields with names somewhere in it.
fn has_fields(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(_) | DataType::Map(..) => true,
        DataType::List(element) => has_fields(element.data_type()),
        _ => false,
    }
}

fn renamed_value(value: &ScalarValue, wanted: &DataType) -> Option<ScalarValue> {
    let data = renamed_data(value.to_array().ok()?.to_data(), wanted)?;
    ScalarValue::try_from_array(&make_array(data), 0).ok()
}

fn renamed_data(data: ArrayData, wanted: &DataType) -> Option<ArrayData> {
    let inner: Vec<&DataType> = match (data.data_type(), wanted) {
        (DataType::Struct(_), DataType::Struct(fields)) => fields.iter().map(|field| field.data_type()).collect(),
        (DataType::List(_), DataType::List(inner)) | (DataType::Map(..), DataType::Map(inner, _)) => {
            vec![inner.data_type()]
        }
        (own, wanted) => return (own == wanted).then_some(data),
    };
    if inner.len() != data.child_data().len() {
        return None;
    }
    let children = data.child_data().iter().cloned().zip(inner);
    let children = children.map(|(child, wanted)| renamed_data(child, wanted)).collect::<Option<Vec<_>>>()?;
    data.into_builder().data_type(wanted.clone()).child_data(children).build().ok()
}

fn invalid(error: arrow::error::ArrowError) -> Problem {
    Problem::new(error.to_string())
}
