//! What statements do to a session, and what it says about itself.

use std::collections::BTreeMap;

use expect_test::expect;
use tidemill_plans::connector::{CONNECTORS, ConnectorSpec, SOURCE_OPTIONS};
use tidemill_plans::node::NodeKind;
use tidemill_plans::settings::Settings;

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
    let script = "SHOW SOURCES; SHOW VIEWS; SHOW CONNECTOR print; SHOW parallelism; SHOW CREATE VIEW v; DESCRIBE bids; DESCRIBE v";
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
        +-----------+------+--------+-------+----------+---------+----------------------------------------+
        | connector | as   | option | value | required | default | description                            |
        +-----------+------+--------+-------+----------+---------+----------------------------------------+
        | print     | sink |        |       |          |         | Rows on standard output, as they come. |
        +-----------+------+--------+-------+----------+---------+----------------------------------------+
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
    "#]]
    .assert_eq(&text);
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
    let (again, left_out) = Catalog::restored(&entries, None);
    assert_eq!((again.entries(), left_out.len()), (entries.clone(), 0));
    assert_eq!(entries.len(), 6);
    // A model that is replaced comes behind what is made of it.
    let reversed: Vec<_> = entries.iter().cloned().rev().collect();
    let (again, left_out) = Catalog::restored(&reversed, None);
    assert_eq!((again.entries().len(), left_out.len()), (6, 0), "{left_out:?}");

    // Without one of them, those that are made of it are lost, too: they are there to be dropped.
    let (v, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.name == "v");
    let (again, lost) = Catalog::restored(&others, None);
    let lost: Vec<String> = lost.into_iter().map(|(name, error)| format!("{name}: {error}")).collect();
    assert!(lost.len() == 2 && lost[0].contains("m: line 1, column 87: "), "{lost:?}");
    assert_eq!((again.entries(), v.len()), (others, 1));
    let mut session = Session::restored(Settings::default(), again, BTreeMap::new());
    let mut refused = |sql: &str| execute(&mut session, sql).err().map(|error| error.to_string()).unwrap_or_default();
    for sql in ["SELECT * FROM ML.PREDICT(MODEL m, TABLE bids)", "DESCRIBE s", "INSERT INTO s SELECT 1 AS a"] {
        let error = refused(sql);
        assert!(error.contains("could not be restored, drop it and create it anew"), "{error}");
    }
    assert!(refused("CREATE SINK s WITH (connector = 'print')").contains("already"));
    assert_eq!(refused("SHOW MODELS; SHOW CREATE m; DROP MODEL m; DROP SINK s"), "");
    assert_eq!(session.catalog.entries().len(), 3);
}

#[test]
fn a_restored_source_has_what_the_settings_gave_it() {
    let mut session = Session::interactive(Settings::default());
    let script = "SET watermark_max_drift = '10s';
        CREATE SOURCE s (ts TIMESTAMP, WATERMARK FOR ts AS ts)
          WITH (connector = 'files', path = 's', format = 'csv', watermark_group = 'g')";
    execute(&mut session, script).unwrap();
    let (again, left_out) = Catalog::restored(&session.catalog.entries(), None);
    assert_eq!((again.entries().len(), left_out.len()), (1, 0), "{left_out:?}");
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
    let query = "SELECT bidder, count(*) AS n FROM bids GROUP BY bidder";
    let forever = "SELECT bidder, count(*) AS n FROM forever GROUP BY bidder";
    let one_row = "SELECT bidder FROM forever LIMIT 1";
    for (query, live, limit, columns) in [
        (query, false, None, "bidder, n"),
        (forever, true, None, "op, bidder, n"),
        (one_row, true, Some(1), "bidder"),
        // A limit of what changes and an order are of the end, if there is one.
        ("SELECT bidder, count(*) AS n FROM forever GROUP BY bidder LIMIT 1", false, Some(1), "bidder, n"),
        ("SELECT bidder FROM forever ORDER BY 1", false, None, "bidder"),
    ] {
        let mut session = session();
        execute(&mut session, "CREATE SOURCE forever WITH (connector = 'nexmark', table = 'bid')").unwrap();
        let outcomes = execute(&mut session, query).unwrap();
        let mut builder = crate::JobBuilder::new(&session);
        let [Outcome::Job(job)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
        assert!(builder.is_empty());
        let result = builder.add(job).unwrap().result.unwrap();
        assert_eq!((result.live, result.limit), (live, limit), "{query}");
        let names: Vec<&str> = result.schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names.join(", "), columns, "{query}");
        builder.finish().unwrap().node(result.operator).unwrap();
    }
}

#[test]
fn rows_in_the_order_of_their_arrival_are_not_held() {
    for (query, held, at_once) in [
        ("SELECT bidder FROM bids", false, true),
        ("SELECT bidder FROM bids LIMIT 3", false, true),
        ("SELECT bidder FROM bids ORDER BY 1", false, false),
        // Groups change until the end, where they are merged.
        ("SELECT bidder, count(*) AS n FROM bids GROUP BY bidder", false, false),
    ] {
        for (order, live) in [("canonical", held), ("arrival", at_once)] {
            let mut session = session();
            execute(&mut session, &format!("SET result_order = '{order}'")).unwrap();
            let outcomes = execute(&mut session, query).unwrap();
            let [Outcome::Job(job)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
            let result = crate::JobBuilder::new(&session).add(job).unwrap().result.unwrap();
            assert_eq!((result.live, result.ends), (live, true), "{query} in the order '{order}'");
        }
    }
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
            line 2, column 7: unknown setting paralelism; valid are: parallelism, execution, batch.engine, checkpoint_interval, aligned_checkpoint_timeout, checkpoint_storage, from_savepoint, allow_dropped_state, restart_strategy, restart_attempts, restart_delay, restart_delay_max, restart_window, view_interval, update_interval, state_ttl, state_memory, query_memory, result_order, result_endpoints, channel_bytes, source_batch_rows, dead_letter_path, watermark_max_drift, seed
        "#]],
    );
    check_error(
        "SHOW nonsense",
        expect![[r#"
            line 1, column 6: there is no setting or kind of object 'nonsense'; SHOW takes SOURCES, SINKS, VIEWS, MODELS, VERSIONS IN MODEL m, TABLES, CONNECTORS, CONNECTOR name, FUNCTIONS, DEVICES, ALL, CREATE name, or a setting: parallelism, execution, batch.engine, checkpoint_interval, aligned_checkpoint_timeout, checkpoint_storage, from_savepoint, allow_dropped_state, restart_strategy, restart_attempts, restart_delay, restart_delay_max, restart_window, view_interval, update_interval, state_ttl, state_memory, query_memory, result_order, result_endpoints, channel_bytes, source_batch_rows, dead_letter_path, watermark_max_drift, seed
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

#[test]
fn a_connector_is_told_with_its_options() {
    let outcomes = execute(&mut session(), "SHOW CONNECTOR nexmark; SHOW CONNECTOR files").unwrap();
    let text: String = outcomes.iter().map(|outcome| format!("{}\n", shown(outcome))).collect();
    expect![[r#"
        +-----------+--------+------------------+--------------------------+----------+-----------------------+----------------------------------------------------------------------------------------------------+
        | connector | as     | option           | value                    | required | default               | description                                                                                        |
        +-----------+--------+------------------+--------------------------+----------+-----------------------+----------------------------------------------------------------------------------------------------+
        | nexmark   | source |                  |                          |          |                       | The people, auctions and bids of the Nexmark benchmark, generated.                                 |
        | nexmark   | source | table            | person, auction, bid     | yes      |                       | Which rows of the event log.                                                                       |
        | nexmark   | source | events           | a whole number from 1 on | no       |                       | Events of all tables in the log; without it, it never ends.                                        |
        | nexmark   | source | event_rate       | a whole number from 1 on | no       | '10000'               | Events of all tables in a second of event time.                                                    |
        | nexmark   | source | first_event_time | a timestamp              | no       | '2023-11-14 22:13:20' | The event time of the first event.                                                                 |
        | nexmark   | source | seed             | a whole number from 0 on | no       | '0'                   | Another seed is another log.                                                                       |
        | nexmark   | source | rows_per_second  | a whole number from 1 on | no       |                       | The pace of all subtasks together; else as fast as it goes.                                        |
        | nexmark   | source | null_event_time  | dead_letter, skip        | no       | 'dead_letter'         | Whether rows without an event time go to the dead letters, or are counted and skipped.             |
        | nexmark   | source | idle_timeout     | a duration               | no       | '30s'                 | A source without rows for so long holds the time of others up no more; 0 for never.                |
        | nexmark   | source | watermark_group  | text                     | no       |                       | Sources of one group wait for the slowest of them, so that none runs ahead by more than max_drift. |
        | nexmark   | source | max_drift        | a duration               | no       |                       | Event time by which a source may be ahead of its group.                                            |
        +-----------+--------+------------------+--------------------------+----------+-----------------------+----------------------------------------------------------------------------------------------------+
        +-----------+--------+----------------------------------+-------------------------------------------------------------+----------+---------------+---------------------------------------------------------------------------------------------------------------------------------+
        | connector | as     | option                           | value                                                       | required | default       | description                                                                                                                     |
        +-----------+--------+----------------------------------+-------------------------------------------------------------+----------+---------------+---------------------------------------------------------------------------------------------------------------------------------+
        | files     | source |                                  |                                                             |          |               | Files on local disk or, as s3://bucket/path, in an object store.                                                                |
        | files     | source | path                             | text                                                        | yes      |               | A file, a folder, or a glob; relative to the working folder, or s3://bucket/path.                                               |
        | files     | source | format                           | parquet, arrow, avro, csv, json, debezium-json, upsert-json | yes      |               | How the files are encoded; debezium-json has changes, upsert-json the last row of each PRIMARY KEY.                             |
        | files     | source | header                           | true or false                                               | no       | 'true'        | Whether the first line names the columns. (format csv)                                                                          |
        | files     | source | delimiter                        | a character                                                 | no       | ','           | The character between fields. (format csv)                                                                                      |
        | files     | source | partition_columns                | text                                                        | no       |               | Columns that the names of folders below the path say, as in k=1/j=2/, from the outermost on: 'k, j'.                            |
        | files     | source | null_value                       | text                                                        | no       | ''            | The text that stands for NULL. (format csv)                                                                                     |
        | files     | source | watch                            | a duration                                                  | no       |               | How often to look for new files, for ever; each is read once, as it is then: rename it once it is complete.                     |
        | files     | source | lookup                           | true or false                                               | no       | 'false'       | Whether it is a table for FOR SYSTEM_TIME AS OF PROCTIME(), read as a whole, and not a stream.                                  |
        | files     | source | lookup_cache_ttl                 | a duration                                                  | no       | '10min'       | For how long rows that were looked up are true.                                                                                 |
        | files     | source | scan_startup_mode                | earliest, latest, backfill                                  | no       | 'earliest'    | Whether what is there when the job begins is live (earliest), left out (latest), or read first, and none of it late (backfill). |
        | files     | source | rows_per_second                  | a whole number from 1 on                                    | no       |               | The pace of all subtasks together; else as fast as it goes.                                                                     |
        | files     | source | null_event_time                  | dead_letter, skip                                           | no       | 'dead_letter' | Whether rows without an event time go to the dead letters, or are counted and skipped.                                          |
        | files     | source | aws_access_key_id                | text                                                        | no       |               | Of s3://: the name of the key; else of the environment.                                                                         |
        | files     | source | aws_secret_access_key            | text                                                        | no       |               | Of s3://: the key, best as a SECRET; else of the environment.                                                                   |
        | files     | source | aws_session_token                | text                                                        | no       |               | Of s3://: the token of a key that ends, best as a SECRET.                                                                       |
        | files     | source | aws_region                       | text                                                        | no       |               | Of s3://: the region of the bucket.                                                                                             |
        | files     | source | aws_endpoint                     | text                                                        | no       |               | Of s3://: the URL of a store that is not Amazon's.                                                                              |
        | files     | source | aws_allow_http                   | true or false                                               | no       |               | Of s3://: whether the endpoint may be without TLS.                                                                              |
        | files     | source | aws_virtual_hosted_style_request | true or false                                               | no       |               | Of s3://: whether the bucket is part of the host's name.                                                                        |
        | files     | source | aws_skip_signature               | true or false                                               | no       |               | Of s3://: whether a public bucket is read without a key.                                                                        |
        | files     | source | idle_timeout                     | a duration                                                  | no       | '30s'         | A source without rows for so long holds the time of others up no more; 0 for never.                                             |
        | files     | source | watermark_group                  | text                                                        | no       |               | Sources of one group wait for the slowest of them, so that none runs ahead by more than max_drift.                              |
        | files     | source | max_drift                        | a duration                                                  | no       |               | Event time by which a source may be ahead of its group.                                                                         |
        | files     | sink   |                                  |                                                             |          |               | Files on local disk or, as s3://bucket/path, in an object store.                                                                |
        | files     | sink   | path                             | text                                                        | yes      |               | The folder to write part files to, made if it does not exist, or s3://bucket/path.                                              |
        | files     | sink   | format                           | parquet, arrow, avro, csv, json, debezium-json, upsert-json | yes      |               | How the files are encoded; updates need debezium-json, or upsert-json and a PRIMARY KEY.                                        |
        | files     | sink   | codec                            | snappy, deflate, zstd, none                                 | no       | 'snappy'      | What compresses Avro's blocks. (format avro)                                                                                    |
        | files     | sink   | aws_access_key_id                | text                                                        | no       |               | Of s3://: the name of the key; else of the environment.                                                                         |
        | files     | sink   | aws_secret_access_key            | text                                                        | no       |               | Of s3://: the key, best as a SECRET; else of the environment.                                                                   |
        | files     | sink   | aws_session_token                | text                                                        | no       |               | Of s3://: the token of a key that ends, best as a SECRET.                                                                       |
        | files     | sink   | aws_region                       | text                                                        | no       |               | Of s3://: the region of the bucket.                                                                                             |
        | files     | sink   | aws_endpoint                     | text                                                        | no       |               | Of s3://: the URL of a store that is not Amazon's.                                                                              |
        | files     | sink   | aws_allow_http                   | true or false                                               | no       |               | Of s3://: whether the endpoint may be without TLS.                                                                              |
        | files     | sink   | aws_virtual_hosted_style_request | true or false                                               | no       |               | Of s3://: whether the bucket is part of the host's name.                                                                        |
        | files     | sink   | aws_skip_signature               | true or false                                               | no       |               | Of s3://: whether a public bucket is read without a key.                                                                        |
        +-----------+--------+----------------------------------+-------------------------------------------------------------+----------+---------------+---------------------------------------------------------------------------------------------------------------------------------+
    "#]].assert_eq(&text);
    let outcomes = execute(&mut session(), "SHOW CONNECTORS").unwrap();
    let [Outcome::Rows(all)] = outcomes.as_slice() else { panic!("no rows") };
    let common = SOURCE_OPTIONS.len();
    let as_source = |spec: &ConnectorSpec| spec.source.map_or(0, |options| 1 + options.len() + common);
    let as_sink = |spec: &ConnectorSpec| spec.sink.map_or(0, |options| 1 + options.len());
    assert_eq!(all.num_rows(), CONNECTORS.iter().map(|spec| as_source(spec) + as_sink(spec)).sum::<usize>());
    check_error(
        "SHOW CONNECTOR kafka",
        expect![[r#"
            line 1, column 16: unknown connector 'kafka'; valid are: files, nexmark, datagen, push, table, print, blackhole, postgres
        "#]],
    );
}
