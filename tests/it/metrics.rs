//! Metrics over HTTP, as Prometheus asks for them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::command::{Folder, PATIENCE};

const SCRIPT: &str = "
SET checkpoint_interval = '100ms';
CREATE SOURCE bids (ts AS (date_time), WATERMARK FOR ts AS ts)
  WITH (connector = 'nexmark', table = 'bid', rows_per_second = 1000);
CREATE SINK counts WITH (connector = 'blackhole') AS SELECT auction, count(*) AS n FROM bids GROUP BY auction;";

/// What the endpoint answers to a path; nothing while it does not listen.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The value of a line that begins like this.
fn value(metrics: &str, line: &str) -> Option<f64> {
    metrics.lines().find(|found| found.starts_with(line))?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn operators_jobs_and_checkpoints_have_metrics() {
    let folder = Folder::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let run = folder.start(SCRIPT, &["--data-dir", "meta", "--http", &format!("127.0.0.1:{port}")]);
    let wanted = |metrics: &str| {
        let rows = value(metrics, "tidemill_operator_rows_in_total{job=\"1\",operator=\"0\",kind=\"Source\"");
        let sealed = value(metrics, "tidemill_checkpoints_sealed_total{job=\"1\"}");
        let state =
            metrics.lines().any(|line| line.starts_with("tidemill_operator_state_bytes") && !line.ends_with(" 0"));
        rows.is_some_and(|rows| rows > 0.0) && sealed.is_some_and(|sealed| sealed > 1.0) && state
    };
    let mut answer = String::new();
    for _ in 0..PATIENCE.as_millis() / 20 {
        answer = get(port, "/metrics").unwrap_or_default();
        if wanted(&answer) {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(wanted(&answer), "{answer}");
    assert!(get(port, "/other").unwrap().starts_with("HTTP/1.1 404"));
    run.signal("INT");
    assert_eq!(run.output(PATIENCE).status, Some(130));
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    let refused = Folder::new().run(SCRIPT, &["--http", "0.0.0.0:0"]).failure();
    assert!(refused.contains("0.0.0.0:0 can be reached from other machines"), "{refused}");
}
