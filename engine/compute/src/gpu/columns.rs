//! Sums over rows on the device: `columns.wgsl` from outside.

use super::pool::{Lease, Use};
use super::transfer::floats;
use super::{DeviceMatrix, Gpu, VECTOR};
use crate::error::Result;
use crate::kernel::columns::ColumnSums;
use crate::kernel::groups::{GroupSums, counts};

/// Threads of a workgroup: as in the kernel.
const LANES: u32 = 64;
/// Stretches of rows that keep any device busy, and rows of the shortest: each has sums that are read back.
const STRETCHES: u32 = 1024;
const STRETCH_ROWS_MIN: u32 = 1024;

/// How rows are cut into stretches, and vectors into blocks of those side by side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) stretches: u32,
    stretch_rows: u32,
    across: u32,
    blocks: u32,
}

impl Cut {
    /// That of a matrix, for so many vectors of results a stretch.
    pub(super) fn of(matrix: &DeviceMatrix) -> Self {
        let (stretches, stretch_rows) = stretches(matrix.rows, STRETCHES, STRETCH_ROWS_MIN);
        Self { stretches, stretch_rows, ..Self::of_vectors(matrix) }
    }

    fn of_vectors(matrix: &DeviceMatrix) -> Self {
        let across = matrix.vectors().next_power_of_two().clamp(1, LANES);
        Self { stretches: 0, stretch_rows: 0, across, blocks: matrix.vectors().div_ceil(across).max(1) }
    }

    /// A kernel's shape.
    pub(super) fn shape(&self, matrix: &DeviceMatrix) -> [u32; 8] {
        let Self { stretches, stretch_rows, across, blocks } = *self;
        [matrix.rows, matrix.vectors(), stretches, stretch_rows, across, blocks, 0, 0]
    }

    pub(super) fn groups(&self) -> u64 {
        u64::from(self.stretches) * u64::from(self.blocks)
    }
}

/// How many stretches, of up to `most`, rows are cut into, and the rows of one.
pub(super) fn stretches(rows: u32, most: u32, rows_min: u32) -> (u32, u32) {
    let stretch_rows = rows.div_ceil(most.max(1)).max(rows_min);
    (rows.div_ceil(stretch_rows), stretch_rows)
}

impl Gpu {
    /// [`column_sums`](crate::kernel::columns::column_sums), in 32 bits within stretches of rows.
    ///
    /// # Errors
    /// `NoRoom`, `TimedOut`, `Lost`.
    pub(crate) fn column_sums(&self, matrix: &DeviceMatrix) -> Result<ColumnSums> {
        let mut total = ColumnSums::new(matrix.columns as usize);
        let cut = Cut::of(matrix);
        if matrix.columns == 0 || cut.stretches == 0 {
            return Ok(total);
        }
        let row = matrix.vectors() as usize * VECTOR;
        self.attempt(|| {
            let result = self.room_for_rows(cut.stretches as usize * 4, row)?;
            let mut commands = self.commands();
            self.dispatch(
                &mut commands,
                &self.kernels.columns,
                cut.shape(matrix),
                &[&matrix.lease, &result],
                cut.groups(),
            )?;
            self.finish(commands, &[&result], |parts| {
                let numbers: Vec<f64> = floats(parts[0]).collect();
                for part in numbers.chunks_exact(row * 4) {
                    let [sums, squares, smallest, largest] = std::array::from_fn(|place| &part[place * row..]);
                    total.merge(sums, squares, smallest, largest);
                }
            })
        })?;
        Ok(total)
    }

    /// [`group_sums`](crate::kernel::groups::group_sums), in 32 bits within pieces of a group.
    ///
    /// The caller's thread sorts the rows by group, so that sums need no atomic additions, whose order is any.
    ///
    /// # Errors
    /// `NoRoom`, `TimedOut`, `Lost`.
    pub(crate) fn group_sums(&self, matrix: &DeviceMatrix, group_of: &[u32], groups: usize) -> Result<GroupSums> {
        let (columns, row) = (matrix.columns as usize, matrix.vectors() as usize * VECTOR);
        let counts = counts(group_of, groups);
        let mut sums = vec![0.0; groups * columns];
        let order = Order::of(group_of, &counts);
        if columns == 0 || order.pieces.is_empty() {
            return Ok(GroupSums { sums, counts });
        }
        let cut = Cut { stretches: order.pieces.len() as u32, ..Cut::of_vectors(matrix) };
        self.attempt(|| {
            let rows = self.send(order.rows.len(), order.rows.iter().map(|row| row.to_ne_bytes()))?;
            let ends = order.pieces.iter().flat_map(|piece| [piece.start, piece.end]);
            let pieces = self.send(order.pieces.len() * 2, ends.map(u32::to_ne_bytes))?;
            let result = self.room_for_rows(order.pieces.len(), row)?;
            let mut commands = self.commands();
            let buffers = [&matrix.lease, &result, &rows, &pieces];
            self.dispatch(&mut commands, &self.kernels.ordered, cut.shape(matrix), &buffers, cut.groups())?;
            self.finish(commands, &[&result], |parts| {
                let numbers: Vec<f64> = floats(parts[0]).collect();
                for (part, piece) in numbers.chunks_exact(row).zip(&order.pieces) {
                    let sum = &mut sums[piece.group * columns..][..columns];
                    sum.iter_mut().zip(part).for_each(|(own, other)| *own += other);
                }
            })
        })?;
        Ok(GroupSums { sums, counts })
    }

    /// A buffer for rows of so many numbers of 32 bits.
    pub(super) fn room_for_rows(&self, rows: usize, numbers: usize) -> Result<Lease> {
        let bytes = (rows as u64).saturating_mul(numbers as u64 * size_of::<f32>() as u64);
        self.pool.lend(&self.device, Use::Storage, bytes)
    }
}

/// Rows by their groups.
struct Order {
    rows: Vec<u32>,
    pieces: Vec<Piece>,
}

/// A stretch of the order, whose rows are of one group.
struct Piece {
    group: usize,
    start: u32,
    end: u32,
}

impl Order {
    fn of(group_of: &[u32], counts: &[u64]) -> Self {
        let mut places = Vec::with_capacity(counts.len());
        let (mut pieces, mut first) = (Vec::new(), 0);
        for (group, count) in counts.iter().enumerate() {
            places.push(first as usize);
            // There are no more rows than a matrix on the device has, which 32 bits hold.
            let end = first + *count as u32;
            let starts = (first..end).step_by(STRETCH_ROWS_MIN as usize);
            pieces.extend(starts.map(|start| Piece { group, start, end: end.min(start + STRETCH_ROWS_MIN) }));
            first = end;
        }
        let mut rows = vec![0; first as usize];
        for (row, group) in group_of.iter().enumerate() {
            if let Some(place) = places.get_mut(*group as usize) {
                rows[*place] = row as u32;
                *place += 1;
            }
        }
        Self { rows, pieces }
    }
}
