//! The law of streaming SQL: over bounded input, a query's final rows are the rows of its batch answer.
//!
//! Random queries over small random tables run as streams, with random batches, parallelism and
//! gathering of changes, and in DataFusion. A failure prints the least case that still fails.
//! `TIDEMILL_EQUIVALENCE_CASES=1000` tries more cases, `TIDEMILL_EQUIVALENCE_SEED=7` others, here and in `restored.rs`.

mod expressions;
mod relations;
mod restored;
mod tables;
mod tape;
mod windows;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use self::relations::Query;
use self::tables::Tables;
use crate::command::Folder;
use crate::documents;
use crate::oracle::{Answer, Oracle, printed};

/// Cases that CI can wait for, of so many queries each.
const CASES: u32 = 40;
const QUERIES: usize = 8;

/// Smaller cases that are tried once one has failed.
const SHRINKS: u32 = 400;

/// Rows of a table.
const ROWS: Range<usize> = 0..50;

/// Of so many queries one may be refused: the generator is to know what the dialect has.
const REFUSED_ONE_OF: usize = 10;

/// What a refusal says.
const REFUSALS: [&str; 4] = ["is not supported", "needs equal keys", "no two rows can join", "a ROW_NUMBER() below 1"];
/// Of so many queries one has rows at least: others agree on nothing.
const ANSWERED_ONE_OF: usize = 2;

/// What one run of the program is given.
#[derive(Debug, Clone)]
struct Case {
    tables: Tables,
    /// The random choices that each query is made from.
    tapes: Vec<Vec<u16>>,
    batch_rows: u32,
    parallelism: u32,
    gathers_changes: bool,
    is_whole: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let tapes = vec(vec(any::<u16>(), 4..120), 1..=QUERIES);
    (tables::tables(ROWS), tapes, 1..50u32, 1..=4u32, any::<bool>(), any::<bool>()).prop_map(
        |(tables, tapes, batch_rows, parallelism, gathers_changes, is_whole)| Case {
            tables,
            tapes,
            batch_rows,
            parallelism,
            gathers_changes,
            is_whole,
        },
    )
}

/// How many queries were tried, how many answered with rows, and why some were refused.
#[derive(Debug, Default)]
struct Tally {
    queries: usize,
    answered: usize,
    refusals: BTreeMap<String, usize>,
}

#[test]
fn streams_answer_as_batch_does() {
    let seed: u64 = variable("TIDEMILL_EQUIVALENCE_SEED").unwrap_or(1);
    let mut runner = runner(seed, variable("TIDEMILL_EQUIVALENCE_CASES").unwrap_or(CASES), SHRINKS);
    let tally = RefCell::new(Tally::default());
    let outcome = runner.run(&cases(), |case| check(&case, &tally).map_err(TestCaseError::fail));
    if let Err(error) = outcome {
        panic!("seed {seed}: {error}");
    }
    let Tally { queries, answered, refusals } = tally.into_inner();
    let refused: usize = refusals.values().sum();
    assert!(refused * REFUSED_ONE_OF <= queries, "{refused} of {queries} queries were refused: {refusals:#?}");
    assert!(answered * ANSWERED_ONE_OF >= queries, "{answered} of {queries} queries had rows");
}

/// Tries so many cases, the same with each seed.
fn runner(seed: u64, cases: u32, max_shrink_iters: u32) -> TestRunner {
    let mut seed_bytes = [0; 32];
    seed_bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, max_shrink_iters, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed_bytes))
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// Runs the queries of a case in both ways.
fn check(case: &Case, tally: &RefCell<Tally>) -> Result<(), String> {
    let oracle = Oracle::new();
    case.tables.add_to(&oracle);
    let folder = Folder::new();
    case.tables.write_to(&folder);
    let (mut queries, mut right) = answered(&case.tapes, &oracle)?;
    tally.borrow_mut().queries += queries.len();
    let arguments = case.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = loop {
        let statements: Vec<String> = queries.iter().flat_map(|query| query.statements(true)).collect();
        let script = format!("{}{}", tables::sources("", ""), statements.concat());
        let output = folder.run(&script, &arguments);
        let Some((line, message)) = refusal(&output.stderr) else {
            documents::check_round_trip(&script);
            break output;
        };
        let place = place_of(line, &queries);
        let refused = queries.remove(place);
        right.remove(place);
        if !REFUSALS.iter().any(|words| message.contains(words)) {
            return Err(format!("{message}\n{}", refused.shown()));
        }
        *tally.borrow_mut().refusals.entry(message).or_default() += 1;
    };
    let shown = || queries.iter().map(Query::shown).collect::<Vec<_>>().join("\n");
    if output.status != Some(0) || output.stderr.contains("panicked") || output.stderr.contains(" late") {
        return Err(format!("{arguments:?}: {}\n{}\n{}", output.stderr, shown(), case.tables.shown()));
    }
    tally.borrow_mut().answered += right.iter().filter(|answer| !answer.rows.is_empty()).count();
    let headers: Vec<&str> = right.iter().map(|answer| answer.header.as_str()).collect();
    for ((query, answer), right) in queries.iter().zip(printed(&output.stdout, &headers)).zip(&right) {
        let difference = answer.difference(right).or_else(|| {
            let out_of_order = query.is_ordered && answer != *right;
            out_of_order.then(|| format!("the order is {:?} and not {:?}", answer.rows, right.rows))
        });
        if let Some(difference) = difference {
            return Err(format!("{arguments:?}: {difference}{}\n{}", query.shown(), case.tables.shown()));
        }
    }
    Ok(())
}

/// The queries that tapes make, and their answers.
fn answered(tapes: &[Vec<u16>], oracle: &Oracle) -> Result<(Vec<Query>, Vec<Answer>), String> {
    let (mut queries, mut right) = (Vec::new(), Vec::new());
    for (number, tape) in tapes.iter().enumerate() {
        let query = Query::from_tape(number, tape);
        let mut answer = Err(String::new());
        for statement in query.statements(false) {
            answer = oracle.answer(&statement);
        }
        match answer {
            Ok(answer) => {
                queries.push(query);
                right.push(answer);
            }
            // DataFusion 55 does not plan some unions of one column under two names, in order.
            Err(error) if error.contains("SanityCheckPlan") => {}
            Err(error) => return Err(format!("in batch: {error}\n{}", query.shown())),
        }
    }
    Ok((queries, right))
}

/// The line and the words of an error about the script's text.
fn refusal(stderr: &str) -> Option<(usize, String)> {
    place_and_words(stderr.lines().find_map(|line| line.strip_prefix("error: script.sql: "))?)
}

/// The line and the words of an error, such as `line 2, column 5: no such column`.
fn place_and_words(error: &str) -> Option<(usize, String)> {
    let (line, rest) = error.strip_prefix("line ")?.split_once(',')?;
    let (_, message) = rest.split_once(": ")?;
    Some((line.parse().ok()?, message.to_owned()))
}

/// Which query has this line of the script: each of its statements is a line.
fn place_of(line: usize, queries: &[Query]) -> usize {
    let mut last = tables::sources("", "").lines().count();
    let found = queries.iter().position(|query| {
        last += query.statements(true).len();
        line <= last
    });
    found.unwrap_or_else(|| panic!("no query in line {line}"))
}

impl Case {
    fn arguments(&self) -> Vec<String> {
        let update_interval = if self.gathers_changes { "100ms" } else { "0" };
        let mut arguments = vec![format!("--parallelism={}", self.parallelism), String::from("--format=csv")];
        // As a whole, where a query can be.
        let execution = if self.is_whole { "inferred" } else { "streaming" };
        let batch_rows = self.batch_rows;
        for setting in [
            format!("execution={execution}"),
            format!("source_batch_rows={batch_rows}"),
            format!("update_interval={update_interval}"),
        ] {
            arguments.extend([String::from("--set"), setting]);
        }
        arguments
    }
}
