//! tests/slt/*.slt, in the format of sqllogictest: each query runs as a stream, as a whole where it can, and in DataFusion,
//! the batch that both are to equal.
//!
//! CREATE TABLE and INSERT fill a table of DataFusion; its rows are the file that a source of the same
//! name reads. A WATERMARK clause is the stream's alone. `skipif batch` and `onlyif batch` stand before
//! what only one of the two can say. `TIDEMILL_BLESS=1` writes what the batch answers (what the stream
//! answers, where there is no batch): look at the difference before you commit it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Folder, Output};
use crate::oracle::Oracle;

/// A way to run a script.
struct Way {
    name: &'static str,
    arguments: &'static [&'static str],
    /// Whether what a stream refuses is refused.
    refuses: bool,
}

/// As a stream with one task that sees a row at a time, and with several; and as a whole where that is possible.
const WAYS: [Way; 3] = [
    Way {
        name: "stream",
        arguments: &[
            "--set",
            "execution=streaming",
            "--parallelism",
            "1",
            "--set",
            "source_batch_rows=1",
            "--set",
            "update_interval=0",
        ],
        refuses: true,
    },
    Way {
        name: "stream with many tasks",
        arguments: &["--set", "execution=streaming", "--parallelism", "3"],
        refuses: true,
    },
    Way { name: "whole", arguments: &["--set", "source_batch_rows=3"], refuses: false },
];

/// Printed between results, for a CSV says where it begins but not where it ends.
const MARK: &str = "SHOW seed;\n";
const MARK_HEADER: &str = "name,value,description";

/// Who a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Both,
    Stream,
    Batch,
}

#[derive(Debug)]
enum Expected {
    /// It works, and prints nothing.
    Done,
    /// It is refused with these words.
    Error(String),
    /// It prints rows of these types.
    Rows { types: String, sorted: bool, rows: Vec<String> },
}

/// A statement or a query of a file.
#[derive(Debug)]
struct Record {
    /// The line of its first word.
    line: usize,
    who: For,
    sql: String,
    expected: Expected,
}

impl Record {
    fn is_for(&self, who: For) -> bool {
        self.who == For::Both || self.who == who
    }
}

#[test]
fn queries_answer_the_same_as_streams_and_as_batches() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let failures: Vec<String> = files.iter().flat_map(|file| check(file)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Runs a file in every way; answers what was wrong.
fn check(path: &Path) -> Vec<String> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(path).unwrap();
    let mut records = parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let script = Script::new(&records);
    let batch = script.answers_of_batch(&records);
    let ways = WAYS.map(|way| (way.name, script.answers_of(&records, &way)));
    if std::env::var("TIDEMILL_BLESS").is_ok() {
        let answers = batch.iter().zip(&ways[0].1).map(|(batch, stream)| batch.clone().or_else(|| stream.clone()));
        bless(path, &text, &mut records, &answers.collect::<Vec<_>>());
    }
    let mut failures = Vec::new();
    for (kind, answers) in ways.into_iter().chain([("batch", batch)]) {
        for (record, answer) in records.iter().zip(&answers) {
            if let Some(failure) = answer.as_ref().and_then(|answer| record.failure(answer)) {
                failures.push(format!("{name}, line {}, as a {kind}: {failure}", record.line));
            }
        }
    }
    failures
}

/// Runs what a file asks by other means, over tables in this folder; answers what was wrong.
pub(crate) fn check_elsewhere(name: &str, folder: &Folder, run: impl Fn(&str) -> Output) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt").join(name);
    let records = parse(&fs::read_to_string(path).unwrap()).unwrap();
    let script = Script::new(&records);
    for table in fs::read_dir(script.folder.path("")).unwrap().map(|entry| entry.unwrap().path()) {
        folder.write(&table.file_name().unwrap().to_string_lossy(), fs::read(&table).unwrap());
    }
    let answers = script.answers_by(&records, false, run);
    let failure = |(record, answer): (&Record, &Option<Answered>)| {
        let failure = record.failure(answer.as_ref()?)?;
        Some(format!("{name}, line {}: {failure}", record.line))
    };
    records.iter().zip(&answers).filter_map(failure).collect()
}

/// What became of a record: its rows, or its error.
type Answered = Result<Vec<String>, String>;

impl Record {
    fn failure(&self, answer: &Answered) -> Option<String> {
        match (&self.expected, answer) {
            (Expected::Done, Ok(_)) => None,
            (Expected::Error(words), Err(message)) if message.contains(words) => None,
            (Expected::Rows { rows, .. }, Ok(found)) if rows == found => None,
            (Expected::Rows { rows, .. }, Ok(found)) => Some(format!("{found:#?} and not {rows:#?}")),
            (expected, answer) => Some(format!("{answer:?} and not {expected:?}\n{}", self.sql)),
        }
    }

    /// A CSV's rows as the file would have them.
    fn rows(&self, csv: &[String]) -> Vec<String> {
        let Expected::Rows { types, sorted, .. } = &self.expected else { return Vec::new() };
        let mut rows: Vec<String> = csv
            .iter()
            .map(|line| {
                let fields: Vec<&str> = line.split(',').collect();
                assert_eq!(fields.len(), types.len(), "line {}: columns of '{line}' beside '{types}'", self.line);
                let values = fields.iter().zip(types.chars()).map(|(field, kind)| value(field, kind, self.line));
                values.collect::<Vec<_>>().join(" ")
            })
            .collect();
        if *sorted {
            rows.sort_unstable();
        }
        rows
    }
}

/// A field as the format writes it: NULL by name, and a number as its type says.
fn value(field: &str, kind: char, line: usize) -> String {
    // A line of nothing but a NULL has quotes.
    if field.is_empty() || field == "\"\"" {
        return String::from("NULL");
    }
    match kind {
        'I' => field.parse::<i64>().unwrap_or_else(|_| panic!("line {line}: '{field}' is no integer")).to_string(),
        'R' => {
            let number: f64 = field.parse().unwrap_or_else(|_| panic!("line {line}: '{field}' is no number"));
            // Twelve digits, and no zeros behind them.
            format!("{number:.11e}").parse::<f64>().unwrap().to_string()
        }
        _ => field.to_owned(),
    }
}

/// A file's tables, in a folder for the stream and in DataFusion for the batch.
struct Script {
    oracle: Oracle,
    folder: Folder,
}

impl Script {
    /// Fills the tables.
    fn new(records: &[Record]) -> Self {
        let script = Self { oracle: Oracle::new(), folder: Folder::new() };
        let mut tables = Vec::new();
        for record in records.iter().filter(|record| is_of_table(record)) {
            let sql = without_watermark(&record.sql);
            script.oracle.answer(&sql).unwrap_or_else(|error| panic!("line {}: {error}", record.line));
            tables.extend(table_name(&record.sql));
        }
        for table in tables {
            let answer = script.oracle.answer(&format!("SELECT * FROM {table}")).unwrap();
            script.folder.write(&format!("{table}.csv"), format!("{}\n{}\n", answer.header, answer.rows.join("\n")));
        }
        script
    }

    fn answers_of_batch(&self, records: &[Record]) -> Vec<Option<Answered>> {
        let answers = records.iter().map(|record| {
            if !record.is_for(For::Batch) || is_of_table(record) {
                return None;
            }
            Some(self.oracle.answer(&record.sql).map(|answer| record.rows(&answer.rows)))
        });
        answers.collect()
    }

    fn answers_of(&self, records: &[Record], way: &Way) -> Vec<Option<Answered>> {
        let arguments = [way.arguments, &["--format", "csv"]].concat();
        self.answers_by(records, way.refuses, |sql| self.folder.run(sql, &arguments))
    }

    /// What whoever runs SQL answers.
    fn answers_by(&self, records: &[Record], refuses: bool, run: impl Fn(&str) -> Output) -> Vec<Option<Answered>> {
        let (mut objects, mut queries) = (String::new(), String::new());
        let mut answers: Vec<Option<Answered>> = Vec::new();
        for record in records {
            let mut answer = None;
            match &record.expected {
                _ if !record.is_for(For::Stream) => {}
                Expected::Done if is_of_table(record) => objects.push_str(&source(&record.sql)),
                Expected::Done => objects.push_str(&format!("{};\n", record.sql)),
                Expected::Rows { .. } => queries.push_str(&format!("{MARK}{};\n", record.sql)),
                // An error is its script's only one, with what has been created by then.
                Expected::Error(_) if !refuses => {}
                Expected::Error(_) => {
                    let output = run(&format!("{objects}{};", record.sql));
                    answer = Some(Err(output.failure()));
                }
            }
            answers.push(answer);
        }
        let output = run(&format!("{objects}{queries}{MARK}")).success();
        let mut results = results(&output.stdout).into_iter();
        let is_query = |record: &Record| matches!(record.expected, Expected::Rows { .. });
        for (record, answer) in records.iter().zip(&mut answers) {
            if record.is_for(For::Stream) && is_query(record) {
                *answer = Some(Ok(record.rows(&results.next().unwrap())));
            }
        }
        answers
    }
}

/// The results between the marks, without their headers.
fn results(stdout: &str) -> Vec<Vec<String>> {
    let mut results: Vec<Vec<String>> = Vec::new();
    let mut lines = stdout.lines();
    while let Some(line) = lines.next() {
        match results.last_mut() {
            _ if line == MARK_HEADER => {
                // The mark itself, and the header of what follows.
                let _ = (lines.next(), lines.next());
                results.push(Vec::new());
            }
            Some(result) => result.push(line.to_owned()),
            None => panic!("'{line}' is in no result"),
        }
    }
    results
}

/// Whether a record makes or fills a table, and asks nothing.
fn is_of_table(record: &Record) -> bool {
    ["CREATE TABLE", "INSERT INTO"].iter().any(|start| record.sql.starts_with(start))
}

fn table_name(sql: &str) -> Option<&str> {
    sql.strip_prefix("CREATE TABLE ")?.split([' ', '(']).next()
}

/// A CREATE TABLE as the batch understands it.
fn without_watermark(sql: &str) -> String {
    match sql.find("WATERMARK FOR") {
        Some(place) => format!("{})", sql[..place].trim_end().trim_end_matches(',')),
        None => sql.to_owned(),
    }
}

/// The source over a table's file, or nothing of an INSERT.
fn source(sql: &str) -> String {
    let Some(name) = table_name(sql) else { return String::new() };
    let columns = sql.trim_start_matches("CREATE TABLE ");
    format!("CREATE SOURCE {columns} WITH (connector = 'files', path = '{name}.csv', format = 'csv');\n")
}

/// The records of a file.
fn parse(text: &str) -> Result<Vec<Record>, String> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut records, mut who, mut at) = (Vec::new(), For::Both, 0);
    while at < lines.len() {
        let line = at + 1;
        let words: Vec<&str> = lines[at].split_whitespace().collect();
        at += 1;
        match words.as_slice() {
            [] => {}
            [comment, ..] if comment.starts_with('#') => {}
            ["onlyif", "batch"] | ["skipif", "stream"] => who = For::Batch,
            ["onlyif", "stream"] | ["skipif", "batch"] => who = For::Stream,
            ["statement", "ok"] | ["statement", "error", ..] => {
                let sql = block(&lines, &mut at, |line| line.is_empty()).join("\n");
                let expected = match words.get(1..) {
                    Some(["error", words @ ..]) => Expected::Error(words.join(" ")),
                    _ => Expected::Done,
                };
                records.push(Record { line, who, sql, expected });
                who = For::Both;
            }
            ["query", types, sort @ ..] => {
                let sorted = match sort {
                    ["rowsort", ..] => true,
                    ["nosort", ..] => false,
                    _ => return Err(format!("line {line}: a query says rowsort or nosort")),
                };
                let sql = block(&lines, &mut at, |line| line == "----").join("\n");
                at += 1;
                let rows = block(&lines, &mut at, |line| line.is_empty());
                let rows = rows.into_iter().map(str::to_owned).collect();
                let expected = Expected::Rows { types: (*types).to_owned(), sorted, rows };
                records.push(Record { line, who, sql, expected });
                who = For::Both;
            }
            _ => return Err(format!("line {line}: '{}' is no record", lines[line - 1])),
        }
    }
    Ok(records)
}

/// The lines up to one that ends them.
fn block<'a>(lines: &[&'a str], at: &mut usize, ends: impl Fn(&str) -> bool) -> Vec<&'a str> {
    let block: Vec<&str> = lines[*at..].iter().take_while(|line| !ends(line)).copied().collect();
    *at += block.len();
    block
}

/// Writes a file anew with other rows.
fn bless(path: &Path, text: &str, records: &mut [Record], answers: &[Option<Answered>]) {
    let lines: Vec<&str> = text.lines().collect();
    let (mut written, mut at) = (String::new(), 0);
    for (record, answer) in records.iter_mut().zip(answers) {
        let Expected::Rows { rows, .. } = &mut record.expected else { continue };
        let start = record.line + record.sql.lines().count() + 1;
        lines[at..start].iter().for_each(|line| written.push_str(&format!("{line}\n")));
        at = start + rows.len();
        *rows = answer.clone().and_then(Result::ok).unwrap_or_default();
        rows.iter().for_each(|row| written.push_str(&format!("{row}\n")));
    }
    lines[at..].iter().for_each(|line| written.push_str(&format!("{line}\n")));
    fs::write(path, written).unwrap();
}
