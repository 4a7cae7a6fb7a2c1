//! Joins of every kind through SQL, on the rows of a small shop.

use crate::windows_and_joins::{BIDS, SHOP, check};

/// Paid within ten minutes: order 1 at the last moment, 2 a second late, 3 once of twice, 4 before it was made.
const PAID: &str = "p.order_id = o.id AND p.paid_at BETWEEN o.ordered_at AND o.ordered_at + INTERVAL '10 minutes'";

fn pairs(kind: &str, condition: &str, expected: &[&str]) {
    let query = format!("SELECT o.id, p.amount FROM orders o {kind} JOIN payments p ON {PAID} {condition}");
    check(SHOP, &query, expected);
}

#[test]
fn outer_joins_keep_the_rows_without_a_partner() {
    pairs("LEFT", "", &["1,3", "2,", "3,3", "4,"]);
    pairs("RIGHT", "", &[",1", ",7", ",9", "1,3", "3,3"]);
    pairs("FULL", "", &[",1", ",7", ",9", "1,3", "2,", "3,3", "4,"]);
}

#[test]
fn on_decides_about_partners_and_where_about_rows() {
    pairs("LEFT", "AND o.id > 1", &["1,", "2,", "3,3", "4,"]);
    pairs("LEFT", "AND p.amount > 3", &["1,", "2,", "3,", "4,"]);
    pairs("LEFT", "WHERE o.id > 1", &["2,", "3,3", "4,"]);
    pairs("LEFT", "WHERE p.amount IS NULL", &["2,", "4,"]);
    pairs("LEFT", "WHERE p.amount < 9", &["1,3", "3,3"]);
}

#[test]
fn exists_and_in_ask_for_a_partner() {
    let orders = |condition: &str, expected: &[&str]| {
        check(SHOP, &format!("SELECT o.id, o.item FROM orders o WHERE {condition}"), expected);
    };
    orders(&format!("EXISTS (SELECT 1 FROM payments p WHERE {PAID})"), &["1,tea", "3,tea"]);
    orders(&format!("NOT EXISTS (SELECT 1 FROM payments p WHERE {PAID}) AND o.id > 2"), &["4,salt"]);
    orders(
        "o.id IN (SELECT p.order_id FROM payments p WHERE p.paid_at BETWEEN o.ordered_at AND o.ordered_at + INTERVAL '1 hour')",
        &["1,tea", "2,rice", "3,tea"],
    );
}

#[test]
fn windowed_sides_join_within_windows() {
    let windows = format!(
        "{SHOP}
         CREATE VIEW made AS SELECT id, item, window_start, window_end
           FROM TUMBLE(TABLE orders, DESCRIPTOR(ordered_at), INTERVAL '30 minutes');
         CREATE VIEW paid AS SELECT order_id, amount, window_start, window_end
           FROM TUMBLE(TABLE payments, DESCRIPTOR(paid_at), INTERVAL '30 minutes');"
    );
    let same = "ON m.window_start = p.window_start AND m.window_end = p.window_end";
    check(
        &windows,
        &format!("SELECT m.id, p.amount FROM made m LEFT JOIN paid p {same} AND m.id = p.order_id"),
        &["1,3", "2,7", "3,", "4,"],
    );
    check(
        &windows,
        &format!("SELECT m.id, p.amount FROM made m FULL JOIN paid p {same} AND m.id > p.order_id"),
        &[",1", ",3", ",9", "1,", "2,3", "3,3", "3,7", "4,"],
    );
}

#[test]
fn aggregates_of_equal_windows_join() {
    check(
        &format!(
            "{SHOP}
             CREATE VIEW made AS SELECT window_start, window_end, count(*) AS n
               FROM TUMBLE(TABLE orders, DESCRIPTOR(ordered_at), INTERVAL '30 minutes') GROUP BY window_start, window_end;
             CREATE VIEW paid AS SELECT window_start, window_end, sum(amount) AS total
               FROM TUMBLE(TABLE payments, DESCRIPTOR(paid_at), INTERVAL '30 minutes') GROUP BY window_start, window_end;"
        ),
        "SELECT m.window_start, m.n, p.total FROM made m
         FULL JOIN paid p ON m.window_start = p.window_start AND m.window_end = p.window_end",
        &[",,13", "2024-01-01T10:00:00,3,10", "2024-01-01T11:00:00,1,"],
    );
}

#[test]
fn the_most_frequent_of_each_window() {
    check(
        &format!(
            "{BIDS} CREATE VIEW counts AS SELECT item, count(*) AS n, window_start, window_end
               FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10 seconds') GROUP BY item, window_start, window_end;"
        ),
        "SELECT c.item, c.window_end, c.n FROM counts c
         JOIN (SELECT max(n) AS most, window_start, window_end FROM counts GROUP BY window_start, window_end) m
         ON c.window_start = m.window_start AND c.window_end = m.window_end AND c.n >= m.most",
        &["a,2024-01-01T00:00:10,2", "a,2024-01-01T00:00:20,1", "a,2024-01-01T00:00:40,1", "b,2024-01-01T00:00:20,1"],
    );
}

#[test]
fn what_a_left_join_keeps_can_be_windowed() {
    check(
        &format!(
            "{SHOP} CREATE VIEW checked AS SELECT o.ordered_at, o.id, p.amount FROM orders o LEFT JOIN payments p ON {PAID};"
        ),
        "SELECT window_start, count(*) AS orders, count(amount) AS paid
         FROM TUMBLE(TABLE checked, DESCRIPTOR(ordered_at), INTERVAL '1 hour') GROUP BY window_start, window_end",
        &["2024-01-01T10:00:00,3,2", "2024-01-01T11:00:00,1,0"],
    );
}

#[test]
fn times_alone_can_join() {
    check(
        SHOP,
        "SELECT o.id, p.amount FROM orders o JOIN payments p ON p.paid_at BETWEEN o.ordered_at AND o.ordered_at + INTERVAL '10 minutes'",
        &["1,3", "2,3", "3,3"],
    );
}

#[test]
fn an_as_of_join_takes_the_newest_before() {
    // The price of tea changes at the very moment of order 3.
    let orders = |join: &str, expected: &[&str]| {
        check(SHOP, &format!("SELECT o.id, o.item, p.price FROM orders o {join}"), expected);
    };
    orders(
        "ASOF LEFT JOIN prices p ON p.item = o.item AND p.valid_from <= o.ordered_at",
        &["1,tea,3", "2,rice,", "3,tea,4", "4,salt,"],
    );
    orders(
        "ASOF JOIN prices p MATCH_CONDITION (o.ordered_at > p.valid_from) ON p.item = o.item",
        &["1,tea,3", "3,tea,3"],
    );
}
