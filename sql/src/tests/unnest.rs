//! UNNEST and LATERAL as graphs.

use expect_test::{Expect, expect};

use super::explain_after;

/// Rows with lists.
const POSTS: &str =
    "CREATE SOURCE posts (id BIGINT, at TIMESTAMP, tags VARCHAR[], scores BIGINT[], WATERMARK FOR at AS at)
  WITH (connector = 'files', path = 'posts', format = 'json');";

fn check(sql: &str, expected: Expect) {
    expected.assert_eq(&explain_after(POSTS, sql));
}

#[test]
fn a_list_in_from_is_no_join() {
    check(
        "SELECT p.id, p.at, u.tag FROM posts p, UNNEST(p.tags) AS u(tag) WHERE u.tag <> 'x'",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 id, at, "unnest(tags)" AS tag [x2] -> rebalance
                Filter #2 ("unnest(tags)" <> 'x') [x2] -> forward
                  Unnest #1 tags [x2] -> forward
                    Source #0 posts from files watermark(at AS "at") [x2] -> forward
        "#]],
    );
    check(
        "SELECT id, tag FROM posts CROSS JOIN UNNEST(tags) AS u(tag)",
        expect![[r#"
            Sink #3 select_1 to result [x1]
              Project #2 id, "unnest(tags)" AS tag [x2] -> rebalance
                Unnest #1 tags [x2] -> forward
                  Source #0 posts from files watermark(at AS "at") [x2] -> forward
        "#]],
    );
    check(
        "SELECT p.id, u.tag, u.score FROM posts p LEFT JOIN UNNEST(p.tags, p.scores) AS u(tag, score) ON true",
        expect![[r#"
            Sink #3 select_1 to result [x1]
              Project #2 id, "unnest(tags)" AS tag, "unnest(scores)" AS score [x2] -> rebalance
                Unnest #1 tags, scores, empty ones too [x2] -> forward
                  Source #0 posts from files watermark(at AS "at") [x2] -> forward
        "#]],
    );
    check(
        "SELECT p.id, u.tag, s.score FROM posts p, UNNEST(p.tags) AS u(tag), UNNEST(p.scores) AS s(score)",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 id, tag, "unnest(scores)" AS score [x2] -> rebalance
                Unnest #2 scores [x2] -> forward
                  Unnest #1 tags [x2] -> forward
                    Source #0 posts from files watermark(at AS "at") [x2] -> forward
        "#]],
    );
}

#[test]
fn a_list_in_the_select_list_makes_rows() {
    check(
        "SELECT id, unnest(tags) AS tag FROM posts",
        expect![[r#"
            Sink #3 select_1 to result [x1]
              Project #2 id, "unnest(tags)" AS tag [x2] -> rebalance
                Unnest #1 tags [x2] -> forward
                  Source #0 posts from files watermark(at AS "at") [x2] -> forward
        "#]],
    );
    check(
        "SELECT id, upper(unnest(tags)) AS tag FROM posts WHERE id > 1",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 id, upper("unnest(tags)") AS tag [x2] -> rebalance
                Unnest #2 tags [x2] -> forward
                  Filter #1 (id > 1) [x2] -> forward
                    Source #0 posts from files watermark(at AS "at") [x2] -> forward
        "#]],
    );
}

#[test]
fn lateral_subqueries_of_the_row_itself() {
    check(
        "SELECT p.id, l.tag FROM posts p CROSS JOIN LATERAL (SELECT upper(u.tag) AS tag FROM UNNEST(p.tags) AS u(tag) WHERE u.tag <> 'x') l",
        expect![[r#"
            Sink #4 select_1 to result [x1]
              Project #3 id, upper("unnest(tags)") AS tag [x2] -> rebalance
                Filter #2 ("unnest(tags)" <> 'x') [x2] -> forward
                  Unnest #1 tags [x2] -> forward
                    Source #0 posts from files watermark(at AS "at") [x2] -> forward
        "#]],
    );
}

#[test]
fn event_time_goes_on() {
    check(
        "SELECT tag, window_end, count(*) AS n
         FROM TUMBLE((SELECT p.at, u.tag FROM posts p, UNNEST(p.tags) AS u(tag)), DESCRIPTOR(at), INTERVAL '1 hour')
         GROUP BY tag, window_start, window_end",
        expect![[r#"
            Sink #6 select_1 to result [x1]
              Project #5 tag, window_end, "count(1)" AS n [x2] -> rebalance
                WindowAggregate #4 TUMBLE(size=1h) on at by (tag): count(1) [x2] -> forward
                  Project #3 tag, at [x2] -> hash(tag)
                    Project #2 at, "unnest(tags)" AS tag [x2] -> forward
                      Unnest #1 tags [x2] -> forward
                        Source #0 posts from files watermark(at AS "at") [x2] -> forward
        "#]],
    );
}

#[test]
fn what_cannot_be_unnested() {
    check(
        "SELECT b.price FROM posts p, LATERAL (SELECT price FROM bids WHERE bids.auction = p.id) b",
        expect![
            "error: line 1, column 1: LATERAL over another stream is not supported; join it with ON; LATERAL is for UNNEST of the row's own lists"
        ],
    );
    check(
        "SELECT u.tag FROM posts p, UNNEST(p.tags) WITH ORDINALITY AS u(tag, n)",
        expect![
            "error: line 1, column 43: UNNEST with the places of the elements is not supported; leave it out; no stream says in which place an element was"
        ],
    );
    check(
        "SELECT id FROM posts WHERE unnest(tags) = 'x'",
        expect![
            "error: line 1, column 36: UNNEST in a condition is not supported; it stands in FROM or in the SELECT list: FROM t, UNNEST(t.list) AS u(x) WHERE u.x = …"
        ],
    );
    check(
        "SELECT unnest(id) FROM posts",
        expect!["error: line 1, column 1: unnest() can only be applied to array, struct and null"],
    );
}
