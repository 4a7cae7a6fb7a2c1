//! Sinks in tables of a PostgreSQL server that the test starts.

mod sink;

use std::thread::sleep;
use std::time::Duration;

use crate::command::{Folder, Output, PATIENCE, Run};
use crate::killed::{Random, kill_a_worker, kill_all};
use crate::postgres_server::Server;

/// A server that prepares transactions.
fn server() -> Server {
    Server::start_with(&["max_prepared_transactions=20"])
}

const VALUES: &str = "CREATE SOURCE v (id BIGINT, t VARCHAR, x DOUBLE, b BOOLEAN, d DATE, ts TIMESTAMP)
    WITH (connector = 'files', path = 'v.csv', format = 'csv');";

const VALUES_CSV: &str = "\
id,t,x,b,d,ts
1,plain,1.5,true,2024-02-29,2024-01-01 00:00:01
2,\"tab\tand \\back\nline\",-0.25,false,1969-12-31,1969-12-31 23:59:59.000001
3,,,,,
";

#[test]
fn rows_of_every_type_are_there_once() {
    let server = server();
    server.execute(
        "CREATE SCHEMA shop; CREATE TYPE mood AS ENUM ('plain');
         CREATE TABLE shop.all_types (id INT8 PRIMARY KEY, small INT2, t TEXT, c VARCHAR(40), x FLOAT8, r REAL, b BOOL, d DATE,
           ts TIMESTAMP, tz TIMESTAMPTZ, n NUMERIC(12, 3), list INT8[], texts TEXT[], bytes BYTEA, added TEXT DEFAULT 'yes')",
    );
    let query = "SELECT id, CAST(id AS SMALLINT) AS small, t, t AS c, x, CAST(x AS REAL) AS r, b, d, ts, ts AS tz,
        CAST(x AS DECIMAL(10, 2)) AS n, make_array(id, NULL) AS list, make_array(t, 'q\"\\') AS texts,
        CAST(t AS BYTEA) AS bytes FROM v";
    let expected = [
        "1|1|plain|plain|1.5|1.5|t|2024-02-29|2024-01-01 00:00:01|2024-01-01 00:00:01+00|1.500|{1,NULL}|{plain,\"q\\\"\\\\\"}|\\x706c61696e|yes",
        "3|3||||||||||{3,NULL}|{NULL,\"q\\\"\\\\\"}||yes",
    ];
    for arguments in [&[][..], &["--data-dir", "meta"], &["--data-dir", "meta", "--parallelism", "2", "--workers", "2"]]
    {
        let folder = Folder::with(&[("v.csv", VALUES_CSV)]);
        for key in ["", "(PRIMARY KEY (id) NOT ENFORCED)"] {
            let options = format!("connector = 'postgres', url = '{}', table = 'shop.all_types'", server.url());
            let script = format!("{VALUES} CREATE SINK all_types {key} WITH ({options}) AS {query};");
            folder.run(&script, arguments).success();
            server.execute("SET TimeZone = 'UTC'");
            let rows = server.rows("SET TimeZone = 'UTC'; SELECT * FROM shop.all_types WHERE id <> 2 ORDER BY id");
            assert_eq!(rows[1..], expected, "{arguments:?} {key}");
            let text =
                server.rows("SELECT count(*) FROM shop.all_types WHERE t = E'tab\\tand \\\\back\\nline' AND id = 2");
            assert_eq!(text, ["1"]);
            if key.is_empty() && arguments.is_empty() {
                // What is there is replaced.
                server.execute("UPDATE shop.all_types SET t = 'old'");
            } else {
                server.execute("DELETE FROM shop.all_types");
            }
        }
    }
    assert_eq!(server.rows("SELECT count(*) FROM pg_prepared_xacts"), ["0"]);
}

/// A job that writes what it reads, and what that adds up to.
fn events(rows: usize) -> String {
    let mut text = String::from("id,account,amount\n");
    let mut random = Random(7);
    for id in 0..rows {
        text.push_str(&format!("{id},{},{}\n", random.below(50), 1 + random.below(100)));
    }
    text
}

fn script(url: &str, rate: usize) -> String {
    format!(
        "SET checkpoint_interval = '200ms';
         SET restart_delay = '50ms';
         SET restart_delay_max = '200ms';
         SET restart_attempts = 1000;
         SET parallelism = 2;
         CREATE SOURCE events (id BIGINT, account BIGINT, amount BIGINT)
           WITH (connector = 'files', path = 'events.csv', format = 'csv', rows_per_second = {rate});
         CREATE SINK totals (PRIMARY KEY (account) NOT ENFORCED) WITH (connector = 'postgres', url = '{url}') AS
           SELECT account, sum(amount) AS total, count(*) AS n FROM events GROUP BY account;
         CREATE SINK kept WITH (connector = 'postgres', url = '{url}') AS
           SELECT id, account, amount FROM events;"
    )
}

const TABLES: &str = "CREATE TABLE kept (id BIGINT, account BIGINT, amount BIGINT);
    CREATE TABLE totals (account BIGINT PRIMARY KEY, total NUMERIC, n BIGINT)";

/// Waits until some more rows have been committed.
#[track_caller]
fn wait_for_rows(server: &Server) {
    let count = || server.rows("SELECT count(*) FROM kept")[0].parse::<u64>().unwrap();
    let before = count();
    for _ in 0..PATIENCE.as_millis() / 50 {
        if count() > before {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("no more rows in {PATIENCE:?}");
}

/// Waits for the end of a job over so many events, and looks at what it has written.
#[track_caller]
fn check(server: &Server, run: Run, rows: usize) {
    let output: Output = run.output(Duration::from_secs(300)).success();
    let kept = server.rows("SELECT count(*), count(DISTINCT id) FROM kept");
    assert_eq!(kept, [format!("{rows}|{rows}")], "stderr:\n{}", output.stderr);
    let differ = "(SELECT account, sum(amount), count(*) FROM kept GROUP BY account EXCEPT SELECT * FROM totals)";
    assert_eq!(server.rows(&format!("SELECT count(*) FROM {differ} d")), ["0"]);
    assert_eq!(server.rows("SELECT count(*), sum(n) FROM totals"), [format!("50|{rows}")]);
    assert_eq!(server.rows("SELECT count(*) FROM pg_prepared_xacts"), ["0"]);
}

#[test]
fn not_a_row_is_lost_or_doubled_while_processes_are_killed() {
    const ROWS: usize = 12_000;
    let server = server();
    server.execute(TABLES);
    let folder = Folder::with(&[("events.csv", &events(ROWS))]);
    let arguments = ["--workers", "2", "--data-dir", "meta"];
    let mut run = folder.start(&script(&server.url(), 1500), &arguments);
    let mut random = Random(11);
    for _ in 0..2 {
        wait_for_rows(&server);
        kill_a_worker(&run, &mut random);
    }
    wait_for_rows(&server);
    kill_all(&run);
    run = Run::start(&folder.path(""), &[&["resume"][..], &arguments].concat());
    wait_for_rows(&server);
    kill_a_worker(&run, &mut random);
    check(&server, run, ROWS);
}

#[test]
fn not_a_row_is_lost_or_doubled_while_the_parallelism_changes() {
    // Twenty seconds of them: there must be some left at each change.
    const ROWS: usize = 16_000;
    let server = server();
    server.execute(TABLES);
    let folder = Folder::with(&[("events.csv", &events(ROWS)), ("job.sql", &script(&server.url(), 800))]);
    let mut run = folder.open_shell(&["--data-dir", "meta"]);
    run.say("\\i job.sql");
    for parallelism in [3, 1, 4] {
        wait_for_rows(&server);
        wait_for_rows(&server);
        run.say(&format!("ALTER JOB kept SET parallelism = {parallelism};"));
        run.wait_for_line("ALTER ");
    }
    check(&server, run, ROWS);
}

#[test]
fn what_does_not_fit_is_said_before_the_first_row() {
    let server = Server::start();
    server.execute(
        "CREATE TABLE t (id BIGINT, t INT); CREATE TABLE k (id BIGINT, t TEXT); CREATE VIEW w AS SELECT 1::bigint AS id;
         CREATE TABLE more (id BIGINT, n INT NOT NULL); CREATE TABLE g (id BIGINT GENERATED ALWAYS AS IDENTITY);
         CREATE TABLE nullable (id BIGINT UNIQUE); CREATE TABLE closed (id BIGINT);
         CREATE ROLE reader LOGIN; GRANT SELECT ON closed TO reader",
    );
    let folder = Folder::with(&[("v.csv", VALUES_CSV)]);
    let fail = |url: &str, table: &str, key: &str, query: &str, arguments: &[&str], expected: &str| {
        let options = format!("connector = 'postgres', url = '{url}', table = '{table}'");
        let script = format!("{VALUES} CREATE SINK out {key} WITH ({options}) AS {query};");
        let stderr = folder.run(&script, arguments).failure();
        assert!(stderr.contains(expected), "{table}: {stderr}");
        assert!(!stderr.contains("secret"), "{stderr}");
    };
    let url = server.url();
    let check = |table: &str, key: &str, query: &str, expected: &str| fail(&url, table, key, query, &[], expected);
    let id = "SELECT id FROM v";
    let keyed = "(PRIMARY KEY (id) NOT ENFORCED)";
    check("none", "", id, "sink 'out': the server has no table none; create it first");
    check("t", "", "SELECT id, x FROM v", "the table t has no column 'x'; it has id, t");
    check("t", "", "SELECT id, t FROM v", "column 't' is Utf8, and integer in the table; cast it in the query");
    check("more", "", id, "column 'n' of the table more is NOT NULL without a default, and not written");
    check("g", "", id, "column 'id' is computed by the server");
    check("w", "", id, "w is no table");
    check("k", keyed, "SELECT id, t FROM v", "unique by its key (id): ALTER TABLE \"k\" ADD PRIMARY KEY (\"id\")");
    check("nullable", keyed, id, "column 'id' of its key may be NULL in the table nullable; make it NOT NULL");
    check("t", "", "SELECT id, count(*) AS t FROM v GROUP BY id", "postgres with a PRIMARY KEY");
    let reader = url.replace("tester", "reader:secret");
    fail(&reader, "closed", "", id, &[], "its user may not write to the table closed: GRANT INSERT ON \"closed\"");
    fail(&url.replace("/postgres", "/nothing"), "t", "", id, &[], "database \"nothing\" does not exist");
    fail("postgres://localhost:1/x", "t", "", id, &[], "cannot connect to the server of 'out'");
    fail("nonsense", "t", "", id, &[], "option 'url' is no PostgreSQL address");
    let with_checkpoints = ["--data-dir", "meta", "--set", "restart_strategy=none"];
    fail(
        &url,
        "closed",
        "",
        id,
        &with_checkpoints,
        "the server prepares no transactions; set max_prepared_transactions",
    );
    let nulls = "SELECT id, t FROM v WHERE x IS NULL";
    server.execute("ALTER TABLE k ALTER t SET NOT NULL");
    check("k", "", nulls, "the server refuses: null value in column \"t\"");
}

#[test]
fn without_prepared_transactions_rows_appear_as_they_come() {
    let server = Server::start();
    server.execute("CREATE TABLE out (id BIGINT)");
    let folder = Folder::with(&[("v.csv", VALUES_CSV)]);
    let script = |delivery: &str| {
        let options = format!("connector = 'postgres', url = '{}', delivery = '{delivery}'", server.url());
        format!("{VALUES} CREATE SINK out WITH ({options}) AS SELECT id FROM v;")
    };
    folder.run(&script("at_least_once"), &["--data-dir", "meta"]).success();
    assert_eq!(server.rows("SELECT id FROM out ORDER BY id"), ["1", "2", "3"]);
    let stderr = folder.run(&script("exactly_once"), &[]).failure();
    assert!(stderr.contains("delivery = 'exactly_once' needs checkpoints"), "{stderr}");
}
