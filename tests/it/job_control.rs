//! Jobs of a server that are looked at and changed from outside: Flight actions, and `tidemill jobs`.

use std::thread;

use arrow_flight::Action;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::command::{Output, PATIENCE, Run};
use crate::flight_sql::{POLL, SOURCE, Served, TRIES, VIEW};

impl Served {
    fn try_act(&mut self, action: &str, body: &Value) -> Result<Value, Status> {
        let action = Action::new(format!("tidemill.{action}"), body.to_string());
        let client = self.client.inner_mut();
        let answer = self.runtime.block_on(async { client.do_action(action).await?.into_inner().message().await })?;
        Ok(serde_json::from_slice(&answer.unwrap().body).unwrap())
    }

    #[track_caller]
    fn act(&mut self, action: &str, body: &Value) -> Value {
        self.try_act(action, body).unwrap_or_else(|status| panic!("{action}: {status}"))
    }

    /// Asks again and again until the answer is as it is to be.
    #[track_caller]
    fn act_until(&mut self, action: &str, body: &Value, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..TRIES {
            last = self.act(action, body);
            if is_so(&last) {
                return last;
            }
            thread::sleep(POLL);
        }
        panic!("after {PATIENCE:?}: {last}");
    }

    fn jobs(&self, arguments: &[&str]) -> Output {
        let url = format!("grpc://127.0.0.1:{}", self.port);
        Run::start(&self.folder.path(""), &[&["jobs", "--url", &url], arguments].concat()).output(PATIENCE)
    }
}

#[test]
fn a_view_that_is_updated_has_what_it_had_at_any_parallelism() {
    let mut served = Served::start();
    served.ask(
        "SET checkpoint_interval = '100ms'; SET view_interval = '50ms';
         CREATE SOURCE s (a BIGINT, b BIGINT) WITH (connector = 'datagen', rows = 40000, rows_per_second = 8000,
           fields.a.max = 40, fields.b.max = 5);
         CREATE MATERIALIZED VIEW counts AS SELECT count(*) AS n, b, a FROM s GROUP BY a, b;
         CREATE MATERIALIZED VIEW pairs AS
           SELECT y.n AS m, x.b, x.a, x.n FROM counts x JOIN counts y ON x.b = y.b AND x.a = y.a",
    );
    for (parallelism, restarts) in [(3, 1), (1, 2), (4, 3)] {
        served.act_until("show_job", &json!({ "job": "counts" }), |answer| {
            answer["job"]["status"] == "running" && answer["job"]["checkpoint"].as_i64().is_some()
        });
        served.act("rescale_job", &json!({ "job": "counts", "parallelism": parallelism }));
        served.act_until("show_job", &json!({ "job": "counts" }), |answer| {
            answer["job"]["status"] == "running" && answer["job"]["restarts"] == restarts
        });
    }
    // Once all rows have come.
    for (query, wanted) in [
        ("SELECT CAST(sum(n) AS BIGINT) FROM counts", 40_000),
        ("SELECT CAST(sum(m) AS BIGINT) FROM pairs", 40_000),
        ("SELECT count(*) - count(DISTINCT a * 100 + b) FROM counts", 0),
        ("SELECT count(*) - count(DISTINCT a * 100 + b) FROM pairs", 0),
        ("SELECT count(*) FROM pairs WHERE m <> n", 0),
    ] {
        served.wait_for(query, wanted);
    }
    served.end();
}

#[test]
fn actions_control_jobs() {
    let mut served = Served::start();
    assert_eq!(served.act("list_jobs", &json!({})), json!({ "jobs": [] }));
    served.ask(SOURCE);
    served.ask(
        "SET checkpoint_interval = '100ms';
         CREATE MATERIALIZED VIEW per_channel AS SELECT channel, window_end, count(*) AS n
         FROM TUMBLE(TABLE bids, DESCRIPTOR(date_time), INTERVAL '1 second') GROUP BY channel, window_end",
    );
    let job = served.act("list_jobs", &json!({}))["jobs"][0].clone();
    assert_eq!((&job["makes"], &job["restarts"]), (&json!("per_channel"), &json!(0)), "{job}");
    let by_name = json!({ "job": "per_channel" });
    let by_number = json!({ "job": job["job"] });
    assert_eq!(served.act("show_job", &by_name)["job"]["job"], job["job"]);
    let has_rows = |answer: &Value| answer["operators"][0]["rows_out"].as_i64() > Some(0);
    let metrics = served.act_until("job_metrics", &by_number, has_rows);
    assert_eq!(
        (&metrics["operators"][0]["kind"], &metrics["operators"][0]["object"]),
        (&json!("Source"), &json!("bids"))
    );

    let saved = served.act("savepoint_job", &json!({ "job": "per_channel", "url": "it's saved" }));
    assert!(saved["savepoint"].as_str().unwrap().ends_with("it's saved"), "{saved}");
    served.act_until("show_job", &by_number, |answer| answer["checkpoints"].as_array().unwrap().len() > 1);
    let rescaled = served.act("rescale_job", &json!({ "job": "per_channel", "parallelism": 1 }));
    assert!(rescaled["message"].as_str().unwrap().starts_with("ALTER job-"), "{rescaled}");
    served.act_until("show_job", &by_number, |answer| answer["job"]["status"] == "running");
    let stopped = served.act("stop_job", &by_number);
    assert!(stopped["message"].as_str().unwrap().starts_with("STOP job-"), "{stopped}");
    served.wait_for_jobs(&[]);

    for (action, body, code, reason) in [
        ("stop_job", json!({ "job": "nothing" }), Code::InvalidArgument, "SHOW JOBS lists the jobs"),
        ("resume_job", json!({ "job": 99 }), Code::InvalidArgument, "job-99"),
        ("stop_job", json!({ "jobs": 1 }), Code::InvalidArgument, "unknown field `jobs`"),
        ("rescale_job", json!({ "job": 1 }), Code::InvalidArgument, "\"parallelism\": 4}"),
        ("show_job", json!({ "job": 99 }), Code::InvalidArgument, "job-99 is not running"),
        ("dance", json!({}), Code::Unimplemented, "ListActions has all"),
    ] {
        let status = served.try_act(action, &body).unwrap_err();
        assert!(status.code() == code && status.message().contains(reason), "{action}: {status}");
    }
    served.end();
}

#[test]
fn the_command_line_controls_jobs() {
    let mut served = Served::start();
    served.ask(SOURCE);
    served.ask(VIEW);
    let listed = served.jobs(&["list", "--format", "json"]).success().stdout;
    let job: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(job["makes"], "per_channel");
    let shown = served.jobs(&["show", "per_channel", "--checkpoints", "--metrics"]).success().stdout;
    assert!(["| per_channel ", "| checkpoint ", "| Source "].iter().all(|part| shown.contains(part)), "{shown}");
    let number = job["job"].to_string();
    let saved = served.jobs(&["savepoint", &number, "--to", "saved", "--stop"]).success().stderr;
    assert!(saved.contains("WITH SAVEPOINT") && saved.contains("saved"), "{saved}");
    served.wait_for_jobs(&[]);
    let error = served.jobs(&["rescale", "nothing", "3"]).failure();
    assert!(error.contains("no job makes 'nothing'"), "{error}");
    served.end();
}
