//! UNNEST through SQL, over JSON lines with lists.

use crate::command::{Folder, sorted_rows};

const POSTS: &str =
    "CREATE SOURCE posts (id BIGINT, at TIMESTAMP, tags VARCHAR[], scores ARRAY<BIGINT>, WATERMARK FOR at AS at)
  WITH (connector = 'files', path = 'posts.json', format = 'json');";

const POSTS_JSON: &str = r#"{"id": 1, "at": "2024-01-01 10:00:00", "tags": ["a", "b"], "scores": [5]}
{"id": 2, "at": "2024-01-01 10:01:00", "tags": [], "scores": [6, 7]}
{"id": 3, "at": "2024-01-01 10:02:00", "tags": null, "scores": []}
{"id": 4, "at": "2024-01-01 11:00:00", "tags": ["a", null, "c"], "scores": [8]}
"#;

#[track_caller]
fn check(query: &str, expected: &[&str]) {
    for parallelism in ["1", "2"] {
        let folder = Folder::with(&[("posts.json", POSTS_JSON)]);
        let arguments = ["--format", "csv", "--parallelism", parallelism];
        let output = folder.run(&format!("{POSTS}{query};"), &arguments).success();
        assert_eq!(sorted_rows(&output.stdout), expected, "{parallelism}");
    }
}

#[test]
fn every_element_is_a_row() {
    check("SELECT p.id, u.tag FROM posts p, UNNEST(p.tags) AS u(tag)", &["1,a", "1,b", "4,", "4,a", "4,c"]);
    check(
        "SELECT p.id, u.tag FROM posts p LEFT JOIN UNNEST(p.tags) AS u(tag) ON true",
        &["1,a", "1,b", "2,", "3,", "4,", "4,a", "4,c"],
    );
}

#[test]
fn lists_go_side_by_side_or_cross() {
    check(
        "SELECT id, unnest(tags) AS tag, unnest(scores) AS score FROM posts WHERE id < 3",
        &["1,a,5", "1,b,", "2,,6", "2,,7"],
    );
    check(
        "SELECT p.id, u.tag, s.score FROM posts p, UNNEST(p.tags) AS u(tag), UNNEST(p.scores) AS s(score) WHERE s.score < 8",
        &["1,a,5", "1,b,5"],
    );
}

#[test]
fn elements_keep_their_rows_event_time() {
    check(
        "SELECT tag, window_start, count(*) AS n
         FROM TUMBLE((SELECT p.at, u.tag FROM posts p CROSS JOIN LATERAL (SELECT t.tag FROM UNNEST(p.tags) AS t(tag) WHERE t.tag IS NOT NULL) u),
                     DESCRIPTOR(at), INTERVAL '1 hour') GROUP BY tag, window_start, window_end",
        &["a,2024-01-01T10:00:00,1", "a,2024-01-01T11:00:00,1", "b,2024-01-01T10:00:00,1", "c,2024-01-01T11:00:00,1"],
    );
}
