//! How much work is worth the way to a device: a function of what was measured and of the shapes, and of nothing else.
//!
//! The CPU takes as long as its slower part, operations or memory; a device as long as the round trip, the bytes on the way
//! and the operations together. A device's own memory is not looked at: it is many times faster than the way there.

/// A device must be so many times sooner done, by numbers that were measured once on a machine that does other things, too.
const MARGIN: f64 = 1.5;

/// Bytes of a number on the CPU, and on a device.
const CPU_NUMBER: f64 = 8.0;
const DEVICE_NUMBER: f64 = 4.0;

/// What was measured of the CPU and of a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speeds {
    /// Floating-point operations of a product of matrices a second, on the CPU.
    pub cpu_operations_per_s: f64,
    /// Bytes that the CPU reads a second to sum them up.
    pub cpu_bytes_per_s: f64,
    /// Operations of a product a second on the device, of matrices that are there.
    pub device_operations_per_s: f64,
    /// Bytes a second to the device and back, conversions included.
    pub link_bytes_per_s: f64,
    /// Seconds from a call that hardly computes to its answer.
    pub round_trip_s: f64,
}

/// What a call computes and moves.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Floating-point operations.
    pub operations: f64,
    /// Bytes that the CPU reads for it.
    pub bytes_read: f64,
    /// Bytes to the device and back.
    pub bytes_moved: f64,
}

impl Work {
    /// So many operations on so many numbers, of which results are read back; what is sent is not in it.
    #[must_use]
    pub fn of(operations: f64, numbers: usize, results: usize) -> Self {
        let bytes_moved = results as f64 * DEVICE_NUMBER;
        Self { operations, bytes_read: numbers as f64 * CPU_NUMBER, bytes_moved }
    }

    /// The same with numbers that have to be sent first, for so many calls.
    #[must_use]
    pub fn sending(self, numbers: usize, uses: usize) -> Self {
        let bytes = numbers as f64 * DEVICE_NUMBER / uses.max(1) as f64;
        Self { bytes_moved: self.bytes_moved + bytes, ..self }
    }

    /// Distances of each asked row from each stored one, and the `count` nearest of each.
    #[must_use]
    pub fn nearest(stored: (usize, usize), asked: (usize, usize), count: usize) -> Self {
        let columns = stored.1;
        let operations = stored.0 as f64 * asked.0 as f64 * columns as f64 * 3.0;
        // A distance and a row number each.
        let results = asked.0.saturating_mul(count.min(stored.0)).saturating_mul(2);
        Self::of(operations, (stored.0 + asked.0).saturating_mul(columns), results)
    }

    /// A product of matrices, of which `results` numbers are read back.
    #[must_use]
    pub fn product(left: (usize, usize), right: (usize, usize), results: usize) -> Self {
        let numbers = left.0.saturating_mul(left.1).saturating_add(right.0.saturating_mul(right.1));
        Self::of(left.0 as f64 * left.1 as f64 * right.1 as f64 * 2.0, numbers, results)
    }

    /// Some operations for each number of a matrix, of which `results` are read back.
    #[must_use]
    pub fn scan(matrix: (usize, usize), operations: f64, results: usize) -> Self {
        let numbers = matrix.0.saturating_mul(matrix.1);
        Self::of(numbers as f64 * operations, numbers, results)
    }
}

/// Whether a device is sooner done with a call than the CPU.
#[must_use]
pub fn is_worth(speeds: &Speeds, work: &Work) -> bool {
    let cpu_s = (work.operations / speeds.cpu_operations_per_s).max(work.bytes_read / speeds.cpu_bytes_per_s);
    let computing_s = work.operations / speeds.device_operations_per_s;
    let device_s = speeds.round_trip_s + work.bytes_moved / speeds.link_bytes_per_s + computing_s;
    device_s * MARGIN < cpu_s
}

#[cfg(test)]
mod tests {
    use super::{Speeds, Work, is_worth};

    /// Made up: a GPU behind a bus, and a CPU of a core.
    const SPEEDS: Speeds = Speeds {
        cpu_operations_per_s: 1e10,
        cpu_bytes_per_s: 1e10,
        device_operations_per_s: 1e12,
        link_bytes_per_s: 1e10,
        round_trip_s: 1e-4,
    };

    #[test]
    fn large_products_are_worth_the_way_and_small_ones_are_not() {
        let product = |side: usize| {
            let shape = (side, side);
            Work::product(shape, shape, side * side).sending(2 * side * side, 1)
        };
        // 52 µs against a round trip of 100; 27 ms against 0.7.
        assert!(!is_worth(&SPEEDS, &product(64)));
        assert!(is_worth(&SPEEDS, &product(512)));
    }

    #[test]
    fn what_is_read_once_is_not_worth_the_way_and_what_is_there_is() {
        let scan = Work::scan((1_000_000, 100), 2.0, 1_000_000);
        let near = Speeds { cpu_bytes_per_s: 2e10, ..SPEEDS };
        // 40 ms on the CPU, which waits for its memory, and as long on the way; or 0.7 ms and 4 for a tenth of the way.
        assert!(is_worth(&near, &scan));
        assert!(!is_worth(&near, &scan.sending(100_000_000, 1)));
        assert!(is_worth(&near, &scan.sending(100_000_000, 10)));
    }

    #[test]
    fn numbers_decide_and_not_the_device() {
        let work = Work::nearest((100_000, 32), (1000, 32), 10);
        assert_eq!(work.operations, 9.6e9);
        assert!(is_worth(&SPEEDS, &work));
        let software = Speeds { device_operations_per_s: 5e9, ..SPEEDS };
        assert!(!is_worth(&software, &work), "a device that is slower than the CPU");
        let far = Speeds { round_trip_s: 1.0, ..SPEEDS };
        assert!(!is_worth(&far, &work));
        let broken = Speeds { device_operations_per_s: f64::NAN, ..SPEEDS };
        assert!(!is_worth(&broken, &work), "what was not measured is worth nothing");
    }

    #[test]
    fn nothing_to_do_is_not_worth_the_way() {
        assert!(!is_worth(&SPEEDS, &Work::default()));
        assert!(!is_worth(&SPEEDS, &Work::nearest((0, 3), (1000, 3), 5)));
    }
}
