//! The same law for jobs that go on from checkpoints, at any parallelism and several times in a run.
//!
//! Random queries write into files, which show a change once a checkpoint covers it. While their rows come at a
//! pace, the job is ended at random checkpoints and goes on from them, as it is or with another number of
//! instances. What the files add up to, after every epoch and at the end, must be what it would be without.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, any};
use proptest::test_runner::TestCaseError;
use serde_json::Value;
use tidemill::cluster::{LocalCluster, Workers};
use tidemill_coordinator::{Compiled, CoordinatorHandle, JobHandle, JobInfo, JobStatus};
use tidemill_plans::ids::Epoch;
use tidemill_plans::settings::Settings;
use tokio::time::{sleep, timeout};

use super::relations::Query;
use super::tables::{self, Tables};
use super::{ANSWERED_ONE_OF, REFUSALS, Tally, answered, place_and_words, runner, variable};
use crate::command::{Folder, PATIENCE};
use crate::killed::parts;
use crate::oracle::{Answer, Oracle, normal_row};

/// Cases that CI can wait for; so many at a time, for they mostly wait.
const CASES: u32 = 64;
const LANES: u32 = 8;

/// Queries of a job: all of it stays as it is if one of them cannot be spread anew.
const QUERIES: usize = 3;

/// Rows of a table: enough for some checkpoints at this pace.
const ROWS: Range<usize> = 12..40;
const ROWS_PER_SECOND: usize = 12;

/// Smaller cases that are tried once one has failed: each takes a second or two.
const SHRINKS: u32 = 60;

/// How often a job begins anew at most.
const MOVES_MAX: usize = 4;

/// There is a restart for so many cases at least, or this tests little: on a busy machine some end before.
const CASES_A_RESTART: usize = 3;

/// How often somebody looks how a job is.
const LOOK: Duration = Duration::from_millis(5);

/// What one job is given.
#[derive(Debug, Clone)]
struct Case {
    tables: Tables,
    /// The random choices that each query is made from.
    tapes: Vec<Vec<u16>>,
    batch_rows: u32,
    parallelism: u32,
    gathers_changes: bool,
    moves: Vec<Move>,
}

/// The end of an attempt.
#[derive(Debug, Clone)]
struct Move {
    /// How many checkpoints come before it.
    checkpoints: u64,
    /// The parallelism of the next attempt; that of this one if nothing is said.
    parallelism: Option<u32>,
}

fn cases() -> impl Strategy<Value = Case> {
    let tapes = vec(vec(any::<u16>(), 4..120), 1..=QUERIES);
    let moves = (1..4u64, option::weighted(0.7, 1..=4u32));
    let moves = vec(moves.prop_map(|(checkpoints, parallelism)| Move { checkpoints, parallelism }), 1..=MOVES_MAX);
    (tables::tables(ROWS), tapes, 1..20u32, 1..=4u32, any::<bool>(), moves).prop_map(
        |(tables, tapes, batch_rows, parallelism, gathers_changes, moves)| Case {
            tables,
            tapes,
            batch_rows,
            parallelism,
            gathers_changes,
            moves,
        },
    )
}

/// A query that writes into files.
struct Sink {
    query: Query,
    /// The name of the sink and of its folder.
    name: String,
    format: &'static str,
    right: Answer,
}

/// What was done.
#[derive(Debug, Default)]
struct Done {
    cases: usize,
    restarts: usize,
    /// Jobs whose parallelism could not be changed when it was to be.
    kept: usize,
    queries: Tally,
}

#[test]
fn streams_that_go_on_from_checkpoints_answer_as_batch_does() {
    let seed: u64 = variable("TIDEMILL_EQUIVALENCE_SEED").unwrap_or(1);
    let cases = variable("TIDEMILL_EQUIVALENCE_CASES").unwrap_or(CASES).div_ceil(LANES);
    let done: Vec<Done> = std::thread::scope(|scope| {
        let lanes = (0..u64::from(LANES)).map(|lane| scope.spawn(move || try_cases(seed + (lane << 32), cases)));
        let lanes: Vec<_> = lanes.collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    let sum = |of: fn(&Done) -> usize| done.iter().map(of).sum::<usize>();
    let (cases, restarts, kept) = (sum(|done| done.cases), sum(|done| done.restarts), sum(|done| done.kept));
    let (queries, answered) = (sum(|done| done.queries.queries), sum(|done| done.queries.answered));
    assert!(restarts * CASES_A_RESTART >= cases, "{restarts} restarts in {cases} cases");
    assert!(kept <= restarts, "{kept} times the parallelism could not be changed, in {restarts} restarts");
    assert!(answered * ANSWERED_ONE_OF >= queries, "{answered} of {queries} queries had rows");
}

/// Tries cases one after the other.
fn try_cases(seed: u64, cases: u32) -> Done {
    let done = RefCell::new(Done::default());
    let outcome =
        runner(seed, cases, SHRINKS).run(&self::cases(), |case| check(&case, &done).map_err(TestCaseError::fail));
    if let Err(error) = outcome {
        panic!("seed {}, lane {}: {error}", seed as u32, seed >> 32);
    }
    done.into_inner()
}

fn check(case: &Case, done: &RefCell<Done>) -> Result<(), String> {
    let oracle = Oracle::new();
    case.tables.add_to(&oracle);
    let folder = Folder::new();
    case.tables.write_to(&folder);
    let (queries, right) = answered(&case.tapes, &oracle)?;
    let sinks = queries.into_iter().zip(right).enumerate();
    let mut sinks: Vec<Sink> = sinks
        .map(|(number, (query, right))| Sink { query, name: format!("s{number}"), format: "csv", right })
        .collect();
    done.borrow_mut().queries.queries += sinks.len();
    done.borrow_mut().cases += 1;
    let ran = actix::System::new().block_on(run(case, &folder, &mut sinks, done));
    let queries = || sinks.iter().map(|sink| sink.query.shown()).collect::<Vec<_>>().join("\n");
    ran.map_err(|error| format!("{error}\n{}", case.shown(&queries())))?;
    for sink in &sinks {
        let difference = sink.answer(&folder).map(|answer| answer.difference(&sink.right)).unwrap_or_else(Some);
        if let Some(difference) = difference {
            return Err(format!("{difference}{}", case.shown(&sink.query.shown())));
        }
        done.borrow_mut().queries.answered += usize::from(!sink.right.rows.is_empty());
    }
    Ok(())
}

/// Runs the queries as one job on a cluster of their own; those that are refused are taken out.
async fn run(case: &Case, folder: &Folder, sinks: &mut Vec<Sink>, done: &RefCell<Done>) -> Result<(), String> {
    let mut cluster = LocalCluster::start(Some(folder.path("meta"))).map_err(|error| error.chain())?;
    cluster.start_workers(Workers::Embedded).await.map_err(|error| error.chain())?;
    let ran = timeout(PATIENCE, run_on(&cluster.coordinator, case, folder, sinks, done)).await;
    cluster.shut_down().await;
    ran.unwrap_or_else(|_| Err(String::from("the job hangs")))
}

async fn run_on(
    coordinator: &CoordinatorHandle,
    case: &Case,
    folder: &Folder,
    sinks: &mut Vec<Sink>,
    done: &RefCell<Done>,
) -> Result<(), String> {
    let Some(Compiled { graph: Some(graph), settings, .. }) = compiled(coordinator, case, folder, sinks, done).await?
    else {
        return Ok(());
    };
    let job = coordinator.submit(graph, settings).await.map_err(|error| error.chain())?;
    make_moves(coordinator, &job, case, done).await?;
    match job.wait().await {
        JobStatus::Finished => Ok(()),
        other => Err(format!("the job ends as {other:?}")),
    }
}

async fn compiled(
    coordinator: &CoordinatorHandle,
    case: &Case,
    folder: &Folder,
    sinks: &mut Vec<Sink>,
    done: &RefCell<Done>,
) -> Result<Option<Compiled>, String> {
    let prefix = format!("{}/", folder.path("").display());
    let sources = tables::sources(&prefix, &format!(", rows_per_second = {ROWS_PER_SECOND}"));
    while !sinks.is_empty() {
        let statements: Vec<String> = sinks.iter().flat_map(|sink| sink.statements(&prefix)).collect();
        let script = format!("{sources}{}", statements.concat());
        let error = match coordinator.compile(script, case.settings()).await {
            Ok(compiled) => return Ok(Some(compiled)),
            Err(error) => error.chain(),
        };
        let (line, message) = place_and_words(&error).ok_or_else(|| error.clone())?;
        let mut last = sources.lines().count();
        let place = sinks.iter().position(|sink| {
            last += sink.statements(&prefix).len();
            line <= last
        });
        let place = place.ok_or(error)?;
        if message.contains("only takes new rows") {
            sinks[place].format = "debezium-json";
            continue;
        }
        let refused = sinks.remove(place);
        if !REFUSALS.iter().any(|words| message.contains(words)) {
            return Err(format!("{message}\n{}", refused.query.shown()));
        }
        *done.borrow_mut().queries.refusals.entry(message).or_default() += 1;
    }
    Ok(None)
}

/// Ends attempts at a job as the case says, until there are no more to come or the job has ended.
async fn make_moves(
    coordinator: &CoordinatorHandle,
    job: &JobHandle,
    case: &Case,
    done: &RefCell<Done>,
) -> Result<(), String> {
    let (mut parallelism, mut newest) = (case.parallelism, Epoch(0));
    for next in &case.moves {
        let sealed = |info: &JobInfo| info.newest_checkpoint.map_or(Epoch(0), |(epoch, _)| epoch);
        let wanted = Epoch(newest.0 + next.checkpoints);
        let is_due = |info: &JobInfo| info.status == JobStatus::Running && sealed(info) >= wanted;
        let Some(info) = until(coordinator, job, is_due).await? else { return Ok(()) };
        newest = sealed(&info);
        let other = next.parallelism.unwrap_or(parallelism);
        match coordinator.rescale(job.id, other).await.map_err(|error| error.chain()) {
            Ok(_) => parallelism = other,
            Err(error) if error.contains("cannot be changed") => {
                done.borrow_mut().kept += 1;
                // An error means that it has ended meanwhile.
                let _ = coordinator.rescale(job.id, parallelism).await;
            }
            Err(error) if error.contains("not running") => return Ok(()),
            Err(error) => return Err(error),
        }
        let has_begun = |now: &JobInfo| now.status == JobStatus::Running && now.restarts > info.restarts;
        if until(coordinator, job, has_begun).await?.is_none() {
            return Ok(());
        }
        done.borrow_mut().restarts += 1;
    }
    Ok(())
}

/// Waits until a job is as it should be; none if it ends before.
async fn until(
    coordinator: &CoordinatorHandle,
    job: &JobHandle,
    is_so: impl Fn(&JobInfo) -> bool,
) -> Result<Option<JobInfo>, String> {
    while !job.status.borrow().is_terminal() {
        let jobs = coordinator.jobs().await.map_err(|error| error.chain())?;
        if let Some(info) = jobs.into_iter().find(|info| info.id == job.id && is_so(info)) {
            return Ok(Some(info));
        }
        sleep(LOOK).await;
    }
    Ok(None)
}

impl Case {
    fn shown(&self, queries: &str) -> String {
        let Self { tables, batch_rows, parallelism, gathers_changes, moves, .. } = self;
        let tables = tables.shown();
        format!(
            "batches of {batch_rows}, parallelism {parallelism}, gathering {gathers_changes}, {moves:?}\n{queries}\n{tables}"
        )
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        let mut set = |name, value: &str| settings.set(name, value).unwrap();
        set("checkpoint_interval", "50ms");
        // Nothing fails here, and what does is not to be hidden.
        set("restart_strategy", "none");
        set("parallelism", &self.parallelism.to_string());
        set("source_batch_rows", &self.batch_rows.to_string());
        set("update_interval", if self.gathers_changes { "100ms" } else { "0" });
        settings
    }
}

impl Sink {
    fn statements(&self, prefix: &str) -> Vec<String> {
        let Self { name, format, .. } = self;
        let with = format!("WITH (connector = 'files', path = '{prefix}{name}', format = '{format}')");
        self.query.sink_statements(&format!("SINK {name} {with}"))
    }

    /// What its files add up to.
    fn answer(&self, folder: &Folder) -> Result<Answer, String> {
        let parts = parts(folder, &self.name);
        let rows = match self.format {
            "csv" => parts.iter().flat_map(|(_, text)| text.lines().skip(1).map(normal_row)).collect(),
            _ => self.merged(&parts)?,
        };
        Ok(Answer { header: self.right.header.clone(), rows })
    }

    /// The rows that changes leave. After no epoch may one be taken away that was not there.
    fn merged(&self, parts: &[(u64, String)]) -> Result<Vec<String>, String> {
        let columns: Vec<&str> = self.right.header.split(',').collect();
        let mut rows: BTreeMap<String, i64> = BTreeMap::new();
        let epochs: BTreeSet<u64> = parts.iter().map(|(epoch, _)| *epoch).collect();
        for epoch in epochs {
            for line in parts.iter().filter(|(of, _)| *of == epoch).flat_map(|(_, text)| text.lines()) {
                let change: Value = serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))?;
                for (side, count) in [("before", -1), ("after", 1)] {
                    if change[side].is_object() {
                        let fields: Vec<String> = columns.iter().map(|column| text(&change[side][column])).collect();
                        *rows.entry(row(&fields)).or_default() += count;
                    }
                }
            }
            if let Some((row, count)) = rows.iter().find(|(_, count)| **count < 0) {
                return Err(format!("epoch {epoch} leaves {count} times {row}\n"));
            }
        }
        Ok(rows.into_iter().flat_map(|(row, count)| std::iter::repeat_n(row, count as usize)).collect())
    }
}

/// A row as the batch's answer has it, in which an empty line would be no row.
fn row(fields: &[String]) -> String {
    match fields {
        [field] if field.is_empty() => String::from("\"\""),
        fields => normal_row(&fields.join(",")),
    }
}

/// A value as the batch's answer has it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
