//! The groups whose rows a ranker puts in order: a query's documents, a visitor's offers.
//!
//! A column says which rows are of one group, by its text: so whole numbers past 2^53, which ids often are, stay apart.
//! Rows of a group need not follow each other.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::RANKER;
use crate::batch::TrainingSet;
use crate::batch::data_split::Parts;
use crate::error::{MlError, Result};
use crate::feature::columns::find_column;
use crate::model::{Feature, FeatureSchema, RejectReason, RejectedRow};
use crate::options::invalid;

/// The largest relevance. Its gain, 2^30 - 1, is a billion times that of 1.
const RELEVANCE_MAX: f64 = 30.0;

/// Reads the groups of rows, and numbers them by their first sight.
#[derive(Debug)]
pub(super) struct GroupReader {
    column: Feature,
    /// Where the column is in batches that are as the training query makes them.
    position: usize,
    numbers: HashMap<String, u32>,
    /// The group of each row taken.
    of_rows: Vec<u32>,
}

impl GroupReader {
    /// The reader of a column, and the other columns, which are the features.
    ///
    /// # Errors
    /// `InvalidOption` where there is no such column, or `NoFeatures` where there is no other.
    pub(super) fn new(column: &str, schema: &FeatureSchema) -> Result<(Self, FeatureSchema)> {
        let fields = schema.fields();
        let Some(position) = fields.iter().position(|field| field.name == column) else {
            let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
            let expected = format!("the column that says which rows are of one group, one of {}", names.join(", "));
            return Err(invalid("group_column", column, &expected));
        };
        let mut features = fields.to_vec();
        let column = features.remove(position);
        let reader = Self { column, position, numbers: HashMap::new(), of_rows: Vec::new() };
        Ok((reader, FeatureSchema::new(features)?))
    }

    pub(super) fn column(&self) -> &str {
        &self.column.name
    }

    /// Takes the acceptable rows of a batch: those of a group that the set takes, too.
    ///
    /// # Errors
    /// `BadRelevance`, and those of the set; nothing is then taken.
    pub(super) fn add(
        &mut self,
        set: &mut TrainingSet,
        features: &RecordBatch,
        labels: &Float64Array,
    ) -> Result<Vec<RejectedRow>> {
        check_relevances(labels)?;
        let groups = self.read(features)?;
        let has_no_group = |row: usize| row < groups.len() && groups.is_null(row);
        // Without a label a row is not taken, and the reason is set right.
        let of_groups = labels.iter().enumerate().map(|(row, label)| label.filter(|_| !has_no_group(row)));
        let mut rejected = set.add(features, &of_groups.collect())?;
        for bad in &mut rejected {
            if has_no_group(bad.row) && labels.is_valid(bad.row) {
                bad.reason = RejectReason::NullGroup { column: self.column.name.clone() };
            }
        }
        let mut bad = rejected.iter().map(|bad| bad.row).peekable();
        for (row, group) in groups.iter().enumerate() {
            if bad.next_if_eq(&row).is_none() {
                self.push(group.unwrap_or_default());
            }
        }
        Ok(rejected)
    }

    fn read(&self, features: &RecordBatch) -> Result<StringArray> {
        let column = find_column(&self.column, self.position, features)?;
        let failed = |source| MlError::ReadColumn { column: self.column.name.clone(), source };
        Ok(cast(column, &DataType::Utf8).map_err(failed)?.as_string::<i32>().clone())
    }

    fn push(&mut self, group: &str) {
        let next = self.numbers.len() as u32;
        let number = match self.numbers.get(group) {
            Some(number) => *number,
            None => *self.numbers.entry(group.to_owned()).or_insert(next),
        };
        self.of_rows.push(number);
    }

    /// How many groups there are.
    pub(super) fn count(&self) -> u32 {
        self.numbers.len() as u32
    }

    /// The rows of the groups of each part.
    pub(super) fn rows_of(&self, parts: &Parts) -> Parts {
        let mut is_learnt = vec![false; self.numbers.len()];
        parts.learnt.iter().for_each(|group| is_learnt[*group as usize] = true);
        let is_of_learnt = |row: &u32| is_learnt[self.of_rows[*row as usize] as usize];
        let (learnt, held_out) = (0..self.of_rows.len() as u32).partition(is_of_learnt);
        Parts { learnt, held_out }
    }

    pub(super) fn groups(&self) -> Groups {
        Groups::new(&self.of_rows, self.numbers.len())
    }

    pub(super) fn bytes(&self) -> usize {
        let names: usize = self.numbers.keys().map(String::capacity).sum();
        let entry = size_of::<(String, u32)>() + 1;
        names + self.numbers.capacity() * entry + self.of_rows.capacity() * size_of::<u32>()
    }
}

/// Whether all labels that there are can be relevances.
fn check_relevances(labels: &Float64Array) -> Result<()> {
    let is_relevance = |label: &f64| (0.0..=RELEVANCE_MAX).contains(label) && label.fract() == 0.0;
    match labels.iter().flatten().find(|label| label.is_finite() && !is_relevance(label)) {
        Some(label) => Err(MlError::BadRelevance { model_type: RANKER, label }),
        None => Ok(()),
    }
}

/// The rows of each group, in ascending order.
#[derive(Debug)]
pub(super) struct Groups {
    /// Those of one group after another.
    pub(super) rows: Vec<u32>,
    /// Where each group begins among them, and at last where all of them end.
    pub(super) starts: Vec<usize>,
}

impl Groups {
    /// Given the group of each row, of so many groups. It is one pass to count, and one to place.
    fn new(of_rows: &[u32], count: usize) -> Self {
        let mut starts = vec![0; count + 1];
        of_rows.iter().for_each(|group| starts[*group as usize + 1] += 1);
        (0..count).for_each(|group| starts[group + 1] += starts[group]);
        let (mut next, mut rows) = (starts.clone(), vec![0; of_rows.len()]);
        for (row, group) in of_rows.iter().enumerate() {
            rows[next[*group as usize]] = row as u32;
            next[*group as usize] += 1;
        }
        Self { rows, starts }
    }

    pub(super) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// The rows of a group.
    pub(super) fn of(&self, group: usize) -> &[u32] {
        &self.rows[self.starts[group]..self.starts[group + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_bucketed_in_their_order() {
        let groups = Groups::new(&[1, 0, 2, 1, 0, 1], 3);
        assert_eq!((groups.rows.as_slice(), groups.starts.as_slice()), (&[1, 4, 0, 3, 5, 2][..], &[0, 2, 5, 6][..]));
        assert_eq!((groups.count(), groups.of(1)), (3, &[0, 3, 5][..]));
        assert_eq!(Groups::new(&[], 0).count(), 0);
    }
}
