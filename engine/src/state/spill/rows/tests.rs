use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, Int64Array, ListArray, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};

use super::*;
use crate::testing::graph::schema;

fn keys(numbers: &[i64]) -> Vec<ArrayRef> {
    let texts: StringArray = numbers.iter().map(|number| (number % 3 != 0).then(|| number.to_string())).collect();
    vec![Arc::new(Int64Array::from(numbers.to_vec())), Arc::new(texts)]
}

fn spilled() -> SpilledRows {
    of(Layout::OneRun)
}

fn of(layout: Layout) -> SpilledRows {
    let list = Field::new("l", DataType::new_list(DataType::Int64, true), true);
    let rows = Schema::new(vec![Field::new("v", DataType::Float64, true), list]);
    SpilledRows::new(ScratchFolder::new(std::env::temp_dir()), layout, &schema("k:int t:text"), &Arc::new(rows))
        .unwrap()
}

/// A number and a list for each key.
fn rows(numbers: &[i64]) -> Vec<ArrayRef> {
    let values =
        Float64Array::from_iter(numbers.iter().map(|number| (number % 4 != 0).then_some(-0.0 / *number as f64)));
    let lists = numbers.iter().map(|number| (number % 5 != 0).then(|| vec![None, Some(*number)]));
    vec![Arc::new(values), Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))]
}

#[test]
fn rows_come_back_by_key_as_they_were() {
    let mut spilled = spilled();
    let all: Vec<i64> = (0..100).collect();
    for part in all.chunks(7) {
        spilled.put(Part::Written, &keys(part), &rows(part), part).unwrap();
    }
    assert_eq!(spilled.len(), 100);
    let taken = spilled.take(&keys(&[3, 200, 97, 64])).unwrap();
    let numbers: Vec<i64> = taken.places.iter().map(|place| [3, 200, 97, 64][*place]).collect();
    assert_eq!(numbers.len(), 3, "{numbers:?}");
    assert_eq!(taken.rows, rows(&numbers));
    let bits = |rows: &[ArrayRef]| rows[0].as_primitive::<Float64Type>().value(0).to_bits();
    assert_eq!(bits(&taken.rows), bits(&rows(&numbers)), "zeros keep their signs");
    assert!(spilled.take(&keys(&[3])).unwrap().places.is_empty(), "it was taken");
    assert_eq!(spilled.len(), 97);
}

#[test]
fn a_scan_sees_one_moment_from_another_thread() {
    let mut spilled = spilled();
    spilled.put(Part::Written, &keys(&[1, 2, 3, 4, 5]), &rows(&[1, 2, 3, 4, 5]), &[0; 5]).unwrap();
    spilled.take(&keys(&[4])).unwrap();
    let view = spilled.view(None);
    spilled.take(&keys(&[1, 2])).unwrap();
    spilled.put(Part::Written, &keys(&[9]), &rows(&[9]), &[0]).unwrap();
    drop(spilled);
    let read = std::thread::spawn(move || view.scan(2).unwrap().collect::<Result<Vec<_>>>().unwrap()).join().unwrap();
    let mut numbers: Vec<i64> =
        read.iter().flat_map(|(keys, _)| keys[0].as_primitive::<Int64Type>().values().to_vec()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 5]);
    assert!(read.iter().all(|(_, rows)| rows[0].len() <= 2));
}

#[test]
fn rows_of_a_key_that_were_put_one_after_another_come_back_together() {
    let mut spilled = of(Layout::ManyRuns);
    let parts = [Part::Written, Part::Unwritten];
    for number in 0..20i64 {
        spilled.put(parts[number as usize % 2], &keys(&[7, 8]), &rows(&[number, 100]), &[number, 50]).unwrap();
    }
    assert_eq!(spilled.stamps(), Some((0, 50)));
    let taken = spilled.take(&keys(&[8, 7])).unwrap().sorted().unwrap();
    assert_eq!((taken.places.len(), spilled.len(), spilled.stamps()), (40, 0, None));
    let is_unwritten =
        |place| taken.places.iter().zip(&taken.parts).filter(|of| of == &(&place, &Part::Unwritten)).count();
    assert_eq!([is_unwritten(0), is_unwritten(1)], [10, 10]);
}

#[test]
fn rows_from_before_a_time_are_taken_some_at_a_time() {
    let mut spilled = of(Layout::ManyRuns);
    for part in (0..30i64).collect::<Vec<_>>().chunks(7) {
        spilled.put(Part::Written, &keys(part), &rows(part), part).unwrap();
    }
    let mut sizes = Vec::new();
    spilled
        .take_before(11, 4, |rows| {
            sizes.push(rows[0].len());
            Ok(())
        })
        .unwrap();
    assert_eq!((sizes, spilled.len(), spilled.stamps()), (vec![4, 4, 3], 19, Some((11, 29))));
}
