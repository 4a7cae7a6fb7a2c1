//! What the workers of the cluster compute with, as they tell it, and this process: the rows of SHOW DEVICES.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use tidemill_plans::PlanError;
use tidemill_plans::device::{DeviceReport, device_rows, own_devices};
use tidemill_plans::ids::WorkerId;

/// The devices of workers in processes of their own, by worker.
#[derive(Debug, Default)]
pub(crate) struct Devices(Mutex<BTreeMap<WorkerId, Vec<DeviceReport>>>);

impl Devices {
    /// Takes note of what a worker has told last.
    pub(crate) fn note(&self, worker: WorkerId, devices: Vec<DeviceReport>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(worker, devices);
    }

    /// A row for each device of this process and of these workers; of others nothing is known any more.
    pub(crate) fn rows(&self, workers: &[WorkerId]) -> Result<RecordBatch, PlanError> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|worker, _| workers.contains(worker));
        let own = [(String::from("coordinator"), own_devices())];
        let of_workers = told.iter().map(|(worker, devices)| (worker.to_string(), devices.clone()));
        let nodes: Vec<(String, Vec<DeviceReport>)> = own.into_iter().chain(of_workers).collect();
        device_rows(nodes.iter().map(|(node, devices)| (node.as_str(), devices.as_slice())))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn a_worker_that_is_gone_has_no_devices() {
        let devices = Devices::default();
        for worker in [WorkerId(1), WorkerId(2)] {
            devices.note(worker, own_devices());
        }
        let nodes = |workers: &[WorkerId]| {
            let rows = devices.rows(workers).unwrap();
            rows.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(nodes(&[WorkerId(1), WorkerId(2)]), ["coordinator", "worker-1", "worker-2"]);
        assert_eq!(nodes(&[WorkerId(2)]), ["coordinator", "worker-2"]);
        assert_eq!(nodes(&[WorkerId(1), WorkerId(2)]), ["coordinator", "worker-2"], "it has to tell it again");
    }
}
