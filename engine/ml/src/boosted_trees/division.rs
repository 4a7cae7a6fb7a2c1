//! The rows of boosted trees, divided among those who grow them together: LightGBM's data-parallel trees (Meng et al. 2016,
//! "A Communication-Efficient Parallel Algorithm for Decision Tree"; its documentation's `tree_learner=data`).
//!
//! Each member has a range of the rows, whose derivatives, leaves and scores are its own. What all of them add up is whole
//! numbers: rows of leaves, and the sums of histograms. So they grow the same trees, whose bits are those of one that is
//! alone.

use std::ops::Range;

use super::bins::BinnedRows;
use super::grow::within;
use super::histogram::Histogram;
use crate::batch::FitControl;
use crate::batch::team::{Team, gathered, out_of_step, own_part};
use crate::error::Result;

/// Bytes of a bin's two sums.
const BIN_BYTES: usize = 16;

/// What this process does of a fit.
pub(super) struct Division<'a> {
    team: Option<&'a dyn Team>,
    /// Its rows.
    pub(super) rows: Range<usize>,
}

impl<'a> Division<'a> {
    /// Of so many rows with so many features; with trees of so many leaves, members wait so often for each other.
    pub(super) fn new(control: &'a FitControl, rows: usize, features: usize, leaves: u64) -> Self {
        let entries_a_wait = rows.saturating_mul(features) / usize::try_from(leaves).unwrap_or(usize::MAX).max(1);
        let team = control.team_for(entries_a_wait.saturating_mul(4));
        Self { team, rows: own_part(team, rows) }
    }

    /// Those of ascending rows that are its own.
    pub(super) fn own<'r>(&self, rows: &'r [u32]) -> &'r [u32] {
        within(rows, self.rows.clone())
    }

    /// The largest of what the members have.
    ///
    /// # Errors
    /// Those of [`Team::gather`].
    pub(super) fn largest(&self, own: f64) -> Result<f64> {
        let Some(team) = self.team else { return Ok(own) };
        Ok(gathered(team, &[own])?.into_iter().fold(own, f64::max))
    }

    /// How many rows all members have together.
    ///
    /// # Errors
    /// Those of [`Team::gather`].
    pub(super) fn count(&self, own: usize) -> Result<usize> {
        let Some(team) = self.team else { return Ok(own) };
        Ok(gathered(team, &[own])?.into_iter().sum())
    }

    /// Makes the histogram of a leaf's own rows, less those in `stretches`, that of all its rows; what is left of the latter
    /// is returned.
    ///
    /// # Errors
    /// Those of [`Team::gather`]; `Team` where another member has other bins.
    pub(super) fn add_up(
        &self,
        own: &mut Histogram,
        stretches: Vec<Histogram>,
        binned: &BinnedRows,
    ) -> Result<Stretches> {
        let Some(team) = self.team else { return Ok(Stretches { to_add: stretches, added: Vec::new() }) };
        stretches.iter().for_each(|stretch| own.add_all(stretch));
        let parts = team.gather(to_bytes(own, binned))?;
        let others = parts.iter().enumerate().filter(|(rank, _)| *rank != team.rank());
        for (_, part) in others {
            add_bytes(own, part, binned)?;
        }
        Ok(Stretches { to_add: Vec::new(), added: stretches })
    }

    /// Has all members know the scores of all rows.
    ///
    /// # Errors
    /// Those of [`Team::gather`]; `Team` where another member has other rows.
    pub(super) fn share(&self, scores: &mut [Vec<f64>]) -> Result<()> {
        let Some(team) = self.team else { return Ok(()) };
        for scores in scores {
            let all = gathered(team, &scores[self.rows.clone()])?;
            if all.len() != scores.len() {
                return Err(out_of_step("it has other rows"));
            }
            *scores = all;
        }
        Ok(())
    }
}

/// Histograms of stretches of a leaf's rows.
pub(super) struct Stretches {
    /// Those that are not in the leaf's yet.
    pub(super) to_add: Vec<Histogram>,
    /// Those that are.
    pub(super) added: Vec<Histogram>,
}

/// The bins of each feature that there are.
fn bins(binned: &BinnedRows) -> impl Iterator<Item = usize> {
    binned.features.iter().map(|feature| feature.count())
}

fn to_bytes(histogram: &Histogram, binned: &BinnedRows) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bins(binned).sum::<usize>() * BIN_BYTES);
    for (sums, count) in histogram.features.iter().zip(bins(binned)) {
        for sum in &sums[..count] {
            bytes.extend_from_slice(&sum.first.to_le_bytes());
            bytes.extend_from_slice(&sum.second.to_le_bytes());
        }
    }
    bytes
}

fn add_bytes(histogram: &mut Histogram, bytes: &[u8], binned: &BinnedRows) -> Result<()> {
    let (sums, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || bytes.len() != bins(binned).sum::<usize>() * BIN_BYTES {
        return Err(out_of_step("it has other bins"));
    }
    let mut sums = sums.iter().map(|sum| i64::from_le_bytes(*sum));
    for (own, count) in histogram.features.iter_mut().zip(bins(binned)) {
        for own in &mut own[..count] {
            own.first += sums.next().unwrap_or_default();
            own.second += sums.next().unwrap_or_default();
        }
    }
    Ok(())
}
