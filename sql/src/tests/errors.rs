//! Wrong input: each error says where, what, and what would work.

use expect_test::expect;

use super::{check_error, error, execute, graph, session};

#[test]
fn names() {
    check_error(
        "SELECT\n  auctoin FROM bids",
        expect![[r#"
        line 2, column 3: No field named auctoin. Did you mean 'bids.auction'?
        Valid fields are bids.auction, bids.bidder, bids.price, bids.ts
    "#]],
    );
    check_error(
        "SELECT *\nFROM bid",
        expect![[r#"
        line 2, column 6: there is no source or view 'bid'; there are: bids, auctions, plain
    "#]],
    );
    check_error(
        "SELECT nosuch(price) FROM bids",
        expect![[r#"
        line 1, column 8: Invalid function 'nosuch'.
        Did you mean 'cosh'?
    "#]],
    );
    check_error(
        "SELECT * FROM bids WHERE pric > 1",
        expect![[r#"
        line 1, column 26: No field named pric. Did you mean 'bids.price'?
        Valid fields are bids.auction, bids.bidder, bids.price, bids.ts
    "#]],
    );
    check_error(
        "CREATE VIEW bids AS SELECT * FROM auctions",
        expect![[r#"
        line 1, column 13: 'bids' already exists: it is a source
    "#]],
    );
    check_error(
        "CREATE VIEW v AS SELECT * FROM v",
        expect![[r#"
        line 1, column 32: there is no source or view 'v'; there are: bids, auctions, plain
    "#]],
    );
    check_error(
        "CREATE VIEW v AS SELECT a.id, b.id FROM auctions a JOIN auctions b ON a.id = b.id AND a.opened = b.opened",
        expect![[r#"
            line 1, column 1: the view has two columns 'id'; give one of them another name with AS
        "#]],
    );
    check_error(
        "DROP VIEW nothing",
        expect![[r#"
            line 1, column 11: there is no source, view, sink, model or function 'nothing'; there are: bids, auctions, plain
        "#]],
    );
    check_error(
        "DESCRIBE nothing",
        expect![[r#"
            line 1, column 10: there is no source, view, sink, model or function 'nothing'; there are: bids, auctions, plain
        "#]],
    );
}

#[test]
fn options() {
    check_error(
        "CREATE SOURCE s (a INT) WITH (connector = 'kafkka', path = 'x')",
        expect![[r#"
            line 1, column 31: unknown connector 'kafkka'; valid are: files, nexmark, datagen, push, table, print, blackhole, postgres
        "#]],
    );
    check_error(
        "CREATE SOURCE s (a INT) WITH (connector = 'files', pth = 'x', format = 'csv')",
        expect![[r#"
            line 1, column 52: unknown option 'pth' of source connector 'files'; valid are: path, format, header, delimiter, partition_columns, null_value, watch, lookup, lookup_cache_ttl, scan_startup_mode, rows_per_second, null_event_time, aws_access_key_id, aws_secret_access_key, aws_session_token, aws_region, aws_endpoint, aws_allow_http, aws_virtual_hosted_style_request, aws_skip_signature, idle_timeout, watermark_group, max_drift
        "#]],
    );
    check_error(
        "CREATE SOURCE s (a INT) WITH (path = 'x', path = 'y')",
        expect![[r#"
        line 1, column 43: option 'path' is given twice
    "#]],
    );
    check_error(
        "CREATE SOURCE s (a INT) WITH (path = 'x')",
        expect![[r#"
        line 1, column 30: the option 'connector' is missing: WITH (connector = 'files', …)
    "#]],
    );
    check_error(
        "CREATE SINK s WITH (connector = 'files') AS SELECT * FROM bids",
        expect![[r#"
            line 1, column 20: sink connector 'files' needs the option 'path': The folder to write part files to, made if it does not exist, or s3://bucket/path.
        "#]],
    );
}

#[test]
fn sources() {
    let with = "WITH (connector = 'files', path = 'x', format = 'csv')";
    check_error(
        &format!("CREATE SOURCE s (a INT, a BIGINT) {with}"),
        expect![[r#"
        line 1, column 25: column 'a' is declared twice
    "#]],
    );
    check_error(
        &format!("CREATE SOURCE s (a INT, WATERMARK FOR a AS a) {with}"),
        expect![[r#"
        line 1, column 39: the event-time column 'a' must be a TIMESTAMP, but is INTEGER
    "#]],
    );
    check_error(
        &format!("CREATE SOURCE s (a INT, WATERMARK FOR b AS b) {with}"),
        expect![[r#"
        line 1, column 39: WATERMARK FOR names the column 'b'; there are: a
    "#]],
    );
    check_error(
        &format!("CREATE SOURCE s (a TIMESTAMP, WATERMARK FOR a AS now()) {with}"),
        expect![[r#"
        line 1, column 45: now() is not supported; it gives another answer each time a row is replayed; use a column of the row, such as its event time
    "#]],
    );
    check_error(
        &format!("CREATE SOURCE s (a TIMESTAMP, WATERMARK FOR a AS 3) {with}"),
        expect![[r#"
        line 1, column 45: a watermark is a TIMESTAMP such as a - INTERVAL '1 minute', not BIGINT
    "#]],
    );
    check_error(
        &format!("CREATE SOURCE s (a INT, b AS (c + 1)) {with}"),
        expect![[r#"
        line 1, column 31: No field named c.
        Valid fields are a
    "#]],
    );
    check_error(
        &format!("CREATE SOURCE s (a INT, PRIMARY KEY (a)) {with}"),
        expect![[r#"
            line 1, column 25: a key of this source is not supported; leave it out: every row of it is an insert; rows that are updated come with format 'debezium-json' or 'upsert-json'
        "#]],
    );
    check_error(
        &format!("CREATE SOURCE s (a INT DEFAULT 3) {with}"),
        expect![[r#"
            line 1, column 24: DEFAULT in a column is not supported; a column is: name TYPE [NOT NULL], name [TYPE] AS (expression), or name AS PROCTIME()
        "#]],
    );
    check_error(
        &format!("CREATE SOURCE s (a INT, __op INT) {with}"),
        expect![[r#"
        line 1, column 25: the column name __op is taken by changelogs
    "#]],
    );
}

#[test]
fn windows() {
    check_error(
        "SELECT * FROM TUMBLE(TABLE plain, DESCRIPTOR(at_time), INTERVAL '1 hour')",
        expect![[r#"
        line 1, column 28: TABLE plain has no event-time column: declare WATERMARK FOR in its source, and keep the column in the query
    "#]],
    );
    check_error(
        "SELECT * FROM TUMBLE(TABLE bids, DESCRIPTOR(price), INTERVAL '1 hour')",
        expect![[r#"
        line 1, column 34: 'price' is not an event-time column; DESCRIPTOR takes ts here
    "#]],
    );
    check_error(
        "SELECT * FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 month')",
        expect![[r#"
        line 1, column 59: expected an interval of fixed length such as INTERVAL '1 hour', found INTERVAL '1 month'
    "#]],
    );
    check_error(
        "SELECT * FROM TUMBLE(TABLE bids, DESCRIPTOR(ts))",
        expect![[r#"
        line 1, column 15: the argument SIZE is missing; write TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1 hour' [, offset])
    "#]],
    );
    check_error(
        "SELECT * FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '0 seconds')",
        expect![[r#"
        line 1, column 59: a window's length must be above zero, not INTERVAL '0 seconds'
    "#]],
    );
    check_error(
        "SELECT * FROM HOP(TABLE nosuch, DESCRIPTOR(ts), INTERVAL '1 hour', INTERVAL '1 hour')",
        expect![[r#"
        line 1, column 25: there is no source or view 'nosuch'; there are: bids, auctions, plain
    "#]],
    );
    check_error(
        "SELECT * FROM WINDOWS(TABLE bids)",
        expect![[r#"
            line 1, column 15: there is no table function 'windows'; FROM takes TUMBLE, HOP, CUMULATE, SESSION, ML.PREDICT, ML.EVALUATE and other functions of ML
        "#]],
    );
}

#[test]
fn joins() {
    check_error(
        "SELECT b.price FROM bids b, auctions a",
        expect![[r#"
            line 1, column 1: a join of two streams needs equal keys, ON a.k = b.k, or bounds between their event times, ON b.ts BETWEEN a.ts AND a.ts + INTERVAL '…'
        "#]],
    );
    check_error(
        "SELECT b.price FROM bids b JOIN auctions FOR SYSTEM_TIME AS OF b.price AS a ON a.id = b.auction",
        expect![[r#"
            line 1, column 33: a temporal join is as of the left side's event time: b.ts
        "#]],
    );
    check_error(
        "SELECT b.price FROM bids b JOIN auctions FOR SYSTEM_TIME AS OF b.ts AS a ON a.rating > b.price",
        expect![[r#"
            line 1, column 33: the condition a.rating > b.price in ON of a temporal join is not supported; ON takes equal keys only; put the rest in WHERE, or in a view on the right side
        "#]],
    );
    check_error(
        "SELECT b.price FROM bids b JOIN auctions FOR SYSTEM_TIME AS OF b.ts AS a ON a.id = b.auction AND a.rating > 3",
        expect![[r#"
            line 1, column 33: the condition a.rating > 3 in ON of a temporal join is not supported; ON takes equal keys only; put the rest in WHERE, or in a view on the right side
        "#]],
    );
    check_error(
        "SELECT b.price FROM bids b JOIN plain FOR SYSTEM_TIME AS OF b.ts AS a ON a.auction = b.auction",
        expect![[r#"
            line 1, column 33: 'plain' has no event-time column, so it has no versions; declare WATERMARK FOR in its source, and keep the column in the view
        "#]],
    );
    check_error(
        "SELECT price FROM bids FOR SYSTEM_TIME AS OF ts",
        expect![[r#"
        line 1, column 19: a version of 'bids' here is not supported; it stands behind the right side of a join: a JOIN b FOR SYSTEM_TIME AS OF a.ts AS b ON a.k = b.k
    "#]],
    );
    check_error(
        "SELECT b.price FROM bids b JOIN auctions FOR SYSTEM_TIME AS OF now() AS a ON a.id = b.auction",
        expect![[r#"
            line 1, column 64: FOR SYSTEM_TIME AS OF takes the left side's event-time column, not 'now()'
        "#]],
    );
}

#[test]
fn changelogs() {
    check_error(
        "CREATE SINK s WITH (connector = 'files', path = 'x', format = 'csv') AS SELECT count(*) AS n FROM bids",
        expect![[r#"
            line 1, column 1: the rows for 's' are updated, but the connector 'files' with format 'csv' only takes new rows; either aggregate over TUMBLE or HOP, whose rows are final, or write to what takes updates: files with format 'debezium-json' or 'upsert-json', postgres with a PRIMARY KEY, print, blackhole
        "#]],
    );
}

#[test]
fn keys_of_sinks() {
    let sink = |clauses: &str, format: &str| {
        format!("CREATE SINK s {clauses} WITH (connector = 'files', path = 'x', format = '{format}')")
    };
    let counts = "AS SELECT auction, bidder, count(*) AS n FROM bids GROUP BY auction, bidder";
    let check = |sql: String, expected| check_error(&sql, expected);
    check(
        sink("(a INT)", "upsert-json"),
        expect![[r#"
        line 1, column 62: the format upsert-json needs the key by which rows replace each other: CREATE SINK s (…, PRIMARY KEY (column, …) NOT ENFORCED), or the key alone in front of a query
    "#]],
    );
    check(
        sink("", "upsert-json") + counts,
        expect![[r#"
        line 1, column 55: the format upsert-json needs the key by which rows replace each other: CREATE SINK s (…, PRIMARY KEY (column, …) NOT ENFORCED), or the key alone in front of a query
    "#]],
    );
    check(
        sink("(a INT, PRIMARY KEY (a) NOT ENFORCED)", "csv"),
        expect![[r#"
            line 1, column 23: a key of this sink is not supported; leave it out: only files with format 'upsert-json' and postgres have one
        "#]],
    );
    check(
        sink("(a INT, PRIMARY KEY (b))", "upsert-json"),
        expect![[r#"
        line 1, column 36: the key's column 'b' is not declared; there are: a
    "#]],
    );
    check(
        sink("(a INT, PRIMARY KEY (a, a))", "upsert-json"),
        expect![[r#"
        line 1, column 39: the key has the column 'a' twice
    "#]],
    );
    check(
        sink("(a INT, PRIMARY KEY (a), PRIMARY KEY (a))", "upsert-json"),
        expect![[r#"
        line 1, column 40: a table has one PRIMARY KEY
    "#]],
    );
    check(
        sink("(a INT, UNIQUE KEY (a))", "upsert-json"),
        expect![[r#"
        line 1, column 23: this constraint is not supported; a key is written PRIMARY KEY (column, …) NOT ENFORCED
    "#]],
    );
    check(
        sink("(a INT, PRIMARY KEY (a))", "upsert-json") + counts,
        expect![[r#"
        line 1, column 16: a column list of a sink with a query is not supported; the query gives the columns; a PRIMARY KEY may stand alone
    "#]],
    );
    check(
        sink("(PRIMARY KEY (other))", "upsert-json") + counts,
        expect![[r#"
        line 1, column 1: the key (other) of sink 's' is not in its rows: auction BIGINT, bidder VARCHAR, n BIGINT
    "#]],
    );
    check(
        sink("(PRIMARY KEY (auction))", "upsert-json") + counts,
        expect![[r#"
        line 1, column 1: the rows for sink 's' are updated, and only (auction, bidder) tells them apart: by the sink's key (auction), rows would replace others; either declare PRIMARY KEY (auction, bidder), or write all changes with format 'debezium-json'
    "#]],
    );
    check(
        sink("(PRIMARY KEY (n))", "upsert-json") + "AS SELECT count(*) AS n FROM bids",
        expect![[r#"
            line 1, column 1: the rows for sink 's' are updated, and nothing tells them apart: by the sink's key (n), rows would replace others; either group them by the columns of the key, or write all changes with format 'debezium-json'
        "#]],
    );
    let two = "CREATE SINK s (a BIGINT, n BIGINT, PRIMARY KEY (a))
                 WITH (connector = 'files', path = 'x', format = 'upsert-json');
               INSERT INTO s SELECT auction, count(*) FROM bids GROUP BY auction;
               INSERT INTO s SELECT auction, count(*) FROM plain GROUP BY auction;";
    let Err(error) = graph(&mut session(), two) else { panic!("two queries write by one key") };
    expect![[r#"
        line 4, column 16: two queries write to sink 's', whose rows replace each other by key: which one is last would be chance; use a sink for each
    "#]].assert_eq(&format!("{error}\n"));
}

#[test]
fn sources_of_changes() {
    let source = |columns: &str, format: &str| {
        format!("CREATE SOURCE s ({columns}) WITH (connector = 'files', path = 'x', format = '{format}')")
    };
    let check = |sql: String, expected| check_error(&sql, expected);
    check(
        source("a INT", "upsert-json"),
        expect![[r#"
            line 1, column 64: the format upsert-json needs the key by which rows replace each other: CREATE SOURCE s (…, PRIMARY KEY (column, …) NOT ENFORCED)
        "#]],
    );
    check(
        source("a INT, PRIMARY KEY (a, b)", "upsert-json"),
        expect![[r#"
            line 1, column 41: the key's column 'b' is not declared; there are: a
        "#]],
    );
    check(
        source("a INT, b AS (a + 1), PRIMARY KEY (a, b)", "upsert-json"),
        expect![[r#"
            line 1, column 55: a generated column in a key is not supported; a line says its key; declare the columns that it has there
        "#]],
    );
    check(
        source("a INT, b BIGINT NOT NULL AS (a + 1), PRIMARY KEY (a)", "upsert-json"),
        expect![[r#"
            line 1, column 25: NOT NULL of a generated column, where rows replace each other by key, is not supported; leave NOT NULL out, and the rows with WHERE … IS NOT NULL
        "#]],
    );
    check(
        source("a INT, t TIMESTAMP, WATERMARK FOR t AS t, PRIMARY KEY (a) NOT ENFORCED", "upsert-json"),
        expect![[r#"
            line 1, column 52: WATERMARK FOR of a source whose rows are updated is not supported; an update may come long after its row; leave it out
        "#]],
    );
    check(
        source("a INT, t AS PROCTIME(), PRIMARY KEY (a) NOT ENFORCED", "upsert-json"),
        expect![[r#"
            line 1, column 25: PROCTIME() of a source whose rows are updated is not supported; a row is read again when it is updated; leave it out
        "#]],
    );
    check(
        source("a INT, PRIMARY KEY (b)", "debezium-json"),
        expect![[r#"
        line 1, column 38: the key's column 'b' is not declared; there are: a
    "#]],
    );
    check(
        source("a INT, t TIMESTAMP, WATERMARK FOR t AS t", "debezium-json"),
        expect![[r#"
        line 1, column 52: WATERMARK FOR of a source whose rows are updated is not supported; an update may come long after its row; leave it out
    "#]],
    );
    check(
        source("a INT, t AS PROCTIME()", "debezium-json"),
        expect![[r#"
        line 1, column 25: PROCTIME() of a source whose rows are updated is not supported; a row is read again when it is updated; leave it out
    "#]],
    );
    check_error(
        "CREATE SOURCE s (a INT) WITH (connector = 'files', path = 'x', format = 'debezium-json', lookup = 'true')",
        expect![[r#"
            line 1, column 90: lookup of a source whose rows are updated is not supported; a table is read as a whole from files of rows
        "#]],
    );
    check_error(
        "CREATE SOURCE s (a INT) WITH (connector = 'files', path = 'x', format = 'csv', lookup = 'true', watch = '1s')",
        expect![[r#"
            line 1, column 97: watch of a look-up table is not supported; its files are read again when lookup_cache_ttl has passed; leave it out
        "#]],
    );
    check_error(
        "CREATE SOURCE s (a INT) WITH (connector = 'files', path = 'x', format = 'csv', scan_startup_mode = 'backfill')",
        expect![[r#"
            line 1, column 80: option 'scan_startup_mode' says where a source begins that has no end and keeps what has come before, which are connector 'push' and connector 'files' with the option 'watch'; this one ends: give the option 'watch', or leave 'scan_startup_mode' out
        "#]],
    );
    check_error(
        "CREATE SOURCE s (a INT)
         WITH (connector = 'files', path = 'x', format = 'csv', watch = '1s', scan_startup_mode = 'newest')",
        expect![[r#"
            line 2, column 79: option 'scan_startup_mode' is 'newest', but takes one of earliest, latest, backfill
        "#]],
    );
    check_error(
        "CREATE SOURCE s (a INT) WITH (connector = 'datagen', scan_startup_mode = 'latest')",
        expect![[r#"
            line 1, column 54: option 'scan_startup_mode' says where a source begins that has no end and keeps what has come before, which are connector 'push' and connector 'files' with the option 'watch'; connector 'datagen' has none of these; leave it out
        "#]],
    );
    check_error(
        "CREATE SOURCE s (a INT) WITH (connector = 'files', path = 'x', format = 'csv', watch = '0')",
        expect![[r#"
            line 1, column 80: option 'watch' is '0', but takes a duration such as 30s or 500ms
        "#]],
    );
    let changes = source("a INT, n INT", "debezium-json");
    check(
        format!("{changes}; CREATE SINK out WITH (connector = 'files', path = 'y', format = 'csv') AS SELECT a FROM s"),
        expect![[r#"
            line 1, column 98: the rows for 'out' are updated, but the connector 'files' with format 'csv' only takes new rows; either aggregate over TUMBLE or HOP, whose rows are final, or write to what takes updates: files with format 'debezium-json' or 'upsert-json', postgres with a PRIMARY KEY, print, blackhole
        "#]],
    );
}

#[test]
fn models() {
    let model = |options: &str, columns: &str| format!("CREATE MODEL m WITH ({options}) AS SELECT {columns} FROM bids");
    let right = "model_type = 'logistic_reg', label = 'late'";
    check_error(
        &model("label = 'late'", "ts, bidder, price > 1 AS late"),
        expect![[r#"
        line 1, column 21: a model needs the option 'model_type': WITH (model_type = 'logistic_reg', …)
    "#]],
    );
    check_error(
        &model("model_type = 'forest', label = 'late'", "ts, bidder, price > 1 AS late"),
        expect![[r#"
            line 1, column 22: unknown model_type 'forest'; valid are: logistic_reg, linear_reg, hoeffding_tree_classifier, hoeffding_adaptive_tree_classifier, adaptive_random_forest_classifier, hoeffding_tree_regressor, half_space_trees, kmeans, contextual_bandit, q_learning
        "#]],
    );
    check_error(
        &model("model_type = 'logistic_reg'", "ts, bidder, price > 1 AS late"),
        expect![[r#"
            line 1, column 21: a model needs the option 'label': WITH (label = 'late', …)
        "#]],
    );
    check_error(
        &model("model_type = 'kmeans', label = 'late'", "ts, bidder, price > 1 AS late"),
        expect![[r#"
            line 1, column 45: a model of type kmeans learns no label: leave out the option
        "#]],
    );
    check_error(
        &model("model_type = 'half_space_trees'", "ts, auction, price > 1 AS late"),
        expect![[r#"
            line 1, column 21: feature column 'late' is a category, but a model of type 'half_space_trees' takes numbers only; leave it out or turn it into numbers; options of every such model are model_type, label, publish_every, model_freshness
        "#]],
    );
    check_error(
        &model(right, "ts, bidder"),
        expect![[r#"
            line 1, column 51: the label 'late' is not a column of the training query; there are: ts, bidder
        "#]],
    );
    check_error(
        &model(right, "ts, bidder, auction AS late"),
        expect![[r#"
            line 1, column 51: label column 'late' has the unsupported type Int64; write a condition that is true for positive rows, such as label = 'yes' or label <> 0
        "#]],
    );
    check_error(
        &model(right, "bidder, price > 1 AS late"),
        expect![[r#"
        line 1, column 1: the training query has no event-time column: add the column that says when a row, or its label, became known (one that its source declares WATERMARK FOR) to the SELECT; it is not a feature
    "#]],
    );
    check_error(
        &model(right, "ts, price > 1 AS late"),
        expect![[r#"
        line 1, column 1: a model needs at least one feature: a column besides the label and event time
    "#]],
    );
    check_error(
        &model(right, "ts, ts + INTERVAL '1 hour' AS soon, price > 1 AS late"),
        expect![[r#"
        line 1, column 1: the feature 'soon' is TIMESTAMP, which no model of type 'logistic_reg' reads; cast it to DOUBLE or VARCHAR, or take a part of it with EXTRACT
    "#]],
    );
    check_error(
        &model("model_type = 'logistic_reg', label = 'late', rate = 1", "ts, bidder, price > 1 AS late"),
        expect![[r#"
            line 1, column 67: model type 'logistic_reg' has no option 'rate'; valid options are optimizer, learning_rate, l1, l2, initial_accumulator, eps, beta, beta1, beta2, standardize, clip, max_categories, auto_class_weights, class_weights; options of every such model are model_type, label, publish_every, model_freshness
        "#]],
    );
    check_error(
        &model(
            "model_type = 'logistic_reg', label = 'late', publish_every = '1 month'",
            "ts, bidder, price > 1 AS late",
        ),
        expect![[r#"
            line 1, column 67: option 'publish_every' is '1 month', but takes an interval such as '1 hour' or '15 minutes' (no months)
        "#]],
    );
}

#[test]
fn predictions() {
    let mut session = session();
    let model = "CREATE MODEL m WITH (model_type = 'logistic_reg', label = 'late') AS
                 SELECT ts, bidder, auction, price > 1 AS late FROM bids";
    execute(&mut session, model).unwrap();
    let mut check = |sql: &str, expect: expect_test::Expect| expect.assert_eq(&error(&mut session, sql));
    check(
        "SELECT * FROM ML.PREDICT(MODEL nosuch, TABLE bids)",
        expect![[r#"
        line 1, column 32: there is no model 'nosuch'; there are: m
    "#]],
    );
    check(
        "SELECT * FROM ML.PREDICT(MODEL bids, TABLE bids)",
        expect![[r#"
        line 1, column 32: 'bids' is a source, not a model
    "#]],
    );
    check(
        "SELECT * FROM ML.PREDICT(MODEL m, TABLE auctions)",
        expect![[r#"
        line 1, column 32: model 'm' was trained with the feature 'bidder', which the input of ML.PREDICT does not have
    "#]],
    );
    check(
        "SELECT * FROM ML.PREDICT(MODEL m, (SELECT ts, bidder, bidder AS auction FROM bids))",
        expect![[r#"
        line 1, column 32: model 'm' was trained with the feature 'auction' as BIGINT, but in the input of ML.PREDICT it is VARCHAR
    "#]],
    );
    check(
        "SELECT * FROM ML.PREDICT(MODEL m, (SELECT bidder, auction FROM bids))",
        expect![[r#"
        line 1, column 32: ML.PREDICT needs an event-time column in its input: it says which version of the model answers
    "#]],
    );
    check(
        "SELECT * FROM ML.PREDICT(TABLE bids)",
        expect![[r#"
        line 1, column 15: wrong arguments; write ML.PREDICT(MODEL m, TABLE t), or a query in place of TABLE t
    "#]],
    );
    check(
        "SELECT * FROM ML.EVALUATE(TABLE bids)",
        expect![[r#"
            line 1, column 15: wrong arguments; write ML.EVALUATE(MODEL m, TABLE t), or a query in place of TABLE t
        "#]],
    );
    check(
        "SELECT * FROM ML.EVALUATE(MODEL nothing, TABLE bids)",
        expect![[r#"
            line 1, column 33: there is no model 'nothing'; there are: m
        "#]],
    );
    check(
        "SELECT * FROM m",
        expect![[r#"
        line 1, column 15: 'm' is a model; only sources and views have rows to select
    "#]],
    );
    check(
        "DROP SOURCE bids",
        expect![[r#"
        line 1, column 13: cannot change or drop 'bids': model 'm' uses it; drop that first
    "#]],
    );
}

#[test]
fn not_yet() {
    check_error(
        "SELECT bidder, count(*) FROM bids GROUP BY bidder LATE DATA DROP",
        expect![[r#"
            line 1, column 51: LATE DATA needs an aggregation by the windows of TUMBLE, HOP, CUMULATE or SESSION in this query: nothing else comes too late
        "#]],
    );
    check_error(
        "CREATE FUNCTION f() RETURNS INT AS 'x'",
        expect![[r#"
            line 1, column 36: a body as text is not supported; write RETURN expression, or AS (expression)
        "#]],
    );
    check_error(
        "BEGIN",
        expect![[r#"
            line 1, column 1: no statement starts with BEGIN; valid are: SELECT, WITH, SUBSCRIBE TO, INSERT INTO, CREATE SOURCE, CREATE TABLE, CREATE VIEW, CREATE MATERIALIZED VIEW, CREATE SINK, CREATE MODEL, CREATE FUNCTION, CREATE SAVEPOINT, CREATE ROLE, CREATE USER, CREATE SECRET, COPY, DROP, SHOW, DESCRIBE, EXPLAIN, SET, STOP JOB, RESUME JOB, ALTER JOB, ALTER MODEL, ALTER ROLE, EXPORT MODEL, GRANT, REVOKE, REASSIGN OWNED BY
        "#]],
    );
    check_error(
        "SELECT now() AS n, price FROM bids",
        expect![[r#"
        line 1, column 1: now() is not supported; it gives another answer each time a row is replayed; use a column of the row, such as its event time
    "#]],
    );
    check_error(
        "SELECT price FROM bids ORDER BY ts",
        expect![[r#"
        line 1, column 1: ORDER BY an expression that is not a column of the result is not supported; add it to the SELECT, and order by its name or number
    "#]],
    );
    check_error(
        "SELECT price FROM bids LIMIT 3 OFFSET 2",
        expect![[r#"
            line 1, column 39: OFFSET is not supported; use LIMIT alone
        "#]],
    );
    check_error(
        "CREATE VIEW v AS SELECT price FROM bids ORDER BY price",
        expect![[r#"
        line 1, column 1: ORDER BY here is not supported; it belongs to the outermost SELECT, whose result it orders
    "#]],
    );
    check_error(
        "SELECT auction, bidder, count(*) FROM bids GROUP BY ROLLUP (auction, bidder)",
        expect![[r#"
        line 1, column 1: GROUPING SETS, CUBE and ROLLUP is not supported; write one query for each grouping
    "#]],
    );
    check_error(
        "SELECT * FROM bids TABLESAMPLE BERNOULLI (10)",
        expect![[r#"
        line 1, column 15: TABLESAMPLE is not supported; filter with WHERE
    "#]],
    );
    check_error(
        "SELECT * FROM bids FOR UPDATE",
        expect![[r#"
        line 1, column 1: FOR UPDATE is not supported; leave it out; LIMIT limits a result
    "#]],
    );
    check_error(
        "VALUES (1)",
        expect![[r#"
            line 1, column 1: no statement starts with VALUES; valid are: SELECT, WITH, SUBSCRIBE TO, INSERT INTO, CREATE SOURCE, CREATE TABLE, CREATE VIEW, CREATE MATERIALIZED VIEW, CREATE SINK, CREATE MODEL, CREATE FUNCTION, CREATE SAVEPOINT, CREATE ROLE, CREATE USER, CREATE SECRET, COPY, DROP, SHOW, DESCRIBE, EXPLAIN, SET, STOP JOB, RESUME JOB, ALTER JOB, ALTER MODEL, ALTER ROLE, EXPORT MODEL, GRANT, REVOKE, REASSIGN OWNED BY
        "#]],
    );
}

#[test]
fn inserts() {
    let mut session = session();
    execute(
        &mut session,
        "CREATE SINK s (a BIGINT, b VARCHAR) WITH (connector = 'print');
                           CREATE SINK q WITH (connector = 'print') AS SELECT * FROM bids",
    )
    .unwrap();
    let mut check = |sql: &str, expect: expect_test::Expect| expect.assert_eq(&error(&mut session, sql));
    check(
        "INSERT INTO s SELECT auction FROM bids",
        expect![[r#"
        line 1, column 1: sink 's' has 2 columns, but the query gives 1
    "#]],
    );
    check(
        "INSERT INTO s SELECT auction, ts FROM bids",
        expect![[r#"
        line 1, column 1: column 'b' of sink 's' is VARCHAR, but the query gives TIMESTAMP ('ts'); write CAST(ts AS VARCHAR)
    "#]],
    );
    check(
        "INSERT INTO s (b, a) SELECT bidder, auction FROM bids",
        expect![[r#"
        line 1, column 16: another order or choice of columns is not supported; give all of them: a, b
    "#]],
    );
    check(
        "INSERT INTO q SELECT * FROM bids",
        expect![[r#"
        line 1, column 13: sink 'q' has a query of its own; create a sink without one to insert into
    "#]],
    );
    check(
        "INSERT INTO bids SELECT * FROM bids",
        expect![[r#"
            line 1, column 13: 'bids' is a source of another kind; rows can be inserted into sinks, into tables WITH (connector = 'table'), and into tables of files in a folder
        "#]],
    );
    check(
        "INSERT INTO nosuch SELECT * FROM bids",
        expect![[r#"
            line 1, column 13: there is no source, view, sink, model or function 'nosuch'; there are: bids, auctions, plain, s, q
        "#]],
    );
}

#[test]
fn nesting_has_a_limit() {
    let nested = format!("SELECT {}price{} FROM bids", "(".repeat(500), ")".repeat(500));
    check_error(
        &nested,
        expect![[r#"
        line 1, column 1: nested deeper than 50 levels; name the inner queries in views or WITH
    "#]],
    );
    let subqueries = format!("{}bids{}", "SELECT * FROM (".repeat(200), ")".repeat(200));
    check_error(
        &subqueries,
        expect![[r#"
        line 1, column 1: nested deeper than 50 levels; name the inner queries in views or WITH
    "#]],
    );
}

#[test]
fn length_has_a_limit() {
    let sum = |terms| format!("CREATE VIEW v AS SELECT {} AS total FROM bids", vec!["price"; terms].join(" + "));
    execute(&mut session(), &sum(300)).unwrap();
    check_error(
        &sum(100_000),
        expect![[r#"
        line 1, column 8031: a statement with so many operators is not supported; the limit is 1000; cut it into views
    "#]],
    );
}

#[test]
fn views_on_views_have_a_limit() {
    let mut session = session();
    execute(&mut session, "CREATE VIEW v0 AS SELECT price FROM bids").unwrap();
    for number in 1..=100 {
        let query = format!("SELECT price + {number} AS price FROM v{} WHERE price > {number}", number - 1);
        execute(&mut session, &format!("CREATE VIEW v{number} AS {query}")).unwrap();
    }
    expect![[r#"
        line 1, column 1: more than 100 views stand on each other; read a sink's files in between
    "#]]
    .assert_eq(&error(&mut session, "SELECT * FROM v100"));
    graph(&mut session, "SELECT * FROM v99").unwrap();
}

#[test]
fn many_queries_in_one() {
    let unions = vec!["SELECT price FROM bids"; 100].join(" UNION ALL ");
    execute(&mut session(), &unions).unwrap();
}

#[test]
fn parentheses_in_from() {
    // sqlparser tries a parenthesis in FROM as a subquery and then as a join.
    let parentheses = format!("SELECT * FROM {}bids{}", "(".repeat(20), ")".repeat(20));
    check_error(
        &parentheses,
        expect![[r#"
        line 1, column 39: expected joined table, found )
    "#]],
    );
}

#[test]
fn nothing_around_a_table_is_passed_over() {
    let tumble = "TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 hour')";
    check_error(
        &format!("SELECT * FROM {tumble} TABLESAMPLE BERNOULLI (10)"),
        expect![[r#"
        line 1, column 15: TABLESAMPLE is not supported; filter with WHERE
    "#]],
    );
    check_error(
        &format!("SELECT * FROM {tumble} WITH ORDINALITY"),
        expect![[r#"
        line 1, column 15: 'TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 hour') WITH ORDINALITY' is not supported; write the table's name alone
    "#]],
    );
    check_error(
        "SELECT * FROM bids JOIN auctions FOR SYSTEM_TIME AS OF bids.ts AS a TABLESAMPLE BERNOULLI (10) ON a.id = auction",
        expect![[r#"
            line 1, column 25: TABLESAMPLE is not supported; filter with WHERE
        "#]],
    );
}

#[test]
fn declarations_of_a_sink() {
    let with = "WITH (connector = 'print')";
    check_error(
        &format!("CREATE SINK s (ts TIMESTAMP, WATERMARK FOR ts AS ts) {with}"),
        expect![[r#"
        line 1, column 44: WATERMARK FOR in a sink is not supported; a source declares it; a sink's rows come as the query gives them
    "#]],
    );
    check_error(
        &format!("CREATE SINK s (a BIGINT NOT NULL) {with};\nINSERT INTO s SELECT auction FROM bids"),
        expect![[r#"
            line 2, column 1: column 'a' of sink 's' is NOT NULL, but 'auction' may be; write COALESCE(auction, …), or leave NOT NULL out
        "#]],
    );
    execute(
        &mut session(),
        &format!("CREATE SINK s (a BIGINT NOT NULL) {with}; INSERT INTO s SELECT COALESCE(auction, 0) AS a FROM bids"),
    )
    .unwrap();
}

#[test]
fn windows_too_many_to_count() {
    check_error(
        "SELECT * FROM HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 millisecond', INTERVAL '1 day')",
        expect![[r#"
            line 1, column 56: a row would be in 86400000 windows; the limit is 10080: take a longer slide
        "#]],
    );
}

#[test]
fn statements_too_long_for_the_stack() {
    let nulls = "IS NULL ".repeat(2_000);
    check_error(
        &format!("SELECT price {nulls} FROM bids"),
        expect![[r#"
        line 1, column 8014: a statement with so many operators is not supported; the limit is 1000; cut it into views
    "#]],
    );
    check_error(
        "EXPLAIN ANALYZE CREATE VIEW v AS SELECT * FROM bids",
        expect![[r#"
        line 1, column 17: EXPLAIN ANALYZE of this statement is not supported; SELECT and INSERT INTO can be run and explained; EXPLAIN alone takes what is created, too
    "#]],
    );
    check_error(
        "EXPLAIN VERBOSE SELECT * FROM bids",
        expect![[r#"
            line 1, column 9: EXPLAIN VERBOSE is not supported; write EXPLAIN, EXPLAIN (FORMAT JSON) or EXPLAIN ANALYZE and the statement
        "#]],
    );
    check_error(
        "EXPLAIN EXPLAIN SELECT * FROM bids",
        expect![[r#"
        line 1, column 9: EXPLAIN of EXPLAIN is not supported; write it once
    "#]],
    );
}

#[test]
fn null_event_times_need_an_event_time() {
    check_error(
        "CREATE SOURCE s (a INT) WITH (connector = 'files', path = 'x', format = 'json', null_event_time = 'skip')",
        expect![[r#"
            line 1, column 81: the option 'null_event_time' needs an event time: declare WATERMARK FOR
        "#]],
    );
}

#[test]
fn cumulating_windows_that_do_not_add_up() {
    check_error(
        "SELECT * FROM CUMULATE(TABLE bids, DESCRIPTOR(ts), INTERVAL '25 minutes', INTERVAL '1 hour')",
        expect![[r#"
            line 1, column 84: the size of CUMULATE must be a multiple of its step
        "#]],
    );
    check_error(
        "SELECT * FROM CUMULATE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 hour')",
        expect![[r#"
        line 1, column 15: the argument SIZE is missing; write CUMULATE(TABLE t, DESCRIPTOR(ts), step INTERVAL '1 hour', size INTERVAL '1 day' [, offset])
    "#]],
    );
}

#[test]
fn sessions() {
    let session = |clauses: &str| {
        format!("SELECT bidder, window_start, window_end, count(*) AS n\nFROM SESSION(TABLE bids {clauses}")
    };
    let by = "GROUP BY bidder, window_start, window_end";
    check_error(
        &session(&format!("PARTITION BY bider, DESCRIPTOR(ts), INTERVAL '5 minutes') {by}")),
        expect![[r#"
        line 2, column 38: PARTITION BY names the column 'bider'; there are: auction, bidder, price, ts
    "#]],
    );
    check_error(
        &session(&format!(", DESCRIPTOR(ts), INTERVAL '5 minutes') {by}")),
        expect![[r#"
        line 1, column 1: a GROUP BY of more than the windows of SESSION without PARTITION BY is not supported; group by the columns of PARTITION BY, window_start and window_end: SESSION(TABLE t PARTITION BY k, …)
    "#]],
    );
    check_error(
        &session(
            "PARTITION BY bidder, DESCRIPTOR(ts), INTERVAL '5 minutes') GROUP BY bidder, window_start, window_end, auction",
        ),
        expect![[r#"
            line 1, column 1: a GROUP BY of other keys than SESSION's PARTITION BY (bidder) is not supported; group by the columns of PARTITION BY, window_start and window_end: SESSION(TABLE t PARTITION BY k, …)
        "#]],
    );
    check_error(
        &session(&format!("PARTITION BY bidder, DESCRIPTOR(ts), INTERVAL '5 minutes') WHERE price > 1 {by}")),
        expect![[r#"
            line 1, column 1: the condition session.price > 1 on rows that SESSION has put together is not supported; filter in a view or subquery that SESSION reads, or in the aggregate: count(*) FILTER (WHERE …)
        "#]],
    );
    check_error(
        "SELECT * FROM TUMBLE(TABLE bids PARTITION BY bidder, DESCRIPTOR(ts), INTERVAL '5 minutes')",
        expect![[r#"
            line 1, column 33: PARTITION BY here is not supported; only SESSION takes it; GROUP BY puts other windows' rows together
        "#]],
    );
}

#[test]
fn options_of_time() {
    let source = |columns: &str, options: &str| {
        format!("CREATE SOURCE s ({columns}) WITH (connector = 'files', path = 'x', format = 'csv', {options})")
    };
    let timed = "ts TIMESTAMP, WATERMARK FOR ts AS ts";
    check_error(
        &source(timed, "idle_timeout = 'soon'"),
        expect![[r#"
        line 1, column 111: option 'idle_timeout' is 'soon', but takes a duration such as 30s or 500ms, or 0
    "#]],
    );
    check_error(
        &source(timed, "max_drift = '1s'"),
        expect![[r#"
        line 1, column 111: the option 'max_drift' needs a watermark_group: the sources to keep pace with
    "#]],
    );
    check_error(
        &source(timed, "watermark_group = 'g'"),
        expect![[r#"
        line 1, column 111: the option 'watermark_group' needs max_drift = '10s' or so beside it, or SET watermark_max_drift
    "#]],
    );
    check_error(
        &source("ts TIMESTAMP", "watermark_group = 'g', max_drift = '1s'"),
        expect![[r#"
        line 1, column 87: a watermark_group keeps event times near each other: declare WATERMARK FOR a column of the rows
    "#]],
    );
    check_error(
        &source("pt AS PROCTIME()", "watermark_group = 'g', max_drift = '1s'"),
        expect![[r#"
        line 1, column 91: a watermark_group keeps event times near each other: declare WATERMARK FOR a column of the rows
    "#]],
    );
}

#[test]
fn processing_time() {
    let source =
        |columns: &str| format!("CREATE SOURCE s ({columns}) WITH (connector = 'files', path = 'x', format = 'csv');");
    check_error(
        &source("pt AS PROCTIME(), again AS (PROCTIME())"),
        expect![[r#"
        line 1, column 36: a source has one PROCTIME() column: a row is read once
    "#]],
    );
    check_error(
        &source("pt AS PROCTIME(), WATERMARK FOR pt AS pt"),
        expect![[r#"
        line 1, column 50: the watermark of 'pt' follows the clock by itself; leave WATERMARK FOR out
    "#]],
    );
    check_error(
        &source("a INT, pt AS (PROCTIME() + INTERVAL '1 second')"),
        expect![[r#"
        line 1, column 32: Invalid function 'proctime'.
        Did you mean 'to_time'?
    "#]],
    );
    check_error(
        &source("\"PROCTIME()\" INT"),
        expect![[r#"
        line 1, column 18: the column name PROCTIME() is taken by the time of reading
    "#]],
    );
    let both = source("ts TIMESTAMP, pt AS PROCTIME(), WATERMARK FOR ts AS ts");
    let windows = "SELECT count(*) FROM TUMBLE(TABLE s, DESCRIPTOR(pt), INTERVAL '1 second') GROUP BY window_end";
    check_error(
        &format!("{both}\n{windows}"),
        expect![[r#"
        line 2, column 38: 'pt' is not an event-time column; DESCRIPTOR takes ts here
    "#]],
    );
}

#[test]
fn a_connector_that_knows_its_columns_says_which_there_are() {
    let nexmark = |columns: &str| format!("CREATE SOURCE b {columns} WITH (connector = 'nexmark', table = 'bid')");
    check_error(
        &nexmark("(auction BIGINT, prize BIGINT)"),
        expect![[r#"
        line 1, column 34: the table 'bid' of the connector 'nexmark' has no column 'prize' of type BIGINT; it has: auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR
    "#]],
    );
    check_error(
        &nexmark("(price INT)"),
        expect![[r#"
        line 1, column 18: the table 'bid' of the connector 'nexmark' has no column 'price' of type INTEGER; it has: auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR
    "#]],
    );
    check_error(
        "CREATE SOURCE b WITH (connector = 'nexmark')",
        expect![[r#"
        line 1, column 22: source connector 'nexmark' needs the option 'table': Which rows of the event log.
    "#]],
    );
    check_error(
        "CREATE SOURCE b WITH (connector = 'nexmark', table = 'bids')",
        expect![[r#"
        line 1, column 46: option 'table' is 'bids', but takes one of person, auction, bid
    "#]],
    );
    check_error(
        "CREATE SOURCE b WITH (connector = 'nexmark', table = 'bid', first_event_time = 'soon')",
        expect![[r#"
        line 1, column 61: option 'first_event_time' is 'soon', but takes a timestamp such as 2024-01-31 12:30:00
    "#]],
    );
    check_error(
        "CREATE SOURCE b WITH (connector = 'files', path = 'x', format = 'csv')",
        expect![[r#"
        line 1, column 15: the connector 'files' does not know its columns; declare them: (name TYPE, …)
    "#]],
    );
    check_error(
        "CREATE SOURCE b AS SELECT 1",
        expect![[r#"
        line 1, column 17: expected (column TYPE, …), or WITH (connector = '…', …), found AS
    "#]],
    );
}

#[test]
fn options_of_columns_are_checked_against_the_columns() {
    let datagen =
        |options: &str| format!("CREATE SOURCE d (id BIGINT, k TEXT, f FLOAT) WITH (connector = 'datagen'{options})");
    check_error(
        &datagen(", fields.no.kind = 'random'"),
        expect![[r#"
        line 1, column 75: option 'fields.no.kind' names the column 'no'; there are: id, k, f
    "#]],
    );
    check_error(
        &datagen(", fields.id.king = 'random'"),
        expect![[r#"
            line 1, column 75: unknown option 'fields.id.king' of source connector 'datagen'; valid are: rows, seed, fields.<column>.kind, fields.<column>.min, fields.<column>.max, fields.<column>.length, fields.<column>.start, fields.<column>.step, fields.<column>.end, fields.<column>.null_rate, rows_per_second, null_event_time, idle_timeout, watermark_group, max_drift
        "#]],
    );
    check_error(
        &datagen(", fields.id.kind = 'any'"),
        expect![[r#"
        line 1, column 75: option 'fields.id.kind' is 'any', but takes one of random, sequence
    "#]],
    );
    check_error(
        &datagen(", fields.id.min = 'x'"),
        expect![[r#"
        line 1, column 75: option 'fields.id.min' is 'x', but takes a whole number
    "#]],
    );
    check_error(
        &datagen(""),
        expect![[r#"
        line 1, column 51: connector 'datagen' generates no columns of type Float32 (column 'f'); it generates BIGINT, INTEGER, VARCHAR and TIMESTAMP, and at random DOUBLE and BOOLEAN too
    "#]],
    );
}

#[test]
fn late_data() {
    let windows = "SELECT count(*) FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 second') GROUP BY window_end";
    check_error(
        "SELECT * FROM bids LATE DATA DROP",
        expect![[r#"
        line 1, column 20: LATE DATA needs an aggregation by the windows of TUMBLE, HOP, CUMULATE or SESSION in this query: nothing else comes too late
    "#]],
    );
    check_error(
        &format!("{windows} LATE DATA"),
        expect![[r#"
        line 1, column 103: expected LATE DATA DROP, INTO sink, or UPDATE WITHIN INTERVAL '…', found the end
    "#]],
    );
    check_error(
        &format!("{windows} LATE DATA INTO nowhere"),
        expect![[r#"
            line 1, column 113: there is no source, view, sink, model or function 'nowhere'; there are: bids, auctions, plain
        "#]],
    );
    check_error(
        &format!("{windows} LATE DATA INTO auctions"),
        expect![[r#"
        line 1, column 113: 'auctions' is a source; late rows go into a sink
    "#]],
    );
    check_error(
        &format!("{windows} LATE DATA UPDATE WITHIN 'soon'"),
        expect![[r#"
        line 1, column 122: expected an interval of fixed length such as INTERVAL '1 hour', found 'soon'
    "#]],
    );
    let narrow = "CREATE SINK late (a INT) WITH (connector = 'blackhole');";
    check_error(
        &format!("{narrow}\n{windows} LATE DATA INTO late"),
        expect![[r#"
        line 2, column 113: sink 'late' has 1 columns, but the query gives 4
    "#]],
    );
    let sessions = "SELECT count(*) FROM SESSION(TABLE bids PARTITION BY bidder, DESCRIPTOR(ts), INTERVAL '1 second')
                    GROUP BY bidder, window_start, window_end LATE DATA UPDATE WITHIN INTERVAL '1 minute'";
    check_error(
        sessions,
        expect![[r#"
        line 2, column 63: LATE DATA UPDATE of sessions is not supported; a late row can join two sessions to one; keep such rows with LATE DATA INTO
    "#]],
    );
    check_error(
        &format!("SELECT * FROM ({windows}) UNION ALL ({windows}) LATE DATA DROP"),
        expect![[r#"
        line 1, column 223: LATE DATA behind several windowed aggregations is not supported; put all but one of them in views, each with its own clause
    "#]],
    );
    let changes = "CREATE SINK s WITH (connector = 'files', path = 'x', format = 'csv') AS";
    check_error(
        &format!("{changes} {windows} LATE DATA UPDATE WITHIN INTERVAL '1 minute'"),
        expect![[r#"
            line 1, column 1: the rows for 's' are updated, but the connector 'files' with format 'csv' only takes new rows; either aggregate over TUMBLE or HOP, whose rows are final, or write to what takes updates: files with format 'debezium-json' or 'upsert-json', postgres with a PRIMARY KEY, print, blackhole
        "#]],
    );
}

#[test]
fn emitting_what_a_query_does_not_emit() {
    let tumble = "SELECT bidder, window_end, count(*) AS n FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 hour')
                  GROUP BY bidder, window_start, window_end";
    let updating = "SELECT bidder, count(*) AS n FROM bids GROUP BY bidder";
    check_error(
        &format!("{updating}\nEMIT ON WINDOW CLOSE"),
        expect![[r#"
        line 2, column 1: EMIT ON WINDOW CLOSE needs rows that are final, but the result of this query is updated; aggregate over TUMBLE, HOP, CUMULATE or SESSION and group by the window's columns, or leave EMIT out
    "#]],
    );
    check_error(
        &format!("CREATE VIEW v AS {updating}\nEMIT ON WINDOW CLOSE"),
        expect![[r#"
        line 2, column 1: EMIT ON WINDOW CLOSE needs rows that are final, but the result of this query is updated; aggregate over TUMBLE, HOP, CUMULATE or SESSION and group by the window's columns, or leave EMIT out
    "#]],
    );
    check_error(
        &format!("{tumble}\nEMIT ON UPDATE"),
        expect![[r#"
        line 3, column 1: EMIT ON UPDATE of a query with windows is not supported; leave it out: a window's rows are emitted once, when the watermark closes it; LATE DATA UPDATE WITHIN lets late rows update them
    "#]],
    );
    check_error(
        &format!("{tumble}\nEMIT EVERY INTERVAL '1 second'"),
        expect![[r#"
        line 3, column 1: EMIT EVERY needs an aggregation without a window, or rows ranked or numbered over updates, in this query: nothing else gathers changes; leave it out
    "#]],
    );
    check_error(
        &format!("{updating}\nEMIT EVERY INTERVAL '0 seconds'"),
        expect![[r#"
        line 2, column 1: EMIT EVERY takes at least a millisecond, not INTERVAL '0 seconds'
    "#]],
    );
    check_error(
        &format!("{updating}\nEMIT EVERY INTERVAL '1 month'"),
        expect![[r#"
        line 2, column 21: expected an interval of fixed length such as INTERVAL '1 hour', found INTERVAL '1 month'
    "#]],
    );
    check_error(
        &format!("{updating}\nEMIT EVERY 5"),
        expect![[r#"
        line 2, column 12: expected an interval of fixed length such as INTERVAL '1 hour', found 5
    "#]],
    );
    check_error(
        &format!("{updating}\nEMIT ON CLOSE"),
        expect![[r#"
        line 2, column 9: expected UPDATE or WINDOW CLOSE, found CLOSE
    "#]],
    );
    check_error(
        &format!("{updating}\nEMIT SOON"),
        expect![[r#"
        line 2, column 6: expected ON UPDATE, ON WINDOW CLOSE or EVERY INTERVAL '…', found SOON
    "#]],
    );
    check_error(
        &format!("{updating}\nEMIT ON UPDATE EMIT ON UPDATE"),
        expect![[r#"
        line 2, column 16: EMIT is given twice
    "#]],
    );
    for right in [format!("{tumble} EMIT ON WINDOW CLOSE"), format!("{updating} EMIT ON UPDATE")] {
        execute(&mut session(), &right).unwrap();
    }
}

#[test]
fn models_that_could_not_be_asked_or_are_of_another_kind() {
    let streamed = |features: &str, options: &str| {
        format!(
            "CREATE MODEL m WITH (model_type = 'LOGISTIC_REG', label = 'late'{options}) AS SELECT ts, price > 1 AS late, {features} FROM bids"
        )
    };
    assert!(execute(&mut session(), &streamed("price", "")).is_ok(), "as BigQuery writes it");
    check_error(
        &streamed("auction AS model_version", ""),
        expect![[r#"
        line 1, column 1: the feature 'model_version' is called as a column that ML.PREDICT adds to rows, so that the model could not be asked: give it another name with AS
    "#]],
    );
    check_error(
        &streamed("price AS predicted_late", ""),
        expect![[r#"
        line 1, column 1: the feature 'predicted_late' is called as a column that ML.PREDICT adds to rows, so that the model could not be asked: give it another name with AS
    "#]],
    );
    check_error(
        &streamed("price", ", l2 = 'much'"),
        expect![[r#"
            line 1, column 67: option l2 = 'much' is not valid; expected a number
        "#]],
    );
    check_error(
        &streamed("price", ", odd = '1'"),
        expect![[r#"
        line 1, column 67: model type 'logistic_reg' has no option 'odd'; valid options are optimizer, learning_rate, l1, l2, initial_accumulator, eps, beta, beta1, beta2, standardize, clip, max_categories, auto_class_weights, class_weights; options of every such model are model_type, label, publish_every, model_freshness
    "#]],
    );
    check_error(
        &streamed("price", "").replace("MODEL m", "MODEL \"\""),
        expect![[r#"
        line 1, column 14: a model needs a name that has letters
    "#]],
    );
    check_error(
        &streamed("price", "").replace("LOGISTIC_REG", "arima"),
        expect![[r#"
        line 1, column 22: model_type 'arima' here: it is fitted to tables that end, and its query has no event time
    "#]],
    );
}
