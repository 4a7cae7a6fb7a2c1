//! What is asked for, and what the cache spares.

use std::sync::{Mutex, PoisonError};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use tidemill_plans::expr::StreamSchema;

use super::*;
use crate::rows::int64;
use crate::testing::graph::schema;

/// A table in which each even number has itself twice; it notes what it is asked for.
struct Evens(Arc<Mutex<Vec<Vec<i64>>>>);

impl Fetch for Evens {
    fn fetch(&mut self, keys: &[ArrayRef]) -> Result<RecordBatch> {
        let asked = keys[0].as_primitive::<Int64Type>().values().to_vec();
        let rows = asked.iter().filter(|key| *key % 2 == 0).flat_map(|key| [*key, *key]).rev().collect::<Vec<_>>();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        Ok(RecordBatch::try_new(schema("n:int"), vec![int64(rows)])?)
    }
}

#[test]
fn only_what_is_not_known_is_asked_for() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let columns = StreamSchema(schema("n:int"));
    let keys = JoinKeys::new(&columns.0, &[0]).unwrap();
    let mut lookup = Lookup { source: Box::new(Evens(Arc::clone(&asked))), keys, cache: Cache::new(5, u64::MAX) };
    let mut rows = |numbers: &[i64]| {
        let column = int64(numbers.iter().copied());
        let keys = JoinKeys::new(&columns.0, &[0]).unwrap().of_columns(&[Arc::clone(&column)]).unwrap();
        let bytes: Vec<&[u8]> = (0..numbers.len()).map(|row| keys.get(row).unwrap()).collect();
        let found = lookup.rows_of(&bytes, &[column]).unwrap();
        found.iter().map(RecordBatch::num_rows).collect::<Vec<_>>()
    };
    assert_eq!(rows(&[1, 2]), [0, 2]);
    assert_eq!(rows(&[4, 1, 2]), [2, 0, 2]);
    // Five rows are kept: of 1, 2 and 4. With 6, the one that was not asked for longest has to go.
    assert_eq!(rows(&[6]), [2]);
    assert_eq!(rows(&[2, 6]), [2, 2]);
    assert_eq!(*asked.lock().unwrap(), [vec![1, 2], vec![4], vec![6], vec![2]]);
}
