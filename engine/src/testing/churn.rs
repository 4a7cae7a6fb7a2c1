//! Random rows `k:text v:int t:time` that come in batches, and go, where an input is a changelog.

use proptest::prelude::*;

use super::OperatorHarness;
use super::graph::sorted_rows;

/// How far rows are behind the newest time, at most.
const LATE_SECONDS: i64 = 9;

/// A key, a value, how late the row is, and whether another row of the key goes instead.
type Row = (u8, u8, i64, bool);

/// Batches, and how far time moves behind each.
pub(crate) type Churn = Vec<(Vec<Row>, i64)>;

/// Batches of so many keys.
pub(crate) fn churn(keys: u8) -> impl Strategy<Value = Churn> {
    let row = (0..keys, 0..5u8, 0..LATE_SECONDS, any::<bool>());
    prop::collection::vec((prop::collection::vec(row, 1..12), 0..5i64), 1..25)
}

/// The rows that come out in the end, sorted.
pub(crate) fn play(mut harness: OperatorHarness, churn: &Churn, changes: bool) -> Vec<String> {
    let (mut now, mut there) = (100, Vec::new());
    for (rows, seconds) in churn {
        let batch: String = rows.iter().map(|row| change(row, now, &mut there, changes)).collect();
        harness.push(0, &batch).unwrap();
        now += seconds;
        harness.watermark(0, now - LATE_SECONDS).unwrap();
    }
    harness.finish().unwrap();
    sorted_rows(&harness.output().unwrap())
}

fn change((key, value, late, goes): &Row, now: i64, there: &mut Vec<String>, changes: bool) -> String {
    let key = format!("k{key} ");
    if let Some(place) = there.iter().position(|row| row.starts_with(&key)).filter(|_| changes && *goes) {
        return format!("{} 3\n", there.remove(place));
    }
    let row = format!("{key}{value} @{}", now - late);
    there.push(row.clone());
    format!("{row}{}\n", if changes { " 0" } else { "" })
}
