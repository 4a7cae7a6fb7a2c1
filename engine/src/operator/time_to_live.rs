//! When partitions were touched last: those that no row touches for long enough are dropped.

use arrow::array::{Int64Array, RecordBatch};
use tidemill_plans::node::TimeToLive;
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::state_rows::least_watermark;
use crate::error::Result;
use crate::state::{StateReader, StateWriter};

/// The last touch of each partition, by event time.
pub(super) struct Touches {
    life: TimeToLive,
    touched: Vec<i64>,
    watermark: Watermark,
    /// Nothing is looked for to be dropped before the watermark is here.
    next_look: EventTime,
}

impl Touches {
    pub(super) fn new(life: TimeToLive) -> Self {
        Self { life, touched: Vec::new(), watermark: Watermark::MIN, next_look: EventTime::MIN }
    }

    /// Notes which partitions rows are in. Rows without event time are as old as the watermark when they
    /// came.
    pub(super) fn note(&mut self, batch: &RecordBatch, partitions: &[usize]) -> Result<()> {
        self.grow(partitions.iter().max().map_or(0, |last| last + 1));
        match self.life.time {
            Some(time) => {
                for (partition, time) in partitions.iter().zip(event_times(batch.column(time))?.values()) {
                    let touched = &mut self.touched[*partition];
                    *touched = (*touched).max(*time);
                }
            }
            None => partitions.iter().for_each(|partition| self.touched[*partition] = self.watermark.0.0),
        }
        Ok(())
    }

    /// Makes room for so many partitions.
    pub(super) fn grow(&mut self, partitions: usize) {
        self.touched.resize(partitions.max(self.touched.len()), i64::MIN);
    }

    /// Whether it is time to look for old partitions: a look at all of them is worth a quarter of the time
    /// to live.
    pub(super) fn is_due(&mut self, watermark: Watermark) -> bool {
        self.watermark = watermark;
        if watermark.0 < self.next_look || watermark.is_end() {
            return false;
        }
        self.next_look = watermark.0.plus(self.life.micros / 4);
        true
    }

    /// Of each partition, whether it was touched lately.
    pub(super) fn is_young(&self, partition: usize) -> bool {
        self.touched[partition] >= self.oldest()
    }

    /// The time from which on partitions are young.
    pub(super) fn oldest(&self) -> i64 {
        self.watermark.0.plus(-self.life.micros).0
    }

    /// Keeps these partitions only: the i-th has the number i now.
    pub(super) fn keep(&mut self, live: &[u32]) {
        self.touched = live.iter().map(|partition| self.touched[*partition as usize]).collect();
    }

    /// The last touches of these partitions.
    pub(super) fn of(&self, partitions: &[u32]) -> Int64Array {
        Int64Array::from_iter_values(partitions.iter().map(|partition| self.touched[*partition as usize]))
    }

    /// Sets when these partitions were touched.
    pub(super) fn set(&mut self, partitions: &[usize], touched: &Int64Array) {
        self.grow(partitions.iter().max().map_or(0, |last| last + 1));
        partitions.iter().zip(touched.values()).for_each(|(partition, time)| self.touched[*partition] = *time);
    }

    /// Writes what it knows besides the touches, which their partitions' owner writes.
    pub(super) fn snapshot(&self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("watermark", &self.watermark)?;
        state.value("next_look", &self.next_look)
    }

    /// Takes that up for so many partitions.
    pub(super) fn restore(&mut self, partitions: usize, state: &StateReader<'_>) -> Result<()> {
        self.grow(partitions);
        self.watermark = least_watermark(state, "watermark")?;
        self.next_look = state.values("next_look")?.into_iter().min().unwrap_or(EventTime::MIN);
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.touched.capacity() * size_of::<i64>()
    }
}
