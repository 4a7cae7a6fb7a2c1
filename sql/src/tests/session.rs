//! What statements do to a session, and what it says about itself.

use expect_test::expect;
use tidemill_plans::node::NodeKind;

use super::{SOURCES, check_error, error, execute, graph, session, shown};
use crate::{Catalog, Outcome, Session, parse_script};

#[test]
fn creating_and_dropping() {
    let script = "CREATE VIEW v AS SELECT auction, ts FROM bids;
        CREATE VIEW IF NOT EXISTS v AS SELECT 1 AS x FROM nothing;
        CREATE OR REPLACE VIEW v AS SELECT price, ts FROM bids;
        DROP VIEW v; DROP VIEW IF EXISTS v;
        SET parallelism TO 3; SET checkpoint_interval = 500ms;";
    let outcomes = execute(&mut session(), script).unwrap();
    let text: String = outcomes.iter().map(|outcome| format!("{}\n", shown(outcome))).collect();
    expect![[r#"
        CREATE VIEW v
        view v exists already
        CREATE VIEW v
        DROP VIEW v
        v does not exist
        SET parallelism
        SET checkpoint_interval
    "#]]
    .assert_eq(&text);
}

#[test]
fn showing() {
    let mut session = session();
    execute(
        &mut session,
        "SET parallelism = 4; CREATE VIEW v AS SELECT bidder, count(*) AS n FROM bids GROUP BY bidder",
    )
    .unwrap();
    let script =
        "SHOW SOURCES; SHOW VIEWS; SHOW CONNECTORS; SHOW parallelism; SHOW CREATE VIEW v; DESCRIBE bids; DESCRIBE v";
    let outcomes = execute(&mut session, script).unwrap();
    let text: String = outcomes.iter().map(|outcome| format!("{}\n", shown(outcome))).collect();
    expect![[r#"
        +----------+--------+-----------+
        | name     | kind   | connector |
        +----------+--------+-----------+
        | bids     | source | files     |
        | auctions | source | files     |
        | plain    | source | files     |
        +----------+--------+-----------+
        +------+------+-----------+
        | name | kind | connector |
        +------+------+-----------+
        | v    | view |           |
        +------+------+-----------+
        +-----------+--------------------------------------------------------------------------------------------+-----------------------------------------------------------------------------------------------------------+----------------+
        | name      | description                                                                                | source_options                                                                                            | sink_options   |
        +-----------+--------------------------------------------------------------------------------------------+-----------------------------------------------------------------------------------------------------------+----------------+
        | files     | Files on local disk.                                                                       | path*, format*, header, delimiter, null_value, lookup, lookup_cache_ttl, rows_per_second, null_event_time | path*, format* |
        | nexmark   | The people, auctions and bids of the Nexmark benchmark, generated.                         | table*, events, event_rate, first_event_time, seed, rows_per_second, null_event_time                      | -              |
        | print     | Rows on standard output, as they come.                                                     | -                                                                                                         |                |
        | blackhole | Nowhere; rows are counted.                                                                 | -                                                                                                         |                |
        | postgres  | A table of a PostgreSQL server, looked up by key: JOIN t FOR SYSTEM_TIME AS OF PROCTIME(). | url*, table, lookup_cache_rows, lookup_cache_ttl                                                          | -              |
        +-----------+--------------------------------------------------------------------------------------------+-----------------------------------------------------------------------------------------------------------+----------------+
        +-------------+-------+----------------------------------------------------------+
        | name        | value | description                                              |
        +-------------+-------+----------------------------------------------------------+
        | parallelism | 4     | Instances of each operator that can be spread, 1 to 128. |
        +-------------+-------+----------------------------------------------------------+
        +------+------+-------------------------------------------------------------------------+
        | name | kind | definition                                                              |
        +------+------+-------------------------------------------------------------------------+
        | v    | view | CREATE VIEW v AS SELECT bidder, count(*) AS n FROM bids GROUP BY bidder |
        +------+------+-------------------------------------------------------------------------+
        +---------+-----------+----------+------------+
        | column  | type      | nullable | role       |
        +---------+-----------+----------+------------+
        | auction | BIGINT    | true     |            |
        | bidder  | VARCHAR   | true     |            |
        | price   | DOUBLE    | true     |            |
        | ts      | TIMESTAMP | false    | event time |
        +---------+-----------+----------+------------+
        +--------+---------+----------+------+
        | column | type    | nullable | role |
        +--------+---------+----------+------+
        | bidder | VARCHAR | true     | key  |
        | n      | BIGINT  | false    |      |
        +--------+---------+----------+------+
    "#]].assert_eq(&text);
}

#[test]
fn the_catalog_is_rebuilt_from_its_texts() {
    let mut session = session();
    execute(
        &mut session,
        "CREATE VIEW v AS SELECT ts, price > 1 AS late, bidder FROM bids;
        CREATE MODEL m OPTIONS (model_type = 'logistic_reg', label = 'late') AS SELECT * FROM v;
        CREATE SINK s WITH (connector = 'print') AS SELECT * FROM v",
    )
    .unwrap();
    let entries = session.catalog.entries();
    let again = Catalog::replay(entries.iter().map(|entry| entry.definition.as_str())).unwrap();
    assert_eq!(again.entries(), entries);
    assert_eq!(entries.len(), 6);
}

#[test]
fn statements_share_sources_views_and_models() {
    let script = "CREATE VIEW v AS SELECT ts, auction FROM bids WHERE price > 1;
        CREATE SINK a WITH (connector = 'print') AS SELECT * FROM v;
        SELECT count(*) AS n FROM v; SELECT auction FROM bids;";
    let graph = graph(&mut session(), script).unwrap();
    expect![[r#"
        Sink #9 a to print [x1]
          Project #2 ts, auction [x2] -> rebalance
            Filter #1 (price > 1.0) [x2] -> forward
              Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
        Sink #8 select_2 to result [x1]
          Project #7 auction [x2] -> rebalance
            Source #0 (see above) [x2] -> forward
        Sink #6 select_1 to result [x1]
          Project #5 "count(1)" AS n [x1] -> forward
            Aggregate #4 by (): count(1) at end [x1] -> forward
              Project #3 ts [x2] -> rebalance
                Project #2 (see above) [x2] -> forward
    "#]]
    .assert_eq(&tidemill_plans::explain::explain(&graph));
}

#[test]
fn objects_in_use_stay() {
    let mut session = session();
    execute(&mut session, "CREATE VIEW v AS SELECT * FROM bids; CREATE VIEW w AS SELECT * FROM v").unwrap();
    expect![[r#"
        line 1, column 11: cannot change or drop 'v': view 'w' uses it; drop that first
    "#]]
    .assert_eq(&error(&mut session, "DROP VIEW v"));
    expect![[r#"
        line 1, column 13: cannot change or drop 'bids': view 'v' uses it; drop that first
    "#]]
    .assert_eq(&error(&mut session, "DROP SOURCE bids"));
    expect![[r#"
        line 1, column 1: cannot change or drop 'v': view 'w' uses it; drop that first
    "#]]
    .assert_eq(&error(&mut session, "CREATE OR REPLACE VIEW v AS SELECT auction FROM bids"));
    expect![[r#"
        line 1, column 13: 'v' is a view; write DROP VIEW v
    "#]]
    .assert_eq(&error(&mut session, "DROP SOURCE v"));
    expect![[r#"
        line 1, column 24: view 'w' cannot be made of itself
    "#]]
    .assert_eq(&error(&mut session, "CREATE OR REPLACE VIEW w AS SELECT * FROM w"));
    execute(&mut session, "DROP VIEW w; DROP VIEW v; DROP SOURCE bids").unwrap();
}

#[test]
fn what_a_job_writes_is_not_dropped_before_it_has_run() {
    let mut session = session();
    let script = "CREATE SINK s WITH (connector = 'print') AS SELECT * FROM bids;
        CREATE SINK t WITH (connector = 'print'); INSERT INTO t SELECT * FROM bids;
        CREATE MATERIALIZED VIEW v AS SELECT * FROM bids; CREATE SINK unused WITH (connector = 'print')";
    execute(&mut session, script).unwrap();
    expect![[r#"
        line 1, column 11: cannot drop 's': a statement above has a job for this sink, which starts when all statements have been read; leave out one of the two
    "#]].assert_eq(&error(&mut session, "DROP SINK s"));
    for busy in ["SINK t", "MATERIALIZED VIEW v"] {
        assert!(error(&mut session, &format!("DROP {busy}")).contains("cannot drop"), "{busy}");
    }
    execute(&mut session, "DROP SINK unused").unwrap();
}

#[test]
fn each_query_runs_with_the_settings_above_it() {
    let script = "SELECT auction FROM bids; SET parallelism = 7; SELECT seller FROM auctions";
    let graph = graph(&mut session(), script).unwrap();
    let parallelism = |name: &str| {
        let source = |kind: &NodeKind| matches!(kind, NodeKind::Source(source) if source.table == name);
        graph.nodes.iter().find(|node| source(&node.kind)).unwrap().parallelism
    };
    assert_eq!((parallelism("bids"), parallelism("auctions")), (2, 7));
}

#[test]
fn the_settings_of_the_whole_job_come_first() {
    let script = "SELECT auction FROM bids;\nSET source_batch_rows = 1;\nSELECT seller FROM auctions";
    expect!["line 3, column 1: the setting source_batch_rows was changed behind the first query; all queries of a script are one job, so SET it before the first"].assert_eq(&graph(&mut session(), script).unwrap_err().to_string());
}

#[test]
fn inserts_into_one_sink_are_one_operator() {
    let script = "CREATE SINK s (a BIGINT, at TIMESTAMP) WITH (connector = 'files', path = 'x', format = 'csv');
        INSERT INTO s SELECT auction, ts FROM bids; INSERT INTO s SELECT id, opened FROM auctions";
    let graph = graph(&mut session(), script).unwrap();
    expect![[r#"
        Sink #6 s to files [x1]
          Project #2 auction AS a, ts AS at [x2] -> rebalance
            Project #1 auction, ts [x2] -> forward
              Source #0 bids from files watermark(ts AS (ts - INTERVAL '4.000000000 SECS')) [x2] -> forward
          Project #5 id AS a, opened AS at [x2] -> rebalance
            Project #4 id, opened [x2] -> forward
              Source #3 auctions from files watermark(opened AS opened) [x2] -> forward
    "#]]
    .assert_eq(&tidemill_plans::explain::explain(&graph));
}

#[test]
fn sinks_do_not_share_a_path() {
    let sink = |name: &str, path: &str, format: &str| {
        format!(
            "CREATE SINK {name} WITH (connector = 'files', path = '{path}', format = '{format}') AS SELECT * FROM bids;\n"
        )
    };
    let script = sink("a", "out/x", "csv") + &sink("b", "./out/x/", "parquet");
    expect!["line 2, column 1: the sinks 'a' and 'b' write to the same path; give each its own"]
        .assert_eq(&graph(&mut session(), &script).unwrap_err().to_string());
    graph(&mut session(), &(sink("a", "out/x", "csv") + &sink("b", "out/y", "csv"))).unwrap();
}

#[test]
fn inserts_into_one_sink_are_alike() {
    let insert = |query: &str| {
        format!(
            "CREATE SINK s WITH (connector = 'print'); INSERT INTO s SELECT auction, ts FROM bids;\nINSERT INTO s {query}"
        )
    };
    let error = |query: &str| graph(&mut session(), &insert(query)).unwrap_err().to_string();
    expect!["line 2, column 1: the queries for sink 's' differ: one gives (auction BIGINT, ts TIMESTAMP), another (seller VARCHAR, opened TIMESTAMP); declare the sink's columns, or name them alike"].assert_eq(&error("SELECT seller, opened FROM auctions"));
    expect!["line 2, column 1: the queries for sink 's' differ: one gives rows that are updated, another new rows only; use a sink for each"].assert_eq(&error("SELECT auction, max(ts) AS ts FROM bids GROUP BY auction"));
}

#[test]
fn statements_keep_their_text_and_line() {
    let statements = parse_script("SELECT 1 FROM t;\n\n  -- a comment\n  SHOW\n ALL ;;").unwrap();
    let texts: Vec<(&str, u64)> = statements.iter().map(|s| (s.text(), s.line())).collect();
    assert_eq!(texts, [("SELECT 1 FROM t", 1), ("SHOW\n ALL", 4)]);
}

#[test]
fn failures_leave_the_session_alone() {
    let mut session = Session::default();
    execute(&mut session, SOURCES).unwrap();
    let before = session.catalog.entries();
    error(&mut session, "CREATE VIEW v AS SELECT nothing FROM bids");
    error(
        &mut session,
        "CREATE SINK s WITH (connector = 'files', path = 'x', format = 'csv') AS SELECT count(*) FROM bids",
    );
    assert_eq!(session.catalog.entries(), before);
    execute(&mut session, "EXPLAIN CREATE VIEW v AS SELECT ts FROM bids").unwrap();
    assert_eq!(session.catalog.entries(), before);
}

#[test]
fn results_say_how_to_find_their_rows() {
    let mut session = session();
    let outcomes = execute(&mut session, "SELECT bidder, count(*) AS n FROM bids GROUP BY bidder").unwrap();
    let mut builder = crate::JobBuilder::new(&session);
    let [Outcome::Job(job)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert!(builder.is_empty());
    let result = builder.add(job).unwrap().result.unwrap();
    assert!(result.changelog);
    assert_eq!(result.schema.fields().len(), 2);
    let graph = builder.finish().unwrap();
    assert_eq!(graph.node(result.operator).unwrap().schema.fields().len(), 3);
}

#[test]
fn settings_say_what_is_valid() {
    check_error(
        "SET parallelism = 0",
        expect![[r#"
        line 1, column 5: setting parallelism is '0', but takes a whole number from 1 to 128
    "#]],
    );
    check_error(
        "\n  SET paralelism = 2",
        expect![[r#"
            line 2, column 7: unknown setting paralelism; valid are: parallelism, checkpoint_interval, update_interval, state_ttl, channel_bytes, source_batch_rows, dead_letter_path, watermark_max_drift, seed
        "#]],
    );
    check_error(
        "SHOW nonsense",
        expect![[r#"
            line 1, column 6: there is no setting or kind of object 'nonsense'; SHOW takes SOURCES, SINKS, VIEWS, MODELS, TABLES, CONNECTORS, FUNCTIONS, ALL, CREATE name, or a setting: parallelism, checkpoint_interval, update_interval, state_ttl, channel_bytes, source_batch_rows, dead_letter_path, watermark_max_drift, seed
        "#]],
    );
}

#[test]
fn columns_that_a_connector_knows_need_not_be_declared() {
    let mut session = session();
    let script = "
        CREATE SOURCE bid (WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds')
          WITH (connector = 'nexmark', table = 'bid', events = 1000);
        CREATE SOURCE person WITH (connector = 'nexmark', table = 'person');
        CREATE SOURCE some (price BIGINT, dollars AS (price / 100)) WITH (connector = 'nexmark', table = 'bid');
        DESCRIBE bid; DESCRIBE person; DESCRIBE some";
    let outcomes = execute(&mut session, script).unwrap();
    let text: String = outcomes.iter().map(|outcome| format!("{}\n", shown(outcome))).collect();
    expect![[r#"
        CREATE SOURCE bid
        CREATE SOURCE person
        CREATE SOURCE some
        +-----------+-----------+----------+------------+
        | column    | type      | nullable | role       |
        +-----------+-----------+----------+------------+
        | auction   | BIGINT    | false    |            |
        | bidder    | BIGINT    | false    |            |
        | price     | BIGINT    | false    |            |
        | channel   | VARCHAR   | false    |            |
        | url       | VARCHAR   | false    |            |
        | date_time | TIMESTAMP | false    | event time |
        | extra     | VARCHAR   | false    |            |
        +-----------+-----------+----------+------------+
        +---------------+-----------+----------+------+
        | column        | type      | nullable | role |
        +---------------+-----------+----------+------+
        | id            | BIGINT    | false    |      |
        | name          | VARCHAR   | false    |      |
        | email_address | VARCHAR   | false    |      |
        | credit_card   | VARCHAR   | false    |      |
        | city          | VARCHAR   | false    |      |
        | state         | VARCHAR   | false    |      |
        | date_time     | TIMESTAMP | false    |      |
        | extra         | VARCHAR   | false    |      |
        +---------------+-----------+----------+------+
        +---------+--------+----------+------+
        | column  | type   | nullable | role |
        +---------+--------+----------+------+
        | price   | BIGINT | true     |      |
        | dollars | BIGINT | true     |      |
        +---------+--------+----------+------+
    "#]]
    .assert_eq(&text);
}
