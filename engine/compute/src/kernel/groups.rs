//! Rows summed up by the group that each belongs to: how k-means moves its centroids.

use std::num::NonZeroUsize;

use super::dense::add_scaled_inlined;
use super::gram::total;
use super::lanes::Instructions;
use super::stretches::map_stretches;
use crate::error::{ComputeError, Result};
use crate::matrix::Matrix;

/// The rows of each group, and their sum.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSums {
    /// Of each group the sum of its rows, as long as a row: group by group.
    pub sums: Vec<f64>,
    /// How many rows each group has.
    pub counts: Vec<u64>,
}

/// The sums of rows by their groups, of which there are `groups`; a row of a later one is of none.
///
/// # Errors
/// `Shapes` if not each row has a group, or if the sums have more places than a machine.
pub fn group_sums(rows: Matrix<'_>, group_of: &[u32], groups: usize, threads: NonZeroUsize) -> Result<GroupSums> {
    group_sums_by(Instructions::fastest(), rows, group_of, groups, threads)
}

pub(crate) fn check_shapes(rows: (usize, usize), group_of: &[u32], groups: usize) -> Result<()> {
    if rows.0 != group_of.len() || groups.checked_mul(rows.1).is_none() {
        let right = (group_of.len(), groups);
        return Err(ComputeError::Shapes { operation: "sums of rows by groups", left: rows, right });
    }
    Ok(())
}

pub(crate) fn group_sums_by(
    by: Instructions,
    rows: Matrix<'_>,
    group_of: &[u32],
    groups: usize,
    threads: NonZeroUsize,
) -> Result<GroupSums> {
    check_shapes(rows.shape(), group_of, groups)?;
    let length = groups * rows.columns();
    let parts = map_stretches(rows.rows(), rows.values().len(), threads, |stretch| {
        let mut sums = vec![0.0; length];
        let group_of = &group_of[stretch.clone()];
        by.run(|| add_rows(rows.some_rows(stretch), group_of, groups, &mut sums));
        sums
    });
    Ok(GroupSums { sums: total(parts, length), counts: counts(group_of, groups) })
}

/// How many rows each group has.
pub(crate) fn counts(group_of: &[u32], groups: usize) -> Vec<u64> {
    let mut counts = vec![0; groups];
    for group in group_of {
        if let Some(count) = counts.get_mut(*group as usize) {
            *count += 1;
        }
    }
    counts
}

#[inline(always)]
fn add_rows(rows: Matrix<'_>, group_of: &[u32], groups: usize, sums: &mut [f64]) {
    let columns = rows.columns();
    for (row, group) in group_of.iter().map(|group| *group as usize).enumerate().filter(|(_, group)| *group < groups) {
        add_scaled_inlined(&mut sums[group * columns..][..columns], 1.0, rows.row(row));
    }
}
