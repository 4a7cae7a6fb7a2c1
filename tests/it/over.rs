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
fn aggregates_that_cannot_take_rows_out_slide_too() {
    check(
        "SELECT price, bit_or(price) OVER (ORDER BY ts ROWS 1 PRECEDING) AS bits,
                approx_distinct(item) OVER (ORDER BY ts ROWS 1 PRECEDING) AS items FROM bids",
        &["1,1,1", "2,3,2", "3,3,2", "4,7,1", "5,5,2", "6,7,2"],
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

/// What DataFusion answers over the same rows is the measure: every row once, with the values that it has
/// when all rows are there.
mod as_in_batch {
    use std::fmt::Write;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
    use arrow::csv::WriterBuilder;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    const SOURCE: &str = "
CREATE SOURCE t (k VARCHAR, id BIGINT, v BIGINT, d DOUBLE, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5 seconds')
  WITH (connector = 'files', path = 't.csv', format = 'csv', header = true);";

    /// 2024-01-01.
    const BEGINNING: i64 = 1_704_067_200;
    const ROWS: i64 = 400;

    /// Rows up to three seconds out of order, several of a time, some values missing.
    struct Rows {
        keys: Vec<Option<String>>,
        values: Vec<Option<i64>>,
        seconds: Vec<i64>,
    }

    impl Rows {
        fn new() -> Self {
            let mut seed = 42_u64;
            let mut next = |below: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((seed >> 33) % below) as i64
            };
            let mut rows = Self { keys: Vec::new(), values: Vec::new(), seconds: Vec::new() };
            for row in 0..ROWS {
                let key = next(6);
                rows.keys.push((key > 0).then(|| format!("k{key}")));
                rows.values.push(Some(next(20)).filter(|value| *value != 7));
                rows.seconds.push(row / 3 + next(4));
            }
            rows
        }

        fn csv(&self) -> String {
            let mut text = String::from("k,id,v,d,ts\n");
            for row in 0..ROWS as usize {
                let key = self.keys[row].as_deref().unwrap_or_default();
                let value = self.values[row].map_or(String::new(), |value| value.to_string());
                let (minutes, seconds) = (self.seconds[row] / 60, self.seconds[row] % 60);
                writeln!(text, "{key},{row},{value},{}.5,2024-01-01 00:{minutes:02}:{seconds:02}", row % 13).unwrap();
            }
            text
        }

        fn batch(&self) -> RecordBatch {
            let rows = 0..ROWS;
            let times = self.seconds.iter().map(|second| (BEGINNING + second) * 1_000_000);
            let columns: [(&str, ArrayRef); 5] = [
                ("k", Arc::new(self.keys.iter().map(Option::as_deref).collect::<StringArray>())),
                ("id", Arc::new(Int64Array::from_iter_values(rows.clone()))),
                ("v", Arc::new(self.values.iter().copied().collect::<Int64Array>())),
                ("d", Arc::new(Float64Array::from_iter_values(rows.map(|row| (row % 13) as f64 + 0.5)))),
                ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(times))),
            ];
            RecordBatch::try_from_iter(columns).unwrap()
        }

        /// DataFusion's answer, in the notation of `--format csv`.
        fn batch_answer(&self, query: &str) -> Vec<String> {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let config = SessionConfig::new().with_target_partitions(1);
            let context = SessionContext::new_with_config(config);
            context.register_batch("t", self.batch()).unwrap();
            let answer = async { context.sql(query).await.unwrap().collect().await.unwrap() };
            let mut text = Vec::new();
            let mut writer = WriterBuilder::new().with_header(true).build(&mut text);
            runtime.block_on(answer).iter().for_each(|batch| writer.write(batch).unwrap());
            drop(writer);
            sorted_rows(&String::from_utf8(text).unwrap()).into_iter().map(String::from).collect()
        }
    }

    #[track_caller]
    fn check(queries: &[&str]) {
        let rows = Rows::new();
        for query in queries {
            let expected = rows.batch_answer(query);
            assert!(expected.len() > 1, "{query}");
            for (spread, batch_rows) in [(SPREADS[0], "7"), (SPREADS[1], "4096")] {
                let folder = Folder::with(&[("t.csv", &rows.csv())]);
                let setting = format!("source_batch_rows={batch_rows}");
                let arguments = [spread, &["--format", "csv", "--set", &setting]].concat();
                let output = folder.run(&format!("{SOURCE}{query};"), &arguments).success();
                assert_eq!(sorted_rows(&output.stdout), expected, "{query}, {spread:?}, batches of {batch_rows}");
            }
        }
    }

    #[test]
    fn ranks() {
        check(&[
            "SELECT id, row_number() OVER w AS a, rank() OVER w AS b, dense_rank() OVER w AS c
             FROM t WINDOW w AS (PARTITION BY k ORDER BY ts, id)",
            "SELECT id, rank() OVER (PARTITION BY k ORDER BY ts) AS a, dense_rank() OVER (ORDER BY ts) AS b FROM t",
            "SELECT id, rank() OVER (PARTITION BY k ORDER BY v DESC NULLS LAST) AS a FROM t",
            "SELECT id, ntile(4) OVER (PARTITION BY k ORDER BY v, id) AS a,
                    percent_rank() OVER (PARTITION BY k ORDER BY v, id) AS b,
                    cume_dist() OVER (PARTITION BY k ORDER BY v, id) AS c FROM t",
        ]);
    }

    #[test]
    fn running_aggregates() {
        check(&[
            "SELECT id, sum(v) OVER w AS a, count(*) OVER w AS b, avg(d) OVER w AS c, min(v) OVER w AS e, max(v) OVER w AS f
             FROM t WINDOW w AS (PARTITION BY k ORDER BY ts)",
            "SELECT id, sum(v) OVER (ORDER BY ts, id) AS a, sum(v) OVER (PARTITION BY k ORDER BY ts) AS b FROM t",
            "SELECT id, sum(v) FILTER (WHERE d > 4) OVER (PARTITION BY k ORDER BY ts, id) AS a FROM t",
            "SELECT id, sum(v) OVER (PARTITION BY k) AS a, count(*) OVER () AS b FROM t",
            "SELECT id, sum(v) OVER (PARTITION BY k ORDER BY v DESC, id) AS a FROM t",
        ]);
    }

    #[test]
    fn frames_of_rows() {
        check(&[
            "SELECT id, sum(v) OVER w AS a, avg(d) OVER w AS b, min(v) OVER w AS c, count(v) OVER w AS e
             FROM t WINDOW w AS (PARTITION BY k ORDER BY ts, id ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)",
            "SELECT id, sum(v) OVER (PARTITION BY k ORDER BY ts, id ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING) AS a,
                    max(v) OVER (PARTITION BY k ORDER BY ts, id ROWS BETWEEN 2 FOLLOWING AND 4 FOLLOWING) AS b,
                    sum(v) OVER (PARTITION BY k ORDER BY ts, id ROWS BETWEEN 4 PRECEDING AND 2 PRECEDING) AS c FROM t",
            "SELECT id, sum(d) OVER (ORDER BY v, id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS a FROM t",
            "SELECT id, sum(v) OVER (PARTITION BY k ORDER BY v, id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS a
             FROM t",
            "SELECT id, sum(v) FILTER (WHERE d > 4) OVER (ORDER BY ts, id ROWS 3 PRECEDING) AS a FROM t",
        ]);
    }

    #[test]
    fn frames_of_time() {
        check(&[
            "SELECT id, sum(v) OVER w AS a, min(d) OVER w AS b, count(*) OVER w AS c
             FROM t WINDOW w AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '5 seconds' PRECEDING AND CURRENT ROW)",
            "SELECT id, sum(v) OVER (PARTITION BY k ORDER BY ts
                      RANGE BETWEEN INTERVAL '2 seconds' PRECEDING AND INTERVAL '3 seconds' FOLLOWING) AS a FROM t",
            "SELECT id, sum(v) OVER (PARTITION BY k ORDER BY ts
                      RANGE BETWEEN INTERVAL '9 seconds' PRECEDING AND INTERVAL '4 seconds' PRECEDING) AS a FROM t",
            "SELECT id, count(*) OVER (PARTITION BY k ORDER BY v RANGE BETWEEN 2 PRECEDING AND 3 FOLLOWING) AS a
             FROM t WHERE v IS NOT NULL",
            "SELECT id, sum(id) OVER (PARTITION BY k ORDER BY ts GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW) AS a FROM t",
        ]);
    }

    #[test]
    fn rows_before_and_behind() {
        check(&[
            "SELECT id, lag(v) OVER w AS a, lag(v, 2, -1) OVER w AS b, lead(v) OVER w AS c, lead(id, 3, 0) OVER w AS e
             FROM t WINDOW w AS (PARTITION BY k ORDER BY ts, id)",
            "SELECT id, lag(v) OVER (ORDER BY ts, id) - v AS a FROM t",
            "SELECT id, lag(v) IGNORE NULLS OVER (PARTITION BY k ORDER BY ts, id) AS a FROM t",
            "SELECT id, lead(id) OVER (PARTITION BY k ORDER BY v, id) AS a FROM t",
            "SELECT id, first_value(id) OVER w AS a, last_value(id) OVER w AS b, nth_value(id, 3) OVER w AS c
             FROM t WINDOW w AS (PARTITION BY k ORDER BY ts, id)",
            "SELECT id, first_value(v) OVER w AS a, last_value(v) OVER w AS b, nth_value(v, 2) OVER w AS c FROM t
             WINDOW w AS (PARTITION BY k ORDER BY ts, id ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)",
        ]);
    }

    #[test]
    fn aggregates_that_never_take_rows_out() {
        check(&[
            "SELECT id, approx_distinct(v) OVER (PARTITION BY k ORDER BY ts, id) AS a FROM t",
            "SELECT id, bool_and(v > 3) OVER (PARTITION BY k ORDER BY v, id) AS a FROM t",
        ]);
    }

    #[test]
    fn over_groups_that_are_updated() {
        check(&[
            "SELECT k, n, rank() OVER (ORDER BY n DESC, k) AS r FROM (SELECT k, count(*) AS n FROM t GROUP BY k)",
            "SELECT v, n, sum(n) OVER (ORDER BY v) AS r FROM (SELECT v, count(*) AS n FROM t GROUP BY v)",
            "SELECT k, sum(count(*)) OVER () AS r FROM t GROUP BY k",
            "SELECT k, id, avg(v) OVER (PARTITION BY v ORDER BY ts, id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS a
             FROM (SELECT * FROM t WHERE v IS NOT NULL QUALIFY row_number() OVER (PARTITION BY k, v ORDER BY id DESC) = 1)",
        ]);
    }

    #[test]
    fn first_rows() {
        check(&[
            "SELECT * FROM (SELECT k, id, v, row_number() OVER (PARTITION BY k ORDER BY v DESC, id) AS rn FROM t) WHERE rn <= 3",
            "SELECT id FROM (SELECT id, row_number() OVER (ORDER BY v, id DESC) AS rn FROM t) WHERE rn < 8",
            "SELECT k, id, rn FROM (SELECT *, row_number() OVER (PARTITION BY k ORDER BY ts, id) AS rn FROM t) WHERE rn <= 2",
            "SELECT id FROM t QUALIFY rank() OVER (PARTITION BY k ORDER BY v) <= 2",
            "SELECT k, total FROM (SELECT k, sum(v) AS total FROM t GROUP BY k)
             QUALIFY row_number() OVER (ORDER BY total DESC, k) <= 2",
        ]);
    }
}
