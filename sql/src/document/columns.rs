//! Columns by name, and their types as text.

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::sql::sqlparser::parser::Parser;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidemill_plans::change::CHANGE_COLUMN;

use crate::catalog::StreamInfo;
use crate::dialect::TidemillDialect;
use crate::planner::expression::plan_type;
use crate::planner::source::column_names;
use crate::problem::{Problem, Read, each};

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnDocument {
    /// Its name.
    pub name: String,
    /// Its type: SQL's, such as BIGINT or TIMESTAMP, or Arrow's, such as Int64 or List(Utf8).
    #[serde(rename = "type")]
    pub data_type: String,
    /// Whether it may be NULL.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub nullable: bool,
}

fn yes() -> bool {
    true
}

impl ColumnDocument {
    pub(super) fn of(field: &Field) -> Self {
        Self { name: field.name().clone(), data_type: field.data_type().to_string(), nullable: field.is_nullable() }
    }

    pub(super) fn of_all(schema: &Schema) -> Vec<Self> {
        schema.fields().iter().map(|field| Self::of(field)).collect()
    }

    fn field(&self) -> Read<Field> {
        if self.name == CHANGE_COLUMN {
            return Err(Problem::new(format!("the column name {CHANGE_COLUMN} is taken by changelogs")));
        }
        Ok(Field::new(&self.name, read_type(&self.data_type)?, self.nullable))
    }
}

/// A schema of these columns, whose names differ.
pub(super) fn schema_of(columns: &[ColumnDocument]) -> Read<Schema> {
    let schema = Schema::new(each(columns, ColumnDocument::field)?);
    check_unique(&schema).map(|()| schema)
}

/// Refuses columns of one name: expressions call them by these.
pub(super) fn check_unique(schema: &Schema) -> Read<()> {
    for (index, field) in schema.fields().iter().enumerate() {
        if schema.index_of(field.name()).ok() != Some(index) {
            return Err(Problem::new(format!("there are two columns '{}'", field.name())));
        }
    }
    Ok(())
}

/// Arrow's name of a type, or else SQL's.
pub(super) fn read_type(text: &str) -> Read<DataType> {
    if let Ok(data_type) = text.parse::<DataType>() {
        return Ok(data_type);
    }
    let dialect = TidemillDialect::default();
    let parsed = Parser::new(&dialect).try_with_sql(text).and_then(|mut parser| parser.parse_data_type());
    let unknown = |why: String| Problem::new(format!("'{text}' is no type: {why}"));
    plan_type(parsed.map_err(|error| unknown(error.to_string()))?).map_err(|error| unknown(error.to_string()))
}

/// Where the columns of a stream are.
#[derive(Clone, Copy)]
pub(super) struct Places<'a>(pub(super) &'a StreamInfo);

impl Places<'_> {
    pub(super) fn of(self, name: &str) -> Read<usize> {
        let missing = |_| {
            let columns = column_names(&self.0.schema);
            Problem::new(format!("there is no column '{name}' in the input; there are: {columns}"))
        };
        self.0.schema.index_of(name).map_err(missing)
    }

    pub(super) fn of_all(self, names: &[String]) -> Read<Vec<usize>> {
        let places = each(names, |name| self.of(name))?;
        match (1..places.len()).find(|index| places[..*index].contains(&places[*index])) {
            Some(twice) => Err(Problem::new(format!("the column '{}' is there twice", names[twice]))),
            None => Ok(places),
        }
    }

    /// Where an event-time column is: one that the watermark speaks of.
    pub(super) fn of_time(self, name: &str) -> Read<usize> {
        let place = self.of(name)?;
        if self.0.times.contains(&place) {
            return Ok(place);
        }
        let times = match self.0.time_names().as_slice() {
            [] => String::from("the input has none"),
            times => format!("of the input these are: {}", times.join(", ")),
        };
        Err(Problem::new(format!("'{name}' is no event time here: {times}")))
    }
}

/// The name of a column.
pub(super) fn name_of(schema: &Schema, place: usize) -> String {
    schema.fields().get(place).map_or_else(String::new, |field| field.name().clone())
}

/// The names of columns.
pub(super) fn names_of(schema: &Schema, places: &[usize]) -> Vec<String> {
    places.iter().map(|place| name_of(schema, *place)).collect()
}
