//! The versions that the name of a model means while a stream runs: the one with which it begins, and each later one.
//!
//! The coordinator tells the worker, once an attempt runs and whenever the name comes to mean another version; here they
//! are taken. Only the newest that was told waits, so the past of a name takes no room. A position has the version that
//! was given out last: whoever goes on gives it out once more, for an operator that does not have it yet, under the same
//! number, so that others know it again; and then, if the name means another by then, that one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::PlanError;
use tidemill_plans::catalog::ModelWeights;
use tidemill_plans::codec;
use tidemill_plans::connector::{MODEL_ENDS, MODEL_OPTION, option};
use tidemill_plans::node::{Published, SourceNode, version_rows};

use super::{Source, SourceEvent};
use crate::error::Result;
use crate::task::TaskEnv;

/// How long nothing is looked for after there was nothing.
const WAIT: Duration = Duration::from_millis(20);

/// What the names of models mean, as far as the coordinator has told this worker for one attempt at a job.
#[derive(Debug, Default)]
pub struct ServedVersions(Mutex<BTreeMap<String, Arc<ModelWeights>>>);

impl ServedVersions {
    /// Takes note of what a name means from now on.
    pub fn put(&self, reference: String, weights: Arc<ModelWeights>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(reference, weights);
    }

    fn newest(&self, reference: &str) -> Option<Arc<ModelWeights>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(reference).cloned()
    }
}

/// Gives versions out.
struct ServedModel {
    reference: String,
    told: Arc<ServedVersions>,
    columns: SchemaRef,
    /// Whether there is but one.
    ends: bool,
    /// How many have been given out, and the last of them.
    number: i64,
    newest: Option<Arc<ModelWeights>>,
    /// Whether that is to be given out once more.
    is_due: bool,
}

/// What has been given out.
#[derive(bincode::Encode, bincode::Decode)]
enum Position {
    V1 { number: i64, newest: Option<Arc<ModelWeights>> },
}

/// Opens a source of versions, which one task reads.
pub(super) fn open_source(node: &SourceNode, env: &TaskEnv) -> Result<Box<dyn Source>> {
    let missing = || PlanError::InvalidGraph(format!("a source of models has no option '{MODEL_OPTION}'"));
    let reference = option(&node.options, MODEL_OPTION).ok_or_else(missing)?;
    Ok(Box::new(ServedModel {
        reference: reference.to_owned(),
        told: Arc::clone(&env.served),
        columns: Arc::clone(&node.columns.0),
        ends: option(&node.options, MODEL_ENDS).is_some(),
        number: 0,
        newest: None,
        is_due: false,
    }))
}

impl ServedModel {
    /// What the name means, if it is not what was given out last. Versions are compared as a whole: a model that was made
    /// anew counts from 1 again.
    fn other(&self) -> Option<Arc<ModelWeights>> {
        let told = self.told.newest(&self.reference)?;
        let is_same = |newest: &Arc<ModelWeights>| Arc::ptr_eq(newest, &told) || *newest == told;
        if self.newest.as_ref().is_some_and(is_same) { None } else { Some(told) }
    }

    /// The last version as a row.
    fn row(&self, newest: &ModelWeights) -> Result<RecordBatch> {
        let ModelWeights { version, learnt_to, state, .. } = newest;
        let version = Published { version: *version, learnt_to: *learnt_to, rows_learnt: self.number, state };
        let row = version_rows(&[version])?;
        let places: Result<Vec<usize>, _> =
            self.columns.fields().iter().map(|field| row.schema_ref().index_of(field.name())).collect();
        Ok(row.project(&places?)?)
    }
}

impl Source for ServedModel {
    fn next_event(&mut self) -> Result<SourceEvent> {
        if let Some(newest) = self.newest.as_ref().filter(|_| self.is_due) {
            let row = self.row(newest)?;
            self.is_due = false;
            return Ok(SourceEvent::Batch(row));
        }
        if self.ends && self.newest.is_some() {
            return Ok(SourceEvent::End);
        }
        match self.other() {
            Some(other) => {
                self.number += 1;
                self.newest = Some(Arc::clone(&other));
                Ok(SourceEvent::Batch(self.row(&other)?))
            }
            None => {
                std::thread::sleep(WAIT);
                Ok(SourceEvent::Idle)
            }
        }
    }

    fn position(&self) -> Result<Vec<u8>> {
        Ok(codec::encode(&Position::V1 { number: self.number, newest: self.newest.clone() })?)
    }

    fn seek(&mut self, position: &[u8]) -> Result<()> {
        let Position::V1 { number, newest } = codec::decode(position)?;
        self.is_due = newest.is_some();
        (self.number, self.newest) = (number, newest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use tidemill_plans::node::model_version_schema;

    use super::*;

    fn version(number: i64) -> Arc<ModelWeights> {
        let (model, label) = (String::from("m"), String::from("y"));
        Arc::new(ModelWeights { model, version: number, learnt_to: 0, label, state: vec![number as u8] })
    }

    fn source(told: &Arc<ServedVersions>, ends: bool) -> ServedModel {
        let (reference, columns) = (String::from("m@good"), model_version_schema());
        let (told, newest) = (Arc::clone(told), None);
        ServedModel { reference, told, columns, ends, number: 0, newest, is_due: false }
    }

    /// What it says: a version and its number, or why none.
    fn next(source: &mut ServedModel) -> String {
        match source.next_event().unwrap() {
            SourceEvent::Batch(row) => {
                let number = |column| row.column(column).as_primitive::<Int64Type>().value(0);
                format!("version {} is number {}", number(0), number(2))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn each_version_is_given_out_once_and_of_those_that_wait_the_newest() {
        let told = Arc::new(ServedVersions::default());
        let mut source = source(&told, false);
        assert_eq!(next(&mut source), "Idle");
        told.put(String::from("m"), version(9));
        assert_eq!(next(&mut source), "Idle", "another name");
        told.put(String::from("m@good"), version(1));
        assert_eq!([next(&mut source), next(&mut source)], ["version 1 is number 1", "Idle"]);
        told.put(String::from("m@good"), version(2));
        told.put(String::from("m@good"), version(3));
        assert_eq!([next(&mut source), next(&mut source)], ["version 3 is number 2", "Idle"]);
        // The same, told once more, is no news; the first, when the alias moves back, is.
        told.put(String::from("m@good"), version(3));
        assert_eq!(next(&mut source), "Idle");
        told.put(String::from("m@good"), version(1));
        assert_eq!(next(&mut source), "version 1 is number 3");
    }

    #[test]
    fn one_that_goes_on_says_again_what_it_has_said_and_then_what_has_come_since() {
        let told = Arc::new(ServedVersions::default());
        let mut first = source(&told, false);
        let before = first.position().unwrap();
        told.put(String::from("m@good"), version(1));
        assert_eq!(next(&mut first), "version 1 is number 1");
        let mut second = source(&told, false);
        second.seek(&first.position().unwrap()).unwrap();
        assert_eq!([next(&mut second), next(&mut second)], ["version 1 is number 1", "Idle"]);
        told.put(String::from("m@good"), version(2));
        let mut third = source(&told, false);
        third.seek(&second.position().unwrap()).unwrap();
        assert_eq!([next(&mut third), next(&mut third)], ["version 1 is number 1", "version 2 is number 2"]);
        // Nobody tells: the name may mean nothing any more.
        let mut alone = source(&Arc::default(), false);
        alone.seek(&third.position().unwrap()).unwrap();
        assert_eq!([next(&mut alone), next(&mut alone)], ["version 2 is number 2", "Idle"]);
        alone.seek(&before).unwrap();
        assert_eq!(next(&mut alone), "Idle");
    }

    #[test]
    fn of_a_stream_that_ends_the_first_is_the_last() {
        let told = Arc::new(ServedVersions::default());
        let mut source = source(&told, true);
        assert_eq!(next(&mut source), "Idle");
        told.put(String::from("m@good"), version(1));
        assert_eq!(next(&mut source), "version 1 is number 1");
        told.put(String::from("m@good"), version(2));
        assert_eq!(next(&mut source), "End");
    }
}
