//! The columns of series: which they are, by BigQuery's options, and the rows of a training set as they come.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use bincode::{Decode, Encode};

use super::grid::TimeType;
use crate::classes::LabelKind;
use crate::error::{MlError, Result};
use crate::model::{FeatureKind, FeatureSchema, NUMERIC_MAGNITUDE_MAX, RejectReason, RejectedRow};
use crate::options::invalid;
use crate::registry::OptionDoc;

pub(super) const TIMESTAMP_COL: &str = "time_series_timestamp_col";
const DATA_COL: &str = "time_series_data_col";
const ID_COL: &str = "time_series_id_col";

/// Which columns hold a row's time, its value, and the name of the series that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SeriesColumns {
    pub(super) time: String,
    pub(super) value: String,
    /// None where all rows are one series.
    pub(super) id: Option<String>,
}

impl Default for SeriesColumns {
    fn default() -> Self {
        Self { time: "timestamp".to_owned(), value: "value".to_owned(), id: None }
    }
}

impl SeriesColumns {
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Self {
        let column = |option: &str, default: String| options.get(option).cloned().unwrap_or(default);
        let default = Self::default();
        Self {
            time: column(TIMESTAMP_COL, default.time),
            value: column(DATA_COL, default.value),
            id: options.get(ID_COL).filter(|name| !name.is_empty()).cloned(),
        }
    }

    /// Whether an option is about columns.
    pub(super) fn has_option(option: &str) -> bool {
        [TIMESTAMP_COL, DATA_COL, ID_COL].contains(&option)
    }

    /// The options in the order to show them.
    pub(super) fn option_docs() -> Vec<OptionDoc> {
        let Self { time, value, .. } = Self::default();
        vec![
            OptionDoc::new(TIMESTAMP_COL, "column", &time, "the feature that says when: a time, or a whole number"),
            OptionDoc::new(DATA_COL, "column", &value, "the feature to forecast; NULL where it is missing"),
            OptionDoc::new(ID_COL, "column", &"", "the feature that tells series apart; none of one series"),
        ]
    }

    /// Checks that the features are these columns, and nothing else.
    ///
    /// # Errors
    /// `InvalidOption`.
    pub(super) fn check(&self, schema: &FeatureSchema) -> Result<()> {
        let wanted: Vec<&str> = [&self.time, &self.value].into_iter().chain(&self.id).map(String::as_str).collect();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name.as_str()).collect();
        if names.len() != wanted.len() || !wanted.iter().all(|name| names.contains(name)) {
            let expected = format!(
                "with {DATA_COL} and {ID_COL} all feature columns and no others, but these options say {} and the columns are {}",
                wanted.join(", "),
                names.join(", "),
            );
            return Err(invalid(TIMESTAMP_COL, &self.time, &expected));
        }
        let kind = |name: &str| schema.fields().iter().find(|field| field.name == name).map(|field| field.kind);
        if kind(&self.time) == Some(FeatureKind::Categorical) {
            return Err(invalid(TIMESTAMP_COL, &self.time, "a column of times, dates or whole numbers"));
        }
        if kind(&self.value) != Some(FeatureKind::Numeric) {
            return Err(invalid(DATA_COL, &self.value, "a column of numbers"));
        }
        match &self.id {
            Some(id) if kind(id) == Some(FeatureKind::Time) => {
                Err(invalid(ID_COL, id, "a column of texts, whole numbers or booleans"))
            }
            _ => Ok(()),
        }
    }
}

/// The rows of a training set, in the order in which they came.
#[derive(Debug)]
pub(super) struct SeriesRows {
    columns: SeriesColumns,
    /// What times and ids look like, by the first batch.
    types: Option<(TimeType, Option<LabelKind>)>,
    /// The series in order of first sight; one without a name where there is no id.
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    /// For each row its series' number, its time in the column's unit, and its value, NaN where it is missing.
    rows: Vec<(u32, i64, f64)>,
}

/// One series: its name, and its values by time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NamedPoints {
    pub(super) name: String,
    pub(super) points: Vec<(i64, f64)>,
}

impl SeriesRows {
    pub(super) fn new(columns: SeriesColumns) -> Self {
        Self { columns, types: None, names: Vec::new(), numbers: HashMap::new(), rows: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What times and ids look like; none before the first batch.
    pub(super) fn types(&self) -> Option<&(TimeType, Option<LabelKind>)> {
        self.types.as_ref()
    }

    pub(super) fn bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| 2 * (size_of::<String>() + name.len())).sum();
        self.rows.capacity() * size_of::<(u32, i64, f64)>() + names
    }

    /// Takes the rows that have a time, an id if there are ids, and a value or none.
    ///
    /// # Errors
    /// `MissingColumn`, `ChangedColumn` or `UnsupportedFeature`; nothing is then taken.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<Vec<RejectedRow>> {
        let times = column(batch, &self.columns.time)?;
        let ids = self.columns.id.as_ref().map(|id| column(batch, id)).transpose()?;
        let types = (
            TimeType::of(&self.columns.time, times.data_type())?,
            ids.map(|ids| id_kind(self.columns.id.as_deref().unwrap_or_default(), ids.data_type())).transpose()?,
        );
        if let Some(known) = &self.types
            && *known != types
        {
            let data_type = times.data_type().clone();
            return Err(MlError::ChangedColumn {
                column: self.columns.time.clone(),
                expected: "of one type",
                data_type,
            });
        }
        let reader = SeriesReader::of(&self.columns, &types.0, batch)?;
        self.types = Some(types);
        let mut rejected = Vec::new();
        for row in 0..batch.num_rows() {
            match reader.row(row) {
                Ok((id, time, value)) => {
                    let number = self.number(id);
                    self.rows.push((number, time, value));
                }
                Err(reason) => rejected.push(RejectedRow { row, reason }),
            }
        }
        Ok(rejected)
    }

    fn number(&mut self, id: &str) -> u32 {
        if let Some(number) = self.numbers.get(id) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(id.to_owned());
        self.numbers.insert(id.to_owned(), number);
        number
    }

    /// The series: whole numbers by their size, other names by their bytes. Points come by time, and those of one time
    /// by value, so nothing depends on the order of the rows.
    pub(super) fn series(&self) -> Vec<NamedPoints> {
        let is_integer = matches!(self.types, Some((_, Some(LabelKind::Integer))));
        let integer = |name: &str| is_integer.then(|| name.parse::<i128>().ok()).flatten();
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        order.sort_by_key(|&number| (integer(&self.names[number]), &self.names[number]));
        let mut series: Vec<NamedPoints> =
            order.iter().map(|&number| NamedPoints { name: self.names[number].clone(), points: Vec::new() }).collect();
        let mut places = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, &number)| places[number] = place);
        for (number, time, value) in &self.rows {
            series[places[*number as usize]].points.push((*time, *value));
        }
        let earlier = |one: &(i64, f64), other: &(i64, f64)| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1));
        series.iter_mut().for_each(|series| series.points.sort_unstable_by(earlier));
        series
    }
}

/// The columns of rows, to be read one after the other.
pub(super) struct SeriesReader {
    columns: SeriesColumns,
    times: ArrayRef,
    values: ArrayRef,
    ids: Option<ArrayRef>,
}

impl SeriesReader {
    /// Times come in the unit of `times`, whatever theirs is.
    ///
    /// # Errors
    /// `MissingColumn` or `ChangedColumn`.
    pub(super) fn of(columns: &SeriesColumns, times: &TimeType, batch: &RecordBatch) -> Result<Self> {
        let read = |name: &str, data_type: &DataType| as_type(name, column(batch, name)?, data_type);
        let of_type = read(&columns.time, &times.data_type())?;
        Ok(Self {
            columns: columns.clone(),
            times: as_type(&columns.time, &of_type, &DataType::Int64)?,
            values: read(&columns.value, &DataType::Float64)?,
            ids: columns.id.as_ref().map(|id| read(id, &DataType::Utf8)).transpose()?,
        })
    }

    /// The id, empty without ids, the time, and the value, NaN where it is missing, of a row; or why it is not taken.
    pub(super) fn row(&self, row: usize) -> std::result::Result<(&str, i64, f64), RejectReason> {
        let null_key = |column: &str| RejectReason::NullKey { column: column.to_owned() };
        let (times, values) = (self.times.as_primitive::<Int64Type>(), self.values.as_primitive::<Float64Type>());
        if times.is_null(row) {
            return Err(null_key(&self.columns.time));
        }
        let id = match &self.ids {
            Some(ids) if ids.is_null(row) => return Err(null_key(self.columns.id.as_deref().unwrap_or_default())),
            Some(ids) => ids.as_string::<i32>().value(row),
            None => "",
        };
        if values.is_null(row) {
            return Ok((id, times.value(row), f64::NAN));
        }
        let (value, column) = (values.value(row), self.columns.value.clone());
        match value {
            _ if value.is_nan() => Err(RejectReason::NotANumber { column }),
            _ if value.abs() <= NUMERIC_MAGNITUDE_MAX => Ok((id, times.value(row), value)),
            _ => Err(RejectReason::TooLarge { column }),
        }
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        let schema = batch.schema_ref();
        let available: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        MlError::MissingColumn { column: name.to_owned(), available: available.join(", ") }
    })
}

fn id_kind(column: &str, data_type: &DataType) -> Result<LabelKind> {
    LabelKind::of(column, data_type).map_err(|_| MlError::UnsupportedFeature {
        column: column.to_owned(),
        data_type: data_type.clone(),
        hint: "the id of a series is a VARCHAR, a whole number or a BOOLEAN; cast it to one of these",
    })
}

fn as_type(column: &str, array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if !can_cast_types(array.data_type(), data_type) {
        let data_type = array.data_type().clone();
        return Err(MlError::ChangedColumn { column: column.to_owned(), expected: "what it was", data_type });
    }
    cast(array, data_type).map_err(|source| MlError::ReadColumn { column: column.to_owned(), source })
}
