//! Sources that make their rows.

use crate::command::{Folder, sorted_rows};

const NEXMARK: &str = "
CREATE SOURCE bid (WATERMARK FOR date_time AS date_time) WITH (connector = 'nexmark', table = 'bid', events = 100000);
CREATE SOURCE auction (WATERMARK FOR date_time AS date_time)
  WITH (connector = 'nexmark', table = 'auction', events = 100000);
";

#[test]
fn a_nexmark_log_is_the_same_one_however_many_tasks_make_it() {
    let sql = format!(
        "{NEXMARK} SELECT count(*) AS n, sum(price) AS total, max(date_time) AS newest FROM bid;
         SELECT window_end, count(*) AS n, sum(initial_bid) AS total
         FROM TUMBLE(TABLE auction, DESCRIPTOR(date_time), INTERVAL '2 seconds') GROUP BY window_start, window_end"
    );
    let alone = Folder::new().run(&sql, &["--parallelism", "1", "--format", "csv"]).success();
    assert!(alone.stdout.starts_with("n,total,newest\n92000,"), "{}", alone.stdout);
    assert_eq!(alone.stdout.lines().count(), 2 + 6, "{}", alone.stdout);
    for spread in [&["--parallelism", "3"][..], &["--workers", "2"]] {
        let args = [spread, &["--format", "csv"]].concat();
        assert_eq!(sorted_rows(&Folder::new().run(&sql, &args).success().stdout), sorted_rows(&alone.stdout));
    }
}

#[test]
fn a_pace_changes_no_rows() {
    let sql = "CREATE SOURCE person (id BIGINT, date_time TIMESTAMP, WATERMARK FOR date_time AS date_time)
                 WITH (connector = 'nexmark', table = 'person', rows_per_second = 1000, events = 20000);
               SELECT count(*) AS n, min(id) AS first, max(id) AS last FROM person";
    let output = Folder::new().run(sql, &["--format", "csv"]).success();
    assert_eq!(output.stdout, "n,first,last\n400,1000,1399\n");
}

#[test]
fn a_checksum_is_the_same_however_many_tasks_count() {
    let sql = format!(
        "{NEXMARK} CREATE SINK counted WITH (connector = 'blackhole', checksum = true)
                     AS SELECT auction, price, url, date_time FROM bid;
                   CREATE SINK updated WITH (connector = 'blackhole', checksum = true)
                     AS SELECT seller, count(*) AS n FROM auction GROUP BY seller"
    );
    let checksums = |args: &[&str]| {
        let stderr = Folder::new().run(&sql, args).success().stderr;
        let summary = stderr.lines().last().unwrap().to_owned();
        assert!(summary.contains("92,000 into counted (checksum "), "{summary}");
        let words: Vec<&str> = summary.split_whitespace().collect();
        let sums = words.windows(2).filter(|pair| pair[0] == "(checksum").map(|pair| pair[1].trim_matches([')', ',']));
        sums.map(String::from).collect::<Vec<_>>()
    };
    let alone = checksums(&["--parallelism", "1"]);
    assert_eq!(alone.len(), 2, "{alone:?}");
    assert_eq!(alone, checksums(&["--parallelism", "3"]));
    assert_eq!(alone, checksums(&["--workers", "2"]));
}

#[test]
fn made_up_rows_are_the_same_in_every_run() {
    let sql = "CREATE SOURCE d (id BIGINT, item VARCHAR, price DOUBLE, ts TIMESTAMP, WATERMARK FOR ts AS ts)
                 WITH (connector = 'datagen', rows = 10000, seed = 3, fields.id.kind = 'sequence', fields.item.length = 1,
                       fields.price.max = 100, fields.ts.step = '10ms');
               SELECT window_end, item, count(*) AS n, max(price) AS top, max(id) AS last
               FROM TUMBLE(TABLE d, DESCRIPTOR(ts), INTERVAL '50 seconds') GROUP BY item, window_start, window_end";
    let alone = Folder::new().run(sql, &["--parallelism", "1", "--format", "csv"]).success();
    assert_eq!(alone.stdout.lines().count(), 1 + 2 * 26, "{}", alone.stdout);
    let spread = Folder::new().run(sql, &["--parallelism", "4", "--format", "csv"]).success();
    assert_eq!(spread.stdout, alone.stdout);
}
