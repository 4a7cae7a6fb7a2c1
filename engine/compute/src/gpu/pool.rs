//! Buffers of a device, lent and taken back, so that a call does not wait for the driver's allocator.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{ComputeError, Result};

/// Bytes of the smallest buffer.
const BYTES_MIN: u64 = 256;

/// What a buffer can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// Kernels read and write it.
    Storage,
    /// Kernels read their shape from it.
    Shape,
    /// This process reads what was copied into it.
    Reading,
}

impl Use {
    fn usages(self) -> wgpu::BufferUsages {
        match self {
            Self::Storage => wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            Self::Shape => wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            Self::Reading => wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        }
    }
}

/// All buffers of a device.
#[derive(Debug)]
pub(super) struct Pool {
    bytes_max: u64,
    buffer_max: u64,
    shelves: Arc<Mutex<Shelves>>,
}

#[derive(Debug, Default)]
struct Shelves {
    /// By use and size.
    idle: BTreeMap<(Use, u64), Vec<wgpu::Buffer>>,
    idle_bytes: u64,
    lent_bytes: u64,
}

/// A buffer while somebody has it.
///
/// It may be given back while the device still works on it: what comes later comes later on the device, too.
#[derive(Debug)]
pub(super) struct Lease {
    buffer: wgpu::Buffer,
    of: Use,
    /// Those that were asked for; the buffer may have more.
    bytes: u64,
    shelves: Arc<Mutex<Shelves>>,
}

impl Pool {
    pub(super) fn new(bytes_max: u64, buffer_max: u64) -> Self {
        Self { bytes_max, buffer_max, shelves: Arc::default() }
    }

    /// A buffer of so many bytes, with anything in it.
    ///
    /// # Errors
    /// `NoRoom` if it would be too large, or all buffers together.
    pub(super) fn lend(&self, device: &wgpu::Device, of: Use, bytes: u64) -> Result<Lease> {
        let bytes = bytes.max(1).next_multiple_of(16);
        if bytes > self.buffer_max {
            return Err(ComputeError::NoRoom { needed: bytes, limit: self.buffer_max, what: "bytes in one buffer" });
        }
        let size = size_class(bytes).min(self.buffer_max);
        let mut shelves = lock(&self.shelves);
        let buffer = shelves.take(of, size);
        if buffer.is_none() {
            shelves.make_room(size, self.bytes_max)?;
        }
        shelves.lent_bytes += size;
        drop(shelves);
        let buffer = buffer.unwrap_or_else(|| {
            let descriptor =
                wgpu::BufferDescriptor { label: None, size, usage: of.usages(), mapped_at_creation: false };
            device.create_buffer(&descriptor)
        });
        Ok(Lease { buffer, of, bytes, shelves: Arc::clone(&self.shelves) })
    }

    /// Bytes of idle buffers and of those that are lent.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> (u64, u64) {
        let shelves = lock(&self.shelves);
        (shelves.idle_bytes, shelves.lent_bytes)
    }
}

impl Shelves {
    fn take(&mut self, of: Use, size: u64) -> Option<wgpu::Buffer> {
        let buffer = self.idle.get_mut(&(of, size))?.pop()?;
        self.idle_bytes -= size;
        Some(buffer)
    }

    /// Lets idle buffers go until there is room for another, all of those of a size at once.
    fn make_room(&mut self, size: u64, bytes_max: u64) -> Result<()> {
        let lent = self.lent_bytes.saturating_add(size);
        if lent > bytes_max {
            return Err(ComputeError::NoRoom { needed: lent, limit: bytes_max, what: "bytes in all buffers" });
        }
        while lent + self.idle_bytes > bytes_max {
            let Some(((_, size), buffers)) = self.idle.pop_last() else { break };
            self.idle_bytes -= size * buffers.len() as u64;
        }
        Ok(())
    }
}

impl Lease {
    pub(super) fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let size = self.buffer.size();
        let mut shelves = lock(&self.shelves);
        shelves.lent_bytes -= size;
        shelves.idle_bytes += size;
        shelves.idle.entry((self.of, size)).or_default().push(self.buffer.clone());
    }
}

/// Nothing panics while it has the lock.
fn lock(shelves: &Mutex<Shelves>) -> MutexGuard<'_, Shelves> {
    shelves.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The size of the buffer that is made for so many bytes: eight sizes for each doubling, so that calls of about the
/// same size find each other's buffers, and at most an eighth is idle.
fn size_class(bytes: u64) -> u64 {
    let step = (bytes.next_power_of_two() / 16).max(BYTES_MIN);
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn sizes_waste_an_eighth_at_most() {
        assert_eq!([1, 256, 257, 4096, 4097, 5000].map(size_class), [256, 256, 512, 4096, 4608, 5120]);
        for bytes in [10_000, 65_537, 1_000_003, 123_456_789] {
            let size = size_class(bytes);
            assert!(size >= bytes && size - bytes <= bytes / 8, "{size} for {bytes}");
        }
    }
}
