//! Who may do what: each of these users tries each of these statements.

use std::fmt::Write;

use arrow::array::AsArray;
use axum::body::Body;
use axum::http::Request;
use axum::{Extension, Router};
use expect_test::{Expect, expect};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use prost::encoding::{WireType, encode_key, encode_varint};
use tidemill_plans::catalog::ModelWeights;
use tidemill_plans::protocol::{CoordinatorLink, WorkerEvent};
use tidemill_sql::parse_substrait;

use super::*;
use crate::access::Who;
use crate::api::{Rest, rest_router};

/// What there is, all of it ann's.
const OBJECTS: &str = "
    CREATE SOURCE s (a BIGINT, b BOOLEAN, ts TIMESTAMP, WATERMARK FOR ts AS ts)
        WITH (connector = 'datagen', rows_per_second = 10);
    CREATE VIEW v AS SELECT a, b, ts FROM s;
    CREATE MATERIALIZED VIEW m AS SELECT a FROM s;
    CREATE SINK k (a BIGINT) WITH (connector = 'blackhole');
    CREATE FUNCTION twice(x BIGINT) RETURN x * 2;";

/// By itself, for the statements of a text are one job.
const MODEL: &str = "CREATE MODEL mo WITH (model_type = 'logistic_reg', label = 'b') AS SELECT * FROM v";

const ROLES: &str = "
    CREATE USER ann PASSWORD 'x'; CREATE USER reader PASSWORD 'x'; CREATE USER viewer PASSWORD 'x';
    CREATE USER writer PASSWORD 'x'; CREATE USER keeper PASSWORD 'x'; CREATE USER maker PASSWORD 'x';
    CREATE USER other PASSWORD 'x'; CREATE USER member PASSWORD 'x'; GRANT reader TO member;
    GRANT CREATE ON SCHEMA public TO ann, maker;
    GRANT USAGE ON CONNECTOR datagen, blackhole TO ann;
    GRANT USAGE ON CONNECTOR blackhole TO maker;";

const GRANTS: &str = "
    GRANT SELECT ON s, v, m TO reader; GRANT SELECT ON v TO viewer; GRANT PREDICT ON MODEL mo TO viewer;
    GRANT INSERT ON SINK k TO writer; GRANT SELECT ON s TO writer; GRANT CONTROL ON JOB m TO keeper;
    GRANT SELECT ON VIEW v TO maker";

const USERS: [&str; 9] = ["root", "ann", "reader", "member", "viewer", "writer", "keeper", "maker", "other"];

fn user(name: &str) -> Who {
    Who { role: Some(name.to_owned()), address: Some(([10, 0, 0, 1], 1000).into()) }
}

/// What the statements of a user come to. Waits for what it drops, as clients do.
async fn say(session: &mut SqlSession, name: &str, text: &str) -> Result<Vec<String>> {
    let mut script = session.read_apart(text, user(name)).await?;
    let mut said = Vec::new();
    loop {
        match session.step(&mut script).await {
            Ok(Some(replies)) => {
                for reply in replies {
                    said.push(answer(reply).await?);
                }
            }
            Ok(None) => return Ok(said),
            Err(error) => {
                session.leave(script).await;
                return Err(error);
            }
        }
    }
}

async fn answer(reply: Reply) -> Result<String> {
    match reply {
        Reply::Done(message) => Ok(message),
        Reply::Rows(rows) => Ok(arrow::util::pretty::pretty_format_batches(&[rows]).unwrap().to_string()),
        Reply::Drops(dropping) => dropping.wait().await,
        _ => Ok(String::new()),
    }
}

#[track_caller]
fn denied<T: std::fmt::Debug>(outcome: Result<T>, why: &str) {
    let error = outcome.unwrap_err().chain();
    assert!(error.contains("permission denied") && error.contains(why), "{error}");
}

/// A session with users and their objects.
async fn with_users(coordinator: &CoordinatorHandle) -> SqlSession {
    coordinator.access().init_user("root", "x").await.unwrap();
    let mut session = restore(coordinator).await;
    say(&mut session, "root", ROLES).await.unwrap();
    say(&mut session, "ann", OBJECTS).await.unwrap();
    say(&mut session, "ann", MODEL).await.unwrap();
    say(&mut session, "ann", GRANTS).await.unwrap();
    session
}

fn told<T>(outcome: Result<T>) -> &'static str {
    match outcome.map_err(|error| error.chain()) {
        Ok(_) => "yes",
        Err(error) if error.contains("permission denied") => "no",
        // What somebody may not know of is not there.
        Err(error) if error.contains("there is no") || error.contains("no job makes") => "-",
        Err(error) if error.contains("already exists") => "taken",
        Err(error) => panic!("{error}"),
    }
}

/// The bytes of a message, or of a text, within another.
fn within(number: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut bytes);
    encode_varint(content.as_ref().len() as u64, &mut bytes);
    bytes.extend(content.as_ref());
    bytes
}

/// A plan in Substrait: `over s, v` are the rows of these, `into k over s` writes them.
fn substrait(plan: &str) -> Vec<u8> {
    let (into, over) = plan.split_once("over ").unwrap();
    let read = |table: &str| {
        let columns = within(2, [within(1, "a"), within(2, within(1, within(7, "")))].concat());
        within(1, [columns, within(7, within(1, table))].concat())
    };
    let inputs: Vec<Vec<u8>> = over.split(", ").map(read).collect();
    let rows = match inputs.as_slice() {
        [one] => one.clone(),
        many => {
            let inputs = many.iter().map(|input| within(2, input)).collect::<Vec<_>>().concat();
            within(8, [inputs, vec![3 << 3, 6]].concat())
        }
    };
    let rel = match into.strip_prefix("into ") {
        Some(sink) => within(19, [within(1, within(1, sink.trim())), vec![4 << 3, 1], within(5, rows)].concat()),
        None => rows,
    };
    within(3, within(2, within(1, rel)))
}

/// Checks what comes of each statement for each user. Nothing is done but what says that it is executed.
async fn check(session: &mut SqlSession, expected: Expect, statements: &[&str]) {
    let mut table = format!("{:64}{}\n", "", USERS.map(|name| format!("{name:7}")).concat());
    for statement in statements {
        let _ = write!(table, "{statement:64}");
        for name in USERS {
            let outcome = match statement.strip_prefix("! ") {
                Some(executed) => told(say(session, name, executed).await),
                None => {
                    let parsed = match statement.strip_prefix("Substrait ") {
                        Some(plan) => vec![parse_substrait(&substrait(plan)).unwrap()],
                        None => parse_script(statement).unwrap(),
                    };
                    told(session.describe(&parsed, &Settings::default(), &user(name)).await)
                }
            };
            let _ = write!(table, "{outcome:7}");
        }
        table.push('\n');
    }
    let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn rows_are_pushed_and_models_asked_by_those_who_may() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let coordinator = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = with_users(&coordinator).await;
        say(&mut session, "root", "GRANT USAGE ON CONNECTOR push TO ann").await.unwrap();
        say(&mut session, "ann", "CREATE SOURCE p (a BIGINT) WITH (connector = 'push')").await.unwrap();
        say(&mut session, "ann", "GRANT SELECT ON p TO reader; GRANT INSERT ON p TO writer").await.unwrap();
        let mut table = String::new();
        for name in USERS {
            let who = user(name);
            let pushed = told(session.push_target("p", &who).await);
            let asked = told(session.asked_model("mo", &who).await);
            let seen = session.has_object("p", &who).unwrap();
            let _ = writeln!(table, "{name:8}push {pushed:5}predict {asked:5}{seen}");
        }
        expect![[r#"
            root    push yes  predict yes  true
            ann     push yes  predict yes  true
            reader  push no   predict -    true
            member  push no   predict -    true
            viewer  push -    predict yes  false
            writer  push yes  predict -    true
            keeper  push -    predict -    false
            maker   push -    predict -    false
            other   push -    predict -    false
        "#]]
        .assert_eq(&table);
    });
}

#[test]
fn a_model_is_asked_as_long_as_somebody_may() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let coordinator = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = with_users(&coordinator).await;
        let state = Vec::new();
        let weights = ModelWeights { model: "mo".into(), version: 1, learnt_to: 0, label: "b".into(), state };
        coordinator.serving().put(weights);
        let asked = session.asked_model("mo", &user("viewer")).await.unwrap();
        assert!(asked.current().is_ok());
        say(&mut session, "ann", "REVOKE PREDICT ON MODEL mo FROM viewer").await.unwrap();
        denied(asked.current().map(drop), "viewer has no PREDICT on mo; its owner or a superuser can say GRANT");
        say(&mut session, "ann", "GRANT PREDICT ON MODEL mo TO viewer").await.unwrap();
        assert!(asked.current().is_ok());
        say(&mut session, "root", "ALTER ROLE viewer NOLOGIN").await.unwrap();
        assert!(asked.current().map(drop).unwrap_err().to_string().contains("may not log in"));
        coordinator.shutdown().await;
    });
}

#[test]
fn each_user_may_do_what_was_granted() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let coordinator = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = with_users(&coordinator).await;
        say(&mut session, "ann", "CREATE VIEW w AS SELECT 1 AS a").await.unwrap();
        let statements = [
            "SELECT a FROM s",
            "SELECT a FROM v",
            "SELECT a FROM m",
            "SELECT twice(a) FROM v",
            "SELECT x.a FROM v x JOIN s y ON x.a = y.a",
            "SELECT a FROM (SELECT a FROM s)",
            "WITH q AS (SELECT a FROM s) SELECT a FROM q",
            "SELECT a FROM v WHERE a IN (SELECT a FROM m)",
            "SELECT * FROM ML.PREDICT(MODEL mo, TABLE v)",
            "Substrait over s",
            "Substrait over v",
            "Substrait over m",
            "Substrait over v, m",
            "Substrait into k over s",
            "Substrait into k over v",
            "SUBSCRIBE TO m",
            "EXPLAIN SELECT a FROM s",
            "EXPLAIN ANALYZE SELECT a FROM s",
            "EXPLAIN (FORMAT JSON) SELECT a FROM s",
            "INSERT INTO k VALUES (1)",
            "INSERT INTO k SELECT a FROM s",
            "INSERT INTO k SELECT a FROM v",
            "INSERT INTO k VALUES ($1)",
            "CREATE VIEW x AS SELECT a FROM v",
            "CREATE MATERIALIZED VIEW x AS SELECT a FROM s",
            "CREATE SINK x WITH (connector = 'blackhole')",
            "CREATE SINK x WITH (connector = 'blackhole') AS SELECT a FROM v",
            "CREATE SINK x WITH (connector = 'print')",
            "CREATE FUNCTION f(x BIGINT) RETURN x",
            "CREATE OR REPLACE VIEW w AS SELECT 2 AS a",
            "DROP VIEW w",
            "DROP SINK k",
            "DROP FUNCTION twice",
            "DESCRIBE s",
            "SHOW CREATE s",
            "SET dead_letter_path = 'x'; SELECT a FROM v",
            "! SHOW CHECKPOINTS FOR JOB m",
            "! ALTER ROLE other VALID UNTIL 'infinity'",
            "! ALTER ROLE other RESET ALL",
            "! GRANT SELECT ON v TO viewer",
            "! SHOW AUDIT",
        ];
        check(&mut session, expect![[r#"
                                                                            root   ann    reader member viewer writer keeper maker  other
            SELECT a FROM s                                                 yes    yes    yes    yes    -      yes    -      -      -
            SELECT a FROM v                                                 yes    yes    yes    yes    yes    -      -      yes    -
            SELECT a FROM m                                                 yes    yes    yes    yes    -      -      no     -      -
            SELECT twice(a) FROM v                                          yes    yes    yes    yes    yes    -      -      yes    -
            SELECT x.a FROM v x JOIN s y ON x.a = y.a                       yes    yes    yes    yes    -      -      -      -      -
            SELECT a FROM (SELECT a FROM s)                                 yes    yes    yes    yes    -      yes    -      -      -
            WITH q AS (SELECT a FROM s) SELECT a FROM q                     yes    yes    yes    yes    -      yes    -      -      -
            SELECT a FROM v WHERE a IN (SELECT a FROM m)                    yes    yes    yes    yes    -      -      -      -      -
            SELECT * FROM ML.PREDICT(MODEL mo, TABLE v)                     yes    yes    -      -      yes    -      -      -      -
            Substrait over s                                                yes    yes    yes    yes    -      yes    -      -      -
            Substrait over v                                                yes    yes    yes    yes    yes    -      -      yes    -
            Substrait over m                                                yes    yes    yes    yes    -      -      no     -      -
            Substrait over v, m                                             yes    yes    yes    yes    -      -      -      -      -
            Substrait into k over s                                         yes    yes    -      -      -      yes    -      -      -
            Substrait into k over v                                         yes    yes    -      -      -      -      -      -      -
            SUBSCRIBE TO m                                                  yes    yes    yes    yes    -      -      no     -      -
            EXPLAIN SELECT a FROM s                                         yes    yes    yes    yes    -      yes    -      -      -
            EXPLAIN ANALYZE SELECT a FROM s                                 yes    yes    yes    yes    -      yes    -      -      -
            EXPLAIN (FORMAT JSON) SELECT a FROM s                           yes    yes    yes    yes    -      yes    -      -      -
            INSERT INTO k VALUES (1)                                        yes    yes    -      -      -      yes    -      -      -
            INSERT INTO k SELECT a FROM s                                   yes    yes    -      -      -      yes    -      -      -
            INSERT INTO k SELECT a FROM v                                   yes    yes    -      -      -      -      -      -      -
            INSERT INTO k VALUES ($1)                                       yes    yes    -      -      -      yes    -      -      -
            CREATE VIEW x AS SELECT a FROM v                                yes    yes    no     no     no     -      -      yes    -
            CREATE MATERIALIZED VIEW x AS SELECT a FROM s                   yes    yes    no     no     -      no     -      -      -
            CREATE SINK x WITH (connector = 'blackhole')                    yes    yes    no     no     no     no     no     yes    no
            CREATE SINK x WITH (connector = 'blackhole') AS SELECT a FROM v yes    yes    no     no     no     no     no     yes    no
            CREATE SINK x WITH (connector = 'print')                        yes    no     no     no     no     no     no     no     no
            CREATE FUNCTION f(x BIGINT) RETURN x                            yes    yes    no     no     no     no     no     yes    no
            CREATE OR REPLACE VIEW w AS SELECT 2 AS a                       yes    yes    no     no     no     no     no     taken  no
            DROP VIEW w                                                     yes    yes    -      -      -      -      -      -      -
            DROP SINK k                                                     yes    yes    -      -      -      no     -      -      -
            DROP FUNCTION twice                                             yes    yes    no     no     no     no     no     no     no
            DESCRIBE s                                                      yes    yes    yes    yes    -      yes    -      -      -
            SHOW CREATE s                                                   yes    yes    no     no     -      no     -      -      -
            SET dead_letter_path = 'x'; SELECT a FROM v                     yes    no     no     no     no     -      -      no     -
            ! SHOW CHECKPOINTS FOR JOB m                                    yes    yes    no     no     -      -      yes    -      -
            ! ALTER ROLE other VALID UNTIL 'infinity'                       yes    no     no     no     no     no     no     no     no
            ! ALTER ROLE other RESET ALL                                    yes    no     no     no     no     no     no     no     no
            ! GRANT SELECT ON v TO viewer                                   yes    yes    no     no     no     -      -      no     -
            ! SHOW AUDIT                                                    yes    no     no     no     no     no     no     no     no"#]], &statements).await;
        coordinator.shutdown().await;
    });
}

#[test]
fn what_may_not_be_known_is_in_no_list_and_no_hint() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let coordinator = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = with_users(&coordinator).await;
        let tables = |session: &mut SqlSession, name: &str| {
            session.tables(&user(name)).unwrap().into_iter().map(|table| table.name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(tables(&mut session, "root"), "k m s v");
        assert_eq!(tables(&mut session, "ann"), "k m s v");
        assert_eq!(tables(&mut session, "viewer"), "v");
        assert_eq!(tables(&mut session, "other"), "");
        for statement in
            ["SELECT * FROM nothing", "SHOW SOURCES", "SHOW SINKS", "SHOW VIEWS", "SHOW MODELS", "SHOW JOBS"]
        {
            let told = match say(&mut session, "other", statement).await {
                Ok(said) => said.concat(),
                Err(error) => error.chain(),
            };
            assert!(![" s ", " v ", " k ", " m ", " mo ", "s,", "v,"].iter().any(|name| told.contains(name)), "{told}");
        }
        let jobs = say(&mut session, "keeper", "SHOW JOBS").await.unwrap().concat();
        assert!(jobs.contains(" m"), "{jobs}");
        assert!(say(&mut session, "keeper", "SHOW JOB m").await.unwrap().concat().contains(" m"));
        for statement in ["SHOW JOB m", "SHOW METRICS FOR JOB m"] {
            let unknown = say(&mut session, "other", statement).await.unwrap_err().chain();
            assert!(unknown.contains("no job makes"), "{unknown}");
        }
        denied(say(&mut session, "reader", "SHOW METRICS FOR JOB m").await, "reader has no CONTROL");
        // The name is taken all the same.
        let taken = say(&mut session, "maker", "CREATE VIEW s AS SELECT a FROM v").await.unwrap_err().chain();
        assert!(taken.contains("'s' already exists"), "{taken}");
        coordinator.shutdown().await;
    });
}

/// What HTTP answers to a request of a user: its status, and of a list how many there are.
async fn requested(api: &Router, name: &str, request: &str) -> String {
    let (request, body) = request.split_once(" {").map_or((request, None), |(request, rest)| (request, Some(rest)));
    let (method, path) = request.split_once(' ').unwrap();
    let body = body.map_or_else(Body::empty, |rest| Body::from(format!("{{{rest}")));
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let service = TowerToHyperService::new(api.clone().layer(Extension(user(name))));
    let answer = service.call(request.body(body).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(Body::new(answer.into_body()), 1 << 20).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let list = body.as_object().and_then(|body| body.values().find_map(|value| value.as_array()));
    let is_list = status == 200 && path.matches('/').count() == 1 && !path.contains('.');
    let count = list.filter(|_| is_list).map(|list| format!(" ({})", list.len()));
    format!("{status}{}", count.unwrap_or_default())
}

#[test]
fn http_answers_what_statements_do() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let coordinator = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = with_users(&coordinator).await;
        say(&mut session, "ann", "INSERT INTO k SELECT a FROM s").await.unwrap();
        let job = coordinator.job_of("mo").await.unwrap();
        let version = crate::testing::model_version("mo", 1);
        let told = WorkerEvent::Heartbeat { worker: WorkerId(1), metrics: vec![], models: vec![(job, version)] };
        coordinator.send(told).await.unwrap();
        let session = Arc::new(tokio::sync::Mutex::new(session));
        let rest = Rest { coordinator: coordinator.clone(), session: Arc::clone(&session) };
        let api: Router = rest_router(rest);
        let requests = [
            "GET /openapi.json",
            "GET /jobs",
            "GET /jobs/m",
            "GET /jobs/m/checkpoints",
            "GET /jobs/m/operators",
            "GET /queries",
            "GET /models",
            "GET /models/mo",
            "GET /catalog",
            "GET /catalog/s",
            "GET /catalog/v",
            "GET /catalog/twice",
            "GET /cluster",
            "POST /jobs/m/savepoint {\"url\": \"ftp://x\"}",
            "POST /jobs/k/savepoint {\"url\": \"ftp://x\"}",
        ];
        let mut table = format!("{:48}{}\n", "", USERS.map(|name| format!("{name:8}")).concat());
        for request in requests {
            let _ = write!(table, "{request:48}");
            for name in USERS {
                let _ = write!(table, "{:8}", requested(&api, name, request).await);
            }
            table.push('\n');
        }
        let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
        expect![[r#"
                                                            root    ann     reader  member  viewer  writer  keeper  maker   other
            GET /openapi.json                               200     200     200     200     200     200     200     200     200
            GET /jobs                                       200 (3) 200 (3) 200 (1) 200 (1) 200 (1) 200 (1) 200 (1) 200 (0) 200 (0)
            GET /jobs/m                                     200     200     200     200     404     404     200     404     404
            GET /jobs/m/checkpoints                         200     200     403     403     404     404     200     404     404
            GET /jobs/m/operators                           200     200     403     403     404     404     200     404     404
            GET /queries                                    200 (0) 200 (0) 200 (0) 200 (0) 200 (0) 200 (0) 200 (0) 200 (0) 200 (0)
            GET /models                                     200 (1) 200 (1) 200 (0) 200 (0) 200 (1) 200 (0) 200 (0) 200 (0) 200 (0)
            GET /models/mo                                  200     200     404     404     200     404     404     404     404
            GET /catalog                                    200 (6) 200 (6) 200 (4) 200 (4) 200 (3) 200 (3) 200 (2) 200 (2) 200 (1)
            GET /catalog/s                                  200     200     403     403     404     403     404     404     404
            GET /catalog/v                                  200     200     403     403     403     404     404     403     404
            GET /catalog/twice                              200     200     403     403     403     403     403     403     403
            GET /cluster                                    200 (1) 403     403     403     403     403     403     403     403
            POST /jobs/m/savepoint {"url": "ftp://x"}       400     403     403     403     404     404     403     404     404
            POST /jobs/k/savepoint {"url": "ftp://x"}       400     403     404     404     404     403     404     404     404"#]].assert_eq(&lines.join("\n"));

        for (name, request, status) in [
            ("reader", "POST /jobs/m/stop {}", "403"),
            ("other", "POST /jobs/m/stop {}", "404"),
            ("keeper", "POST /jobs/m/rescale {\"parallelism\": 3}", "200"),
            ("keeper", "POST /jobs/m/stop {}", "200"),
            ("ann", "POST /jobs/k/stop {}", "200"),
        ] {
            let answer = requested(&api, name, request).await;
            assert_eq!(answer, status, "{name} {request}");
        }
        let log = say(&mut *session.lock().await, "root", "SHOW AUDIT LIMIT 20").await.unwrap().concat();
        for line in ["STOP JOB \"m\"", "reader has no CONTROL on m", "ALTER JOB \"m\" SET parallelism = 3"] {
            assert!(log.contains(line), "{line}: {log}");
        }
        coordinator.shutdown().await;
    });
}

#[test]
fn views_have_their_owners_rights_as_they_are_now() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let coordinator = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = with_users(&coordinator).await;
        say(&mut session, "maker", "CREATE VIEW mine AS SELECT a FROM v; GRANT SELECT ON mine TO other").await.unwrap();
        let select = parse_script("SELECT a FROM mine").unwrap();
        let settings = Settings::default();
        assert_eq!(told(session.describe(&select, &settings, &user("other")).await), "yes");
        say(&mut session, "ann", "REVOKE SELECT ON v FROM maker").await.unwrap();
        denied(session.describe(&select, &settings, &user("other")).await, "maker has no SELECT on v");
        say(&mut session, "root", "GRANT SELECT ON v TO maker; REVOKE SELECT ON s FROM reader").await.unwrap();
        // Whose source it is does not matter to readers of the view.
        assert_eq!(told(session.describe(&select, &settings, &user("other")).await), "yes");
        // A superuser reads with the owner's rights, too, or not at all: as a superuser.
        say(&mut session, "root", "REASSIGN OWNED BY maker TO other; DROP ROLE maker").await.unwrap();
        denied(session.describe(&select, &settings, &user("other")).await, "other has no SELECT on v");
        assert_eq!(told(session.describe(&select, &settings, &user("root")).await), "yes");
        coordinator.shutdown().await;
    });
}

#[test]
fn what_was_planned_is_checked_again_when_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let coordinator = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = with_users(&coordinator).await;
        let select = parse_script("SELECT a FROM v").unwrap();
        let described = session.describe(&select, &Settings::default(), &user("viewer")).await.unwrap();
        let tidemill_sql::Description::Query { job, .. } = described else { panic!("{described:?}") };
        denied(session.begin(*job.clone(), &user("other")).await, "other has no SELECT on v");
        assert!(session.begin(*job.clone(), &user("viewer")).await.is_ok());
        say(&mut session, "ann", "REVOKE ALL ON v FROM viewer").await.unwrap();
        denied(session.begin(*job, &user("viewer")).await, "viewer has no SELECT on v");
        coordinator.shutdown().await;
    });
}

#[test]
fn plans_and_places_need_what_statements_need() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let coordinator = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = with_users(&coordinator).await;
        let json = say(&mut session, "root", "EXPLAIN (FORMAT JSON) INSERT INTO k SELECT a FROM s").await;
        let parsed = parse_script("EXPLAIN (FORMAT JSON) INSERT INTO k SELECT a FROM s").unwrap();
        let described = session.describe(&parsed, &Settings::default(), &user("root")).await.unwrap();
        let tidemill_sql::Description::Rows(rows) = described else { panic!("{json:?}") };
        let json = rows.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>().join("\n");
        let submit = async |name: &str, json: &str| crate::api::submit(&coordinator, json, &user(name)).await;
        denied(submit("other", &json).await, "other has no CREATE on SCHEMA public");
        denied(submit("maker", &json).await, "maker has no USAGE on CONNECTOR datagen");
        say(&mut session, "root", "GRANT USAGE ON CONNECTOR datagen TO maker").await.unwrap();
        denied(submit("maker", &json).await, "maker is not the owner of k");
        let own = json.replace("\"k\"", "\"own\"");
        let job = submit("maker", &own).await.unwrap().job;
        denied(say(&mut session, "other", &format!("STOP JOB {job}")).await, "is not yours");
        assert!(say(&mut session, "maker", "SHOW JOBS").await.unwrap().concat().contains("own"));
        say(&mut session, "maker", &format!("STOP JOB {job}")).await.unwrap();

        for text in [
            "SET checkpoint_storage = '/tmp'; INSERT INTO k SELECT a FROM s",
            "INSERT INTO k SELECT a FROM s FROM SAVEPOINT '/tmp/x'",
            "CREATE SAVEPOINT FOR JOB m '/tmp/x'",
            "COPY (SELECT 1 AS a) TO '/tmp/x.csv'",
            "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        ] {
            denied(say(&mut session, "ann", text).await, "ann has no USAGE on CONNECTOR files");
        }
        coordinator.shutdown().await;
    });
}

#[test]
fn rights_and_owners_are_there_after_a_restart_and_go_with_their_objects() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let first = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = with_users(&first).await;
        let before = say(&mut session, "root", "SHOW GRANTS; SHOW ROLES").await.unwrap();
        first.leave().await.unwrap();
        drop(session);

        let second = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = restore(&second).await;
        assert_eq!(say(&mut session, "root", "SHOW GRANTS; SHOW ROLES").await.unwrap(), before);
        denied(
            say(&mut session, "reader", "DROP SINK k")
                .await
                .map_err(|error| CoordinatorError::Denied { message: error.chain() }),
            "there is no",
        );
        say(&mut session, "ann", "DROP SINK k; CREATE SINK k WITH (connector = 'blackhole')").await.unwrap();
        let grants = say(&mut session, "root", "SHOW GRANTS FOR writer").await.unwrap().concat();
        assert!(!grants.contains("INSERT"), "{grants}");
        // A view that is replaced stays who may read it.
        say(&mut session, "ann", "CREATE VIEW w AS SELECT a FROM s; GRANT SELECT ON w TO other").await.unwrap();
        say(&mut session, "ann", "CREATE OR REPLACE VIEW w AS SELECT a + 1 AS a FROM s").await.unwrap();
        let grants = say(&mut session, "root", "SHOW GRANTS FOR other").await.unwrap().concat();
        assert!(grants.contains("SELECT"), "{grants}");
        second.shutdown().await;
    });
}

#[test]
fn jobs_count_for_whoever_has_begun_them() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let first = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = with_users(&first).await;
        say(&mut session, "root", "CREATE ROLE writers; GRANT writers TO writer, ann").await.unwrap();
        // One for the view, one for the model, which are there already.
        say(&mut session, "root", "ALTER ROLE writers SET max_jobs = 3").await.unwrap();
        let insert = "INSERT INTO k SELECT a FROM s";
        say(&mut session, "writer", insert).await.unwrap();
        let full = say(&mut session, "ann", insert).await.unwrap_err().chain();
        assert!(full.contains("role 'writers' has its 3 jobs") && full.contains("SET max_jobs = 6"), "{full}");
        let select = parse_script("SELECT a FROM s").unwrap();
        let described = session.describe(&select, &Settings::default(), &user("writer")).await.unwrap();
        let tidemill_sql::Description::Query { job, .. } = described else { panic!("{described:?}") };
        assert!(session.begin(*job, &user("writer")).await.unwrap_err().chain().contains("has its 3 jobs"));
        assert_eq!(say(&mut session, "root", insert).await.unwrap().len(), 1);
        first.leave().await.unwrap();
        drop(session);

        // The next one knows whose they are.
        let second = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = restore(&second).await;
        let full = say(&mut session, "writer", insert).await.unwrap_err().chain();
        assert!(full.contains("role 'writers' has its 3 jobs"), "{full}");
        say(&mut session, "ann", "DROP MATERIALIZED VIEW m").await.unwrap();
        say(&mut session, "writer", insert).await.unwrap();
        second.shutdown().await;
    });
}

const SECRET: &str = "hush-4711";

#[test]
fn a_secret_is_in_nothing_that_is_told_or_kept() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let coordinator = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = with_users(&coordinator).await;
        say(&mut session, "root", &format!("CREATE SECRET pg AS '{SECRET}'; GRANT USAGE ON CONNECTOR postgres TO ann"))
            .await
            .unwrap();
        let sink = "CREATE SINK p (a BIGINT) WITH (connector = 'postgres', url = SECRET pg)";
        denied(say(&mut session, "ann", sink).await, "ann has no USAGE on SECRET pg");
        denied(say(&mut session, "ann", &sink.replace("SECRET pg", "'${secret:pg}'")).await, "no USAGE on SECRET pg");
        let unknown = say(&mut session, "ann", &sink.replace("SECRET pg", "SECRET pq")).await.unwrap_err().chain();
        assert!(unknown.contains("there is no secret 'pq'") && !unknown.contains("pg"), "{unknown}");
        say(&mut session, "root", "GRANT USAGE ON SECRET pg TO ann").await.unwrap();
        let mut told = String::new();
        for (name, text) in [
            ("ann", sink),
            ("ann", "INSERT INTO p SELECT a FROM s"),
            ("ann", "EXPLAIN INSERT INTO p SELECT a FROM s"),
            ("ann", "EXPLAIN (FORMAT JSON) INSERT INTO p SELECT a FROM s"),
            ("ann", "SHOW CREATE p"),
            ("ann", "SHOW SECRETS"),
            ("root", &format!("CREATE SECRET pg AS '{SECRET}'")),
            ("root", &format!("CREATE OR REPLACE SECRET pg AS '{SECRET}'")),
            ("root", &format!("SELECT '{SECRET}' AS x FROM nothing")),
            ("root", "SHOW AUDIT LIMIT 1000"),
        ] {
            match say(&mut session, name, text).await {
                Ok(said) => told.extend(said),
                Err(error) => told.push_str(&error.chain()),
            }
        }
        assert!(told.contains("CREATE SECRET pg AS '***'") && told.contains("SECRET pg)"), "{told}");
        assert!(told.contains("${secret:pg}") && told.contains("SELECT '***' AS x"), "{told}");
        // What a worker says of it.
        let jobs = coordinator.left_jobs().await.unwrap();
        let job = jobs.iter().find(|job| job.makes.contains(&String::from("p"))).unwrap();
        let failed = WorkerEvent::TaskFailed {
            run: tidemill_plans::ids::RunId::first(job.id),
            task: tidemill_plans::ids::TaskId { stage: tidemill_plans::ids::StageId(0), subtask: 0 },
            domain: tidemill_plans::ErrorDomain::User,
            message: format!("cannot reach {SECRET}"),
        };
        coordinator.send(failed).await.unwrap();
        let mut jobs = String::new();
        for _ in 0..500 {
            jobs = say(&mut session, "root", "SHOW JOBS").await.unwrap().concat();
            if jobs.contains("cannot reach ***") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(jobs.contains("cannot reach ***"), "{jobs}");
        told.push_str(&jobs);
        assert!(!told.contains(SECRET), "{told}");
        coordinator.leave().await.unwrap();
        check_files(folder.path());
    });
}

/// No file has the secret.
fn check_files(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            check_files(&entry);
        } else {
            let bytes = std::fs::read(&entry).unwrap();
            let is_there = bytes.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes());
            assert!(!is_there, "{} has the secret", entry.display());
        }
    }
}

#[test]
fn what_is_done_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let coordinator = coordinator(folder.path(), Some(WorkerScript::Drain)).await;
        let mut session = with_users(&coordinator).await;
        denied(say(&mut session, "other", "CREATE VIEW x AS SELECT 1 AS a").await, "no CREATE");
        denied(say(&mut session, "ann", "SHOW AUDIT").await, "SHOW AUDIT is for superusers");
        coordinator.access().authenticate(Some("Basic cm9vdDp4"), user("root").address).await.unwrap();
        let log = say(&mut session, "root", "SHOW AUDIT LIMIT 3").await.unwrap().concat();
        for line in [
            "other | 10.0.0.1:1000 | statement | CREATE VIEW x AS SELECT 1 AS a |",
            "permission denied: other has no CREATE on SCHEMA public",
            "ann   | 10.0.0.1:1000 | statement | SHOW AUDIT",
            "root  | 10.0.0.1:1000 | login",
        ] {
            assert!(log.contains(line), "{log}");
        }
        coordinator.shutdown().await;
    });
}
