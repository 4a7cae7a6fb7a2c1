//! Counters and gauges of one operator instance, read by another thread while the operator runs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use tidemill_plans::ids::{JobId, OperatorId};
use tidemill_plans::protocol::OperatorMetrics;
use tidemill_plans::time::{EventTime, Watermark};

/// The metrics of one operator instance. Relaxed atomics: readers want recent values, not an order.
#[derive(Debug)]
pub struct OperatorStats {
    job: JobId,
    operator: OperatorId,
    subtask: u32,
    /// Rows received.
    pub rows_in: AtomicU64,
    /// Rows emitted.
    pub rows_out: AtomicU64,
    /// Bytes of Arrow buffers received.
    pub bytes_in: AtomicU64,
    /// Bytes of files read. Nobody is told but whoever wants to know how far a query as a whole has come.
    pub file_bytes: AtomicU64,
    /// Rows left out because all their windows had closed.
    pub late_rows: AtomicU64,
    /// Rows that could not be used.
    pub dead_letter_rows: AtomicU64,
    /// Rows that the source was told to leave out.
    pub skipped_rows: AtomicU64,
    /// Nanoseconds in the operator's code, and for a source in reading.
    pub busy_ns: AtomicU64,
    /// Nanoseconds in which the task waited for room downstream; kept on the stage's head.
    pub blocked_ns: AtomicU64,
    state_bytes: AtomicU64,
    state_bytes_max: AtomicU64,
    spilled_bytes: AtomicU64,
    event_time: AtomicI64,
    watermark: AtomicI64,
    idle: AtomicBool,
    backfilling: AtomicBool,
    quality_bits: AtomicU64,
    /// The checksum, once there is one.
    checksum: OnceLock<AtomicU64>,
}

impl OperatorStats {
    /// Zero everywhere.
    #[must_use]
    pub fn new(job: JobId, operator: OperatorId, subtask: u32) -> Self {
        Self {
            job,
            operator,
            subtask,
            rows_in: AtomicU64::new(0),
            rows_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            file_bytes: AtomicU64::new(0),
            late_rows: AtomicU64::new(0),
            dead_letter_rows: AtomicU64::new(0),
            skipped_rows: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
            blocked_ns: AtomicU64::new(0),
            state_bytes: AtomicU64::new(0),
            state_bytes_max: AtomicU64::new(0),
            spilled_bytes: AtomicU64::new(0),
            event_time: AtomicI64::new(i64::MIN),
            watermark: AtomicI64::new(i64::MIN),
            idle: AtomicBool::new(false),
            backfilling: AtomicBool::new(false),
            quality_bits: AtomicU64::new(f64::NAN.to_bits()),
            checksum: OnceLock::new(),
        }
    }

    /// Which operator it is.
    pub(crate) fn operator(&self) -> OperatorId {
        self.operator
    }

    /// Which instance it is.
    pub(crate) fn subtask(&self) -> u32 {
        self.subtask
    }

    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, value: usize) {
        counter.fetch_add(value as u64, Ordering::Relaxed);
    }

    /// Notes how many bytes of state are held in memory, and how many are on disk.
    pub fn set_state_bytes(&self, bytes: usize, spilled: u64) {
        self.spilled_bytes.store(spilled, Ordering::Relaxed);
        self.state_bytes.store(bytes as u64, Ordering::Relaxed);
        self.state_bytes_max.fetch_max(bytes as u64, Ordering::Relaxed);
    }

    /// Notes the greatest event time seen.
    pub fn see_event_time(&self, time: EventTime) {
        self.event_time.fetch_max(time.0, Ordering::Relaxed);
    }

    /// Notes the watermark emitted.
    pub fn set_watermark(&self, watermark: Watermark) {
        self.watermark.store(watermark.0.0, Ordering::Relaxed);
    }

    /// The watermark emitted last.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        Watermark(EventTime(self.watermark.load(Ordering::Relaxed)))
    }

    /// Notes whether no input has rows for the time being.
    pub fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::Relaxed);
    }

    /// Notes whether a source still reads what was there when its job began.
    pub fn set_backfilling(&self, backfilling: bool) {
        self.backfilling.store(backfilling, Ordering::Relaxed);
    }

    /// Notes a quality measure, such as a trainer's prequential AUC.
    pub fn set_quality(&self, quality: f64) {
        self.quality_bits.store(quality.to_bits(), Ordering::Relaxed);
    }

    /// Notes the sum over the hashes of a sink's rows.
    pub fn set_checksum(&self, checksum: u64) {
        self.checksum.get_or_init(AtomicU64::default).store(checksum, Ordering::Relaxed);
    }

    /// A copy for a heartbeat.
    #[must_use]
    pub fn snapshot(&self) -> OperatorMetrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let quality = f64::from_bits(read(&self.quality_bits));
        OperatorMetrics {
            job: self.job,
            operator: self.operator,
            subtask: self.subtask,
            rows_in: read(&self.rows_in),
            rows_out: read(&self.rows_out),
            bytes_in: read(&self.bytes_in),
            late_rows: read(&self.late_rows),
            dead_letter_rows: read(&self.dead_letter_rows),
            skipped_rows: read(&self.skipped_rows),
            busy_ns: read(&self.busy_ns),
            blocked_ns: read(&self.blocked_ns),
            state_bytes: read(&self.state_bytes),
            state_bytes_max: read(&self.state_bytes_max),
            spilled_bytes: read(&self.spilled_bytes),
            event_time: self.event_time.load(Ordering::Relaxed),
            watermark: self.watermark.load(Ordering::Relaxed),
            idle: self.idle.load(Ordering::Relaxed),
            backfilling: self.backfilling.load(Ordering::Relaxed),
            quality: quality.is_finite().then_some(quality),
            checksum: self.checksum.get().map(read),
        }
    }
}
