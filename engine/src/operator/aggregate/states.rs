//! What an updating aggregation knows of each group, one file for each way to know it.
//!
//! DataFusion's accumulators cannot give a result without giving up their state, and most cannot take a
//! row back. So the common functions have states of their own here, over all groups at once; every
//! other function runs on DataFusion's accumulators ([`single`]), from a kept multiset where rows are
//! taken back ([`multiset`]).
//!
//! In a snapshot each state is a few columns with a row a group; what a group has many of is a list, or rows of its
//! own.

mod count;
mod distinct;
mod encoding;
mod exact_sum;
mod extreme;
mod lists;
mod moments;
mod multiset;
mod single;
mod sum;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, UInt64Type};
use tidemill_plans::change::ChangeOp;

pub(super) use self::distinct::Distinct;
use super::super::groups::AggregateCall;
use super::super::key_index::KeyIndex;
use crate::error::Result;

/// The state of one aggregate for all groups, which are numbered from 0 on.
pub(super) trait GroupStates: Send {
    /// Adds rows to their groups, or takes them away. There are `total` groups now.
    fn update(&mut self, rows: &GroupedRows<'_>, total: usize) -> Result<()>;

    /// The results of these groups. Asking changes nothing.
    fn evaluate(&mut self, groups: &[u32]) -> Result<ArrayRef>;

    /// Whether the results depend on the order in which rows come.
    fn needs_order(&self) -> bool {
        false
    }

    /// Keeps these groups only: the i-th has the number i now.
    fn keep(&mut self, live: &[u32]) -> Result<()>;

    /// What is known of some groups, whose numbers grow: columns for each part, with a row a group. Writing changes
    /// nothing.
    fn write(&mut self, parts: &[&[u32]]) -> Result<Vec<Vec<ArrayRef>>>;

    /// Takes up what was written of some groups. They have the numbers from `first` on, and nothing is known
    /// yet of later ones.
    fn read(&mut self, first: usize, columns: &[ArrayRef]) -> Result<()>;

    /// What is known of pairs of a group and a value, if it knows any: a group may have any number of them.
    fn pairs(&self) -> Option<&Distinct> {
        None
    }

    /// The same, to be written, read, or put on disk.
    fn pairs_mut(&mut self) -> Option<&mut Distinct> {
        None
    }

    /// Bytes held.
    fn bytes(&self) -> usize;
}

/// The arguments of an aggregate for the rows of a batch.
pub(super) struct GroupedRows<'a> {
    /// Each row's group.
    pub(super) groups: &'a [usize],
    /// The arguments' columns.
    pub(super) arguments: &'a [ArrayRef],
    /// Which rows the aggregate's FILTER lets through.
    pub(super) filter: Option<&'a BooleanArray>,
    /// What each row does; `None` if all of them add.
    pub(super) ops: Option<&'a [ChangeOp]>,
    /// The keys of the groups.
    pub(super) keys: &'a KeyIndex,
}

impl GroupedRows<'_> {
    /// Calls `visit` with the row, its group and 1 or -1 for each row that counts: that the filter lets
    /// through and whose arguments are not NULL.
    pub(super) fn for_each(&self, mut visit: impl FnMut(usize, usize, i64)) {
        let nulls = self.nulls();
        if self.filter.is_none() && self.ops.is_none() && nulls.is_none() {
            self.groups.iter().enumerate().for_each(|(row, group)| visit(row, *group, 1));
            return;
        }
        for (row, group) in self.groups.iter().enumerate() {
            if self.passes(row) && nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                visit(row, *group, self.sign(row));
            }
        }
    }

    /// Whether the filter lets a row through.
    pub(super) fn passes(&self, row: usize) -> bool {
        self.filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
    }

    /// 1 for a row that adds, -1 for one that takes away.
    pub(super) fn sign(&self, row: usize) -> i64 {
        self.ops.map_or(1, |ops| if ops[row].adds() { 1 } else { -1 })
    }

    fn nulls(&self) -> Option<NullBuffer> {
        let nulls = self.arguments.iter().filter(|column| column.null_count() > 0);
        nulls.fold(None, |nulls, column| NullBuffer::union(nulls.as_ref(), column.nulls()))
    }
}

/// The states of a call whose arguments have these types; `takes_back` if rows may be taken away.
pub(super) fn states_of(call: &AggregateCall, types: &[DataType], takes_back: bool) -> Result<Box<dyn GroupStates>> {
    let distinct = call.is_distinct() && !matches!(call.name(), "min" | "max");
    match plain_states(call, types, takes_back)? {
        Some(states) if distinct => Ok(Box::new(Distinct::new(states, types)?)),
        Some(states) => Ok(states),
        None if takes_back => Ok(Box::new(multiset::Multiset::new(call.clone(), types)?)),
        None => Ok(Box::new(single::Single::new(call.clone()))),
    }
}

/// The states of a function that has some of its own, DISTINCT or not.
fn plain_states(call: &AggregateCall, types: &[DataType], takes_back: bool) -> Result<Option<Box<dyn GroupStates>>> {
    let output = call.data_type();
    Ok(match (call.name(), types) {
        // COUNT(DISTINCT a, b) counts pairs without a NULL, as COUNT(a, b) does.
        ("count", _) => Some(Box::new(count::Count::default())),
        ("sum", [DataType::Int64]) => Some(Box::new(sum::Sum::<Int64Type>::new(output))),
        ("sum", [DataType::UInt64]) => Some(Box::new(sum::Sum::<UInt64Type>::new(output))),
        ("sum", [DataType::Decimal128(..)]) => Some(Box::new(sum::Sum::<Decimal128Type>::new(output))),
        ("sum", [DataType::Float64]) => Some(Box::new(exact_sum::ExactSums::sums())),
        ("avg", [DataType::Float64]) => Some(Box::new(exact_sum::ExactSums::means())),
        ("min", [argument]) => Some(extreme::states(extreme::Which::Least, argument, takes_back)?),
        ("max", [argument]) => Some(extreme::states(extreme::Which::Greatest, argument, takes_back)?),
        (function, _) if !takes_back && moments::takes(types) && (types.len() == 1 || !call.is_distinct()) => {
            moments::states(function)
        }
        _ => None,
    })
}

/// The values of some groups; the default where a group has none yet.
fn values_of<T: Copy + Default>(values: &[T], groups: &[u32]) -> impl Iterator<Item = T> {
    groups.iter().map(|group| values.get(*group as usize).copied().unwrap_or_default())
}
