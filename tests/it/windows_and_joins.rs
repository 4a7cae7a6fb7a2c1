//! Windows and joins through SQL, on rows few enough to work out by hand.
//!
//! Every query is asked of one task, of several, and of worker processes: the answer is the same.

use crate::command::{Folder, sorted_rows};

/// How a script can be spread.
pub(crate) const SPREADS: [&[&str]; 4] = [
    &["--parallelism", "1"],
    &["--parallelism", "2"],
    &["--parallelism", "4"],
    &["--parallelism", "2", "--workers", "2"],
];

/// A source of bids; what is in its file is a test's own.
pub(crate) const BIDS: &str = "CREATE SOURCE bids (ts TIMESTAMP, item VARCHAR, price BIGINT, WATERMARK FOR ts AS ts)
    WITH (connector = 'files', path = 'bids.csv', format = 'csv');";

/// Orders, their payments and the prices of items.
pub(crate) const SHOP: &str = "
CREATE SOURCE orders (ordered_at TIMESTAMP, id BIGINT, item VARCHAR, WATERMARK FOR ordered_at AS ordered_at)
  WITH (connector = 'files', path = 'orders.csv', format = 'csv');
CREATE SOURCE payments (paid_at TIMESTAMP, order_id BIGINT, amount BIGINT, WATERMARK FOR paid_at AS paid_at)
  WITH (connector = 'files', path = 'payments.csv', format = 'csv');
CREATE SOURCE prices (valid_from TIMESTAMP, item VARCHAR, price BIGINT, WATERMARK FOR valid_from AS valid_from)
  WITH (connector = 'files', path = 'prices.csv', format = 'csv');";

pub(crate) const BIDS_CSV: &str = "\
ts,item,price
2024-01-01 00:00:01,a,1
2024-01-01 00:00:04,b,2
2024-01-01 00:00:09,a,3
2024-01-01 00:00:10,a,4
2024-01-01 00:00:12,b,5
2024-01-01 00:00:31,a,6
";

const ORDERS_CSV: &str = "\
ordered_at,id,item
2024-01-01 10:00:00,1,tea
2024-01-01 10:05:00,2,rice
2024-01-01 10:20:00,3,tea
2024-01-01 11:00:00,4,salt
";

const PAYMENTS_CSV: &str = "\
paid_at,order_id,amount
2024-01-01 10:10:00,1,3
2024-01-01 10:15:01,2,7
2024-01-01 10:30:00,3,3
2024-01-01 10:31:00,3,1
2024-01-01 10:59:59,4,9
";

const PRICES_CSV: &str = "\
valid_from,item,price
2024-01-01 09:00:00,tea,3
2024-01-01 10:20:00,tea,4
2024-01-01 10:30:00,rice,7
";

/// Asks in every way, with batches of one row and with all rows in one batch, and compares as sets.
#[track_caller]
pub(crate) fn check(sources: &str, query: &str, expected: &[&str]) {
    let files = [
        ("bids.csv", BIDS_CSV),
        ("orders.csv", ORDERS_CSV),
        ("payments.csv", PAYMENTS_CSV),
        ("prices.csv", PRICES_CSV),
    ];
    for batch_rows in ["1", "4096"] {
        for spread in SPREADS {
            let folder = Folder::with(&files);
            let setting = format!("source_batch_rows={batch_rows}");
            let arguments = [spread, &["--format", "csv", "--set", &setting]].concat();
            let output = folder.run(&format!("{sources}{query};"), &arguments).success();
            assert_eq!(sorted_rows(&output.stdout), expected, "{spread:?}, batches of {batch_rows}");
        }
    }
}

#[test]
fn a_tumbling_window_holds_its_start_and_not_its_end() {
    check(
        BIDS,
        "SELECT item, window_start, window_end, count(*) AS n, sum(price) AS total
         FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 seconds') GROUP BY item, window_start, window_end",
        &[
            "a,2024-01-01T00:00:00,2024-01-01T00:00:10,2,4",
            "a,2024-01-01T00:00:10,2024-01-01T00:00:20,1,4",
            "a,2024-01-01T00:00:30,2024-01-01T00:00:40,1,6",
            "b,2024-01-01T00:00:00,2024-01-01T00:00:10,1,2",
            "b,2024-01-01T00:00:10,2024-01-01T00:00:20,1,5",
        ],
    );
}

#[test]
fn a_hopping_window_counts_a_row_in_each_window_it_is_in() {
    check(
        BIDS,
        "SELECT item, window_start, sum(price) AS total, min(price) AS least, avg(price) AS mean
         FROM HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 seconds', INTERVAL '20 seconds')
         GROUP BY item, window_start, window_end",
        &[
            "a,2023-12-31T23:59:50,4,1,2.0",
            "a,2024-01-01T00:00:00,8,1,2.6666666666666665",
            "a,2024-01-01T00:00:10,4,4,4.0",
            "a,2024-01-01T00:00:20,6,6,6.0",
            "a,2024-01-01T00:00:30,6,6,6.0",
            "b,2023-12-31T23:59:50,2,2,2.0",
            "b,2024-01-01T00:00:00,7,2,3.5",
            "b,2024-01-01T00:00:10,5,5,5.0",
        ],
    );
}

#[test]
fn a_cumulating_window_grows_until_it_starts_anew() {
    check(
        BIDS,
        "SELECT window_start, window_end, count(*) AS n, sum(price) AS total
         FROM CUMULATE(TABLE bids, DESCRIPTOR(ts), INTERVAL '5 seconds', INTERVAL '15 seconds')
         GROUP BY window_start, window_end",
        &[
            "2024-01-01T00:00:00,2024-01-01T00:00:05,2,3",
            "2024-01-01T00:00:00,2024-01-01T00:00:10,3,6",
            "2024-01-01T00:00:00,2024-01-01T00:00:15,5,15",
            "2024-01-01T00:00:30,2024-01-01T00:00:35,1,6",
            "2024-01-01T00:00:30,2024-01-01T00:00:40,1,6",
            "2024-01-01T00:00:30,2024-01-01T00:00:45,1,6",
        ],
    );
}

#[test]
fn a_session_lasts_until_a_gap() {
    check(
        BIDS,
        "SELECT item, window_start, window_end, count(*) AS n, sum(price) AS total
         FROM SESSION(TABLE bids PARTITION BY item, DESCRIPTOR(ts), INTERVAL '8 seconds')
         GROUP BY item, window_start, window_end",
        &[
            "a,2024-01-01T00:00:01,2024-01-01T00:00:18,3,8",
            "a,2024-01-01T00:00:31,2024-01-01T00:00:39,1,6",
            "b,2024-01-01T00:00:04,2024-01-01T00:00:20,2,7",
        ],
    );
}

#[test]
fn sessions_can_be_windowed_and_filtered_behind_an_aggregate() {
    check(
        &format!(
            "{BIDS} CREATE VIEW visits AS SELECT item, window_end AS ended_at, avg(price) FILTER (WHERE price > 1) AS mean
             FROM SESSION(TABLE bids PARTITION BY item, DESCRIPTOR(ts), INTERVAL '8 seconds')
             GROUP BY item, window_start, window_end;"
        ),
        "SELECT window_start, count(*) AS visits, max(mean) AS most
         FROM TUMBLE(TABLE visits, DESCRIPTOR(ended_at), INTERVAL '30 seconds') GROUP BY window_start, window_end",
        &["2024-01-01T00:00:00,2,3.5", "2024-01-01T00:00:30,1,6.0"],
    );
}

#[test]
fn windows_of_windows_see_final_rows() {
    check(
        &format!(
            "{BIDS} CREATE VIEW totals AS SELECT item, window_end AS closed_at, sum(price) AS total
             FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 seconds') GROUP BY item, window_start, window_end;"
        ),
        "SELECT window_start, max(total) AS most, count(*) AS items
         FROM TUMBLE(TABLE totals, DESCRIPTOR(closed_at), INTERVAL '1 minute') GROUP BY window_start, window_end",
        &["2024-01-01T00:00:00,6,5"],
    );
}

#[test]
fn an_aggregate_without_a_window_prints_its_final_rows() {
    check(BIDS, "SELECT item, count(*) AS n, sum(price) AS total FROM bids GROUP BY item", &["a,4,14", "b,2,7"]);
}

#[test]
fn an_interval_join_holds_both_bounds() {
    // Paid within ten minutes: order 1 at the last moment, 2 a second late, 3 once of twice, 4 before it was made.
    check(
        SHOP,
        "SELECT o.id, o.item, p.amount FROM orders o
         JOIN payments p ON p.order_id = o.id
                        AND p.paid_at BETWEEN o.ordered_at AND o.ordered_at + INTERVAL '10 minutes'",
        &["1,tea,3", "3,tea,3"],
    );
}

#[test]
fn a_temporal_join_takes_the_newest_version_at_that_time() {
    // The price of tea changes at the very moment of order 3, that of rice after order 2; salt has none.
    check(
        SHOP,
        "SELECT o.id, o.item, p.price FROM orders o
         JOIN prices FOR SYSTEM_TIME AS OF o.ordered_at AS p ON p.item = o.item",
        &["1,tea,3", "3,tea,4"],
    );
}

#[test]
fn a_left_temporal_join_keeps_rows_without_a_version() {
    check(
        SHOP,
        "SELECT o.id, o.item, p.price FROM orders o
         LEFT JOIN prices FOR SYSTEM_TIME AS OF o.ordered_at AS p ON p.item = o.item",
        &["1,tea,3", "2,rice,", "3,tea,4", "4,salt,"],
    );
}

#[test]
fn joined_rows_can_be_windowed() {
    check(
        &format!(
            "{SHOP} CREATE VIEW sold AS SELECT o.ordered_at, o.item, p.price FROM orders o
             JOIN prices FOR SYSTEM_TIME AS OF o.ordered_at AS p ON p.item = o.item;"
        ),
        "SELECT item, window_start, sum(price) AS total
         FROM TUMBLE(TABLE sold, DESCRIPTOR(ordered_at), INTERVAL '1 hour') GROUP BY item, window_start, window_end",
        &["tea,2024-01-01T10:00:00,7"],
    );
}

#[test]
fn rows_behind_a_closed_window_are_counted_and_left_out() {
    let rows = "ts,item,price\n2024-01-01 00:00:01,a,1\n2024-01-01 00:00:15,a,2\n2024-01-01 00:00:02,a,3\n\
                2024-01-01 00:00:12,a,4\n";
    // One reader: with several, how late a row is depends on how far the others have come.
    let arguments = ["--format", "csv", "--set", "source_batch_rows=1", "--parallelism", "1"];
    let folder = Folder::with(&[("bids.csv", rows)]);
    let query = "SELECT window_start, sum(price) AS total
         FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 seconds') GROUP BY window_start, window_end";
    let output = folder.run(&format!("{BIDS}{query}"), &arguments).success();
    assert_eq!(sorted_rows(&output.stdout), ["2024-01-01T00:00:00,1", "2024-01-01T00:00:10,6"]);
    assert!(output.stderr.contains("1 late"), "{}", output.stderr);
}

#[test]
fn several_files_are_one_stream_whoever_reads_them() {
    let header = "ts,item,price\n";
    let lines: Vec<&str> = BIDS_CSV.lines().skip(1).collect();
    let sources = "CREATE SOURCE bids (ts TIMESTAMP, item VARCHAR, price BIGINT,
                                       WATERMARK FOR ts AS ts - INTERVAL '1 hour')
        WITH (connector = 'files', path = 'bids-*.csv', format = 'csv');";
    let query = "SELECT item, window_start, sum(price) AS total
         FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 minute') GROUP BY item, window_start, window_end";
    for spread in SPREADS {
        let folder = Folder::new();
        for (index, rows) in lines.chunks(2).enumerate() {
            folder.write(&format!("bids-{}.csv", 9 - index), format!("{header}{}\n", rows.join("\n")));
        }
        let output = folder.run(&format!("{sources}{query}"), &[spread, &["--format", "csv"]].concat()).success();
        let expected = ["a,2024-01-01T00:00:00,14", "b,2024-01-01T00:00:00,7"];
        assert_eq!(sorted_rows(&output.stdout), expected, "{spread:?}");
    }
}

#[test]
fn the_files_sink_writes_what_the_files_source_reads() {
    for format in ["parquet", "csv", "json"] {
        let folder = Folder::with(&[("bids.csv", BIDS_CSV)]);
        let write = format!(
            "{BIDS} CREATE SINK kept (ts TIMESTAMP, item VARCHAR, price BIGINT)
                      WITH (connector = 'files', path = 'kept', format = '{format}');
             INSERT INTO kept SELECT ts, item, price FROM bids WHERE price > 2;"
        );
        let output = folder.run(&write, &["--format", "csv"]).success();
        assert_eq!(output.stdout, "", "a sink is no result");
        let read = format!(
            "CREATE SOURCE kept (price BIGINT, item VARCHAR) WITH (connector = 'files', path = 'kept', format = '{format}');
             SELECT item, price FROM kept ORDER BY price DESC"
        );
        let output = folder.run(&read, &["--format", "csv"]).success();
        assert_eq!(output.stdout, "item,price\na,6\nb,5\na,4\na,3\n", "{format}");
    }
}
