//! The rows of a training set as they came, so that several models can be fitted to parts of them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, cast, concat, filter, filter_record_batch, rank, take, take_record_batch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::batch::data_split::{DataSplit, Method, Part, RowKeys};
use crate::batch::taken;
use crate::classes::{ClassReader, LabelKind};
use crate::error::{MlError, Result};
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::invalid;

/// What is kept of a training set.
#[derive(Debug)]
pub(super) struct KeptRows {
    batches: Vec<Rows>,
    rows: u32,
    /// Reads the classes of a label that has some.
    reader: Option<ClassReader>,
    /// The class of each row, by the reader's numbers.
    classes: Vec<u32>,
    split: SplitColumn,
}

/// Rows of one batch that can be used, and their labels.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub(super) features: RecordBatch,
    pub(super) labels: ArrayRef,
}

/// What is known of the column that rows are split by.
#[derive(Debug)]
enum SplitColumn {
    None,
    /// Its values, batch by batch, to sort rows by.
    Order(String, Vec<ArrayRef>),
    Parts(String, Vec<Part>),
    /// The number of each value, in order of first sight, and that of each row.
    Groups(String, HashMap<Option<String>, u32>, Vec<u32>),
}

impl KeptRows {
    /// Of no rows, whose labels are of this kind if they are classes.
    pub(super) fn new(kind: Option<LabelKind>, split: &DataSplit) -> Self {
        let split = match (&split.column, split.method) {
            (Some(column), Method::Seq) => SplitColumn::Order(column.clone(), Vec::new()),
            (Some(column), Method::Custom) => SplitColumn::Parts(column.clone(), Vec::new()),
            (Some(column), Method::Grouped) => SplitColumn::Groups(column.clone(), HashMap::new(), Vec::new()),
            _ => SplitColumn::None,
        };
        Self { batches: Vec::new(), rows: 0, reader: kind.map(ClassReader::new), classes: Vec::new(), split }
    }

    /// Keeps the rows of a batch but for those rejected.
    ///
    /// # Errors
    /// `MissingColumn` for the column to split by, `InvalidOption` for one that says nothing to the method;
    /// `TooManyClasses`; `TooManyRows` past 2^32 - 2 rows.
    pub(super) fn add(
        &mut self,
        schema: &FeatureSchema,
        features: &RecordBatch,
        labels: &ArrayRef,
        rejected: &[RejectedRow],
    ) -> Result<()> {
        let taken = taken(features.num_rows(), rejected);
        let rows = taken.true_count();
        let total = u64::from(self.rows) + rows as u64;
        if total >= u64::from(u32::MAX) {
            let rows_max = u64::from(u32::MAX) - 1;
            return Err(MlError::TooManyRows { rows: total, rows_max, bytes_max: usize::MAX });
        }
        let split = match self.split.name() {
            Some(name) => Some(filter(find(features, name)?, &taken).map_err(unreadable(name))?),
            None => None,
        };
        let labels = filter(labels, &taken).map_err(unreadable("label"))?;
        let features = projected(schema, features)?;
        let features = filter_record_batch(&features, &taken).map_err(unreadable("features"))?;
        let classes = self.reader.as_mut().map(|reader| reader.read(&labels)).transpose()?;
        if let Some(split) = split {
            self.split.add(split)?;
        }
        if let Some(classes) = classes {
            self.classes.extend(classes.iter().map(|class| class.unwrap_or_default() as u32));
        }
        self.rows = total as u32;
        self.batches.push(Rows { features, labels });
        Ok(())
    }

    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    /// Bytes of the rows, and of what is known of each.
    pub(super) fn bytes(&self) -> usize {
        let rows: usize = self.batches.iter().map(Rows::bytes).sum();
        rows + 4 * self.classes.capacity() + self.split.bytes()
    }

    /// How many classes the labels have; none of numbers.
    ///
    /// # Errors
    /// `NoRows`; `SameClass` where all labels are of one class.
    pub(super) fn count_classes(&self) -> Result<usize> {
        let Some(reader) = &self.reader else { return Ok(0) };
        let numbers: Vec<f64> = self.classes.iter().map(|class| f64::from(*class)).collect();
        Ok(reader.classes(numbers.iter())?.0.names().len())
    }

    /// The class of each row; empty of numbers.
    pub(super) fn classes(&self) -> &[u32] {
        &self.classes
    }

    /// What a method goes by.
    ///
    /// # Errors
    /// `InvalidOption` for a column whose values have no order.
    pub(super) fn keys(&self, method: Method) -> Result<RowKeys> {
        match &self.split {
            SplitColumn::Order(name, values) => order(name, values).map(RowKeys::Order),
            SplitColumn::Parts(_, parts) => Ok(RowKeys::Parts(parts.clone())),
            SplitColumn::Groups(_, _, rows) => Ok(RowKeys::Kinds(rows.clone())),
            SplitColumn::None if method == Method::Stratified => Ok(RowKeys::Kinds(self.classes.clone())),
            SplitColumn::None => Ok(RowKeys::Nothing),
        }
    }

    /// Those rows of each batch that have one of these parts, in order.
    pub(super) fn of_part(&self, parts: &[Part], wanted: Part) -> impl Iterator<Item = Result<Rows>> {
        let mut first = 0;
        let own = move |rows: &Rows| {
            let last = first + rows.features.num_rows();
            let mask: BooleanArray = parts[first..last].iter().map(|part| Some(*part == wanted)).collect();
            first = last;
            (mask.true_count() > 0).then(|| rows.filtered(&mask))
        };
        self.batches.iter().filter_map(own)
    }

    /// The rows with these numbers, which ascend and may come several times.
    ///
    /// # Errors
    /// `ReadColumn`.
    pub(super) fn numbered(&self, numbers: &[u32]) -> Result<Vec<Rows>> {
        let (mut first, mut left) = (0, numbers);
        let mut taken = Vec::new();
        for rows in &self.batches {
            let last = first + rows.features.num_rows() as u32;
            let (own, others) = left.split_at(left.partition_point(|number| *number < last));
            if !own.is_empty() {
                let places: UInt32Array = own.iter().map(|number| Some(number - first)).collect();
                taken.push(rows.taken(&places)?);
            }
            (first, left) = (last, others);
        }
        Ok(taken)
    }
}

impl Rows {
    fn bytes(&self) -> usize {
        self.features.get_array_memory_size() + self.labels.get_array_memory_size()
    }

    fn filtered(&self, mask: &BooleanArray) -> Result<Self> {
        let features = filter_record_batch(&self.features, mask).map_err(unreadable("features"))?;
        let labels = filter(&self.labels, mask).map_err(unreadable("label"))?;
        Ok(Self { features, labels })
    }

    fn taken(&self, places: &UInt32Array) -> Result<Self> {
        let features = take_record_batch(&self.features, places).map_err(unreadable("features"))?;
        let labels = take(&self.labels, places, None).map_err(unreadable("label"))?;
        Ok(Self { features, labels })
    }
}

impl SplitColumn {
    fn name(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Order(name, _) | Self::Parts(name, _) | Self::Groups(name, _, _) => Some(name),
        }
    }

    fn add(&mut self, values: ArrayRef) -> Result<()> {
        match self {
            Self::None => {}
            Self::Order(_, batches) => batches.push(values),
            Self::Parts(name, parts) => parts.extend(parts_of(name, &values)?),
            Self::Groups(name, numbers, rows) => {
                let texts = cast(&values, &DataType::Utf8).map_err(unreadable(name))?;
                for text in texts.as_string::<i32>() {
                    let next = numbers.len() as u32;
                    rows.push(*numbers.entry(text.map(str::to_owned)).or_insert(next));
                }
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Order(_, batches) => batches.iter().map(Array::get_array_memory_size).sum(),
            Self::Parts(_, parts) => parts.capacity(),
            Self::Groups(_, numbers, rows) => {
                let names = numbers.keys().flatten().map(String::capacity).sum::<usize>();
                names + 48 * numbers.capacity() + 4 * rows.capacity()
            }
        }
    }
}

/// The numbers of all rows by their values, NULLs last; of equals, in their order.
fn order(name: &str, batches: &[ArrayRef]) -> Result<Vec<u32>> {
    let failed = |_| {
        let expected = "a column of numbers, times, texts or booleans, which have an order";
        invalid("data_split_col", name, expected)
    };
    // Some kinds of text have no rank of their own.
    let plain = |values: &ArrayRef| match values.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 => cast(values, &DataType::Utf8),
        _ => Ok(Arc::clone(values)),
    };
    let batches: Vec<ArrayRef> = batches.iter().map(plain).collect::<std::result::Result<_, _>>().map_err(failed)?;
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    let values = concat(&batches.iter().map(AsRef::as_ref).collect::<Vec<_>>()).map_err(failed)?;
    let ranks = rank(&values, Some(SortOptions { descending: false, nulls_first: false })).map_err(failed)?;
    let mut rows: Vec<u32> = (0..ranks.len() as u32).collect();
    rows.sort_by_key(|row| ranks[*row as usize]);
    Ok(rows)
}

/// The parts of rows by what a column says.
fn parts_of(name: &str, values: &ArrayRef) -> Result<Vec<Part>> {
    if let Some(booleans) = values.as_boolean_opt() {
        let part = |is_held_out: Option<bool>| if is_held_out == Some(false) { Part::Learnt } else { Part::HeldOut };
        return Ok(booleans.iter().map(part).collect());
    }
    let wrong = |found: &str| {
        let expected = format!("a BOOLEAN column, or a text that is train, eval or test, and not {found}");
        invalid("data_split_col", name, &expected)
    };
    if !matches!(values.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        return Err(wrong(&values.data_type().to_string()));
    }
    let texts = cast(values, &DataType::Utf8).map_err(unreadable(name))?;
    let part = |text: Option<&str>| match text.map(str::to_ascii_lowercase).as_deref() {
        Some("train") => Ok(Part::Learnt),
        Some("eval") | None => Ok(Part::HeldOut),
        Some("test") => Ok(Part::Test),
        Some(other) => Err(wrong(&format!("'{other}'"))),
    };
    texts.as_string::<i32>().iter().map(part).collect()
}

/// The columns that a model reads, in its order.
fn projected(schema: &FeatureSchema, batch: &RecordBatch) -> Result<RecordBatch> {
    let index = |name: &str| batch.schema_ref().index_of(name);
    let columns: std::result::Result<Vec<usize>, _> = schema.fields().iter().map(|field| index(&field.name)).collect();
    columns.and_then(|columns| batch.project(&columns)).map_err(unreadable("features"))
}

fn find<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        let names: Vec<_> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        MlError::MissingColumn { column: name.to_owned(), available: names.join(", ") }
    })
}

pub(super) fn unreadable(column: &str) -> impl Fn(ArrowError) -> MlError {
    let column = column.to_owned();
    move |source| MlError::ReadColumn { column: column.clone(), source }
}
