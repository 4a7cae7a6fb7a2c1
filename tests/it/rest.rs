//! The REST API of `tidemill serve`, against the document that describes it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::free_port;
use crate::command::{Folder, PATIENCE, Run};

const POLL: Duration = Duration::from_millis(50);

/// A server with something of everything in it.
struct Served {
    folder: Folder,
    server: Run,
    sql: String,
    http: u16,
    document: Value,
}

/// An answer: its status, its type and its body.
#[derive(Debug)]
struct Answer {
    status: u64,
    content_type: String,
    body: Value,
}

impl Served {
    fn start() -> Self {
        let (folder, sql, http) = (Folder::new(), free_port(), free_port());
        let (bind, at) = (format!("127.0.0.1:{sql}"), format!("127.0.0.1:{http}"));
        let arguments = ["serve", "--bind", &bind, "--http", &at, "--slots", "2", "--data-dir", "meta"];
        let server = Run::start(&folder.path(""), &arguments);
        server.wait_for_line("coordinator listens");
        let served = Self { folder, server, sql: format!("grpc://{bind}"), http, document: Value::Null };
        let Answer { status, body, .. } = served.send("GET", "/api/v1/openapi.json", None);
        assert_eq!(status, 200);
        Self { document: body, ..served }
    }

    fn execute(&self, sql: &str) {
        Run::start(&self.folder.path(""), &["sql", "--url", &self.sql, "-c", sql]).output(PATIENCE).success();
    }

    /// Executes something that may not be possible yet.
    #[track_caller]
    fn execute_at_last(&self, sql: &str) {
        let arguments = ["sql", "--url", &self.sql, "-c", sql];
        let execute = |_| Run::start(&self.folder.path(""), &arguments).output(PATIENCE).status == Some(0);
        assert!((0..PATIENCE.as_millis() / POLL.as_millis()).any(execute), "{sql}");
    }

    fn send(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let headers = match body {
            Some(body) => format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()),
            None => String::new(),
        };
        let text = exchange(self.http, &format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}"), body);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| line.to_lowercase().strip_prefix("content-type: ").map(str::to_owned);
        let content_type = head.lines().find_map(header).unwrap_or_default();
        let body = if body.starts_with('{') { serde_json::from_str(body).unwrap() } else { json!(body) };
        Answer { status, content_type, body }
    }

    /// Sends a request of the document, and checks that the answer is as that says.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, values: &[(&str, &str)], body: Option<Value>) -> Answer {
        let operation = &self.document["paths"][path][method];
        assert!(operation.is_object(), "the document has no {method} {path}");
        let mut filled = path.to_owned();
        for (name, value) in values {
            filled = filled.replace(&format!("{{{name}}}"), value);
        }
        let body = body.map(|body| body.to_string());
        let answer = self.send(&method.to_uppercase(), &format!("/api/v1{filled}"), body.as_deref());
        let response = &operation["responses"][answer.status.to_string()];
        assert!(response.is_object(), "{method} {filled} is answered by {answer:?}");
        let schema = &response["content"][&answer.content_type]["schema"];
        assert!(schema.is_object(), "{method} {filled} is answered by {answer:?}");
        if let Err(why) = self.fits(&answer.body, schema) {
            panic!("{method} {filled} is answered by {}, which {why}", answer.body);
        }
        answer
    }

    /// Sends a request that is carried out; returns what it comes to.
    #[track_caller]
    fn done(&self, method: &str, path: &str, values: &[(&str, &str)], body: Option<Value>) -> Value {
        let answer = self.ask(method, path, values, body);
        assert_eq!(answer.status, 200, "{method} {path} {answer:?}");
        answer.body
    }

    /// Whether a value is what a schema of the document describes, and nothing more.
    fn fits(&self, value: &Value, schema: &Value) -> Result<(), String> {
        if let Some(reference) = schema["$ref"].as_str() {
            let found = self.document.pointer(reference.trim_start_matches('#')).ok_or("has no schema")?;
            return self.fits(value, found);
        }
        for choices in ["anyOf", "oneOf"] {
            if let Some(choices) = schema[choices].as_array() {
                let fits = choices.iter().any(|choice| self.fits(value, choice).is_ok());
                return if fits { Ok(()) } else { Err(format!("is {value}, no {}", json!(choices))) };
            }
        }
        if !schema["const"].is_null() {
            return if *value == schema["const"] { Ok(()) } else { Err(format!("is no {}", schema["const"])) };
        }
        if let Some(values) = schema["enum"].as_array() {
            return if values.contains(value) { Ok(()) } else { Err(format!("is {value}, none of {values:?}")) };
        }
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => return Err(format!("has a schema that says nothing: {schema}")),
        };
        let is_number = kind == "integer" && types.contains(&"number");
        if !types.contains(&kind) && !is_number {
            return Err(format!("is {value}, no {types:?}"));
        }
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.fits(item, &schema["items"])),
            Value::Object(fields) => self.fields_fit(fields, schema),
            _ => Ok(()),
        }
    }

    fn fields_fit(&self, fields: &serde_json::Map<String, Value>, schema: &Value) -> Result<(), String> {
        for required in schema["required"].as_array().into_iter().flatten() {
            let name = required.as_str().unwrap();
            if !fields.contains_key(name) {
                return Err(format!("lacks '{name}'"));
            }
        }
        for (name, field) in fields {
            let known = &schema["properties"][name];
            let schema = if known.is_null() { &schema["additionalProperties"] } else { known };
            if !schema.is_object() {
                return Err(format!("has '{name}', of which the document says nothing"));
            }
            self.fits(field, schema).map_err(|why| format!("has '{name}', which {why}"))?;
        }
        Ok(())
    }

    /// Asks until an answer is as wanted.
    #[track_caller]
    fn wait_for(&self, path: &str, values: &[(&str, &str)], is_so: impl Fn(&Value) -> bool) -> Value {
        let mut body = Value::Null;
        for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
            body = self.done("get", path, values, None);
            if is_so(&body) {
                return body;
            }
            thread::sleep(POLL);
        }
        panic!("after {PATIENCE:?}: {path} {body}");
    }

    fn end(self) {
        self.server.signal("TERM");
        self.server.output(PATIENCE).success();
    }
}

fn exchange(port: u16, head: &str, body: Option<&str>) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "{head}Connection: close\r\n\r\n{}", body.unwrap_or_default()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const SOURCE: &str = "
    CREATE SOURCE bids (ts AS (date_time), WATERMARK FOR ts AS ts)
      WITH (connector = 'nexmark', table = 'bid', rows_per_second = 2000);";

#[test]
fn each_path_answers_what_the_document_says() {
    let served = Served::start();
    served.execute(&format!(
        "SET checkpoint_interval = '200ms'; {SOURCE}
        CREATE MATERIALIZED VIEW per_channel AS SELECT channel, window_end, count(*) AS n
          FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1 second') GROUP BY channel, window_start, window_end;
        CREATE MODEL dear WITH (model_type = 'logistic_reg', label = 'dear', publish_every = '1 second')
          AS SELECT ts, price > 1000 AS dear, CAST(bidder AS DOUBLE) AS bidder FROM bids;"
    ));
    let job = [("job", "per_channel")];
    let running =
        served.wait_for("/jobs/{job}", &job, |job| job["status"] == "running" && !job["checkpoint"].is_null());
    let number = running["job"].to_string();
    assert_eq!(running["makes"], json!(["per_channel", "dear"]));
    assert_eq!(served.done("get", "/jobs/{job}", &[("job", &number)], None)["job"], running["job"]);
    assert_eq!(served.done("get", "/jobs", &[], None)["jobs"].as_array().unwrap().len(), 1);
    let sealed =
        |checkpoints: &Value| checkpoints["checkpoints"].as_array().unwrap().iter().any(|it| it["status"] == "sealed");
    served.wait_for("/jobs/{job}/checkpoints", &job, sealed);
    let operators = served.wait_for("/jobs/{job}/operators", &job, |operators| {
        let subtasks = &operators["operators"][0]["subtasks"];
        subtasks[0]["rows_out"].as_u64().is_some_and(|rows| rows > 0) && subtasks[0]["event_time_us"].is_i64()
    });
    assert_eq!(
        (&operators["operators"][0]["kind"], &operators["operators"][0]["object"]),
        (&json!("Source"), &json!("bids"))
    );

    served
        .wait_for("/models", &[], |models| models["versions"][0]["rows_learnt"].as_i64().is_some_and(|rows| rows > 0));
    let versions = served.done("get", "/models/{model}", &[("model", "dear")], None);
    assert_eq!(versions["versions"][0]["model"], "dear");
    let catalog = served.done("get", "/catalog", &[], None);
    let kinds: Vec<&Value> = catalog["objects"].as_array().unwrap().iter().map(|object| &object["kind"]).collect();
    assert_eq!(kinds, ["source", "materialized_view", "model"]);
    let object = served.done("get", "/catalog/{object}", &[("object", "bids")], None);
    assert!(object["definition"].as_str().unwrap().starts_with("CREATE SOURCE bids"), "{object}");
    let cluster = served.done("get", "/cluster", &[], None);
    assert_eq!((cluster["workers"].as_array().unwrap().len(), &cluster["workers"][0]["slots"]), (1, &json!(2)));

    // A SELECT is there while it runs.
    let select = Run::start(&served.folder.path(""), &["sql", "--url", &served.sql, "-c", "SELECT auction FROM bids"]);
    let queries = served.wait_for("/queries", &[], |queries| queries["jobs"].as_array().unwrap().len() == 1);
    let query = queries["jobs"][0]["job"].to_string();
    served.done("post", "/jobs/{job}/stop", &[("job", &query)], Some(json!({ "mode": "cancel" })));
    assert!(select.output(PATIENCE).status.is_some());
    served.wait_for("/queries", &[], |queries| queries["jobs"].as_array().unwrap().is_empty());

    // What has another parallelism can be read, and read with a savepoint.
    served.done("post", "/jobs/{job}/rescale", &job, Some(json!({ "parallelism": 3 })));
    served.wait_for("/jobs/{job}", &job, |job| job["restarts"] == 1 && job["status"] == "running");
    // Once it has an epoch again.
    served.execute_at_last("SELECT CAST(sum(n) AS BIGINT) AS n FROM per_channel");
    let url = served.folder.path("savepoint").display().to_string();
    let savepoint = json!({ "url": url, "stop": true });
    let written = served.done("post", "/jobs/{job}/savepoint", &job, Some(savepoint));
    assert_eq!(written, json!({ "url": url }));
    assert!(served.folder.path("savepoint/savepoint.json").exists());
    served.wait_for("/jobs", &[], |jobs| jobs["jobs"].as_array().unwrap().iter().all(|job| job["status"] != "running"));
    served.end();
}

#[test]
fn what_is_wrong_is_a_problem_with_an_answer() {
    let served = Served::start();
    served.execute(&format!("{SOURCE} CREATE SINK kept WITH (connector = 'blackhole') AS SELECT auction FROM bids;"));
    let job = [("job", "kept")];
    for (method, path, values, body, status, says) in [
        ("get", "/jobs/{job}", [("job", "nothing")], None, 404, "no job makes 'nothing'"),
        ("get", "/jobs/{job}", [("job", "77")], None, 404, "job-77 is not running"),
        ("get", "/jobs/{job}/operators", [("job", "job-77")], None, 404, "job-77 is not running"),
        ("get", "/models/{model}", [("model", "m")], None, 404, "no version of a model 'm'"),
        ("get", "/catalog/{object}", [("object", "o")], None, 404, "no 'o' in the catalog"),
        ("post", "/jobs/{job}/stop", [("job", "77")], Some(json!({})), 404, "job-77 is not running"),
        ("post", "/jobs/{job}/stop", job, Some(json!({ "mode": "now" })), 400, "unknown variant `now`"),
        ("post", "/jobs/{job}/stop", job, Some(json!({ "more": 1 })), 400, "unknown field `more`"),
        ("post", "/jobs/{job}/stop", job, None, 415, "Content-Type application/json"),
        ("post", "/jobs/{job}/rescale", job, Some(json!({})), 400, "missing field `parallelism`"),
        ("post", "/jobs/{job}/rescale", job, Some(json!({ "parallelism": 0 })), 400, "nonzero"),
        ("post", "/jobs/{job}/savepoint", job, Some(json!({ "url": "ftp://x" })), 400, "ftp"),
    ] {
        let answer = served.ask(method, path, &values, body);
        assert_eq!(answer.status, status, "{path} {answer:?}");
        assert_eq!(answer.content_type, "application/problem+json");
        assert_eq!(answer.body["status"], json!(status));
        assert!(answer.body["detail"].as_str().unwrap().contains(says), "{path} {answer:?}");
    }
    for (method, path, status, says) in [
        ("GET", "/api/v1/other", 404, "there is no /api/v1/other here"),
        ("GET", "/api/v1/jobs/1/stop", 405, "GET is not possible for /api/v1/jobs/1/stop"),
        ("DELETE", "/api/v1/jobs", 405, "DELETE is not possible"),
    ] {
        let answer = served.send(method, path, None);
        assert_eq!(answer.status, status, "{path} {answer:?}");
        assert!(answer.body["detail"].as_str().unwrap().contains(says), "{path} {answer:?}");
    }
    // A page from elsewhere whose name means this machine is told nothing.
    let answer = exchange(served.http, "GET /api/v1/jobs HTTP/1.1\r\nHost: evil.example:8080\r\n", None);
    assert!(answer.starts_with("HTTP/1.1 421 ") && answer.contains("'evil.example:8080' is no name"), "{answer}");
    served.end();
}

#[test]
fn a_coordinator_is_alive_and_ready_once_it_has_a_worker() {
    let (folder, sql, http) = (Folder::new(), free_port(), free_port());
    let (bind, at) = (format!("127.0.0.1:{sql}"), format!("127.0.0.1:{http}"));
    let server = Run::start(&folder.path(""), &["coordinator", "--bind", &bind, "--http", &at, "--data-dir", "meta"]);
    server.wait_for_line("coordinator listens");
    let get = |path: &str| exchange(http, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n"), None);
    assert!(get("/healthz").starts_with("HTTP/1.1 200 "));
    let unready = get("/readyz");
    assert!(unready.starts_with("HTTP/1.1 503 ") && unready.contains("no worker with a slot"), "{unready}");
    let worker = Run::start(&folder.path(""), &["worker", "--coordinator", &bind, "--slots", "1"]);
    let ready = || {
        (0..PATIENCE.as_millis() / POLL.as_millis()).any(|_| {
            thread::sleep(POLL);
            get("/readyz").starts_with("HTTP/1.1 200 ")
        })
    };
    assert!(ready());
    for run in [worker, server] {
        run.signal("TERM");
        run.output(PATIENCE).success();
    }
}
