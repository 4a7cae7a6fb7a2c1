//! OVER through SQL, on rows few enough to work out by hand.

use crate::command::{Folder, sorted_rows};
use crate::windows_and_joins::{BIDS, BIDS_CSV, SPREADS};

/// Asks with one task and several, with batches of one row and with all rows in one, and compares as
/// sets.
#[track_caller]
fn check(query: &str, expected: &[&str]) {
    for batch_rows in ["1", "4096"] {
        for spread in SPREADS {
            let folder = Folder::with(&[("bids.csv", BIDS_CSV)]);
            let setting = format!("source_batch_rows={batch_rows}");
            let arguments = [spread, &["--format", "csv", "--set", &setting]].concat();
            let output = folder.run(&format!("{BIDS}{query};"), &arguments).success();
            assert_eq!(sorted_rows(&output.stdout), expected, "{spread:?}, batches of {batch_rows}");
        }
    }
}

#[test]
fn the_newest_and_the_dearest_rows() {
    check(
        "SELECT item, price FROM
           (SELECT *, row_number() OVER (PARTITION BY item ORDER BY ts DESC) AS rn FROM bids) WHERE rn = 1",
        &["a,6", "b,5"],
    );
    check(
        "SELECT * FROM
           (SELECT item, price, row_number() OVER (PARTITION BY item ORDER BY price DESC) AS rn FROM bids)
         WHERE rn <= 2",
        &["a,4,2", "a,6,1", "b,2,2", "b,5,1"],
    );
    check(
        "SELECT item, price FROM bids QUALIFY row_number() OVER (PARTITION BY item ORDER BY ts) = 1",
        &["a,1", "b,2"],
    );
}

#[test]
fn the_first_rows_of_windows() {
    check(
        "SELECT item, total, window_start, rn FROM (
           SELECT *, row_number() OVER (PARTITION BY window_start, window_end ORDER BY total DESC) AS rn FROM (
             SELECT item, sum(price) AS total, window_start, window_end
             FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 seconds') GROUP BY item, window_start, window_end))
         WHERE rn = 1",
        &["a,4,2024-01-01T00:00:00,1", "a,6,2024-01-01T00:00:30,1", "b,5,2024-01-01T00:00:10,1"],
    );
    check(
        "SELECT item, price, window_start FROM (
           SELECT *, row_number() OVER (PARTITION BY window_start, window_end, item ORDER BY price DESC) AS rn
           FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 seconds')) WHERE rn = 1",
        &[
            "a,3,2024-01-01T00:00:00",
            "a,4,2024-01-01T00:00:10",
            "a,6,2024-01-01T00:00:30",
            "b,2,2024-01-01T00:00:00",
            "b,5,2024-01-01T00:00:10",
        ],
    );
}

#[test]
fn the_first_rows_of_updating_ones() {
    check(
        "SELECT item, n FROM (
           SELECT *, row_number() OVER (ORDER BY n DESC) AS rn FROM (
             SELECT item, count(*) AS n FROM bids GROUP BY item)) WHERE rn = 1",
        &["a,4"],
    );
}
