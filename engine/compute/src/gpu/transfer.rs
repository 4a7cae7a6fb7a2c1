//! Numbers on their way to the device and back, from 64 bits to 32 and back to 64.

use std::num::NonZeroU64;
use std::sync::mpsc::channel;

use super::kernels::Commands;
use super::pool::{Lease, Use};
use super::{DeviceMatrix, Gpu, MAGNITUDE_MAX, Ordering, RUN_TIMEOUT, VECTOR};
use crate::error::{ComputeError, Result};
use crate::matrix::Matrix;

impl Gpu {
    /// Sends a matrix to the device, where it stays until it is dropped.
    ///
    /// # Errors
    /// `OutOfRange` for infinities, NaN and what is beyond 2^48: WGSL promises nothing of the first two, and squares of
    /// the last leave the range of 32 bits. `NoRoom`, `Lost`.
    pub(crate) fn upload(&self, matrix: Matrix<'_>) -> Result<DeviceMatrix> {
        self.upload_parts(&[matrix])
    }

    /// The same of rows that lie in several matrices, as long as those of the first.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub(crate) fn upload_parts(&self, parts: &[Matrix<'_>]) -> Result<DeviceMatrix> {
        // As a whole first, which vector registers do; NaN is not less, either.
        for matrix in parts {
            if !matrix.values().iter().fold(true, |all, value| all & (value.abs() <= MAGNITUDE_MAX)) {
                let value = matrix.values().iter().find(|value| value.is_nan() || value.abs() > MAGNITUDE_MAX);
                return Err(ComputeError::OutOfRange { value: value.copied().unwrap_or(f64::NAN).to_string() });
            }
        }
        let (rows, columns) = (parts.iter().map(Matrix::rows).sum(), parts.first().map_or(0, Matrix::columns));
        self.attempt(|| {
            let placed = self.room_for(rows, columns)?;
            let mut first_row = 0;
            for matrix in parts {
                self.write(*matrix, &placed, first_row)?;
                first_row += matrix.rows();
            }
            Ok(placed)
        })
    }

    /// A matrix with anything in it.
    ///
    /// # Errors
    /// `NoRoom`.
    pub(super) fn room_for(&self, rows: usize, columns: usize) -> Result<DeviceMatrix> {
        // Kernels count on beyond the last row, without leaving 32 bits.
        let limit = 1 << 31;
        let too_many =
            |count: usize| ComputeError::NoRoom { needed: count as u64, limit, what: "rows or columns of a matrix" };
        let narrow = |count: usize| u32::try_from(count).ok().filter(|it| u64::from(*it) <= limit);
        let rows_32 = narrow(rows).ok_or_else(|| too_many(rows))?;
        let columns_32 = narrow(columns).ok_or_else(|| too_many(columns))?;
        let stride = columns.next_multiple_of(VECTOR) as u64 * size_of::<f32>() as u64;
        let bytes = stride.checked_mul(rows as u64).ok_or_else(|| too_many(rows))?;
        let lease = self.pool.lend(&self.device, Use::Storage, bytes)?;
        Ok(DeviceMatrix { gpu: self.id, lease, rows: rows_32, columns: columns_32 })
    }

    fn write(&self, matrix: Matrix<'_>, placed: &DeviceMatrix, first_row: usize) -> Result<()> {
        let columns = matrix.columns();
        let row_bytes = placed.vectors() as usize * VECTOR * size_of::<f32>();
        let bytes = row_bytes * matrix.rows();
        let Some(size) = NonZeroU64::new(bytes as u64) else { return Ok(()) };
        let view = self.queue.write_buffer_with(placed.lease.buffer(), (row_bytes * first_row) as u64, size);
        let mut view = view.ok_or_else(|| ComputeError::Lost("no memory to send from".to_owned()))?;
        let padding = columns.next_multiple_of(VECTOR) - columns;
        for row in 0..matrix.rows() {
            let (numbers, _) = view.slice(row * row_bytes..(row + 1) * row_bytes).into_chunks::<4>();
            let values = matrix.row(row).iter().map(|value| (*value as f32).to_ne_bytes());
            numbers.write_iter(values.chain(std::iter::repeat_n([0; 4], padding)));
        }
        self.counters.bytes_up.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Sends words of 32 bits, of which there are `count`.
    ///
    /// # Errors
    /// `NoRoom`, `Lost`.
    pub(super) fn send(&self, count: usize, words: impl Iterator<Item = [u8; 4]>) -> Result<Lease> {
        let bytes = count as u64 * 4;
        let lease = self.pool.lend(&self.device, Use::Storage, bytes)?;
        let Some(size) = NonZeroU64::new(bytes) else { return Ok(lease) };
        let view = self.queue.write_buffer_with(lease.buffer(), 0, size);
        let mut view = view.ok_or_else(|| ComputeError::Lost("no memory to send from".to_owned()))?;
        view.slice(..).into_chunks::<4>().0.write_iter(words);
        drop(view);
        self.counters.bytes_up.fetch_add(bytes, Ordering::Relaxed);
        Ok(lease)
    }

    /// A matrix's numbers, row by row.
    ///
    /// # Errors
    /// `NoRoom`, `TimedOut`, `Lost`.
    pub(crate) fn read(&self, matrix: &DeviceMatrix) -> Result<Vec<f64>> {
        self.attempt(|| self.finish(self.commands(), &[&matrix.lease], |parts| matrix.numbers(parts[0])))
    }

    /// Runs what was encoded, and hands the bytes of some buffers to `read`.
    ///
    /// # Errors
    /// `NoRoom`, `TimedOut`, `Lost`.
    pub(super) fn finish<T>(
        &self,
        mut commands: Commands,
        results: &[&Lease],
        read: impl FnOnce(&[&[u8]]) -> T,
    ) -> Result<T> {
        let bytes = results.iter().map(|lease| lease.bytes()).sum();
        let reading = self.pool.lend(&self.device, Use::Reading, bytes)?;
        let mut offset = 0;
        for lease in results {
            commands.copy(lease, &reading, offset);
            offset += lease.bytes();
        }
        let submission = self.submit(commands);
        self.map(&reading, submission)?;
        let view = reading.buffer().get_mapped_range(0..bytes).map_err(|error| lost(&error))?;
        let mut rest: &[u8] = &view;
        let mut parts = Vec::with_capacity(results.len());
        for lease in results {
            let (part, behind) = rest.split_at(lease.bytes() as usize);
            parts.push(part);
            rest = behind;
        }
        let result = read(&parts);
        drop(view);
        reading.buffer().unmap();
        self.counters.bytes_down.fetch_add(bytes, Ordering::Relaxed);
        Ok(result)
    }

    /// Waits until what was submitted is done, and lets this process see a buffer's bytes.
    ///
    /// # Errors
    /// `TimedOut`, `Lost`.
    fn map(&self, reading: &Lease, submission: wgpu::SubmissionIndex) -> Result<()> {
        let (sender, receiver) = channel();
        // Nobody listens any more where the wait has timed out.
        let done = move |outcome| drop(sender.send(outcome));
        reading.buffer().map_async(wgpu::MapMode::Read, 0..reading.bytes(), done);
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(RUN_TIMEOUT) };
        self.device.poll(wait).map_err(|error| match error {
            wgpu::PollError::Timeout => ComputeError::TimedOut { what: "a kernel", timeout: RUN_TIMEOUT },
            wgpu::PollError::WrongSubmissionIndex(..) => lost(&error),
        })?;
        // Another thread may be the one that polled, and calls back in a moment.
        let mapped = receiver.recv_timeout(RUN_TIMEOUT).map_err(|error| lost(&error))?;
        mapped.map_err(|error| lost(&error))
    }
}

fn lost(error: &dyn std::error::Error) -> ComputeError {
    ComputeError::Lost(error.to_string())
}

impl DeviceMatrix {
    /// The numbers without the padding, of the bytes on the device.
    pub(super) fn numbers(&self, bytes: &[u8]) -> Vec<f64> {
        let (rows, columns) = (self.rows as usize, self.columns as usize);
        let stride = self.vectors() as usize * VECTOR;
        if columns == 0 {
            return Vec::new();
        }
        let mut numbers = Vec::with_capacity(rows * columns);
        for row in bytes.chunks(stride * size_of::<f32>()).take(rows) {
            numbers.extend(floats(row).take(columns));
        }
        numbers
    }
}

/// Numbers of 32 bits as those of 64.
pub(super) fn floats(bytes: &[u8]) -> impl Iterator<Item = f64> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_ne_bytes(*bytes)))
}

/// Whole numbers of 32 bits.
pub(super) fn integers(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_ne_bytes(*bytes))
}
