//! Wrong input: each error says where, what, and what would work.

use expect_test::expect;

use super::{check_error, error, execute, session};

#[test]
fn names() {
    check_error("SELECT\n  auctoin FROM bids", expect![[""]]);
    check_error("SELECT *\nFROM bid", expect![[""]]);
    check_error("SELECT nosuch(price) FROM bids", expect![[""]]);
    check_error("SELECT * FROM bids WHERE pric > 1", expect![[""]]);
    check_error("CREATE VIEW bids AS SELECT * FROM auctions", expect![[""]]);
    check_error("CREATE VIEW v AS SELECT * FROM v", expect![[""]]);
    check_error(
        "CREATE VIEW v AS SELECT a.id, b.id FROM auctions a JOIN auctions b ON a.id = b.id AND a.opened = b.opened",
        expect![[""]],
    );
    check_error("DROP VIEW nothing", expect![[""]]);
    check_error("DESCRIBE nothing", expect![[""]]);
}

#[test]
fn options() {
    check_error("CREATE SOURCE s (a INT) WITH (connector = 'kafkka', path = 'x')", expect![[""]]);
    check_error("CREATE SOURCE s (a INT) WITH (connector = 'files', pth = 'x', format = 'csv')", expect![[""]]);
    check_error("CREATE SOURCE s (a INT) WITH (path = 'x', path = 'y')", expect![[""]]);
    check_error("CREATE SOURCE s (a INT) WITH (path = 'x')", expect![[""]]);
    check_error("CREATE SINK s WITH (connector = 'files') AS SELECT * FROM bids", expect![[""]]);
}

#[test]
fn sources() {
    let with = "WITH (connector = 'files', path = 'x', format = 'csv')";
    check_error(&format!("CREATE SOURCE s (a INT, a BIGINT) {with}"), expect![[""]]);
    check_error(&format!("CREATE SOURCE s (a INT, WATERMARK FOR a AS a) {with}"), expect![[""]]);
    check_error(&format!("CREATE SOURCE s (a INT, WATERMARK FOR b AS b) {with}"), expect![[""]]);
    check_error(&format!("CREATE SOURCE s (a TIMESTAMP, WATERMARK FOR a AS now()) {with}"), expect![[""]]);
    check_error(&format!("CREATE SOURCE s (a TIMESTAMP, WATERMARK FOR a AS 3) {with}"), expect![[""]]);
    check_error(&format!("CREATE SOURCE s (a INT, b AS (c + 1)) {with}"), expect![[""]]);
    check_error(&format!("CREATE SOURCE s (a INT, PRIMARY KEY (a)) {with}"), expect![[""]]);
    check_error(&format!("CREATE SOURCE s (a INT DEFAULT 3) {with}"), expect![[""]]);
    check_error(&format!("CREATE SOURCE s (a INT, __op INT) {with}"), expect![[""]]);
}

#[test]
fn windows() {
    check_error("SELECT * FROM TUMBLE(TABLE plain, DESCRIPTOR(at_time), INTERVAL '1 hour')", expect![[""]]);
    check_error("SELECT * FROM TUMBLE(TABLE bids, DESCRIPTOR(price), INTERVAL '1 hour')", expect![[""]]);
    check_error("SELECT * FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 month')", expect![[""]]);
    check_error("SELECT * FROM TUMBLE(TABLE bids, DESCRIPTOR(ts))", expect![[""]]);
    check_error("SELECT * FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '0 seconds')", expect![[""]]);
    check_error("SELECT * FROM HOP(TABLE nosuch, DESCRIPTOR(ts), INTERVAL '1 hour', INTERVAL '1 hour')", expect![[""]]);
    check_error("SELECT * FROM SESSION(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 hour')", expect![[""]]);
    check_error("SELECT * FROM WINDOWS(TABLE bids)", expect![[""]]);
}

#[test]
fn joins() {
    check_error("SELECT b.price FROM bids b JOIN auctions a ON a.id = b.auction", expect![[""]]);
    check_error("SELECT b.price FROM bids b JOIN plain p ON p.auction = b.auction", expect![[""]]);
    check_error(
        "SELECT b.price FROM bids b LEFT JOIN auctions a ON a.id = b.auction AND a.opened = b.ts",
        expect![[""]],
    );
    check_error("SELECT b.price FROM bids b JOIN auctions a ON a.opened = b.ts + INTERVAL '1 hour'", expect![[""]]);
    check_error("SELECT b.price FROM bids b, auctions a", expect![[""]]);
    check_error(
        "SELECT b.price FROM bids b JOIN auctions FOR SYSTEM_TIME AS OF b.price AS a ON a.id = b.auction",
        expect![[""]],
    );
    check_error(
        "SELECT b.price FROM bids b JOIN auctions FOR SYSTEM_TIME AS OF b.ts AS a ON a.opened = b.ts",
        expect![[""]],
    );
    check_error(
        "SELECT b.price FROM bids b JOIN auctions FOR SYSTEM_TIME AS OF b.ts AS a ON a.id = b.auction AND a.rating > 3",
        expect![[""]],
    );
    check_error(
        "SELECT b.price FROM bids b JOIN plain FOR SYSTEM_TIME AS OF b.ts AS a ON a.auction = b.auction",
        expect![[""]],
    );
    check_error("SELECT price FROM bids FOR SYSTEM_TIME AS OF ts", expect![[""]]);
    check_error(
        "SELECT b.price FROM bids b JOIN auctions FOR SYSTEM_TIME AS OF now() AS a ON a.id = b.auction",
        expect![[""]],
    );
}

#[test]
fn changelogs() {
    check_error(
        "CREATE SINK s WITH (connector = 'files', path = 'x', format = 'csv') AS SELECT count(*) AS n FROM bids",
        expect![[""]],
    );
    check_error("SELECT max(n) AS m FROM (SELECT bidder, count(*) AS n FROM bids GROUP BY bidder)", expect![[""]]);
    check_error(
        "SELECT n FROM (SELECT auction, count(*) AS n FROM bids GROUP BY auction) c JOIN auctions a ON a.id = c.auction",
        expect![[""]],
    );
}

#[test]
fn models() {
    let model = |options: &str, columns: &str| format!("CREATE MODEL m WITH ({options}) AS SELECT {columns} FROM bids");
    let right = "model_type = 'logistic_reg', label = 'late'";
    check_error(&model("label = 'late'", "ts, bidder, price > 1 AS late"), expect![[""]]);
    check_error(&model("model_type = 'forest', label = 'late'", "ts, bidder, price > 1 AS late"), expect![[""]]);
    check_error(&model(right, "ts, bidder"), expect![[""]]);
    check_error(&model(right, "ts, bidder, auction AS late"), expect![[""]]);
    check_error(&model(right, "bidder, price > 1 AS late"), expect![[""]]);
    check_error(&model(right, "ts, price > 1 AS late"), expect![[""]]);
    check_error(&model(right, "ts, ts + INTERVAL '1 hour' AS soon, price > 1 AS late"), expect![[""]]);
    check_error(
        &model("model_type = 'logistic_reg', label = 'late', rate = 1", "ts, bidder, price > 1 AS late"),
        expect![[""]],
    );
    check_error(
        &model(
            "model_type = 'logistic_reg', label = 'late', publish_every = '1 month'",
            "ts, bidder, price > 1 AS late",
        ),
        expect![[""]],
    );
}

#[test]
fn predictions() {
    let mut session = session();
    let model = "CREATE MODEL m WITH (model_type = 'logistic_reg', label = 'late') AS
                 SELECT ts, bidder, auction, price > 1 AS late FROM bids";
    execute(&mut session, model).unwrap();
    let mut check = |sql: &str, expect: expect_test::Expect| expect.assert_eq(&error(&mut session, sql));
    check("SELECT * FROM ML.PREDICT(MODEL nosuch, TABLE bids)", expect![[""]]);
    check("SELECT * FROM ML.PREDICT(MODEL bids, TABLE bids)", expect![[""]]);
    check("SELECT * FROM ML.PREDICT(MODEL m, TABLE auctions)", expect![[""]]);
    check("SELECT * FROM ML.PREDICT(MODEL m, (SELECT ts, bidder, bidder AS auction FROM bids))", expect![[""]]);
    check("SELECT * FROM ML.PREDICT(MODEL m, (SELECT bidder, auction FROM bids))", expect![[""]]);
    check("SELECT * FROM ML.PREDICT(TABLE bids)", expect![[""]]);
    check("SELECT * FROM ML.EVALUATE(MODEL m, TABLE bids)", expect![[""]]);
    check("SELECT * FROM m", expect![[""]]);
    check("DROP SOURCE bids", expect![[""]]);
}

#[test]
fn not_yet() {
    check_error("SELECT bidder FROM bids\nEMIT ON WINDOW CLOSE", expect![[""]]);
    check_error("SELECT bidder, count(*) FROM bids GROUP BY bidder LATE DATA DROP", expect![[""]]);
    check_error("CREATE FUNCTION f() RETURNS INT AS 'x'", expect![[""]]);
    check_error("BEGIN", expect![[""]]);
    check_error("SELECT 1", expect![[""]]);
    check_error("SELECT sum(price) OVER (ORDER BY ts) FROM bids", expect![[""]]);
    check_error("SELECT * FROM bids WHERE auction IN (SELECT id FROM auctions)", expect![[""]]);
    check_error("SELECT now() AS n, price FROM bids", expect![[""]]);
    check_error("SELECT price FROM bids ORDER BY ts", expect![[""]]);
    check_error("SELECT price FROM bids LIMIT 3 OFFSET 2", expect![[""]]);
    check_error("CREATE VIEW v AS SELECT price FROM bids ORDER BY price", expect![[""]]);
    check_error("SELECT auction, bidder, count(*) FROM bids GROUP BY ROLLUP (auction, bidder)", expect![[""]]);
    check_error("SELECT * FROM bids TABLESAMPLE BERNOULLI (10)", expect![[""]]);
    check_error("SELECT * FROM bids FOR UPDATE", expect![[""]]);
    check_error("VALUES (1)", expect![[""]]);
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
    check("INSERT INTO s SELECT auction FROM bids", expect![[""]]);
    check("INSERT INTO s SELECT auction, ts FROM bids", expect![[""]]);
    check("INSERT INTO s (b, a) SELECT bidder, auction FROM bids", expect![[""]]);
    check("INSERT INTO q SELECT * FROM bids", expect![[""]]);
    check("INSERT INTO bids SELECT * FROM bids", expect![[""]]);
    check("INSERT INTO nosuch SELECT * FROM bids", expect![[""]]);
}

#[test]
fn nesting_and_length_have_limits() {
    let nested = format!("SELECT {}price{} FROM bids", "(".repeat(500), ")".repeat(500));
    check_error(&nested, expect![[""]]);
    let subqueries = format!("{}bids{}", "SELECT * FROM (".repeat(200), ")".repeat(200));
    check_error(&subqueries, expect![[""]]);
    let sum = |terms| format!("CREATE VIEW v AS SELECT {} AS total FROM bids", vec!["price"; terms].join(" + "));
    execute(&mut session(), &sum(900)).unwrap();
    check_error(&sum(100_000), expect![[""]]);
    let unions = vec!["SELECT price FROM bids"; 300].join(" UNION ALL ");
    execute(&mut session(), &unions).unwrap();
    // sqlparser tries a parenthesis in FROM as a subquery and then as a join.
    let parentheses = format!("SELECT * FROM {}bids{}", "(".repeat(20), ")".repeat(20));
    check_error(&parentheses, expect![[""]]);
}
