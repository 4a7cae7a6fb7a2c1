//! Types. Texts, bytes and lists have one form each, whichever of Arrow's a producer names; what the server's functions
//! give is of these.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Fields, IntervalUnit, TimeUnit};

use super::Consumer;
use crate::problem::{Problem, Read, Within};
use crate::substrait::messages::{DecimalType, MapType, NamedStruct, Plain, StructType, Type, TypeKind};

/// What a type whose values are all NULL is called.
const NULL_TYPE: &str = "null";

/// The names that fields of structs still have to get.
type Names<'a> = std::slice::Iter<'a, String>;

impl Consumer<'_> {
    /// The columns of a table that a plan describes.
    pub(super) fn fields(&mut self, named: &NamedStruct) -> Read<Vec<Field>> {
        let columns = named.columns.as_ref().map(|columns| columns.types.as_slice()).unwrap_or_default();
        self.count_columns(columns.len())?;
        let mut names = named.names.iter();
        let fields = columns.iter().enumerate().map(|(place, column)| self.field(column, &mut names).at(place));
        let fields = fields.collect::<Read<Vec<Field>>>().within("struct")?;
        match names.len() {
            0 => Ok(fields),
            more => Err(Problem::new(format!("there are {more} names more than columns"))).within("names"),
        }
    }

    fn field(&self, column: &Type, names: &mut Names<'_>) -> Read<Field> {
        let name = names.next().ok_or_else(|| Problem::new("it has no name"))?;
        Ok(Field::new(name, self.type_of(column, Some(names))?, true))
    }

    /// The Arrow type of a type that stands by itself: fields in it have no names.
    pub(super) fn data_type(&self, given: &Type) -> Read<DataType> {
        self.type_of(given, None)
    }

    fn type_of(&self, given: &Type, names: Option<&mut Names<'_>>) -> Read<DataType> {
        let Some(kind) = &given.kind else {
            return Err(Problem::unsupported("a type that is not known", "cast it to another where it is computed"));
        };
        Ok(match kind {
            TypeKind::Bool(_) => DataType::Boolean,
            TypeKind::I8(plain) => integer(*plain, DataType::Int8, DataType::UInt8),
            TypeKind::I16(plain) => integer(*plain, DataType::Int16, DataType::UInt16),
            TypeKind::I32(plain) => integer(*plain, DataType::Int32, DataType::UInt32),
            TypeKind::I64(plain) => integer(*plain, DataType::Int64, DataType::UInt64),
            TypeKind::Fp32(_) => DataType::Float32,
            TypeKind::Fp64(_) => DataType::Float64,
            TypeKind::String(_) | TypeKind::FixedChar(_) | TypeKind::VarChar(_) => DataType::Utf8,
            TypeKind::Binary(_) => DataType::Binary,
            TypeKind::FixedBinary(sized) if sized.length >= 0 => DataType::FixedSizeBinary(sized.length),
            TypeKind::Decimal(decimal) => decimal_type(*decimal)?,
            TypeKind::Date(plain) => integer(*plain, DataType::Date32, DataType::Date64),
            TypeKind::Time(_) => DataType::Time64(TimeUnit::Microsecond),
            TypeKind::PrecisionTime(precise) => time_type(time_unit(precise.precision)?),
            TypeKind::Timestamp(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
            TypeKind::TimestampTz(_) => utc(TimeUnit::Microsecond),
            TypeKind::PrecisionTimestamp(precise) => DataType::Timestamp(time_unit(precise.precision)?, None),
            TypeKind::PrecisionTimestampTz(precise) => utc(time_unit(precise.precision)?),
            TypeKind::IntervalYear(_) => DataType::Interval(IntervalUnit::YearMonth),
            TypeKind::IntervalDay(day) if day.variation == 1 => {
                DataType::Duration(time_unit(day.precision.unwrap_or(6))?)
            }
            TypeKind::IntervalDay(_) => DataType::Interval(IntervalUnit::DayTime),
            TypeKind::IntervalCompound(_) => DataType::Interval(IntervalUnit::MonthDayNano),
            TypeKind::Struct(fields) => DataType::Struct(self.struct_fields(fields, names)?),
            TypeKind::List(list) => self.list_type(list.element.as_ref(), names)?,
            TypeKind::Map(map) => self.map_type(map, names)?,
            TypeKind::UserDefined(declared) if self.types.get(&declared.reference) == Some(&NULL_TYPE) => {
                DataType::Null
            }
            TypeKind::FixedBinary(_)
            | TypeKind::UserDefined(_)
            | TypeKind::Uuid(_)
            | TypeKind::Alias(_)
            | TypeKind::Func(_) => {
                let hint =
                    "numbers, texts, bytes, booleans, dates, times, intervals, structs, lists and maps are possible";
                return Err(Problem::unsupported("this type", hint));
            }
        })
    }

    pub(super) fn list_type(&self, element: Option<&Type>, names: Option<&mut Names<'_>>) -> Read<DataType> {
        let element = element.ok_or_else(|| Problem::new("the type of a list's elements is missing"))?;
        let element = self.type_of(element, names).within("list")?;
        Ok(DataType::List(Arc::new(Field::new_list_field(element, true))))
    }

    pub(super) fn map_type(&self, map: &MapType, mut names: Option<&mut Names<'_>>) -> Read<DataType> {
        let part = |given: &Option<Type>, names: Option<&mut Names<'_>>, member: &str| {
            let given = given.as_ref().ok_or_else(|| Problem::new("it is missing"));
            given.and_then(|given| self.type_of(given, names)).within(member).within("map")
        };
        let key = part(&map.key, names.as_deref_mut(), "key")?;
        Ok(map_type(map_fields(key, part(&map.value, names, "value")?)))
    }

    fn struct_fields(&self, given: &StructType, mut names: Option<&mut Names<'_>>) -> Read<Fields> {
        let fields = given.types.iter().enumerate().map(|(place, field)| match names.as_deref_mut() {
            Some(names) => self.field(field, names).at(place),
            None => Ok(Field::new(unnamed(place), self.data_type(field).at(place)?, true)),
        });
        fields.collect::<Read<Vec<Field>>>().map(Fields::from).within("struct")
    }
}

/// The name of a struct's field that has none.
pub(super) fn unnamed(place: usize) -> String {
    format!("c{place}")
}

/// The fields of a map's entries, as SQL's function `map` calls them.
pub(super) fn map_fields(key: DataType, value: DataType) -> Fields {
    Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)])
}

pub(super) fn map_type(entries: Fields) -> DataType {
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// The first of two types, unless the second is meant.
fn integer(plain: Plain, first: DataType, second: DataType) -> DataType {
    if plain.variation == 1 { second } else { first }
}

fn decimal_type(DecimalType { scale, precision, variation }: DecimalType) -> Read<DataType> {
    let digits = u8::try_from(precision).ok().filter(|precision| (1..=DECIMAL128_MAX_PRECISION).contains(precision));
    let scale = i8::try_from(scale).ok().filter(|scale| *scale >= 0 && i32::from(*scale) <= precision);
    match (digits, scale) {
        (Some(digits), Some(scale)) if variation == 0 => Ok(DataType::Decimal128(digits, scale)),
        _ => Err(Problem::new(format!("a decimal has 1 to {DECIMAL128_MAX_PRECISION} digits, not {precision}"))),
    }
}

pub(super) fn time_unit(precision: i32) -> Read<TimeUnit> {
    match precision {
        0 => Ok(TimeUnit::Second),
        3 => Ok(TimeUnit::Millisecond),
        6 => Ok(TimeUnit::Microsecond),
        9 => Ok(TimeUnit::Nanosecond),
        other => {
            Err(Problem::unsupported(format!("a time with {other} digits of a second"), "0, 3, 6 and 9 are possible"))
        }
    }
}

fn time_type(unit: TimeUnit) -> DataType {
    match unit {
        TimeUnit::Second | TimeUnit::Millisecond => DataType::Time32(unit),
        TimeUnit::Microsecond | TimeUnit::Nanosecond => DataType::Time64(unit),
    }
}

fn utc(unit: TimeUnit) -> DataType {
    DataType::Timestamp(unit, Some("UTC".into()))
}
