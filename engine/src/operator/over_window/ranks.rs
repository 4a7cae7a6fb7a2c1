//! ROW_NUMBER, RANK and DENSE_RANK in the order of rows.
//!
//! DataFusion's evaluators count the same way, but nobody can ask them how far they have come, as state
//! needs to know.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::utils::get_row_at_idx;

use crate::error::Result;
use crate::operator::state_rows::other_columns;

/// Which of the numbers is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ranking {
    /// Of the row.
    RowNumber,
    /// Of the first row that is equal by ORDER BY.
    Rank,
    /// Of the values of ORDER BY.
    DenseRank,
}

impl Ranking {
    /// The function of this name.
    pub(super) fn of(function: &str) -> Option<Self> {
        match function {
            "row_number" => Some(Self::RowNumber),
            "rank" => Some(Self::Rank),
            "dense_rank" => Some(Self::DenseRank),
            _ => None,
        }
    }
}

/// What is known of a partition's rows so far.
pub(super) struct Ranks {
    ranking: Ranking,
    rows: u64,
    rank: u64,
    dense_rank: u64,
    /// ORDER BY of the last row, unless rows are only counted; before the first row, NULLs.
    last: Vec<ScalarValue>,
}

impl Ranks {
    /// Of no rows, for an ORDER BY of these types.
    pub(super) fn new(ranking: Ranking, order: &[DataType]) -> Result<Self> {
        let last = order.iter().filter(|_| ranking != Ranking::RowNumber).map(ScalarValue::try_from);
        Ok(Self { ranking, rows: 0, rank: 0, dense_rank: 0, last: last.collect::<Result<_, _>>()? })
    }

    /// The number of the next row, which is in this place among those of `order`.
    pub(super) fn next(&mut self, order: &[ArrayRef], row: usize) -> Result<ScalarValue> {
        self.rows += 1;
        if self.ranking != Ranking::RowNumber {
            let values = get_row_at_idx(order, row)?;
            if self.rows == 1 || values != self.last {
                self.rank = self.rows;
                self.dense_rank += 1;
                self.last = values;
            }
        }
        Ok(ScalarValue::from(match self.ranking {
            Ranking::RowNumber => self.rows,
            Ranking::Rank => self.rank,
            Ranking::DenseRank => self.dense_rank,
        }))
    }

    /// What is known, as values.
    pub(super) fn parts(&self) -> Vec<ScalarValue> {
        let numbers = [self.rows, self.rank, self.dense_rank].map(ScalarValue::from);
        numbers.into_iter().chain(self.last.iter().cloned()).collect()
    }

    /// Takes up what [`Self::parts`] gave.
    pub(super) fn resume(&mut self, parts: &[ScalarValue]) -> Result<()> {
        let [rows, rank, dense_rank, last @ ..] = parts else { return Err(other_columns()) };
        (self.rows, self.rank) = (number(rows)?, number(rank)?);
        self.dense_rank = number(dense_rank)?;
        self.last = last.to_vec();
        Ok(())
    }
}

/// A count from state.
pub(super) fn number(value: &ScalarValue) -> Result<u64> {
    match value {
        ScalarValue::UInt64(Some(number)) => Ok(*number),
        _ => Err(other_columns()),
    }
}
