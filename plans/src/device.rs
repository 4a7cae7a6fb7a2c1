//! What nodes compute with: the CPU or a GPU that was chosen when the process started, for SHOW DEVICES.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use tidemill_compute::device::{Report, reports};

use crate::error::Result;

/// A device of a process, and what it has done there.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct DeviceReport {
    /// The adapter's name, or `cpu`.
    pub name: String,
    /// Why it was chosen, in words.
    pub reason: String,
    /// Why it is asked for nothing more, if so.
    pub lost: Option<String>,
    /// Bytes that were sent to it.
    pub bytes_up: u64,
    /// Bytes that were read back.
    pub bytes_down: u64,
    /// Kernels that were started.
    pub dispatches: u64,
    /// Calls that the CPU answered in its place, because it failed or did not take them.
    pub fallbacks: u64,
    /// Calls that the CPU answered because they were not worth the way.
    pub not_worth: u64,
}

impl From<Report> for DeviceReport {
    fn from(report: Report) -> Self {
        let Report { name, reason, lost, transfers, .. } = report;
        Self {
            name,
            reason,
            lost,
            bytes_up: transfers.bytes_up,
            bytes_down: transfers.bytes_down,
            dispatches: transfers.dispatches,
            fallbacks: transfers.fallbacks,
            not_worth: transfers.not_worth,
        }
    }
}

/// Those of this process.
#[must_use]
pub fn own_devices() -> Vec<DeviceReport> {
    reports().into_iter().map(DeviceReport::from).collect()
}

/// Those of some nodes as rows.
pub fn device_rows<'a>(nodes: impl Iterator<Item = (&'a str, &'a [DeviceReport])>) -> Result<RecordBatch> {
    let rows: Vec<(&str, &DeviceReport)> =
        nodes.flat_map(|(node, devices)| devices.iter().map(move |device| (node, device))).collect();
    let text = |value: fn(&DeviceReport) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, device)| value(device))))
    };
    let count = |value: fn(&DeviceReport) -> u64| -> ArrayRef {
        let counts = rows.iter().map(|(_, device)| i64::try_from(value(device)).unwrap_or(i64::MAX));
        Arc::new(Int64Array::from_iter_values(counts))
    };
    let lost: StringArray = rows.iter().map(|(_, device)| device.lost.clone()).collect();
    let columns: [(&str, ArrayRef, bool); 9] = [
        ("node", Arc::new(StringArray::from_iter_values(rows.iter().map(|(node, _)| *node))), false),
        ("device", text(|of| &of.name), false),
        ("reason", text(|of| &of.reason), false),
        ("lost", Arc::new(lost), true),
        ("bytes_up", count(|of| of.bytes_up), false),
        ("bytes_down", count(|of| of.bytes_down), false),
        ("dispatches", count(|of| of.dispatches), false),
        ("fallbacks", count(|of| of.fallbacks), false),
        ("not_worth", count(|of| of.not_worth), false),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_chosen_nothing_has_the_cpu() {
        let own = own_devices();
        let rows = device_rows([("coordinator", own.as_slice())].into_iter()).unwrap();
        assert_eq!((rows.num_rows(), own[0].name.as_str()), (1, "cpu"));
        assert!(own[0].reason.contains("nobody has chosen a device"), "{own:?}");
    }
}
