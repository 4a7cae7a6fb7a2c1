//! Look-up joins: with files, and with a PostgreSQL server that the test starts.

use crate::command::{Folder, sorted_rows};
use crate::postgres_server::Server;
use crate::windows_and_joins::BIDS;

const BIDS_CSV: &str = "\
ts,item,price
2024-01-01 00:00:01,a,1
2024-01-01 00:00:04,b,2
2024-01-01 00:00:09,a,3
2024-01-01 00:00:12,c,5
2024-01-01 00:00:31,,6
";

fn ask(folder: &Folder, people: &str, query: &str, arguments: &[&str]) -> Vec<String> {
    let arguments = [&["--format", "csv", "--set", "source_batch_rows=2"], arguments].concat();
    let output = folder.run(&format!("{BIDS}{people}{query};"), &arguments).success();
    sorted_rows(&output.stdout).into_iter().map(String::from).collect()
}

const QUERY: &str = "SELECT b.price, p.name, p.score FROM bids b
    LEFT JOIN people FOR SYSTEM_TIME AS OF PROCTIME() AS p ON p.item = b.item";

#[test]
fn rows_of_a_server_are_joined() {
    let server = Server::start();
    server.execute(
        "CREATE SCHEMA shop; CREATE TABLE shop.fans (item TEXT, name VARCHAR(9), score NUMERIC(5, 1), since TIMESTAMP, n INT);
         INSERT INTO shop.fans VALUES ('a', 'ann', 1.5, '2024-01-02 03:04:05.5', 1), ('b', 'bob', NULL, NULL, 2),
                                      ('b', 'bea', 7, NULL, 3), (NULL, 'nobody', 0, NULL, 4);",
    );
    let people = format!(
        "CREATE TABLE people (name VARCHAR, score DOUBLE, item VARCHAR, since TIMESTAMP, n SMALLINT)
         WITH (connector = 'postgres', url = '{}', table = 'shop.fans');",
        server.url()
    );
    let folder = Folder::with(&[("bids.csv", BIDS_CSV)]);
    for spread in [&["--parallelism", "1"][..], &["--parallelism", "2", "--workers", "2"]] {
        let rows = ask(&folder, &people, QUERY, spread);
        assert_eq!(rows, ["1,ann,1.5", "2,bea,7.0", "2,bob,", "3,ann,1.5", "5,,", "6,,"], "{spread:?}");
    }
    // A number that the table's type cannot hold has no rows, and two keys are one question.
    let query = "SELECT b.price, p.since FROM bids b JOIN people FOR SYSTEM_TIME AS OF PROCTIME() AS p
                 ON p.n = b.price AND p.item = b.item";
    assert_eq!(ask(&folder, &people, query, &[]), ["1,2024-01-02T03:04:05.500", "2,"]);
}

#[test]
fn a_server_that_is_not_there_or_has_no_such_table_ends_the_job() {
    let server = Server::start();
    let folder = Folder::with(&[("bids.csv", BIDS_CSV)]);
    let fail = |url: &str| {
        let people = format!(
            "CREATE TABLE people (name VARCHAR, score DOUBLE, item VARCHAR) WITH (connector = 'postgres', url = '{url}');"
        );
        folder.run(&format!("{BIDS}{people}{QUERY};"), &["--format", "csv"]).failure()
    };
    let stderr = fail(&server.url());
    assert!(stderr.contains("cannot look up rows of 'people'"), "{stderr}");
    assert!(stderr.contains("relation \"people\" does not exist"), "{stderr}");
    let url = server.url();
    drop(server);
    let stderr = fail(&url);
    assert!(stderr.contains("cannot look up rows of 'people'"), "{stderr}");
    assert!(stderr.contains("refused"), "{stderr}");
}

#[test]
fn rows_of_a_file_are_joined() {
    let people = "name,score,item\nann,1.5,a\nbob,,b\nbea,7,b\nnobody,0,\n";
    let folder = Folder::with(&[("bids.csv", BIDS_CSV), ("people.csv", people)]);
    let people = "CREATE TABLE people (name VARCHAR, score DOUBLE, item VARCHAR)
        WITH (connector = 'files', path = 'people.csv', format = 'csv', lookup = 'true');";
    for parallelism in ["1", "2"] {
        let rows = ask(&folder, people, QUERY, &["--parallelism", parallelism]);
        assert_eq!(rows, ["1,ann,1.5", "2,bea,7.0", "2,bob,", "3,ann,1.5", "5,,", "6,,"]);
        let windows = "SELECT p.name, window_start, sum(price) AS total FROM TUMBLE((
                SELECT b.ts, b.price, p.name FROM bids b JOIN people FOR SYSTEM_TIME AS OF PROCTIME() AS p ON p.item = b.item),
                DESCRIPTOR(ts), INTERVAL '10 seconds') p GROUP BY p.name, window_start, window_end";
        let rows = ask(&folder, people, windows, &["--parallelism", parallelism]);
        assert_eq!(rows, ["ann,2024-01-01T00:00:00,4", "bea,2024-01-01T00:00:00,2", "bob,2024-01-01T00:00:00,2"]);
    }
}
